//! How sessions are opened: what a host's port is outside, given to it or configured, and what of the world may begin one.

use super::{By, Face, Flow, Heading, Inside, Sessions, Tie};
use crate::Nanos;
use crate::meter::seconds;
use crate::msg::Recorded;
use crate::nat::{Filtering, Nat, Space};
use crate::reason::DropReason;
use crate::table::expectations::Door;
use crate::table::mappings::Outside;
use crate::table::ports::{Ports, Wish};
use crate::table::subscribers::NO_POOL;
use crate::wire::{Pair, ipv4};

/// A session that may be opened from outside.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    near: Flow,
    face: Face,
    why: Option<Why>,
}

/// By what a session may be opened that nothing else lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The expectation in this place.
    Announced(u32),
    /// The reservation in this place.
    Reserved(u32),
}

impl Opening {
    /// What its inside host would send.
    pub const fn near(&self) -> Flow {
        self.near
    }

    /// Whether a control channel announced it.
    pub fn is_announced(&self) -> bool {
        matches!(self.why, Some(Why::Announced(_)))
    }

    /// Whether the host is seen under its own address: nobody is let in there unless a rule says so.
    pub const fn is_untranslated(&self) -> bool {
        self.near.addresses.source() == self.face.address
    }

    /// What arrives for this port of a host.
    pub(super) const fn of(arriving: Flow, (host, port): (u32, u16), by: By, why: Option<Why>) -> Self {
        let Flow { addresses, ports, protocol } = arriving;
        let near = Flow {
            addresses: Pair::new(host, addresses.source()),
            ports: (port as u32) << 16 | ports >> 16,
            protocol,
        };
        let face = Face { address: addresses.destination(), port: ports as u16, by };
        Self { near, face, why }
    }
}

impl Sessions {
    /// Opens a session for what an inside host sends: its own external port, if it has one already for where it sends from.
    pub fn open_out(&mut self, near: Flow, nat: &Nat, now: Nanos) -> Result<u32, DropReason> {
        let now_s = seconds(now);
        let inside = Inside {
            host: near.addresses.source(),
            port: (near.ports >> 16) as u16,
            protocol: near.protocol,
        };
        self.open(inside.host, nat, now_s, |sessions, subscriber| {
            let (face, mapping) = if nat.exceptions.are_between(inside.host, near.addresses.destination()) {
                (Face { address: inside.host, port: inside.port, by: By::Configuration }, None)
            } else if let Some((face, place)) = sessions.face_of_channel(near, nat, now) {
                let tie = Tie { subscriber, mapping: None };
                let opened = sessions.add(near, (face, tie), Heading::Out, nat, now_s)?;
                sessions.settle(place, now_s);
                return Ok(opened);
            } else {
                sessions.face(subscriber, inside, nat, now_s)?
            };
            sessions.add(near, (face, Tie { subscriber, mapping }), Heading::Out, nat, now_s)
        })
    }

    /// Starts to fetch what [`Sessions::open_out`] will look at first for what a host sends that is of no session yet: whether
    /// it has others, and a mapping, and what leads to the session from outside, where its port stays as it is.
    #[inline(never)]
    pub fn foresee(&self, near: Flow) {
        let Flow { addresses, ports, protocol } = near;
        let (host, port) = (addresses.source(), (ports >> 16) as u16);
        let hash = self.subscribers.hash(host);
        self.subscribers.prefetch(hash);
        self.mappings.prefetch(Inside { host, port, protocol });
        if let Some(pool) = self.ports.pair(hash) {
            self.mappings.prefetch_outside(Outside { pool, port, protocol });
            let addresses = Pair::new(addresses.destination(), self.ports.address(pool));
            self.inward.prefetch_write(self.hash(Flow { addresses, ports: ports.rotate_left(16), protocol }));
        }
    }

    /// And then what that leads to.
    #[inline(never)]
    pub fn foresee_more(&self, near: Flow) {
        self.subscribers.prefetch_line(self.subscribers.hash(near.addresses.source()));
    }

