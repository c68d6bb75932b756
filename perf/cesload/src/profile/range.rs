//! Ranges of addresses, ports and numbers, as people write them.

use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::Ipv4Addr;

/// From the first to the last, both included: `53`, `"1024-65535"`, `"192.0.2.1-192.0.2.9"`, or of addresses a network, which
/// stands for all of them, the first and the last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Span<T: Ranged> {
    /// The lowest.
    pub first: T,
    /// The highest.
    pub last: T,
}

/// What there are ranges of.
pub trait Ranged: Copy + Ord {
    /// What is expected, in words.
    const EXPECTED: &'static str;
    /// Reads one.
    fn read(text: &str) -> Option<Self>;
    /// Its number.
    fn number(self) -> u32;
}

/// IPv4 addresses.
pub type Addresses = Span<Ipv4Addr>;
/// UDP or TCP ports.
pub type PortRange = Span<u16>;
/// Numbers of names.
pub type Numbers = Span<u32>;

impl Ranged for Ipv4Addr {
    const EXPECTED: &'static str =
        "address (192.0.2.1), network (192.0.2.0/24) or range (192.0.2.1-192.0.2.9)";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn number(self) -> u32 {
        self.to_bits()
    }
}

impl Ranged for u16 {
    const EXPECTED: &'static str = "port (53) and no range of ports (1024-65535)";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn number(self) -> u32 {
        self.into()
    }
}

impl Ranged for u32 {
    const EXPECTED: &'static str = "range of numbers (\"1-1000\")";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn number(self) -> u32 {
        self
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number (53) or a range (\"1024-65535\")")]
enum Written {
    One(u32),
    Text(String),
}

impl<T: Ranged> Span<T> {
    /// How many there are; never 0.
    pub fn count(&self) -> u64 {
        u64::from(self.last.number() - self.first.number()) + 1
    }

    /// Number `index`, counted from 0.
    pub fn at(&self, index: u64) -> u32 {
        self.first.number().wrapping_add(index as u32)
    }

    /// Whether they have any in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl<T: Ranged> TryFrom<Written> for Span<T> {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::One(number) => number.to_string(),
            Written::Text(text) => text,
        };
        let ends = match text.parse::<Ipv4Net>() {
            Ok(network) => (network.network().to_string(), network.broadcast().to_string()),
            Err(_) => {
                text.split_once('-').map_or((text.clone(), text.clone()), |(a, b)| (a.into(), b.into()))
            }
        };
        let read = |end: &str| T::read(end.trim()).ok_or_else(|| format!("\"{text}\" is no {}", T::EXPECTED));
        let (first, last) = (read(&ends.0)?, read(&ends.1)?);
        if first > last {
            return Err(format!("\"{text}\" is empty: the first is above the last"));
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_three_ways() {
        for (text, first, last, count) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.7", 1),
            ("192.0.2.16/28", "192.0.2.16", "192.0.2.31", 16),
            ("192.0.2.1 - 192.0.3.0", "192.0.2.1", "192.0.3.0", 256),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1 << 32),
        ] {
            let range = Addresses::try_from(Written::Text(text.to_owned())).unwrap();
            assert_eq!((range.first.to_string().as_str(), range.last.to_string().as_str()), (first, last));
            assert_eq!(range.count(), count);
            assert_eq!(range.at(range.count() - 1), range.last.to_bits());
        }
        for text in ["", "192.0.2", "192.0.2.0/33", "192.0.2.9-192.0.2.1", "a-b"] {
            assert!(Addresses::try_from(Written::Text(text.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_a_number_or_a_range() {
        #[derive(Debug, Deserialize)]
        struct Holder {
            ports: PortRange,
        }
        let read = |text: &str| toml::from_str::<Holder>(&format!("ports = {text}"));
        assert_eq!(read("53").unwrap().ports, PortRange { first: 53, last: 53 });
        let range = read("\"1024-65535\"").unwrap().ports;
        assert_eq!((range.count(), range.at(range.count() - 1)), (64512, 65535));
        for text in ["65536", "\"9-1\"", "\"x\"", "-1", "1.5"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
