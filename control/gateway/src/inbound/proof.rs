//! Proof that who asks receives what is sent to his address, so that whoever lies about it reserves nothing.
//!
//! Nothing is remembered: a label and a cookie carry the time and a hash of everything that they are for, under a key of our own
//! that is made at the start. Each is good for the network of who got it, since a large resolver asks from many addresses.

use crate::Nanos;
use ces_dns::cookie::Cookie;
use ces_meter::seconds;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// How long a label may be asked for, in seconds.
const LABEL_S: u32 = 5;
/// How long a cookie is good, in seconds: RFC 9018 §4.3 has an hour.
const COOKIE_S: u32 = 3600;
/// Octets of a label: the time in seconds, low bits, and the hash.
const LABEL: usize = 10;
/// Letters of it: base 32 with extended hex alphabet (RFC 4648 §7), in lower case.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The key, and what is made with it.
pub(crate) struct Prover {
    key: [u8; 32],
}

/// The network of who asks: 24 bits of IPv4, 48 of IPv6.
fn network(client: IpAddr) -> [u8; 7] {
    let mut network = [0; 7];
    match client {
        IpAddr::V4(address) => network[..3].copy_from_slice(&address.octets()[..3]),
        IpAddr::V6(address) => {
            network[0] = 6;
            network[1..].copy_from_slice(&address.octets()[..6]);
        }
    }
    network
}

impl Prover {
    pub(crate) const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A hash of what something is for: of which kind it is, the time, the network, and the rest.
    fn hash(&self, kind: u8, time: u32, client: IpAddr, rest: &[u8]) -> [u8; 8] {
        let digest = Sha256::new()
            .chain_update(self.key)
            .chain_update([kind])
            .chain_update(time.to_be_bytes())
            .chain_update(network(client))
            .chain_update(rest)
            .finalize();
        let mut hash = [0; 8];
        hash.copy_from_slice(&digest[..8]);
        hash
    }

    fn label_at(&self, name: &str, client: IpAddr, time: u32) -> String {
        let mut octets = [0; LABEL];
        octets[..2].copy_from_slice(&(time as u16).to_be_bytes());
        octets[2..].copy_from_slice(&self.hash(1, time, client, name.as_bytes()));
        let bits = octets.iter().fold(0u128, |bits, octet| bits << 8 | u128::from(*octet));
        let letter = |at: usize| char::from(LETTERS[(bits >> (5 * (LABEL * 8 / 5 - 1 - at))) as usize & 31]);
        (0..LABEL * 8 / 5).map(letter).collect()
    }

    /// A label in front of a name that is good for a moment, for who asks from there.
    pub(crate) fn label(&self, name: &str, client: IpAddr, now: Nanos) -> String {
        self.label_at(name, client, seconds(now))
    }

    /// Whether a label was given out in front of that name a moment ago, to who asks from there.
    pub(crate) fn is_label(&self, label: &str, name: &str, client: IpAddr, now: Nanos) -> bool {
        let now_s = seconds(now);
        label.len() == LABEL * 8 / 5
            && (now_s.saturating_sub(LABEL_S)..=now_s).any(|time| self.label_at(name, client, time) == label)
    }

    /// The cookies of an answer: RFC 7873 §5.2.3, as RFC 9018 §4 lays them out but for the hash, which nobody else reads.
    pub(crate) fn cookie(&self, client_cookie: [u8; 8], client: IpAddr, now: Nanos) -> [u8; 24] {
        let time = seconds(now);
        let mut cookie = [0; 24];
        cookie[..8].copy_from_slice(&client_cookie);
        cookie[8] = 1;
        cookie[12..16].copy_from_slice(&time.to_be_bytes());
        cookie[16..].copy_from_slice(&self.hash(2, time, client, &client_cookie));
        cookie
    }

    /// Whether a cookie is one of ours, for who asks from there, and not too old.
    pub(crate) fn knows(&self, cookie: &Cookie, client: IpAddr, now: Nanos) -> bool {
        let Some([1, 0, 0, 0, time @ .., _, _, _, _, _, _, _, _]) = cookie.server else { return false };
        let time = u32::from_be_bytes(time);
        let is_young = seconds(now).checked_sub(time).is_some_and(|age| age <= COOKIE_S);
        is_young
            && cookie.server.is_some_and(|server| server[8..] == self.hash(2, time, client, &cookie.client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = 1_000_000 * crate::SECOND;

    #[test]
    fn a_label_is_good_for_a_moment_a_name_and_a_network() {
        let prover = Prover::new([7; 32]);
        let [client, neighbour, other] = [[8, 8, 8, 8], [8, 8, 8, 9], [8, 8, 9, 8]].map(IpAddr::from);
        let label = prover.label("www.b.demo.", client, NOW);
        assert!(label.len() == 16 && label.bytes().all(|letter| LETTERS.contains(&letter)), "{label}");
        let is = |name, client, now| prover.is_label(&label, name, client, now);
        assert!(is("www.b.demo.", client, NOW) && is("www.b.demo.", neighbour, NOW + 5 * crate::SECOND));
        assert!(
            !is("www.b.demo.", client, NOW + 6 * crate::SECOND)
                && !is("www.b.demo.", client, NOW - crate::SECOND)
        );
        assert!(!is("ftp.b.demo.", client, NOW) && !is("www.b.demo.", other, NOW));
        assert!(!Prover::new([8; 32]).is_label(&label, "www.b.demo.", client, NOW));
    }

    #[test]
    fn a_cookie_is_good_for_an_hour_its_client_and_its_network() {
        let prover = Prover::new([7; 32]);
        let [client, other] = [[8, 8, 8, 8], [8, 8, 9, 8]].map(IpAddr::from);
        let both = prover.cookie([3; 8], client, NOW);
        let server = both[8..].try_into().ok();
        let cookie = Cookie { client: [3; 8], server };
        assert!(
            prover.knows(&cookie, client, NOW) && prover.knows(&cookie, client, NOW + 3600 * crate::SECOND)
        );
        assert!(
            !prover.knows(&cookie, client, NOW + 3601 * crate::SECOND) && !prover.knows(&cookie, other, NOW)
        );
        assert!(!prover.knows(&cookie, client, NOW - crate::SECOND), "not from the time to come");
        assert!(!prover.knows(&Cookie { client: [4; 8], server }, client, NOW));
        assert!(!prover.knows(&Cookie { client: [3; 8], server: None }, client, NOW));
        for bit in 0..128 {
            let mut wrong: [u8; 16] = both[8..].try_into().expect("16 octets");
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!prover.knows(&Cookie { client: [3; 8], server: Some(wrong) }, client, NOW), "{bit}");
        }
    }
}
