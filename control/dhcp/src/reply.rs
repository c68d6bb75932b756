//! What clients get (RFC 2131 §4.3, table 3).

use crate::message::ClientMessage;
use crate::settings::Subnet;
use crate::{HardwareAddress, PortNumber};
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The port of servers and relays.
pub const SERVER_PORT: u16 = 67;
/// The port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Octets of the least message that old clients and relays take (RFC 1542 §2.1).
const LEAST: usize = 300;
/// Octets of the longest message that is sent: one that is never cut into fragments.
const MOST: u16 = 1400;
/// Octets of the fields for the names of the boot server and file, the last of which is 0.
const SNAME: usize = 64;
const FILE: usize = 128;

/// A message with where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The port of the gateway that it leaves by.
    pub port: PortNumber,
    /// The station that it goes to.
    pub mac: HardwareAddress,
    /// The gateway's address that it comes from.
    pub source: Ipv4Addr,
    /// The address and port that it goes to.
    pub to: SocketAddrV4,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Who speaks, and to which station what is not for everybody goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To {
    /// The port of the gateway by which the message came.
    pub port: PortNumber,
    /// The station that it came from.
    pub mac: HardwareAddress,
    /// The gateway's address that it is answered from, which is the server's identifier (option 54).
    pub server: Ipv4Addr,
}

/// What an offer or an acknowledgement is about.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// The subnet.
    pub subnet: &'a Subnet,
    /// The address; none: the client has one (INFORM).
    pub address: Option<Ipv4Addr>,
    /// What the host is called.
    pub name: Option<&'a str>,
}

/// The fields that every answer has from its question.
fn answer(request: &ClientMessage, kind: MessageType, server: Ipv4Addr) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(request.xid, none, none, none, request.giaddr, &request.mac);
    message.set_opcode(Opcode::BootReply).set_flags(Flags::from(request.flags));
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message.opts_mut().insert(DhcpOption::ServerIdentifier(server));
    // RFC 6842 §3.
    if let Some(identifier) = &request.identifier {
        message.opts_mut().insert(DhcpOption::ClientIdentifier(identifier.clone()));
    }
    message
}

/// The message as octets, with the relay's option as it came, behind all others (RFC 3046 §2.1, §2.2).
fn emit(message: &Message, relay: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut bytes = message.to_vec().ok()?;
    if let Some(relay) = relay {
        let end = bytes.pop()?;
        for part in relay.chunks(usize::from(u8::MAX)) {
            bytes.extend([OptionCode::RelayAgentInformation.into(), part.len() as u8]);
            bytes.extend_from_slice(part);
        }
        bytes.push(end);
    }
    Some(bytes)
}

/// Where an answer goes (RFC 2131 §4.1).
fn reply(to: To, request: &ClientMessage, yiaddr: Ipv4Addr, message: &Message) -> Option<Reply> {
    let (mac, address, port) = if request.is_relayed() {
        (to.mac, request.giaddr, SERVER_PORT)
    } else if !request.ciaddr.is_unspecified() {
        (to.mac, request.ciaddr, CLIENT_PORT)
    } else if request.wants_broadcast() || yiaddr.is_unspecified() {
        ([0xff; 6], Ipv4Addr::BROADCAST, CLIENT_PORT)
    } else {
        (request.mac, yiaddr, CLIENT_PORT)
    };
    let mut bytes = emit(message, request.relay.as_deref())?;
    bytes.resize(bytes.len().max(LEAST), 0);
    Some(Reply { port: to.port, mac, source: to.server, to: SocketAddrV4::new(address, port), bytes })
}

/// An address is offered.
pub fn offer(to: To, request: &ClientMessage, terms: Granted<'_>) -> Option<Reply> {
    told(to, request, MessageType::Offer, terms)
}

/// An address is leased; or, to INFORM, the host is told what hosts are told.
pub fn ack(to: To, request: &ClientMessage, terms: Granted<'_>) -> Option<Reply> {
    told(to, request, MessageType::Ack, terms)
}

/// An address is refused: to everybody, as the client hears nothing else where it is now; through a relay likewise.
pub fn nak(to: To, request: &ClientMessage, why: &str) -> Option<Reply> {
    let mut message = answer(request, MessageType::Nak, to.server);
    message.opts_mut().insert(DhcpOption::Message(why.to_owned()));
    if request.is_relayed() {
        message.set_flags(Flags::from(request.flags).set_broadcast());
    }
    let unaddressed = ClientMessage { ciaddr: Ipv4Addr::UNSPECIFIED, ..request.clone() };
    reply(to, &unaddressed, Ipv4Addr::UNSPECIFIED, &message)
}

