//! Which flow a packet is of: what it is found by.

use crate::frame::Frame;
use crate::nat::{Nat, Space};
use crate::packet::{ERROR, LATER, Packet};
use crate::path::ground::Ground;
use crate::path::own::refused;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading};
use crate::tag::{Share, worker_of_pool};
use crate::verdict::Settled;
use crate::wire::{Pair, Wire, icmp, ipv4, read16, read32, tcp};

/// The other worker that owns what comes from outside, if that can be told by its port: hosts' external ports say whose they are.
#[inline(always)]
pub(in crate::path) fn owner<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &F,
    packet: &Packet,
) -> Option<u8> {
    if packet.is_fragment() {
        owner_of_fragment(ground, share, frame, packet)
    } else {
        owner_of_whole(ground, share, frame, packet)
    }
}

/// The same for a fragment. Whoever hands a first one over knows its ports by that, and where later ones go, which have none.
#[cold]
fn owner_of_fragment<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &F,
    packet: &Packet,
) -> Option<u8> {
    let (now, address) = (ground.arrival.now, packet.destination());
    if packet.flags & LATER == 0 {
        let worker = owner_of_whole(ground, share, frame, packet)?;
        let ports = match packet.protocol {
            ipv4::ICMP => identifier(frame, packet).into(),
            _ => packet.ports,
        };
        if packet.flags & ERROR == 0 {
            ground.sessions.remember(&Packet { ports, ..*packet }, now);
        }
        Some(worker)
    } else if ground.arrival.is_handed {
        None
    } else if ground.sessions.is_of_pool(address) {
        share.elsewhere(worker_of_pool(address, share.workers()))
    } else {
        let ports = ground.sessions.recall(packet, now).unwrap_or(0);
        owner_of(ground, share, address, ports as u16, packet.protocol)
    }
}

#[inline(always)]
fn owner_of_whole<F: Frame>(ground: &Ground<'_>, share: &Share, frame: &F, packet: &Packet) -> Option<u8> {
    if ground.sessions.is_of_pool(packet.destination()) {
        return share.elsewhere(worker_of_pool(packet.destination(), share.workers()));
    }
    let (protocol, port) = match packet.protocol {
        ipv4::ICMP => of_message(frame, packet),
        protocol => (protocol, packet.ports as u16),
    };
    owner_of(ground, share, packet.destination(), port, protocol)
}

/// The same for an address that is not of the circular pool.
#[inline(always)]
fn owner_of(ground: &Ground<'_>, share: &Share, address: u32, port: u16, protocol: u8) -> Option<u8> {
    let Nat { statics, exceptions, .. } = &ground.desk.premises.nat;
    if exceptions.are_of(address) {
        return share.host_elsewhere(address);
    }
    if !statics.is_empty()
        && let Some((host, _)) = statics.behind(address, port, protocol)
    {
        return share.host_elsewhere(host);
    }
    let told = port != 0 && ground.is_external(address);
    if told { share.port_elsewhere(port) } else { None }
}

/// The other worker that owns the inside host for which this arrives at an external address.
#[cold]
pub(super) fn owner_behind(ground: &Ground<'_>, arriving: Flow) -> Option<u8> {
    let (share, address) = (ground.sessions.share(), arriving.addresses.destination());
    if !share.is_part() {
        None
    } else if ground.sessions.is_of_pool(address) {
        share.elsewhere(worker_of_pool(address, share.workers()))
    } else {
        owner_of(ground, share, address, arriving.ports as u16, arriving.protocol)
    }
}

/// The protocol, and the external port or the identifier that stands for it, which an ICMP message is about; 0 = none.
#[cold]
fn of_message<F: Frame>(frame: &F, packet: &Packet) -> (u8, u16) {
    match packet.flags & (ERROR | LATER) {
        0 => (ipv4::ICMP, identifier(frame, packet)),
        ERROR => quoted(frame, packet, Heading::In)
            .map_or((ipv4::ICMP, 0), |flow| (flow.protocol, (flow.ports >> 16) as u16)),
        _ => (ipv4::ICMP, 0),
    }
}

/// The identifier of an ICMP query.
fn identifier<F: Frame>(frame: &F, packet: &Packet) -> u16 {
    read16(frame.data(), usize::from(packet.l3) + usize::from(packet.l4) + icmp::REST)
}

