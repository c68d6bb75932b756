//! Why a packet was dropped: one closed list, which is also the counter and the metric label.

use crate::wire::Malformed;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal),+ $(,)?) => {
        /// Every packet that the gateway drops is counted under exactly one of these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant),+ }

        impl DropReason {
            /// All reasons, in counter order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),+];
            /// How many reasons there are: the length of a counter array.
            pub const COUNT: usize = Self::ALL.len();

            /// The metric label, also what `cesctl show drops` prints.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label),+ }
            }

            /// What happened, for a person.
            pub const fn text(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($doc),+)),+ }
            }
        }
    };
}

/// The one place where what is wrong with a header becomes the reason of a drop.
impl From<Malformed> for DropReason {
    #[inline(always)]
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Truncated => Self::Truncated,
            Malformed::SecondTag => Self::VlanUnknown, // no port is configured for one
            Malformed::Arp => Self::EthertypeUnknown,
            Malformed::IpVersion => Self::IpVersion,
            Malformed::IpHeaderLength => Self::IpHeaderLength,
            Malformed::IpTotalLength => Self::IpTotalLength,
            Malformed::IpChecksum => Self::IpChecksum,
            Malformed::Layer4 => Self::L4Malformed,
            Malformed::Tunnel => Self::TunnelMalformed,
        }
    }
}

