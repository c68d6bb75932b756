//! The machinery around the gateway, as far as its decisions depend on it.

use crate::address::OwnAddress;
use ces_dataplane::tag::Layout;

/// What the gateway must know about the machinery around it. The same figures go to the workers.
#[derive(Clone, Debug)]
pub struct Platform {
    /// How many workers there are.
    pub workers: u32,
    /// Slots for bindings of each worker.
    pub bindings_per_worker: u32,
    /// How many of them may have something that they do not carry, or a rate.
    pub limited_per_worker: u32,
    /// Pending reservations of the Realm Gateway that each worker has room for.
    pub reservations_per_worker: u32,
    /// How handles are cut.
    pub layout: Layout,
    /// The key of the session tags.
    pub tag_key: [u32; 4],
    /// The key that tunnel ids are drawn by: another one than before says to peers that all sessions are gone.
    pub tunnel_key: [u64; 2],
    /// Slots for tunnels of each worker.
    pub tunnels: u16,
    /// Slots for next hops of each worker.
    pub neighbours: u32,
    /// Whether the workers forward by routes, for NAT44; what goes to names alone needs none.
    pub forwards: bool,
    /// Our own addresses on all ports.
    pub addresses: Vec<OwnAddress>,
    /// The MTU of the outer path where nothing better is known, in bytes.
    pub outer_mtu: u16,
    /// UDP sockets towards the resolvers that the driver may hold open at a time.
    pub upstream_sockets: u16,
    /// Whether the processor has AES.
    pub has_aes: bool,
    /// The number of this process, which none before it had: written down before anything is sent encrypted. `None`: it is not
    /// known to be new, so no key of a process before may be sent under.
    pub start: Option<u32>,
    /// Random at start: what is drawn is drawn from here.
    pub seed: [u8; 32],
}
