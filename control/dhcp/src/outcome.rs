//! How a message ended: one closed list, which is also the counter and the metric label.

use ces_dns::labelled;

labelled! {
    /// Every message that reaches the server ends in exactly one of these.
    Outcome {
        /// DISCOVER: an address was offered.
        Offered = "offered",
        /// DISCOVER of a station with an identifier that another has: an address of its own was offered.
        OfferedApart = "offered_apart",
        /// REQUEST of a client that took an offer: acknowledged.
        Selected = "selected",
        /// REQUEST of a client that has started again with the address it had: acknowledged.
        Rebooted = "rebooted",
        /// REQUEST to the server by a client that has the address: its lease goes on.
        Renewed = "renewed",
        /// REQUEST to everybody by a client that has the address: its lease goes on.
        Rebound = "rebound",
        /// REQUEST for an address of another network: refused (NAK).
        NakNetwork = "nak_network",
        /// REQUEST for an address that is another client's: refused (NAK).
        NakTaken = "nak_taken",
        /// REQUEST for an address that is not this client's, or is none that is given: refused (NAK).
        NakAddress = "nak_address",
        /// REQUEST in the name of a client that is another station, and answers: refused (NAK).
        NakStranger = "nak_stranger",
        /// RELEASE or DECLINE in the name of a client that is another station; DISCOVER or REQUEST even with its hardware
        /// address, while it answers: silence.
        Stranger = "stranger",
        /// DECLINE: somebody else uses the address, which is given to nobody for a while.
        Declined = "declined",
        /// DECLINE of an address that the client does not have.
        DeclineIgnored = "decline_ignored",
        /// RELEASE: the address is free.
        Released = "released",
        /// RELEASE of an address that the client does not have.
        ReleaseIgnored = "release_ignored",
        /// INFORM: the client was told what hosts are told.
        Informed = "informed",
        /// INFORM without an address that can be answered.
        InformIgnored = "inform_ignored",
        /// DISCOVER or REQUEST while the address for the first one is being probed, or its owner asked.
        Probing = "probing",
        /// DISCOVER: all addresses that were probed are in use.
        InUse = "in_use",
        /// DISCOVER: no address is left.
        Exhausted = "exhausted",
        /// DISCOVER: as many addresses are leased to this station, or behind this line of a relay, as may be.
        StationLimit = "station_limit",
        /// REQUEST that takes another server's offer.
        OtherServer = "other_server",
        /// REQUEST of a client that nothing is known of, for an address that is nobody's: silence (RFC 2131 §4.3.2).
        UnknownClient = "unknown_client",
        /// REQUEST that names no address.
        NoAddress = "no_address",
        /// An acknowledgement that could not be written down, and so was not given.
        Unwritten = "unwritten",
        /// More messages of a client than may be.
        RateClient = "rate_client",
        /// More messages over a port or relay than may be.
        RateLink = "rate_link",
        /// From where no subnet is configured.
        NoSubnet = "no_subnet",
        /// An answer of another server.
        ForeignServer = "foreign_server",
        /// An answer of this server's own that came back.
        OwnAnswer = "own_answer",
        /// No datagram that could be a message.
        NotDhcp = "not_dhcp",
        /// Cut short, or without the fields of a message.
        Malformed = "malformed",
        /// Of hardware that is not Ethernet.
        Hardware = "hardware",
        /// Without a type: BOOTP (RFC 951).
        Bootp = "bootp",
        /// Of a type that no server is asked by.
        TypeUnknown = "type_unknown",
    }
}

/// Messages by outcome, and what else is counted.
#[derive(Clone, Debug)]
pub struct DhcpCounters {
    outcomes: [u64; Outcome::COUNT],
    /// Addresses that were probed.
    pub probes: u64,
    /// Addresses that turned out to be in use by somebody who has no lease.
    pub conflicts: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Leases that ended since their client spoke from another station, and no longer answered at the one before.
    pub moved: u64,
}

impl Default for DhcpCounters {
    fn default() -> Self {
        Self { outcomes: [0; Outcome::COUNT], probes: 0, conflicts: 0, expired: 0, moved: 0 }
    }
}

impl DhcpCounters {
    /// One more message that ended so.
    pub fn count(&mut self, outcome: Outcome) {
        self.outcomes[outcome as usize] += 1;
    }

    /// How many ended so.
    pub fn value(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// All messages.
    pub fn total(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}
