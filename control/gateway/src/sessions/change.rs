//! What can happen to sessions: each is a fact that was decided already, so that replaying it decides nothing anew.

use super::session::{PairNames, Terms};
use crate::address::{HostAddress, ProxyAddress};
use crate::{Mac, Nanos};
use ces_cetp::engine::{BlockReason, Proto};
use ces_cetp::seal::PeerKeys;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A slot that is free, and the generation that it comes back in.
pub type Freed = (u32, u32);

/// Where a peer can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// The transport.
    pub proto: Proto,
    /// NAPTR order and preference.
    pub rank: (u16, u16),
    /// The network over which it can be reached.
    pub alias: Option<Arc<str>>,
}

/// One change, at the time that [`apply`](super::Sessions::apply) is told with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A slot, its tag, and a proxy address are set aside for a negotiation.
    Reserved {
        /// Our session tag: the slot, in its generation.
        tag: u32,
        /// The inside host.
        host: HostAddress,
        /// The address that will stand for the far host.
        proxy: ProxyAddress,
        /// Who talks to whom.
        names: PairNames,
    },
    /// Nothing came of a reservation; nobody heard of its proxy address.
    Released {
        /// Its tag.
        tag: u32,
    },
    /// Both sides have agreed: a binding is to stand.
    Established {
        /// Its tag.
        tag: u32,
        /// What was agreed.
        terms: Box<Terms>,
        /// The address that the far name had before, in place of the one that was set aside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proxy: Option<ProxyAddress>,
    },
    /// A half of a local pair fell idle at the worker.
    Slept {
        /// Its tag.
        tag: u32,
    },
    /// It came back, in the slot that it had.
    Woke {
        /// Its tag.
        tag: u32,
    },
    /// Out of use: the worker is to remove it.
    Ending {
        /// Its tag.
        tag: u32,
    },
    /// The worker has let go of it: its slot is free, its proxy address rests.
    Ended {
        /// Its tag.
        tag: u32,
        /// Until when no other session may have its proxy address.
        rest_until: Nanos,
    },
    /// Another process goes on from here. What the last one decided at its very end may not be written down, so slots come
    /// back in other generations, and hosts get addresses beyond those that they had, until nothing of it can be remembered.
    Restarted {
        /// Until when.
        careful_until: Nanos,
        /// By how many words of 64 addresses beyond what they had hosts get theirs meanwhile.
        beyond: u32,
        /// By how many generations slots are ahead.
        generations: u32,
    },
    /// A host is refused until then; `None` = no longer.
    HostBlocked {
        /// Its name.
        name: Arc<str>,
        /// Until when.
        until: Option<Nanos>,
    },
    /// A sender of CETP is refused until then; `None` = no longer.
    AddressBlocked {
        /// Its address.
        address: IpAddr,
        /// Why, and until when.
        until: Option<(BlockReason, Nanos)>,
    },
    /// A name is refused in new sessions.
    Filtered {
        /// The name.
        name: Arc<str>,
        /// Which end of a session it is: local or remote to us.
        local: bool,
        /// Only with this peer.
        ces_id: Option<Arc<str>>,
        /// Until when.
        until: Nanos,
    },
    /// What a peer drew and where it can be reached: by the first it is known again, by the second it is sought.
    Peer {
        /// Its CES id.
        ces_id: Arc<str>,
        /// The tunnel ids that it told, by encapsulation.
        tunnel_ids: [Option<u32>; 3],
        /// Whether it draws others for each C2C.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        draws_others: bool,
        /// Its endpoints.
        endpoints: Vec<Endpoint>,
    },
    /// Sessions with a peer that ended while it was away: it has yet to be told of these as well. None: it has been told of all.
    Owed {
        /// Its CES id.
        ces_id: Arc<str>,
        /// Their tags, ours first.
        tags: Vec<(u32, u32)>,
    },
    /// The keys of encrypted tunnels with a peer: what is sent and what comes goes on under them. `None`: there are none any
    /// more.
    Keys {
        /// The peer's CES id.
        ces_id: Arc<str>,
        /// The keys.
        keys: Option<Box<PeerKeys>>,
    },
    /// A far name has CES records; `None` = it has none.
    Far {
        /// The name.
        name: Arc<str>,
        /// Until when that is believed.
        until: Option<Nanos>,
    },
    /// A host's MAC address as it was seen; `None` = it is not known.
    Pinned {
        /// The host.
        host: HostAddress,
        /// The address, and whether ARP has told it.
        mac: Option<(Mac, bool)>,
    },
    /// Of a snapshot: slots of a worker.
    Slots {
        /// The worker.
        worker: u32,
        /// Slots that were ever used.
        fresh: u32,
        /// The generation in which other slots begin.
        first_generation: u32,
        /// Free ones, in the order in which they are used again.
        free: Vec<Freed>,
    },
    /// Of a snapshot: proxy addresses of a host that rest, the first that comes back first.
    Resting {
        /// The host.
        host: HostAddress,
        /// Until when each rests.
        proxies: Vec<(Nanos, ProxyAddress)>,
        /// The name that each stood for.
        #[serde(default)]
        names: Vec<Arc<str>>,
    },
}
