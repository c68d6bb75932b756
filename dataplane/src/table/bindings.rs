//! The bindings of a worker: the slab of their entries with what leads to them, and all that must agree about them.
//!
//! A key is in the index, a handle is known, an annex is taken and a binding is counted as live exactly as long as
//! its slot is live: nothing but [`Bindings::insert`] begins that, nothing but `end` ends it. A slot is free again once the
//! control thread has been told.

use super::annex::Annexes;
use super::conversations::{Conversations, sights};
use super::entry::{BindingEntry, Life};
use super::index::{Hasher, Index};
use super::session::Heading;
use super::term::Term;
use crate::Nanos;
use crate::events::Events;
use crate::meter::{SECOND, seconds};
use crate::msg::{Binding, BindingStats, EndReason, Event, Far, InsertError, Patience};
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::settings::{SettingsError, WorkerSettings};
use crate::tag::{Handle, Share};
use crate::way::Way;
use crate::wire::Pair;
use machine::table::HugeSlice;

/// How long a pass over all bindings takes that looks for those that are over.
const SWEEP_NS: Nanos = 2 * SECOND;
/// The most bindings that one turn looks at: 64 cache lines one after the other, some 500 cycles.
const SWEEP_MOST: usize = 64;

/// The table.
#[derive(Debug)]
pub struct Bindings {
    entries: HugeSlice<BindingEntry>,
    /// The handle of each slot that is not free, and how long it lasts.
    terms: HugeSlice<Term>,
    index: Index,
    hasher: Hasher,
    annexes: Annexes,
    conversations: Conversations,
    share: Share,
    live: u64,
    /// Slots whose end the control thread is still to be told.
    ending: usize,
    /// Slots beyond the highest that was ever used are not swept.
    used: usize,
    /// The next slot to be swept.
    next: usize,
    swept_at: Nanos,
}

impl Bindings {
    /// A table without bindings.
    pub fn new(settings: &WorkerSettings, hasher: Hasher, share: Share) -> Result<Self, SettingsError> {
        let memory = |_| SettingsError::Memory("bindings");
        Ok(Self {
            entries: HugeSlice::new(settings.bindings as usize).map_err(memory)?,
            terms: HugeSlice::new(settings.bindings as usize).map_err(memory)?,
            index: Index::new(settings.bindings)?,
            hasher,
            annexes: Annexes::new(settings.limited, settings.hearing(), settings.rate_burst_ms)?,
            conversations: Conversations::new(settings.channels, settings.talks, hasher)?,
            share,
            live: 0,
            ending: 0,
            used: 0,
            next: 0,
            swept_at: 0,
        })
    }

    /// Inserts a binding in the slot of its handle; changes nothing if it cannot.
    #[inline]
    pub fn insert(&mut self, handle: Handle, binding: &Binding, now: Nanos) -> Result<(), InsertError> {
        let slot = self.share.slot(handle);
        let free = self.entry(slot).is_some_and(BindingEntry::is_free);
        let near = Pair::new(binding.host.to_bits(), binding.proxy.to_bits());
        let hash = self.hash(near);
        if !self.share.is_ours(handle) || !free || self.find(hash, near).is_some() {
            return Err(InsertError::Occupied);
        }
        let annex = self.annexes.allocate(&binding.limits).ok_or(InsertError::LimitsFull)?;
        if !self.index.insert(hash, slot) {
            self.annexes.release(annex);
            return Err(InsertError::IndexFull);
        }
        let (far, way) = match binding.far {
            Far::Tunnel { tunnel, remote_tag } => {
                (Pair::new(self.share.tag(handle).0, remote_tag), Way::Tunnel(tunnel.0))
            }
            Far::Local { source, destination } => {
                (Pair::new(source.to_bits(), destination.to_bits()), Way::Realm(binding.neighbour.0))
            }
        };
        let now_s = seconds(now);
        let mut entry = BindingEntry::new(near, far, way, binding.neighbour.0).seen(now_s).with_annex(annex);
        if binding.patience != Patience::None {
            entry = entry.patient();
        }
        if binding.mac.is_some() {
            entry.pin(binding.mac);
        }
        self.entries[slot as usize] = entry;
        self.terms[slot as usize] = Term::new(handle, binding, now_s);
        self.used = self.used.max(slot as usize + 1);
        self.live += 1;
        Ok(())
    }

