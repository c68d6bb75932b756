//! What an answer from upstream must not say: an address of this side, in a stranger's name.
//!
//! A page of a stranger's name that comes to stand for an address inside makes the browser that shows it a door into the
//! realm (DNS rebinding), and a proxy address or the gateway's own in a foreign answer leads to another than is named. So
//! such records are taken out, in addresses and in the hints of SVCB and HTTPS alike, whatever IPv6 form an IPv4 address
//! is wrapped in. What is left is an answer; nothing left is one without data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{Name, RecordType};

use crate::packet::{CheckedResponse, TtlBounds, leads_to_address};
use crate::wire::{self, HEADER, MessageHeader, RecordFrame};

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// An address in it.
    pub address: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
}

impl Network {
    fn contains(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        (u32::from(self.address) ^ u32::from(address)) & mask == 0
    }
}

/// What must not pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Networks of this side: the realm's, the proxy pool, the gateway's own addresses. They never pass.
    pub own: Vec<Network>,
    /// Private addresses of others, and those that mean the host itself, do not pass either.
    pub private: bool,
    /// But they do in these networks,
    pub networks: Vec<Network>,
    /// and for these names and those below them.
    pub names: Vec<Name>,
}

/// What becomes of a record.
enum Fate {
    Stays,
    Goes,
    /// It stays without its hints.
    LosesHints,
}

impl Guard {
    /// The answer without what must not pass; `None` if nothing must go.
    pub(crate) fn clean(&self, packet: &CheckedResponse, bounds: TtlBounds) -> Option<CheckedResponse> {
        if !packet.records().any(|(_, record)| leads_to_address(record.kind)) {
            return None;
        }
        let (question, question_end) = wire::read_plain_name(packet.bytes(), HEADER)?;
        let is_excepted = self.names.iter().any(|name| name.zone_of(&question));
        let mut is_changed = false;
        let mut counts = [0u16; 3];
        let mut out = packet.bytes()[..question_end + 4].to_vec();
        for (section, record) in packet.records() {
            let fate = self.fate(packet.bytes(), &record, is_excepted);
            is_changed |= !matches!(fate, Fate::Stays);
            if matches!(fate, Fate::Goes) {
                continue;
            }
            wire::emit_record(packet.bytes(), &record, &mut out)?;
            if matches!(fate, Fate::LosesHints) {
                drop_hints(&record, &mut out)?;
            }
            counts[section] += 1;
        }
        if !is_changed {
            return None;
        }
        let header = MessageHeader::parse(packet.bytes())?;
        let [answers, authorities, additionals] = counts;
        let mut head = Vec::with_capacity(HEADER);
        MessageHeader { answers, authorities, additionals, ..header }.emit(&mut head);
        out[..HEADER].copy_from_slice(&head);
        CheckedResponse::parse(&out, bounds).ok()
    }

    fn fate(&self, bytes: &[u8], record: &RecordFrame<'_>, is_excepted: bool) -> Fate {
        match record.kind {
            RecordType::A | RecordType::AAAA => match address(record.data) {
                Some(address) if self.forbids(address, is_excepted) => Fate::Goes,
                _ => Fate::Stays,
            },
            RecordType::SVCB | RecordType::HTTPS => {
                let Some(service) = Service::read(bytes, record) else { return Fate::Goes };
                // RFC 9460 §7.3: hints are for the target. Those of another name than the record's own would lead around
                // whatever that name stands for here.
                let is_own = service.target.is_root() || service.target == service.owner;
                let mut hints = service.hints().flatten();
                if service.has_hints() && (!is_own || hints.any(|hint| self.forbids(hint, is_excepted))) {
                    Fate::LosesHints
                } else {
                    Fate::Stays
                }
            }
            _ => Fate::Stays,
        }
    }

