//! Control channels and the data connections that they announce.
//!
//! What is awaited keeps the external port of its host's port, as a session does, until it comes, is over, gives way to later
//! announcements of the same channel, or the channel ends.

use super::{By, Face, Flow, Inside, Session, Sessions};
use crate::Nanos;
use crate::alg::Alg;
use crate::alg::scope::AlgMode;
use crate::alg::talk::Language;
use crate::meter::seconds;
use crate::narrow::NONE;
use crate::nat::{Nat, Space};
use crate::reason::DropReason;
use crate::table::channels::{AWAITED, Channel, Spoken, Talk};
use crate::table::expectations::{Door, Expectation, Owner};
use crate::table::session::Heading;
use crate::wire::ftp::Speaker;
use crate::wire::ipv4;

/// Ports below are nobody's for data: what listens there is no host's data connection (RFC 2577 §3).
pub const UNPRIVILEGED: u16 = 1024;
/// Ports that are tried where the host's own is somebody else's.
const BESIDE: u16 = 64;

/// What is spoken in a session that is a control channel, who its inside host is there, and what is done about it; `None`: it is
/// none, or left alone.
fn channel_of(session: &Session, alg: &Alg) -> Option<(Spoken, Speaker, AlgMode)> {
    let (host, near_port) = session.host();
    let (speaker, port) = match session.opened() {
        Heading::Out => (Speaker::Client, session.remote().1),
        Heading::In => (Speaker::Server, near_port),
    };
    let candidates = match session.protocol() {
        ipv4::TCP => in_tcp(alg, host, port),
        ipv4::UDP => {
            [(Spoken::Datagrams, alg.sip.mode(host, &[near_port, session.remote().1])), NOTHING, NOTHING]
        }
        _ => [NOTHING; 3],
    };
    let found = candidates.into_iter().find(|(_, mode)| *mode != AlgMode::Off);
    found.map(|(spoken, mode)| (spoken, speaker, mode))
}

/// What may be spoken in a host's connections with servers at this port, and what is done about it.
pub fn in_tcp(alg: &Alg, host: u32, port: u16) -> [(Spoken, AlgMode); 3] {
    [
        (Spoken::Lines, alg.ftp.mode(host, port)),
        (Spoken::Talk(Language::Rtsp), alg.rtsp.mode(host, port)),
        (Spoken::Talk(Language::Sip), alg.sip.mode(host, &[port])),
    ]
}

/// No channel.
const NOTHING: (Spoken, AlgMode) = (Spoken::Lines, AlgMode::Off);

impl Sessions {
    /// Attends to the session in this slot if it is a control channel, from the next bytes of its inside host on. Whether there
    /// was room; `None`: it is none, or left alone.
    pub fn attend(&mut self, slot: u32, alg: &Alg) -> Option<bool> {
        let session = self.lines.get_mut(slot as usize)?;
        let (spoken, speaker, mode) = channel_of(session, alg)?;
        let is_added = self.channels.add(slot, spoken, speaker, mode == AlgMode::DryRun);
        session.set_annexed(is_added);
        Some(is_added)
    }

    /// The control channel that this session is.
    pub fn channel(&mut self, slot: u32) -> Option<&mut Channel> {
        let is_annexed = self.lines.get(slot as usize)?.is_annexed();
        if is_annexed { self.channels.get_mut(slot) } else { None }
    }

    /// What its inside host said was read: the channel is this one now, but for what it awaits.
    pub fn heard(&mut self, slot: u32, read: &Channel) {
        if let Some(channel) = self.channels.get_mut(slot) {
            let kept = (channel.awaited, channel.turn);
            *channel = *read;
            (channel.awaited, channel.turn) = kept;
        }
        if let Some(session) = self.lines.get_mut(slot as usize) {
            // A process that comes after this one does not know by how much.
            session.set_moved(read.shift.is_some_and(|shift| shift.has_moved()));
        }
    }

