//! What ALGs wrote anew, or would have, for who looks: as much of it as a meter lets.

use crate::Nanos;
use crate::alg::scope::Rewrite;
use crate::events::Events;
use crate::msg::Event;
use crate::premises::Meters;
use std::net::Ipv4Addr;

/// Shows that between these two in this protocol the second place was written instead of the first, or only would have been.
pub(super) fn show(
    between: [u32; 2],
    (protocol, is_dry): (&'static str, bool),
    places: [(u32, u16); 2],
    (meters, events): (&mut Meters, &mut Events),
    now: Nanos,
) {
    if meters.rewrite(now) {
        let [host, remote] = between.map(Ipv4Addr::from_bits);
        let [from, to] = places.map(|(address, port)| (Ipv4Addr::from_bits(address), port));
        events.offer(Event::Rewritten(Rewrite { protocol, host, remote, from, to, is_dry }));
    }
}
