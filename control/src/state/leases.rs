//! Leases of DHCP as they are written down.

use super::lines::{KeptLine, LineFile};
use ces_dhcp::LeaseRecord;
use std::net::Ipv4Addr;

/// The file of leases.
pub type LeaseFile = LineFile<LeaseRecord>;

impl KeptLine for LeaseRecord {
    type Key = Ipv4Addr;
    const FILE: &'static str = "leases";
    const HEADER: &'static str = "ces-leases 1\n";
    const WHAT: &'static str = "leases";
    const UNWRITTEN: &'static str = ", so no host gets or keeps an address until they can";
    const DAMAGED: &'static str = "of leases that stood there nothing is known but what their clients say, and what is found out \
                                   by asking whether an address is in use";

    fn key(&self) -> Ipv4Addr {
        self.address
    }

    fn stands(&self) -> bool {
        self.holder.is_some()
    }
}
