//! What the gateway says to the kernel and hears from it, as data.
//!
//! Building and parsing are pure; [`super::Kernel`] has the socket.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr};

/// The routing table that is followed: the kernel's main one (RT_TABLE_MAIN).
const MAIN_TABLE: u32 = 254;

/// One thing the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A neighbour's entry is new or has changed.
    Neighbour {
        /// Its interface.
        index: u32,
        /// Its address.
        address: Ipv4Addr,
        /// Its MAC address, if the kernel holds a usable one.
        mac: Option<[u8; 6]>,
        /// Whether the kernel wants it confirmed before long: it will forget it unless somebody uses it.
        stale: bool,
    },
    /// A neighbour's entry is gone.
    NeighbourGone {
        /// Its interface.
        index: u32,
        /// Its address.
        address: Ipv4Addr,
    },
    /// An interface is new, or has changed.
    Link {
        /// Its number.
        index: u32,
        /// Its MAC address.
        mac: [u8; 6],
    },
    /// A route is new or has changed.
    Route(KernelRoute),
    /// A route is gone.
    RouteGone(KernelRoute),
    /// The dump with this sequence number is complete.
    Done(u32),
    /// The request with this sequence number was refused (an errno), or done (0).
    Answer {
        /// The request's sequence number.
        sequence: u32,
        /// 0, or the errno.
        code: i32,
    },
}

/// A unicast IPv4 route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// The network.
    pub network: Ipv4Addr,
    /// Its prefix length in bits.
    pub prefix: u8,
    /// The next hop; `None` if the network is on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// The interface.
    pub index: u32,
    /// The kernel's priority: the lowest wins among equals.
    pub metric: u32,
}

fn emit(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Gives an interface an address; an address that it has already is no error of the kernel's but `EEXIST`.
pub fn add_address(index: u32, address: Ipv4Addr, prefix: u8, sequence: u32) -> Vec<u8> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
    message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
    if prefix < 31 {
        // RFC 3021: a link of two has no broadcast address.
        let broadcast = u32::from(address) | (u32::MAX >> prefix);
        message.attributes.push(AddressAttribute::Broadcast(broadcast.into()));
    }
    emit(RouteNetlinkMessage::NewAddress(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sequence)
}

/// Adds a static route, or replaces the one to the same network.
pub fn add_route(route: &KernelRoute, sequence: u32) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = route.prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if route.prefix > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(route.network)));
    }
    if let Some(gateway) = route.gateway {
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    }
    message.attributes.push(RouteAttribute::Oif(route.index));
    if route.metric > 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    emit(RouteNetlinkMessage::NewRoute(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, sequence)
}

/// The opposite of a request that made something: the same words, with the kind that unmakes it.
fn undo(mut bytes: Vec<u8>, kind: u16) -> Vec<u8> {
    // struct nlmsghdr: the type stands at byte 4, the flags at byte 6.
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes
}

/// RTM_DELADDR and RTM_DELROUTE.
const DELETE_ADDRESS: u16 = 21;
const DELETE_ROUTE: u16 = 25;

/// Takes an address from an interface.
pub fn remove_address(index: u32, address: Ipv4Addr, prefix: u8, sequence: u32) -> Vec<u8> {
    undo(add_address(index, address, prefix, sequence), DELETE_ADDRESS)
}

/// Takes a static route away.
pub fn remove_route(route: &KernelRoute, sequence: u32) -> Vec<u8> {
    undo(add_route(route, sequence), DELETE_ROUTE)
}

/// Asks for all IPv4 neighbours.
pub fn dump_neighbours(sequence: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    emit(RouteNetlinkMessage::GetNeighbour(message), NLM_F_DUMP, sequence)
}

/// Asks for all IPv4 routes.
pub fn dump_routes(sequence: u32) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    emit(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, sequence)
}

/// Has the kernel resolve a neighbour now, or confirm the one that it has: what sending a packet there would do.
pub fn resolve(index: u32, address: Ipv4Addr, sequence: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message.header.state = NeighbourState::None;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    emit(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE, sequence)
}

