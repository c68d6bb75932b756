//! Carries probes of the paths' widths out, and what they show to the workers (P12). When and how long they are is in
//! [`crate::probes`].

use super::Gateway;
use crate::Nanos;
use crate::address::TunnelEnd;
use rand::RngExt;

impl Gateway {
    /// An answer to an echo request came from a peer's locator. False: it was none of ours.
    pub fn handle_echo(&mut self, from: TunnelEnd, token: u32, now: Nanos) -> bool {
        let (fabric, out) = self.core.fabric_mut();
        fabric.echoed(from, token, out, now)
    }

    /// Sends the probes that are due.
    pub(super) fn probe_paths(&mut self, now: Nanos) {
        let probes = self.core.settings().cetp.probe_mtu;
        let (fabric, out) = self.core.fabric_mut();
        while let Some(id) = fabric.take_due(now) {
            let fresh = self.rng.random();
            fabric.probe(id, fresh, now).filter(|_| probes).into_iter().for_each(|echo| out.push(echo));
        }
    }
}
