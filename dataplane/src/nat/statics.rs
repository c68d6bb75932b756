//! Static mappings: what stands for an inside host outside because it is configured, and not because the host sent something.
//! A whole address for a host, a network for a network of the same size, or ports of an address for ports of a host.
//!
//! They are read once and asked by first packets alone: whose an external port is, and what a host's port is outside.

use super::network::network;
use super::space::Space;
use ipnet::Ipv4Net;
use serde::Deserialize;

/// A static mapping as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Static {
    /// The address outside; or a network, whose addresses stand in turn for those inside.
    #[serde(deserialize_with = "network")]
    pub external: Ipv4Net,
    /// The host; or a network of the same size.
    #[serde(deserialize_with = "network")]
    pub inside: Ipv4Net,
    /// What has the ports; without it, TCP and UDP.
    #[serde(default)]
    pub protocol: Option<PortProtocol>,
    /// The port outside. Without ports the host has the whole address, and is seen under no other.
    #[serde(default)]
    pub port: Option<u16>,
    /// Or the first and the last of them.
    #[serde(default)]
    pub ports: Option<(u16, u16)>,
    /// What the first of them is inside; without it, the same.
    #[serde(default)]
    pub inside_port: Option<u16>,
}

/// A protocol with ports, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP, and what has ports like it: DCCP and UDP-Lite.
    Udp,
}

impl PortProtocol {
    /// For a person.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    const fn space(self) -> Space {
        match self {
            Self::Tcp => Space::Tcp,
            Self::Udp => Space::Udp,
        }
    }
}

impl Static {
    /// First and last port outside; `None`: the whole address.
    pub fn range(&self) -> Option<(u16, u16)> {
        self.ports.or_else(|| self.port.map(|port| (port, port)))
    }

    /// First and last port inside.
    pub fn inside_range(&self) -> Option<(u16, u16)> {
        let (first, last) = self.range()?;
        let inside = self.inside_port.unwrap_or(first);
        Some((inside, inside.saturating_add(last.saturating_sub(first))))
    }

    /// The protocols whose ports they are; none where the whole address is the host's.
    pub fn transports(&self) -> Vec<PortProtocol> {
        match (self.range(), self.protocol) {
            (None, _) => Vec::new(),
            (Some(_), Some(one)) => vec![one],
            (Some(_), None) => vec![PortProtocol::Tcp, PortProtocol::Udp],
        }
    }

    /// Whether some port of an address is in both: then they cannot stand side by side.
    pub fn overlaps(&self, other: &Self) -> bool {
        let together = self.external.contains(&other.external) || other.external.contains(&self.external);
        let alike = || self.transports().iter().any(|one| other.transports().contains(one));
        together
            && match (self.range(), other.range()) {
                (Some(one), Some(two)) => one.0 <= two.1 && two.0 <= one.1 && alike(),
                _ => true,
            }
    }
}

/// Ports of an address that stand for ports of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    external: u32,
    host: u32,
    space: Space,
    first: u16,
    last: u16,
    host_first: u16,
}

impl Range {
    const fn host_last(&self) -> u16 {
        self.host_first.saturating_add(self.last - self.first)
    }
}

/// A network outside that stands for one inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    external: u32,
    host: u32,
    /// The last address behind the first.
    size: u32,
}

/// All static mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Static>")]
pub struct Statics {
    lines: Vec<Static>,
    /// By external address, space and port: none overlap.
    outside: Vec<Range>,
    /// By host and space, then in the order of the configuration: the first that fits is the host's port outside.
    inside: Vec<Range>,
    /// By external address.
    wholes_outside: Vec<Network>,
    /// By host.
    wholes_inside: Vec<Network>,
}

impl From<Vec<Static>> for Statics {
    fn from(lines: Vec<Static>) -> Self {
        let range = |line: &Static, transport: &PortProtocol| {
            let (first, last) = line.range()?;
            Some(Range {
                external: line.external.addr().to_bits(),
                host: line.inside.addr().to_bits(),
                space: transport.space(),
                first,
                last: last.max(first),
                host_first: line.inside_port.unwrap_or(first),
            })
        };
        let whole = |line: &Static| Network {
            external: line.external.network().to_bits(),
            host: line.inside.network().to_bits(),
            size: line.external.hostmask().to_bits(),
        };
        let mut inside: Vec<_> = lines
            .iter()
            .flat_map(|line| {
                line.transports().into_iter().filter_map(move |transport| range(line, &transport))
            })
            .collect();
        let mut outside = inside.clone();
        let mut wholes_outside: Vec<_> =
            lines.iter().filter(|line| line.range().is_none()).map(whole).collect();
        let mut wholes_inside = wholes_outside.clone();
        outside.sort_by_key(|range| (range.external, range.space, range.first));
        inside.sort_by_key(|range| (range.host, range.space));
        wholes_outside.sort_by_key(|network| network.external);
        wholes_inside.sort_by_key(|network| network.host);
        Self { lines, outside, inside, wholes_outside, wholes_inside }
    }
}

