//! Every limit of the engine in one place, with the figures of the reference implementation as defaults.
//!
//! The owner reads it from its configuration (units stand in the names); [`CetpLimits::check`] says what cannot work.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a millisecond and in a second.
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000_000_000;

/// What bounds the engine. Times are in the unit of their name, the rest are counts or bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CetpLimits {
    /// How long a transport connection of ours may take to come up.
    pub connect_ms: u32,
    /// How long C2C may take, at either side, from the connection on.
    pub c2c_setup_ms: u32,
    /// How long an H2H negotiation of ours may take once its peer is up: the peer may refuse by silence.
    pub h2h_setup_ms: u32,
    /// How long a frame may take from its first byte to its last.
    pub frame_ms: u32,
    /// How long a peer may take to acknowledge `host_filtering`, `evidence`.
    pub action_ms: u32,
    /// How long an abusive sender's address is refused.
    pub block_s: u32,
    /// How long after the begin of a try an endpoint that could not be reached is not tried again for a name.
    pub unreachable_s: u32,
    /// How long after a peer is lost, with sessions standing, it is sought again; twice as long after each try that
    /// fails. 0 = only when a name is asked for.
    pub revive_ms: u32,
    /// The longest time between two such tries.
    pub revive_max_s: u32,
    /// How long sessions with a peer that was lost and is back with other tunnel ids wait for a sign that it still has them.
    /// After a loss TCP repeats itself within as long as that lasted. 0 = they end at once.
    pub doubt_s: u32,
    /// How long a filter (host or domain) holds.
    pub filter_s: u32,
    /// Round trips of one negotiation.
    pub rounds: u8,
    /// Zero bits that we ask for in a proof of work.
    pub pow_bits: u8,
    /// Zero bits that we are ready to work for: each bit more doubles the work. 16 bits are 65,536
    /// hashes on average, about 20 ms in which nothing else is done.
    pub pow_max_bits: u8,
    /// How long a secret of ours (proof of work, acknowledgement) is used.
    pub secret_s: u32,
    /// How long the old secret counts after that.
    pub secret_grace_s: u32,
    /// Lifetime of a session for which neither side says `hard_ttl`. 0 = none: it lasts as long as it is used (RFC 5382 §5,
    /// REQ-5).
    pub dp_ttl_s: u32,
    /// Longest lifetime of a session for which one is said.
    pub dp_ttl_max_s: u32,
    /// After how many seconds the keys of encrypted tunnels are changed.
    pub rekey_s: u32,
    /// After how many packets that were sent under a key it is changed before that.
    pub rekey_packets: u32,
    /// Sessions with a peer, if neither side says `session_limit`.
    pub sessions_per_peer: u32,
    /// Sessions with a peer at most, whatever was agreed.
    pub sessions_per_peer_max: u32,
    /// Sessions in all.
    pub sessions: u32,
    /// Peers in all, those that are being tried included.
    pub peers: u32,
    /// Connections to one peer, in both directions together twice as many while both start at once.
    pub connections_per_peer: u8,
    /// Connections in all.
    pub connections: u32,
    /// Accepted connections that have not yet finished C2C, from one address.
    pub unidentified_per_address: u16,
    /// Negotiations under way with one peer.
    pub pending_per_peer: u32,
    /// Negotiations under way in all.
    pub pending: u32,
    /// Negotiation messages that one connection may send before C2C is done.
    pub c2c_messages: u8,
    /// Malformed messages that an established peer may send on one connection in a minute before it is closed and blocked.
    pub malformed: u16,
    /// Messages per second from one connection; a burst of as many is let through.
    pub messages_per_s: u32,
    /// Longest message accepted, of 65,535 that a frame can hold.
    pub message_bytes: u32,
    /// TLVs in one message.
    pub tlvs: u16,
    /// Addresses blocked at once; the oldest gives way.
    pub blocked: u32,
    /// Unreachable endpoints remembered at once; the oldest gives way.
    pub unreachable: u32,
    /// Filters held at once; above it a request to filter is not acknowledged.
    pub filters: u32,
}

