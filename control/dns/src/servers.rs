//! The upstream servers, and what is known of each: whether it answers, and whether it keeps the case of names.

use std::net::SocketAddr;

use crate::{Nanos, SECOND};

/// Upstream servers that are used.
pub const MAX_SERVERS: usize = 8;
/// Answers in the wrong case in a row, none in the right one between, that make a server one which does not keep it.
const FOLDED_AFTER: u8 = 3;
/// How long that is remembered: then its ways may have changed.
const FOLDED_NS: Nanos = 3_600 * SECOND;

/// An upstream server, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Its address.
    pub address: SocketAddr,
    /// It kept silent and is asked last.
    pub is_down: bool,
    /// It does not keep the case of names: it is asked in lower case.
    pub folds_case: bool,
    /// Messages sent to it.
    pub sent: u64,
    /// Answers that came back.
    pub answered: u64,
}

/// What is known of a server.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    down_until: Nanos,
    sent: u64,
    answered: u64,
    /// Silent attempts in a row.
    silent: u8,
    /// Answers in the wrong case in a row.
    folded: u8,
    folds_until: Nanos,
}

/// All servers, by their place in the list.
#[derive(Debug)]
pub(crate) struct Servers {
    servers: Vec<Server>,
    /// Silent attempts in a row that make a server count as down.
    down_after: u8,
    down_ns: Nanos,
}

impl Servers {
    pub(crate) fn new(addresses: &[SocketAddr], down_after: u8, down_ns: Nanos) -> Self {
        let server = |&address: &SocketAddr| Server {
            address,
            down_until: 0,
            sent: 0,
            answered: 0,
            silent: 0,
            folded: 0,
            folds_until: 0,
        };
        let servers = addresses.iter().take(MAX_SERVERS).map(server).collect();
        Self { servers, down_after: down_after.max(1), down_ns }
    }

    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    pub(crate) fn address(&self, server: usize) -> SocketAddr {
        self.servers[server].address
    }

    /// The best for a question: least asked for it, not down, first in the list.
    pub(crate) fn best(&self, asked: [u8; MAX_SERVERS], now: Nanos) -> Option<usize> {
        (0..self.servers.len()).min_by_key(|&s| (asked[s], self.servers[s].down_until > now, s))
    }

    pub(crate) fn sent(&mut self, server: usize) {
        self.servers[server].sent += 1;
    }

    /// It answered: whatever was held against it is over.
    pub(crate) fn answered(&mut self, server: usize) {
        let server = &mut self.servers[server];
        server.answered += 1;
        (server.silent, server.down_until) = (0, 0);
    }

    /// It kept silent. True if it counts as down from now on.
    pub(crate) fn silent(&mut self, server: usize, now: Nanos) -> bool {
        self.servers[server].silent = self.servers[server].silent.saturating_add(1);
        self.servers[server].silent >= self.down_after && self.down(server, now)
    }

    /// It is down for a while. True if it was not before.
    pub(crate) fn down(&mut self, server: usize, now: Nanos) -> bool {
        let was_up = self.servers[server].down_until <= now;
        self.servers[server].down_until = now + self.down_ns;
        was_up
    }

    /// It gave a question back in another case. Whoever answered over TCP is the server itself; over UDP a forger may
    /// have had luck once.
    pub(crate) fn folded(&mut self, server: usize, is_proof: bool, now: Nanos) {
        let server = &mut self.servers[server];
        server.folded = server.folded.saturating_add(1);
        if is_proof || server.folded >= FOLDED_AFTER {
            server.folds_until = now + FOLDED_NS;
        }
    }

    /// It gave a question back that has letters of both cases, each as it was.
    pub(crate) fn kept_case(&mut self, server: usize) {
        self.servers[server].folded = 0;
    }

    /// Whether it is known not to keep the case.
    pub(crate) fn folds_case(&self, server: usize, now: Nanos) -> bool {
        self.servers[server].folds_until > now
    }

    pub(crate) fn states(&self, now: Nanos) -> Vec<ServerState> {
        let state = |server: &Server| ServerState {
            address: server.address,
            is_down: server.down_until > now,
            folds_case: server.folds_until > now,
            sent: server.sent,
            answered: server.answered,
        };
        self.servers.iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Servers {
        Servers::new(&[([192, 0, 2, 1], 53).into(), ([192, 0, 2, 2], 53).into()], 2, 10 * SECOND)
    }

    #[test]
    fn a_server_that_is_down_is_asked_last() {
        let mut servers = servers();
        assert_eq!(servers.best([0; MAX_SERVERS], 5), Some(0));
        assert!(!servers.silent(0, 5));
        assert!(servers.silent(0, 6));
        assert!(!servers.silent(0, 7), "down already");
        assert_eq!(servers.best([0; MAX_SERVERS], 8), Some(1));
        assert_eq!(servers.best([0; MAX_SERVERS], 20 * SECOND), Some(0));
        servers.answered(0);
        assert!(!servers.states(8)[0].is_down);
    }

    #[test]
    fn one_wrong_case_is_luck_three_are_a_habit() {
        let mut servers = servers();
        for _ in 0..2 {
            servers.folded(0, false, 5);
        }
        servers.kept_case(0);
        servers.folded(0, false, 5);
        assert!(!servers.folds_case(0, 5));
        servers.folded(1, true, 5);
        assert!(servers.folds_case(1, 5) && !servers.folds_case(0, 5));
        assert!(!servers.folds_case(1, 5 + FOLDED_NS));
    }
}