    /// What is said in the session in this slot, both ways, if that is a stream of messages that is read.
    pub fn talk(&mut self, slot: u32) -> Option<&mut Talk> {
        self.channels.talk(slot)
    }

    /// What is said in that session was read, or written anew.
    pub fn talked(&mut self, slot: u32) {
        let has_moved = self.channels.talk(slot).is_some_and(|talk| talk.has_moved());
        if let Some(session) = self.lines.get_mut(slot as usize) {
            session.set_moved(has_moved);
        }
    }

    /// Control channels, and what they await.
    pub fn attended(&self) -> (u64, u64) {
        (self.channels.len() as u64, self.expectations.len() as u64)
    }

    /// Awaits the other end of a control channel at this port of its inside host: the address and port under which the other end
    /// reaches it, which are of the channel's own external address. What was announced before is only awaited longer.
    pub fn await_at(
        &mut self,
        slot: u32,
        (port, protocol): (u16, u8),
        await_s: u16,
        nat: &Nat,
        now: Nanos,
    ) -> Result<(u32, u16), DropReason> {
        let now_s = seconds(now);
        let session = *self.lines.get(slot as usize).ok_or(DropReason::NatNoSession)?;
        let (host, remote) = (session.host().0, session.remote().0);
        let inside = Inside { host, port, protocol };
        let (door, is_given) = self.door_for(&session, inside, nat, now_s)?;
        let until_s = now_s.saturating_add(await_s.into());
        let (owner, known) = (Owner::Channel, self.expectations.find(door, remote));
        let line = self.expect((owner, slot), inside, (door, is_given), remote, (until_s, now_s));
        let line = line.ok_or(DropReason::NatFull)?;
        if known != Some(line) {
            self.keep(slot, line, now_s).ok_or(DropReason::NatFull)?;
        }
        Ok((door.address, door.port))
    }

    /// Awaits a host at a door, for its owner, in whose name it is noted; `None`, with nothing changed, if there is no room.
    /// What the same owner awaits there already is only awaited longer, and what another did is his no more.
    pub(super) fn expect(
        &mut self,
        (owner, slot): (Owner, u32),
        inside: Inside,
        (door, is_given): (Door, bool),
        remote: u32,
        (until_s, now_s): (u32, u32),
    ) -> Option<u32> {
        if let Some(line) = self.expectations.find(door, remote) {
            let known = self.expectations.get(line);
            // A registration stands for whoever speaks with the same other end there.
            if known.inside == inside
                && (known.owner == Owner::Nobody || known.owner == owner && known.slot == slot)
            {
                self.expectations.prolong(line, until_s.max(known.until_s));
                return Some(line);
            }
        }
        // Before what stood there gives the port back.
        self.join_port(inside, is_given);
        if let Some(line) = self.expectations.find(door, remote) {
            self.settle(line, now_s);
        }
        let added =
            self.expectations.add(Expectation { slot, owner, inside, door, is_given, remote, until_s });
        if added.is_none() {
            self.leave_port(inside, is_given, now_s);
        }
        added
    }

    /// Where a port of the host of this session would be outside, as far as that can be said of one that nothing is done about.
    pub fn expected_at(session: &Session, (port, protocol): (u16, u8), nat: &Nat) -> (u32, u16) {
        let (host, external) = (session.host().0, session.arriving().addresses.destination());
        let configured = nat.statics.outside(host, port, protocol);
        configured.filter(|_| external != host).unwrap_or((external, port))
    }

    /// Where a port of the host of this session is outside, if that is so already.
    pub fn outside(&self, session: &Session, port: u16, nat: &Nat) -> Option<(u32, u16)> {
        let inside = Inside { host: session.host().0, port, protocol: session.protocol() };
        nat.statics.outside(inside.host, port, inside.protocol).or_else(|| {
            let outside = self.mappings.outside(self.mappings.of(inside)?);
            Some((self.ports.address(outside.pool), outside.port))
        })
    }