    /// Opens a session for what comes from outside to a host's external port.
    pub fn open_in(&mut self, opening: Opening, nat: &Nat, now: Nanos) -> Result<u32, DropReason> {
        let Opening { near, face, why } = opening;
        self.open(near.addresses.source(), nat, seconds(now), |sessions, subscriber| {
            // By another of the external ports or addresses that stand for this one: two flows outside, and one inside.
            if face.by != By::Mapping && sessions.find(Heading::Out, near).is_some() {
                return Err(DropReason::NatTaken);
            }
            let has_mapping = face.by == By::Mapping && Space::of(near.protocol).is_some();
            // It may have ended with the session that has given way to this one.
            let mapping = if has_mapping { Some(sessions.mapping_of(near)?) } else { None };
            let tie = Tie { subscriber, mapping };
            let opened = sessions.add(near, (face, tie), Heading::In, nat, seconds(now))?;
            match why {
                None => {}
                Some(Why::Reserved(place)) => {
                    sessions.reservations.consume(place, near.addresses.destination());
                }
                Some(Why::Announced(place)) => {
                    sessions.lines[opened as usize].announced();
                    sessions.has_come(place, seconds(now));
                }
            }
            Ok(opened)
        })
    }

    /// Opens a session of a host that has not as many as it may have.
    fn open(
        &mut self,
        host: u32,
        nat: &Nat,
        now_s: u32,
        open: impl FnOnce(&mut Self, u32) -> Result<u32, DropReason>,
    ) -> Result<u32, DropReason> {
        let subscriber = self.subscriber(host)?;
        let held = self.subscribers.get(subscriber).sessions;
        // Its line stays, whatever of its own gives way meanwhile.
        self.subscribers.get_mut(subscriber).sessions += 1;
        // RFC 6888 §3, REQ-4
        let may = if held >= nat.host_sessions {
            Err(DropReason::NatHostLimit)
        } else {
            self.spare_session(host, held, nat, now_s)
        };
        let opened = may.and_then(|()| open(self, subscriber));
        self.subscribers.get_mut(subscriber).sessions -= 1;
        self.subscribers.let_go(subscriber);
        opened
    }

    /// The inside host behind an external port, and its own port.
    pub fn behind(&self, external: u32, port: u16, protocol: u8, nat: &Nat) -> Option<(u32, u16)> {
        nat.statics.behind(external, port, protocol).or_else(|| {
            let outside = Outside { pool: self.ports.pool_of(external)?, port, protocol };
            self.mappings.whose(outside).map(|inside| (inside.host, inside.port))
        })
    }

    /// What would be opened by what comes from outside; `None`: no host takes it from there (RFC 4787 §5). What is configured
    /// takes it from everywhere, as far as the rules of the filter let it.
    pub fn takes(&self, arriving: Flow, nat: &Nat, now: Nanos) -> Option<Opening> {
        let Flow { addresses, ports, protocol } = arriving;
        let (host, remote) = (addresses.destination(), addresses.source());
        let door = Door { address: host, port: ports as u16, protocol };
        let awaited = self.awaits(door, remote, now);
        let announced = awaited.map(Why::Announced);
        if nat.exceptions.are_between(host, remote) {
            return Some(Opening::of(arriving, (host, ports as u16), By::Configuration, announced));
        }
        if let Some(inside) = nat.statics.behind(host, ports as u16, protocol) {
            let is_ours = self.share.host_elsewhere(inside.0).is_none();
            return is_ours.then(|| Opening::of(arriving, inside, By::Configuration, announced));
        }
        if let Some(inside) = awaited.and_then(|line| self.awaited_beside(line)) {
            return Some(Opening::of(arriving, (inside.host, inside.port), By::Reservation, announced));
        }
        let pool = self.ports.pool_of(host)?;
        let outside = Outside { pool, port: ports as u16, protocol };
        let is_let = announced.is_some()
            || match nat.filtering {
                _ if protocol == ipv4::ICMP => false,
                Filtering::AddressAndPortDependent => false,
                Filtering::AddressDependent => self.permissions.has(outside, remote),
                Filtering::EndpointIndependent => true,
            };
        let inside = self.mappings.whose(outside).filter(|_| is_let)?;
        Some(Opening::of(arriving, (inside.host, inside.port), By::Mapping, announced))
    }

    /// The mapping of the port that a host sends from.
    fn mapping_of(&self, near: Flow) -> Result<u32, DropReason> {
        let (host, port) = (near.addresses.source(), (near.ports >> 16) as u16);
        self.mappings.of(Inside { host, port, protocol: near.protocol }).ok_or(DropReason::NatFull)
    }

    pub(super) fn subscriber(&mut self, host: u32) -> Result<u32, DropReason> {
        let known = self.subscribers.find(host);
        known.or_else(|| self.subscribers.add(host, NO_POOL)).ok_or(DropReason::NatFull)
    }

