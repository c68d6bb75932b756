//! What is said in a client's name by another station than the one that its lease was made with.
//!
//! A client identifier is heard by everybody on the link. So a lease is its client's at the station that it was made with, and
//! as long as that station answers. Who has moved, from a cable to the air or with a new hardware address, has not both: the
//! owner is asked first (ARP), and what it had ends if it is silent. Who has the identifier of a station that is there, as two
//! clones of one machine have, is a client by itself (RFC 4361 §4.1 wants identifiers that are nobody else's).

use super::{Challenge, DhcpArrival, DhcpNotice, DhcpOutput, PROBES, Server, is_of, seat, station_of};
use crate::lease::{Client, Lease, LeaseState};
use crate::message::{ClientMessage, Kind};
use crate::outcome::Outcome;
use crate::{HardwareAddress, MILLISECOND, Nanos, PortNumber};
use std::net::Ipv4Addr;

/// How often an owner is asked before its lease ends: one lost frame ends none.
const QUESTIONS: u8 = 3;

impl Server {
    /// The message, if it may be served, and as whose; else what becomes of it.
    pub(super) fn vouch(
        &mut self,
        arrival: &DhcpArrival,
        mut request: Box<ClientMessage>,
        places: &[usize],
        now: Nanos,
    ) -> Result<Box<ClientMessage>, Option<Outcome>> {
        let settings = self.book.settings();
        let is_meant = request.server.is_none_or(|server| settings.own.contains(&server));
        let is_idle = match request.kind {
            Kind::Inform => true,
            Kind::Request | Kind::Decline => !is_meant,
            Kind::Discover | Kind::Release => false,
        };
        if !settings.are_owners_asked || is_idle {
            return Ok(request);
        }
        request.is_apart = self.is_apart(&request, places);
        let Some((address, owner)) = self.anothers(arrival, &request, places) else {
            self.hear_client(arrival, &request, places, now);
            return Ok(request);
        };
        match request.kind {
            Kind::Discover | Kind::Request => self.challenge(arrival, request, (address, owner), now),
            _ => Err(Some(self.stranger(arrival, address, owner))),
        }
    }

    /// Whether a station has an address of its own, with an identifier that is another's.
    fn is_apart(&self, request: &ClientMessage, places: &[usize]) -> bool {
        let Some(identifier) = &request.identifier else { return false };
        let client = Client::apart(identifier, request.mac);
        let is_live = |lease: &Lease| lease.state != LeaseState::Past;
        places.iter().any(|place| self.book.held(*place, &client).is_some_and(is_live))
    }

    /// Whether a message is about this lease as about its sender's own.
    fn is_claimed(&self, lease: &Lease, request: &ClientMessage) -> bool {
        // What is reserved for a hardware address may still be another's, who has to move.
        let is_reserved = || lease.mac == request.mac && self.book.is_held_by(lease, request);
        lease.state == LeaseState::Bound && (is_of(lease, request) || is_reserved())
    }

    /// Whether a message comes from the station that a lease was made with. Behind relays none can be seen.
    fn is_from_owner(&self, lease: &Lease, arrival: &DhcpArrival, request: &ClientMessage) -> bool {
        let is_far = || self.port_of(lease.address).is_none();
        let seat = seat(arrival, request);
        lease.mac == request.mac && (seat.is_near || seat.station == lease.station || is_far())
    }

    fn port_of(&self, address: Ipv4Addr) -> Option<PortNumber> {
        let subnet = self.book.subnet_of(address)?;
        self.book.subnet(subnet).link.map(|(port, _)| port)
    }

    /// The lease that a message is about, if it was made with another station: its address, and its client's hardware address.
    fn anothers(
        &self,
        arrival: &DhcpArrival,
        request: &ClientMessage,
        places: &[usize],
    ) -> Option<(Ipv4Addr, HardwareAddress)> {
        let foreign = |lease: &Lease| {
            let is_foreign = self.is_claimed(lease, request) && !self.is_from_owner(lease, arrival, request);
            is_foreign.then_some((lease.address, lease.mac))
        };
        let named = self.named(request);
        if named.is_some_and(|lease| self.is_claimed(lease, request)) {
            return named.and_then(foreign);
        }
        if !matches!(request.kind, Kind::Discover | Kind::Request) {
            return None;
        }
        let client = request.client();
        places.iter().find_map(|&place| {
            let reserved = self.book.reserved_for(place, request).and_then(|address| self.book.at(address));
            self.book.held(place, &client).and_then(foreign).or_else(|| reserved.and_then(foreign))
        })
    }

    /// The entry of the address that a message names as its sender's.
    fn named(&self, request: &ClientMessage) -> Option<&Lease> {
        let address = match request.kind {
            Kind::Discover | Kind::Inform => return None,
            Kind::Decline => request.requested?,
            Kind::Release => request.ciaddr,
            Kind::Request => request.requested.unwrap_or(request.ciaddr),
        };
        self.book.at(address)
    }

