//! The sessions of NAT44: flows between inside hosts and the world, found from both sides, and what must agree with them:
//! mappings, external ports, what each host has, and when each is over.
//!
//! A session is one line ([`super::session`]) with two indexes that lead to it. What a first packet decides (address, port,
//! next hops) stands in it; the packets after it pay for none of that.

mod adopt;
mod awaited;
mod blocks;
mod calls;
mod fair;
mod open;
mod reserved;
mod rows;
mod stale;

pub use super::session::LAYOUT;
pub use adopt::Adopted;
pub use awaited::{UNPRIVILEGED, in_tcp};
pub use calls::CallRules;
pub use open::Opening;
pub use reserved::Reserved;

use super::blocks::Blocks;
use super::channels::{AWAITED, Channels};
use super::dialogs::{Dialogs, STREAMS};
use super::expectations::Expectations;
use super::fragments::Fragments;
use super::index::{Hasher, Index};
use super::mappings::{Inside, Mappings, Outside};
use super::permissions::Permissions;
use super::ports::{Ports, Wish};
use super::records::Records;
use super::reservations::Reservations;
use super::session::{Flow, Heading, Session};
use super::subscribers::Subscribers;
use super::wheel::{Hook, Wheel};
use crate::Nanos;
use crate::meter::seconds;
use crate::msg::{Record, Recorded};
use crate::nat::{Filtering, Nat, Space};
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::settings::{SettingsError, WorkerSettings};
use crate::tag::Share;
use crate::wire::Pair;
use machine::Kept;
use machine::table::HugeSlice;

/// The most sessions that one turn looks at to see whether they are over.
const DUE_MOST: usize = 64;
/// How many of them are looked at together: what is known of all is fetched before the first one ends.
const DUE_TOGETHER: usize = 16;

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
    blocks: Blocks,
    channels: Channels,
    dialogs: Dialogs,
    expectations: Expectations,
    reservations: Reservations,
    fragments: Fragments,
    records: Records,
    share: Share,
    /// Those of static mappings.
    configured: u64,
    /// Sessions that gave way to others.
    displaced: u64,
    /// From which slot on it is still to be seen whether what stands there is as it is configured now.
    stale_from: u32,
}

/// What a host's port is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Face {
    address: u32,
    port: u16,
    by: By,
}

/// What makes it that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// It was given to the host: there is a mapping, if the protocol has ports.
    Mapping,
    /// It is configured.
    Configuration,
    /// A client asked for the host's name.
    Reservation,
}

/// Who has a session: the host's line, and the mapping of its port, if that was given one.
#[derive(Clone, Copy, Debug)]
struct Tie {
    subscriber: u32,
    mapping: Option<u32>,
}

/// By what a session is known: the hashes of what its host sends and of what comes to it, of the host's port, and of the host.
#[derive(Clone, Copy, Debug, Default)]
struct Hashes {
    near: u64,
    arriving: u64,
    inside: u64,
    host: u64,
}

/// What there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatUsage {
    /// Sessions.
    pub sessions: u64,
    /// Mappings.
    pub mappings: u64,
    /// Hosts with sessions.
    pub hosts: u64,
    /// Sessions of static mappings.
    pub configured: u64,
    /// External ports in use or at rest.
    pub ports: u64,
    /// Port blocks that hosts have.
    pub blocks: u64,
    /// Sessions that gave way to others, since the start.
    pub displaced: u64,
    /// Hundredths of the sessions that there is room for.
    pub sessions_percent: u64,
    /// Hundredths of the external ports that hosts may have, where the most of them are given.
    pub ports_percent: u64,
}

/// The host's port.
const fn inside_of(session: &Session) -> Inside {
    let (host, port) = session.host();
    Inside { host, port, protocol: session.protocol() }
}

