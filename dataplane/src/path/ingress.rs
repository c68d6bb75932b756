//! From a tunnel to an inside host.

use super::egress::clamp_segment;
use super::icmp::{Error, translate_quoted, write_error};
use super::packet::{DONT_FRAGMENT, ERROR, EXPIRED, Packet, SPECIAL, SYN};
use super::{AHEAD, BURST, Settled, fragment, write};
use crate::Nanos;
use crate::binding::Life;
use crate::frame::{Buffers, Frame};
use crate::limits::Direction;
use crate::msg::{Encapsulation, PortId};
use crate::port::Link;
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::{State, seconds};
use crate::verdict::Verdict;
use crate::wire::{Wire, ethernet, geneve, gre, icmp, ipv4, read16, udp, vxlan};

/// The ECN field of a TOS (RFC 3168 §5).
const ECN: u8 = 3;
/// Congestion experienced.
const CE: u8 = 3;
/// ECN-capable transport 1.
const ECT1: u8 = 1;

impl State {
    pub(super) fn ingress_burst<F: Frame, B: Buffers<F>>(
        &mut self,
        port: PortId,
        frames: &mut [F],
        verdicts: &mut [Verdict],
        buffers: &mut B,
        now: Nanos,
    ) {
        let mut packets = std::mem::take(&mut self.scratch.packets);
        let mut open = 0;
        for frame in frames.iter().take(AHEAD) {
            frame.prefetch();
        }
        for (number, packet) in packets.iter_mut().enumerate().take(frames.len()) {
            if let Some(next) = frames.get(number + AHEAD) {
                next.prefetch();
            }
            match self.parse_outside(port, &mut frames[number], packet, now) {
                Ok(()) => {
                    if let Some(entry) = self.bindings.get(packet.slot as usize) {
                        machine::prefetch_write(entry);
                    }
                    self.scratch.open[open % BURST] = number as u8;
                    open += 1;
                }
                Err(verdict) => verdicts[number] = verdict,
            }
        }
        let now_s = seconds(now);
        for place in 0..open {
            let number = usize::from(self.scratch.open[place]);
            let (frame, packet) = (&mut frames[number], &packets[number]);
            verdicts[number] =
                self.ingress(frame, packet, buffers, now, now_s).unwrap_or_else(|verdict| verdict);
        }
        self.scratch.packets = packets;
    }

    /// Phase 1: the inner packet with the slot that its tag names, or what became of it.
    #[inline(always)]
    fn parse_outside<F: Frame>(
        &mut self,
        port: PortId,
        frame: &mut F,
        packet: &mut Packet,
        now: Nanos,
    ) -> Settled<()> {
        let arrival = &self.ports[usize::from(port)];
        let data = frame.data();
        let l3 = match arrival.accept(data)? {
            Link::Ipv4(l3) => l3,
            Link::Arp(l3) => return Err(self.arp(port, data, l3, now)),
        };
        let outer = ipv4::Header::parse(&data[l3..])?;
        let end = l3 + usize::from(outer.total_length);
        let data = data.get(..end).ok_or(DropReason::IpTotalLength)?;
        let Some((encapsulation, tunnel_id, inner)) = unwrap(data, l3, &outer)? else {
            return Err(self.outside_plain(port, frame, l3, packet, now));
        };
        packet.parse(data, inner)?;
        packet.outer_source = outer.source;
        packet.outer_destination = outer.destination;
        packet.outer_tos = outer.tos;
        packet.tunnel_id = tunnel_id;
        packet.encapsulation = Some(encapsulation);
        // The session tag is the handle of its binding (tag.rs).
        packet.slot = self.slot_of_tag(packet.destination).map_err(Verdict::HandOff)?;
        Ok(())
    }

