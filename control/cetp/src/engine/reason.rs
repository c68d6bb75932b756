//! Why things end: closed lists, each entry also the label of its counter.

use serde::{Deserialize, Serialize};

/// Why a negotiation of ours failed, or one of a peer's was refused. Each is also the label of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Failure {
    /// Our policy has nothing for this pair of names.
    Denied,
    /// The peer answered `terminate`.
    Refused,
    /// The peer said nothing in time.
    Silent,
    /// No endpoint could be reached (or all were unreachable a moment ago).
    Unreachable,
    /// The peer's identity is not the one that NAPTR or the transport names, or it is not trusted.
    Identity,
    /// The peer's name (`id.fqdn`) is not the one that was asked for.
    Name,
    /// The peer wants what we cannot or may not tell.
    Unavailable,
    /// What the peer tells does not meet our requirements.
    Unmet,
    /// More rounds than allowed.
    Rounds,
    /// The agreed or configured number of sessions is reached.
    SessionLimit,
    /// No proxy address, no slot, or no such host.
    Exhausted,
    /// A filter is on one of the names.
    Filtered,
    /// The peer's address is blocked.
    Blocked,
    /// Too many negotiations, peers or connections under way.
    Overload,
    /// No pair of locators, or no encapsulation, in common.
    NoTunnel,
    /// Tunnels to this peer have to be encrypted, and it does not do that.
    Unencrypted,
    /// The name that was asked for is not served here.
    NotServed,
    /// There is a session for this pair of names already.
    Duplicate,
    /// The message lacks what every negotiation message has, or carries it wrongly.
    Malformed,
    /// The proof of work is missing, wrong, or too hard.
    ProofOfWork,
    /// All connections to the peer were lost on the way.
    Lost,
    /// Given up by our own side (operator, shutdown, reconfiguration).
    Cancelled,
}

impl Failure {
    /// Whether who should be at an endpoint was not there.
    pub(crate) const fn is_missed(self) -> bool {
        matches!(self, Self::Unreachable | Self::Silent | Self::Lost | Self::Identity)
    }

    /// All of them, in counter order.
    pub const ALL: [Self; 22] = [
        Self::Denied,
        Self::Refused,
        Self::Silent,
        Self::Unreachable,
        Self::Identity,
        Self::Name,
        Self::Unavailable,
        Self::Unmet,
        Self::Rounds,
        Self::SessionLimit,
        Self::Exhausted,
        Self::Filtered,
        Self::Blocked,
        Self::Overload,
        Self::NoTunnel,
        Self::Unencrypted,
        Self::NotServed,
        Self::Duplicate,
        Self::Malformed,
        Self::ProofOfWork,
        Self::Lost,
        Self::Cancelled,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Identity => "identity",
            Self::Name => "name",
            Self::Unavailable => "unavailable",
            Self::Unmet => "unmet",
            Self::Rounds => "rounds",
            Self::SessionLimit => "session_limit",
            Self::Exhausted => "exhausted",
            Self::Filtered => "filtered",
            Self::Blocked => "blocked",
            Self::Overload => "overload",
            Self::NoTunnel => "no_tunnel",
            Self::Unencrypted => "unencrypted",
            Self::NotServed => "not_served",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::ProofOfWork => "proof_of_work",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it was a decision of policy, ours or the peer's, rather than a mishap: what DNS answers with NXDOMAIN.
    pub const fn is_policy(self) -> bool {
        matches!(
            self,
            Self::Denied
                | Self::Refused
                | Self::Identity
                | Self::Name
                | Self::Unavailable
                | Self::Unmet
                | Self::Filtered
                | Self::NotServed
                | Self::NoTunnel
                | Self::Unencrypted
        )
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DownReason {
    /// The peer terminated it.
    ByPeer,
    /// We terminated it.
    ByUs,
    /// The peer has lost it (it restarted) and agreed on a new one for the same names.
    Replaced,
    /// A filter was put on one of its names.
    Filtered,
}

/// Why a peer is no longer up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerDownReason {
    /// All connections are gone; its sessions live on.
    ConnectionsLost,
    /// It terminated C2C.
    ByPeer,
    /// We terminated C2C.
    ByUs,
    /// The C2C lifetime is over; negotiated anew on demand.
    Expired,
    /// It broke the rules.
    Abuse,
}

/// Why an address is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum BlockReason {
    /// Its C2C failed.
    C2cFailed,
    /// No C2C in time.
    C2cSilent,
    /// More negotiation messages than allowed.
    C2cRounds,
    /// Not CETP: framing, JSON, types, tags.
    Garbage,
    /// A frame that did not end in time.
    Slow,
    /// More messages than allowed.
    Flood,
    /// The operator said so.
    Operator,
}

impl BlockReason {
    /// All of them, in counter order.
    pub const ALL: [Self; 7] = [
        Self::C2cFailed,
        Self::C2cSilent,
        Self::C2cRounds,
        Self::Garbage,
        Self::Slow,
        Self::Flood,
        Self::Operator,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::C2cFailed => "c2c_failed",
            Self::C2cSilent => "c2c_silent",
            Self::C2cRounds => "c2c_rounds",
            Self::Garbage => "garbage",
            Self::Slow => "slow",
            Self::Flood => "flood",
            Self::Operator => "operator",
        }
    }
}
