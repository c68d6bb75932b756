//! Binding slots of each worker, and the session tags that are their encrypted handles.
//!
//! A slot goes through generations, so that the tag of an ended session never reaches the next one in its slot. A free
//! slot is used again only when some others have been freed after it: that spreads reuse over slots, so that even
//! with few generations a tag comes back late, while the slots in use stay dense in memory.
//!
//! Which slot comes next is asked first ([`BindingSlots::next`]) and taken then, by name: a replay takes the same.

use super::change::Freed;
use super::session::CesSession;
use ces_dataplane::tag::{Handle, Layout, Tag, TagCipher};
use std::collections::VecDeque;

/// Free slots that are kept resting before a slot is used again, as long as fresh ones are left.
const REST_SLOTS: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq)]
struct Worker {
    sessions: Vec<Option<Box<CesSession>>>,
    generations: Vec<u32>,
    free: VecDeque<u32>,
    used: u32,
    /// The generation in which a slot that was never used begins.
    first_generation: u32,
}

/// All workers' slots, with what is known about the session in each.
#[derive(Clone, Debug)]
pub(crate) struct BindingSlots {
    layout: Layout,
    cipher: TagCipher,
    per_worker: u32,
    workers: Vec<Worker>,
}

impl PartialEq for BindingSlots {
    /// Under one key and layout; whoever compares has both from one place.
    fn eq(&self, other: &Self) -> bool {
        self.workers == other.workers
    }
}

impl BindingSlots {
    pub(super) fn new(layout: Layout, cipher: TagCipher, workers: u32, per_worker: u32) -> Self {
        let workers = (0..workers).map(|_| Worker::default()).collect();
        Self { layout, cipher, per_worker, workers }
    }

    /// The slot that a session of that worker gets next; `None` if the worker has none left.
    pub(super) fn next(&self, worker: u32) -> Option<Handle> {
        let slots = self.workers.get(worker as usize)?;
        let fresh = slots.generations.len() as u32;
        let (slot, generation) = if slots.free.len() >= REST_SLOTS || fresh >= self.per_worker {
            let slot = *slots.free.front()?;
            (slot, slots.generations[slot as usize])
        } else {
            (fresh, slots.first_generation)
        };
        let handle = self.layout.handle(worker, slot, generation);
        // CETP reserves tag 0 for "none yet"; with several generations the next one has another tag.
        let is_usable = self.cipher.usable(handle);
        Some(if is_usable { handle } else { self.layout.handle(worker, slot, generation.wrapping_add(1)) })
    }

    /// Puts a session into its slot. False if something is there, or there is no such slot.
    pub(super) fn take(&mut self, session: CesSession) -> bool {
        let handle = session.handle();
        let (worker, slot) = self.place(handle);
        let generation = self.layout.generation(handle);
        let per_worker = self.per_worker as usize;
        let Some(slots) = self.workers.get_mut(worker).filter(|_| slot < per_worker) else { return false };
        if slots.sessions.get(slot).is_some_and(Option::is_some) {
            return false;
        }
        if slot >= slots.generations.len() {
            slots.generations.resize(slot + 1, slots.first_generation);
            slots.sessions.resize_with(slot + 1, || None);
        } else if let Some(at) = slots.free.iter().position(|free| *free as usize == slot) {
            // The first one, but for a replay that begins with a snapshot.
            slots.free.remove(at);
        }
        slots.generations[slot] = generation;
        slots.sessions[slot] = Some(Box::new(session));
        slots.used += 1;
        true
    }

    /// Takes the session out; its slot may be used again, in its next generation.
    pub(super) fn release(&mut self, handle: Handle) -> Option<Box<CesSession>> {
        self.get(handle)?;
        let (worker, slot) = self.place(handle);
        let slots = &mut self.workers[worker];
        let session = slots.sessions[slot].take()?;
        slots.generations[slot] = slots.generations[slot].wrapping_add(1);
        slots.free.push_back(slot as u32);
        slots.used -= 1;
        Some(session)
    }

    /// No free slot comes back in the generation that it would have had, or in one of so many after it.
    pub(super) fn restart(&mut self, generations: u32) {
        for slots in &mut self.workers {
            slots.first_generation = slots.first_generation.wrapping_add(generations);
            for slot in &slots.free {
                let generation = &mut slots.generations[*slot as usize];
                *generation = generation.wrapping_add(generations);
            }
        }
    }

    /// Slots as a snapshot tells them, after its sessions. False if there is no such worker or slot.
    pub(super) fn set(&mut self, worker: u32, fresh: u32, first_generation: u32, free: &[Freed]) -> bool {
        let per_worker = self.per_worker;
        let Some(slots) = self.workers.get_mut(worker as usize) else { return false };
        if fresh > per_worker || free.iter().any(|(slot, _)| *slot >= fresh) {
            return false;
        }
        slots.first_generation = first_generation;
        let fresh = slots.generations.len().max(fresh as usize);
        slots.generations.resize(fresh, first_generation);
        slots.sessions.resize_with(fresh, || None);
        for (slot, generation) in free {
            if slots.sessions[*slot as usize].is_some() {
                return false;
            }
            slots.generations[*slot as usize] = *generation;
            slots.free.push_back(*slot);
        }
        true
    }