    /// Has the owner asked, where it can be.
    fn challenge(
        &mut self,
        arrival: &DhcpArrival,
        request: Box<ClientMessage>,
        (address, owner): (Ipv4Addr, HardwareAddress),
        now: Nanos,
    ) -> Result<Box<ClientMessage>, Option<Outcome>> {
        let port = self.port_of(address);
        if port.is_none() && request.is_relayed() {
            // The relay vouches for it.
            return Ok(request);
        }
        let Some(port) = port.filter(|_| self.book.settings().probe_ms > 0) else {
            return Err(self.refuse(arrival, request, (address, owner), now));
        };
        // An owner that has not heard of its lease yet could not answer.
        let is_unheard = self.waiting.iter().any(|waiting| waiting.address == address);
        if is_unheard || self.challenges.contains_key(&address.to_bits()) {
            return Err(Some(Outcome::Probing));
        }
        if self.challenges.len() >= PROBES {
            return Err(Some(Outcome::RateLink));
        }
        self.ask(port, address, Challenge { request, arrival: *arrival, until: now, asked: 0 }, now);
        Err(None)
    }

    fn ask(&mut self, port: PortNumber, address: Ipv4Addr, challenge: Challenge, now: Nanos) {
        let until = now + u64::from(self.book.settings().probe_ms) * MILLISECOND;
        let asked = challenge.asked + 1;
        self.counters.probes += 1;
        self.out.push_back(DhcpOutput::Probe(port, address));
        self.patience.insert((until, address.to_bits()));
        self.challenges.insert(address.to_bits(), Challenge { until, asked, ..challenge });
    }

    /// Owners that were silent are asked again, or have lost their lease.
    pub(super) fn press(&mut self, now: Nanos) {
        while let Some(&(_, bits)) = self.patience.first().filter(|(at, _)| *at <= now) {
            let address = Ipv4Addr::from(bits);
            let Some(challenge) = self.take_challenge(address) else { break };
            match self.port_of(address) {
                Some(port) if challenge.asked < QUESTIONS => self.ask(port, address, challenge, now),
                _ => self.hand_over(address, challenge, now),
            }
        }
    }

    /// A lease is its client's at another station from here on.
    fn hand_over(&mut self, address: Ipv4Addr, challenge: Challenge, now: Nanos) {
        let Challenge { request, arrival, .. } = challenge;
        let owner = self.book.at(address).filter(|lease| {
            self.is_claimed(lease, &request) && !self.is_from_owner(lease, &arrival, &request)
        });
        if let Some(owner) = owner.map(|lease| lease.mac) {
            self.counters.moved += 1;
            self.free(address, now);
            self.tell(DhcpNotice::Moved { address, owner, mac: arrival.mac });
        }
        if let Some(outcome) = self.admitted(&arrival, request, now) {
            self.counters.count(outcome);
        }
    }

    pub(super) fn take_challenge(&mut self, address: Ipv4Addr) -> Option<Challenge> {
        let challenge = self.challenges.remove(&address.to_bits())?;
        self.patience.remove(&(challenge.until, address.to_bits()));
        Some(challenge)
    }

    /// A station has an address, as ARP says: whoever else claims it is refused if that is the owner.
    pub(super) fn hear_owner(&mut self, address: Ipv4Addr, mac: HardwareAddress, now: Nanos) {
        let Some(lease) = self.book.at(address) else { return };
        if lease.mac == mac || lease.station == station_of(mac) {
            self.settle(address, lease.mac, now);
        }
    }

    /// The owner itself says something.
    fn hear_client(&mut self, arrival: &DhcpArrival, request: &ClientMessage, places: &[usize], now: Nanos) {
        if self.challenges.is_empty() {
            return;
        }
        let client = request.client();
        let held = places.iter().find_map(|place| self.book.held(*place, &client));
        let own = self
            .named(request)
            .or(held)
            .filter(|lease| self.is_claimed(lease, request) && self.is_from_owner(lease, arrival, request));
        if let Some((address, owner)) = own.map(|lease| (lease.address, lease.mac)) {
            self.settle(address, owner, now);
        }
    }

    fn settle(&mut self, address: Ipv4Addr, owner: HardwareAddress, now: Nanos) {
        let Some(Challenge { request, arrival, .. }) = self.take_challenge(address) else { return };
        if let Some(outcome) = self.refuse(&arrival, request, (address, owner), now) {
            self.counters.count(outcome);
        }
    }

    /// The owner is there: who speaks in its name is another client, if it can be told from it.
    fn refuse(
        &mut self,
        arrival: &DhcpArrival,
        mut request: Box<ClientMessage>,
        (address, owner): (Ipv4Addr, HardwareAddress),
        now: Nanos,
    ) -> Option<Outcome> {
        let stranger = self.stranger(arrival, address, owner);
        let places = self.places(arrival, &request);
        if request.mac == owner || request.is_apart || request.identifier.is_none() || places.is_empty() {
            return Some(stranger);
        }
        if request.kind == Kind::Request {
            return Some(self.nak(arrival, &request, places[0], Outcome::NakStranger));
        }
        request.is_apart = true;
        self.discover(arrival, request, &places, 0, now)
    }

    fn stranger(&mut self, arrival: &DhcpArrival, address: Ipv4Addr, owner: HardwareAddress) -> Outcome {
        self.tell(DhcpNotice::Stranger { address, owner, mac: arrival.mac });
        Outcome::Stranger
    }
}
