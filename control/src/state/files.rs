//! Files that nobody else may read, and that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the directory.
    #[error("state.directory: {0}: {1}")]
    File(PathBuf, io::Error),
    /// The keys are there and cannot be read.
    #[error("{0}: {1}; without these keys tags of before mean nothing: remove the directory to begin anew")]
    Keys(PathBuf, String),
    /// Another process has it.
    #[error("state.directory: {0}: another cesd uses it")]
    Taken(PathBuf),
}

/// Opens for writing what nobody else may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Puts a whole file in the place of another, so that at any time one of the two is there.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private().create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_parent(path)
}

/// Has a renaming last.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory of its own for a test.
    pub(in crate::state) fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ces-state-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}