fn told(to: To, request: &ClientMessage, kind: MessageType, terms: Granted<'_>) -> Option<Reply> {
    let given = &terms.subnet.given;
    let mut message = answer(request, kind, to.server);
    let yiaddr = terms.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    message.set_yiaddr(yiaddr);
    // Of an ACK alone (RFC 2131 §4.3.1, table 3).
    if kind == MessageType::Ack {
        message.set_ciaddr(request.ciaddr);
    }
    if let Some(server) = given.boot_server {
        message.set_siaddr(server);
    }
    let field = |text: &Option<String>, size: usize| text.clone().filter(|text| text.len() < size);
    if let Some(name) = field(&given.boot_server_name, SNAME) {
        message.set_sname_str(name);
    }
    if let Some(file) = field(&given.boot_file, FILE) {
        message.set_fname_str(file);
    }
    if terms.address.is_some() {
        let lease = terms.subnet.lease_s;
        for option in [
            DhcpOption::AddressLeaseTime(lease),
            // RFC 2131 §4.4.5: half of it, and seven eighths.
            DhcpOption::Renewal(lease / 2),
            DhcpOption::Rebinding((u64::from(lease) * 7 / 8) as u32),
        ] {
            message.opts_mut().insert(option);
        }
    }
    let longest = usize::from(request.longest.min(MOST));
    for option in wanted(request, options(terms)) {
        let code = OptionCode::from(&option);
        message.opts_mut().insert(option);
        if emit(&message, request.relay.as_deref())?.len() > longest {
            message.opts_mut().remove(code);
        }
    }
    reply(to, request, yiaddr, &message)
}

/// The options that are configured, the most needed first.
fn options(terms: Granted<'_>) -> Vec<DhcpOption> {
    let (subnet, given) = (terms.subnet, &terms.subnet.given);
    let some = |all: &Vec<Ipv4Addr>, option: fn(Vec<Ipv4Addr>) -> DhcpOption| {
        (!all.is_empty()).then(|| option(all.clone()))
    };
    let bytes = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    [
        Some(DhcpOption::SubnetMask(subnet.network.netmask())),
        routes(subnet),
        some(&given.routers, DhcpOption::Router),
        some(&given.dns, DhcpOption::DomainNameServer),
        given.domain.clone().map(DhcpOption::DomainName),
        terms.name.map(|name| DhcpOption::Hostname(name.to_owned())),
        (subnet.network.prefix_len() < 31).then(|| DhcpOption::BroadcastAddr(subnet.network.broadcast())),
        given.mtu.map(DhcpOption::InterfaceMtu),
        some(&given.ntp, DhcpOption::NtpServers),
        bytes(&given.boot_server_name).map(DhcpOption::TFTPServerName),
        bytes(&given.boot_file).map(DhcpOption::BootfileName),
        given.captive_portal.clone().map(DhcpOption::CaptivePortal),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// RFC 3442: who takes routes takes no default router beside them, so the default route is one of them.
fn routes(subnet: &Subnet) -> Option<DhcpOption> {
    let given = &subnet.given;
    let has_default = given.routes.iter().any(|(to, _)| to.prefix_len() == 0);
    let default = given.routers.first().filter(|_| !has_default).map(|router| (Ipv4Net::default(), *router));
    let all = || given.routes.iter().copied().chain(default).collect();
    (!given.routes.is_empty()).then(|| DhcpOption::ClasslessStaticRoute(all()))
}

/// Those that the client wants, in its order (RFC 2132 §9.8); the mask in any case (RFC 2131 §4.3.1).
fn wanted(request: &ClientMessage, options: Vec<DhcpOption>) -> Vec<DhcpOption> {
    let Some(parameters) = &request.parameters else { return options };
    let place = |option: &DhcpOption| {
        let code = u8::from(OptionCode::from(option));
        let place = parameters.iter().position(|wanted| *wanted == code);
        place.or_else(|| (code == u8::from(OptionCode::SubnetMask)).then_some(0))
    };
    let mut placed: Vec<_> =
        options.into_iter().filter_map(|option| Some((place(&option)?, option))).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, option)| option).collect()
}
