//! What crosses the border between the engine and its owner.

use super::reason::{BlockReason, DownReason, Failure, PeerDownReason};
use crate::limits::CetpLimits;
use crate::policy::{Policy, same_name};
use crate::seal::{Cipher, Encryption, PeerKeys};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Nanoseconds since an arbitrary start.
pub type Nanos = u64;

/// A peer's number; never used again.
pub(crate) type PeerId = u32;

/// One transport connection; the engine names those that it opens and those that it accepts. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// One negotiation of ours; everybody who asks for the same pair holds the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NegotiationId(pub u64);

/// One action of ours after the negotiation (host filtering, evidence), until its [`CetpOutput::ActionDone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId(pub u64);

/// How CETP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// Without protection: for tests, and for networks that are private anyway.
    Tcp,
    /// TLS with both ends authenticated.
    Tls,
}

/// Where a peer can be reached: one NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address to connect to.
    pub addr: IpAddr,
    /// TCP port to connect to.
    pub port: u16,
    /// Transport.
    pub proto: Proto,
    /// NAPTR order: lower first.
    pub order: u16,
    /// NAPTR preference within an order: lower first.
    pub preference: u16,
    /// The network over which it can be reached.
    pub alias: Option<Arc<str>>,
}

impl Endpoint {
    /// Whether both are the same place.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.addr, self.port) == (other.addr, other.port)
    }
}

/// A wish of a local host to reach a remote name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H2hRequest {
    /// The local host's FQDN.
    pub source: Arc<str>,
    /// The remote FQDN.
    pub destination: Arc<str>,
    /// The CES that answers for it (NAPTR).
    pub ces_id: Arc<str>,
    /// Where that CES can be reached (NAPTR), in any order.
    pub endpoints: Vec<Endpoint>,
}

/// Who is at the other end of a connection, as the transport knows it: the subject CN of a TLS certificate, or `None`
/// over plain TCP, where the peer's own word has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The CES id.
    pub ces_id: Option<Arc<str>>,
}

/// Which end a local name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The local name is asked for.
    Inbound,
    /// The local host asks.
    Outbound,
}

/// Which end of an H2H session we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Our host asked.
    Initiator,
    /// The peer's host asked.
    Responder,
}

/// A routing locator's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A MAC address on a shared segment.
    Eth,
}

/// A routing locator's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum LocatorAddress {
    /// IPv4 or IPv6.
    Ip(IpAddr),
    /// Ethernet.
    Mac([u8; 6]),
}

impl LocatorAddress {
    /// Its family.
    pub const fn family(self) -> Family {
        match self {
            Self::Ip(IpAddr::V4(_)) => Family::Ipv4,
            Self::Ip(IpAddr::V6(_)) => Family::Ipv6,
            Self::Mac(_) => Family::Eth,
        }
    }
}

impl std::fmt::Display for LocatorAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Mac([a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
        }
    }
}

/// One of our routing locators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Where tunnels towards us end; its family is the locator's.
    pub address: LocatorAddress,
    /// Higher is preferred.
    pub preference: u32,
    /// Second number of the locator TLV; higher is preferred among equal preferences.
    pub order: u32,
    /// The network that it is on: only locators with the same alias meet.
    pub alias: Arc<str>,
}

/// How packets between two gateways are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// RFC 7348.
    Vxlan,
    /// RFC 2784 with the key of RFC 2890.
    Gre,
    /// RFC 8926.
    Geneve,
}

impl Encapsulation {
    /// All of them, in the order that breaks ties.
    pub const ALL: [Self; 3] = [Self::Vxlan, Self::Gre, Self::Geneve];
}

/// An encapsulation that we can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadOffer {
    /// Which.
    pub encapsulation: Encapsulation,
    /// Higher is preferred.
    pub preference: u32,
}

/// What the engine is told once, and again when the configuration changes.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Our CES id, with its trailing dot.
    pub ces_id: Arc<str>,
    /// The network policy (`cespolicy`), for C2C.
    pub network_policy: Arc<Policy>,
    /// Our locators; a family without one is `notAvailable`.
    pub locators: Vec<Locator>,
    /// Our encapsulations; one that is not listed is `notAvailable`.
    pub payloads: Vec<PayloadOffer>,
    /// Peers that may do C2C with us, by CES id; empty = whoever the transport and the policy let in.
    pub trusted: Vec<Arc<str>>,
    /// Whether a peer on a connection without identity (plain TCP) is believed its `ces.cesid`.
    pub believe_unauthenticated: bool,
    /// How tunnels are encrypted.
    pub sealing: SealingSettings,
    /// Figures.
    pub limits: CetpLimits,
}

