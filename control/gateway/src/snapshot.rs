//! What an administrator sees: plain data, serialised as it stands.

use crate::address::{HostAddress, ProxyAddress, TunnelEnd};
use crate::counters::CoreCounters;
use ces_dataplane::msg::{BindingStats, Encapsulation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A part of a list that is too long for one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// A host of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostSnapshot {
    /// Its own name.
    pub name: Arc<str>,
    /// Its address.
    pub address: HostAddress,
    /// The names of its services.
    pub services: Vec<Arc<str>>,
    /// Bindings that it has now.
    pub bindings: u32,
    /// The most that it may have.
    pub bindings_max: u32,
    /// Seconds for which the administrator or a peer still blocks it.
    pub blocked_s: Option<u64>,
    /// The worker that owns it.
    pub worker: u32,
    /// Its MAC address, as far as it is known.
    pub mac: Option<String>,
    /// By what: `registry`, `arp`, `packet`; or that it may be `any`.
    pub mac_known_by: Option<&'static str>,
    /// The other station that used its address last.
    pub mac_other: Option<String>,
    /// How many frames of others used it.
    pub mac_others: u64,
}

/// How a session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionOrigin {
    /// The host asked.
    Initiator,
    /// The far host asked.
    Responder,
    /// Both hosts are inside.
    Local,
}

/// The tunnel that a binding uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelSnapshot {
    /// The peer's CES id.
    pub peer: Arc<str>,
    /// Its encapsulation.
    pub encapsulation: Encapsulation,
    /// Our locator.
    pub local: TunnelEnd,
    /// The peer's locator.
    pub remote: TunnelEnd,
    /// The tunnel id on what arrives.
    pub id_in: u32,
    /// The tunnel id on what we send.
    pub id_out: u32,
    /// Path MTU of the outer packet, in bytes.
    pub mtu: u16,
    /// How many bindings use it.
    pub bindings: u32,
}

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BindingSnapshot {
    /// Our session tag.
    pub tag: u32,
    /// The peer's session tag; for a local binding 0.
    pub remote_tag: u32,
    /// How it came about.
    pub role: SessionOrigin,
    /// The host's name or the name of its service.
    pub local: Arc<str>,
    /// The far host's name.
    pub remote: Arc<str>,
    /// The host's address.
    pub host: HostAddress,
    /// The address that stands for the far host.
    pub proxy: ProxyAddress,
    /// The peer's CES id; none for a local binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Arc<str>>,
    /// The tunnel; none for a local binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelSnapshot>,
    /// Ends after so many seconds without a packet; 0 = never.
    pub idle_s: u16,
    /// Ends so many seconds after its beginning; 0 = never.
    pub hard_s: u32,
    /// Seconds since its beginning.
    pub age_s: u64,
    /// The only IP protocol carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// The only port carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Bits a second in each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// The worker that holds it.
    pub worker: u32,
    /// Its counters, where they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<BindingStats>,
}

/// How full the pools are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolSnapshot {
    /// Binding slots in use, by worker.
    pub slots_used: Vec<u32>,
    /// Binding slots of a worker.
    pub slots_per_worker: u32,
    /// Tunnels in use.
    pub tunnels_used: u32,
    /// The most tunnels.
    pub tunnels_max: u32,
    /// Next hops in use.
    pub neighbours_used: u32,
    /// The most next hops.
    pub neighbours_max: u32,
    /// Proxy addresses in use, resting, or kept for the names that had them, of all hosts.
    pub proxies_used: u64,
    /// The same, of the host that has most.
    pub proxies_used_max: u32,
    /// Bindings that one host may have.
    pub proxies_per_host: u32,
    /// Queries that wait for an answer.
    pub waiting: u32,
    /// The most queries that may wait.
    pub waiting_max: u32,
}

/// A resolver that we ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSnapshot {
    /// Its address.
    pub address: SocketAddr,
    /// It kept silent and is asked last.
    pub is_down: bool,
    /// It does not keep the case of names.
    pub folds_case: bool,
    /// Messages sent to it.
    pub sent: u64,
    /// Answers that came back.
    pub answered: u64,
}

/// The name service.
#[derive(Clone, Debug, Serialize)]
pub struct DnsSnapshot {
    /// Counters by side and outcome, and of negotiations.
    pub counters: CoreCounters,
    /// Questions in the resolver's cache.
    pub cache_entries: u64,
    /// Octets of the cache.
    pub cache_bytes: u64,
    /// Questions put out of the cache to make room.
    pub cache_evicted: u64,
    /// The resolvers.
    pub servers: Vec<ServerSnapshot>,
    /// What happened on the way to them.
    pub resolver: BTreeMap<&'static str, u64>,
    /// Queries that wait for an answer.
    pub waiting: u32,
}
