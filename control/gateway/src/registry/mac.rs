//! MAC addresses as people write them.

use crate::Mac;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// What the registry says of a host's MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacEntry {
    /// It is this one.
    Is(Mac),
    /// The host sends from several, or it changes: nothing is checked.
    Any,
}

impl MacEntry {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let mut mac = Mac::default();
        let mut parts = text.split([':', '-']);
        for byte in &mut mac {
            let is_byte =
                |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = parts.next().filter(is_byte);
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or("six bytes such as \"02:00:00:00:01:0b\", or \"any\", were expected")?;
        }
        if parts.next().is_some() {
            return Err("it has more than six bytes");
        }
        // IEEE 802 §8.2: a group's address is nobody's own.
        if mac[0] & 1 != 0 {
            return Err("it is a group's, and no host sends from it");
        }
        if mac == Mac::default() {
            return Err("it is nobody's");
        }
        Ok(Self::Is(mac))
    }
}

impl<'de> Deserialize<'de> for MacEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = MacEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a MAC address such as \"02:00:00:00:01:0b\", or \"any\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<MacEntry, E> {
                MacEntry::parse(text)
                    .map_err(|why| E::custom(format!("{text:?} is no host's MAC address: {why}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_mac_addresses_are_six_bytes_of_one_station() {
        let is = MacEntry::Is([2, 0, 0xab, 0xcd, 1, 0x0b]);
        assert_eq!(MacEntry::parse("02:00:ab:CD:01:0b"), Ok(is));
        assert_eq!(MacEntry::parse("02-00-AB-CD-01-0B"), Ok(is));
        assert_eq!(MacEntry::parse("any"), Ok(MacEntry::Any));
        for wrong in [
            "",
            "02:00:00:00:01",
            "02:00:00:00:01:0b:00",
            "2:0:0:0:1:b",
            "02:00:00:00:01:0x",
            "+2:00:00:00:01:0b",
            "03:00:00:00:01:0b",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert!(MacEntry::parse(wrong).is_err(), "{wrong}");
        }
    }
}
