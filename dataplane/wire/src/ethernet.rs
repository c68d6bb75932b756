//! Ethernet II with at most one VLAN tag (IEEE 802.1Q).

use crate::{Malformed, Wire, read16};

/// The Ethernet type of IPv4.
pub const IPV4: u16 = 0x0800;
/// The Ethernet type of ARP.
pub const ARP: u16 = 0x0806;
/// The tag protocol identifier of a customer VLAN tag.
pub const VLAN: u16 = 0x8100;
/// The protocol type of Ethernet in a tunnel (transparent Ethernet bridging).
pub const BRIDGED: u16 = 0x6558;
/// Bytes of a header without a tag.
pub const LENGTH: usize = 14;
/// Bytes of a header with a tag.
pub const LENGTH_TAGGED: usize = 18;
/// Bytes of a tag.
pub const TAG: usize = LENGTH_TAGGED - LENGTH;
/// Where the source stands, behind the destination.
pub const SOURCE: usize = 6;
/// Where the type of what follows stands, or a tag with the type behind it.
pub const TYPE: usize = 12;
/// The bits of a tag that are the VLAN's identifier.
pub const VLAN_MASK: u16 = 0x0fff;
/// The broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where it goes.
    pub destination: [u8; 6],
    /// Where it comes from.
    pub source: [u8; 6],
    /// The VLAN identifier, 0 to 4095, of a tagged frame. Priority is not kept.
    pub vlan: Option<u16>,
    /// The type of what follows.
    pub ethertype: u16,
}

impl Header {
    /// Whether the destination is a group address (broadcast or multicast).
    pub const fn to_group(&self) -> bool {
        self.destination[0] & 1 == 1
    }
}

impl Wire for Header {
    #[inline(always)]
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some([d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]) = bytes.first_chunk::<LENGTH>()
        else {
            return Err(Malformed::Truncated);
        };
        let mut header = Self {
            destination: [*d0, *d1, *d2, *d3, *d4, *d5],
            source: [*s0, *s1, *s2, *s3, *s4, *s5],
            vlan: None,
            ethertype: u16::from_be_bytes([*t0, *t1]),
        };
        if header.ethertype == VLAN {
            if bytes.len() < LENGTH_TAGGED {
                return Err(Malformed::Truncated);
            }
            header.vlan = Some(read16(bytes, LENGTH) & VLAN_MASK);
            header.ethertype = read16(bytes, LENGTH_TAGGED - 2);
            if header.ethertype == VLAN {
                return Err(Malformed::SecondTag); // a second tag: no port is configured for one
            }
        }
        Ok(header)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        if self.vlan.is_some() { LENGTH_TAGGED } else { LENGTH }
    }

    fn emit(&self, bytes: &mut [u8]) {
        bytes[..SOURCE].copy_from_slice(&self.destination);
        bytes[SOURCE..TYPE].copy_from_slice(&self.source);
        if let Some(vlan) = self.vlan {
            bytes[TYPE..LENGTH].copy_from_slice(&VLAN.to_be_bytes());
            bytes[LENGTH..LENGTH + 2].copy_from_slice(&(vlan & VLAN_MASK).to_be_bytes());
        }
        let at = self.length() - 2;
        bytes[at..at + 2].copy_from_slice(&self.ethertype.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            destination: [u8; 6], source: [u8; 6], vlan in proptest::option::of(0u16..4096), ethertype: u16,
        ) {
            prop_assume!(ethertype != VLAN);
            holds(&Header { destination, source, vlan, ethertype });
        }
    }

    #[test]
    fn a_second_tag_is_refused() {
        let mut bytes = [0; 22];
        Header { destination: [2; 6], source: [4; 6], vlan: Some(5), ethertype: VLAN }.emit(&mut bytes);
        assert_eq!(Header::parse(&bytes), Err(Malformed::SecondTag));
    }
}
