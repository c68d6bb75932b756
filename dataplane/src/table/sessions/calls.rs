//! Calls and sessions of streams, and the media that they announce: each stream keeps a pair of external ports from when it
//! is announced, and the other side is let in there. What has come is an ordinary session; with its call it ends.

use super::blocks::Take;
use super::{Flow, Inside, Outside, Session, Sessions};
use crate::Nanos;
use crate::alg::media::{MediaFrom, MediaRules, MediaStream};
use crate::meter::seconds;
use crate::narrow::NONE;
use crate::nat::{Nat, Space};
use crate::reason::DropReason;
use crate::table::dialogs::STREAMS;
use crate::table::expectations::{Door, Owner};
use crate::table::ports::{Place, Ports, Wish};
use crate::table::session::Heading;
use crate::wire::{Pair, ipv4};

/// What is configured that calls depend on.
pub type CallRules<'s> = (MediaRules, &'s Nat);

impl Sessions {
    /// The call of this name, of the host of the session in this slot; a new one where it begins, if there is room.
    pub fn call(
        &mut self,
        slot: u32,
        name: &[u8],
        begins: bool,
        rules: MediaRules,
        now: Nanos,
    ) -> Option<u32> {
        let host = self.lines.get(slot as usize)?.host().0;
        let key = self.dialogs.key(host, name);
        self.known_call((slot, host), (key, false), begins, rules, now)
    }

    /// The streams of the session of RTSP in this slot; new ones where they begin, if there is room.
    pub fn streams(&mut self, slot: u32, begins: bool, rules: MediaRules, now: Nanos) -> Option<u32> {
        let host = self.lines.get(slot as usize)?.host().0;
        self.known_call((slot, host), (self.streams_key(slot, host), true), begins, rules, now)
    }

    /// What stands for the streams of a session: no call's name, since there is no line end in one.
    pub(super) fn streams_key(&self, slot: u32, host: u32) -> u64 {
        let [a, b, c, d] = slot.to_be_bytes();
        self.dialogs.key(host, &[b'\n', a, b, c, d])
    }

    /// What stands for a text of a host.
    pub fn key(&self, host: u32, text: &[u8]) -> u64 {
        self.dialogs.key(host, text)
    }

    fn known_call(
        &mut self,
        (slot, host): (u32, u32),
        (key, is_streams): (u64, bool),
        begins: bool,
        rules: MediaRules,
        now: Nanos,
    ) -> Option<u32> {
        let known = self.dialogs.find(key);
        let line = match known {
            Some(line) => line,
            None if begins => self.begin_call((key, is_streams), slot, host, rules)?,
            None => return None,
        };
        let dialog = self.dialogs.get_mut(line);
        (dialog.slot, dialog.until_s) = (slot, seconds(now).saturating_add(rules.dialog_s.into()));
        Some(line)
    }

    fn begin_call(
        &mut self,
        (key, is_streams): (u64, bool),
        slot: u32,
        host: u32,
        rules: MediaRules,
    ) -> Option<u32> {
        let subscriber = self.subscribers.find(host)?;
        if self.subscribers.get(subscriber).calls >= rules.host_calls {
            return None;
        }
        let line = self.dialogs.add(key, slot, host, is_streams)?;
        self.subscribers.get_mut(subscriber).calls += 1;
        Some(line)
    }

    /// Somebody has answered the call in this place, or before, which is returned.
    pub fn call_answered(&mut self, line: u32, now: bool) -> bool {
        let dialog = self.dialogs.get_mut(line);
        let before = dialog.is_answered;
        dialog.is_answered |= now;
        before
    }

    /// Calls, and sessions of streams.
    pub fn calls(&self) -> (u64, u64) {
        self.dialogs.counts()
    }

    /// The host of a call awaits a stream, its `nth`: where that is outside.
    pub fn await_stream(
        &mut self,
        line: u32,
        (nth, stream): (usize, MediaStream),
        rules: CallRules<'_>,
        now: Nanos,
    ) -> Result<MediaStream, DropReason> {
        let told = self.await_ports(line, (nth, stream), rules, now);
        if told.is_err() {
            // A port that was given, and that nothing needs.
            let host = self.dialogs.get(line).host;
            for port in [Some(stream.port), stream.rtcp].into_iter().flatten() {
                let inside = Inside { host, port, protocol: ipv4::UDP };
                self.join_port(inside, true);
                self.leave_port(inside, true, seconds(now));
            }
        }
        told
    }