reasons! {
    /// The frame ends before a header that it announces.
    Truncated = "truncated",
    /// An Ethernet type that the gateway does not carry.
    EthertypeUnknown = "ethertype_unknown",
    /// A VLAN tag that no port is configured for.
    VlanUnknown = "vlan_unknown",
    /// A frame for another station's MAC address.
    NotForUs = "not_for_us",
    /// The IP version is not the one that the Ethernet type promises.
    IpVersion = "ip_version",
    /// The IPv4 header length is below 5 words or beyond the packet.
    IpHeaderLength = "ip_header_length",
    /// The IPv4 total length is below the header's or beyond the frame.
    IpTotalLength = "ip_total_length",
    /// The IPv4 header checksum is wrong.
    IpChecksum = "ip_checksum",
    /// A source address that no host may use: zero, loopback, multicast, broadcast, or the gateway's own.
    SourceInvalid = "source_invalid",
    /// A source address that does not belong to this port's networks.
    SourceSpoofed = "source_spoofed",
    /// A host's address as source, from another MAC address than the host's.
    SourceMac = "source_mac",
    /// A multicast destination; the gateway forwards none.
    Multicast = "multicast",
    /// A broadcast destination; the gateway forwards none.
    Broadcast = "broadcast",
    /// A strict or loose source route option (RFC 7126 §4.3, §4.4).
    SourceRoute = "source_route",
    /// The time to live ran out here (answered with ICMP time exceeded where that is allowed).
    TtlExceeded = "ttl_exceeded",
    /// A layer 4 header is shorter than its protocol's.
    L4Malformed = "l4_malformed",
    /// A destination past the gateway that none of its features carries.
    NoRoute = "no_route",
    /// No binding for this host and this proxy address.
    NoBinding = "no_binding",
    /// A packet of a connection or an exchange of which there is no session: it opens none.
    NatNoSession = "nat_no_session",
    /// The host has as many sessions or external ports as one may have.
    NatHostLimit = "nat_host_limit",
    /// What is left of sessions or external ports is for hosts that hold less than an equal share, and this one does not.
    NatShare = "nat_share",
    /// The external ports of the host's address are all taken.
    NatPortsFull = "nat_ports_full",
    /// The table of sessions, of mappings or of their hosts is full.
    NatFull = "nat_full",
    /// There is no external address to be given to the host.
    NatNoAddress = "nat_no_address",
    /// Another host speaks with the same one in a protocol without ports; or one outside with a host's port by two external ones.
    NatTaken = "nat_taken",
    /// The external port of its session stands for somebody else now, or for nobody: the static mappings are others.
    NatChanged = "nat_changed",
    /// A rule of the filter lets no session be opened, or forbids the one that the packet is of.
    FilterDenied = "filter_denied",
    /// The same, and its sender is told so.
    FilterRejected = "filter_rejected",
    /// A rule of the filter opens no more sessions a second than this.
    FilterRate = "filter_rate",
    /// A segment of an ALG's control channel ahead of one that has not come: it could not be read, and comes again.
    AlgGap = "alg_gap",
    /// A segment of an ALG's control channel with a part of a message that is not whole yet: it was read, and comes again.
    AlgPart = "alg_part",
    /// A segment of an ALG's control channel whose checksum is wrong.
    AlgChecksum = "alg_checksum",
    /// A fragment of a segment of an ALG's control channel, which could not be read.
    AlgFragment = "alg_fragment",
    /// A segment of an ALG's control channel that nothing more can be changed in before what was changed has arrived.
    AlgRoom = "alg_room",
    /// A packet that nobody asked for, to the gateway itself or past it.
    Unasked = "unasked",
    /// A tunnel packet whose outer pair of addresses belongs to no peer.
    TunnelOuterUnknown = "tunnel_outer_unknown",
    /// A tunnel packet whose tunnel id is not the one that was given to this peer.
    TunnelIdUnknown = "tunnel_id_unknown",
    /// A tunnel packet whose pair of session tags matches no binding of that peer.
    TunnelTagUnknown = "tunnel_tag_unknown",
    /// A tunnel header with wrong flags, version, or inner protocol.
    TunnelMalformed = "tunnel_malformed",
    /// A tunnel packet in clear from a peer with which tunnels are encrypted.
    TunnelClear = "tunnel_clear",
    /// An encrypted tunnel packet that is not authentic: forged, damaged, or of a worker that its sender does not have.
    TunnelForged = "tunnel_forged",
    /// An encrypted tunnel packet that came before.
    TunnelReplayed = "tunnel_replayed",
    /// An encrypted tunnel packet so far behind others that nobody knows whether it came before.
    TunnelLate = "tunnel_late",
    /// An encrypted tunnel packet under a key that is not, or no longer, one of ours.
    TunnelKeyUnknown = "tunnel_key_unknown",
    /// To a peer with which tunnels are encrypted, and there is no key to send under, or it has sealed as much as it may.
    TunnelUnkeyed = "tunnel_unkeyed",
    /// A fragment of a tunnel packet; the outer header is sent unfragmented (RFC 7348 §4.3).
    OuterFragment = "outer_fragment",
    /// A later fragment whose first fragment has not been seen.
    FragmentUnmatched = "fragment_unmatched",
    /// A later fragment, kept for its first one until others of the same two hosts took its place.
    FragmentReplaced = "fragment_replaced",
    /// A later fragment, kept for its first one the longest of all when there was no more room.
    FragmentFull = "fragment_full",
    /// A first fragment too short for its layer 4 header (RFC 1858), or overlapping offsets.
    FragmentTiny = "fragment_tiny",
    /// Larger than the path and not to be fragmented (answered with ICMP fragmentation needed).
    TooBig = "too_big",
    /// An ICMP error that quotes no packet of a known binding.
    IcmpErrorUnmatched = "icmp_error_unmatched",
    /// An ICMP type that the gateway does not carry: neither an echo, a time stamp, nor an error that it translates.
    IcmpTypeUnknown = "icmp_type_unknown",
    /// A mark of congestion on the outer header of a packet that does not take part in ECN (RFC 6040 §4.2).
    EcnInvalid = "ecn_invalid",
    /// The binding's policy does not carry this protocol or port.
    PolicyProtocol = "policy_protocol",
    /// The binding's rate limit.
    RateLimited = "rate_limited",
    /// The next hop's hardware address did not become known while the packet was kept for it.
    NeighbourUnresolved = "neighbour_unresolved",
    /// Kept for a next hop whose hardware address is not known yet, until later packets for it took its place.
    NeighbourReplaced = "neighbour_replaced",
    /// Kept for a next hop whose hardware address is not known yet, the longest of all when there was no more room.
    NeighbourFull = "neighbour_full",
    /// The port that should send it is down.
    PortDown = "port_down",
    /// To an address of the circular pool, of no session, and nothing is reserved for it.
    PoolUnreserved = "pool_unreserved",
    /// To an address of the circular pool, once more after it came unasked; what is reserved now is for another client.
    PoolAgain = "pool_again",
    /// To an address of the circular pool that is reserved for clients of another network, or for one who came before.
    PoolForeign = "pool_foreign",
    /// The punt meter of its class is exhausted.
    PuntMetered = "punt_metered",
    /// The punt ring to the control thread is full.
    PuntRingFull = "punt_ring_full",
    /// A frame too long for a punt slot.
    PuntTooLong = "punt_too_long",
    /// The ring to the worker that owns the host is full.
    HandoffRingFull = "handoff_ring_full",
    /// As much of its host, or of its flow, waits for the shaped port already as may wait of one.
    QueueFull = "queue_full",
    /// Its flow has waited for the shaped port too long for a while, and its sender is told by this loss (RFC 8289).
    QueueAqm = "queue_aqm",
    /// The port's transmit queue did not take it.
    TxQueueFull = "tx_queue_full",
    /// No packet buffer was left.
    NoBuffer = "no_buffer",
    /// No room ahead of the packet for the outer header.
    NoHeadroom = "no_headroom",
    /// An injected frame from the control thread that is malformed or names no port.
    InjectMalformed = "inject_malformed",
}