    /// Where a port of the host of this session is outside, and whether that is given to it, by a mapping.
    pub(super) fn door_for(
        &mut self,
        session: &Session,
        inside: Inside,
        nat: &Nat,
        now_s: u32,
    ) -> Result<(Door, bool), DropReason> {
        let Inside { host, port, protocol } = inside;
        let external = session.arriving().addresses.destination();
        let at = |address, port| Door { address, port, protocol };
        if external == host {
            return Ok((at(host, port), false));
        }
        if let Some((address, port)) = nat.statics.outside(host, port, protocol) {
            return Ok((at(address, port), false));
        }
        let subscriber = self.subscribers.find(host).ok_or(DropReason::NatNoSession)?;
        let pool = self.ports.pool_of(external);
        if pool.is_none() && self.is_external(external, nat) {
            let port = self.free_beside(at(external, port), inside, session.remote().0, nat);
            return port.map(|port| (at(external, port), false)).ok_or(DropReason::NatPortsFull);
        }
        let pool = pool.map_or_else(|| self.pool(subscriber, nat), Ok)?;
        let space = Space::of(protocol).ok_or(DropReason::NatNoSession)?;
        let (outside, _) = self.map(subscriber, (pool, space), inside, nat, now_s)?;
        Ok((at(self.ports.address(outside.pool), outside.port), true))
    }

    /// A port of an address of which hosts are given none, the circular pool's or a server's, where only what is awaited comes
    /// in: the host's own, or one of as many others.
    fn free_beside(&self, door: Door, inside: Inside, remote: u32, nat: &Nat) -> Option<u16> {
        let taken = nat.statics.taken(door.address, Space::of(door.protocol)?);
        let is_free = |port: &u16| {
            let awaited = self.expectations.find(Door { port: *port, ..door }, remote);
            let is_our_workers = self.is_of_pool(door.address) || self.share.port_elsewhere(*port).is_none();
            (*port == door.port || *port >= UNPRIVILEGED)
                && is_our_workers
                && !taken.has(*port)
                && awaited.is_none_or(|line| self.expectations.get(line).inside == inside)
        };
        // From block to block of ports, of which each worker has some.
        (0..BESIDE).map(|nth| door.port.wrapping_add(nth * 67)).find(is_free)
    }

    /// The host's port for which something is awaited in this place, if no mapping leads to it.
    pub(super) fn awaited_beside(&self, line: u32) -> Option<Inside> {
        let expectation = self.expectations.get(line);
        (!expectation.is_given).then_some(expectation.inside)
    }

    /// The other end of a control channel awaits a connection, or media, of the channel's inside host at this port of its own
    /// (RFC 959 §3.3): it comes from the address that it knows.
    pub fn meet_at(&mut self, slot: u32, (port, protocol): (u16, u8), await_s: u16, nat: &Nat, now: Nanos) {
        let Some(session) = self.lines.get(slot as usize).copied() else { return };
        let external = session.arriving().addresses.destination();
        // Elsewhere it comes from there anyhow, or has only this one.
        let is_alone = nat.statics.whole(external).is_some() || !self.is_external(external, nat);
        if is_alone || self.ports.pool_of(external).is_some() {
            return;
        }
        let (now_s, (host, _), (remote, _)) = (seconds(now), session.host(), session.remote());
        let door = Door { address: remote, port, protocol };
        let until_s = now_s.saturating_add(await_s.into());
        let inside = Inside { host, port: session.host().1, protocol };
        let (owner, known) = (Owner::Channel, self.expectations.find(door, host));
        let line = self.expect((owner, slot), inside, (door, false), host, (until_s, now_s));
        if let Some(line) = line.filter(|line| known != Some(*line)) {
            self.keep(slot, line, now_s);
        }
    }