    /// Phase 3 (there is no phase 2: the tag leads to the binding itself).
    #[inline(always)]
    fn ingress<F: Frame, B: Buffers<F>>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        buffers: &mut B,
        now: Nanos,
        now_s: u32,
    ) -> Settled<Verdict> {
        let Some(entry) = self.bindings.get_mut(packet.slot as usize) else {
            return Err(self.ingress_unknown(packet));
        };
        let Some(tunnel) = self.tunnels.at(entry.tunnel) else {
            return Err(self.ingress_unknown(packet));
        };
        let tags = entry.life == Life::Tunnel
            && entry.source == packet.destination
            && entry.destination == packet.source;
        let pair = tunnel.local == packet.outer_destination
            && tunnel.remote == packet.outer_source
            && tunnel.id_in == packet.tunnel_id
            && tunnel.encapsulation == packet.encapsulation;
        if !(tags && pair) {
            return Err(self.ingress_unknown(packet));
        }
        if packet.flags & SPECIAL != 0 || entry.limits != 0 || (packet.tos ^ packet.outer_tos) & ECN != 0 {
            self.ingress_special(frame, packet, now)?;
        }
        let entry = &mut self.bindings[packet.slot as usize];
        let l3 = usize::from(packet.l3);
        let hop = self.hops.at(entry.neighbour);
        if packet.total > hop.mtu {
            return self.ingress_blocked(frame, packet, buffers, now);
        }
        write::translate(&mut frame.data_mut()[l3..], packet, entry.proxy, entry.host);
        if !write::deliver(frame, l3, packet.total, &hop) {
            return Err(Verdict::Drop(DropReason::NoHeadroom));
        }
        entry.count_in(packet.total, now_s);
        Ok(Verdict::Forward(hop.port))
    }

    /// Why a tunnel packet matches no binding.
    #[cold]
    fn ingress_unknown(&self, packet: &Packet) -> Verdict {
        let (local, remote) = (packet.outer_destination, packet.outer_source);
        let known = |id: Option<u32>| {
            let of = |tunnel: &crate::tunnel::Entry| {
                tunnel.encapsulation == packet.encapsulation && id.is_none_or(|id| tunnel.id_in == id)
            };
            self.tunnels.find(local, remote, of).is_some()
        };
        Verdict::Drop(if !self.is_own(Side::Outside, local) {
            DropReason::Unasked
        } else if !known(None) {
            DropReason::TunnelOuterUnknown
        } else if !known(Some(packet.tunnel_id)) {
            DropReason::TunnelIdUnknown
        } else {
            DropReason::TunnelTagUnknown
        })
    }

    /// What is unusual about the packet or its binding. `Ok`: go on.
    #[cold]
    fn ingress_special<F: Frame>(&mut self, frame: &mut F, packet: &Packet, now: Nanos) -> Settled<()> {
        let entry = self.bindings[packet.slot as usize];
        if packet.flags & EXPIRED != 0 {
            let what = (icmp::TIME_EXCEEDED, 0, 0);
            return Err(self.answer_outside(frame, packet, what, DropReason::TtlExceeded, now));
        }
        if packet.flags & ERROR == 0 {
            self.limits.check(entry.limits, Direction::In, packet, now)?;
        }
        let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
        if (packet.tos ^ packet.outer_tos) & ECN != 0 {
            write::set_tos(ip, ecn_out(packet.tos, packet.outer_tos)?);
        }
        if packet.flags & ERROR != 0 {
            // It quotes what our host sent: from our tag to the peer's.
            let ours = |quoted: &ipv4::Header| {
                quoted.source == entry.source && quoted.destination == entry.destination
            };
            if !packet.quoted(ip).is_some_and(|(_, quoted)| ours(&quoted))
                || !translate_quoted(ip, packet, entry.host, entry.proxy)
            {
                return Err(Verdict::Drop(DropReason::IcmpErrorUnmatched));
            }
        }
        if packet.flags & SYN != 0 {
            let mtu = self.tunnels.at(entry.tunnel).map_or(0, |tunnel| tunnel.inner_mtu);
            clamp_segment(ip, packet, mtu);
        }
        Ok(())
    }

    /// The way to the host is closed, or too narrow for the packet.
    #[cold]
    fn ingress_blocked<F: Frame, B: Buffers<F>>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        buffers: &mut B,
        now: Nanos,
    ) -> Settled<Verdict> {
        let entry = self.bindings[packet.slot as usize];
        let hop = self.hops.at(entry.neighbour);
        if hop.mtu == 0 {
            self.want(entry.neighbour, now);
            return Err(Verdict::Drop(DropReason::NeighbourUnresolved));
        }
        if packet.flags & DONT_FRAGMENT != 0 {
            let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(hop.mtu));
            return Err(self.answer_outside(frame, packet, what, DropReason::TooBig, now));
        }
        let l3 = usize::from(packet.l3);
        write::translate(&mut frame.data_mut()[l3..], packet, entry.proxy, entry.host);
        let finish =
            |frame: &mut F, l3: usize, total: u16| write::deliver(frame, l3, total, &hop).then_some(hop.port);
        let (first, made) =
            fragment::split(frame, packet, hop.mtu, buffers, |frame, total| finish(frame, 0, total))?;
        let port = finish(frame, l3, first).ok_or(DropReason::NoHeadroom)?;
        self.counters.fragments_made += made;
        self.bindings[packet.slot as usize].count_in(packet.total, seconds(now));
        Ok(Verdict::Forward(port))
    }

    /// Drops a packet from a tunnel, and turns its frame into an ICMP error that goes back through the tunnel with the
    /// binding's tags where that is allowed: the far host sees it come from its proxy. `what` is type, code and second
    /// word.
    fn answer_outside<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &Packet,
        what: (u8, u8, u32),
        reason: DropReason,
        now: Nanos,
    ) -> Verdict {
        let entry = self.bindings[packet.slot as usize];
        let Some(tunnel) = self.tunnels.at(entry.tunnel).copied().filter(|tunnel| tunnel.inner_mtu != 0)
        else {
            return Verdict::Drop(reason);
        };
        if !self.may_answer(packet, now) {
            return Verdict::Drop(reason);
        }
        let (kind, code, rest) = what;
        let error = Error { kind, code, rest, source: entry.source, destination: entry.destination };
        let (l3, quoted) = (usize::from(packet.l3), usize::from(packet.total));
        self.outer_id = self.outer_id.wrapping_add(1);
        // The inner front of a tunnel packet is 64 bytes and more, so the error's headers find their room there.
        let sent = write_error(frame, l3, quoted, 0, &error).is_some_and(|total| {
            total <= tunnel.inner_mtu
                && write::encap(frame, 0, total, &tunnel, 0xc0, packet.entropy(), self.outer_id)
        });
        if sent { Verdict::Reply(tunnel.port, reason) } else { Verdict::Drop(reason) }
    }
}

