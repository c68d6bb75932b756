//! Binding slots of each worker, and the session tags that are their encrypted handles.
//!
//! A slot goes through generations, so that the tag of an ended session never reaches the next one in its slot. A free
//! slot is used again only when some others have been freed after it: that spreads reuse over slots, so that even
//! with few generations a tag comes back late, while the slots in use stay dense in memory.

use crate::session::Session;
use ces_dataplane::tag::{Handle, Layout, Tag, TagCipher};
use std::collections::VecDeque;

/// Free slots that are kept resting before a slot is used again, as long as fresh ones are left.
const REST_SLOTS: usize = 1024;

#[derive(Default)]
struct Worker {
    sessions: Vec<Option<Box<Session>>>,
    generations: Vec<u32>,
    free: VecDeque<u32>,
    used: u32,
}

/// All workers' slots, with what is known about the session in each.
pub(crate) struct Slots {
    layout: Layout,
    cipher: TagCipher,
    per_worker: u32,
    workers: Vec<Worker>,
}

impl Slots {
    pub(crate) fn new(layout: Layout, cipher: TagCipher, workers: u32, per_worker: u32) -> Self {
        let workers = (0..workers).map(|_| Worker::default()).collect();
        Self { layout, cipher, per_worker, workers }
    }

    /// Puts a session into a slot of that worker; `None` if the worker has no slot left.
    pub(crate) fn allocate(
        &mut self,
        worker: u32,
        make: impl FnOnce(Handle, Tag) -> Session,
    ) -> Option<Handle> {
        let slots = &mut self.workers[worker as usize];
        let fresh = slots.generations.len() as u32;
        let slot = if slots.free.len() >= REST_SLOTS || fresh >= self.per_worker {
            slots.free.pop_front()?
        } else {
            slots.generations.push(0);
            slots.sessions.push(None);
            fresh
        };
        let generation = &mut slots.generations[slot as usize];
        let mut handle = self.layout.handle(worker, slot, *generation);
        // CETP reserves tag 0 for "none yet"; with several generations the next one has another tag.
        if !self.cipher.usable(handle) {
            *generation = generation.wrapping_add(1);
            handle = self.layout.handle(worker, slot, *generation);
        }
        slots.sessions[slot as usize] = Some(Box::new(make(handle, self.cipher.tag(handle))));
        slots.used += 1;
        Some(handle)
    }

    /// Takes the session out; its slot may be used again, in its next generation.
    pub(crate) fn release(&mut self, handle: Handle) -> Option<Box<Session>> {
        self.get(handle)?;
        let (worker, slot) = self.place(handle);
        let slots = &mut self.workers[worker];
        let session = slots.sessions[slot].take()?;
        slots.generations[slot] = slots.generations[slot].wrapping_add(1);
        slots.free.push_back(slot as u32);
        slots.used -= 1;
        Some(session)
    }

    /// The handle of one of our tags. Whether anything lives there is another question.
    pub(crate) fn handle(&self, tag: u32) -> Handle {
        self.cipher.handle(Tag(tag))
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&Session> {
        let (worker, slot) = self.place(handle);
        let session = self.workers.get(worker)?.sessions.get(slot)?.as_deref()?;
        (session.handle == handle).then_some(session)
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut Session> {
        let (worker, slot) = self.place(handle);
        let session = self.workers.get_mut(worker)?.sessions.get_mut(slot)?.as_deref_mut()?;
        (session.handle == handle).then_some(session)
    }

    pub(crate) fn worker(&self, handle: Handle) -> u32 {
        self.layout.worker(handle)
    }

    /// Everything that lives, worker by worker.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.workers.iter().flat_map(|worker| worker.sessions.iter().filter_map(|slot| slot.as_deref()))
    }

    /// What lives in the slots from this one on, counted over all workers: at most so many sessions out of so many slots, and
    /// where the rest begins.
    pub(crate) fn page(&self, from: u64, sessions: usize, slots: usize) -> (Vec<&Session>, Option<u64>) {
        let (mut found, mut place, end) = (Vec::new(), from as usize, from as usize + slots);
        let mut first = 0;
        for worker in &self.workers {
            let last = first + worker.sessions.len();
            while place < last {
                if place >= end || found.len() >= sessions {
                    return (found, Some(place as u64));
                }
                found.extend(worker.sessions[place - first].as_deref());
                place += 1;
            }
            first = last;
        }
        (found, None)
    }

    /// Slots in use, by worker.
    pub(crate) fn used(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.used).collect()
    }

    pub(crate) fn per_worker(&self) -> u32 {
        self.per_worker
    }

    fn place(&self, handle: Handle) -> (usize, usize) {
        (self.layout.worker(handle) as usize, self.layout.slot(handle) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn slots(workers: u32, per_worker: u32) -> Slots {
        Slots::new(Layout::new(workers, per_worker), TagCipher::new([1, 2, 3, 4]), workers, per_worker)
    }

    #[test]
    fn a_worker_gives_out_as_many_slots_as_it_has() {
        let mut slots = slots(2, 4);
        for _ in 0..4 {
            assert!(slots.allocate(1, Session::reserved_for_test).is_some());
        }
        assert!(slots.allocate(1, Session::reserved_for_test).is_none());
        assert!(slots.allocate(0, Session::reserved_for_test).is_some());
        assert_eq!(slots.used(), [1, 4]);
    }

    #[test]
    fn a_tag_of_an_ended_session_leads_nowhere() {
        let mut slots = Slots::new(Layout::new(1, 2), TagCipher::new([1, 2, 3, 4]), 1, 1);
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let handle = slots.allocate(0, Session::reserved_for_test).unwrap();
            assert!(seen.insert(handle));
            assert!(slots.get(handle).is_some());
            assert!(slots.release(handle).is_some());
            assert!(slots.get(handle).is_none());
            assert!(slots.release(handle).is_none());
        }
    }

    #[test]
    fn no_tag_is_ever_zero() {
        let layout = Layout::new(1, 16);
        // The key under which slot 3 of generation 0 has tag 0.
        let plain = TagCipher::new([1, 2, 3, 0]);
        let cipher = TagCipher::new([1, 2, 3, plain.tag(layout.handle(0, 3, 0)).0]);
        assert!(!cipher.usable(layout.handle(0, 3, 0)));
        let mut slots = Slots::new(layout, cipher, 1, 16);
        for _ in 0..16 {
            let handle = slots.allocate(0, Session::reserved_for_test).unwrap();
            assert_ne!(slots.get(handle).unwrap().tag, 0);
        }
    }
}