impl Statics {
    /// As they are configured.
    pub fn lines(&self) -> &[Static] {
        &self.lines
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The host and its port that an external port stands for.
    pub fn behind(&self, external: u32, port: u16, protocol: u8) -> Option<(u32, u16)> {
        if let Some(host) = self.whole(external) {
            return Some((host, port));
        }
        let space = Space::of(protocol)?;
        let after = self
            .outside
            .partition_point(|range| (range.external, range.space, range.first) <= (external, space, port));
        let range = self.outside.get(after.checked_sub(1)?)?;
        let holds = (range.external, range.space) == (external, space) && port <= range.last;
        holds.then(|| (range.host, range.host_first + (port - range.first)))
    }

    /// The host that has a whole external address.
    pub fn whole(&self, external: u32) -> Option<u32> {
        let after = self.wholes_outside.partition_point(|network| network.external <= external);
        let network = self.wholes_outside.get(after.checked_sub(1)?)?;
        let place = external - network.external;
        (place <= network.size).then(|| network.host + place)
    }

    /// What a host's port is outside. A port that is configured goes before the whole address.
    pub fn outside(&self, host: u32, port: u16, protocol: u8) -> Option<(u32, u16)> {
        if let Some(space) = Space::of(protocol) {
            let from = self.inside.partition_point(|range| (range.host, range.space) < (host, space));
            let own = self.inside[from..]
                .iter()
                .take_while(|range| (range.host, range.space) == (host, space))
                .find(|range| (range.host_first..=range.host_last()).contains(&port));
            if let Some(range) = own {
                return Some((range.external, range.first + (port - range.host_first)));
            }
        }
        let after = self.wholes_inside.partition_point(|network| network.host <= host);
        let network = self.wholes_inside.get(after.checked_sub(1)?)?;
        let place = host - network.host;
        (place <= network.size).then(|| (network.external + place, port))
    }

    /// Whether an external address, or some port of it, stands for a host.
    pub fn is_external(&self, address: u32) -> bool {
        let at = self.outside.partition_point(|range| range.external < address);
        self.outside.get(at).is_some_and(|range| range.external == address) || self.whole(address).is_some()
    }

    /// The ports of an external address that are somebody's already.
    pub fn taken(&self, external: u32, space: Space) -> Taken<'_> {
        if self.outside.is_empty() {
            return Taken::default();
        }
        let of = |range: &Range| (range.external, range.space);
        let from = self.outside.partition_point(|range| of(range) < (external, space));
        let to = self.outside.partition_point(|range| of(range) <= (external, space));
        Taken(&self.outside[from..to])
    }
}

/// Ports of one address and space that no host gets beside the one that they are configured for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken<'s>(&'s [Range]);

