//! ARP for IPv4 over Ethernet (RFC 826): only as much as it takes to see whom it concerns.

use super::Wire;
use crate::reason::DropReason;

/// Bytes of a message.
pub const LENGTH: usize = 28;
/// Ethernet, IPv4, and their address lengths.
const FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// An ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// 1 = request, 2 = reply.
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
    fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(message) = bytes.first_chunk::<LENGTH>() else {
            return Err(DropReason::Truncated);
        };
        if message[..6] != FORMAT {
            return Err(DropReason::EthertypeUnknown);
        }
        let mac = |at: usize| std::array::from_fn(|i| message[at + i]);
        Ok(Self {
            operation: u16::from_be_bytes([message[6], message[7]]),
            sender_mac: mac(8),
            sender: u32::from_be_bytes([message[14], message[15], message[16], message[17]]),
            target_mac: mac(18),
            target: u32::from_be_bytes([message[24], message[25], message[26], message[27]]),
        })
    }

    fn length(&self) -> usize {
        LENGTH
    }

    fn emit(&self, bytes: &mut [u8]) {
        bytes[0..6].copy_from_slice(&FORMAT);
        bytes[6..8].copy_from_slice(&self.operation.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sender_mac);
        bytes[14..18].copy_from_slice(&self.sender.to_be_bytes());
        bytes[18..24].copy_from_slice(&self.target_mac);
        bytes[24..28].copy_from_slice(&self.target.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::holds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(operation: u16, sender_mac: [u8; 6], sender: u32, target_mac: [u8; 6], target: u32) {
            holds(&Message { operation, sender_mac, sender, target_mac, target });
        }
    }
}