fn link(index: u32, attribute: Option<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend(attribute);
    message
}

/// Asks how an interface is.
pub fn look(index: u32, sequence: u32) -> Vec<u8> {
    emit(RouteNetlinkMessage::GetLink(link(index, None)), 0, sequence)
}

/// Gives an interface a MAC address.
pub fn set_mac(index: u32, mac: [u8; 6], sequence: u32) -> Vec<u8> {
    let mac = LinkAttribute::Address(mac.to_vec());
    emit(RouteNetlinkMessage::SetLink(link(index, Some(mac))), 0, sequence)
}

fn station(message: &LinkMessage) -> Option<Notice> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => {
            let mac = <[u8; 6]>::try_from(bytes.as_slice()).ok()?;
            Some(Notice::Link { index: message.header.index, mac })
        }
        _ => None,
    })
}

fn neighbour(message: &NeighbourMessage, gone: bool) -> Option<Notice> {
    if message.header.family != AddressFamily::Inet || message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(to)) => address = Some(*to),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    let (index, address) = (message.header.ifindex, address?);
    if gone {
        return Some(Notice::NeighbourGone { index, address });
    }
    let state = message.header.state;
    let usable = matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let mac = mac.filter(|_| usable);
    Some(Notice::Neighbour { index, address, mac, stale: state == NeighbourState::Stale })
}