/// How tunnels are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealingSettings {
    /// Whether they are.
    pub encryption: Encryption,
    /// The same for some peers, by CES id.
    pub peers: Vec<(Arc<str>, Encryption)>,
    /// Whether our processor has AES.
    pub has_aes: bool,
    /// How many workers number what is sent: 1 to 64. Otherwise none is encrypted.
    pub workers: u8,
}

impl SealingSettings {
    /// Whether tunnels to a peer are encrypted.
    pub(crate) fn with(&self, ces_id: &str) -> Encryption {
        let said = self.peers.iter().find(|(peer, _)| same_name(peer, ces_id));
        said.map_or(self.encryption, |(_, encryption)| *encryption)
    }
}

/// What a host's session needs at our side, set aside before the peer hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Our session tag: not 0, unique among ours.
    pub tag: u32,
    /// The address that will stand for the remote host.
    pub proxy: IpAddr,
}

/// Why there is no reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ReserveError {
    /// The host's pool of proxy addresses is empty.
    #[error("no proxy address left")]
    PoolEmpty,
    /// The table of bindings is full.
    #[error("no binding left")]
    TableFull,
    /// The local name has no host here (any more).
    #[error("unknown local host")]
    UnknownHost,
}

/// What is known of a peer's word for the name of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// What it is worth: [`Owner::host_policy`] heeds it.
    Settled,
    /// Nothing yet. The engine tells by [`CetpOutput::Claimed`] when it wants to know.
    Unknown,
}

/// What the engine asks of its owner; every call is answered at once.
///
/// Each successful [`Owner::reserve`] ends in exactly one of: [`Owner::release`] (the negotiation failed), or an
/// [`CetpOutput::H2hUp`] with that tag, after which the session ends with [`CetpOutput::H2hDown`] or with the owner's own
/// [`Engine::session_ended`](super::Engine::session_ended), and `release` is not called.
pub trait Owner {
    /// The policy of a local name towards a remote one; `None` = deny.
    fn host_policy(
        &self,
        local: &str,
        direction: Direction,
        remote: &str,
        remote_ces: &str,
    ) -> Option<Arc<Policy>>;
    /// Whether it is known what a peer's word for the name of its host is worth, as far as the policy of a local name hangs
    /// on that.
    fn claim(&self, _local: &str, _remote: &str, _remote_ces: &str) -> Claim {
        Claim::Settled
    }
    /// Whether a name may be asked for from outside.
    fn is_service(&self, fqdn: &str) -> bool;
    /// Sets a tag and a proxy address aside.
    fn reserve(&mut self, local: &str, remote: &str, remote_ces: &str) -> Result<SetAside, ReserveError>;
    /// Takes a reservation back that no session came of.
    fn release(&mut self, tag: u32);
}

/// A tunnel between two gateways, as this session uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelChoice {
    /// The header.
    pub encapsulation: Encapsulation,
    /// Our locator.
    pub local: LocatorAddress,
    /// The peer's locator.
    pub remote: LocatorAddress,
    /// The id on what arrives; ours, 24 bits, or 31 if it is encrypted.
    pub id_in: u32,
    /// The id on what we send; the peer's, as many.
    pub id_out: u32,
    /// Whether it is encrypted; then the header is PSP's, whatever was agreed for packets in clear.
    pub sealed: bool,
}

/// What a session may carry (`control.dp_proto`, `dp_port`, `dp_ratelimit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Carry {
    /// The only IP protocol, if set.
    pub protocol: Option<u8>,
    /// The only port at the responder's host, if set.
    pub port: Option<u16>,
    /// Bits per second in each direction, if set.
    pub rate_bps: Option<u64>,
}