    /// As a snapshot tells them: for each worker the slots ever used, where others begin, and the free ones.
    pub(super) fn frees(&self) -> impl Iterator<Item = (u32, u32, u32, Vec<Freed>)> {
        (0u32..).zip(&self.workers).map(|(worker, slots)| {
            let free = slots.free.iter().map(|slot| (*slot, slots.generations[*slot as usize]));
            (worker, slots.generations.len() as u32, slots.first_generation, free.collect())
        })
    }

    /// The handle of one of our tags. Whether anything lives there is another question.
    pub(crate) fn handle(&self, tag: u32) -> Handle {
        self.cipher.handle(Tag(tag))
    }

    /// The tag of a handle.
    pub(super) fn tag(&self, handle: Handle) -> u32 {
        self.cipher.tag(handle).0
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&CesSession> {
        let (worker, slot) = self.place(handle);
        let session = self.workers.get(worker)?.sessions.get(slot)?.as_deref()?;
        (session.handle() == handle).then_some(session)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut CesSession> {
        let (worker, slot) = self.place(handle);
        let session = self.workers.get_mut(worker)?.sessions.get_mut(slot)?.as_deref_mut()?;
        (session.handle() == handle).then_some(session)
    }

    pub(crate) fn worker(&self, handle: Handle) -> u32 {
        self.layout.worker(handle)
    }

    /// Everything that lives, worker by worker.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CesSession> {
        self.workers.iter().flat_map(|worker| worker.sessions.iter().filter_map(|slot| slot.as_deref()))
    }

    /// What lives in the slots from this one on, counted over all workers: at most so many sessions out of so many slots, and
    /// where the rest begins.
    pub(crate) fn page(&self, from: u64, sessions: usize, slots: usize) -> (Vec<&CesSession>, Option<u64>) {
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
    use super::super::session::PairNames;
    use super::*;
    use std::collections::HashSet;

    fn slots(workers: u32, per_worker: u32) -> BindingSlots {
        BindingSlots::new(Layout::new(workers, per_worker), TagCipher::new([1, 2, 3, 4]), workers, per_worker)
    }

    fn allocate(slots: &mut BindingSlots, worker: u32) -> Option<Handle> {
        let handle = slots.next(worker)?;
        let names = PairNames { local: "".into(), remote: "".into(), peer: "".into() };
        let (nobody, tag) = ([10, 0, 0, 1], slots.tag(handle));
        assert!(slots.take(CesSession::reserved(handle, tag, nobody.into(), nobody.into(), names, 0)));
        Some(handle)
    }

    #[test]
    fn a_worker_gives_out_as_many_slots_as_it_has() {
        let mut slots = slots(2, 4);
        for _ in 0..4 {
            assert!(allocate(&mut slots, 1).is_some());
        }
        assert!(allocate(&mut slots, 1).is_none());
        assert!(allocate(&mut slots, 0).is_some());
        assert_eq!(slots.used(), [1, 4]);
    }

    #[test]
    fn a_tag_of_an_ended_session_leads_nowhere() {
        let mut slots = BindingSlots::new(Layout::new(1, 2), TagCipher::new([1, 2, 3, 4]), 1, 1);
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let handle = allocate(&mut slots, 0).unwrap();
            assert!(seen.insert(handle));
            assert!(slots.get(handle).is_some());
            assert!(slots.release(handle).is_some());
            assert!(slots.get(handle).is_none());
            assert!(slots.release(handle).is_none());
        }
    }

    #[test]
    fn after_a_restart_no_tag_is_one_that_was_on_the_verge_of_being_given_out() {
        let mut slots = slots(1, 2048);
        let used = allocate(&mut slots, 0).unwrap();
        slots.release(used);
        let mut lost = slots.clone();
        let lost: HashSet<Handle> = (0..2048).filter_map(|_| allocate(&mut lost, 0)).collect();
        slots.restart(1);
        let given: HashSet<Handle> = (0..2048).filter_map(|_| allocate(&mut slots, 0)).collect();
        assert_eq!((given.len(), lost.len()), (2048, 2048));
        assert!(given.is_disjoint(&lost));
    }

    #[test]
    fn no_tag_is_ever_zero() {
        let layout = Layout::new(1, 16);
        // The key under which slot 3 of generation 0 has tag 0.
        let plain = TagCipher::new([1, 2, 3, 0]);
        let cipher = TagCipher::new([1, 2, 3, plain.tag(layout.handle(0, 3, 0)).0]);
        assert!(!cipher.usable(layout.handle(0, 3, 0)));
        let mut slots = BindingSlots::new(layout, cipher, 1, 16);
        for _ in 0..16 {
            let handle = allocate(&mut slots, 0).unwrap();
            assert_ne!(slots.get(handle).unwrap().tag(), 0);
        }
    }
}
