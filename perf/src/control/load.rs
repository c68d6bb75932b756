//! Hosts that ask for names: every pair of a host here and a name there once, and how long each answer took.

use crate::control::node::Node;
use crate::control::realms::{self, Side};
use ces_dns::message::Transport;
use ces_gateway::QueryToken;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The load on an initiator.
pub struct Load {
    hosts: u32,
    /// A query for each name of the other realm, as a stub resolver sends it.
    queries: Vec<Vec<u8>>,
    /// The next pair.
    next: u64,
    /// When each query was asked; its token is its place.
    asked: Vec<u64>,
    /// Queries without answer.
    outstanding: usize,
    /// Times from query to answer, in nanoseconds.
    pub times: Histogram<u64>,
    /// Answers with an address.
    pub completed: u64,
    /// Others, by response code; 16 = no answer.
    pub failed: [u64; 17],
}

/// Nanoseconds up to which times are told apart, with three digits: a minute.
const TIME_MAX_NS: u64 = 60_000_000_000;

impl Load {
    /// For so many hosts on each side.
    pub fn new(hosts: u32) -> Result<Self, String> {
        Ok(Self {
            hosts,
            queries: (0..hosts).map(|host| query(&realms::name(Side::Responder, host))).collect(),
            next: 0,
            asked: Vec::new(),
            outstanding: 0,
            times: Histogram::new_with_bounds(1, TIME_MAX_NS, 3).map_err(|error| error.to_string())?,
            completed: 0,
            failed: [0; 17],
        })
    }

    /// Pairs that have not been asked for.
    pub fn left(&self) -> u64 {
        u64::from(self.hosts) * u64::from(self.hosts) - self.next
    }

    /// Queries without answer.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Forgets what was counted so far; what is under way counts.
    pub fn reset(&mut self) {
        self.times.reset();
        self.completed = 0;
        self.failed = [0; 17];
    }

    /// The host and the name of pair number `pair`. Any run of pairs as long as there are hosts has each host and each
    /// name once.
    pub fn pair(&self, pair: u64) -> (u32, u32) {
        let hosts = u64::from(self.hosts);
        ((pair % hosts) as u32, ((pair / hosts + pair) % hosts) as u32)
    }

    /// A host asks for the next pair.
    pub fn ask(&mut self, node: &mut Node, now: u64) {
        let pair = self.next;
        self.next += 1;
        self.ask_for(pair, node, now);
    }

    /// A host asks for a pair, perhaps again.
    pub fn ask_for(&mut self, pair: u64, node: &mut Node, now: u64) {
        let (host, name) = self.pair(pair);
        let token = self.asked.len() as u64;
        self.asked.push(now);
        self.outstanding += 1;
        let query = &mut self.queries[name as usize];
        query[..2].copy_from_slice(&(token as u16).to_be_bytes());
        let client = SocketAddr::new(IpAddr::V4(realms::address(host)), 1024 + (token % 50_000) as u16);
        let side = ces_dns::outcome::Side::Inside;
        node.gateway.handle_dns(side, Transport::Udp, client, query, QueryToken(token), now);
    }

    /// Takes the answers that have come out.
    pub fn take(&mut self, node: &mut Node, now: u64) {
        for (token, answer) in node.answers.drain(..) {
            let Some(asked) = self.asked.get(token.0 as usize) else { continue };
            self.outstanding -= 1;
            match answer.as_deref().map(verdict) {
                Some(Ok(())) => {
                    self.completed += 1;
                    self.times.saturating_record(now.saturating_sub(*asked).max(1));
                }
                Some(Err(code)) => self.failed[usize::from(code)] += 1,
                None => self.failed[16] += 1,
            }
        }
        if self.outstanding == 0 {
            self.asked.clear();
        }
    }

    /// What was not answered with an address, by response code (RFC 6895 §2.3).
    pub fn failures(&self) -> BTreeMap<String, u64> {
        const NAMES: [&str; 6] = ["no_data", "form_err", "serv_fail", "nx_domain", "not_imp", "refused"];
        let name = |code: usize| match NAMES.get(code) {
            Some(name) => (*name).to_owned(),
            None if code == 16 => "no_answer".to_owned(),
            None => format!("rcode_{code}"),
        };
        let failed = self.failed.iter().enumerate().filter(|(_, count)| **count > 0);
        failed.map(|(code, count)| (name(code), *count)).collect()
    }
}

/// Whether an answer carries an address; otherwise its response code (RFC 1035 §4.1.1).
fn verdict(answer: &[u8]) -> Result<(), u8> {
    let [_, _, _, flags, _, _, a, b, ..] = answer else { return Err(1) };
    match (flags & 15, a, b) {
        (0, 0, 0) => Err(0),
        (0, ..) => Ok(()),
        (code, ..) => Err(code),
    }
}

/// A query for the A records of a name.
fn query(name: &str) -> Vec<u8> {
    // RFC 1035 §4.1.1: id, recursion desired, one question.
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_pair_comes_once_and_hosts_take_turns() {
        let load = Load::new(10).unwrap();
        let pairs: Vec<_> = (0..100).map(|pair| load.pair(pair)).collect();
        assert_eq!(pairs.iter().collect::<HashSet<_>>().len(), 100);
        let hosts: HashSet<_> = pairs[40..50].iter().map(|pair| pair.0).collect();
        let names: HashSet<_> = pairs[40..50].iter().map(|pair| pair.1).collect();
        assert_eq!((hosts.len(), names.len()), (10, 10));
    }

    #[test]
    fn answers_are_told_apart() {
        let mut answer = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        assert_eq!(verdict(&answer), Ok(()));
        answer[3] = 0x83;
        assert_eq!(verdict(&answer), Err(3));
        answer[3] = 0x80;
        answer[7] = 0;
        assert_eq!(verdict(&answer), Err(0));
        assert_eq!(verdict(&[]), Err(1));
    }
}
