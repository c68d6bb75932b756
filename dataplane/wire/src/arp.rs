//! ARP for IPv4 over Ethernet (RFC 826): only as much as it takes to see whom it concerns.

use crate::{Malformed, Wire, read16, read32};

/// Bytes of a message.
pub const LENGTH: usize = 28;
/// The operation of a question.
pub const REQUEST: u16 = 1;
/// The operation of an answer.
pub const REPLY: u16 = 2;

/// Where the operation stands.
pub const OPERATION: usize = 6;
/// Where the sender's MAC address stands.
pub const SENDER_MAC: usize = 8;
/// Where the sender's address stands.
pub const SENDER: usize = 14;
/// Where the target's MAC address stands.
pub const TARGET_MAC: usize = 18;
/// Where the target's address stands.
pub const TARGET: usize = 24;

/// Ethernet, IPv4, and their address lengths.
const FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// An ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// The sender's MAC address.
    pub sender_mac: [u8; 6],
    /// The sender's address.
    pub sender: u32,
    /// The target's MAC address.
    pub target_mac: [u8; 6],
    /// The target's address.
    pub target: u32,
}

impl Wire for Message {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(message) = bytes.first_chunk::<LENGTH>() else {
            return Err(Malformed::Truncated);
        };
        if message[..OPERATION] != FORMAT {
            return Err(Malformed::Arp);
        }
        let mac = |at: usize| std::array::from_fn(|i| message[at + i]);
        Ok(Self {
            operation: read16(message, OPERATION),
            sender_mac: mac(SENDER_MAC),
            sender: read32(message, SENDER),
            target_mac: mac(TARGET_MAC),
            target: read32(message, TARGET),
        })
    }

    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, bytes: &mut [u8]) {
        bytes[..OPERATION].copy_from_slice(&FORMAT);
        bytes[OPERATION..SENDER_MAC].copy_from_slice(&self.operation.to_be_bytes());
        bytes[SENDER_MAC..SENDER].copy_from_slice(&self.sender_mac);
        bytes[SENDER..TARGET_MAC].copy_from_slice(&self.sender.to_be_bytes());
        bytes[TARGET_MAC..TARGET].copy_from_slice(&self.target_mac);
        bytes[TARGET..LENGTH].copy_from_slice(&self.target.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(operation: u16, sender_mac: [u8; 6], sender: u32, target_mac: [u8; 6], target: u32) {
            holds(&Message { operation, sender_mac, sender, target_mac, target });
        }
    }
}