/// An agreed session of two hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct H2hSession {
    /// Our session tag.
    pub local_tag: u32,
    /// The peer's session tag.
    pub remote_tag: u32,
    /// Our host's name (initiator) or the name of ours that was asked for (responder).
    pub local_fqdn: Arc<str>,
    /// The remote host's name.
    pub remote_fqdn: Arc<str>,
    /// The peer gateway.
    pub ces_id: Arc<str>,
    /// The address that stands for the remote host.
    pub proxy: IpAddr,
    /// How its packets cross.
    pub tunnel: TunnelChoice,
    /// Ends so many seconds after it came up; 0: as long as it is used.
    pub hard_ttl_s: u32,
    /// Ends after so many seconds without a packet, if agreed.
    pub idle_ttl_s: Option<u32>,
    /// What it may carry.
    pub carry: Carry,
    /// Which end we are.
    pub role: Role,
    /// When the peer's side has ended at the latest, if nothing else ends it.
    pub peer_until: Nanos,
}

/// Which flows a filter stops.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowFilter {
    /// What this host behind the peer sends here.
    RemoteHost(Arc<str>),
    /// What goes to this name of ours.
    LocalDomain(Arc<str>),
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionResult {
    /// The peer acknowledged.
    Acknowledged,
    /// It did not, in time.
    Silent,
    /// It went down before.
    PeerDown,
}

/// What the owner has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CetpOutput {
    /// Open a connection; answer with `handle_connected` or `handle_closed`.
    Connect {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        endpoint: Endpoint,
        /// Who must be there: the subject CN of its certificate.
        ces_id: Arc<str>,
    },
    /// Send these bytes (whole frames).
    Send {
        /// On this connection.
        conn: ConnId,
        /// Frames.
        bytes: Vec<u8>,
    },
    /// Close a connection after what was sent before; it is forgotten already, `handle_closed` is not needed.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// A session stands at this side. For a responder it comes before the answer is sent.
    H2hUp {
        /// What was agreed.
        session: H2hSession,
    },
    /// A negotiation of ours is over.
    NegotiationDone {
        /// What [`Engine::negotiate`](super::Engine::negotiate) returned.
        id: NegotiationId,
        /// The local host.
        source: Arc<str>,
        /// The name asked for.
        destination: Arc<str>,
        /// The gateway that was asked.
        ces_id: Arc<str>,
        /// The session's local tag and proxy address, or why there is none. Its [`CetpOutput::H2hUp`] came before: just
        /// before, or long ago where a peer that was away turned out to still have the session.
        result: Result<(u32, IpAddr), Failure>,
        /// From the request to here, in nanoseconds.
        took_ns: u64,
    },
    /// A session is over; its binding and tag go back to the owner.
    H2hDown {
        /// Our session tag.
        local_tag: u32,
        /// Why.
        why: DownReason,
    },
    /// A session with these tags, ours first, has ended while the peer was away: it has yet to be told. `None`: it has been told
    /// of all.
    Owed {
        /// The peer.
        ces_id: Arc<str>,
        /// The tags.
        tags: Option<(u32, u32)>,
    },
    /// A peer says that its host has this name. What it asks on its behalf waits for
    /// [`Engine::claim_settled`](super::Engine::claim_settled).
    Claimed {
        /// The peer.
        ces_id: Arc<str>,
        /// The name.
        name: Arc<str>,
    },
    /// A negotiation of a peer's was refused.
    Refused {
        /// The peer.
        ces_id: Arc<str>,
        /// The peer's host, as it says.
        source: Arc<str>,
        /// The name of ours that it asked for.
        destination: Arc<str>,
        /// Why.
        why: Failure,
    },
    /// The keys of tunnels with a peer are these from now on; `None`: there are none any more.
    Keys {
        /// Who.
        ces_id: Arc<str>,
        /// The keys.
        keys: Option<Box<PeerKeys>>,
    },
    /// C2C with a peer stands.
    PeerUp {
        /// Who.
        ces_id: Arc<str>,
        /// Who started.
        role: Role,
    },
    /// C2C with a peer failed.
    PeerFailed {
        /// Who (what NAPTR or the transport says), if known.
        ces_id: Option<Arc<str>>,
        /// Who started.
        role: Role,
        /// Why.
        why: Failure,
    },
    /// C2C with a peer is gone.
    PeerDown {
        /// Who.
        ces_id: Arc<str>,
        /// Why.
        why: PeerDownReason,
    },
    /// A peer was lost and is back with other tunnel ids: nobody knows whether it still has its sessions. Said every 3 s
    /// until that shows: if anything comes on one of them ([`Engine::is_doubted`](super::Engine::is_doubted)), say so
    /// ([`Engine::has_carried`](super::Engine::has_carried)).
    Doubted {
        /// Who.
        ces_id: Arc<str>,
        /// Whether it has come back just now: what came on its sessions before shows nothing.
        is_first: bool,
    },
    /// It need not be looked for any more.
    DoubtOver {
        /// Who.
        ces_id: Arc<str>,
        /// Whether the peer has shown that it has what it had.
        stands: bool,
    },
    /// An address is refused for a while.
    Blocked {
        /// Which.
        addr: IpAddr,
        /// Why.
        why: BlockReason,
        /// For how long.
        for_ns: u64,
    },
    /// A name is refused in new sessions, whoever wanted it.
    Filtered {
        /// The name.
        name: Arc<str>,
        /// Which end of a session it is: local or remote to us.
        local: bool,
        /// Only with this peer, if set.
        ces_id: Option<Arc<str>>,
        /// Until when.
        until: Nanos,
    },
    /// A peer asked us to filter, and we do.
    Filtering {
        /// The peer.
        ces_id: Arc<str>,
        /// What, as seen from here: a host of the peer's choice behind us is `RemoteHost` in its message.
        filter: FlowFilter,
        /// For how long.
        for_ns: u64,
    },
    /// A peer complains about a session.
    Evidence {
        /// The peer.
        ces_id: Arc<str>,
        /// Our tag of the session, if it is one of ours with this peer.
        local_tag: Option<u32>,
        /// What it says about it, cut at 256 bytes.
        misbehavior: String,
    },
    /// An action of ours is over.
    ActionDone {
        /// Which.
        id: ActionId,
        /// How.
        result: ActionResult,
    },
}

