//! Where packet memory comes from: the same for every device that runs on DPDK.

use dpdk::Memory;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pages {
    /// Huge pages if enough are free, else ordinary ones.
    Auto,
    /// Huge pages.
    Huge,
    /// Ordinary pages.
    Ordinary,
}

/// Packet memory of one process in MiB: 16,383 mbufs of 2.4 KiB are 39 MiB; the others' default pools are up to ten times
/// as large.
pub const PROCESS_MIB: u32 = 512;

/// Where a process that starts now takes its memory from.
pub fn choose(pages: Pages) -> Memory {
    let huge = match pages {
        Pages::Huge => true,
        Pages::Ordinary => false,
        Pages::Auto => ces_perf::memory::huge_pages_free_mib() >= u64::from(PROCESS_MIB),
    };
    if huge { Memory::HugePages } else { Memory::Ordinary { mib: PROCESS_MIB } }
}
