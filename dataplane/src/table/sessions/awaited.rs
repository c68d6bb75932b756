//! Control channels and the data connections that they announce.
//!
//! What is awaited keeps the external port of its host's port, as a session does, until it comes, is over, gives way to later
//! announcements of the same channel, or the channel ends.

use super::{Inside, Outside, Sessions};
use crate::Nanos;
use crate::meter::seconds;
use crate::narrow::NONE;
use crate::nat::{Nat, Space};
use crate::reason::DropReason;
use crate::table::channels::{AWAITED, Channel};
use crate::table::expectations::Expectation;
use crate::table::session::Heading;
use crate::wire::ftp::Speaker;
use crate::wire::ipv4;

impl Sessions {
    /// The session in this slot is a control channel, whose inside host is this speaker. Whether there was room.
    pub fn attend(&mut self, slot: u32, speaker: Speaker) -> bool {
        let Some(session) = self.lines.get_mut(slot as usize) else { return false };
        let is_added = self.channels.add(slot, speaker);
        session.set_annexed(is_added);
        is_added
    }

    /// A control channel of the process before goes on, from the next bytes of its host on: none of them has moved.
    pub(super) fn attend_again(&mut self, slot: u32) {
        let opened = self.lines[slot as usize].opened();
        self.attend(slot, if opened == Heading::Out { Speaker::Client } else { Speaker::Server });
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

    /// Control channels, and what they await.
    pub fn attended(&self) -> (u64, u64) {
        (self.channels.len() as u64, self.expectations.len() as u64)
    }

    /// Awaits a connection from the other end of a control channel to this TCP port of its inside host: the address and port
    /// under which the other end reaches it. What was announced before is only awaited longer.
    pub fn await_at(
        &mut self,
        slot: u32,
        port: u16,
        await_s: u16,
        nat: &Nat,
        now: Nanos,
    ) -> Result<(u32, u16), DropReason> {
        let now_s = seconds(now);
        let session = self.lines.get(slot as usize).ok_or(DropReason::NatNoSession)?;
        let (host, remote) = (session.host().0, session.remote().0);
        let inside = Inside { host, port, protocol: ipv4::TCP };
        let subscriber = self.subscribers.find(host).ok_or(DropReason::NatNoSession)?;
        if let Some(told) = nat.statics.outside(host, port, ipv4::TCP) {
            // It comes in there without being awaited.
            return Ok(told);
        }
        let pool = self.pool(subscriber)?;
        let outside = self.map(subscriber, (pool, Space::Tcp), inside, nat, now_s)?;
        let told = (self.ports.address(outside.pool), outside.port);
        let until_s = now_s.saturating_add(await_s.into());
        if let Some(line) = self.expectations.find(outside, remote) {
            self.expectations.prolong(line, until_s);
            return Ok(told);
        }
        self.join_port(inside, true);
        let expectation = Expectation { slot, inside, outside, remote, until_s };
        let kept = self.expectations.add(expectation).and_then(|line| self.keep(slot, line, now_s));
        if kept.is_none() {
            self.leave_port(inside, true, now_s);
        }
        kept.map(|()| told).ok_or(DropReason::NatFull)
    }

    /// What is awaited there from that host, and still is.
    pub(super) fn awaits(&self, outside: Outside, remote: u32, now: Nanos) -> Option<u32> {
        let found = self.expectations.find(outside, remote);
        found.filter(|&line| self.expectations.get(line).until_s >= seconds(now))
    }

    /// Forgets what has not come in time, one at a time: until then it keeps a port, but nobody comes in by it.
    #[inline]
    pub(super) fn give_up(&mut self, now_s: u32) {
        if let Some(line) = self.expectations.over(now_s) {
            self.settle(line, now_s);
        }
    }

    /// Notes an expectation with its channel, where one before it may give way to it.
    fn keep(&mut self, slot: u32, line: u32, now_s: u32) -> Option<()> {
        let Some(channel) = self.channels.get_mut(slot) else {
            self.expectations.remove(line);
            return None;
        };
        let place = usize::from(channel.turn) % AWAITED;
        channel.turn = channel.turn.wrapping_add(1);
        let before = std::mem::replace(&mut channel.awaited[place], line);
        self.forget(before, now_s);
        Some(())
    }

    /// Forgets what is awaited in this place, if anything is.
    fn forget(&mut self, line: u32, now_s: u32) {
        if line != NONE {
            let Expectation { inside, .. } = self.expectations.remove(line);
            self.leave_port(inside, true, now_s);
        }
    }

    /// What is awaited in this place has come, or is over.
    pub(super) fn settle(&mut self, line: u32, now_s: u32) {
        let Expectation { slot, .. } = self.expectations.get(line);
        let awaited = self.channels.get_mut(slot).map(|channel| channel.awaited.iter_mut());
        awaited.into_iter().flatten().filter(|place| **place == line).for_each(|place| *place = NONE);
        self.forget(line, now_s);
    }

    /// The control channel in this slot has ended.
    pub(super) fn unattend(&mut self, slot: u32, now_s: u32) {
        let awaited = self.channels.remove(slot).map_or([NONE; AWAITED], |channel| channel.awaited);
        for line in awaited {
            self.forget(line, now_s);
        }
    }
}