    /// Ends a binding, if it is live.
    pub fn remove(&mut self, handle: Handle, events: &mut Events, now: Nanos) {
        if let Some(slot) = self.live_slot(handle) {
            self.end(slot, EndReason::Removed, events, now);
        }
    }

    /// From now on the packets of a live binding's host must come from this MAC address; `None` = from any.
    pub fn pin(&mut self, handle: Handle, mac: Option<[u8; 6]>) {
        if let Some(slot) = self.live_slot(handle) {
            self.entries[slot].pin(mac);
        }
    }

    /// Notes a packet of the binding in this slot that may open a TCP connection.
    #[inline]
    pub fn opened(&mut self, slot: u32, packet: &Packet) {
        if packet.tcp_flags != 0
            && let (Some(entry), Some(term)) =
                (self.entries.get(slot as usize), self.terms.get_mut(slot as usize))
        {
            term.opened(entry, packet);
        }
    }

    /// The counters of a live binding.
    pub fn stats(&self, handle: Handle, now: Nanos) -> Option<BindingStats> {
        self.live_slot(handle).map(|slot| self.entries[slot].stats(seconds(now)))
    }

    /// How many are live.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// The handle of a slot that is live.
    pub fn handle(&self, slot: u32) -> Option<Handle> {
        let live = self.entry(slot)?.is_live();
        live.then(|| self.terms[slot as usize].handle)
    }

    /// The slot of a handle that is live.
    fn live_slot(&self, handle: Handle) -> Option<usize> {
        let slot = self.share.slot(handle);
        (self.handle(slot)? == handle).then_some(slot as usize)
    }

    /// Ends a live binding.
    fn end(&mut self, slot: usize, reason: EndReason, events: &mut Events, now: Nanos) {
        let entry = &mut self.entries[slot];
        entry.end(reason);
        let (hash, annex) = (self.hasher.hash(entry.near().bits()), entry.annex_held());
        self.index.remove(hash, slot as u32);
        self.annexes.release(annex);
        self.live -= 1;
        self.ending += 1;
        self.report_end(slot, events, now);
    }

    /// Frees a slot that is ending, once the event that says so is queued.
    fn report_end(&mut self, slot: usize, events: &mut Events, now: Nanos) {
        let entry = &self.entries[slot];
        if let Life::Ending(reason) = entry.life()
            && events.ready()
        {
            events.push(Event::BindingEnded(self.terms[slot].handle, reason, entry.stats(seconds(now))));
            self.entries[slot] = BindingEntry::default();
            self.ending -= 1;
        }
    }

    /// Ends bindings whose time is over; whether any was looked at. Called once a turn, takes a bounded time.
    #[inline]
    pub fn expire(&mut self, events: &mut Events, now: Nanos) -> bool {
        let elapsed = now.saturating_sub(self.swept_at);
        let due = (u128::from(elapsed) * self.used as u128 / u128::from(SWEEP_NS)) as usize;
        if due != 0 {
            self.swept_at = now;
            self.sweep(due, events, now);
        }
        due != 0
    }

    fn sweep(&mut self, due: usize, events: &mut Events, now: Nanos) {
        let now_s = seconds(now);
        self.conversations.expire(now_s);
        for _ in 0..due.min(SWEEP_MOST).min(self.used) {
            let slot = self.next;
            self.next = if slot + 1 >= self.used { 0 } else { slot + 1 };
            let entry = &self.entries[slot];
            if entry.is_live() {
                if let Some(reason) = self.terms[slot].over(entry.last_seen_s(), now_s) {
                    self.end(slot, reason, events, now);
                }
            } else if self.ending > 0 {
                self.report_end(slot, events, now);
            }
        }
    }

    /// The hash of a key: of the pair of addresses that a host's packet carries.
    #[inline(always)]
    pub const fn hash(&self, near: Pair) -> u64 {
        self.hasher.hash(near.bits())
    }

