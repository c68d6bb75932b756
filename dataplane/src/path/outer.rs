//! ICMP errors from the outside world about our own tunnel packets.
//!
//! Anybody can send them, so they are believed only as far as they quote what we really send: a tunnel of ours, our range
//! of source ports, the right id if the quote reaches it. "Fragmentation needed" lowers the tunnel's MTU (RFC 1191), no
//! lower than a floor, which is higher for who cannot tell the id; the next packet that is too large is then answered or
//! fragmented here. Other errors are told to the host as "host unreachable" from its proxy (RFC 2003 §4), if the quote
//! reaches the session tags.

use super::ground::Ground;
use super::icmp::{Error, translate_quoted, write_error};
use crate::frame::Frame;
use crate::msg::Encapsulation;
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::settings::Side;
use crate::table::tunnels::{self, Knowledge};
use crate::tag::{Share, Tag};
use crate::verdict::Verdict;
use crate::way::Front;
use crate::wire::outer::SOURCE_PORTS;
use crate::wire::{Pair, Wire, checksum, ethernet, geneve, gre, icmp, ipv4, psp, read16, read32, udp, vxlan};

/// MTUs worth trying below a packet that was too big, when the router does not say (RFC 1191 §7.1).
const PLATEAUS: [u16; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// An ICMP error to one of our outside addresses. `None`: it is not about a tunnel.
pub(super) fn outer_error<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &mut F,
    packet: &Packet,
) -> Option<Verdict> {
    let l3 = usize::from(packet.l3);
    let ip = frame.data().get(l3..l3 + usize::from(packet.total))?;
    let message = &ip[usize::from(packet.l4)..];
    let (at, quoted) = packet.quoted(ip)?;
    if !ground.desk.premises.is_own(Side::Outside, quoted.source) || quoted.fragment_offset != 0 {
        return None;
    }
    let l4 = at + quoted.length();
    let (encapsulation, header) = match (quoted.protocol, read16(ip, l4 + udp::DESTINATION_PORT)) {
        (ipv4::GRE, _) => (Encapsulation::Gre, l4),
        (ipv4::UDP, vxlan::PORT) => (Encapsulation::Vxlan, l4 + udp::LENGTH),
        (ipv4::UDP, geneve::PORT) => (Encapsulation::Geneve, l4 + udp::LENGTH),
        (ipv4::UDP, psp::PORT) => (Encapsulation::Psp, l4 + udp::LENGTH),
        _ => return None,
    };
    let unmatched = Some(Verdict::Drop(DropReason::IcmpErrorUnmatched));
    if !checksum::valid(message) {
        return Some(Verdict::Drop(DropReason::L4Malformed));
    }
    if quoted.protocol == ipv4::UDP && read16(ip, l4 + udp::SOURCE_PORT) < SOURCE_PORTS {
        return unmatched;
    }
    // The id stands in the second word of each of the headers; in GRE and PSP it fills the word. A quote of 64 bits
    // (RFC 792) reaches it in GRE alone.
    let quotes_id = ip.len() >= header + vxlan::LENGTH;
    let id = match encapsulation {
        Encapsulation::Gre => read32(ip, header + gre::KEY),
        Encapsulation::Psp => read32(ip, header + psp::SPI) & !psp::EPOCH,
        Encapsulation::Vxlan | Encapsulation::Geneve => read32(ip, header + vxlan::ID) >> 8,
    };
    let of = |tunnel: &tunnels::TunnelEntry| {
        tunnel.encapsulation == Some(encapsulation) && (!quotes_id || tunnel.id_out == id)
    };
    let Some(tunnel) = ground.ways.tunnels().find(Pair::new(quoted.destination, quoted.source), of) else {
        return unmatched;
    };
    let (kind, code) = (message[0], message[1]);
    if (kind, code) == (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) {
        let said = read16(message, icmp::NEXT_HOP_MTU);
        let sent = quoted.total_length;
        let mtu =
            if said == 0 { PLATEAUS.into_iter().find(|&plateau| plateau < sent).unwrap_or(68) } else { said };
        // A quote that ends before the tunnel's id proves nothing.
        let proof = if quotes_id { Knowledge::Id } else { Knowledge::None };
        ground.ways.narrow(tunnel, mtu, proof, ground.events);
        return Some(Verdict::Absorb);
    }
    if encapsulation == Encapsulation::Psp {
        // What it quotes beyond that nobody can read, so nobody knows whom to tell.
        return unmatched;
    }
    let inner = header + vxlan::LENGTH + ethernet::LENGTH;
    Some(tell_host(ground, share, frame, packet, inner, tunnel.0))
}

/// Turns the error into "host unreachable" from the proxy to the host whose packet stands at `inner` of the error.
fn tell_host<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &mut F,
    packet: &Packet,
    inner: usize,
    tunnel: u16,
) -> Verdict {
    let unmatched = Verdict::Drop(DropReason::IcmpErrorUnmatched);
    let l3 = usize::from(packet.l3);
    let end = l3 + usize::from(packet.total);
    let Some(quoted) = frame.data().get(l3 + inner..end) else {
        return unmatched;
    };
    let (length, Ok(header)) = (quoted.len(), ipv4::Header::parse_quoted(quoted)) else {
        return unmatched;
    };
    // RFC 1122 §3.2.2: no error about an error, nor about a later fragment.
    let about_error = header.protocol == ipv4::ICMP
        && icmp::Header::is_error(quoted.get(header.length()).copied().unwrap_or(0));
    if length < header.quoted_least() || about_error || header.fragment_offset != 0 {
        return unmatched;
    }
    let handle = share.handle(Tag(header.source));
    if let Some(worker) = share.owner_elsewhere(handle) {
        return Verdict::HandOff(worker);
    }
    let Ground { desk, bindings, ways, events, arrival, .. } = ground;
    let Some(entry) = bindings.entry(share.slot(handle)).filter(|entry| {
        entry.is_tunnel()
            && entry.tunnel() == tunnel
            && entry.far() == Pair::new(header.source, header.destination)
    }) else {
        return unmatched;
    };
    let way = entry.way_in();
    if ways.mtu(way) == 0 {
        return ways.hold(way, arrival.attempt, events, arrival.now);
    }
    if !desk.may_tell(entry.host(), *arrival) {
        return unmatched;
    }
    let (kind, code, rest) = (icmp::UNREACHABLE, icmp::HOST_UNREACHABLE, 0);
    let error = Error { kind, code, rest, source: entry.proxy(), destination: entry.host() };
    let Some(total) = write_error(frame, l3 + inner, length, 0, &error) else {
        return Verdict::Drop(DropReason::NoHeadroom);
    };
    // The error quotes the packet with tags: now it is an error like those that come through the tunnel.
    let mut fresh = Packet::NOTHING;
    if fresh.parse(frame.data(), 0).is_err() {
        return unmatched;
    }
    translate_quoted(frame.data_mut(), &fresh, entry.host(), entry.proxy());
    match ways.wrap(way, frame, Front { l3: 0, total, tos: fresh.tos }, 0) {
        Some(egress) => Verdict::Forward(egress),
        None => Verdict::Drop(DropReason::NoHeadroom),
    }
}
