//! C2C of ours while it is negotiated.

use super::api::{ConnId, Nanos};
use super::reason::Failure;

/// A C2C negotiation of ours.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) tag: u32,
    pub(super) round: u8,
    /// Where it runs, once one of the connections opened for it is up.
    pub(super) conn: Option<ConnId>,
    /// When it has to be agreed on that connection. A renewal has until C2C ends.
    deadline: Nanos,
    /// What the last connection that failed failed with.
    pub(super) last: Failure,
    /// What it is for.
    pub(super) purpose: Purpose,
}

/// What C2C is negotiated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A name was asked for.
    Name,
    /// The peer was lost, and nobody asks.
    Revival,
    /// Its time comes to an end; it runs on a connection that stands.
    Renewal,
}

impl Attempt {
    /// On connections that are being opened.
    pub(super) const fn opening(tag: u32, purpose: Purpose) -> Self {
        Self { tag, round: 1, conn: None, deadline: Nanos::MAX, last: Failure::Unreachable, purpose }
    }

    /// On a connection that stands.
    pub(super) const fn renewal(tag: u32, conn: ConnId) -> Self {
        Self { conn: Some(conn), last: Failure::Silent, ..Self::opening(tag, Purpose::Renewal) }
    }

    /// It begins anew on a connection, and has that long; until when, unless it is a renewal.
    pub(super) fn run_on(&mut self, conn: ConnId, setup: Nanos, now: Nanos) -> Option<Nanos> {
        (self.conn, self.round) = (Some(conn), 1);
        if self.purpose == Purpose::Renewal {
            return None;
        }
        self.deadline = now + setup;
        Some(self.deadline)
    }

    pub(super) const fn is_due(&self, at: Nanos) -> bool {
        self.deadline == at
    }

    /// A connection of the peer's is gone; whether it ran there.
    pub(super) fn lose(&mut self, conn: ConnId, why: Failure) -> bool {
        if why != Failure::Cancelled {
            self.last = why;
        }
        let ran_here = self.conn == Some(conn);
        if ran_here {
            (self.conn, self.deadline) = (None, Nanos::MAX);
        }
        ran_here
    }
}
