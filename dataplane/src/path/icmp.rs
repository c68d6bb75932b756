//! ICMP errors: those that pass are translated with the packet that they quote, and those that the gateway makes are
//! written into the frame that caused them.

use crate::frame::Frame;
use crate::packet::Packet;
use crate::table::session::Flow;
use crate::way::write::set_front;
use crate::wire::checksum::{self, Sum};
use crate::wire::{Pair, Wire, icmp, ipv4, read16, read32, tcp, udp, write16, write32};

/// The most that is quoted: the error is at most 576 bytes long (RFC 1812 §4.3.2.3).
const QUOTED: usize = 576 - ipv4::LENGTH - icmp::LENGTH;
/// The TOS of an error: precedence 6, internetwork control (RFC 1812 §4.3.2.5).
pub(super) const ERROR_TOS: u8 = 0xc0;

/// Gives the packet that an ICMP error quotes other addresses; its checksums and the error's own follow (RFC 5508 §4.2).
///
/// `ip` begins with the error's IPv4 header. `false` if nothing that could be changed is quoted.
pub(super) fn translate_quoted(ip: &mut [u8], packet: &Packet, source: u32, destination: u32) -> bool {
    translate(ip, packet, Pair::new(source, destination), None)
}

/// The same with ports, or the identifier of a query.
pub(super) fn translate_quoted_flow(ip: &mut [u8], packet: &Packet, flow: Flow) -> bool {
    translate(ip, packet, flow.addresses, Some(flow.ports))
}

fn translate(ip: &mut [u8], packet: &Packet, addresses: Pair, ports: Option<u32>) -> bool {
    let Some((at, quoted)) = packet.quoted(ip) else {
        return false;
    };
    let before = Pair::new(quoted.source, quoted.destination);
    // What the error's own checksum covers of all that changes.
    let mut whole = Sum::default().replace_pair(before, addresses);
    let mut covered = whole;
    write32(ip, at + ipv4::SOURCE, addresses.source());
    write32(ip, at + ipv4::DESTINATION, addresses.destination());
    let header_check = read16(ip, at + ipv4::CHECKSUM);
    let header_check_new = whole.adjust(header_check);
    write16(ip, at + ipv4::CHECKSUM, header_check_new);
    whole = whole.replace(header_check, header_check_new);
    let l4 = at + quoted.length();
    let has_header = quoted.fragment_offset == 0;
    if let (Some(ports), true) = (ports, has_header) {
        let changed = turn_ports(ip, l4, quoted.protocol, ports);
        whole = Sum(whole.0 + changed.0);
        covered = if quoted.protocol == ipv4::ICMP { changed } else { Sum(covered.0 + changed.0) };
    }
    let field = match quoted.protocol {
        _ if !has_header => None,
        ipv4::TCP => Some(tcp::CHECKSUM),
        ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE => Some(udp::CHECKSUM),
        ipv4::ICMP if ports.is_some() => Some(icmp::CHECKSUM),
        _ => None,
    };
    if let Some(field) = field.map(|field| l4 + field)
        && field + 2 <= usize::from(packet.total)
    {
        let old = read16(ip, field);
        let new = if quoted.protocol == ipv4::UDP { covered.adjust_udp(old) } else { covered.adjust(old) };
        write16(ip, field, new);
        whole = whole.replace(old, new);
    }
    let own = usize::from(packet.l4) + icmp::CHECKSUM;
    let sum = whole.adjust(read16(ip, own));
    write16(ip, own, sum);
    true
}

/// Gives what stands at `l4` other ports, or another identifier; what that does to checksums.
fn turn_ports(ip: &mut [u8], l4: usize, protocol: u8, ports: u32) -> Sum {
    match protocol {
        ipv4::TCP | ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE => {
            let change = Sum::default().replace_words(read32(ip, l4), ports);
            write32(ip, l4, ports);
            change
        }
        ipv4::ICMP => {
            let id = (ports | ports >> 16) as u16;
            let change = Sum::default().replace(read16(ip, l4 + icmp::REST), id);
            write16(ip, l4 + icmp::REST, id);
            change
        }
        _ => Sum::default(),
    }
}

/// What an error that the gateway makes says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Error {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word.
    pub rest: u32,
    /// Source address of the error.
    pub source: u32,
    /// Destination address of the error.
    pub destination: u32,
}

/// Writes an error that quotes the `quoted` bytes of IPv4 packet at `l3`, so that the error's own IPv4 header stands
/// behind `front` bytes. The error's total length, or `None` without room.
pub(super) fn write_error<F: Frame>(
    frame: &mut F,
    l3: usize,
    quoted: usize,
    front: usize,
    error: &Error,
) -> Option<u16> {
    let quoted = quoted.min(QUOTED);
    frame.truncate(l3 + quoted);
    let headers = ipv4::LENGTH + icmp::LENGTH;
    if !set_front(frame, l3, front + headers) {
        return None;
    }
    let data = frame.data_mut();
    let total = headers + quoted;
    let ip = data.get_mut(front..front + total)?;
    let mut header = ipv4::Header::new(ipv4::ICMP, error.source, error.destination, total as u16);
    header.tos = ERROR_TOS;
    header.emit(&mut ip[..ipv4::LENGTH]);
    let message = &mut ip[ipv4::LENGTH..];
    icmp::Header { kind: error.kind, code: error.code, checksum: 0, rest: error.rest }.emit(message);
    let sum = checksum::checksum(message);
    write16(message, 2, sum);
    Some(total as u16)
}