    /// Whether an address must not stand in an answer from upstream.
    pub fn forbids(&self, address: IpAddr, is_excepted: bool) -> bool {
        let inner = match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => wrapped(address),
        };
        let lies_in = |networks: &[Network], inner| networks.iter().any(|network| network.contains(inner));
        let within = |networks: &[Network]| inner.is_some_and(|inner| lies_in(networks, inner));
        let perhaps = match address {
            IpAddr::V4(_) => [None; 4],
            IpAddr::V6(address) => perhaps_wrapped(address),
        };
        if within(&self.own) || perhaps.into_iter().flatten().any(|inner| lies_in(&self.own, inner)) {
            return true;
        }
        let is_private = inner.is_some_and(is_private_v4)
            || matches!(address, IpAddr::V6(address) if is_private_v6(address));
        self.private && !is_excepted && is_private && !within(&self.networks)
    }
}

/// The address of an A or AAAA record.
fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Addresses that mean something only on this side: the host itself, its link, a private network (RFC 6890), or nothing
/// that could be reached at all.
fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // RFC 6598: shared address space of carriers.
        || (a == 100 && b & 0xc0 == 64)
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast()
        // RFC 3879: site-local, which some hosts still route.
        || address.segments()[0] & 0xffc0 == 0xfec0
}

/// What may be an IPv4 address inside, or mean something else: that of a Teredo client (RFC 4380 §4), and those of the prefix
/// for translation in a site (RFC 8215) where it is used as one of 48, 56 or 64 bits (RFC 6052 §2.2).
fn perhaps_wrapped(address: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let octets = address.octets();
    let teredo = address.segments()[..2] == [0x2001, 0];
    let local = address.segments()[..3] == [0x64, 0xff9b, 1];
    let at = |places: [usize; 4], flip: u8| Ipv4Addr::from(places.map(|place| octets[place] ^ flip));
    let translated = |places| local.then(|| at(places, 0));
    [
        teredo.then(|| at([12, 13, 14, 15], 0xff)),
        translated([6, 7, 9, 10]),
        translated([7, 9, 10, 11]),
        translated([9, 10, 11, 12]),
    ]
}

/// The IPv4 address inside: mapped (RFC 4291 §2.5.5.2), compatible (§2.5.5.1), translated (RFC 6052 §2.1, RFC 8215, RFC
/// 2765 §2.1), 6to4 (RFC 3056 §2) and ISATAP (RFC 5214 §6.1).
fn wrapped(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x2002, a, b, ..] => Some(low(a, b)),
        [0x64, 0xff9b, 0 | 1, _, _, _, a, b]
        | [0, 0, 0, 0, 0, 0xffff, a, b]
        | [0, 0, 0, 0, 0xffff, 0, a, b] => Some(low(a, b)),
        [_, _, _, _, 0 | 0x200, 0x5efe, a, b] => Some(low(a, b)),
        // :: and ::1 are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => Some(low(a, b)),
        _ => None,
    }
}

/// An SVCB or HTTPS record (RFC 9460 §2.2).
struct Service<'a> {
    owner: Name,
    target: Name,
    parameters: &'a [u8],
}

/// SvcParamKey mandatory.
const MANDATORY: u16 = 0;
/// SvcParamKey ipv4hint.
const IPV4_HINT: u16 = 4;
/// SvcParamKey ipv6hint.
const IPV6_HINT: u16 = 6;

impl<'a> Service<'a> {
    fn read(bytes: &[u8], record: &RecordFrame<'a>) -> Option<Self> {
        let (owner, _) = wire::read_name(bytes, record.start)?;
        // RFC 9460 §2.2: the target is not compressed.
        let (target, end) = wire::read_plain_name(record.data, 2)?;
        Some(Self { owner, target, parameters: record.data.get(end..)? })
    }

    fn hints(&self) -> impl Iterator<Item = impl Iterator<Item = IpAddr> + use<'a>> {
        Parameters(self.parameters)
            .filter(|(key, _)| is_hint(*key))
            .map(|(key, value)| value.chunks_exact(if key == IPV4_HINT { 4 } else { 16 }).filter_map(address))
    }

    fn has_hints(&self) -> bool {
        Parameters(self.parameters).any(|(key, _)| is_hint(key))
    }
}

