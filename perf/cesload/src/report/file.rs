//! Writes a report's file whole or not at all: to a file beside it first, which then takes its name.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::Builder;

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
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    // A full disk may tell only now.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
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
