//! What a restricted binding may carry: one protocol, one port, so many bits a second (`control.dp_proto`, `dp_port`,
//! `dp_ratelimit` of CETP). Only restricted bindings have an entry here.
//!
//! A later fragment has no port. It is carried if its first fragment was, which a small table remembers; a later
//! fragment that overtook its first one is dropped and counted (RFC 1858 and 3128 are the price of looking at ports).

use crate::Nanos;
use crate::meter::{Bucket, SECOND};
use crate::msg::Limits as Limited;
use crate::path::packet::Packet;
use crate::reason::DropReason;
use crate::wire::ipv4;

/// The least depth of a rate's bucket in bytes: 2 MTU.
const DEPTH_LEAST: u64 = 3000;
/// Sets of the fragment table.
const SETS: usize = 256;
/// Fragmented packets in a set. 1,024 at once in all: at 30 s each, 34 a second before the oldest is forgotten.
const WAYS: usize = 4;
/// How long later fragments are awaited; reassembly at the host takes as long (RFC 1122 §3.3.2: 60 to 120 s is the
/// host's, on today's paths fragments arrive together).
const FRAGMENT_NS: Nanos = 30 * SECOND;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host.
    Out,
    /// To the host.
    In,
}

#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    limited: Limited,
    meters: [Bucket; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Fragmented {
    addresses: u64,
    id: u32,
    until: Nanos,
}

/// The table.
#[derive(Debug)]
pub struct Limits {
    entries: Vec<Limit>,
    free: Vec<u16>,
    fragments: Box<[[Fragmented; WAYS]]>,
}

impl Limits {
    /// A table without entries.
    pub fn new(count: u16) -> Self {
        // An entry's place plus 1 must fit 16 bits.
        let count = count.min(u16::MAX - 1);
        Self {
            entries: vec![Limit::default(); usize::from(count)],
            free: (0..count).rev().collect(),
            fragments: vec![[Fragmented::default(); WAYS]; SETS].into_boxed_slice(),
        }
    }

    /// An entry for these limits: its place plus 1; 0 for none at all; `None` if the table is full.
    pub fn allocate(&mut self, limited: &Limited) -> Option<u16> {
        if limited.protocol.is_none() && limited.port.is_none() && limited.rate_bps.is_none() {
            return Some(0);
        }
        let place = self.free.pop()?;
        let bytes = limited.rate_bps.unwrap_or(0) / 8;
        let meter = Bucket::new(bytes, (bytes / 10).max(DEPTH_LEAST));
        self.entries[usize::from(place)] = Limit { limited: *limited, meters: [meter; 2] };
        Some(place + 1)
    }

    /// Gives an entry back.
    pub fn release(&mut self, limits: u16) {
        if let Some(place) = limits.checked_sub(1) {
            self.free.push(place);
        }
    }

    /// Whether the binding with these limits carries the packet.
    pub fn check(
        &mut self,
        limits: u16,
        direction: Direction,
        packet: &Packet,
        now: Nanos,
    ) -> Result<(), DropReason> {
        let Some(limit) = limits.checked_sub(1).and_then(|place| self.entries.get_mut(usize::from(place)))
        else {
            return Ok(());
        };
        if limit.limited.protocol.is_some_and(|protocol| protocol != packet.protocol) {
            return Err(DropReason::PolicyProtocol);
        }
        if let Some(port) = limit.limited.port {
            if packet.is_later_fragment() {
                if !recall(&self.fragments, packet, now) {
                    return Err(DropReason::FragmentUnmatched);
                }
            } else {
                let serving_is_source = limit.limited.port_is_inside == (direction == Direction::Out);
                let serving = if serving_is_source { packet.ports >> 16 } else { packet.ports & 0xffff };
                if !packet.has_ports() || serving != u32::from(port) {
                    return Err(DropReason::PolicyProtocol);
                }
                if packet.is_fragment() {
                    remember(&mut self.fragments, packet, now);
                }
            }
        }
        if limit.limited.rate_bps.is_some()
            && !limit.meters[direction as usize].take(u64::from(packet.total), now)
        {
            return Err(DropReason::RateLimited);
        }
        Ok(())
    }

    /// Undoes what [`Limits::check`] took from the rate for a packet that will be checked once more.
    pub fn give_back(&mut self, limits: u16, direction: Direction, packet: &Packet) {
        if let Some(limit) = limits.checked_sub(1).and_then(|place| self.entries.get_mut(usize::from(place)))
            && limit.limited.rate_bps.is_some()
        {
            limit.meters[direction as usize].give_back(u64::from(packet.total));
        }
    }
}

fn identity(packet: &Packet) -> (u32, usize) {
    let id = u32::from(packet.id) << 8 | u32::from(packet.protocol);
    let mixed = (packet.source() ^ packet.destination().rotate_left(16) ^ id).wrapping_mul(0x9e37_79b1);
    (id, mixed as usize >> 16 & (SETS - 1))
}

fn recall(fragments: &[[Fragmented; WAYS]], packet: &Packet, now: Nanos) -> bool {
    let (id, set) = identity(packet);
    fragments[set]
        .iter()
        .any(|known| (known.addresses, known.id) == (packet.addresses, id) && now < known.until)
}

fn remember(fragments: &mut [[Fragmented; WAYS]], packet: &Packet, now: Nanos) {
    let (id, set) = identity(packet);
    if let Some(oldest) = fragments[set].iter_mut().min_by_key(|known| known.until) {
        *oldest = Fragmented { addresses: packet.addresses, id, until: now + FRAGMENT_NS };
    }
}

impl Packet {
    /// Whether its protocol has ports and they were seen.
    fn has_ports(&self) -> bool {
        matches!(self.protocol, ipv4::TCP | ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE)
    }
}
