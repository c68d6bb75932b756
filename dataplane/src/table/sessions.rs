//! The sessions of NAT44: flows between inside hosts and the world, found from both sides, and what must agree with them:
//! mappings, external ports, what each host has, and when each is over.
//!
//! A session is one line ([`super::session`]) with two indexes that lead to it. What a first packet decides (address, port,
//! next hops) stands in it; the packets after it pay for none of that.

mod adopt;
mod awaited;
mod reserved;

pub use super::session::LAYOUT;
pub use adopt::Adopted;
pub use reserved::Reserved;

use super::channels::{AWAITED, Channels};
use super::expectations::Expectations;
use super::fragments::Fragments;
use super::index::{Hasher, Index};
use super::mappings::{Inside, Mappings, Outside};
use super::permissions::Permissions;
use super::ports::{Ports, Wish};
use super::reservations::Reservations;
use super::session::{Flow, Heading, Session};
use super::subscribers::Subscribers;
use super::wheel::Wheel;
use crate::Nanos;
use crate::events::Events;
use crate::meter::seconds;
use crate::msg::Event;
use crate::nat::{Filtering, Nat, Space};
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::settings::{Settings, SettingsError};
use crate::wire::{Pair, ipv4};
use machine::Kept;
use machine::table::HugeSlice;
use std::net::Ipv4Addr;

/// The most sessions that one turn looks at to see whether they are over.
const DUE_MOST: usize = 64;
/// Seconds of the wheel in which one is sought that gives way to another.
const GIVING_WAY_S: u32 = 256;

/// The most sessions that are told at once, and the most slots that are looked at for them: some microseconds' work.
const READ_MOST: usize = 64;
const READ_SLOTS: usize = 1024;

/// The table.
#[derive(Debug)]
pub struct Sessions {
    lines: HugeSlice<Session>,
    outward: Index,
    inward: Index,
    hasher: Hasher,
    wheel: Wheel,
    mappings: Mappings,
    permissions: Permissions,
    subscribers: Subscribers,
    ports: Ports,
    channels: Channels,
    expectations: Expectations,
    reservations: Reservations,
    fragments: Fragments,
}

/// A session that may be opened from outside.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    near: Flow,
    by: By,
}

/// What lets it be opened.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The host's external port, and the place of the expectation that says so.
    Mapping(Outside, Option<u32>),
    /// A reservation, in this place, of this address.
    Reservation(u32, u32),
}

impl Opening {
    /// What its inside host would send.
    pub const fn near(&self) -> Flow {
        self.near
    }

    /// Whether a control channel announced it.
    pub const fn is_announced(&self) -> bool {
        matches!(self.by, By::Mapping(_, Some(_)))
    }
}

/// What there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions.
    pub sessions: u64,
    /// Mappings.
    pub mappings: u64,
    /// Hosts with sessions.
    pub hosts: u64,
    /// External ports in use or at rest.
    pub ports: u64,
}

impl Sessions {
    /// A table: with the sessions that stand in what was kept, if that is given, which it then stands in itself.
    pub fn new(settings: &Settings, hasher: Hasher, kept: Option<Kept>) -> Result<Self, SettingsError> {
        let room = &settings.nat_room;
        let seed = settings.hash_seed[0] ^ u64::from(settings.worker).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut ports = Ports::new(room.addresses, room.mappings, seed, settings.worker, settings.workers)?;
        ports.offer(&settings.nat.addresses);
        let by_address = settings.nat.filtering == Filtering::AddressDependent;
        let permissions = if by_address { room.sessions } else { 0 };
        let channels = settings.channels.min(room.sessions);
        Ok(Self {
            lines: match kept {
                Some(kept) => HugeSlice::kept(kept, room.sessions as usize, |_, bytes| Session::read(bytes)),
                None => HugeSlice::new(room.sessions as usize),
            }
            .map_err(|_| SettingsError::Memory("sessions"))?,
            outward: Index::new(room.sessions)?,
            inward: Index::new(room.sessions)?,
            hasher,
            wheel: Wheel::new(room.sessions)?,
            mappings: Mappings::new(room.mappings, hasher)?,
            permissions: Permissions::new(permissions, hasher)?,
            subscribers: Subscribers::new(room.hosts, hasher)?,
            ports,
            channels: Channels::new(channels, hasher)?,
            expectations: Expectations::new(channels * AWAITED as u32, hasher)?,
            reservations: Reservations::new(&settings.pool_room, &settings.pool, hasher)?,
            fragments: Fragments::default(),
        })
    }