    /// The external address of a host. Where the one that it had is offered no longer, it gets another.
    pub(super) fn pool(&mut self, subscriber: u32, nat: &Nat) -> Result<u16, DropReason> {
        let line = self.subscribers.get(subscriber);
        if self.ports.is_offered(line.pool) {
            return Ok(line.pool);
        }
        let pool = self.pool_for(self.subscribers.hash(line.host), nat).ok_or(DropReason::NatNoAddress)?;
        self.subscribers.get_mut(subscriber).pool = pool;
        Ok(pool)
    }

    /// What a host's port is outside, and its mapping; a new one has no session yet.
    fn face(
        &mut self,
        subscriber: u32,
        inside: Inside,
        nat: &Nat,
        now_s: u32,
    ) -> Result<(Face, Option<u32>), DropReason> {
        if !nat.statics.is_empty()
            && let Some((address, port)) = nat.statics.outside(inside.host, inside.port, inside.protocol)
        {
            return Ok((Face { address, port, by: By::Configuration }, None));
        }
        let pool = self.pool(subscriber, nat)?;
        let (outside, mapping) = match Space::of(inside.protocol) {
            // By the pair of addresses alone.
            None => (Outside { pool, port: 0, protocol: inside.protocol }, None),
            Some(space) => {
                let (outside, mapping) = self.map(subscriber, (pool, space), inside, nat, now_s)?;
                (outside, Some(mapping))
            }
        };
        let face = Face { address: self.ports.address(outside.pool), port: outside.port, by: By::Mapping };
        Ok((face, mapping))
    }

    /// What a host's port is outside by a mapping, an old one or a new one, and which that is.
    pub(super) fn map(
        &mut self,
        subscriber: u32,
        (pool, space): (u16, Space),
        inside: Inside,
        nat: &Nat,
        now_s: u32,
    ) -> Result<(Outside, u32), DropReason> {
        if let Some(mapping) = self.mappings.of(inside) {
            let outside = self.mappings.outside(mapping);
            // Until what stood there has ended, a moment after it was given to somebody else.
            let taken = nat.statics.taken(self.ports.address(outside.pool), space);
            return if taken.has(outside.port) {
                Err(DropReason::NatChanged)
            } else {
                Ok((outside, mapping))
            };
        }
        let held = self.subscribers.get(subscriber).ports;
        if held >= nat.host_ports {
            return Err(DropReason::NatHostLimit);
        }
        self.spare_mapping(now_s)?;
        let taken = nat.statics.taken(self.ports.address(pool), space);
        let wish = Wish { pool, space, port: inside.port, range: nat.ports, taken };
        let port = if self.blocks.are_on() {
            self.port_of_blocks(subscriber, wish, (Ports::take_rested, Ports::take), nat, now_s)?
        } else {
            self.port_of_all(inside.host, held, wish, nat, now_s)?
        };
        let outside = Outside { pool, port, protocol: inside.protocol };
        let mapping = self.give(subscriber, inside, outside, now_s).ok_or(DropReason::NatFull)?;
        Ok((outside, mapping))
    }

    /// A port for a host that has so many: of all that nobody has.
    fn port_of_all(
        &mut self,
        host: u32,
        held: u32,
        wish: Wish<'_>,
        nat: &Nat,
        now_s: u32,
    ) -> Result<u16, DropReason> {
        let (pool, space) = (wish.pool, wish.space);
        self.spare_port(host, (pool, space), held, nat, now_s)?;
        match self.ports.take(wish, now_s) {
            Some(port) => Ok(port),
            None if self.free_port(pool, space, now_s, |_| true) => {
                self.ports.take(wish, now_s).ok_or(DropReason::NatPortsFull)
            }
            None => Err(DropReason::NatPortsFull),
        }
    }

    /// Gives a host's port an external one that was taken for it, of which there is a record. Without room, that one rests.
    pub(super) fn give(
        &mut self,
        subscriber: u32,
        inside: Inside,
        outside: Outside,
        now_s: u32,
    ) -> Option<u32> {
        let mapping = self.assign(subscriber, inside, outside, now_s)?;
        let external = (self.ports.address(outside.pool), outside.port);
        self.records.mapping(Recorded::Created, inside.protocol, (inside.host, inside.port), external);
        Some(mapping)
    }

    /// Gives a host's port an external one that was taken for it. Without room, that one rests.
    pub(super) fn assign(
        &mut self,
        subscriber: u32,
        inside: Inside,
        outside: Outside,
        now_s: u32,
    ) -> Option<u32> {
        if let Some(place) = outside.place() {
            self.blocks.enter(place.pool, place.port);
        }
        let mapping = self.mappings.add(inside, outside);
        match mapping {
            Some(_) => self.subscribers.get_mut(subscriber).ports += 1,
            None => self.rest(outside, now_s),
        }
        mapping
    }
}
