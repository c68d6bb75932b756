//! Writes a report's file whole or not at all: to a file beside it first, which then takes its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written to {}: {source}", path.display())]
pub struct WriteError {
    /// Where to.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Writes `text` to `path`.
pub fn write(path: &Path, text: &str) -> Result<(), WriteError> {
    let written = match fs::metadata(path) {
        // A device or a pipe takes what is written; to rename something over it would put a file in its place.
        Ok(meta) if !meta.is_file() && !meta.is_dir() => {
            OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))
        }
        _ => write_beside(path, text),
    };
    written.map_err(|source| WriteError { path: path.to_owned(), source })
}

fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this is no file's name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        // A full disk may tell only now.
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_the_files_name() {
        let error = write(Path::new("/dev/full"), "text").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the report cannot be written to /dev/full: No space left on device (os error 28)"
        );
    }

    #[test]
    fn a_directory_that_is_not_there_is_told() {
        let error = write(Path::new("/nowhere/at/all.json"), "text").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.json"), "{error}");
    }

    #[test]
    fn a_report_replaces_the_one_before_and_leaves_nothing_beside() {
        let directory = std::env::temp_dir().join(format!("cesload-file-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("report.txt");
        write(&path, "first").unwrap();
        write(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