    fn await_ports(
        &mut self,
        line: u32,
        (nth, stream): (usize, MediaStream),
        (media, nat): CallRules<'_>,
        now: Nanos,
    ) -> Result<MediaStream, DropReason> {
        let now_s = seconds(now);
        let dialog = self.dialogs.get(line);
        let session = *self.lines.get(dialog.slot as usize).ok_or(DropReason::NatNoSession)?;
        if nth >= STREAMS || session.host().0 != dialog.host {
            return Err(DropReason::NatFull);
        }
        let far = dialog.far[nth];
        // RFC 5761 §5.1.1: where both sides say so.
        let is_muxed = stream.is_muxed && far.1.is_muxed;
        let awaited = MediaStream { rtcp: stream.rtcp.filter(|_| !is_muxed), ..stream };
        self.map_pair(&session, awaited, nat, now_s);
        // A neighbour comes from an address of ours, which nobody in the world has.
        let is_neighbour = far.0 != 0 && self.is_external(far.0, nat);
        let remote = match media.media_from {
            _ if is_neighbour => far.0,
            MediaFrom::Announced if far.0 != 0 => far.0,
            _ => session.remote().0,
        };
        let until_s = now_s.saturating_add(media.await_s.into());
        let mut told = [None; 2];
        for (place, port) in [Some(awaited.port), awaited.rtcp].into_iter().enumerate() {
            let before = self.dialogs.get(line).awaited[nth][place];
            let mut after = NONE;
            if let Some(port) = port {
                let inside = Inside { host: dialog.host, port, protocol: ipv4::UDP };
                let (door, is_given) = self.door_for(&session, inside, nat, now_s)?;
                let owner = Owner::Dialog(line);
                let expected =
                    self.expect((owner, dialog.slot), inside, (door, is_given), remote, (until_s, now_s));
                after = expected.ok_or(DropReason::NatFull)?;
                told[place] = Some(door.port);
            }
            self.dialogs.get_mut(line).awaited[nth][place] = after;
            if before != after {
                self.forget(before, now_s);
            }
        }
        self.dialogs.get_mut(line).near[nth] = stream;
        Ok(MediaStream { port: told[0].ok_or(DropReason::NatFull)?, rtcp: told[1], ..stream })
    }

    /// The other side of a call awaits a stream, its `nth`, at this address: from there what the host awaits may come.
    pub fn hear_stream(
        &mut self,
        line: u32,
        nth: usize,
        far: (u32, MediaStream),
        rules: CallRules<'_>,
        now: Nanos,
    ) {
        let dialog = self.dialogs.get_mut(line);
        let Some(before) = dialog.far.get_mut(nth) else { return };
        let differs = std::mem::replace(before, far) != far;
        let near = dialog.near[nth];
        if differs && near.port != 0 && far.1.port != 0 {
            // What was announced stands: it is only awaited from elsewhere.
            let _ = self.await_stream(line, (nth, near), rules, now);
        }
    }

    /// A call of which nobody speaks is forgotten, and what it awaits; its media goes on.
    pub(super) fn forget_call(&mut self, line: u32, now_s: u32) {
        let dialog = self.dialogs.get(line);
        if let Some(subscriber) = self.subscribers.find(dialog.host) {
            let calls = &mut self.subscribers.get_mut(subscriber).calls;
            *calls = calls.saturating_sub(1);
        }
        for place in dialog.awaited.into_iter().flatten() {
            self.forget(place, now_s);
        }
        self.dialogs.remove(line);
    }

    /// A call is over, and with it its media.
    pub fn end_call(&mut self, line: u32, now_s: u32) {
        let dialog = self.dialogs.get(line);
        self.forget_call(line, now_s);
        for (near, far) in dialog.near.into_iter().zip(dialog.far) {
            self.end_media(dialog.host, near, far, now_s);
        }
    }

    /// A stream of a session is over, its `nth`; with the last one, all that is known of it.
    pub fn end_stream(&mut self, line: u32, nth: usize, now_s: u32) {
        let dialog = self.dialogs.get_mut(line);
        if nth >= STREAMS {
            return;
        }
        let near = std::mem::replace(&mut dialog.near[nth], MediaStream::NONE);
        let far = std::mem::replace(&mut dialog.far[nth], (0, MediaStream::NONE));
        let awaited = std::mem::replace(&mut dialog.awaited[nth], [NONE; 2]);
        let (host, is_last) = (dialog.host, dialog.near.iter().all(|near| near.port == 0));
        for place in awaited {
            self.forget(place, now_s);
        }
        self.end_media(host, near, far, now_s);
        if is_last {
            self.forget_call(line, now_s);
        }
    }

    /// Ends the sessions of a stream of a host.
    fn end_media(&mut self, host: u32, near: MediaStream, (remote, far): (u32, MediaStream), now_s: u32) {
        let pairs = [(Some(near.port), Some(far.port)), (near.rtcp, far.rtcp)];
        for (port, remote_port) in pairs {
            let (Some(port), Some(remote_port)) = (port, remote_port) else { continue };
            let ports = u32::from(port) << 16 | u32::from(remote_port);
            let flow = Flow { addresses: Pair::new(host, remote), ports, protocol: ipv4::UDP };
            if let Some(slot) = self.find(Heading::Out, flow).filter(|_| port != 0) {
                self.end(slot, now_s);
            }
        }
    }

