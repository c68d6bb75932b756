//! Values as people write them: durations, rates, protocols, name patterns, one thing or a list of them.

use crate::names::{Name, NameError, is_within};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Seconds: a number, or text such as `"90s"`, `"15m"`, `"2h"`, `"1d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u32);

/// Bits a second: a number, or text such as `"512k"`, `"10M"`, `"1G"` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BitsPerSecond(pub(super) u64);

/// An IP protocol: `"tcp"`, `"udp"`, `"icmp"`, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Protocol(pub(crate) u8);

/// A list, or one thing alone.
#[derive(Clone, Debug)]
pub(super) struct Several<T>(pub(super) Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Which names a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every name: `*`.
    All,
    /// Every name below this one: `*.b.demo`.
    Below(Name),
    /// This name.
    Exactly(Name),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        Ok(match text.strip_prefix("*.") {
            _ if text == "*" => Self::All,
            Some(zone) => Self::Below(Name::parse(zone)?),
            None => Self::Exactly(Name::parse(text)?),
        })
    }

    /// Whether it is about this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(zone) => name.len() > zone.as_str().len() && is_within(name, zone.as_str()),
            Self::Exactly(exact) => exact.as_str() == name,
        }
    }
}

/// A number with a unit's letter behind it.
fn scaled(text: &str, units: &[(char, u64)]) -> Option<u64> {
    let text = text.trim();
    let (digits, factor) = match units.iter().find(|(unit, _)| text.ends_with(*unit)) {
        Some((unit, factor)) => (text.strip_suffix(*unit)?.trim_end(), *factor),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

struct NumberOrText<T>(&'static str, fn(u64) -> Option<T>, fn(&str) -> Option<T>);

impl<T> Visitor<'_> for NumberOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.1(value).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        let number = u64::try_from(value).ok().and_then(self.1);
        number.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        self.2(value).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(value), &self))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |n| u32::try_from(n).ok().map(Seconds);
        let text = |t: &str| {
            let seconds = scaled(t, &[('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)])?;
            u32::try_from(seconds).ok().map(Seconds)
        };
        let expected = "seconds, or a duration such as \"90s\", \"15m\", \"2h\" or \"1d\"";
        deserializer.deserialize_any(NumberOrText(expected, number, text))
    }
}

impl<'de> Deserialize<'de> for BitsPerSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            |t: &str| scaled(t, &[('k', 1000), ('M', 1_000_000), ('G', 1_000_000_000)]).map(BitsPerSecond);
        let expected = "bits per second, or a rate such as \"512k\", \"10M\" or \"1G\"";
        deserializer.deserialize_any(NumberOrText(expected, |n| Some(BitsPerSecond(n)), text))
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |n| u8::try_from(n).ok().map(Protocol);
        let text = |t: &str| match t {
            "icmp" => Some(Protocol(1)),
            "tcp" => Some(Protocol(6)),
            "udp" => Some(Protocol(17)),
            "sctp" => Some(Protocol(132)),
            _ => None,
        };
        let expected = "\"tcp\", \"udp\", \"icmp\", \"sctp\" or a protocol number from 0 to 255";
        deserializer.deserialize_any(NumberOrText(expected, number, text))
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("*"),
            Self::Below(zone) => serializer.collect_str(&format_args!("*.{zone}")),
            Self::Exactly(name) => name.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Pattern;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name such as \"h1.b.demo\", a pattern such as \"*.b.demo\", or \"*\"")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Pattern, E> {
                Pattern::parse(value).map_err(|e| E::custom(format!("{value:?} is no name or pattern: {e}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Any<T> {
            type Value = Several<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                T::deserialize(serde::de::value::StrDeserializer::new(value)).map(|one| Several(vec![one]))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| Several(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Several)
            }
        }
        deserializer.deserialize_any(Any(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct One<T> {
        x: T,
    }

    fn read<T: for<'a> Deserialize<'a>>(value: &str) -> Result<T, String> {
        toml::from_str::<One<T>>(&format!("x = {value}")).map(|one| one.x).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn durations_rates_and_protocols_come_as_numbers_or_text() {
        assert_eq!(read::<Seconds>("90").unwrap(), Seconds(90));
        assert_eq!(read::<Seconds>("\"2h\"").unwrap(), Seconds(7200));
        assert_eq!(read::<BitsPerSecond>("\"10M\"").unwrap(), BitsPerSecond(10_000_000));
        assert_eq!(read::<Protocol>("\"udp\"").unwrap(), Protocol(17));
        assert_eq!(read::<Protocol>("47").unwrap(), Protocol(47));
    }

    #[test]
    fn what_is_none_says_what_was_expected() {
        assert!(read::<Seconds>("\"2 weeks\"").unwrap_err().contains("\"15m\""));
        assert!(read::<Seconds>("-1").unwrap_err().contains("seconds"));
        assert!(read::<Protocol>("256").unwrap_err().contains("0 to 255"));
        assert!(read::<Protocol>("\"tpc\"").unwrap_err().contains("\"tcp\""));
    }

    #[test]
    fn one_is_a_list_of_one() {
        assert_eq!(read::<Several<Pattern>>("\"*\"").unwrap().0, [Pattern::All]);
        assert_eq!(read::<Several<Pattern>>("[\"*\", \"a.b\"]").unwrap().0.len(), 2);
        assert!(read::<Several<Pattern>>("[\"a..b\"]").unwrap_err().contains("empty label"));
    }

    #[test]
    fn patterns_match_below_but_not_the_zone_itself() {
        let below = Pattern::parse("*.b.demo").unwrap();
        assert!(below.matches("h1.b.demo."));
        assert!(below.matches("x.h1.b.demo."));
        assert!(!below.matches("b.demo."));
        assert!(!below.matches("ab.demo."));
        assert!(Pattern::parse("H1.b.demo").unwrap().matches("h1.b.demo."));
    }
}