/// Whether it is GRE that a host exchanges with the world, and no tunnel of ours.
#[cold]
pub(in crate::path) fn is_passing(ground: &Ground<'_>, ip: &[u8]) -> bool {
    ipv4::Header::parse(ip).is_ok_and(|header| {
        let addresses = Pair::new(header.source, header.destination);
        let flow = Flow { addresses, ports: 0, protocol: header.protocol };
        let is_hosts = || ground.desk.premises.nat.statics.whole(header.destination).is_some();
        header.protocol == ipv4::GRE && (is_hosts() || ground.sessions.find(Heading::In, flow).is_some())
    })
}

/// The flow of a packet: with the identifier of an ICMP query, and with the ports of the first fragment for a later one.
pub(super) fn flow_of<F: Frame>(
    ground: &Ground<'_>,
    frame: &F,
    packet: &Packet,
    heading: Heading,
) -> Settled<Flow> {
    let mut flow = Flow::of(packet);
    if packet.flags & LATER != 0 {
        // A protocol without ports has none in its first fragment either.
        if Space::of(packet.protocol).is_some() {
            let recalled = ground.sessions.recall(packet, ground.arrival.now);
            let unmatched = || refused(packet, DropReason::FragmentUnmatched, ground.arrival);
            flow.ports = recalled.ok_or_else(unmatched)?;
        }
    } else if packet.protocol == ipv4::ICMP {
        flow.ports = query(identifier(frame, packet), heading);
    }
    Ok(flow)
}

/// The first fragment of a query to the gateway itself goes to its kernel: so do the later ones, which wait for that where the
/// address may be a host's.
#[cold]
pub(in crate::path) fn remember<F: Frame>(ground: &mut Ground<'_>, frame: &F, packet: &Packet) {
    let ports = query(identifier(frame, packet), Heading::In);
    ground.sessions.remember(&Packet { ports, ..*packet }, ground.arrival.now);
}

/// The identifier of an ICMP query stands for the port of the inside host (RFC 5508 §3.1).
const fn query(id: u16, heading: Heading) -> u32 {
    match heading {
        Heading::Out => (id as u32) << 16,
        Heading::In => id as u32,
    }
}

/// Whether a packet may begin a session: one of TCP by a SYN and nothing beside it (RFC 7857 §2), one of ICMP by a query.
pub(super) fn begins<F: Frame>(frame: &F, packet: &Packet) -> bool {
    match packet.protocol {
        ipv4::TCP => packet.tcp_flags & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) == tcp::SYN,
        ipv4::ICMP => matches!(icmp_type(frame, packet), icmp::ECHO | icmp::TIMESTAMP),
        _ => true,
    }
}

/// Whether a port is 0, which is nobody's (RFC 768, RFC 9293 §3.1).
pub(super) const fn lacks_port(packet: &Packet) -> bool {
    matches!(packet.protocol, ipv4::TCP | ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE)
        && (packet.ports >> 16 == 0 || packet.ports as u16 == 0)
}

/// The type of an ICMP message; 0 where it is none, which is that of an answer and opens nothing.
pub(super) fn icmp_type<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    let told = packet.protocol == ipv4::ICMP && packet.flags & LATER == 0;
    let kind = told.then(|| frame.data().get(usize::from(packet.l3) + usize::from(packet.l4))).flatten();
    kind.copied().unwrap_or(0)
}

/// The flow of the packet that an error quotes: of one that went the other way than the error.
pub(super) fn quoted<F: Frame>(frame: &F, packet: &Packet, heading: Heading) -> Option<Flow> {
    let ip = frame.data().get(usize::from(packet.l3)..)?;
    let (at, header) = packet.quoted(ip)?;
    // RFC 1122 §3.2.2: nothing is said about a later fragment.
    if header.fragment_offset != 0 {
        return None;
    }
    let l4 = at + header.length();
    let ports = match (header.protocol, Space::of(header.protocol)) {
        (ipv4::ICMP, _) => query(read16(ip, l4 + icmp::REST), heading).rotate_left(16),
        (_, Some(_)) => read32(ip, l4),
        (_, None) => 0,
    };
    Some(Flow { addresses: Pair::new(header.source, header.destination), ports, protocol: header.protocol })
}