    /// Starts to fetch the line that [`Bindings::candidate`] will read.
    #[inline(always)]
    pub fn prefetch_candidate(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The slot that most likely holds the key of this hash, or [`crate::narrow::NONE`] if it is certain that none does.
    #[inline(always)]
    pub fn candidate(&self, hash: u64) -> u32 {
        self.index.candidate(hash)
    }

    /// The slot of the binding with this key.
    pub fn find(&self, hash: u64, near: Pair) -> Option<u32> {
        self.index.find(hash, |slot| self.entry(slot).is_some_and(|entry| entry.near() == near))
    }

    /// Starts to fetch a slot.
    #[inline(always)]
    pub fn prefetch(&self, slot: u32) {
        if let Some(entry) = self.entry(slot) {
            machine::prefetch_write(entry);
        }
    }

    /// A slot, whatever its life.
    #[inline(always)]
    pub fn entry(&self, slot: u32) -> Option<&BindingEntry> {
        self.entries.get(slot as usize)
    }

    /// A slot, to count what passes.
    #[inline(always)]
    pub fn entry_mut(&mut self, slot: u32) -> Option<&mut BindingEntry> {
        self.entries.get_mut(slot as usize)
    }

    /// A slot, and the annexes to ask whether it carries a packet.
    #[inline(always)]
    pub fn entry_and_annexes(&mut self, slot: u32) -> Option<(&mut BindingEntry, &mut Annexes)> {
        Some((self.entries.get_mut(slot as usize)?, &mut self.annexes))
    }

    /// The annexes, to ask whether a binding carries a packet.
    #[inline(always)]
    pub fn annexes(&self) -> &Annexes {
        &self.annexes
    }

    /// The annexes, to ask whether a binding carries a packet.
    pub fn annexes_mut(&mut self) -> &mut Annexes {
        &mut self.annexes
    }

    /// From now on packets with this port of the binding in this slot are read; whether there was room.
    pub fn hear(&mut self, slot: u32, port: u16) -> bool {
        let Some(entry) = self.entries.get_mut(slot as usize).filter(|entry| entry.is_live()) else {
            return false;
        };
        let annex = self.annexes.hear(entry.annex(), port);
        if let Some(annex) = annex {
            *entry = entry.with_annex(annex);
        }
        annex.is_some()
    }

    /// Whether a packet may be of a control channel that is read.
    pub fn hears(&self, entry: &BindingEntry, packet: &Packet) -> bool {
        entry.annex().is_some_and(|annex| self.annexes.hears(annex, packet))
    }

    /// Whether a binding carries a packet: as its limits say, or since it was announced. `Ok(true)`: it is what was awaited.
    pub fn check(
        &mut self,
        entry: &BindingEntry,
        heading: Heading,
        packet: &Packet,
        now: Nanos,
    ) -> Result<bool, DropReason> {
        let Some(annex) = entry.annex() else { return Ok(false) };
        let said = self.annexes.check(annex, heading, packet, now);
        if said != Err(DropReason::PolicyProtocol) || !self.conversations.awaits(seconds(now)) {
            return said.map(|()| false);
        }
        if packet.is_later_fragment() {
            let is_known = self.annexes.knows(packet, now);
            is_known.then_some(()).ok_or(DropReason::FragmentUnmatched)?;
            return self.annexes.charge(annex, heading, packet, now).map(|()| false);
        }
        let announced = self.conversations.lets_in(sights(entry, packet, heading), packet, seconds(now));
        let comes = announced.ok_or(DropReason::PolicyProtocol)?;
        if packet.is_fragment() {
            self.annexes.remember(packet, now);
        }
        self.annexes.charge(annex, heading, packet, now).map(|()| comes)
    }

    /// The control channels of its bindings.
    pub fn conversations(&mut self) -> &mut Conversations {
        &mut self.conversations
    }

    /// The page size of the entries' memory in bytes.
    pub fn page_size(&self) -> usize {
        self.entries.page_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{BindingLimits, HopId, Patience, TunnelId};
    use crate::tag::Layout;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const SLOTS: u32 = 12;
    const LIMITED: u32 = 3;

    fn table() -> (Bindings, Layout) {
        let mut settings = WorkerSettings::new(Vec::new(), SLOTS);
        settings.limited = LIMITED;
        let share = Share::new(settings.tag_key, settings.layout, 0, 1);
        (Bindings::new(&settings, Hasher::new(settings.hash_seed), share).unwrap(), settings.layout)
    }

    fn binding(key: u32, restricted: bool, idle_s: u16) -> Binding {
        Binding {
            host: (0x0a00_0000 + key).into(),
            proxy: 0x0a80_0001.into(),
            far: Far::Tunnel { tunnel: TunnelId(0), remote_tag: 77 },
            neighbour: HopId(1),
            mac: None,
            idle_s,
            patience: Patience::None,
            hard_s: 0,
            limits: BindingLimits { protocol: restricted.then_some(6), ..BindingLimits::default() },
        }
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert { slot: u32, key: u32, restricted: bool, idle_s: u16 },
        Remove { slot: u32 },
        Wait { seconds: u64 },
        Tell,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => (0..SLOTS, 0u32..8, any::<bool>(), 0u16..4).prop_map(|(slot, key, restricted, idle_s)| {
                Operation::Insert { slot, key, restricted, idle_s }
            }),
            2 => (0..SLOTS).prop_map(|slot| Operation::Remove { slot }),
            1 => (1u64..4).prop_map(|seconds| Operation::Wait { seconds }),
            1 => Just(Operation::Tell),
        ]
    }

    proptest! {
        /// Against the model, with a queue of events that is full now and then: a binding is found by its key, and known by its
        /// handle, exactly as long as it is live; every end is told once, and until then its slot is not used again; lines of
        /// the annex come back.
        #[test]
        fn all_of_a_binding_agrees(operations in proptest::collection::vec(operation(), 1..120)) {
            let (mut bindings, layout) = table();
            let mut events = Events::default();
            while events.ready() {
                events.push(Event::HopWanted(HopId(0)));
            }
            // Slot to key, whether it is restricted, and when it falls idle; and slots whose end was not told.
            let mut live: BTreeMap<u32, (u32, bool, u64)> = BTreeMap::new();
            let mut ending: Vec<u32> = Vec::new();
            let mut now_s = 10;
            for operation in operations {
                let now = now_s * SECOND;
                match operation {
                    Operation::Insert { slot, key, restricted, idle_s } => {
                        let said = bindings.insert(layout.handle(0, slot, 0), &binding(key, restricted, idle_s), now);
                        let taken = live.contains_key(&slot) || ending.contains(&slot);
                        let known = live.values().any(|other| other.0 == key);
                        let full = live.values().filter(|other| other.1).count() as u32 == LIMITED;
                        if taken || known {
                            prop_assert_eq!(said, Err(InsertError::Occupied));
                        } else if restricted && full {
                            prop_assert_eq!(said, Err(InsertError::LimitsFull));
                        } else {
                            prop_assert_eq!(said, Ok(()));
                            let over = if idle_s == 0 { u64::MAX } else { now_s + u64::from(idle_s) };
                            live.insert(slot, (key, restricted, over));
                        }
                    }
                    Operation::Remove { slot } => {
                        bindings.remove(layout.handle(0, slot, 0), &mut events, now);
                        ending.extend(live.remove(&slot).map(|_| slot));
                    }
                    Operation::Wait { seconds } => {
                        now_s += seconds;
                        // A pass over all takes two seconds.
                        for _ in 0..2 {
                            now_s += 2;
                            bindings.expire(&mut events, now_s * SECOND);
                        }
                        ending.extend(live.extract_if(.., |_, binding| binding.2 <= now_s).map(|(slot, _)| slot));
                    }
                    Operation::Tell => {
                        while !events.is_empty() {
                            events.pop();
                        }
                        for _ in 0..2 {
                            now_s += 2;
                            bindings.expire(&mut events, now_s * SECOND);
                        }
                        ending.extend(live.extract_if(.., |_, binding| binding.2 <= now_s).map(|(slot, _)| slot));
                        let mut told = Vec::new();
                        while let Some(event) = events.peek() {
                            if let Event::BindingEnded(handle, ..) = event {
                                told.push(layout.slot(*handle));
                            }
                            events.pop();
                        }
                        told.sort_unstable();
                        ending.sort_unstable();
                        prop_assert_eq!(&told, &ending, "each end once");
                        ending.clear();
                        while events.ready() {
                            events.push(Event::HopWanted(HopId(0)));
                        }
                    }
                }
                prop_assert_eq!(bindings.live(), live.len() as u64);
                prop_assert_eq!(bindings.index.len(), live.len());
                for slot in 0..SLOTS {
                    let handle = live.contains_key(&slot).then(|| layout.handle(0, slot, 0));
                    prop_assert_eq!(bindings.handle(slot), handle);
                }
                for key in 0..8 {
                    let near = Pair::new(0x0a00_0000 + key, 0x0a80_0001);
                    let slot = live.iter().find(|(_, other)| other.0 == key).map(|(slot, _)| *slot);
                    prop_assert_eq!(bindings.find(bindings.hash(near), near), slot);
                }
            }
        }
    }
}
