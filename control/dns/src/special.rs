//! Names that are never asked of the upstream resolver: zones that every resolver serves for itself.
//!
//! They are zones, not single addresses: whatever lies below them is answered here, with their SOA, as RFC 6303 §3 has
//! it. What the realm itself knows of them (its hosts, proxy addresses) the caller tells.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{NS, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::answer::{Answer, Voice};
use crate::outcome::QueryOutcome;
use crate::query::Query;
use crate::reverse;

/// Apexes outside of `in-addr.arpa` and `ip6.arpa`.
const ZONES: [&str; 10] = [
    // RFC 6761 §6.2, §6.3, §6.4.
    "test.",
    "localhost.",
    "invalid.",
    // RFC 7686 §2, RFC 6762 §22.1, RFC 9476 §2.
    "onion.",
    "local.",
    "alt.",
    // RFC 8375 §4, RFC 9462 §6, RFC 9665 §10.
    "home.arpa.",
    "resolver.arpa.",
    "service.arpa.",
    // RFC 6303 §4.3: the unspecified address.
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
];

/// Apexes in `in-addr.arpa` by their octets, the first octet first (RFC 6303 §4.1, §4.2).
const REVERSE_V4: [&[u8]; 9] = [
    &[0],
    &[10],
    &[127],
    &[169, 254],
    &[192, 168],
    &[192, 0, 2],
    &[198, 51, 100],
    &[203, 0, 113],
    &[255, 255, 255, 255],
];
/// Octets of which the second goes from one value to another: RFC 6303 §4.1 (172.16/12), RFC 7793 §2 (100.64/10).
const REVERSE_V4_RANGES: [(u8, u8, u8); 2] = [(172, 16, 31), (100, 64, 127)];

/// Apexes in `ip6.arpa` by their digits, the first digit first (RFC 6303 §4.3 to §4.6).
const REVERSE_V6: [&[u8]; 7] = [
    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    &[0xf, 0xd],
    &[0xf, 0xe, 8],
    &[0xf, 0xe, 9],
    &[0xf, 0xe, 0xa],
    &[0xf, 0xe, 0xb],
    &[2, 0, 0, 1, 0, 0xd, 0xb, 8],
];

/// TTL of what never changes, seconds (RFC 6303 §3).
const TTL_S: u32 = 10_800;

/// The apex of the zone that holds a name, if it is one of those that are served here.
pub fn zone_of(name: &Name) -> Option<Name> {
    let labels = || name.iter().rev();
    let top = labels().next()?;
    let is_arpa = top.eq_ignore_ascii_case(b"arpa");
    let depth = if is_arpa && labels().nth(1)?.eq_ignore_ascii_case(b"in-addr") {
        2 + reverse_v4(labels().skip(2))?
    } else {
        let named = ZONES.iter().find(|zone| {
            let mut zone = zone.trim_end_matches('.').rsplit('.').map(str::as_bytes);
            let mut labels = labels();
            zone.all(|own| labels.next().is_some_and(|label| label.eq_ignore_ascii_case(own)))
        });
        match named {
            Some(zone) => zone.matches('.').count(),
            None if is_arpa && labels().nth(1)?.eq_ignore_ascii_case(b"ip6") => {
                2 + reverse_v6(labels().skip(2))?
            }
            None => return None,
        }
    };
    Some(name.trim_to(depth).to_lowercase())
}

/// How many labels of the reverse name, after `in-addr.arpa`, make the apex.
fn reverse_v4<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let octets: Vec<u8> = labels.map_while(reverse::decimal).take(4).collect();
    let apex = REVERSE_V4.iter().find(|apex| octets.starts_with(apex));
    let in_range = || {
        REVERSE_V4_RANGES.iter().any(
            |(first, from, to)| matches!(octets[..], [a, b, ..] if a == *first && (*from..=*to).contains(&b)),
        )
    };
    apex.map(|apex| apex.len()).or_else(|| in_range().then_some(2))
}

fn reverse_v6<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let digit = |label: &[u8]| match label {
        [digit] => char::from(*digit).to_digit(16).map(|digit| digit as u8),
        _ => None,
    };
    let digits: Vec<u8> = labels.map_while(digit).take(32).collect();
    REVERSE_V6.iter().find(|apex| digits.starts_with(apex)).map(|apex| apex.len())
}

/// Whether a question is one for the parent of such a zone. RFC 4035 §3.1.4.1: DS stands there, and says that nothing below is
/// signed (RFC 6303 §7), which who validates must be able to see. Zones at the top have no parent that knows of them.
pub fn is_for_parent(query: &Query, apex: &Name) -> bool {
    query.qtype == RecordType::DS && query.name == *apex && apex.num_labels() > 1
}

/// The SOA of such a zone in a negative answer (RFC 6303 §3), to be remembered for so many seconds.
pub fn soa(apex: &Name, negative_ttl_s: u32) -> Record {
    let nobody = Name::from_ascii("nobody.invalid.").unwrap_or_default();
    let soa = SOA::new(apex.clone(), nobody, 1, 3_600, 1_200, 604_800, negative_ttl_s);
    Record::from_rdata(apex.clone(), negative_ttl_s, RData::SOA(soa))
}

