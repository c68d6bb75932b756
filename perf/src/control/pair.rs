//! Two gateways in one thread, joined by function calls: what the engines cost by themselves.

use crate::control::load::Load;
use crate::control::node::{Cetp, Node};
use crate::control::realms::{Shape, Side};
use crate::measure::{Burst, Case, INTERRUPTED_NS};
use ces_cetp::engine::{ConnId, PeerIdentity};
use machine::Clock;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Cycles of one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// In calls that ran through.
    pub cycles: u64,
    limit: u64,
}

impl Share {
    fn add(&mut self, cycles: u64) {
        // An interrupted call says nothing about the code.
        if cycles <= self.limit {
            self.cycles += cycles;
        }
    }
}

/// The two, and a load on the first.
pub struct Pair {
    /// Initiator and responder.
    pub nodes: [Node; 2],
    /// The load.
    pub load: Load,
    /// What each has cost.
    pub shares: [Share; 2],
    wires: HashMap<(usize, ConnId), (usize, ConnId)>,
    clock: Clock,
    outstanding: usize,
    /// Pairs of host and name that are connected, which alone are asked for.
    connected: Option<u64>,
    next: u64,
}

/// Queries for connected pairs in a burst.
const QUERIES: u64 = 64;

impl Pair {
    /// With so many queries under way at a time, warm: the gateways are connected and the names' records at hand. `connected`:
    /// so many pairs are connected, and nothing else is asked for.
    pub fn new(shape: &Shape, outstanding: usize, connected: Option<u64>) -> Result<Self, String> {
        let clock = Clock::new();
        let now = clock.now();
        let nodes = [Node::new(Side::Initiator, shape, now)?, Node::new(Side::Responder, shape, now)?];
        let limit = machine::cycles_per_second() / 1_000_000_000 * INTERRUPTED_NS;
        let mut pair = Self {
            nodes,
            load: Load::new(shape.hosts)?,
            shares: [Share { cycles: 0, limit }; 2],
            wires: HashMap::new(),
            clock,
            outstanding,
            connected,
            next: 0,
        };
        let warm = connected.unwrap_or(u64::from(shape.hosts));
        for _ in 0..warm {
            pair.negotiate(1);
        }
        if pair.load.completed != warm {
            let (done, failed) = (pair.load.completed, pair.load.failures());
            return Err(format!(
                "{done} of {warm} names were reached: {failed:?}; {:?}",
                pair.nodes[0].complaints
            ));
        }
        pair.load.reset();
        pair.shares.iter_mut().for_each(|share| share.cycles = 0);
        Ok(pair)
    }

    /// Names that can still be asked for.
    pub fn left(&self) -> u64 {
        if self.connected.is_some() { u64::MAX } else { self.load.left() }
    }

    /// A host asks again for pairs that are connected.
    fn answer(&mut self, pairs: u64) -> Burst {
        let Self { nodes: [node, _], load, clock, .. } = self;
        let begin = machine::cycles();
        for _ in 0..QUERIES {
            let now = clock.now();
            // A step that shares no factor with the number of pairs: all of them, not in order.
            self.next = (self.next + 7919) % pairs;
            load.ask_for(self.next, node, now);
            node.pump(now);
        }
        let cycles = machine::cycles() - begin;
        load.take(node, clock.now());
        Burst { cycles, packets: QUERIES }
    }

    /// Runs a call into one side and what follows from it there, on that side's account.
    fn at(&mut self, side: usize, call: impl FnOnce(&mut Node, u64)) {
        let begin = machine::cycles();
        let now = self.clock.at(begin);
        call(&mut self.nodes[side], now);
        self.nodes[side].pump(now);
        self.shares[side].add(machine::cycles() - begin);
    }