impl Sessions {
    /// A table: with the sessions that stand in what was kept, if that is given, which it then stands in itself.
    pub fn new(
        settings: &WorkerSettings,
        hasher: Hasher,
        share: Share,
        kept: Option<Kept>,
    ) -> Result<Self, SettingsError> {
        let room = &settings.nat_room;
        let seed = settings.hash_seed[0] ^ u64::from(settings.worker).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let worker = (settings.worker, settings.nat.port_bits(), settings.workers);
        let mut ports = Ports::new(room.addresses, room.mappings, seed, worker)?;
        ports.offer(&settings.nat.addresses, settings.nat.ports);
        let mut blocks = Blocks::new(&settings.nat, room.addresses, worker);
        blocks.offer(settings.nat.ports);
        let by_address = settings.nat.filtering == Filtering::AddressDependent;
        let permissions = if by_address { room.sessions } else { 0 };
        let channels = settings.channels.min(room.sessions);
        let (talks, dialogs) = (settings.talks.min(channels), settings.dialogs.min(room.sessions));
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
            blocks,
            channels: Channels::new(channels, talks, hasher)?,
            dialogs: Dialogs::new(dialogs, hasher)?,
            // And of each channel a registration.
            expectations: Expectations::new(
                channels * (AWAITED as u32 + 1) + dialogs * 2 * STREAMS as u32,
                hasher,
            )?,
            reservations: Reservations::new(&settings.pool_room, &settings.pool, hasher)?,
            fragments: Fragments::default(),
            records: Records::new(settings.recording),
            share,
            configured: 0,
            displaced: 0,
            stale_from: room.sessions,
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

    /// What is this worker's.
    pub const fn share(&self) -> &Share {
        &self.share
    }

    /// From now on hosts that have none yet get one of these addresses, and these are the circular pool's.
    pub fn offer(&mut self, nat: &Nat, pool: &[u32]) {
        self.ports.offer(&nat.addresses, nat.ports);
        self.blocks.offer(nat.ports);
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

    /// Starts to fetch a slot; whether it is one.
    #[inline(always)]
    pub fn prefetch(&self, slot: u32) -> bool {
        let line = self.lines.get(slot as usize);
        if let Some(line) = line {
            machine::prefetch_write(line);
        }
        line.is_some()
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
        self.find_by(heading, self.hash(flow), flow)
    }

    /// The same by its hash.
    #[inline]
    fn find_by(&self, heading: Heading, hash: u64, flow: Flow) -> Option<u32> {
        let is = |slot: u32| match (heading, &self.lines[slot as usize]) {
            (Heading::Out, line) => line.near() == flow,
            (Heading::In, line) => line.arriving() == flow,
        };
        self.index(heading).find(hash, is)
    }

    /// Whether hosts are seen under this address.
    pub fn is_external(&self, address: u32, nat: &Nat) -> bool {
        self.ports.pool_of(address).is_some() || self.is_of_pool(address) || nat.statics.is_external(address)
    }

    /// Adds a session of a mapping. Without room the mapping goes, too, if nobody else uses it.
    fn add(
        &mut self,
        near: Flow,
        (face, tie): (Face, Tie),
        heading: Heading,
        nat: &Nat,
        now_s: u32,
    ) -> Result<u32, DropReason> {
        let far = Flow {
            addresses: Pair::new(face.address, near.addresses.destination()),
            ports: u32::from(face.port) << 16 | near.ports & 0xffff,
            protocol: near.protocol,
        };
        let session = Session::new(near, far, heading, now_s);
        let session = match face.by {
            By::Mapping => session,
            By::Configuration => session.configured(),
            By::Reservation => session.reserved(),
        };
        // Before anything gives way to it, which may be the last session of this mapping.
        self.join(&session, tie);
        let added = self.place(session, nat, now_s);
        if added.is_err() {
            self.leave(&session, now_s);
        }
        added
    }

    fn place(&mut self, session: Session, nat: &Nat, now_s: u32) -> Result<u32, DropReason> {
        let hashes = (self.hash(session.near()), self.hash(session.arriving()));
        // Without ports, two hosts cannot speak with the same one outside.
        if self.find_by(Heading::In, hashes.1, session.arriving()).is_some() {
            return Err(DropReason::NatTaken);
        }
        let (due_s, gives_way) = (session.due_s(&nat.timeouts), session.gives_way());
        let taken = match self.wheel.take(due_s, gives_way) {
            Some(taken) => taken,
            None if self.give_way(now_s) => self.wheel.take(due_s, gives_way).ok_or(DropReason::NatFull)?,
            None => return Err(DropReason::NatFull),
        };
        let entered = self.enter(taken, session, hashes)?;
        // The next one's, which comes soon where they come often.
        self.prefetch(self.wheel.next());
        self.record(Recorded::Created, &session);
        Ok(entered)
    }

    /// Puts a session into a slot that hangs there. Without room in an index, the slot is free again.
    fn enter(
        &mut self,
        (slot, hook): (u32, Hook),
        mut session: Session,
        (out, inward): (u64, u64),
    ) -> Result<u32, DropReason> {
        if !self.outward.insert(out, slot) {
            self.wheel.free(slot, hook);
            return Err(DropReason::NatFull);
        }
        if !self.inward.insert(inward, slot) {
            self.outward.remove(out, slot);
            self.wheel.free(slot, hook);
            return Err(DropReason::NatFull);
        }
        if self.permissions.is_kept()
            && let Some(outside) = self.door(&session)
            && !self.permissions.join(outside, session.remote().0)
        {
            self.outward.remove(out, slot);
            self.inward.remove(inward, slot);
            self.wheel.free(slot, hook);
            return Err(DropReason::NatFull);
        }
        session.hang(hook);
        self.lines[slot as usize] = session;
        Ok(slot)
    }

    /// The host's port and the external one, if the address is one of ours still.
    fn ends(&self, session: &Session) -> Option<(Inside, Outside)> {
        let (arriving, protocol) = (session.arriving(), session.protocol());
        let pool = self.ports.pool_of(arriving.addresses.destination())?;
        Some((inside_of(session), Outside { pool, port: arriving.ports as u16, protocol }))
    }

    /// The external port that a session was given, if its protocol has any.
    fn door(&self, session: &Session) -> Option<Outside> {
        let ends = session.is_given().then(|| self.ends(session)).flatten();
        ends.map(|(_, outside)| outside).filter(|outside| outside.place().is_some())
    }

    /// A session more of a host's port.
    fn join(&mut self, session: &Session, Tie { subscriber, mapping }: Tie) {
        self.configured += u64::from(session.is_configured());
        self.subscribers.get_mut(subscriber).sessions += 1;
        if let Some(mapping) = mapping {
            self.mappings.join(mapping);
        }
    }

    /// Something more that needs a host's port, and what that was given outside.
    fn join_port(&mut self, inside: Inside, is_given: bool) {
        if let Some(line) = self.subscribers.find(inside.host) {
            self.subscribers.get_mut(line).sessions += 1;
        }
        if let Some(mapping) = is_given.then(|| self.mappings.of(inside)).flatten() {
            self.mappings.join(mapping);
        }
    }

    /// A session less of a host's port; with the last one the port is given back.
    fn leave(&mut self, session: &Session, now_s: u32) {
        self.configured -= u64::from(session.is_configured());
        self.leave_port(inside_of(session), session.is_given(), now_s);
    }

    fn leave_port(&mut self, inside: Inside, is_given: bool, now_s: u32) {
        let hashes = (self.mappings.hash_of(inside), self.subscribers.hash(inside.host));
        self.leave_port_by(inside, is_given, hashes, now_s);
    }

    /// The same by the hashes of port and host.
    fn leave_port_by(&mut self, inside: Inside, is_given: bool, (port, host): (u64, u64), now_s: u32) {
        let gone = if is_given { self.mappings.leave(inside, port) } else { None };
        if let Some(outside) = gone {
            let external = (self.ports.address(outside.pool), outside.port);
            self.records.mapping(Recorded::Ended, inside.protocol, (inside.host, inside.port), external);
            self.rest(outside, now_s);
        }
        if let Some(line) = self.subscribers.find_by(host, inside.host) {
            let subscriber = self.subscribers.get_mut(line);
            subscriber.sessions -= 1;
            subscriber.ports -= u32::from(gone.is_some());
            self.subscribers.let_go(line);
        }
    }

    fn rest(&mut self, outside: Outside, now_s: u32) {
        if let Some(place) = outside.place() {
            self.ports.give_back(place, now_s);
            self.leave_block(place, now_s);
        }
    }

    /// Records that a session begins or ends, where that is asked for.
    fn record(&mut self, what: Recorded, session: &Session) {
        let has_mapping = session.is_given() && Space::of(session.protocol()).is_some();
        self.records.session(what, session, has_mapping);
    }

    /// A host was refused a session.
    pub fn record_refused(&mut self, why: DropReason, protocol: u8, host: u32, now_s: u32) {
        let pool = self.subscribers.find(host).map(|line| self.subscribers.get(line).pool);
        let external = pool.map_or(0, |pool| self.ports.address(pool));
        self.records.refused(why, protocol, host, external, now_s);
    }

    /// Whether there are records for the control thread.
    #[inline(always)]
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// The next record for the control thread, if any. It leaves with [`Sessions::pop_record`].
    #[inline]
    pub fn peek_record(&self) -> Option<&Record> {
        self.records.peek()
    }

    /// Removes the record that [`Sessions::peek_record`] showed.
    pub fn pop_record(&mut self) {
        self.records.pop();
    }

    /// Records for which there was no room.
    pub fn records_lost(&self) -> u64 {
        self.records.lost()
    }

    /// Ends a session.
    pub fn end(&mut self, slot: u32, now_s: u32) {
        let session = self.lines[slot as usize];
        if session.is_live() {
            self.end_by(slot, self.hashes(&session), now_s);
        }
    }

    fn hashes(&self, session: &Session) -> Hashes {
        Hashes {
            near: self.hash(session.near()),
            arriving: self.hash(session.arriving()),
            inside: self.mappings.hash_of(inside_of(session)),
            host: self.subscribers.hash(session.host().0),
        }
    }

    /// Ends a session that is known by these hashes.
    fn end_by(&mut self, slot: u32, hashes: Hashes, now_s: u32) {
        let session = self.lines[slot as usize];
        self.outward.remove(hashes.near, slot);
        self.inward.remove(hashes.arriving, slot);
        self.wheel.free(slot, session.hangs());
        if self.permissions.is_kept()
            && let Some(outside) = self.door(&session)
        {
            self.permissions.leave(outside, session.remote().0);
        }
        self.lines[slot as usize] = Session::default();
        self.record(Recorded::Ended, &session);
        if session.is_annexed() {
            self.unattend(slot, session.host().0, now_s);
        }
        self.configured -= u64::from(session.is_configured());
        let known = (hashes.inside, hashes.host);
        self.leave_port_by(inside_of(&session), session.is_given(), known, now_s);
    }

    /// Notes what a packet does to its session.
    pub fn follow(&mut self, slot: u32, heading: Heading, packet: &Packet, nat: &Nat, now: Nanos) {
        let Some(session) = self.lines.get_mut(slot as usize) else { return };
        let changed = session.follow(heading, packet, &nat.timeouts);
        session.count_any(heading, packet.total, seconds(now));
        if changed {
            let (due_s, gives_way) = (session.due_s(&nat.timeouts), session.gives_way());
            session.hang(self.wheel.rehang(slot, session.hangs(), due_s, gives_way));
        }
    }

    /// Ends sessions whose time is over. Called once a turn, takes a bounded time. Returns how many ended.
    #[inline]
    pub fn expire(&mut self, nat: &Nat, now: Nanos) -> u64 {
        let now_s = seconds(now);
        self.give_up(now_s);
        let (mut ended, mut seen) = (0, 0);
        let mut room = [0; DUE_TOGETHER];
        while seen < DUE_MOST
            && let Some((slots, hook)) = self.wheel.due_together(now_s, &mut room)
        {
            seen += slots.len();
            ended += self.expire_together(slots, hook, nat, now_s);
        }
        ended
    }

    /// Ends those of these slots, which hang there, whose time is over, and hangs the others up elsewhere.
    fn expire_together(&mut self, slots: &[u32], hook: Hook, nat: &Nat, now_s: u32) -> u64 {
        for &slot in slots {
            self.prefetch(slot);
        }
        let mut known = [Hashes::default(); DUE_TOGETHER];
        for (hashes, &slot) in known.iter_mut().zip(slots) {
            *hashes = self.foresee_end(slot);
        }
        for (hashes, _) in known.iter().zip(slots) {
            self.mappings.prefetch_line(hashes.inside);
            self.subscribers.prefetch_line(hashes.host);
        }
        let mut ended = 0;
        for (&hashes, &slot) in known.iter().zip(slots) {
            let session = &mut self.lines[slot as usize];
            let due_s = session.due_s(&nat.timeouts);
            if due_s > now_s {
                session.hang(self.wheel.rehang(slot, hook, due_s, session.gives_way()));
            } else {
                self.end_by(slot, hashes, now_s);
                ended += 1;
            }
        }
        ended
    }

    /// Starts to fetch what leads to a session.
    fn foresee_end(&self, slot: u32) -> Hashes {
        let session = &self.lines[slot as usize];
        let hashes = self.hashes(session);
        self.outward.prefetch_write(hashes.near);
        self.inward.prefetch_write(hashes.arriving);
        self.mappings.prefetch(inside_of(session));
        self.subscribers.prefetch(hashes.host);
        if let Some(outside) = self.door(session) {
            self.mappings.prefetch_outside(outside);
        }
        hashes
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
    pub fn usage(&self) -> NatUsage {
        let sessions = self.outward.len();
        let ports_percent =
            if self.blocks.are_on() { self.blocks.fullest_percent() } else { self.ports.fullest_percent() };
        NatUsage {
            blocks: self.blocks.given().into(),
            displaced: self.displaced,
            sessions_percent: (sessions * 100 / self.lines.len().max(1)) as u64,
            ports_percent: ports_percent.into(),
            sessions: sessions as u64,
            mappings: self.mappings.len() as u64,
            hosts: self.subscribers.len() as u64,
            configured: self.configured,
            ports: self.ports.used().map(|(_, used)| u64::from(used)).sum(),
        }
    }
}
