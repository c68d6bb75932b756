//! The kernel's interfaces, asked one at a time: whether one is up, which XDP program stands on it, whether it has addresses.
//!
//! Building and parsing are pure; [`Links`] has the socket. The kernel answers before a request returns, so nothing waits.

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The largest datagram: the kernel fills 32 KiB at most when it dumps.
const DATAGRAM: usize = 64 * 1024;
/// Only where no program stands yet (`XDP_FLAGS_UPDATE_IF_NOEXIST`, linux/if_link.h).
const IF_NONE: u32 = 1;
/// By the kernel's own buffers, by the driver (`XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`).
const BY_BUFFERS: u32 = 1 << 1;
const BY_DRIVER: u32 = 1 << 2;
const ENODEV: i32 = 19;

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a buffer of its own.
    Driver,
    /// Behind it.
    Buffers,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Whether it is up and has a carrier.
    pub up: bool,
    /// The XDP program on it, by number.
    pub program: Option<(u32, Mode)>,
    /// The kind of a virtual interface that is one end of a pair.
    pub is_veth: bool,
    /// The other end, if that is in this network namespace.
    pub other_end: Option<u32>,
}

/// Asks and has answered.
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// Opens a socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface of a name, if there is one.
    pub fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.get(message)
    }

    /// The interface of a number, if there is one.
    pub fn at(&mut self, index: u32) -> io::Result<Option<(String, Link)>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let mut name = String::new();
        let mut found = None;
        let done = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                for attribute in &link.attributes {
                    if let LinkAttribute::IfName(text) = attribute {
                        name.clone_from(text);
                    }
                }
                found = Some(parse(link));
            }
        });
        absent_is_none(done.map(|()| found.map(|link| (name, link))))
    }

    fn get(&mut self, message: LinkMessage) -> io::Result<Option<Link>> {
        let mut found = None;
        let done = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                found = Some(parse(link));
            }
        });
        absent_is_none(done.map(|()| found))
    }

    /// The addresses of an interface, of both families; those that IPv6 gives itself are left out.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewAddress(address) = answer
                && address.header.index == index
            {
                found.extend(address.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(ip) | AddressAttribute::Address(ip) => Some(*ip),
                    _ => None,
                }));
            }
        })?;
        found.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
        Ok(found)
    }

    /// Puts an XDP program on an interface that has none.
    pub fn attach(&mut self, index: u32, program: BorrowedFd<'_>, mode: Mode) -> io::Result<()> {
        let how = match mode {
            Mode::Driver => BY_DRIVER,
            Mode::Buffers => BY_BUFFERS,
        };
        let mut message = LinkMessage::default();
        message.header.index = index;
        let xdp = vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(IF_NONE | how)];
        message.attributes.push(LinkAttribute::Xdp(xdp));
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, |_| {})
    }

    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut heard: impl FnMut(&RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut buffer = Vec::with_capacity(DATAGRAM);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            if let Some(end) = answers(&buffer, self.sequence, &mut heard) {
                return end;
            }
        }
    }
}

fn absent_is_none<T>(answer: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match answer {
        Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
        other => other,
    }
}

/// What a datagram says to the request with this sequence number; whether it is the last.
fn answers(
    mut bytes: &[u8],
    sequence: u32,
    heard: &mut impl FnMut(&RouteNetlinkMessage),
) -> Option<io::Result<()>> {
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) {
        if message.header.sequence_number == sequence {
            match &message.payload {
                NetlinkPayload::Done(_) => return Some(Ok(())),
                NetlinkPayload::Error(error) => {
                    let code = error.code.map(|code| io::Error::from_raw_os_error(-code.get()));
                    return Some(code.map_or(Ok(()), Err));
                }
                NetlinkPayload::InnerMessage(inner) => heard(inner),
                _ => {}
            }
        }
        // Messages in a datagram start at multiples of four bytes (NLMSG_ALIGN).
        let length = (message.header.length as usize).next_multiple_of(4);
        bytes = bytes.get(length..).filter(|_| length > 0).unwrap_or_default();
    }
    None
}

fn parse(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up | LinkFlags::Running),
        program: None,
        is_veth: false,
        other_end: None,
    };
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Xdp(xdp) => link.program = program(xdp),
            LinkAttribute::Link(index) => link.other_end = Some(*index).filter(|index| *index != 0),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(info) => {
                link.is_veth = info.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            _ => {}
        }
    }
    link.other_end = link.other_end.filter(|_| !elsewhere);
    link
}

fn program(xdp: &[LinkXdp]) -> Option<(u32, Mode)> {
    let id = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(*id),
        _ => None,
    })?;
    let by_buffers = xdp.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    Some((id, if by_buffers { Mode::Buffers } else { Mode::Driver }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_its_address_is_told() {
        let mut links = Links::open().unwrap();
        let loopback = links.find("lo").unwrap().unwrap();
        assert_eq!((loopback.program, loopback.is_veth, loopback.other_end), (None, false, None));
        assert_eq!(links.at(loopback.index).unwrap().unwrap().0, "lo");
        assert!(!links.addresses(loopback.index).unwrap().contains(&"192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_is_not_there_is_none() {
        let mut links = Links::open().unwrap();
        assert_eq!(links.find("none-such0").unwrap(), None);
        assert_eq!(links.at(0x7fff_fff0).unwrap(), None);
    }

    #[test]
    fn a_program_is_told_with_its_mode() {
        let xdp = [LinkXdp::Attached(XdpAttached::Driver), LinkXdp::ProgId(7), LinkXdp::DrvProgId(7)];
        assert_eq!(program(&xdp), Some((7, Mode::Driver)));
        let xdp = [LinkXdp::Attached(XdpAttached::SocketBuffer), LinkXdp::ProgId(9)];
        assert_eq!(program(&xdp), Some((9, Mode::Buffers)));
        assert_eq!(program(&[LinkXdp::Attached(XdpAttached::None)]), None);
    }

    #[test]
    fn a_datagram_cut_anywhere_ends_nothing() {
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        message.header.sequence_number = 4;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        for cut in 0..=bytes.len() {
            let mut heard = 0;
            assert!(answers(&bytes[..cut], 4, &mut |_| heard += 1).is_none(), "cut at {cut}");
            assert_eq!(heard, usize::from(cut == bytes.len()), "cut at {cut}");
        }
    }
}