/// Twice the least time between two keys.
const REKEY_LEAST_S: u32 = 10;
/// RFC 9001 §B.1.1 lets 2²⁸ packets of at most 2¹¹ bytes be sealed under a key of AES-GCM; at half of that nothing is sealed
/// any more, and before that is time for another key.
const REKEY_PACKETS: std::ops::RangeInclusive<u32> = 1 << 10..=1 << 26;

impl Default for CetpLimits {
    fn default() -> Self {
        Self {
            connect_ms: 2_000,
            c2c_setup_ms: 2_000,
            h2h_setup_ms: 2_000,
            frame_ms: 2_000,
            action_ms: 10_000,
            block_s: 60,
            unreachable_s: 1,
            revive_ms: 1_000,
            revive_max_s: 60,
            doubt_s: 30,
            filter_s: 30,
            rounds: 2,
            pow_bits: 12,
            pow_max_bits: 16,
            secret_s: 240,
            secret_grace_s: 2,
            dp_ttl_s: 0,
            dp_ttl_max_s: 7_200,
            rekey_s: 3_600,
            rekey_packets: 1 << 26,
            sessions_per_peer: 300,
            sessions_per_peer_max: 400,
            sessions: 1 << 20,
            peers: 1_024,
            connections_per_peer: 3,
            connections: 4_096,
            unidentified_per_address: 16,
            pending_per_peer: 4_096,
            pending: 65_536,
            c2c_messages: 2,
            malformed: 8,
            messages_per_s: 100_000,
            message_bytes: 65_535,
            tlvs: 128,
            blocked: 65_536,
            unreachable: 4_096,
            filters: 4_096,
        }
    }
}

impl CetpLimits {
    /// Says which figure cannot work, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("connect_ms", self.connect_ms),
            ("c2c_setup_ms", self.c2c_setup_ms),
            ("h2h_setup_ms", self.h2h_setup_ms),
            ("frame_ms", self.frame_ms),
            ("action_ms", self.action_ms),
            ("secret_s", self.secret_s),
            ("sessions_per_peer", self.sessions_per_peer),
            ("sessions", self.sessions),
            ("peers", self.peers),
            ("connections", self.connections),
            ("pending_per_peer", self.pending_per_peer),
            ("pending", self.pending),
            ("messages_per_s", self.messages_per_s),
            ("rounds", u32::from(self.rounds)),
            ("connections_per_peer", u32::from(self.connections_per_peer)),
            ("unidentified_per_address", u32::from(self.unidentified_per_address)),
            ("c2c_messages", u32::from(self.c2c_messages)),
            ("tlvs", u32::from(self.tlvs)),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name}: expected at least 1"));
        }
        if self.message_bytes < 512 || self.message_bytes > crate::frame::MAX_PAYLOAD as u32 {
            return Err(format!("message_bytes: expected 512 to {}", crate::frame::MAX_PAYLOAD));
        }
        if self.pow_max_bits > 32 || self.pow_bits > self.pow_max_bits {
            return Err("pow_bits, pow_max_bits: expected pow_bits ≤ pow_max_bits ≤ 32".into());
        }
        if self.rekey_s < REKEY_LEAST_S {
            return Err(format!("rekey_s: expected at least {REKEY_LEAST_S}"));
        }
        if !(REKEY_PACKETS).contains(&self.rekey_packets) {
            return Err(format!(
                "rekey_packets: expected {} to {}",
                REKEY_PACKETS.start(),
                REKEY_PACKETS.end()
            ));
        }
        if self.dp_ttl_s > self.dp_ttl_max_s {
            return Err("dp_ttl_s: expected at most dp_ttl_max_s".into());
        }
        if self.sessions_per_peer > self.sessions_per_peer_max {
            return Err("sessions_per_peer: expected at most sessions_per_peer_max".into());
        }
        Ok(())
    }
}