fn is_hint(key: u16) -> bool {
    matches!(key, IPV4_HINT | IPV6_HINT)
}

/// Keys and values, until the first that is cut short.
struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[k0, k1, l0, l1], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        self.0 = rest;
        Some((u16::from_be_bytes([k0, k1]), value))
    }
}

/// Writes the data of the record that was written last again, without hints, and without saying that they must be
/// understood.
fn drop_hints(record: &RecordFrame<'_>, out: &mut Vec<u8>) -> Option<()> {
    let data_at = out.len().checked_sub(record.data.len())?;
    let (_, end) = wire::read_plain_name(record.data, 2)?;
    out.truncate(data_at + end);
    for (key, value) in Parameters(record.data.get(end..)?).filter(|(key, _)| !is_hint(*key)) {
        let left: Vec<u8> = match key {
            MANDATORY => {
                let pairs =
                    value.chunks_exact(2).filter(|pair| !is_hint(u16::from_be_bytes([pair[0], pair[1]])));
                pairs.flatten().copied().collect()
            }
            _ => value.to_vec(),
        };
        if key == MANDATORY && left.is_empty() {
            continue;
        }
        out.extend_from_slice(&key.to_be_bytes());
        out.extend_from_slice(&(left.len() as u16).to_be_bytes());
        out.extend_from_slice(&left);
    }
    let length = (out.len() - data_at) as u16;
    out[data_at - 2..data_at].copy_from_slice(&length.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
        Guard {
            own: vec![network("192.168.10.0", 24), network("10.64.0.0", 16), network("192.0.2.2", 32)],
            private: true,
            networks: vec![network("10.1.0.0", 16)],
            names: Vec::new(),
        }
    }

    #[test]
    fn n3_own_addresses_never_pass_and_private_ones_by_exception() {
        for (address, plain, excepted) in [
            ("192.168.10.12", true, true),
            ("10.64.0.1", true, true),
            ("192.0.2.2", true, true),
            ("::ffff:10.64.0.1", true, true),
            ("64:ff9b::192.168.10.12", true, true),
            ("2002:a40:1::1", true, true),
            ("2001:db8::5efe:192.168.10.12", true, true),
            ("2001:db8::200:5efe:10.64.0.1", true, true),
            ("2001:0:4136:e378:8000:63bf:3f57:f5f3", true, true),
            ("64:ff9b:1:c0a8:a:c00::", true, true),
            ("64:ff9b:1:ffc0:a8:a0c::", true, true),
            ("64:ff9b:1:fffe:c0:a80a:c00:0", true, true),
            ("64:ff9b:1:fffe:cb:71:5000:0", false, false),
            ("fe80::5efe:203.0.113.80", true, false),
            ("2001:db8::5efe:203.0.113.80", false, false),
            ("64:ff9b:1:fffe::203.0.113.80", false, false),
            ("2001:0:4136:e378:8000:63bf:34ff:8eaf", false, false),
            ("127.0.0.1", true, false),
            ("10.2.3.4", true, false),
            ("172.31.0.1", true, false),
            ("169.254.1.1", true, false),
            ("100.100.0.1", true, false),
            ("0.0.0.0", true, false),
            ("255.255.255.255", true, false),
            ("::", true, false),
            ("::1", true, false),
            ("fd00::1", true, false),
            ("fe80::1", true, false),
            ("::ffff:127.0.0.1", true, false),
            ("10.1.2.3", false, false),
            ("192.0.2.3", false, false),
            ("203.0.113.80", false, false),
            ("100.128.0.1", false, false),
            ("2001:db8::1", false, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(guard().forbids(address, false), plain, "{address}");
            assert_eq!(guard().forbids(address, true), excepted, "{address}, excepted");
        }
        let open = Guard { private: false, ..guard() };
        assert!(!open.forbids([127, 0, 0, 1].into(), false) && open.forbids([10, 64, 0, 1].into(), false));
    }
}
