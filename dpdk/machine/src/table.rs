//! Memory for tables: one block, on huge pages if the system has some, allocated once.
//!
//! A table of a million entries spans 16,000 ordinary pages; a random access to it misses the TLB as well as the cache.
//! On 2 MiB pages it spans 32. Three ways are tried in turn: pages reserved for huge use (`vm.nr_hugepages`), ordinary
//! memory that the kernel is asked to back with huge pages, and ordinary memory. Which it became is told by
//! [`HugeSlice::pages`], because it is the first question when a benchmark disappoints.

use crate::kept::Kept;
use crate::pages::BASE_PAGE;
pub use crate::pages::HUGE_PAGE;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// What backs a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Pages that were reserved for huge use.
    Huge,
    /// Ordinary memory, aligned, that the kernel was asked to back with huge pages as far as it has some.
    Transparent,
    /// Ordinary pages.
    Base,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pages::Huge => "huge pages",
            Pages::Transparent => "transparent huge pages",
            Pages::Base => "ordinary pages",
        })
    }
}

/// Whether huge pages are asked for.
static HUGE: AtomicBool = AtomicBool::new(true);

/// From here on this process's tables take ordinary pages, also where huge ones could be had: to measure what those bring.
pub fn ordinary_pages_only() {
    HUGE.store(false, Ordering::Relaxed);
}

/// A fixed number of `T` in one block of memory, aligned to a page.
pub struct HugeSlice<T> {
    data: NonNull<T>,
    len: usize,
    mapping: Option<Mapping>,
}

// SAFETY: the slice owns its elements and nobody else has the pointer, as in a `Box<[T]>`.
unsafe impl<T: Send> Send for HugeSlice<T> {}
// SAFETY: shared access gives only `&T`, as in a `Box<[T]>`.
unsafe impl<T: Sync> Sync for HugeSlice<T> {}

impl<T: Default> HugeSlice<T> {
    /// `len` elements, each `T::default()`. All memory is touched, so that no page fault is left for the packet path.
    ///
    /// # Errors
    /// If the system has not that much memory available.
    pub fn new(len: usize) -> io::Result<Self> {
        Self::from_fn(len, |_| T::default())
    }
}

impl<T> HugeSlice<T> {
    /// `len` elements, each made by `make` from its index.
    ///
    /// # Errors
    /// If the system has not that much memory available.
    pub fn from_fn(len: usize, mut make: impl FnMut(usize) -> T) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= BASE_PAGE) };
        let too_large =
            || io::Error::new(io::ErrorKind::OutOfMemory, format!("a table of {len} entries is too large"));
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        if bytes == 0 {
            for index in 0..len {
                std::mem::forget(make(index)); // zero-sized: nothing is stored, dropped with the slice
            }
            return Ok(Self { data: NonNull::dangling(), len, mapping: None });
        }
        Ok(Self::fill(Mapping::new(bytes)?, len, |index, _| make(index)))
    }

    /// Writes each element, made from its index and where it will stand.
    fn fill(mapping: Mapping, len: usize, mut make: impl FnMut(usize, NonNull<T>) -> T) -> Self {
        let data = mapping.aligned.cast::<T>();
        // If `make` panics, the elements made so far are leaked, not dropped: `len` grows with them only at the end.
        let mut slice = Self { data, len: 0, mapping: Some(mapping) };
        for index in 0..len {
            // SAFETY: the mapping holds at least `len * size_of::<T>()` writable bytes from `data` on, page-aligned, which
            // satisfies `align_of::<T>()` by the assertion of the callers; `index < len`.
            unsafe {
                let place = data.add(index);
                place.write(make(index, place));
            }
        }
        slice.len = len;
        slice
    }
}

impl<T: Copy> HugeSlice<T> {
    /// `len` elements in a file, each made from its index and the bytes that stood at its place: zeroes where nothing did. What
    /// stands there is whatever the last process wrote, torn in the middle of an element or not; what it means is `read`'s to
    /// judge.
    ///
    /// # Errors
    /// If the file is shorter, or cannot be mapped.
    pub fn kept(kept: Kept, len: usize, mut read: impl FnMut(usize, &[u8]) -> T) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= BASE_PAGE && size_of::<T>() > 0) };
        if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > kept.length) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than the table"));
        }
        let mapping = Mapping::of_file(kept)?;
        let mut before = vec![0u8; size_of::<T>()];
        Ok(Self::fill(mapping, len, |index, place| {
            // SAFETY: `place` is the start of `size_of::<T>()` mapped bytes, which are initialised because they are a file's, and
            // to which no reference exists yet; the file is locked, so that no other process of ours writes there.
            unsafe { place.cast::<u8>().as_ptr().copy_to_nonoverlapping(before.as_mut_ptr(), before.len()) };
            read(index, &before)
        }))
    }
}

impl<T> HugeSlice<T> {
    /// What backs the table.
    pub fn pages(&self) -> Pages {
        self.mapping.as_ref().map_or(Pages::Base, |mapping| mapping.pages)
    }

    /// The page size in bytes: of transparent huge pages, what was asked for.
    pub fn page_size(&self) -> usize {
        match self.pages() {
            Pages::Huge | Pages::Transparent => HUGE_PAGE,
            Pages::Base => BASE_PAGE,
        }
    }
}

impl<T> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `data` points to `len` initialised elements in memory that the slice owns.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for HugeSlice<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `data` points to `len` initialised elements in memory that the slice owns; `&mut self` makes it unique.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T> Drop for HugeSlice<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are initialised and nobody uses them afterwards; the memory is returned after this, when
        // the mapping is dropped.
        unsafe { std::ptr::drop_in_place(&raw mut **self) };
    }
}