    /// Which stream of a session this port of its host is, or would be; `None`: there is no room for it.
    pub fn nth_stream(&self, line: u32, port: u16) -> Option<usize> {
        let near = self.dialogs.get(line).near;
        let known = near.iter().position(|near| near.port == port);
        known.or_else(|| near.iter().position(|near| near.port == 0))
    }

    /// The streams of a session begin to flow, or do so again: they are awaited as when they were announced.
    pub fn await_again(&mut self, line: u32, rules: CallRules<'_>, now: Nanos) {
        for (nth, near) in self.dialogs.get(line).near.into_iter().enumerate() {
            if near.port != 0 {
                let _ = self.await_stream(line, (nth, near), rules, now);
            }
        }
    }

    /// The other side of the session in this slot has agreed that requests come to this external port of its host for so long
    /// (RFC 3261 §10.3): they do, however long the session rests.
    pub fn await_requests(&mut self, slot: u32, port: u16, expires_s: u32, nat: &Nat, now: Nanos) {
        let now_s = seconds(now);
        let Some(session) = self.lines.get(slot as usize).copied() else { return };
        let (host, address) = (session.host().0, session.arriving().addresses.destination());
        let protocol = session.protocol();
        let door = Door { address, port, protocol };
        let Some(pool) = self.ports.pool_of(address) else { return };
        let inside = self.mappings.whose(Outside { pool, port, protocol });
        let Some(inside) = inside.filter(|inside| inside.host == host) else { return };
        if nat.statics.behind(address, port, protocol).is_some() {
            return;
        }
        let remote = session.remote().0;
        // What the host has announced, and nothing else that it does.
        let is_announced =
            port == session.arriving().ports as u16 || self.expectations.find(door, remote).is_some();
        if !is_announced {
            return;
        }
        if expires_s > 0 {
            let until_s = now_s.saturating_add(expires_s);
            self.expect((Owner::Nobody, slot), inside, (door, true), remote, (until_s, now_s));
        } else if let Some(line) = self.expectations.find(door, remote) {
            self.settle(line, now_s);
        }
    }

    /// Gives a stream a pair of external ports, an even one and the next (RFC 4787 §4.2.2, REQ-4; RFC 3550 §11), where it has
    /// none yet and there is one.
    fn map_pair(&mut self, session: &Session, stream: MediaStream, nat: &Nat, now_s: u32) {
        let (host, external) = (session.host().0, session.arriving().addresses.destination());
        let inside = |port| Inside { host, port, protocol: ipv4::UDP };
        let (Some(pool), Some(rtcp)) = (self.ports.pool_of(external), stream.rtcp) else { return };
        let Some(subscriber) = self.subscribers.find(host) else { return };
        let is_pair = stream.port.is_multiple_of(2) && rtcp == stream.port + 1;
        let has_room = self.subscribers.get(subscriber).ports + 2 <= nat.host_ports;
        let configured = |port| nat.statics.outside(host, port, ipv4::UDP).is_some();
        if !is_pair || !has_room || external == host || configured(stream.port) || configured(rtcp) {
            return;
        }
        // A host that holds much leaves room to others.
        let held = self.subscribers.get(subscriber).ports + 1;
        let by_blocks = self.blocks.are_on();
        if self.spare_mapping(now_s).is_err()
            || !by_blocks && self.spare_port(host, (pool, Space::Udp), held, nat, now_s).is_err()
        {
            return;
        }
        let of = |port| Outside { pool, port, protocol: ipv4::UDP };
        let taken = nat.statics.taken(external, Space::Udp);
        match (self.mappings.of(inside(stream.port)), self.mappings.of(inside(rtcp))) {
            (None, None) => {
                let wish = Wish { pool, space: Space::Udp, port: stream.port, range: nat.ports, taken };
                let first = if by_blocks {
                    let take: (Take, Take) = (Ports::take_pair, Ports::take_pair);
                    self.port_of_blocks(subscriber, wish, take, nat, now_s).ok()
                } else {
                    self.ports.take_pair(wish, now_s)
                };
                if let Some(first) = first {
                    self.give(subscriber, inside(stream.port), of(first), now_s);
                    self.give(subscriber, inside(rtcp), of(first + 1), now_s);
                }
            }
            (Some(mapping), None) => {
                let Outside { port, .. } = self.mappings.outside(mapping);
                let next = port | 1;
                let fits = port.is_multiple_of(2) && next <= nat.ports.1 && !taken.has(next);
                if fits && self.ports.claim(Place { pool, space: Space::Udp, port: next }) {
                    self.give(subscriber, inside(rtcp), of(next), now_s);
                }
            }
            _ => {}
        }
    }
}
