//! Proof of work: a stranger pays before we keep state for it.
//!
//! The challenge is derived from the peer's transport address, its id and a secret of ours, so the verifier recomputes
//! it and keeps nothing. The work is finding a token such that SHA-256(hex(SHA-256(challenge)) + token) ends in enough
//! zero bits.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Hex digits of a challenge.
pub const CHALLENGE_DIGITS: usize = 16;

/// Digits of the longest token that is looked at; more than 2⁶⁴ tries are nobody's work.
const MAX_TOKEN_DIGITS: usize = 32;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The challenge for a peer at this address, under this secret.
pub fn challenge(remote: SocketAddr, ces_id: &str, secret: &str) -> String {
    let mut challenge = hex(&Sha256::digest(format!("{}:{}:{ces_id}:{secret}", remote.ip(), remote.port())));
    challenge.truncate(CHALLENGE_DIGITS);
    challenge
}

/// The query's value: challenge and difficulty in bits.
pub fn query(challenge: &str, bits: u8) -> String {
    format!("{challenge};{bits}")
}

/// Reads a query's value.
pub fn parse_query(value: &str) -> Option<(&str, u8)> {
    let (challenge, bits) = value.split_once(';')?;
    let sound =
        !challenge.is_empty() && challenge.len() <= 64 && challenge.bytes().all(|b| b.is_ascii_graphic());
    let bits = crate::value::decimal(bits)?;
    if sound { Some((challenge, u8::try_from(bits).ok()?)) } else { None }
}

fn zero_bits(digest: &[u8]) -> u32 {
    let mut bits = 0;
    for byte in digest.iter().rev() {
        bits += byte.trailing_zeros();
        if *byte != 0 {
            break;
        }
    }
    bits
}

/// Does the work: the answer's value. About 2^bits hashes.
pub fn solve(challenge: &str, bits: u8) -> String {
    let start = Sha256::new().chain_update(hex(&Sha256::digest(challenge)));
    let mut token = String::new();
    for number in 0_u64.. {
        token.clear();
        let _ = write!(token, "{number:X}");
        if zero_bits(&start.clone().chain_update(&token).finalize()) >= u32::from(bits) {
            break;
        }
    }
    format!("{challenge};{token}")
}

/// Whether an answer is the work that was asked for.
pub fn verify(answer: &str, challenge: &str, bits: u8) -> bool {
    let Some((said, token)) = answer.split_once(';') else { return false };
    let upper_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    said == challenge
        && (1..=MAX_TOKEN_DIGITS).contains(&token.len())
        && token.bytes().all(upper_hex)
        && zero_bits(&Sha256::digest(format!("{}{token}", hex(&Sha256::digest(challenge)))))
            >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_answers_are_right() {
        // Trace 21: both answers of the reference, at 12 bits.
        assert!(verify("57c5c792e1eff031;B9", "57c5c792e1eff031", 12));
        assert!(verify("c330127c2c0b2883;569", "c330127c2c0b2883", 12));
        assert!(!verify("57c5c792e1eff031;BA", "57c5c792e1eff031", 12));
        assert!(!verify("57c5c792e1eff031;b9", "57c5c792e1eff031", 12));
        assert!(!verify("57c5c792e1eff031;B9", "c330127c2c0b2883", 12));
        assert!(!verify("57c5c792e1eff031;", "57c5c792e1eff031", 0));
    }

    #[test]
    fn work_done_is_work_accepted() {
        for bits in [0, 1, 8, 12] {
            let challenge = challenge("192.0.2.1:48001".parse().unwrap(), "gwa.demo.", "secret");
            assert_eq!(challenge.len(), CHALLENGE_DIGITS);
            assert!(verify(&solve(&challenge, bits), &challenge, bits), "{bits}");
        }
    }

    #[test]
    fn challenges_depend_on_all_they_are_made_of() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let base = challenge(at("192.0.2.1:1"), "a.", "s");
        for other in [
            challenge(at("192.0.2.2:1"), "a.", "s"),
            challenge(at("192.0.2.1:2"), "a.", "s"),
            challenge(at("192.0.2.1:1"), "b.", "s"),
            challenge(at("192.0.2.1:1"), "a.", "t"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn queries_are_read_or_refused() {
        assert_eq!(parse_query("c330127c2c0b2883;12"), Some(("c330127c2c0b2883", 12)));
        for bad in
            ["", ";", "x", "x;", ";12", "x;256", "x;-1", "x;1;2", "a b;1", &format!("{};1", "x".repeat(65))]
        {
            assert_eq!(parse_query(bad), None, "{bad}");
        }
    }
}