fn route(message: &RouteMessage) -> Option<KernelRoute> {
    if message.header.address_family != AddressFamily::Inet || message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut table = u32::from(message.header.table);
    let mut route = KernelRoute {
        network: Ipv4Addr::UNSPECIFIED,
        prefix: message.header.destination_prefix_length,
        gateway: None,
        index: 0,
        metric: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => route.network = *to,
            RouteAttribute::Gateway(RouteAddress::Inet(via)) => route.gateway = Some(*via),
            RouteAttribute::Oif(index) => route.index = *index,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::MultiPath(hops) => {
                // Of several paths the first is used: a tunnel's packets keep their order.
                let first = hops.first()?;
                route.index = first.interface_index;
                route.gateway = first.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Gateway(RouteAddress::Inet(via)) => Some(*via),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (table == MAIN_TABLE && route.index != 0 && route.prefix <= 32).then_some(route)
}

/// What a datagram from the kernel says; what the gateway does not follow is left out, and so is what does not parse.
pub fn parse(mut bytes: &[u8], mut heard: impl FnMut(Notice)) {
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) {
        let notice = match &message.payload {
            NetlinkPayload::Done(_) => Some(Notice::Done(message.header.sequence_number)),
            NetlinkPayload::Error(error) => Some(Notice::Answer {
                sequence: message.header.sequence_number,
                code: error.code.map_or(0, |code| -code.get()),
            }),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(inner)) => neighbour(inner, false),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(inner)) => neighbour(inner, true),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(inner)) => station(inner),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(inner)) => {
                route(inner).map(Notice::Route)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(inner)) => {
                route(inner).map(Notice::RouteGone)
            }
            _ => None,
        };
        if let Some(notice) = notice {
            heard(notice);
        }
        // Messages in a datagram start at multiples of four bytes (NLMSG_ALIGN).
        let length = (message.header.length as usize).next_multiple_of(4);
        if length == 0 || length >= bytes.len() {
            return;
        }
        bytes = &bytes[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notices(bytes: &[u8]) -> Vec<Notice> {
        let mut all = Vec::new();
        parse(bytes, |notice| all.push(notice));
        all
    }

    #[test]
    fn a_route_that_is_built_reads_back() {
        let route = KernelRoute {
            network: Ipv4Addr::new(203, 0, 113, 0),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            index: 7,
            metric: 5,
        };
        assert_eq!(notices(&add_route(&route, 1)), vec![Notice::Route(route)]);
        let default = KernelRoute { network: Ipv4Addr::UNSPECIFIED, prefix: 0, metric: 0, ..route };
        assert_eq!(notices(&add_route(&default, 1)), vec![Notice::Route(default)]);
    }

    #[test]
    fn a_route_that_is_removed_is_the_one_that_was_added() {
        let route = KernelRoute {
            network: Ipv4Addr::new(203, 0, 113, 0),
            prefix: 24,
            gateway: None,
            index: 7,
            metric: 5,
        };
        assert_eq!(notices(&remove_route(&route, 1)), vec![Notice::RouteGone(route)]);
        let bytes = remove_address(2, Ipv4Addr::new(10, 0, 0, 1), 24, 1);
        assert_eq!(
            (u16::from_ne_bytes([bytes[4], bytes[5]]), u16::from_ne_bytes([bytes[6], bytes[7]])),
            (21, 5)
        );
    }

    #[test]
    fn a_mac_address_that_is_set_reads_back() {
        let mut bytes = set_mac(3, [2, 0, 0, 0, 0, 9], 1);
        // The kernel tells of a link in the words in which it is told of one: RTM_SETLINK = 19, RTM_NEWLINK = 16.
        assert_eq!(u16::from_ne_bytes([bytes[4], bytes[5]]), 19);
        bytes[4] = 16;
        assert_eq!(notices(&bytes), vec![Notice::Link { index: 3, mac: [2, 0, 0, 0, 0, 9] }]);
    }

    #[test]
    fn resolve_asks_the_kernel_to_use_the_entry() {
        let bytes = resolve(3, Ipv4Addr::new(10, 0, 0, 9), 1);
        // struct nlmsghdr: type RTM_NEWNEIGH = 28, flags REQUEST|CREATE; struct ndmsg: flags NTF_USE = 1 at byte 10.
        assert_eq!(u16::from_ne_bytes([bytes[4], bytes[5]]), 28);
        assert_eq!(u16::from_ne_bytes([bytes[6], bytes[7]]), 0x401);
        assert_eq!(bytes[16 + 10], 1);
    }

    #[test]
    fn an_address_with_31_bits_has_no_broadcast() {
        let with = add_address(2, Ipv4Addr::new(10, 0, 0, 1), 24, 1);
        let without = add_address(2, Ipv4Addr::new(10, 0, 0, 0), 31, 1);
        assert_eq!(with.len() - without.len(), 8);
    }

    fn neighbour_bytes(state: NeighbourState, mac: Option<[u8; 6]>) -> Vec<u8> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 4;
        message.header.state = state;
        message
            .attributes
            .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(Ipv4Addr::new(10, 0, 0, 9))));
        if let Some(mac) = mac {
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        }
        emit(RouteNetlinkMessage::NewNeighbour(message), 0, 0)
    }

    #[test]
    fn a_failed_neighbour_has_no_mac_and_a_stale_one_keeps_it() {
        let mac = [2, 0, 0, 0, 0, 9];
        let said = |state, mac| match notices(&neighbour_bytes(state, mac))[..] {
            [Notice::Neighbour { mac, stale, .. }] => (mac, stale),
            ref other => panic!("{other:?}"),
        };
        assert_eq!(said(NeighbourState::Reachable, Some(mac)), (Some(mac), false));
        assert_eq!(said(NeighbourState::Stale, Some(mac)), (Some(mac), true));
        assert_eq!(said(NeighbourState::Failed, Some(mac)), (None, false));
        assert_eq!(said(NeighbourState::Incomplete, None), (None, false));
    }

    #[test]
    fn two_messages_in_a_datagram_are_both_heard() {
        let mut bytes = neighbour_bytes(NeighbourState::Failed, None);
        bytes.extend(neighbour_bytes(NeighbourState::Reachable, Some([1; 6])));
        assert_eq!(notices(&bytes).len(), 2);
    }

    #[test]
    fn a_datagram_cut_anywhere_is_survived() {
        let bytes = neighbour_bytes(NeighbourState::Reachable, Some([1; 6]));
        for cut in 0..bytes.len() {
            assert_eq!(notices(&bytes[..cut]), vec![], "cut at {cut}");
        }
    }
}
