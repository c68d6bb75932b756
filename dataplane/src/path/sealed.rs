//! What comes through an encrypted tunnel: it is opened where it arrives, before anybody knows whose it is, since its session tag
//! is encrypted with all else. The worker that owns its host then takes it once.

use super::ground::Ground;
use crate::frame::Frame;
use crate::msg::Encapsulation;
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::seal::Unsealed;
use crate::table::tunnels;
use crate::tag::{Share, Tag};
use crate::verdict::{Custody, Settled, Verdict};
use crate::wire::{Pair, Wire, ipv4, psp, read16, read32, udp};

/// Opens a packet that looks encrypted, and parses what was in it. False: it is something else, of nobody's with whom tunnels are
/// encrypted.
#[inline(never)]
pub(super) fn unseal<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &mut F,
    l3: usize,
    packet: &mut Packet,
) -> Settled<bool> {
    // What it was before, in this place of the burst, says nothing.
    packet.inbound = 0;
    let Some((outer, begin, end)) = find(frame.data(), l3)? else { return Ok(false) };
    let bytes = frame.data_mut().get_mut(begin..end).ok_or(DropReason::Truncated)?;
    let before = if ground.arrival.custody == Custody::New { None } else { Unsealed::before(bytes) };
    let addresses = Pair::new(outer.source, outer.destination);
    let opened = if let Some(opened) = before {
        opened
    } else {
        let seals = ground.ways.seals();
        if !seals.knows(read32(bytes, psp::SPI)) && !is_peers(ground, addresses) {
            return Ok(false);
        }
        seals.open(bytes)?
    };
    let (data, at) = (&frame.data()[..end - psp::TAG], begin + psp::LENGTH);
    if !packet.parse_plain(&data[at..], at) {
        packet.parse(data, at)?;
    }
    packet.outer = addresses;
    packet.outer_tos = outer.tos;
    packet.inbound = tunnels::inbound(Encapsulation::Psp, opened.id);
    if let Some(worker) = share.owner_elsewhere(share.handle(Tag(packet.destination()))) {
        return Err(Verdict::HandOff(worker));
    }
    // What was kept was taken before it was.
    if ground.arrival.custody != Custody::Kept || before.is_none() {
        ground.ways.seals_mut().admit(opened)?;
    }
    Ok(true)
}

/// The outer header of what looks encrypted, and where the header of PSP begins and the tag ends.
fn find(data: &[u8], l3: usize) -> Result<Option<(ipv4::Header, usize, usize)>, DropReason> {
    let ip = data.get(l3..).ok_or(DropReason::Truncated)?;
    let outer = ipv4::Header::parse(ip)?;
    let l4 = outer.length();
    let port = read16(ip, l4 + udp::DESTINATION_PORT);
    if outer.protocol != ipv4::UDP || outer.fragment_offset != 0 || port != psp::PORT {
        return Ok(None);
    }
    if outer.more_fragments {
        return Err(DropReason::OuterFragment);
    }
    let udp = udp::Header::parse(&ip[l4..usize::from(outer.total_length)])?;
    let datagram = usize::from(udp.datagram_length);
    if datagram > outer.payload_length() {
        return Err(DropReason::L4Malformed);
    }
    if datagram < udp::LENGTH + psp::LENGTH + psp::TAG {
        return Err(DropReason::TunnelMalformed);
    }
    Ok(Some((outer, l3 + l4 + udp::LENGTH, l3 + l4 + datagram)))
}

/// Whether tunnels between these locators, the peer's first, are encrypted.
pub(super) fn is_peers(ground: &Ground<'_>, outer: Pair) -> bool {
    ground.ways.tunnels().find(outer, |tunnel| tunnel.seal.is_some()).is_some()
}
