//! Sessions of the last process: their lines were kept, and what leads to them is made anew.

use super::{Inside, Outside, Session, Sessions, Tie, inside_of};
use crate::Nanos;
use crate::alg::Alg;
use crate::meter::seconds;
use crate::nat::Nat;
use crate::table::session::Heading;
use crate::table::subscribers::NO_POOL;
use crate::tag::Share;

/// What became of the lines that were kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Sessions that go on.
    pub adopted: u64,
    /// Those that no longer fit: their external address is none any more, say.
    pub forgotten: u64,
}

impl Sessions {
    /// Takes up the sessions whose lines were kept. Once, before the first packet.
    pub fn adopt(&mut self, share: &Share, nat: &Nat, alg: &Alg, now: Nanos) -> Adopted {
        let now_s = seconds(now);
        let mut adopted = Adopted::default();
        // The wheel stands at this second, and nothing hangs on it.
        let _ = self.wheel.due(now_s);
        let slots = self.lines.len() as u32;
        for slot in 0..slots {
            let mut session = std::mem::take(&mut self.lines[slot as usize]);
            if !session.is_live() {
                continue;
            }
            session.not_after(now_s);
            let (goes_on, is_annexed) = (!session.is_moved(), session.is_annexed());
            session.set_annexed(false);
            if goes_on
                && share.host_elsewhere(session.host().0).is_none()
                && self.readmit(slot, session, nat, now_s)
            {
                if is_annexed {
                    self.attend(slot, alg);
                }
                adopted.adopted += 1;
            } else {
                adopted.forgotten += 1;
            }
        }
        adopted
    }

    fn readmit(&mut self, slot: u32, session: Session, nat: &Nat, now_s: u32) -> bool {
        let (near, arriving) = (session.near(), session.arriving());
        let hashes = (self.hash(near), self.hash(arriving));
        if self.find_by(Heading::Out, hashes.0, near).is_some()
            || self.find_by(Heading::In, hashes.1, arriving).is_some()
        {
            return false;
        }
        let (host, external) = (session.host().0, session.arriving().addresses.destination());
        let has_face = Self::is_as_configured(&session, nat)
            && if session.is_given() {
                self.ends(&session).is_some_and(|(inside, outside)| self.remap(inside, outside, now_s))
            } else {
                (session.is_configured() || self.is_external(external, nat)) && self.subscriber(host).is_ok()
            };
        if has_face {
            let inside = inside_of(&session);
            let Some(subscriber) = self.subscribers.find(host) else { return false };
            let mapping = if session.is_given() { self.mappings.of(inside) } else { None };
            self.join(&session, Tie { subscriber, mapping });
            let hook = self.wheel.take_this(slot, session.due_s(&nat.timeouts), session.gives_way());
            if self.enter((slot, hook), session, hashes).is_ok() {
                return true;
            }
            self.leave(&session, now_s);
        } else if let Some(line) = self.subscribers.find(host) {
            self.subscribers.let_go(line);
        }
        false
    }

    /// Gives the host its address, and its port the external one, as they were. Whether nothing stands against it.
    fn remap(&mut self, inside: Inside, outside: Outside, now_s: u32) -> bool {
        let line = match self.subscribers.find(inside.host) {
            Some(line) => Some(line),
            None => self.subscribers.add(inside.host, outside.pool),
        };
        let Some(line) = line else { return false };
        let pool = &mut self.subscribers.get_mut(line).pool;
        if *pool == NO_POOL {
            *pool = outside.pool;
        }
        if *pool != outside.pool {
            return false;
        }
        let Some(place) = outside.place() else { return true };
        if let Some(mapping) = self.mappings.of(inside) {
            return self.mappings.outside(mapping) == outside;
        }
        if !self.ports.claim(place) {
            return false;
        }
        if self.blocks.are_on() && !self.own_again(line, place) {
            self.ports.give_back(place, now_s);
            return false;
        }
        self.assign(line, inside, outside, now_s).is_some()
    }
}