    /// What a host's port is outside to who awaits it by a control channel, and the place where that is said.
    pub(super) fn face_of_channel(&self, near: Flow, nat: &Nat, now: Nanos) -> Option<(Face, u32)> {
        let Flow { addresses, ports, protocol } = near;
        let door = Door { address: addresses.destination(), port: ports as u16, protocol };
        let line = self.awaits(door, addresses.source(), now)?;
        let channel = self.lines.get(self.expectations.get(line).slot as usize)?;
        let address = channel.arriving().addresses.destination();
        let port = (ports >> 16) as u16;
        if nat.statics.outside(addresses.source(), port, protocol).is_some() {
            return None;
        }
        let inside = Inside { host: addresses.source(), port, protocol };
        let port =
            self.free_beside(Door { address, port, protocol }, inside, addresses.destination(), nat)?;
        Some((Face { address, port, by: By::Reservation }, line))
    }

    /// What is awaited there from that host, and still is.
    pub(super) fn awaits(&self, door: Door, remote: u32, now: Nanos) -> Option<u32> {
        let found = self.expectations.find(door, remote);
        found.filter(|&line| self.expectations.get(line).until_s >= seconds(now))
    }

    /// Forgets what has not come in time, one at a time: until then it keeps a port, but nobody comes in by it.
    #[inline]
    pub(super) fn give_up(&mut self, now_s: u32) {
        if let Some(line) = self.expectations.over(now_s) {
            self.settle(line, now_s);
        }
        if let Some(line) = self.dialogs.over(now_s) {
            self.forget_call(line, now_s);
        }
    }

    /// Notes an expectation with its channel, where one before it may give way to it. Without a channel it is forgotten.
    fn keep(&mut self, slot: u32, line: u32, now_s: u32) -> Option<()> {
        let Some(channel) = self.channels.get_mut(slot) else {
            self.forget(line, now_s);
            return None;
        };
        let place = usize::from(channel.turn) % AWAITED;
        channel.turn = channel.turn.wrapping_add(1);
        let before = std::mem::replace(&mut channel.awaited[place], line);
        self.forget(before, now_s);
        Some(())
    }

    /// Forgets what is awaited in this place, if anything is.
    pub(super) fn forget(&mut self, line: u32, now_s: u32) {
        if line != NONE {
            let Expectation { inside, is_given, .. } = self.expectations.remove(line);
            self.leave_port(inside, is_given, now_s);
        }
    }

    /// What is awaited in this place has come: once, but for a registration.
    pub(super) fn has_come(&mut self, line: u32, now_s: u32) {
        if self.expectations.get(line).owner != Owner::Nobody {
            self.settle(line, now_s);
        }
    }

    /// What is awaited in this place is over.
    pub(super) fn settle(&mut self, line: u32, now_s: u32) {
        let Expectation { slot, owner, .. } = self.expectations.get(line);
        match owner {
            Owner::Channel => {
                let awaited = self.channels.get_mut(slot).map(|channel| channel.awaited.iter_mut());
                awaited.into_iter().flatten().filter(|place| **place == line).for_each(|place| *place = NONE);
            }
            Owner::Dialog(dialog) => {
                let awaited = self.dialogs.get_mut(dialog).awaited.as_flattened_mut().iter_mut();
                awaited.filter(|place| **place == line).for_each(|place| *place = NONE);
            }
            Owner::Nobody => {}
        }
        self.forget(line, now_s);
    }

    /// The control channel in this slot, of this host, has ended, and with it what was awaited in its name.
    pub(super) fn unattend(&mut self, slot: u32, host: u32, now_s: u32) {
        if let Some(line) = self.dialogs.find(self.streams_key(slot, host)) {
            self.forget_call(line, now_s);
        }
        let awaited = self.channels.remove(slot).map_or([NONE; AWAITED], |channel| channel.awaited);
        for line in awaited {
            self.forget(line, now_s);
        }
    }
}