    /// Carries messages until nobody has any; `false` if a name was not reached.
    pub fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for side in 0..2 {
                while let Some(wish) = self.nodes[side].cetp.pop_front() {
                    quiet = false;
                    self.carry(side, wish);
                }
            }
            if quiet {
                break;
            }
        }
        let now = self.clock.now();
        self.load.take(&mut self.nodes[0], now);
    }

    fn carry(&mut self, side: usize, wish: Cetp) {
        let far = 1 - side;
        match wish {
            Cetp::Connect(conn, endpoint, _) => {
                let [near, there] = [
                    SocketAddr::from((Side::Initiator.endpoint(), 40_000)),
                    SocketAddr::new(endpoint.addr, endpoint.port),
                ];
                let identity = |side: usize| {
                    let ces_id = [Side::Initiator, Side::Responder][side].ces_id();
                    PeerIdentity { ces_id: Some(ces_id.into()) }
                };
                let mut accepted = None;
                self.at(far, |node, now| {
                    accepted = node.gateway.handle_cetp_accepted(identity(side), there, near, now).ok();
                });
                match accepted {
                    Some(there_conn) => {
                        self.wires.insert((side, conn), (far, there_conn));
                        self.wires.insert((far, there_conn), (side, conn));
                        self.at(side, |node, now| {
                            node.gateway.handle_cetp_connected(conn, identity(far), near, there, now);
                        });
                    }
                    None => self.at(side, |node, now| node.gateway.handle_cetp_closed(conn, now)),
                }
            }
            Cetp::Send(conn, bytes) => {
                if let Some((far, conn)) = self.wires.get(&(side, conn)).copied() {
                    self.at(far, |node, now| node.gateway.handle_cetp_received(conn, &bytes, now));
                }
            }
            Cetp::Close(conn) => {
                if let Some((far, conn)) = self.wires.remove(&(side, conn)) {
                    self.wires.remove(&(far, conn));
                    self.at(far, |node, now| node.gateway.handle_cetp_closed(conn, now));
                }
            }
        }
    }

    /// Asks for so many pairs and brings all of them to their end.
    pub fn negotiate(&mut self, pairs: usize) {
        let Self { nodes, load, shares, clock, .. } = self;
        for _ in 0..pairs {
            let begin = machine::cycles();
            let now = clock.at(begin);
            load.ask(&mut nodes[0], now);
            nodes[0].pump(now);
            shares[0].add(machine::cycles() - begin);
        }
        self.settle();
        // What did not end by messages ends by time.
        while self.load.outstanding() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
            for side in 0..2 {
                self.at(side, |node, now| node.gateway.handle_timeout(now));
            }
            self.settle();
        }
    }
}

impl Case for Pair {
    /// None where calls are looked at one by one.
    fn limit_ns(&self) -> u64 {
        if self.connected.is_some() { INTERRUPTED_NS } else { u64::MAX }
    }

    fn burst(&mut self) -> Burst {
        if let Some(pairs) = self.connected {
            return self.answer(pairs);
        }
        let pairs = self.outstanding.min(self.load.left() as usize);
        let sum = |shares: &[Share; 2]| shares[0].cycles + shares[1].cycles;
        let before = sum(&self.shares);
        self.negotiate(pairs);
        Burst { cycles: sum(&self.shares) - before, packets: pairs as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { hosts: 20, two_rounds: false, port: 48_001, tls: true };

    #[test]
    fn every_pair_is_negotiated() {
        for two_rounds in [false, true] {
            let mut pair = Pair::new(&Shape { two_rounds, ..SHAPE }, 10, None).unwrap();
            for _ in 0..38 {
                assert_eq!(pair.burst().packets, 10);
            }
            assert_eq!((pair.load.completed, pair.load.left()), (380, 0), "{:?}", pair.nodes[0].complaints);
            assert_eq!([pair.nodes[0].bindings(), pair.nodes[1].bindings()], [400, 400]);
            let counters = pair.nodes[0].gateway.cetp_counters();
            assert_eq!(counters.h2h_initiated.established, 400);
            assert_eq!(counters.second_rounds, if two_rounds { 400 } else { 0 });
        }
    }

    #[test]
    fn connected_pairs_are_answered_at_once() {
        let mut pair = Pair::new(&SHAPE, 64, Some(100)).unwrap();
        pair.burst();
        assert_eq!(pair.load.completed, 64);
        assert_eq!(pair.nodes[1].bindings(), 100);
    }
}
