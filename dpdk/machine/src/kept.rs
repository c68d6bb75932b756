//! Files in memory (tmpfs, or hugetlbfs) in which a table outlives its process: the next one finds what the last one wrote,
//! however that ended. They do not outlive the machine.

use crate::pages::{BASE_PAGE, HUGE_PAGE};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Such a file, ours alone as long as this value lives.
#[derive(Debug)]
pub struct Kept {
    pub(crate) file: File,
    /// How long it is, in bytes: a multiple of its pages.
    pub(crate) length: usize,
    /// The size of the pages that it is made of.
    pub(crate) page: usize,
}

impl Kept {
    /// Opens one for so many bytes, made if it is not there. All of them are reserved, so that a full file system is found out
    /// here.
    ///
    /// # Errors
    /// What the system says; also if it is no file in memory, is somebody else's, or another process has it.
    pub fn open(path: &Path, bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        let metadata = file.metadata()?;
        // SAFETY: it takes nothing and cannot fail.
        let own = unsafe { libc::geteuid() };
        if metadata.uid() != own || metadata.mode() & 0o077 != 0 || !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not ours alone"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process has it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let page = page(&file)?;
        let length = bytes.next_multiple_of(page);
        let size = libc::off_t::try_from(length).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open; no memory is involved.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, length, page })
    }
}

/// The size of the pages that a file in memory is made of; an error if it is none, whose pages would be written to a disk.
fn page(file: &File) -> io::Result<usize> {
    // SAFETY: all of it may be zero.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and `about` is there to be written.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut about) } != 0 {
        return Err(io::Error::last_os_error());
    }
    match about.f_type {
        libc::TMPFS_MAGIC => Ok(BASE_PAGE),
        libc::HUGETLBFS_MAGIC if about.f_bsize as usize == HUGE_PAGE => Ok(HUGE_PAGE),
        _ => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "neither tmpfs nor hugetlbfs with pages of 2 MiB"))
        }
    }
}
