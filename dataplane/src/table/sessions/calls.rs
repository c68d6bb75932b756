//! Calls, and the media that they announce: each stream keeps a pair of external ports from when it is announced, and the other
//! side is let in there. What has come is an ordinary session; with its call it ends.

use super::{Flow, Inside, Outside, Session, Sessions};
use crate::Nanos;
use crate::alg::sip::{MediaFrom, MediaStream, Sip};
use crate::meter::seconds;
use crate::narrow::NONE;
use crate::nat::{Nat, Space};
use crate::reason::DropReason;
use crate::table::dialogs::STREAMS;
use crate::table::expectations::{Door, Owner};
use crate::table::ports::{Place, Wish};
use crate::table::session::Heading;
use crate::wire::{Pair, ipv4};

/// What is configured that calls depend on.
pub type CallRules<'s> = (&'s Sip, &'s Nat);

impl Sessions {
    /// The call of this name, of the host of the session in this slot; a new one where it begins, if there is room.
    pub fn call(&mut self, slot: u32, name: &[u8], begins: bool, sip: &Sip, now: Nanos) -> Option<u32> {
        let host = self.lines.get(slot as usize)?.host().0;
        let key = self.dialogs.key(host, name);
        let known = self.dialogs.find(key);
        let line = match known {
            Some(line) => line,
            None if begins => self.begin_call(key, slot, host, sip)?,
            None => return None,
        };
        let dialog = self.dialogs.get_mut(line);
        (dialog.slot, dialog.until_s) = (slot, seconds(now).saturating_add(sip.dialog_s.into()));
        Some(line)
    }

    fn begin_call(&mut self, key: u64, slot: u32, host: u32, sip: &Sip) -> Option<u32> {
        let subscriber = self.subscribers.find(host)?;
        if self.subscribers.get(subscriber).calls >= sip.host_calls {
            return None;
        }
        let line = self.dialogs.add(key, slot, host)?;
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

    /// Calls.
    pub fn calls(&self) -> u64 {
        self.dialogs.len() as u64
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
        (sip, nat): CallRules<'_>,
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
        let remote = match sip.media_from {
            _ if is_neighbour => far.0,
            MediaFrom::Announced if far.0 != 0 => far.0,
            _ => session.remote().0,
        };
        let until_s = now_s.saturating_add(sip.await_s.into());
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
        for (near, (remote, far)) in dialog.near.into_iter().zip(dialog.far) {
            let pairs = [(Some(near.port), Some(far.port)), (near.rtcp, far.rtcp)];
            for (port, remote_port) in pairs {
                let (Some(port), Some(remote_port)) = (port, remote_port) else { continue };
                let ports = u32::from(port) << 16 | u32::from(remote_port);
                let flow = Flow { addresses: Pair::new(dialog.host, remote), ports, protocol: ipv4::UDP };
                if let Some(slot) = self.find(Heading::Out, flow).filter(|_| port != 0) {
                    self.end(slot, now_s);
                }
            }
        }
    }

    /// The other side of the session in this slot has agreed that requests come to this external port of its host for so long
    /// (RFC 3261 §10.3): they do, however long the session rests.
    pub fn await_requests(&mut self, slot: u32, port: u16, expires_s: u32, nat: &Nat, now: Nanos) {
        let now_s = seconds(now);
        let Some(session) = self.lines.get(slot as usize).copied() else { return };
        let (host, address) = (session.host().0, session.arriving().addresses.destination());
        let door = Door { address, port, protocol: ipv4::UDP };
        let Some(pool) = self.ports.pool_of(address) else { return };
        let inside = self.mappings.whose(Outside { pool, port, protocol: ipv4::UDP });
        let Some(inside) = inside.filter(|inside| inside.host == host) else { return };
        if nat.statics.behind(address, port, ipv4::UDP).is_some() {
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
        if self.spare_port(host, (pool, Space::Udp), held, nat, now_s).is_err() {
            return;
        }
        let of = |port| Outside { pool, port, protocol: ipv4::UDP };
        let taken = nat.statics.taken(external, Space::Udp);
        match (self.mappings.of(inside(stream.port)), self.mappings.of(inside(rtcp))) {
            (None, None) => {
                let wish = Wish { pool, space: Space::Udp, port: stream.port, range: nat.ports, taken };
                if let Some(first) = self.ports.take_pair(wish, now_s) {
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
