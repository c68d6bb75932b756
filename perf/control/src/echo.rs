//! The far hosts: whatever datagram arrives at one of them goes back with the time of its arrival.

use crate::clock;
use crate::realm;
use crate::sockets::Sockets;
use std::time::Duration;

/// The port they listen on.
pub const PORT: u16 = 7007;
/// The longest sleep: nothing else is waited for.
const NAP: Duration = Duration::from_secs(1);
/// Bytes that a host sends: the number of its try.
pub const QUESTION: usize = 8;
/// Bytes that come back: the same, and the time of arrival in nanoseconds.
pub const ANSWER: usize = QUESTION + 8;

/// What comes back for a datagram that arrived at `now`.
pub fn answer(question: &[u8], now: u64) -> Option<[u8; ANSWER]> {
    let question: &[u8; QUESTION] = question.try_into().ok()?;
    let mut bytes = [0; ANSWER];
    bytes[..QUESTION].copy_from_slice(question);
    bytes[QUESTION..].copy_from_slice(&now.to_be_bytes());
    Some(bytes)
}

/// The number and the time of arrival in what came back.
pub fn parse(answer: &[u8]) -> Option<(u64, u64)> {
    let answer: &[u8; ANSWER] = answer.try_into().ok()?;
    let (number, time) = answer.split_at(QUESTION);
    Some((u64::from_be_bytes(number.try_into().ok()?), u64::from_be_bytes(time.try_into().ok()?)))
}

/// Echoes until the process is ended.
pub fn run(hosts: u32) -> Result<(), String> {
    let mut sockets = Sockets::open((0..hosts).map(realm::address), PORT, None)?;
    println!("ready");
    loop {
        sockets.wait(NAP, |_, socket, bytes, from| {
            if let Some(answer) = answer(bytes, clock::now()) {
                // A host that cannot be answered asks again.
                let _ = socket.send_to(&answer, from);
            }
        })?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_tells_the_number_and_the_time() {
        assert_eq!(parse(&answer(&7u64.to_be_bytes(), 1234).unwrap()), Some((7, 1234)));
        assert!(answer(b"short", 1).is_none() && parse(b"short").is_none());
    }
}