/// What a name of such a zone answers. `has_below` says that the realm knows names at or below it (RFC 8020 §2).
pub fn answer(query: &Query, apex: &Name, has_below: bool, negative_ttl_s: u32) -> (Answer, QueryOutcome) {
    let voice = Voice::LocalAuthority;
    let records = records(query, apex);
    if !records.is_empty() {
        return (Answer::records(voice, records), QueryOutcome::Local);
    }
    let soa = Some(soa(apex, negative_ttl_s));
    // RFC 9462 §6.1: who designates no resolver answers that there is no data. The names below localhost exist, and those
    // above the loopback address do (RFC 6761 §6.3).
    let exists = has_below || query.name == *apex || is_open(apex) || reverse_is_above_loopback(&query.name);
    if exists {
        (Answer::no_data(voice, soa), QueryOutcome::NoData)
    } else {
        (Answer::nx_domain(voice, soa), QueryOutcome::NxDomain)
    }
}

fn records(query: &Query, apex: &Name) -> Vec<Record> {
    let record = |data: RData| vec![Record::from_rdata(query.name.clone(), TTL_S, data)];
    let is_apex = query.name == *apex;
    let is_localhost = apex.to_ascii() == "localhost.";
    let loopback = reverse::address(&query.name).is_some_and(|address| {
        address == IpAddr::from([127, 0, 0, 1]) || address == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
    });
    match query.qtype {
        // RFC 6761 §6.3.
        RecordType::A | RecordType::ANY if is_localhost => record(IpAddr::from([127, 0, 0, 1]).into()),
        RecordType::AAAA if is_localhost => record(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]).into()),
        RecordType::PTR | RecordType::ANY if loopback => {
            record(RData::PTR(PTR(crate::name("localhost").unwrap_or_default())))
        }
        RecordType::SOA | RecordType::ANY if is_apex => vec![soa(apex, TTL_S)],
        RecordType::NS if is_apex => record(RData::NS(NS(apex.clone()))),
        _ => Vec::new(),
    }
}

/// Zones in which every name exists.
fn is_open(apex: &Name) -> bool {
    matches!(&*apex.to_ascii(), "localhost." | "resolver.arpa.")
}

fn reverse_is_above_loopback(name: &Name) -> bool {
    let loopback = Name::from(IpAddr::from([127, 0, 0, 1]));
    name.num_labels() > 2 && name.zone_of(&loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of any octets, as names come off the wire.
    fn name(text: &str) -> Name {
        Name::from_labels(text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes)).unwrap()
    }

    #[test]
    fn n9_zones_and_all_that_lies_below_them_stay_here() {
        for (text, apex) in [
            ("localhost.", "localhost."),
            ("a.Localhost.", "localhost."),
            ("x.onion.", "onion."),
            ("a.b.test.", "test."),
            ("nas.home.arpa.", "home.arpa."),
            ("_dns.resolver.arpa.", "resolver.arpa."),
            ("1.0.0.10.in-addr.arpa.", "10.in-addr.arpa."),
            ("10.IN-ADDR.arpa.", "10.in-addr.arpa."),
            ("1.0.168.192.in-addr.arpa.", "168.192.in-addr.arpa."),
            ("168.192.in-addr.arpa.", "168.192.in-addr.arpa."),
            ("b._dns-sd._udp.0.10.168.192.in-addr.arpa.", "168.192.in-addr.arpa."),
            ("1.0/25.0.64.10.in-addr.arpa.", "10.in-addr.arpa."),
            ("x.31.172.in-addr.arpa.", "31.172.in-addr.arpa."),
            ("1.2.127.100.in-addr.arpa.", "127.100.in-addr.arpa."),
            ("1.2.254.169.in-addr.arpa.", "254.169.in-addr.arpa."),
            ("1.2.0.192.in-addr.arpa.", "2.0.192.in-addr.arpa."),
            ("x.255.255.255.255.in-addr.arpa.", "255.255.255.255.in-addr.arpa."),
            ("x.d.f.ip6.arpa.", "d.f.ip6.arpa."),
            ("A.E.F.ip6.arpa.", "a.e.f.ip6.arpa."),
            ("x.8.b.d.0.1.0.0.2.ip6.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa."),
        ] {
            assert_eq!(zone_of(&name(text)).map(|apex| apex.to_ascii()), Some(apex.into()), "{text}");
        }
        for (address, depth) in [("::", 34), ("::1", 34), ("fe80::1", 5), ("fd12::1", 4)] {
            let name = Name::from(address.parse::<IpAddr>().unwrap());
            assert_eq!(zone_of(&name).map(|apex| apex.num_labels()), Some(depth), "{address}");
        }
        for text in [
            ".",
            "www.b.demo.",
            "localhost.b.demo.",
            "8.8.8.8.in-addr.arpa.",
            "in-addr.arpa.",
            "ip6.arpa.",
            "arpa.",
            "192.in-addr.arpa.",
            "172.in-addr.arpa.",
            "32.172.in-addr.arpa.",
            "63.100.in-addr.arpa.",
            "0.0.ip6.arpa.",
            "c.f.ip6.arpa.",
            // No octets: an address has one name only.
            "+10.in-addr.arpa.",
            "010.in-addr.arpa.",
            "arpa.home.",
        ] {
            assert_eq!(zone_of(&name(text)), None, "{text}");
        }
    }
}
