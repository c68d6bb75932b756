//! A record in the store: 48 octets, at the place that its number says, so that the file is as large as it may be and the
//! newest takes the place of the oldest. The octets of a number that does not belong there, or that do not fit together, say
//! nothing: they were being written when the machine stopped.

use ces_dataplane::msg::{Record, Recorded};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

/// Octets of a record.
pub(super) const OCTETS: usize = 48;
/// Octets of it that the last four are made of.
const SUMMED: usize = OCTETS - 4;

/// What a line of the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A host has it from now on.
    Created,
    /// It no longer has it.
    Ended,
    /// The gateway started.
    Started,
}

/// A line of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) said: Said,
    pub(super) protocol: u8,
    pub(super) host: (Ipv4Addr, u16),
    pub(super) external: (Ipv4Addr, u16),
    pub(super) remote: Option<(Ipv4Addr, u16)>,
    /// The last port of a block, of all protocols.
    pub(super) last: Option<u16>,
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
}

impl Line {
    /// The gateway started.
    pub(super) const fn started(at_ms: u64) -> Self {
        let nobody = (Ipv4Addr::UNSPECIFIED, 0);
        Self {
            said: Said::Started,
            protocol: 0,
            host: nobody,
            external: nobody,
            remote: None,
            last: None,
            at_ms,
        }
    }

    /// What is kept of a record: not that something was refused.
    pub(super) const fn of(at_ms: u64, record: Record) -> Option<Self> {
        let Record { what, protocol, host, external, remote, last } = record;
        let said = match what {
            Recorded::Created => Said::Created,
            Recorded::Ended => Said::Ended,
            Recorded::Refused(_) => return None,
        };
        Some(Self { said, protocol, host, external, remote, last, at_ms })
    }

    /// The octets, with this number.
    pub(super) fn emit(&self, number: u64) -> [u8; OCTETS] {
        let mut octets = [0; OCTETS];
        octets[..8].copy_from_slice(&number.to_be_bytes());
        octets[8..16].copy_from_slice(&self.at_ms.to_be_bytes());
        octets[16] = match self.said {
            Said::Created => 1,
            Said::Ended => 2,
            Said::Started => 3,
        };
        octets[17] = self.protocol;
        octets[18] = u8::from(self.remote.is_some());
        octets[19] = u8::from(self.last.is_some());
        octets[38..40].copy_from_slice(&self.last.unwrap_or(0).to_be_bytes());
        let ends = [self.host, self.external, self.remote.unwrap_or((Ipv4Addr::UNSPECIFIED, 0))];
        for (place, (address, port)) in octets[20..38].as_chunks_mut::<6>().0.iter_mut().zip(ends) {
            place[..4].copy_from_slice(&address.octets());
            place[4..].copy_from_slice(&port.to_be_bytes());
        }
        let sum = Sha256::digest(&octets[..SUMMED]);
        octets[SUMMED..].copy_from_slice(&sum[..4]);
        octets
    }

    /// A number, which is not 0, and what stands there, if both are whole.
    pub(super) fn parse(octets: &[u8; OCTETS]) -> Option<(u64, Self)> {
        if octets[..8] == [0; 8] || octets[SUMMED..] != Sha256::digest(&octets[..SUMMED])[..4] {
            return None;
        }
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| octets[at + i]));
        let said = match octets[16] {
            1 => Said::Created,
            2 => Said::Ended,
            3 => Said::Started,
            _ => return None,
        };
        let end = |at: usize| {
            let address: [u8; 4] = std::array::from_fn(|i| octets[at + i]);
            (Ipv4Addr::from(address), u16::from_be_bytes([octets[at + 4], octets[at + 5]]))
        };
        let remote = (octets[18] == 1).then(|| end(32));
        let last = (octets[19] == 1).then(|| u16::from_be_bytes([octets[38], octets[39]]));
        let (protocol, host, external) = (octets[17], end(20), end(26));
        Some((word(0), Self { said, protocol, host, external, remote, last, at_ms: word(8) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else(
            number in 1..u64::MAX, at_ms: u64, protocol: u8, host: (u32, u16), external: (u32, u16),
            remote: Option<(u32, u16)>, last: Option<u16>, flipped in 0..OCTETS * 8,
        ) {
            let end = |(address, port): (u32, u16)| (Ipv4Addr::from_bits(address), port);
            let line = Line {
                said: Said::Ended, protocol, host: end(host), external: end(external), remote: remote.map(end), last,
                at_ms,
            };
            let mut octets = line.emit(number);
            prop_assert_eq!(Line::parse(&octets), Some((number, line)));
            octets[flipped / 8] ^= 1 << (flipped % 8);
            prop_assert_eq!(Line::parse(&octets), None);
        }
    }
}
