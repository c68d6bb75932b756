//! What happens when there is little left of sessions or of external ports, so that those who hold much cannot shut out those
//! who hold little: the last of them are for hosts below an equal share of all; what two sides have not agreed on yet, or no
//! longer agree on, gives way to others. What goes on is never ended.

use super::{Session, Sessions, inside_of};
use crate::nat::{Nat, Space};
use crate::reason::DropReason;

/// How many of those that give way are looked at for one of a host that holds more than its share, or of this host alone.
const VICTIMS: usize = 8;
/// How many of them for one with a port that fits.
const DOORS: usize = 64;

/// What a host holds of something of which there is so much.
#[derive(Clone, Copy)]
struct Part {
    /// How much the host has.
    held: u32,
    /// How much all hosts have.
    used: u32,
    /// How much there is.
    room: u32,
    /// How many hosts there are.
    hosts: u32,
}

impl Part {
    /// Whether what is left is for others: it is the reserve, and the host has an equal share already.
    fn is_enough(self, nat: &Nat) -> bool {
        let reserve = u64::from(self.room) * u64::from(nat.reserve_percent) / 100;
        reserve != 0
            && u64::from(self.used) + reserve >= u64::from(self.room)
            && self.held >= self.room / self.hosts.max(1)
    }
}

impl Sessions {
    /// Sees to it that there is a session for a host that has so many: one more of what is left, or in the place of one of its
    /// own that gives way.
    pub(super) fn spare_session(
        &mut self,
        host: u32,
        held: u32,
        nat: &Nat,
        now_s: u32,
    ) -> Result<(), DropReason> {
        let (used, room) = (self.outward.len() as u32, self.lines.len() as u32);
        let part = Part { held, used, room, hosts: self.subscribers.len() as u32 };
        if !part.is_enough(nat) || self.displace(VICTIMS, now_s, |_, session| session.host().0 == host) {
            Ok(())
        } else {
            Err(DropReason::NatShare)
        }
    }

    /// Ends the session that is over soonest among those that give way: if one of the first few is of a host that has more than
    /// an equal share, that one. Whether there was any.
    #[cold]
    pub(super) fn give_way(&mut self, now_s: u32) -> bool {
        let share = self.lines.len() as u32 / (self.subscribers.len() as u32).max(1);
        let holds_much = |sessions: &Self, session: &Session| {
            let line = sessions.subscribers.find(session.host().0);
            line.is_some_and(|line| sessions.subscribers.get(line).sessions > share)
        };
        self.displace(VICTIMS, now_s, holds_much) || self.displace(1, now_s, |_, _| true)
    }

    /// Sees to it that there is a mapping: of what is left, or for which a session gives way.
    pub(super) fn spare_mapping(&mut self, now_s: u32) -> Result<(), DropReason> {
        let is_last = |sessions: &Self, session: &Session| {
            session.is_given() && sessions.mappings.is_last(inside_of(session))
        };
        let has_room = self.mappings.has_room() || self.displace(DOORS, now_s, is_last);
        has_room.then_some(()).ok_or(DropReason::NatFull)
    }

    /// Sees to it that there is a port in a space of a pool for a host that has so many: of what is left, or for which one of its
    /// own sessions gives way.
    pub(super) fn spare_port(
        &mut self,
        host: u32,
        (pool, space): (u16, Space),
        held: u32,
        nat: &Nat,
        now_s: u32,
    ) -> Result<(), DropReason> {
        let (used, room) = self.ports.given(pool, space);
        let hosts = (self.subscribers.len() as u32).div_ceil(self.ports.offered().max(1));
        let part = Part { held, used, room, hosts };
        if !part.is_enough(nat) || self.free_port(pool, space, now_s, |session| session.host().0 == host) {
            Ok(())
        } else {
            Err(DropReason::NatShare)
        }
    }

    /// Ends a session that gives way, and with it the mapping that keeps a port of this space. Whether there was one for which
    /// this holds.
    #[cold]
    pub(super) fn free_port(
        &mut self,
        pool: u16,
        space: Space,
        now_s: u32,
        holds: impl Fn(&Session) -> bool,
    ) -> bool {
        let external = self.ports.address(pool);
        self.displace(DOORS, now_s, |sessions, session| {
            session.is_given()
                && session.arriving().addresses.destination() == external
                && Space::of(session.protocol()) == Some(space)
                && holds(session)
                && sessions.mappings.is_last(inside_of(session))
        })
    }

    /// Ends the first among so many that give way, those that are over soonest first, of which this holds. Whether there was one.
    #[cold]
    fn displace(&mut self, most: usize, now_s: u32, holds: impl Fn(&Self, &Session) -> bool) -> bool {
        let is_victim = |slot: &u32| {
            let session = &self.lines[*slot as usize];
            !session.is_annexed() && holds(self, session)
        };
        let Some(slot) = self.wheel.yielding().take(most).find(is_victim) else { return false };
        self.end(slot, now_s);
        self.displaced += 1;
        true
    }
}
