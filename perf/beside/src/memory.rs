//! Where packet memory comes from: the same for every device that runs on DPDK.

use dpdk::Memory;
use serde::Serialize;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
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

/// The same for a whole run, in which device and generator need memory at once: decided once, so that all get the same.
pub fn for_run(pages: Pages) -> Pages {
    match pages {
        Pages::Auto if ces_perf::memory::huge_pages_free_mib() >= 2 * u64::from(PROCESS_MIB) => Pages::Huge,
        Pages::Auto => Pages::Ordinary,
        pages => pages,
    }
}

/// Where a process that starts now takes its memory from.
pub fn choose(pages: Pages) -> Memory {
    let huge = match pages {
        Pages::Huge => true,
        Pages::Ordinary => false,
        Pages::Auto => ces_perf::memory::huge_pages_free_mib() >= u64::from(PROCESS_MIB),
    };
    if huge { Memory::HugePages } else { Memory::Ordinary { mib: PROCESS_MIB } }
}