/// The answer to a request to negotiate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiating {
    /// Under way, or decided already with its `NegotiationDone` in the outputs.
    Pending(NegotiationId),
    /// There is a session for this pair.
    Connected {
        /// Its local tag.
        local_tag: u32,
        /// Its proxy address.
        proxy: IpAddr,
    },
}

/// Why an accepted connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptError {
    /// Its address is blocked.
    Blocked,
    /// Too many connections, in all or of this peer or address.
    Overload,
    /// Its identity is our own, not trusted, or missing where it must not be.
    Identity,
}

/// A peer, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerSnapshot {
    /// Its CES id.
    pub ces_id: Arc<str>,
    /// Whether C2C stands.
    pub up: bool,
    /// Whether a sign is looked for that it still has the sessions of before it was lost.
    pub doubted: bool,
    /// Who started C2C.
    pub role: Option<Role>,
    /// Our and its C2C tag.
    pub tags: Option<(u32, u32)>,
    /// The remote ends of its connections.
    pub connections: Vec<SocketAddr>,
    /// Sessions.
    pub sessions: usize,
    /// Sessions at most.
    pub session_limit: u32,
    /// Negotiations of ours under way.
    pub pending: usize,
    /// C2C lifetime left, in seconds.
    pub ttl_left_s: u64,
    /// The tunnel of sessions that we start.
    pub tunnel_out: Option<TunnelChoice>,
    /// The tunnel of sessions that it starts.
    pub tunnel_in: Option<TunnelChoice>,
    /// How tunnels with it are encrypted; `None`: they are not.
    pub encryption: Option<EncryptionSnapshot>,
}

/// How tunnels with a peer are encrypted, as the operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EncryptionSnapshot {
    /// The cipher.
    pub cipher: Cipher,
    /// The epoch of what is sent: 0 and 1 take turns.
    pub epoch: u8,
    /// For how long the key has been in use, in seconds.
    pub since_s: u64,
}

/// A blocked address, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockSnapshot {
    /// The address.
    pub addr: IpAddr,
    /// Why.
    pub why: BlockReason,
    /// How long still, in seconds.
    pub left_s: u64,
}

/// A filter, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterSnapshot {
    /// What is filtered.
    pub name: Arc<str>,
    /// Which end of a session it is: local or remote to us.
    pub local: bool,
    /// Only towards this peer, if set.
    pub ces_id: Option<Arc<str>>,
    /// How long still, in seconds.
    pub left_s: u64,
}