    /// Bytes of a file in which the sessions of a worker with so many stand.
    pub const fn kept_bytes(sessions: u32) -> usize {
        sessions as usize * size_of::<Session>()
    }

    /// Whether there is room for any: without, there is no NAT44.
    #[inline(always)]
    pub fn has_room(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether there are other workers.
    pub fn is_part(&self) -> bool {
        self.ports.is_part()
    }

    /// From now on hosts that have none yet get one of these addresses, and these are the circular pool's.
    pub fn offer(&mut self, addresses: &[Ipv4Addr], pool: &[u32]) {
        self.ports.offer(addresses);
        self.reservations.offer(pool);
    }

    /// The hash of a flow.
    #[inline(always)]
    pub const fn hash(&self, flow: Flow) -> u64 {
        self.hasher.flow(flow.addresses.bits(), (flow.protocol as u64) << 32 | flow.ports as u64)
    }

    #[inline(always)]
    const fn index(&self, heading: Heading) -> &Index {
        match heading {
            Heading::Out => &self.outward,
            Heading::In => &self.inward,
        }
    }

    /// Starts to fetch the line that [`Sessions::candidate`] will read.
    #[inline(always)]
    pub fn prefetch_candidate(&self, heading: Heading, hash: u64) {
        self.index(heading).prefetch(hash);
    }

    /// The slot that most likely holds the session, or [`crate::narrow::NONE`] if it is certain that none does.
    #[inline(always)]
    pub fn candidate(&self, heading: Heading, hash: u64) -> u32 {
        self.index(heading).candidate(hash)
    }

    /// Starts to fetch a slot.
    #[inline(always)]
    pub fn prefetch(&self, slot: u32) {
        if let Some(line) = self.lines.get(slot as usize) {
            machine::prefetch_write(line);
        }
    }

    /// A slot, whatever stands there.
    #[inline(always)]
    pub fn get(&self, slot: u32) -> Option<&Session> {
        self.lines.get(slot as usize)
    }

    /// A slot, to count what passes.
    #[inline(always)]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.lines.get_mut(slot as usize)
    }

    /// The session of what comes with this heading.
    pub fn find(&self, heading: Heading, flow: Flow) -> Option<u32> {
        let is = |slot: u32| match (heading, &self.lines[slot as usize]) {
            (Heading::Out, line) => line.near() == flow,
            (Heading::In, line) => line.arriving() == flow,
        };
        self.index(heading).find(self.hash(flow), is)
    }

    /// Whether hosts are seen under this address.
    pub fn is_external(&self, address: u32) -> bool {
        self.ports.pool_of(address).is_some() || self.is_of_pool(address)
    }

    /// Opens a session for what an inside host sends: its own external port, if it has one already for where it sends from.
    pub fn open_out(&mut self, near: Flow, nat: &Nat, now: Nanos) -> Result<u32, DropReason> {
        let now_s = seconds(now);
        let host = near.addresses.source();
        let subscriber = self.subscriber(host)?;
        let line = self.subscribers.get(subscriber);
        // RFC 6888 §3, REQ-4
        let opened = if line.sessions >= nat.host_sessions {
            Err(DropReason::NatHostLimit)
        } else {
            let inside = Inside { host, port: (near.ports >> 16) as u16, protocol: near.protocol };
            self.map(subscriber, inside, nat, now_s)
                .and_then(|outside| self.add(near, outside, Heading::Out, nat, now_s))
        };
        if opened.is_err()
            && let Some(line) = self.subscribers.find(host)
        {
            self.subscribers.let_go(line);
        }
        opened
    }

    /// The inside host behind an external port, and its own port.
    pub fn behind(&self, external: u32, port: u16, protocol: u8) -> Option<(u32, u16)> {
        let outside = Outside { pool: self.ports.pool_of(external)?, port, protocol };
        self.mappings.whose(outside).map(|inside| (inside.host, inside.port))
    }

