//! Encryption of tunnels as it is agreed in C2C: an item of ours, `ces.sealing`, which the reference implementation does not know
//! and ignores.
//!
//! Each side draws the key that it wants to receive under, and tells the other one, with the index that such packets are to
//! carry. Both travel inside of C2C's TLS, whose two ends are authenticated, and so does the answer to whether tunnels are
//! encrypted at all: nobody else learns a key or takes an offer away. A key comes of no connection, so all connections to a peer
//! are alike, and another one can be agreed at any time on any of them.

use crate::value::Value;
use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The bit of an index that is another one in each epoch.
pub const EPOCH: u32 = 1 << 31;

/// Whether tunnels to a peer are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// They are not.
    Off,
    /// They are if the peer can.
    #[default]
    Preferred,
    /// They are, or there is no C2C.
    Required,
}

/// How packets are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cipher {
    /// Where both have it in their processors.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// Everywhere.
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Cipher {
    /// For a person.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// A key. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct TunnelSecret([u8; 32]);

impl std::fmt::Debug for TunnelSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelSecret")
    }
}

impl TunnelSecret {
    /// These bytes.
    pub const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn draw(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The key itself.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells it from others, without saying anything about it.
    pub(crate) fn mark(&self) -> u32 {
        let digest = Sha256::digest(self.0);
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    fn to_hex(&self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let is_hex = digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit);
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)).filter(|_| is_hex) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        is_hex.then_some(Self(bytes))
    }
}

impl Serialize for TunnelSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for TunnelSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

/// What one side says of itself, in `ces.sealing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealOffer {
    /// The index of what is sent to it, in its epoch.
    pub(crate) spi: u32,
    /// The key of that.
    pub(crate) secret: TunnelSecret,
    /// Which of those it drew: one that was drawn before another comes too late.
    pub(crate) turn: u32,
    /// Whether it has AES in its processor.
    pub(crate) has_aes: bool,
    /// How many workers it has, each of which numbers its packets.
    pub(crate) workers: u8,
    /// The mark of the other side's key that it has.
    pub(crate) has: Option<u32>,
}

impl SealOffer {
    /// Its value: what is not known in it is ignored, so that more can be said one day.
    pub(crate) fn to_value(&self) -> Value<'static> {
        let number = |value: u32| Value::Number(value.into());
        let mut fields = vec![
            (Cow::Borrowed("spi"), number(self.spi)),
            (Cow::Borrowed("key"), Value::Text(self.secret.to_hex().into())),
            (Cow::Borrowed("turn"), number(self.turn)),
            (Cow::Borrowed("aes"), Value::Bool(self.has_aes)),
            (Cow::Borrowed("workers"), number(self.workers.into())),
        ];
        fields.extend(self.has.map(|has| (Cow::Borrowed("has"), number(has))));
        Value::Map(fields)
    }

    /// Reads one; `None` if it cannot be taken: then there is none.
    pub(crate) fn read(value: &Value<'_>) -> Option<Self> {
        let spi = value.field("spi")?.as_u32().filter(|spi| spi & !EPOCH != 0)?;
        let secret = TunnelSecret::from_hex(value.field("key")?.as_str()?)?;
        let turn = value.field("turn")?.as_u32()?;
        let workers = value.field("workers")?.as_u32()?;
        let workers = u8::try_from(workers).ok().filter(|workers| (1..=WORKERS).contains(workers))?;
        let has_aes = matches!(value.field("aes"), Some(Value::Bool(true)));
        let has = value.field("has").and_then(Value::as_u32);
        Some(Self { spi, secret, turn, has_aes, workers, has })
    }

    /// What both can: AES where both have it in their processors.
    pub(crate) const fn cipher(&self, other: &Self) -> Cipher {
        if self.has_aes && other.has_aes { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 }
    }
}

/// Workers that a peer may have.
const WORKERS: u8 = 64;

/// The keys of tunnels with a peer, as they are agreed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerKeys {
    /// The index of what comes from it, without its epoch.
    pub id: u32,
    /// The cipher.
    pub cipher: Cipher,
    /// What comes from it, by epoch.
    pub inbound: [Option<TunnelSecret>; 2],
    /// Which of them was told last: whether the second.
    pub epoch: bool,
    /// What is sent to it, and the index of that, in its epoch.
    pub outbound: Option<(u32, TunnelSecret)>,
    /// How many workers it has.
    pub workers: u8,
    /// Which of those that we drew was told last, and which of the peer's is sent under.
    pub turns: (u32, u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_told_is_read(spi: u32, bytes: [u8; 32], turn: u32, has_aes: bool, workers in 1..=WORKERS, has: Option<u32>) {
            prop_assume!(spi & !EPOCH != 0);
            let offer = SealOffer { spi, secret: TunnelSecret(bytes), turn, has_aes, workers, has };
            prop_assert_eq!(SealOffer::read(&offer.to_value()), Some(offer));
        }
    }

    #[test]
    fn what_cannot_be_taken_is_no_offer() {
        let key = "00".repeat(32);
        let read = |json: &str| SealOffer::read(&serde_json::from_str(&json.replace("KEY", &key)).unwrap());
        assert!(
            read(r#"{"spi":7,"key":"KEY","turn":1,"workers":1,"more":[]}"#)
                .is_some_and(|offer| !offer.has_aes)
        );
        for bad in [
            "7",
            "{}",
            r#"{"spi":0,"key":"KEY","turn":1,"workers":1}"#,
            r#"{"spi":2147483648,"key":"KEY","turn":1,"workers":1}"#,
            r#"{"spi":7,"key":"KEY0","turn":1,"workers":1}"#,
            r#"{"spi":7,"key":"xx","turn":1,"workers":1}"#,
            r#"{"spi":7,"key":"KEY","turn":1,"workers":0}"#,
            r#"{"spi":7,"key":"KEY","turn":1,"workers":65}"#,
            r#"{"spi":7,"key":"KEY","turn":1}"#,
            r#"{"spi":7,"key":"KEY","workers":1}"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_is_shown_to_nobody() {
        assert_eq!(format!("{:?}", TunnelSecret([0xab; 32])), "TunnelSecret");
        let json = serde_json::to_string(&TunnelSecret([0xab; 32])).unwrap();
        assert_eq!(serde_json::from_str::<TunnelSecret>(&json).unwrap(), TunnelSecret([0xab; 32]));
    }
}
