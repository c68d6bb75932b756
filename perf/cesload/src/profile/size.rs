//! Frame sizes, alone or mixed.
//!
//! All sizes are those of Ethernet frames with their FCS, as in RFC 2544 §9.1.

use serde::Deserialize;
use std::fmt;

/// Bytes of the frame check sequence, which is part of a frame's size and never seen by a program.
pub const FCS: u16 = 4;
/// What a frame takes on the wire beside itself: preamble and start delimiter 8, gap 12 (IEEE 802.3 §4.2).
pub const WIRE_OVERHEAD: u16 = 20;

/// One size of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// Bytes of the frame, its FCS included.
    pub size: u16,
    /// How many of these there are, beside the weights of the others.
    pub weight: u32,
}

/// A mix that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Imix {
    /// The name in profiles.
    pub name: &'static str,
    /// Bytes of frames, and how many of these there are.
    pub shares: &'static [(u16, u32)],
    /// Where it comes from.
    pub source: &'static str,
}

/// The mixes that have names.
pub const IMIX: &[Imix] = &[
    Imix {
        name: "imix-simple",
        shares: &[(64, 7), (594, 4), (1518, 1)],
        source: "the simple IMIX of most testers: IP packets of 40, 576 and 1500 bytes at 7:4:1, in frames of at least 64 bytes",
    },
    Imix {
        name: "imix-csit",
        shares: &[(64, 28), (570, 16), (1518, 4)],
        source: "IMIX_v4_1 of FD.io CSIT: 28 of 64, 16 of 570, 4 of 1518 bytes",
    },
    Imix {
        name: "imix-rfc2544",
        shares: &[(64, 1), (128, 1), (256, 1), (512, 1), (1024, 1), (1280, 1), (1518, 1)],
        source: "the frame sizes of RFC 2544 §9.1, as many of each: genome abcdefg of RFC 6985 §4",
    },
];

/// The sizes that the letters of an IMIX genome stand for, from `a` on (RFC 6985 §4). `z` is the MTU, which a profile says
/// itself.
const GENOME: [u16; 10] = [64, 128, 256, 512, 1024, 1280, 1518, 2112, 9000, 16000];

/// Sizes as a profile says them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name of a mix (\"imix-simple\"), a genome of RFC 6985 \
                 (\"genome:aaaaaaadg\"), or a list such as [{ size = 64, weight = 7 }]"
)]
pub enum Sizes {
    /// The name of a mix, or `genome:` and letters.
    Named(String),
    /// A mix.
    Shares(Vec<Weighted>),
}

impl Sizes {
    /// The sizes with their weights.
    pub fn shares(&self) -> Result<Vec<Weighted>, String> {
        let shares = match self {
            Self::Shares(shares) => shares.clone(),
            Self::Named(name) => match name.strip_prefix("genome:") {
                Some(letters) => genome(letters)?,
                None => named(name)?,
            },
        };
        if shares.is_empty() || shares.iter().any(|share| share.weight == 0) {
            return Err("expected at least one size, each with a weight of at least 1".to_owned());
        }
        Ok(shares)
    }
}

fn named(name: &str) -> Result<Vec<Weighted>, String> {
    let found = IMIX.iter().find(|imix| imix.name == name);
    found.map(|imix| weighted(imix.shares)).ok_or_else(|| {
        let names: Vec<&str> = IMIX.iter().map(|imix| imix.name).collect();
        format!("there is no mix \"{name}\"; there are: {}, and genome:LETTERS of RFC 6985", names.join(", "))
    })
}

fn weighted(shares: &[(u16, u32)]) -> Vec<Weighted> {
    shares.iter().map(|&(size, weight)| Weighted { size, weight }).collect()
}

/// RFC 6985 §4: each letter is one frame of its size; the sequence repeats.
fn genome(letters: &str) -> Result<Vec<Weighted>, String> {
    let mut counts = [0; GENOME.len()];
    for letter in letters.chars() {
        let count = (letter as usize).checked_sub('a' as usize).and_then(|at| counts.get_mut(at));
        *count.ok_or_else(|| {
            format!("'{letter}' is no letter of RFC 6985 §4 with a fixed size: a to j are")
        })? += 1;
    }
    let shares: Vec<_> = GENOME.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
    Ok(weighted(&shares))
}

/// The mean size.
pub fn mean(shares: &[Weighted]) -> f64 {
    let weights: f64 = shares.iter().map(|share| f64::from(share.weight)).sum();
    let bytes: f64 = shares.iter().map(|share| f64::from(share.size) * f64::from(share.weight)).sum();
    if weights > 0.0 { bytes / weights } else { 0.0 }
}

impl fmt::Display for Imix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        let shares: Vec<_> =
            self.shares.iter().map(|(size, count)| format!("{count} × {size} bytes")).collect();
        write!(f, "{}; mean {:.1} bytes ({})", shares.join(", "), mean(&weighted(self.shares)), self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_imix_has_its_known_mean() {
        let shares = Sizes::Named("imix-simple".to_owned()).shares().unwrap();
        assert!((mean(&shares) - 361.83).abs() < 0.01);
        assert!(
            IMIX[0].to_string().starts_with("imix-simple: 7 × 64 bytes, 4 × 594 bytes, 1 × 1518 bytes; ")
        );
    }

    #[test]
    fn genome_counts_its_letters() {
        let shares = Sizes::Named("genome:aabga".to_owned()).shares().unwrap();
        assert_eq!(shares, weighted(&[(64, 3), (128, 1), (1518, 1)]));
    }

    #[test]
    fn unknown_names_and_empty_mixes_are_refused() {
        for sizes in
            [Sizes::Named("imix".into()), Sizes::Named("genome:aq".into()), Sizes::Named("genome:".into())]
        {
            assert!(sizes.shares().is_err(), "{sizes:?}");
        }
        assert!(Sizes::Shares(weighted(&[(64, 0)])).shares().is_err());
        assert!(Sizes::Named("x".into()).shares().unwrap_err().contains("imix-simple"));
    }
}