impl Taken<'_> {
    /// Whether this one is.
    pub fn has(self, port: u16) -> bool {
        !self.0.is_empty() && self.among(port / 64) >> (port % 64) & 1 != 0
    }

    /// Those among the 64 ports of a word, a bit each.
    pub fn among(self, word: u16) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let (base, top) = (u32::from(word) * 64, u32::from(word) * 64 + 63);
        let from = self.0.partition_point(|range| u32::from(range.last) < base);
        let bits = |range: &Range| {
            let first = u32::from(range.first).saturating_sub(base);
            let last = (u32::from(range.last) - base).min(63);
            (u64::MAX << first) & (u64::MAX >> (63 - last))
        };
        self.0[from..]
            .iter()
            .take_while(|range| u32::from(range.first) <= top)
            .map(bits)
            .fold(0, |all, one| all | one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::{ICMP, TCP, UDP};
    use std::net::Ipv4Addr;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn whole(external: &str, inside: &str) -> Static {
        let (external, inside) = (net(external), net(inside));
        Static { external, inside, protocol: None, port: None, ports: None, inside_port: None }
    }

    fn ports(external: &str, ports: (u16, u16), inside: &str, inside_port: u16) -> Static {
        let line = whole(external, inside);
        Static {
            ports: Some(ports),
            inside_port: Some(inside_port),
            protocol: Some(PortProtocol::Tcp),
            ..line
        }
    }

    fn address(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().to_bits()
    }

    #[test]
    fn each_external_port_stands_for_one_of_a_host_and_back() {
        let statics = Statics::from(vec![
            ports("192.0.2.2/32", (8000, 8009), "10.0.0.5/32", 80),
            ports("192.0.2.2/32", (443, 443), "10.0.0.6/32", 8443),
            whole("192.0.2.16/30", "10.0.1.4/30"),
            Static { protocol: None, ..ports("192.0.2.2/32", (53, 53), "10.0.1.5/32", 53) },
        ]);
        let (external, host) = (address("192.0.2.2"), address("10.0.0.5"));
        assert_eq!(statics.behind(external, 8009, TCP), Some((host, 89)));
        assert_eq!(statics.outside(host, 89, TCP), Some((external, 8009)));
        for (port, protocol) in [(7999, TCP), (8010, TCP), (8000, UDP), (8000, ICMP)] {
            assert_eq!(statics.behind(external, port, protocol), None);
        }
        assert_eq!(statics.outside(host, 90, TCP), None);
        assert_eq!(statics.behind(address("192.0.2.17"), 7, ICMP), Some((address("10.0.1.5"), 7)));
        assert_eq!(statics.outside(address("10.0.1.7"), 0, 47), Some((address("192.0.2.19"), 0)));
        assert_eq!(statics.outside(address("10.0.1.5"), 53, UDP), Some((external, 53)), "a port goes first");
        assert_eq!(statics.outside(address("10.0.1.5"), 54, UDP), Some((address("192.0.2.17"), 54)));
        assert_eq!(statics.outside(address("10.0.1.8"), 54, UDP), None);
        for (text, is) in
            [("192.0.2.2", true), ("192.0.2.19", true), ("192.0.2.20", false), ("192.0.2.3", false)]
        {
            assert_eq!(statics.is_external(address(text)), is, "{text}");
        }
    }

    #[test]
    fn where_two_external_ports_stand_for_one_the_first_is_what_it_is_outside() {
        let statics = Statics::from(vec![
            ports("192.0.2.2/32", (80, 80), "10.0.0.5/32", 80),
            ports("192.0.2.2/32", (8080, 8080), "10.0.0.5/32", 80),
        ]);
        let (external, host) = (address("192.0.2.2"), address("10.0.0.5"));
        assert_eq!([80, 8080].map(|port| statics.behind(external, port, TCP)), [Some((host, 80)); 2]);
        assert_eq!(statics.outside(host, 80, TCP), Some((external, 80)));
    }

    #[test]
    fn ports_that_are_taken_are_told_by_words() {
        let statics = Statics::from(vec![
            ports("192.0.2.2/32", (60, 70), "10.0.0.5/32", 60),
            ports("192.0.2.2/32", (128, 300), "10.0.0.5/32", 128),
            ports("192.0.2.2/32", (65_535, 65_535), "10.0.0.5/32", 1),
        ]);
        let taken = statics.taken(address("192.0.2.2"), Space::Tcp);
        for port in 0..=u16::MAX {
            let is = (60..=70).contains(&port) || (128..=300).contains(&port) || port == u16::MAX;
            assert_eq!(taken.has(port), is, "{port}");
        }
        assert_eq!(statics.taken(address("192.0.2.2"), Space::Udp).among(1), 0);
        assert_eq!(statics.taken(address("192.0.2.3"), Space::Tcp).among(1), 0);
    }

    #[test]
    fn what_shares_a_port_overlaps() {
        let one = ports("192.0.2.2/32", (80, 90), "10.0.0.5/32", 80);
        let udp = Static { protocol: Some(PortProtocol::Udp), ..one.clone() };
        let both = Static { protocol: None, ..one.clone() };
        let beside = ports("192.0.2.2/32", (91, 99), "10.0.0.5/32", 91);
        let around = whole("192.0.2.0/30", "10.0.0.4/30");
        assert!(one.overlaps(&one) && one.overlaps(&both) && udp.overlaps(&both) && one.overlaps(&around));
        assert!(!one.overlaps(&udp) && !one.overlaps(&beside));
        assert!(!around.overlaps(&whole("192.0.2.4/30", "10.0.0.8/30")));
    }
}