    /// What would be opened by what comes from outside; `None`: no host takes it from there (RFC 4787 §5).
    pub fn takes(&self, arriving: Flow, nat: &Nat, now: Nanos) -> Option<Opening> {
        let Flow { addresses, ports, protocol } = arriving;
        let pool = self.ports.pool_of(addresses.destination())?;
        let (outside, remote) = (Outside { pool, port: ports as u16, protocol }, addresses.source());
        let awaited = self.awaits(outside, remote, now);
        let is_let = awaited.is_some()
            || match nat.filtering {
                _ if protocol == ipv4::ICMP => false,
                Filtering::AddressAndPortDependent => false,
                Filtering::AddressDependent => self.permissions.has(outside, remote),
                Filtering::EndpointIndependent => true,
            };
        let inside = self.mappings.whose(outside).filter(|_| is_let)?;
        let addresses = Pair::new(inside.host, remote);
        let near = Flow { addresses, ports: u32::from(inside.port) << 16 | ports >> 16, protocol };
        Some(Opening { near, by: By::Mapping(outside, awaited) })
    }

    /// Opens a session for what comes from outside to a host's external port.
    pub fn open_in(&mut self, opening: Opening, nat: &Nat, now: Nanos) -> Result<u32, DropReason> {
        let Opening { near, by } = opening;
        let (outside, awaited) = match by {
            By::Mapping(outside, awaited) => (outside, awaited),
            By::Reservation(place, external) => return self.open_reserved(near, (place, external), nat, now),
        };
        let full = self
            .subscribers
            .find(near.addresses.source())
            .is_none_or(|line| self.subscribers.get(line).sessions >= nat.host_sessions);
        if full {
            return Err(DropReason::NatHostLimit);
        }
        let opened = self.add(near, outside, Heading::In, nat, seconds(now))?;
        if let Some(awaited) = awaited {
            self.lines[opened as usize].announced();
            self.settle(awaited, seconds(now));
        }
        Ok(opened)
    }

    fn subscriber(&mut self, host: u32) -> Result<u32, DropReason> {
        if let Some(line) = self.subscribers.find(host) {
            let at = self.subscribers.get(line);
            // It has nothing there any more that would bind it to an address that is not offered.
            if !self.ports.is_offered(at.pool) {
                let pool = self.ports.pair(self.subscribers.hash(host)).ok_or(DropReason::NatNoAddress)?;
                self.subscribers.get_mut(line).pool = pool;
            }
            return Ok(line);
        }
        let pool = self.ports.pair(self.subscribers.hash(host)).ok_or(DropReason::NatNoAddress)?;
        self.subscribers.add(host, pool).ok_or(DropReason::NatFull)
    }

    /// What a host's port is outside; a new mapping has no session yet.
    fn map(&mut self, subscriber: u32, inside: Inside, nat: &Nat, now_s: u32) -> Result<Outside, DropReason> {
        let line = self.subscribers.get(subscriber);
        let Some(space) = Space::of(inside.protocol) else {
            // By the pair of addresses alone.
            return Ok(Outside { pool: line.pool, port: 0, protocol: inside.protocol });
        };
        if let Some(mapping) = self.mappings.of(inside) {
            return Ok(self.mappings.outside(mapping));
        }
        if line.ports >= nat.host_ports {
            return Err(DropReason::NatHostLimit);
        }
        let wish = Wish { pool: line.pool, space, port: inside.port, range: nat.ports };
        let port = self.ports.take(wish, now_s).ok_or(DropReason::NatPortsFull)?;
        let outside = Outside { pool: line.pool, port, protocol: inside.protocol };
        if self.assign(subscriber, inside, outside, now_s) { Ok(outside) } else { Err(DropReason::NatFull) }
    }

    /// Gives a host's port an external one that was taken for it. Without room, that one rests.
    fn assign(&mut self, subscriber: u32, inside: Inside, outside: Outside, now_s: u32) -> bool {
        let fits = self.mappings.add(inside, outside).is_some();
        if fits {
            self.subscribers.get_mut(subscriber).ports += 1;
        } else {
            self.rest(outside, now_s);
        }
        fits
    }

