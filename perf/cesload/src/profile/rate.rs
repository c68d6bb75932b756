//! Rates and speeds, as people write them.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// How much to offer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as it goes.
    Max,
    /// So many a second: `1500000`, `1.5M`, `10k`.
    PerSecond(f64),
    /// So many hundredths of the line rate: `100%`, `line`.
    Percent(f64),
}

impl Rate {
    /// The rate a second, `None` = as fast as it goes; or why there is no such rate on ports with this line rate.
    pub fn resolve(self, line_rate: Option<f64>) -> Result<Option<f64>, String> {
        match (self, line_rate) {
            (Self::Max, _) => Ok(None),
            (Self::Percent(_), None) => Err(format!(
                "a rate of {self} needs ports that know their speed: give them one by speed = \"10G\", or say max"
            )),
            (Self::Percent(percent), Some(line)) => Ok(Some(line * percent / 100.0)),
            (Self::PerSecond(rate), Some(line)) if rate > line => Err(format!(
                "a rate of {rate:.0} packets/s is impossible: the ports carry at most {line:.0} packets/s of these sizes"
            )),
            (Self::PerSecond(rate), _) => Ok(Some(rate)),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no rate: expected packets a second (10k, 1.5M), a share of line rate (50%, line), or max"
            )
        };
        match text.trim() {
            "max" => return Ok(Self::Max),
            "line" => return Ok(Self::Percent(100.0)),
            _ => {}
        }
        let (value, percent) = match text.trim().strip_suffix('%') {
            Some(number) => (number.trim().parse::<f64>().map_err(|_| wrong())?, true),
            None => (scaled(text).ok_or_else(wrong)?, false),
        };
        if !value.is_finite() || value <= 0.0 {
            return Err(format!("\"{text}\" is no rate above 0"));
        }
        match percent {
            true if value > 100.0 => Err(format!("\"{text}\" is more than the line carries")),
            true => Ok(Self::Percent(value)),
            false => Ok(Self::PerSecond(value)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::PerSecond(rate) => write!(f, "{rate}/s"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A link's speed in bits a second: `10G`, `2.5G`, `100M`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Speed(pub f64);

impl TryFrom<String> for Speed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let speed = scaled(&text).filter(|speed| speed.is_finite() && *speed >= 1.0);
        speed
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is no speed in bits a second: expected one like 10G"))
    }
}

/// A number with k, M or G behind it.
fn scaled(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    number.trim().parse::<f64>().ok().map(|value| value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        for (text, rate) in [
            ("max", Rate::Max),
            ("line", Rate::Percent(100.0)),
            ("50%", Rate::Percent(50.0)),
            ("10k", Rate::PerSecond(10_000.0)),
            ("1.5M", Rate::PerSecond(1_500_000.0)),
            ("7", Rate::PerSecond(7.0)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for text in ["", "0", "-5", "101%", "fast", "NaN", "inf", "%", "é"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        assert_eq!(Rate::Percent(50.0).resolve(Some(1000.0)), Ok(Some(500.0)));
        assert_eq!(Rate::PerSecond(10.0).resolve(None), Ok(Some(10.0)));
        assert!(Rate::PerSecond(1001.0).resolve(Some(1000.0)).unwrap_err().contains("at most 1000"));
        assert!(Rate::Percent(50.0).resolve(None).unwrap_err().contains("speed"));
    }

    #[test]
    fn speeds_are_read() {
        assert_eq!(Speed::try_from("2.5G".to_owned()), Ok(Speed(2.5e9)));
        assert!(Speed::try_from("0".to_owned()).is_err() && Speed::try_from("fast".to_owned()).is_err());
    }
}
