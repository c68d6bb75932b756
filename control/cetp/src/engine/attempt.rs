//! C2C of ours while it is negotiated.

use super::api::{ConnId, Nanos};
use super::conns::Wish;
use super::reason::Failure;

/// Turns that are remembered.
const MAX_TRIED: usize = 64;

/// C2C has this part of its time on one connection while another one is up.
const PATIENCE: Nanos = 4;

/// A C2C negotiation of ours.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) tag: u32,
    pub(super) round: u8,
    /// Where it runs, once one of the connections opened for it is up.
    pub(super) conn: Option<ConnId>,
    /// For whom those were opened where it ran so far.
    tried: Vec<Wish>,
    /// When it has to be agreed on that connection if there are others, and at the latest. A renewal has until C2C ends.
    deadline: Nanos,
    latest: Nanos,
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
        let (deadline, latest) = (Nanos::MAX, Nanos::MAX);
        Self {
            tag,
            round: 1,
            conn: None,
            tried: Vec::new(),
            deadline,
            latest,
            last: Failure::Unreachable,
            purpose,
        }
    }

    /// On a connection that stands.
    pub(super) fn renewal(tag: u32, conn: ConnId) -> Self {
        Self { conn: Some(conn), last: Failure::Silent, ..Self::opening(tag, Purpose::Renewal) }
    }

    /// It begins anew on a connection that was opened for somebody, and has that long; until when, unless it is a renewal.
    pub(super) fn run_on(
        &mut self,
        conn: ConnId,
        wish: Option<&Wish>,
        setup: Nanos,
        now: Nanos,
    ) -> Option<Nanos> {
        (self.conn, self.round) = (Some(conn), 1);
        self.tried.extend(wish.filter(|_| self.tried.len() < MAX_TRIED).cloned());
        if self.purpose == Purpose::Renewal {
            return None;
        }
        (self.deadline, self.latest) = (now + setup / PATIENCE, now + setup);
        Some(self.deadline)
    }

    /// How often it has run for that host of ours, and for that name.
    pub(super) fn turns(&self, wish: &Wish) -> (usize, usize) {
        let count =
            |is_it: fn(&Wish, &Wish) -> bool| self.tried.iter().filter(|one| is_it(one, wish)).count();
        (count(|one, wish| one.asker == wish.asker), count(|one, wish| one.name == wish.name))
    }

    /// There is no other connection: it has until the latest; until when, unless that is now.
    pub(super) fn prolong(&mut self, now: Nanos) -> Option<Nanos> {
        self.deadline = self.latest;
        (self.latest > now).then_some(self.latest)
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
            (self.conn, self.deadline, self.latest) = (None, Nanos::MAX, Nanos::MAX);
        }
        ran_here
    }
}
