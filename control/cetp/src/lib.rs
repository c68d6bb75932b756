//! CETP version 2 between Customer Edge Switching gateways, without I/O and without a clock.
//!
//! From the wire up: [`frame`] cuts the stream, [`message`] parses and writes what is in a frame ([`value`], [`tlv`]),
//! [`policy`] says what is asked and told, [`pow`] makes strangers pay, and [`engine`] negotiates: C2C once per peer
//! gateway, H2H once per pair of hosts. Everything that a peer can make grow is bounded by [`limits`].
//!
//! `engine.rs` is the front: each call goes to the part that it is about. The parts, each of which uses those before it alone:
//!
//! 1. `engine/api.rs`, `reason.rs`, `counters.rs`: what crosses the border; `timers.rs`, `refused.rs`, `ground.rs`: settings,
//!    chance, clocks, what is refused, what goes out.
//! 2. Gateways. `conns.rs` owns connections and whose they are; `peer.rs` (with `attempt.rs`, `revival.rs`) is one, `peers.rs`
//!    owns them all; `links.rs` is both together, sends, and says what becomes of C2C when a connection ends. `streams.rs`,
//!    `initiator.rs` and `acceptor.rs` are C2C as it is read, started and answered. None of them knows of hosts: what those have
//!    to hear of is `News`.
//! 3. Hosts. `hosts.rs` owns pairs of names (`pair.rs`), tags, sessions and negotiations, with `ended.rs`, the tags of sessions
//!    that were; `sessions.rs` is a session's beginning and end, `asking.rs` and `inbound.rs` are H2H as it is started and
//!    answered.
//! 4. What rests on both: `claims.rs` (messages that wait until a peer's word can be believed), `actions.rs`, `filters.rs`,
//!    `evidence.rs`, `ends.rs`, `after.rs` (messages in C2C that stands), and
//!    `adopt.rs` (what another engine leaves).

#![forbid(unsafe_code)]

mod block;
mod c2c;
pub mod engine;
pub mod frame;
mod h2h;
mod keyed;
pub mod limits;
pub mod message;
mod negotiate;
mod parts;
pub mod policy;
pub mod pow;
pub mod seal;
pub mod tlv;
pub mod value;

pub use engine::Engine;
pub use limits::CetpLimits;
pub use policy::Policy;
