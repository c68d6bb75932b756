//! What a restricted binding may carry: one protocol, one port, so many bits a second (`control.dp_proto`, `dp_port`,
//! `dp_ratelimit` of CETP).
//!
//! The short way asks a comparison under a mask and what the packet costs of the rate.
//!
//! A later fragment has no port. It is carried if its first fragment was, which [`Fragments`] remembers; one that overtook
//! its first is not known, and may be kept until it is.

use super::fragments::Fragments;
use super::stage::Heading;
use crate::Nanos;
use crate::meter::{Fine, Level, PackedLevel, Rate, SECOND};
use crate::msg::BindingLimits;
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::wire::ipv4;

/// The least depth of a rate's bucket in bytes: 2 MTU.
const DEPTH_LEAST: u64 = 3000;

/// Both ports: the host's in the upper half, the far one in the lower.
const PORTS: u64 = 0xffff_ffff;
/// Where the protocol stands above the ports.
const PROTOCOL: u32 = 32;
/// A bit that no packet has.
const NEVER: u64 = 1 << 40;

/// What one restricted binding may carry.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Limit {
    /// What the protocol and the port must be, as [`word`] has them.
    wanted: u64,
    /// The bits of it that count.
    mask: u64,
    rate: Rate,
    /// From the host, and to it.
    levels: [PackedLevel; 2],
}

impl Default for Limit {
    fn default() -> Self {
        Self { wanted: 0, mask: 0, rate: Rate::UNLIMITED, levels: [PackedLevel::default(); 2] }
    }
}

impl Limit {
    pub(super) fn new(limited: &BindingLimits, burst_ms: u32) -> Self {
        let mut limit = Self::default();
        if let Some(protocol) = limited.protocol {
            limit.wanted |= u64::from(protocol) << PROTOCOL;
            limit.mask |= 0xff << PROTOCOL;
        }
        if let Some(port) = limited.port {
            let shift = if limited.port_is_inside { 16 } else { 0 };
            limit.wanted |= u64::from(port) << shift;
            limit.mask |= 0xffff << shift;
            if port == 0 {
                // Packets without ports have 0 there: the long way tells them from the others.
                (limit.wanted, limit.mask) = (limit.wanted | NEVER, limit.mask | NEVER);
            }
        }
        if let Some(bps) = limited.rate_bps {
            limit.rate = rate(bps, burst_ms);
        }
        limit
    }

    /// The short way: whether it certainly carries the packet, which is nothing [`SPECIAL`]; then its rate is charged. If not,
    /// nothing is changed, and [`Limit::check`] has to say.
    ///
    /// [`SPECIAL`]: crate::packet::SPECIAL
    #[inline(always)]
    pub(super) fn admit(&mut self, direction: Heading, packet: &Packet, now: Fine) -> bool {
        if (word(packet, direction) ^ self.wanted) & self.mask != 0 || packet.is_fragment() {
            return false;
        }
        let level = &mut self.levels[direction as usize];
        let Some(then) = self.rate.take(Level::from(*level), u64::from(packet.total), now) else {
            return false;
        };
        *level = then.into();
        true
    }

    /// The long way: whether it carries the packet.
    pub(super) fn check(
        &mut self,
        direction: Heading,
        packet: &Packet,
        fragments: &mut Fragments,
        now: Nanos,
    ) -> Result<(), DropReason> {
        let differs = (word(packet, direction) ^ self.wanted) & self.mask & !NEVER;
        if differs >> PROTOCOL != 0 {
            return Err(DropReason::PolicyProtocol);
        }
        if self.mask & PORTS != 0 {
            if packet.is_later_fragment() {
                if fragments.recall(packet, now).is_none() {
                    return Err(DropReason::FragmentUnmatched);
                }
            } else {
                if !packet.has_ports() || differs != 0 {
                    return Err(DropReason::PolicyProtocol);
                }
                if packet.is_fragment() {
                    fragments.remember(packet, now);
                }
            }
        }
        self.charge(direction, packet, now)
    }

    /// Charges its rate for a packet, if that allows it.
    pub(super) fn charge(
        &mut self,
        direction: Heading,
        packet: &Packet,
        now: Nanos,
    ) -> Result<(), DropReason> {
        let level = &mut self.levels[direction as usize];
        let then = self.rate.take(Level::from(*level), u64::from(packet.total), Fine::of(now));
        *level = then.ok_or(DropReason::RateLimited)?.into();
        Ok(())
    }

    /// Whether it does not carry every protocol and port.
    pub(super) const fn is_narrow(&self) -> bool {
        self.mask != 0
    }

    /// How the buckets stand.
    #[cfg(test)]
    pub(super) fn levels(&self) -> [PackedLevel; 2] {
        self.levels
    }

    /// Undoes what [`Limit::admit`] or [`Limit::check`] took from the rate for a packet that will be checked once more.
    pub(super) fn give_back(&mut self, direction: Heading, packet: &Packet) {
        let level = &mut self.levels[direction as usize];
        *level = self.rate.give_back(Level::from(*level), u64::from(packet.total)).into();
    }
}

/// So many bits a second, in bytes, with a bucket of so many milliseconds.
pub const fn rate(bps: u64, burst_ms: u32) -> Rate {
    let depth = (bps as u128 * burst_ms as u128 / 8000) as u64;
    Rate::new(bps, 8 * SECOND, if depth < DEPTH_LEAST { DEPTH_LEAST } else { depth })
}

/// Protocol and ports of a packet, the host's port first whichever way it goes.
#[inline(always)]
fn word(packet: &Packet, direction: Heading) -> u64 {
    let ports = match direction {
        Heading::Out => packet.ports,
        Heading::In => packet.ports.rotate_left(16),
    };
    u64::from(packet.protocol) << PROTOCOL | u64::from(ports)
}

impl Packet {
    /// Whether its protocol has ports and they were seen.
    pub(super) fn has_ports(&self) -> bool {
        matches!(self.protocol, ipv4::TCP | ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE)
    }
}