/// The encapsulation, tunnel id and place of the inner IPv4 packet of a tunnel packet; `None` if it is none.
#[inline(always)]
fn unwrap(
    data: &[u8],
    l3: usize,
    outer: &ipv4::Header,
) -> Result<Option<(Encapsulation, u32, usize)>, DropReason> {
    let l4 = l3 + outer.length();
    let (encapsulation, tunnel_id, inner) = match outer.protocol {
        ipv4::UDP => {
            let port = read16(data, l4 + 2);
            if port != vxlan::PORT && port != geneve::PORT || outer.fragment_offset != 0 {
                return Ok(None);
            }
            if outer.more_fragments {
                return Err(DropReason::OuterFragment);
            }
            let udp = udp::Header::parse(&data[l4..])?;
            if usize::from(udp.datagram_length) > outer.payload_length() {
                return Err(DropReason::L4Malformed);
            }
            let at = l4 + udp::LENGTH;
            if port == vxlan::PORT {
                let header = vxlan::Header::parse(&data[at..])?;
                (Encapsulation::Vxlan, header.id, at + vxlan::LENGTH)
            } else {
                let header = geneve::Header::parse(&data[at..])?;
                (Encapsulation::Geneve, header.id, at + header.length())
            }
        }
        ipv4::GRE => {
            if outer.is_fragment() {
                return Err(DropReason::OuterFragment);
            }
            let header = gre::Header::parse(&data[l4..])?;
            (Encapsulation::Gre, header.key, l4 + gre::LENGTH)
        }
        _ => return Ok(None),
    };
    if data.len() < inner + ethernet::LENGTH {
        return Err(DropReason::Truncated);
    }
    // RFC 7348 §6.1: an inner VLAN tag is not carried; addresses carry nothing here.
    if read16(data, inner + 12) != ethernet::IPV4 {
        return Err(DropReason::TunnelMalformed);
    }
    Ok(Some((encapsulation, tunnel_id, inner + ethernet::LENGTH)))
}

/// The TOS of a packet that leaves a tunnel (RFC 6040 §4.2, figure 4): its own DSCP; congestion that the outer header
/// met is carried on, and a packet that does not take part in ECN must not have met any.
fn ecn_out(inner: u8, outer: u8) -> Result<u8, DropReason> {
    let ecn = match (inner & ECN, outer & ECN) {
        (0, CE) => return Err(DropReason::EcnInvalid),
        (0, _) => 0,
        (_, CE) | (CE, _) => CE,
        (_, ECT1) => ECT1,
        (own, _) => own,
    };
    Ok(inner & !ECN | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6040_figure_4() {
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let expected = [
            (0, [Some(0), Some(0), Some(0), None]),
            (2, [Some(2), Some(2), Some(1), Some(3)]),
            (1, [Some(1), Some(1), Some(1), Some(3)]),
            (3, [Some(3), Some(3), Some(3), Some(3)]),
        ];
        for (inner, row) in expected {
            for (outer, want) in [0, 2, 1, 3].into_iter().zip(row) {
                let got = ecn_out(0xb8 | inner, outer).ok();
                assert_eq!(got, want.map(|ecn| 0xb8 | ecn), "inner {inner}, outer {outer}");
            }
        }
    }
}