    /// Adds a session of a mapping. Without room the mapping goes, too, if nobody else uses it.
    fn add(
        &mut self,
        near: Flow,
        outside: Outside,
        heading: Heading,
        nat: &Nat,
        now_s: u32,
    ) -> Result<u32, DropReason> {
        let external = self.ports.address(outside.pool);
        let remote_port = near.ports & 0xffff;
        let far = Flow {
            addresses: Pair::new(external, near.addresses.destination()),
            ports: u32::from(outside.port) << 16 | remote_port,
            protocol: near.protocol,
        };
        let inside = Inside {
            host: near.addresses.source(),
            port: (near.ports >> 16) as u16,
            protocol: near.protocol,
        };
        // Before anything gives way to it, which may be the last session of this mapping.
        self.join(inside);
        let added = self.place(Session::new(near, far, heading, now_s), nat, now_s);
        if added.is_err() {
            self.leave(inside, now_s);
        }
        added
    }

    fn place(&mut self, session: Session, nat: &Nat, now_s: u32) -> Result<u32, DropReason> {
        // Without ports, two hosts cannot speak with the same one outside.
        if self.find(Heading::In, session.arriving()).is_some() {
            return Err(DropReason::NatTaken);
        }
        let due_s = self.wheel.fits(session.due_s(&nat.timeouts));
        let slot = if let Some(slot) = self.wheel.take(due_s) {
            slot
        } else {
            self.give_way(now_s)?;
            self.wheel.take(due_s).ok_or(DropReason::NatFull)?
        };
        self.enter(slot, session, due_s)
    }

    /// Puts a session into a slot that hangs there. Without room in an index, the slot is free again.
    fn enter(&mut self, slot: u32, mut session: Session, due_s: u32) -> Result<u32, DropReason> {
        let (out, inward) = (self.hash(session.near()), self.hash(session.arriving()));
        if !self.outward.insert(out, slot) {
            self.wheel.free(slot, due_s);
            return Err(DropReason::NatFull);
        }
        if !self.inward.insert(inward, slot) {
            self.outward.remove(out, slot);
            self.wheel.free(slot, due_s);
            return Err(DropReason::NatFull);
        }
        if self.permissions.is_kept()
            && let Some(outside) = self.door(&session)
            && !self.permissions.join(outside, session.remote().0)
        {
            self.outward.remove(out, slot);
            self.inward.remove(inward, slot);
            self.wheel.free(slot, due_s);
            return Err(DropReason::NatFull);
        }
        session.hang(due_s);
        self.lines[slot as usize] = session;
        Ok(slot)
    }

    /// The host's port and the external one, if the address is one of ours still.
    fn ends(&self, session: &Session) -> Option<(Inside, Outside)> {
        let (arriving, protocol) = (session.arriving(), session.protocol());
        let (host, port) = session.host();
        let pool = self.ports.pool_of(arriving.addresses.destination())?;
        Some((Inside { host, port, protocol }, Outside { pool, port: arriving.ports as u16, protocol }))
    }

    /// The external port of a session, if its protocol has any.
    fn door(&self, session: &Session) -> Option<Outside> {
        self.ends(session).map(|(_, outside)| outside).filter(|outside| outside.place().is_some())
    }

    /// A session more of a host's port.
    fn join(&mut self, inside: Inside) {
        if let Some(line) = self.subscribers.find(inside.host) {
            self.subscribers.get_mut(line).sessions += 1;
        }
        if let Some(mapping) = self.mappings.of(inside) {
            self.mappings.join(mapping);
        }
    }

    /// A session less of a host's port; with the last one the port is given back.
    fn leave(&mut self, inside: Inside, now_s: u32) {
        let gone = self.mappings.leave(inside);
        if let Some(outside) = gone {
            self.rest(outside, now_s);
        }
        if let Some(line) = self.subscribers.find(inside.host) {
            let subscriber = self.subscribers.get_mut(line);
            subscriber.sessions -= 1;
            subscriber.ports -= u32::from(gone.is_some());
            self.subscribers.let_go(line);
        }
    }

    fn rest(&mut self, outside: Outside, now_s: u32) {
        if let Some(place) = outside.place() {
            self.ports.give_back(place, now_s);
        }
    }

