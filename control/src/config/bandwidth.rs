//! Bits a second as a person writes them.

use serde::de::{Deserialize, Deserializer, Error};

/// Bits a second: a number with `k`, `M` or `G` behind it, which are powers of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth(pub u64);

/// The units, and how many digits each moves the point by.
const UNITS: [(char, usize); 3] = [('k', 3), ('M', 6), ('G', 9)];

impl std::str::FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("\"{text}\": bits a second were expected, such as \"1.5M\", \"100M\" or \"1G\"");
        let unit = UNITS.into_iter().find_map(|(unit, digits)| Some((text.strip_suffix(unit)?, digits)));
        let (number, digits) = unit.unwrap_or((text, 0));
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let is_sane = is_number(whole) && is_number(part) && !whole.is_empty() && part.len() <= digits;
        if !is_sane || number.ends_with('.') {
            return Err(expected());
        }
        format!("{whole}{part:0<digits$}").parse().map(Self).map_err(|_| expected())
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_a_thousand() {
        for (text, bits) in [
            ("100M", 100_000_000),
            ("1.5M", 1_500_000),
            ("800k", 800_000),
            ("2.5G", 2_500_000_000),
            ("400G", 400_000_000_000),
            ("64000", 64_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Bandwidth(bits)), "{text}");
        }
    }

    #[test]
    fn what_is_no_bandwidth_is_refused() {
        for text in [
            "",
            "M",
            ".5M",
            "1.M",
            "1,5M",
            "1.5",
            "-1M",
            "1e6",
            "1 M",
            "1.0000000M",
            "99999999999999G",
            "5MB",
        ] {
            assert!(text.parse::<Bandwidth>().is_err(), "{text}");
        }
    }
}
