//! Carries probes of the paths' widths out, and what they show to the workers (P12). When and how long they are is in
//! [`crate::probes`].

use crate::Nanos;
use crate::address::TunnelEnd;
use crate::core::Core;
use crate::gateway::Gateway;
use crate::output::Output;
use rand::RngExt;

impl Gateway {
    /// An answer to an echo request came from a peer's locator. False: it was none of ours.
    pub fn handle_echo(&mut self, from: TunnelEnd, token: u32, now: Nanos) -> bool {
        self.core.echoed(from, token, now)
    }

    /// Sends the probes that are due.
    pub(crate) fn probe_paths(&mut self, now: Nanos) {
        while let Some(id) = self.core.paths.take_due(now) {
            let fresh = self.rng.random();
            if let Some((size, token)) = self.core.paths.probe(id, fresh, now)
                && self.core.settings.cetp.probe_mtu
                && let Some(key) = self.core.sessions().tunnel(id).map(|entry| &entry.key)
                && let Some((port, mac)) = self.core.neighbours.station(key.remote)
            {
                let (from, to) = (key.local, key.remote);
                self.core.outputs.push_back(Output::Echo { port, mac, from, to, size, token });
            }
        }
    }
}

impl Core {
    fn echoed(&mut self, from: TunnelEnd, token: u32, now: Nanos) -> bool {
        let tunnels = self.sessions().tunnels().iter().filter(|(_, entry)| entry.key.remote == from);
        let ids: Vec<_> = tunnels.map(|(id, _)| id).collect();
        ids.into_iter().any(|id| {
            let before = self.paths.mtu(id);
            let is_ours = self.paths.answered(id, token, now);
            if self.paths.mtu(id) != before {
                self.tell_tunnel(id);
                self.log_mtu(id);
            }
            is_ours
        })
    }
}
