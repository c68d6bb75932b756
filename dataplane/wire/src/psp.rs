//! PSP, version 1.0 of Google's architecture specification of 2022: a header in clear over UDP, the encrypted packet, and its
//! tag. The form is PSP's, in tunnel mode without a virtual cookie; where keys come from is not.

use crate::{Malformed, Wire, ipv4};

/// Bytes of the header.
pub const LENGTH: usize = 16;
/// Bytes of the tag behind the packet.
pub const TAG: usize = 16;
/// Its UDP port.
pub const PORT: u16 = 1000;
/// Where the security parameter index stands.
pub const SPI: usize = 4;
/// Where the initialization vector stands.
pub const IV: usize = 8;
/// The bit of the index that is another one in each epoch.
pub const EPOCH: u32 = 1 << 31;

/// Where the cipher stands, as a version.
const VERSION: usize = 3;
/// What follows is an IPv4 packet (IP in IP), the header has 8 octets beyond its first 8, and all behind it is encrypted.
const FIXED: [u8; VERSION] = [4, 1, 0];
/// The last bit of the version's octet is set always.
const ALWAYS: u8 = 1;
/// In the place of the cipher: the packet behind it is in clear. It never crosses a wire.
const OPENED: u8 = 0xff;

const _: () = assert!(ipv4::LENGTH + crate::udp::LENGTH + LENGTH + TAG == 60);

/// How a packet is encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Cipher {
    /// AES with 256 bits in Galois/Counter Mode (NIST SP 800-38D).
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20 with Poly1305 (RFC 8439). PSP has no number for it: the last of those that it leaves free.
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Cipher {
    const fn version(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 15,
        }
    }
}

/// A PSP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cipher.
    pub cipher: Cipher,
    /// The security parameter index, which the receiver drew.
    pub spi: u32,
    /// The initialization vector: another one for each packet under a key.
    pub iv: u64,
}

impl Header {
    /// What makes a nonce of a packet: index and initialization vector.
    #[inline(always)]
    pub fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.spi.to_be_bytes());
        nonce[4..].copy_from_slice(&self.iv.to_be_bytes());
        nonce
    }

    fn read(bytes: &[u8; LENGTH], cipher: Cipher) -> Self {
        let [_, _, _, _, spi @ .., _, _, _, _, _, _, _, _] = *bytes;
        let [_, _, _, _, _, _, _, _, iv @ ..] = *bytes;
        Self { cipher, spi: u32::from_be_bytes(spi), iv: u64::from_be_bytes(iv) }
    }
}

/// Says in a header that the packet behind it was opened.
pub fn mark_opened(bytes: &mut [u8]) {
    if let Some(version) = bytes.get_mut(VERSION) {
        *version = OPENED;
    }
}

/// The header of a packet that was opened; the cipher is of no account any more.
pub fn opened(bytes: &[u8]) -> Option<Header> {
    let header = bytes.first_chunk::<LENGTH>()?;
    (header[VERSION] == OPENED).then(|| Header::read(header, Cipher::Aes256Gcm))
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<LENGTH>().ok_or(Malformed::Truncated)?;
        let aes = Cipher::Aes256Gcm.version() << 2 | ALWAYS;
        let chacha = Cipher::ChaCha20Poly1305.version() << 2 | ALWAYS;
        if header[..VERSION] != FIXED {
            return Err(Malformed::Tunnel);
        }
        match header[VERSION] {
            version if version == aes => Ok(Self::read(header, Cipher::Aes256Gcm)),
            version if version == chacha => Ok(Self::read(header, Cipher::ChaCha20Poly1305)),
            _ => Err(Malformed::Tunnel),
        }
    }

    #[inline(always)]
    fn length(&self) -> usize {
        LENGTH
    }

    #[inline(always)]
    fn emit(&self, bytes: &mut [u8]) {
        bytes[..VERSION].copy_from_slice(&FIXED);
        bytes[VERSION] = self.cipher.version() << 2 | ALWAYS;
        bytes[SPI..IV].copy_from_slice(&self.spi.to_be_bytes());
        bytes[IV..LENGTH].copy_from_slice(&self.iv.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(spi: u32, iv: u64, is_aes: bool) {
            let cipher = if is_aes { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 };
            let header = Header { cipher, spi, iv };
            holds(&header);
            let mut bytes = [0; LENGTH];
            header.emit(&mut bytes);
            prop_assert_eq!(opened(&bytes), None);
            mark_opened(&mut bytes);
            prop_assert_eq!(opened(&bytes).map(|header| (header.spi, header.iv)), Some((spi, iv)));
            prop_assert_eq!(Header::parse(&bytes), Err(Malformed::Tunnel), "it never comes from outside");
        }
    }

    #[test]
    fn a_header_stands_as_the_specification_draws_it() {
        let header = Header { cipher: Cipher::Aes256Gcm, spi: 0x8123_4567, iv: 0x0102_0304_0506_0708 };
        let mut bytes = [0; LENGTH];
        header.emit(&mut bytes);
        assert_eq!(bytes, [4, 1, 0, 0x05, 0x81, 0x23, 0x45, 0x67, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(header.nonce(), bytes[SPI..]);
        for (at, value) in [(0, 41), (1, 2), (2, 4), (3, 0x01), (3, 0x04), (3, 0x07), (3, 0x85)] {
            let mut other = bytes;
            other[at] = value;
            assert_eq!(Header::parse(&other), Err(Malformed::Tunnel), "{at}: {value:#x}");
        }
    }
}
