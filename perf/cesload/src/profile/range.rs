//! Ranges of addresses and ports, as people write them.

use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Addresses from the first to the last, both included: `192.0.2.1`, `192.0.2.0/28` or `192.0.2.1-192.0.2.9`.
///
/// A network stands for all of its addresses, the first and the last among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Addresses {
    /// The lowest.
    pub first: Ipv4Addr,
    /// The highest.
    pub last: Ipv4Addr,
}

impl Addresses {
    /// How many there are; never 0.
    pub fn count(&self) -> u64 {
        u64::from(self.last.to_bits() - self.first.to_bits()) + 1
    }

    /// Number `index`, counted from 0.
    pub fn at(&self, index: u64) -> u32 {
        self.first.to_bits().wrapping_add(index as u32)
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no address (192.0.2.1), network (192.0.2.0/24) or range (192.0.2.1-192.0.2.9)"
            )
        };
        let address = |text: &str| text.trim().parse::<Ipv4Addr>().map_err(|_| wrong());
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(first)?, address(last)?);
            if first > last {
                return Err(format!("\"{text}\" is empty: the first address is above the last"));
            }
            return Ok(Self { first, last });
        }
        if text.contains('/') {
            let network: Ipv4Net = text.trim().parse().map_err(|_| wrong())?;
            return Ok(Self { first: network.network(), last: network.broadcast() });
        }
        let one = address(text)?;
        Ok(Self { first: one, last: one })
    }
}

impl TryFrom<String> for Addresses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// UDP or TCP ports from the first to the last, both included: `53` or `"1024-65535"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PortsText")]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a port (53) or a range of ports (\"1024-65535\")")]
enum PortsText {
    One(u16),
    Text(String),
}

impl PortRange {
    /// One port.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// How many there are; never 0.
    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// Number `index`, counted from 0.
    pub fn at(&self, index: u64) -> u16 {
        self.first.wrapping_add(index as u16)
    }
}

impl TryFrom<PortsText> for PortRange {
    type Error = String;

    fn try_from(text: PortsText) -> Result<Self, String> {
        let text = match text {
            PortsText::One(port) => return Ok(Self::one(port)),
            PortsText::Text(text) => text,
        };
        let port = |part: &str| {
            part.trim()
                .parse::<u16>()
                .map_err(|_| format!("\"{text}\" is no port (53) and no range of ports (1024-65535)"))
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("\"{text}\" is empty: the first port is above the last"));
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
            let range: Addresses = text.parse().unwrap();
            assert_eq!((range.first.to_string().as_str(), range.last.to_string().as_str()), (first, last));
            assert_eq!(range.count(), count);
            assert_eq!(range.at(range.count() - 1), range.last.to_bits());
        }
        for text in ["", "192.0.2", "192.0.2.0/33", "192.0.2.9-192.0.2.1", "a-b"] {
            assert!(text.parse::<Addresses>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_a_number_or_a_range() {
        #[derive(Debug, Deserialize)]
        struct Holder {
            ports: PortRange,
        }
        let read = |text: &str| toml::from_str::<Holder>(&format!("ports = {text}"));
        assert_eq!(read("53").unwrap().ports, PortRange::one(53));
        let range = read("\"1024-65535\"").unwrap().ports;
        assert_eq!((range.count(), range.at(range.count() - 1)), (64512, 65535));
        for text in ["65536", "\"9-1\"", "\"x\"", "-1", "1.5"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