impl<T: fmt::Debug> fmt::Debug for HugeSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HugeSlice of {} elements on {}", self.len, self.pages())
    }
}

/// Memory from the kernel, zeroed, returned when dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
    /// Where the usable part begins.
    aligned: NonNull<u8>,
    pages: Pages,
    /// The file that it is of, locked as long as it is mapped.
    _file: Option<File>,
}

impl Mapping {
    fn of_file(Kept { file, length, page }: Kept) -> io::Result<Self> {
        let start = map_of(length, libc::MAP_SHARED, file.as_raw_fd())?;
        let pages = if page == HUGE_PAGE {
            Pages::Huge
        } else {
            // SAFETY: the range is the mapping just made; this advice changes how it is backed, not what it holds.
            unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_HUGEPAGE) };
            Pages::Base
        };
        Ok(Self { start, length, aligned: start, pages, _file: Some(file) })
    }

    fn new(bytes: usize) -> io::Result<Self> {
        if bytes < HUGE_PAGE {
            let length = bytes.next_multiple_of(BASE_PAGE);
            let start = map(length, 0)?;
            return Ok(Self { start, length, aligned: start, pages: Pages::Base, _file: None });
        }
        let length = bytes.next_multiple_of(HUGE_PAGE);
        // The kernel reserves huge pages when it maps, so a table that was mapped can be touched.
        let huge = HUGE.load(Ordering::Relaxed);
        if huge && let Ok(start) = map(length, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
            return Ok(Self { start, length, aligned: start, pages: Pages::Huge, _file: None });
        }
        // Ordinary memory is not reserved: what is too much would be found out by the OOM killer, hence the question.
        if let Some(available) = memory_available()
            && length as u64 > available
        {
            let text = format!(
                "a table needs {} MiB of memory and {} MiB are available",
                length >> 20,
                available >> 20
            );
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
        }
        if !huge {
            let start = map(length, 0)?;
            return Ok(Self { start, length, aligned: start, pages: Pages::Base, _file: None });
        }
        let padded = length + HUGE_PAGE;
        let start = map(padded, 0)?;
        let offset = start.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `offset < HUGE_PAGE` for a byte pointer, so it stays within the `length + HUGE_PAGE` bytes mapped.
        let aligned = unsafe { start.add(offset) };
        // SAFETY: the range lies within our own mapping; this advice changes how it is backed, not what it holds.
        let advised = unsafe { libc::madvise(aligned.as_ptr().cast(), length, libc::MADV_HUGEPAGE) } == 0;
        let pages = if advised && transparent_enabled() { Pages::Transparent } else { Pages::Base };
        Ok(Self { start, length: padded, aligned, pages, _file: None })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `map` returned, which nobody refers to any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn map(length: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    map_of(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, -1)
}

fn map_of(length: usize, flags: libc::c_int, file: RawFd) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("the kernel mapped address 0"))
}

/// Bytes that can be used without swapping, if the kernel says.
fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn transparent_enabled() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|text| !text.contains("[never]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn elements_are_default_and_writable() {
        let mut table = HugeSlice::<u64>::new(1_000_000).unwrap();
        assert!(table.iter().all(|&value| value == 0));
        assert_eq!(table.as_ptr().align_offset(64), 0);
        for (index, value) in table.iter_mut().enumerate() {
            *value = index as u64;
        }
        assert_eq!(table[999_999], 999_999);
        assert_eq!(table.len(), 1_000_000);
    }

    #[test]
    fn elements_are_dropped_once() {
        let shared = Rc::new(());
        let table = HugeSlice::from_fn(10, |_| Rc::clone(&shared)).unwrap();
        assert_eq!(Rc::strong_count(&shared), 11);
        drop(table);
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    fn empty_and_zero_sized_tables_work() {
        assert!(HugeSlice::<u64>::new(0).unwrap().is_empty());
        assert_eq!(HugeSlice::<()>::new(7).unwrap().len(), 7);
    }

    #[test]
    fn small_tables_take_ordinary_pages() {
        let table = HugeSlice::<u32>::new(100).unwrap();
        assert_eq!((table.pages(), table.page_size()), (Pages::Base, 4096));
    }

    #[test]
    fn impossible_size_is_an_error() {
        assert!(HugeSlice::<u64>::new(usize::MAX / 2).is_err());
        let error = HugeSlice::<u64>::new(1 << 43).unwrap_err();
        assert!(error.to_string().contains("MiB"), "{error}");
    }

    /// A directory in memory.
    fn path(name: &str) -> std::path::PathBuf {
        std::path::Path::new("/dev/shm").join(format!("ces-machine-{name}-{}", std::process::id()))
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let path = path("again");
        let word = |_: usize, bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
        let mut table = HugeSlice::kept(Kept::open(&path, 8000).unwrap(), 1000, word).unwrap();
        assert!(table.iter().all(|&word| word == 0));
        for (index, word) in table.iter_mut().enumerate() {
            *word = index as u64;
        }
        let error = Kept::open(&path, 80).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "it is in use");
        drop(table);
        let table = HugeSlice::kept(Kept::open(&path, 24_000).unwrap(), 3000, word).unwrap();
        assert!(
            table
                .iter()
                .enumerate()
                .all(|(index, &word)| word == if index < 1000 { index as u64 } else { 0 })
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_memory_of_our_own_is_taken() {
        let path = std::env::current_dir().unwrap().join(format!("kept-{}", std::process::id()));
        assert_eq!(Kept::open(&path, 80).unwrap_err().kind(), io::ErrorKind::Unsupported);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "anybody's").unwrap();
        assert_eq!(Kept::open(&path, 80).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::remove_file(&path).unwrap();
    }
}
