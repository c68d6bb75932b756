//! What is configured of NAT44: under which addresses and ports hosts are seen outside, who may answer them, and how long a
//! session lasts.

pub mod exceptions;
pub mod network;
mod space;
pub mod statics;

pub use space::Space;

use crate::tag::PORT_BITS;
use exceptions::Exceptions;
use statics::Statics;
use std::net::Ipv4Addr;

/// Who may send to a host's external port (RFC 4787 §5). Mapping is endpoint-independent always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Any port of an address that the host sends to from there.
    AddressDependent,
    /// Only the address and port that the host sends to from there.
    #[default]
    AddressAndPortDependent,
}

/// After how many seconds without a packet a session ends, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// An established TCP connection: at least 2 h 4 min (RFC 5382 §5, REQ-5).
    pub tcp_established_s: u16,
    /// A TCP connection that opens or closes: at least 4 min (RFC 5382 §5, REQ-5).
    pub tcp_transitory_s: u16,
    /// UDP that was answered: 5 min (RFC 4787 §4.3, REQ-5).
    pub udp_s: u16,
    /// UDP that was not: at least 2 min (RFC 4787 §4.3, REQ-5).
    pub udp_unanswered_s: u16,
    /// An ICMP query: at least 60 s (RFC 5508 §3.2, REQ-2).
    pub icmp_s: u16,
    /// Other protocols.
    pub other_s: u16,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established_s: 7440,
            tcp_transitory_s: 240,
            udp_s: 300,
            udp_unanswered_s: 120,
            icmp_s: 60,
            other_s: 300,
        }
    }
}

/// NAT44: under which addresses hosts go out into the world.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nat {
    /// The addresses: of outside ports, or others that the world's routes lead here for. None: hosts go out by name alone.
    pub addresses: Vec<Ipv4Addr>,
    /// The first and the last of their ports that hosts may have; the others are the gateway's own.
    pub ports: (u16, u16),
    /// What stands for hosts whatever they send.
    #[serde(rename = "static")]
    pub statics: Statics,
    /// What is not translated.
    #[serde(rename = "exception")]
    pub exceptions: Exceptions,
    /// Who may send to the others.
    pub filtering: Filtering,
    /// How long sessions last.
    pub timeouts: Timeouts,
    /// Sessions that one host may have.
    pub host_sessions: u32,
    /// External ports that one host may have.
    pub host_ports: u32,
    /// How many ports next to one another a host gets at a time, of all protocols, which are then nobody else's: a power of two.
    /// 0: one at a time. Says which worker owns a port, so only a restart changes it.
    pub block_ports: u16,
    /// How many such blocks one host may have.
    pub host_blocks: u16,
    /// Hundredths of the sessions, and of an address's ports, which hosts get that have less than an equal share.
    pub reserve_percent: u8,
    /// Whether a sender of a SYN that nobody asked for is told so, six seconds later (RFC 5382 §4.3, REQ-4).
    pub tell_unasked: bool,
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ports: (1024, 32_767),
            statics: Statics::default(),
            exceptions: Exceptions::default(),
            filtering: Filtering::default(),
            timeouts: Timeouts::default(),
            host_sessions: 16_384,
            host_ports: 4096,
            block_ports: 0,
            host_blocks: 8,
            reserve_percent: 10,
            tell_unasked: true,
        }
    }
}

impl Nat {
    /// Bits of the number of ports next to one another that belong to one worker.
    pub fn port_bits(&self) -> u32 {
        if self.block_ports == 0 { PORT_BITS } else { self.block_ports.ilog2().max(PORT_BITS) }
    }
}
