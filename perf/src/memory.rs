//! Where the process's memory lies, as the kernel tells: how much of it is on huge pages, how much there is.

use std::fs;

/// Memory of this process, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Resident, reserved huge pages not counted.
    pub resident_kib: u64,
    /// Of that, on transparent huge pages.
    pub transparent_kib: u64,
    /// On pages reserved for huge use.
    pub hugetlb_kib: u64,
}

impl Resident {
    /// Now; zeros if the kernel does not tell.
    pub fn now() -> Self {
        let Ok(text) = fs::read_to_string("/proc/self/smaps_rollup") else { return Self::default() };
        Self {
            resident_kib: field(&text, "Rss:"),
            transparent_kib: field(&text, "AnonHugePages:"),
            hugetlb_kib: field(&text, "Private_Hugetlb:") + field(&text, "Shared_Hugetlb:"),
        }
    }

    /// The page size in bytes of what was added since `before`: 2 MiB if at least 90 % of it lies on huge pages, or if
    /// it is so little that it would not fill one.
    pub fn page_size_since(&self, before: &Self) -> usize {
        let huge = (self.transparent_kib + self.hugetlb_kib)
            .saturating_sub(before.transparent_kib + before.hugetlb_kib);
        let all =
            (self.resident_kib + self.hugetlb_kib).saturating_sub(before.resident_kib + before.hugetlb_kib);
        if huge > 0 && huge * 10 >= all * 9 { machine::table::HUGE_PAGE } else { 4096 }
    }

    /// Bytes added since `before`.
    pub fn bytes_since(&self, before: &Self) -> u64 {
        let all = |r: &Self| r.resident_kib + r.hugetlb_kib;
        all(self).saturating_sub(all(before)) << 10
    }
}

/// Free huge pages of 2 MiB, reserved by the administrator, in MiB.
pub fn huge_pages_free_mib() -> u64 {
    fs::read_to_string("/proc/meminfo").map_or(0, |text| field(&text, "HugePages_Free:") * 2)
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_size_is_that_of_nine_tenths() {
        let before = Resident { resident_kib: 10_000, transparent_kib: 0, hugetlb_kib: 0 };
        let transparent = Resident { resident_kib: 110_000, transparent_kib: 95_000, hugetlb_kib: 0 };
        let reserved = Resident { resident_kib: 10_000, transparent_kib: 0, hugetlb_kib: 100_000 };
        let ordinary = Resident { resident_kib: 110_000, transparent_kib: 50_000, hugetlb_kib: 0 };
        assert_eq!(transparent.page_size_since(&before), 2 << 20);
        assert_eq!(reserved.page_size_since(&before), 2 << 20);
        assert_eq!(ordinary.page_size_since(&before), 4096);
        assert_eq!(before.page_size_since(&before), 4096);
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(field("Rss:  12 kB\nAnonHugePages:\t 7 kB\n", "AnonHugePages:"), 7);
        assert_eq!(field("", "Rss:"), 0);
    }
}
