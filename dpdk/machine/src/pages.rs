//! The sizes of pages.

/// The size of a huge page in bytes, on x86-64 and on arm64 with 4 KiB pages.
pub const HUGE_PAGE: usize = 2 << 20;
/// The size of an ordinary page in bytes.
pub(crate) const BASE_PAGE: usize = 4096;
