//! What is wrong in the files, as it is found. Lines are counted once for each file, however many complaints there are.

use ces_settings::{FileError, Lines, SourceFile};
use std::ops::Range;

/// The complaints about all files, in the order in which they were found.
#[derive(Default)]
pub(super) struct Complaints<'a> {
    lines: Vec<(&'a SourceFile, Lines)>,
    found: Vec<FileError>,
}

impl<'a> Complaints<'a> {
    /// A complaint about that place of the file.
    pub(super) fn at(&mut self, source: &'a SourceFile, span: Range<usize>, message: String) -> FileError {
        let known = self.lines.iter().position(|(known, _)| std::ptr::eq(*known, source));
        let place = known.unwrap_or_else(|| {
            self.lines.push((source, Lines::new(&source.text)));
            self.lines.len() - 1
        });
        let line = Some(self.lines[place].1.at(span.start));
        FileError { path: source.path.clone(), line, message }
    }

    /// One more.
    pub(super) fn add(&mut self, source: &'a SourceFile, span: Range<usize>, message: String) {
        let complaint = self.at(source, span, message);
        self.found.push(complaint);
    }

    /// One more, whose line is known.
    pub(super) fn push(&mut self, complaint: FileError) {
        self.found.push(complaint);
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn into_vec(self) -> Vec<FileError> {
        self.found
    }
}