    /// Ends the session that is over soonest among those that give way.
    #[cold]
    fn give_way(&mut self, now_s: u32) -> Result<(), DropReason> {
        let gives = |slot: u32| self.lines[slot as usize].stage().gives_way();
        let victim = self.wheel.coming(GIVING_WAY_S).find(|&(slot, _)| gives(slot));
        let (slot, _) = victim.ok_or(DropReason::NatFull)?;
        self.end(slot, now_s);
        Ok(())
    }

    /// Ends a session.
    pub fn end(&mut self, slot: u32, now_s: u32) {
        let session = self.lines[slot as usize];
        if !session.is_live() {
            return;
        }
        self.outward.remove(self.hash(session.near()), slot);
        self.inward.remove(self.hash(session.arriving()), slot);
        self.wheel.free(slot, session.hangs());
        if self.permissions.is_kept()
            && let Some(outside) = self.door(&session)
        {
            self.permissions.leave(outside, session.remote().0);
        }
        self.lines[slot as usize] = Session::default();
        if session.is_annexed() {
            self.unattend(slot, now_s);
        }
        let (host, port) = session.host();
        if session.is_reserved() {
            self.part(host);
        } else {
            self.leave(Inside { host, port, protocol: session.protocol() }, now_s);
        }
    }

    /// Notes what a packet does to its session.
    pub fn follow(&mut self, slot: u32, heading: Heading, packet: &Packet, nat: &Nat, now: Nanos) {
        let Some(session) = self.lines.get_mut(slot as usize) else { return };
        let changed = session.follow(heading, packet, &nat.timeouts);
        session.count_any(heading, packet.total, seconds(now));
        if changed {
            let hangs = self.wheel.rehang(slot, session.hangs(), session.due_s(&nat.timeouts));
            session.hang(hangs);
        }
    }

    /// Ends sessions whose time is over. Called once a turn, takes a bounded time. Returns how many ended.
    #[inline]
    pub fn expire(&mut self, nat: &Nat, now: Nanos) -> u64 {
        let now_s = seconds(now);
        self.give_up(now_s);
        let mut ended = 0;
        for _ in 0..DUE_MOST {
            let Some((slot, second)) = self.wheel.due(now_s) else { break };
            let session = &mut self.lines[slot as usize];
            let due_s = session.due_s(&nat.timeouts);
            if due_s > now_s {
                let hangs = self.wheel.rehang(slot, second, due_s);
                session.hang(hangs);
            } else {
                self.end(slot, now_s);
                ended += 1;
            }
        }
        ended
    }

    /// Notes the ports of a first fragment, for those that come after it and have none.
    pub fn remember(&mut self, packet: &Packet, now: Nanos) {
        self.fragments.remember(packet, now);
    }

    /// The ports of the first fragment of the packet that this is a later one of.
    pub fn recall(&self, packet: &Packet, now: Nanos) -> Option<u32> {
        self.fragments.recall(packet, now)
    }

    /// The [number](super::fragments::number) of a first fragment that came since this was asked last.
    pub fn take_came(&mut self) -> Option<u32> {
        self.fragments.take_came()
    }

    /// How much there is of everything.
    pub fn usage(&self) -> Usage {
        Usage {
            sessions: self.outward.len() as u64,
            mappings: self.mappings.len() as u64,
            hosts: self.subscribers.len() as u64,
            ports: self.ports.used().map(|(_, used)| u64::from(used)).sum(),
        }
    }

    /// Tells of sessions from a slot on, of a bounded number of slots, and where to go on.
    pub fn read(&self, number: u16, from: u32, events: &mut Events, now: Nanos) {
        let end = (from as usize).saturating_add(READ_SLOTS).min(self.lines.len());
        let slots = self.lines.get(from as usize..end).unwrap_or_default();
        let mut next = from;
        let mut told = 0;
        for session in slots {
            if session.is_live() {
                if told == READ_MOST || !events.offer(Event::Session(number, session.view(seconds(now)))) {
                    break;
                }
                told += 1;
            }
            next += 1;
        }
        let more = (next as usize) < self.lines.len();
        events.push(Event::SessionsRead(number, more.then_some(next)));
    }
}
