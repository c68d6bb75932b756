//! C2C of ours while it is negotiated.

use super::api::ConnId;
use super::reason::Failure;

/// A C2C negotiation of ours.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) tag: u32,
    pub(super) round: u8,
    /// Where it runs, once one of the connections opened for it is up.
    pub(super) conn: Option<ConnId>,
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
        Self { tag, round: 1, conn: None, last: Failure::Unreachable, purpose }
    }

    /// On a connection that stands.
    pub(super) const fn renewal(tag: u32, conn: ConnId) -> Self {
        Self { tag, round: 1, conn: Some(conn), last: Failure::Silent, purpose: Purpose::Renewal }
    }

    /// It begins anew on a connection.
    pub(super) const fn run_on(&mut self, conn: ConnId) {
        (self.conn, self.round) = (Some(conn), 1);
    }

    /// A connection of the peer's is gone; whether it ran there.
    pub(super) fn lose(&mut self, conn: ConnId, why: Failure) -> bool {
        if why != Failure::Cancelled {
            self.last = why;
        }
        let ran_here = self.conn == Some(conn);
        if ran_here {
            self.conn = None;
        }
        ran_here
    }
}
