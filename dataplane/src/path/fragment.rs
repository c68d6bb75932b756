//! Cutting a packet into fragments (RFC 791 §3.2).

use crate::egress::Egress;
use crate::frame::{Buffers, Frame};
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::way::{Front, Way, Ways};
use crate::wire::{Wire, ipv4};

/// Sends a packet that is too large for its way, and translated already, in fragments. The first stays in `frame`, and where
/// that leaves is returned, with the number of others; each of those is sent in a fresh frame.
pub(super) fn send<F: Frame, B: Buffers<F>>(
    ways: &mut Ways,
    way: Way,
    frame: &mut F,
    packet: &Packet,
    buffers: &mut B,
) -> Result<(Egress, u64), DropReason> {
    let l3 = usize::from(packet.l3);
    let mtu = ways.mtu(way);
    // Fragments share their flow's entropy without ports, as those that the host makes.
    let entropy = Packet { ports: 0, ..*packet }.entropy();
    let mut finish = |frame: &mut F, l3: usize, total: u16| {
        let sent = ways.wrap(way, frame, Front { l3, total, tos: packet.tos }, entropy);
        sent.ok_or_else(|| ways.why_not(way))
    };
    let (first, made) = split(frame, packet, mtu, buffers, |frame, total| finish(frame, 0, total))?;
    Ok((finish(frame, l3, first)?, made))
}

/// Cuts the IPv4 packet at `l3` of `frame` into fragments of at most `mtu` bytes. The first stays in `frame`, and its
/// length is returned, with the number of others; each of those begins at the start of a fresh frame, is given to
/// `finish`, and leaves where this says.
fn split<F: Frame, B: Buffers<F>>(
    frame: &mut F,
    packet: &Packet,
    mtu: u16,
    buffers: &mut B,
    mut finish: impl FnMut(&mut F, u16) -> Result<Egress, DropReason>,
) -> Result<(u16, u64), DropReason> {
    let l3 = usize::from(packet.l3);
    let ip = frame.data().get(l3..l3 + usize::from(packet.total)).ok_or(DropReason::Truncated)?;
    let header = ipv4::Header::parse(ip)?;
    let payload = &ip[header.length()..];
    let chunk = usize::from(mtu).saturating_sub(header.length()) / 8 * 8;
    if chunk == 0 {
        return Err(DropReason::TooBig);
    }
    let (options, options_length) = copied_options(&ip[ipv4::LENGTH..header.length()]);
    let mut made = 0;
    for (number, part) in payload.chunks(chunk).enumerate().skip(1) {
        let mut other = buffers.allocate().ok_or(DropReason::NoBuffer)?;
        let length = ipv4::LENGTH + options_length;
        if !other.extend(length + part.len()) {
            return Err(DropReason::NoBuffer);
        }
        let last = number * chunk + part.len() == payload.len();
        let fragment = ipv4::Header {
            header_length: length as u8,
            total_length: (length + part.len()) as u16,
            more_fragments: header.more_fragments || !last,
            fragment_offset: header.fragment_offset + (number * chunk / 8) as u16,
            ..header
        };
        let data = other.data_mut();
        data[ipv4::LENGTH..length].copy_from_slice(&options[..options_length]);
        data[length..length + part.len()].copy_from_slice(part);
        fragment.emit(data);
        let egress = finish(&mut other, fragment.total_length)?;
        buffers.send(egress, other, packet);
        made += 1;
    }
    let first = ipv4::Header {
        total_length: (header.length() + chunk.min(payload.len())) as u16,
        more_fragments: header.more_fragments || made > 0,
        ..header
    };
    first.emit(&mut frame.data_mut()[l3..]);
    Ok((first.total_length, made))
}

/// The options that stand in every fragment, padded to whole words, and their length.
fn copied_options(all: &[u8]) -> ([u8; 40], usize) {
    let (mut copied, mut length) = ([0; 40], 0);
    for option in ipv4::options(all).flatten().filter(ipv4::IpOption::copied) {
        copied[length..length + option.bytes.len()].copy_from_slice(option.bytes);
        length += option.bytes.len();
    }
    (copied, length.next_multiple_of(4))
}
