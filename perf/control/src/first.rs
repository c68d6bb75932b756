//! From a host's first query to its first packet across: one host after another asks for a name, sends to the address it
//! was told, and learns from the far host when that arrived.

use crate::clock;
use crate::echo;
use crate::figure::{Collected, Figure};
use crate::gateways::{Gateway, Spent};
use crate::message;
use crate::names::pair;
use crate::realm::{self, Kind};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

/// A packet that was not answered is sent again so much later. Real programs wait longer: TCP a second (RFC 6298 §2).
const AGAIN: Duration = Duration::from_millis(5);
/// A query that was not answered, as a stub resolver that is in a hurry does it.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A name is given up after so many queries, or so many packets: 5 s of each.
const QUERIES: u32 = 5;
const PACKETS: u64 = 1000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Firsts {
    /// The figure's name.
    pub case: String,
    /// Hosts, and names.
    pub hosts: u32,
    /// Pairs of host and name, each once.
    pub pairs: Range<u64>,
    /// For how long, at most.
    pub seconds: f64,
    /// What is run by a shell before each, to make the gateways forget.
    pub before: Option<String>,
}

/// How one went, in nanoseconds from the query.
struct First {
    answered: u64,
    arrived: u64,
    packets: u64,
}

impl Firsts {
    /// One after another, and what came of it.
    pub fn run(&self, server: SocketAddr, gateways: &[Gateway]) -> Result<Figure, String> {
        let (mut answers, mut across) = (Collected::new()?, Collected::new()?);
        let (mut completed, mut first_lost, mut busy_ns) = (0, 0, 0);
        let mut failed = BTreeMap::new();
        // The processes may be others after `before`, so what they spend is told only without it.
        let gateways = if self.before.is_none() { gateways } else { &[] };
        let spent = Spent::read(gateways)?;
        let begin = clock::now();
        for number in self.pairs.clone() {
            if (clock::now() - begin) as f64 / 1e9 > self.seconds {
                break;
            }
            if let Some(command) = &self.before {
                forget(command)?;
            }
            let (host, name) = pair(number, self.hosts);
            let started = clock::now();
            let outcome = first(realm::address(host), &realm::name(Kind::Open, name), server)?;
            busy_ns += clock::now() - started;
            match outcome {
                Ok(one) => {
                    completed += 1;
                    answers.record(one.answered);
                    across.record(one.arrived);
                    first_lost += u64::from(one.packets > 1);
                }
                Err(reason) => *failed.entry(reason).or_default() += 1,
            }
        }
        let mut figure = Figure::new(&self.case, 1, busy_ns as f64 / 1e9, completed, failed);
        figure.control_us = Spent::read(gateways)?.time_us(&spent, completed);
        figure.answer_us = answers.times();
        figure.across_us = across.times();
        figure.first_lost = Some(first_lost);
        Ok(figure)
    }
}

fn forget(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// The outer error ends the run, the inner one is counted.
fn first(host: Ipv4Addr, name: &str, server: SocketAddr) -> Result<Result<First, String>, String> {
    let socket = |patience: Duration| {
        let socket = UdpSocket::bind((host, 0))?;
        socket.set_read_timeout(Some(patience))?;
        Ok(socket)
    };
    let broken = |error: std::io::Error| format!("host {host}: {error}");
    let asking = socket(ASK_AGAIN).map_err(broken)?;
    asking.connect(server).map_err(broken)?;
    let sending = socket(AGAIN).map_err(broken)?;
    let query = message::query(name);

    let asked = clock::now();
    let address = match ask(&asking, &query).map_err(broken)? {
        Ok(address) => address,
        Err(reason) => return Ok(Err(reason)),
    };
    let answered = clock::now();
    let far = SocketAddr::from((address, echo::PORT));
    for number in 1..=PACKETS {
        // What the kernel refuses (no buffer, an ICMP error to an earlier one) was not sent; the next try tells.
        let _ = sending.send_to(&number.to_be_bytes(), far);
        if let Some((number, arrived)) = receive(&sending).map_err(broken)? {
            let since = |time: u64| time.saturating_sub(asked);
            return Ok(Ok(First { answered: since(answered), arrived: since(arrived), packets: number }));
        }
    }
    Ok(Err("no packet across".to_owned()))
}

fn ask(socket: &UdpSocket, query: &[u8]) -> std::io::Result<Result<Ipv4Addr, String>> {
    let mut buffer = [0; 512];
    for _ in 0..QUERIES {
        socket.send(query)?;
        match socket.recv(&mut buffer) {
            Ok(length) => return Ok(message::address(&buffer[..length]).map_err(message::Refusal::text)),
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Err("unanswered".to_owned()))
}

fn receive(socket: &UdpSocket) -> std::io::Result<Option<(u64, u64)>> {
    let mut buffer = [0; 64];
    match socket.recv(&mut buffer) {
        Ok(length) => Ok(echo::parse(&buffer[..length])),
        Err(error) if again(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Nothing came in time, or only an ICMP error.
fn again(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_told_with_what_it_said() {
        assert_eq!(forget("true"), Ok(()));
        let error = forget("echo no such peer >&2; exit 3").unwrap_err();
        assert!(error.contains("no such peer") && error.contains('3'), "{error}");
    }

    #[test]
    fn an_unanswered_packet_is_no_error() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(receive(&socket).unwrap(), None);
    }
}
