//! What a worker owns, and how the control thread changes it.
//!
//! All memory is allocated in [`State::new`]; a full table is an event or a counted drop.

use crate::Nanos;
use crate::binding::{Entry, Life, Neighbour24};
use crate::counters::Counters;
use crate::hop::Hops;
use crate::index::{Hasher, Index};
use crate::limits::Limits;
use crate::meter::{Bucket, SECOND};
use crate::msg::{Binding, Command, Event, Far, InsertError, NeighbourId, PuntClass};
use crate::path::packet::Packet;
use crate::path::{BURST, Trace};
use crate::port::Port;
use crate::reason::DropReason;
use crate::settings::{Settings, SettingsError, Side};
use crate::tag::{Handle, Layout, Tag, TagCipher};
use crate::tunnel::Tunnels;
use crate::verdict::Verdict;
use crate::wire::checksum::Sum;
use crate::wire::ipv4;
use machine::table::HugeSlice;
use std::collections::VecDeque;

/// Events that wait for room in the ring to the control thread.
const EVENTS: usize = 1024;
/// Events that may be lost (traces, wishes for next hops, path MTUs, which all come again) leave this much room for
/// those that may not.
const EVENTS_RESERVED: usize = 256;
/// How long a pass over all bindings takes that looks for those that are over.
const SWEEP_NS: Nanos = 2 * SECOND;
/// The most bindings that one turn looks at: 64 cache lines one after the other, some 500 cycles.
const SWEEP_MOST: usize = 64;

/// Everything that one worker owns.
pub struct State {
    /// What the worker counts.
    pub counters: Counters,
    pub(crate) ports: Vec<Port>,
    pub(crate) bindings: HugeSlice<Entry>,
    /// The handle of each slot that is not free.
    handles: HugeSlice<Handle>,
    pub(crate) index: Index,
    pub(crate) tunnels: Tunnels,
    pub(crate) hops: Hops,
    pub(crate) limits: Limits,
    pub(crate) hasher: Hasher,
    pub(crate) cipher: TagCipher,
    pub(crate) layout: Layout,
    pub(crate) worker: u32,
    pub(crate) workers: u32,
    /// The gateway's own addresses, inside and outside.
    own: [Vec<u32>; 2],
    pub(crate) tcp_listen: Vec<(Side, u16)>,
    pub(crate) proxy_networks: Vec<(u32, u8)>,
    pub(crate) punt_meters: [Bucket; PuntClass::ALL.len()],
    pub(crate) icmp_meter: Bucket,
    /// Identification of the next outer packet.
    pub(crate) outer_id: u16,
    /// The burst under way, parsed: [`BURST`] packets. A burst takes them out and puts them back, so that it can use the
    /// rest of the state beside them.
    pub(crate) packets: Vec<Packet>,
    pub(crate) trace: Box<Trace>,
    /// Whether packets may be kept for their next hops; those that were kept once are not.
    pub(crate) holds: bool,
    events: VecDeque<Event>,
    /// Slots beyond the highest that was ever used are not swept.
    used: usize,
    sweep: usize,
    swept_at: Nanos,
    /// Slots whose end the control thread is still to be told.
    ending: usize,
}

impl State {
    /// Allocates every table.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let hasher = Hasher::new(settings.hash_seed);
        let own = |side: Side| {
            let ports = settings.ports.iter().filter(|port| port.side == side);
            ports.flat_map(|port| &port.addresses).map(|(address, _)| address.to_bits()).collect()
        };
        let memory = |_| SettingsError::Memory("bindings");
        Ok(Self {
            counters: Counters::default(),
            ports: settings.ports.iter().map(Port::new).collect(),
            bindings: HugeSlice::new(settings.bindings as usize).map_err(memory)?,
            handles: HugeSlice::from_fn(settings.bindings as usize, |_| Handle(0)).map_err(memory)?,
            index: Index::new(settings.bindings)?,
            tunnels: Tunnels::new(settings.tunnels, hasher)?,
            hops: Hops::new(settings.neighbours)?,
            limits: Limits::new(settings.limited)?,
            hasher,
            cipher: TagCipher::new(settings.tag_key),
            layout: settings.layout,
            worker: settings.worker,
            workers: settings.workers,
            own: [own(Side::Inside), own(Side::Outside)],
            tcp_listen: settings.tcp_listen.clone(),
            proxy_networks: settings
                .proxy_networks
                .iter()
                .map(|&(network, prefix)| (network.to_bits(), prefix))
                .collect(),
            punt_meters: settings
                .punt_rates
                .map(|rate| Bucket::new(u64::from(rate), (u64::from(rate) / 10).max(1))),
            icmp_meter: Bucket::new(
                u64::from(settings.icmp_error_rate),
                (u64::from(settings.icmp_error_rate) / 10).max(1),
            ),
            outer_id: 0,
            packets: vec![Packet::NOTHING; BURST],
            trace: Box::default(),
            holds: true,
            events: VecDeque::with_capacity(EVENTS),
            used: 0,
            sweep: 0,
            swept_at: 0,
            ending: 0,
        })
    }

    /// Whether [`State::command`] may be called: there is room for the event that answers a command. If not, the worker
    /// leaves commands in their ring until the control thread has taken events.
    pub fn ready(&self) -> bool {
        self.events.len() < EVENTS
    }

    /// Carries out a command. Call it only when [`State::ready`].
    pub fn command(&mut self, command: Command, now: Nanos) {
        match command {
            Command::SetTunnel(id, tunnel) => self.tunnels.set(id, &tunnel, &self.hops),
            Command::RemoveTunnel(id) => self.tunnels.remove(id),
            Command::SetNeighbour(id, neighbour) => {
                self.hops.set(id, &neighbour, &self.ports);
                self.tunnels.hop_changed(id.0, &self.hops);
            }
            Command::InsertBinding(handle, binding) => {
                if let Err(error) = self.insert(handle, &binding, now) {
                    self.counters.insert_failed += 1;
                    self.push(Event::InsertFailed(handle, error));
                }
            }
            Command::RemoveBinding(handle) => {
                if let Some(slot) = self.live_slot(handle) {
                    self.end(slot, Life::EndingRemoved, now);
                }
            }
            Command::ReadBinding(handle) => {
                let stats = self.live_slot(handle).map(|slot| self.bindings[slot].stats(seconds(now)));
                self.push(Event::BindingStats(handle, stats));
            }
            Command::Trace(filter, count) => self.trace.arm(filter, count),
        }
    }

    fn insert(&mut self, handle: Handle, binding: &Binding, now: Nanos) -> Result<(), InsertError> {
        let slot = self.layout.slot(handle) as usize;
        let ours = self.layout.worker(handle) == self.worker;
        let free = self.bindings.get(slot).is_some_and(|entry| entry.life == Life::Free);
        let near = ipv4::pair(binding.host.to_bits(), binding.proxy.to_bits());
        let hash = self.hasher.hash(near);
        if !ours || !free || self.find(hash, near).is_some() {
            return Err(InsertError::Occupied);
        }
        let limits = self.limits.allocate(&binding.limits).ok_or(InsertError::LimitsFull)?;
        if !self.index.insert(hash, slot as u32) {
            self.limits.release(limits);
            return Err(InsertError::IndexFull);
        }
        let now_s = seconds(now);
        let (source, destination, tunnel, life) = match binding.far {
            Far::Tunnel { tunnel, remote_tag } => {
                (self.cipher.tag(handle).0, remote_tag, tunnel.0, Life::Tunnel)
            }
            Far::Local { source, destination } => (source.to_bits(), destination.to_bits(), 0, Life::Local),
        };
        let far = ipv4::pair(source, destination);
        self.bindings[slot] = Entry {
            near,
            far,
            change: Sum::default().replace_pair(near, far).change(),
            neighbour: Neighbour24::new(binding.neighbour.0),
            last_seen_s: now_s,
            // 0 means never, so a deadline is at least 1.
            deadline_s: if binding.hard_s == 0 { 0 } else { now_s.saturating_add(binding.hard_s).max(1) },
            tunnel,
            idle_s: binding.idle_s,
            limits,
            life,
            ..Entry::default()
        };
        self.handles[slot] = handle;
        self.used = self.used.max(slot + 1);
        self.counters.bindings_live += 1;
        self.counters.bindings_inserted += 1;
        Ok(())
    }

    /// The slot of the binding with this key.
    pub(crate) fn find(&self, hash: u64, near: u64) -> Option<u32> {
        self.index.find(hash, |slot| self.bindings.get(slot as usize).is_some_and(|entry| entry.near == near))
    }

    /// The slot of a handle whose binding carries packets.
    fn live_slot(&self, handle: Handle) -> Option<usize> {
        let slot = self.layout.slot(handle) as usize;
        let entry = self.bindings.get(slot)?;
        (entry.life.live() && self.handles[slot] == handle).then_some(slot)
    }

    /// The handle of a slot that carries packets.
    pub(crate) fn handle_of(&self, slot: u32) -> Option<Handle> {
        let entry = self.bindings.get(slot as usize)?;
        entry.life.live().then(|| self.handles[slot as usize])
    }

    /// The slot of a binding whose local tag this is, on this worker; `Err` with the worker if it is on another.
    pub(crate) fn slot_of_tag(&self, tag: u32) -> Result<u32, u8> {
        let handle = self.cipher.handle(Tag(tag));
        self.elsewhere(handle).map_or(Ok(self.layout.slot(handle)), Err)
    }

    /// The other worker whose handle it is, if there is such a one.
    #[inline(always)]
    pub(crate) fn elsewhere(&self, handle: Handle) -> Option<u8> {
        let worker = self.layout.worker(handle);
        (worker != self.worker && worker < self.workers).then_some(worker as u8)
    }

    /// Ends a live binding.
    fn end(&mut self, slot: usize, life: Life, now: Nanos) {
        let entry = &mut self.bindings[slot];
        entry.life = life;
        let (hash, limits) = (self.hasher.hash(entry.near), entry.limits);
        self.index.remove(hash, slot as u32);
        self.limits.release(limits);
        self.counters.bindings_live -= 1;
        self.ending += 1;
        self.report_end(slot, now);
    }

    /// Frees a slot that is ending, once the event that says so is queued.
    fn report_end(&mut self, slot: usize, now: Nanos) {
        let entry = &self.bindings[slot];
        if let Some(reason) = entry.life.ending()
            && self.ready()
        {
            let stats = entry.stats(seconds(now));
            self.push(Event::BindingEnded(self.handles[slot], reason, stats));
            self.bindings[slot] = Entry::default();
            self.ending -= 1;
        }
    }

    /// Periodic work: ends bindings whose time is over. Called once a turn, takes a bounded time.
    pub fn tick(&mut self, now: Nanos) {
        self.counters.events_waiting = self.events.len() as u64;
        let elapsed = now.saturating_sub(self.swept_at);
        let due = (u128::from(elapsed) * self.used as u128 / u128::from(SWEEP_NS)) as usize;
        if due == 0 {
            return;
        }
        self.swept_at = now;
        let now_s = seconds(now);
        for _ in 0..due.min(SWEEP_MOST).min(self.used) {
            let slot = self.sweep;
            self.sweep = if slot + 1 >= self.used { 0 } else { slot + 1 };
            let entry = &self.bindings[slot];
            if entry.life.live() {
                if let Some(life) = entry.over(now_s) {
                    self.end(slot, life, now);
                }
            } else if self.ending > 0 {
                self.report_end(slot, now);
            }
        }
    }

    /// The next event for the control thread, if any. It leaves the queue with [`State::pop_event`], once it stands in
    /// the ring, so that none is lost when the ring is full.
    pub fn peek_event(&self) -> Option<&Event> {
        self.events.front()
    }

    /// Removes the event that [`State::peek_event`] showed.
    pub fn pop_event(&mut self) {
        self.events.pop_front();
    }

    /// Events that wait.
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// Queues an event; never beyond the capacity, so nothing is allocated.
    #[allow(clippy::large_types_passed_by_value)] // built in place
    fn push(&mut self, event: Event) {
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        }
    }

    /// Queues an event that may be lost; whether it was not.
    #[allow(clippy::large_types_passed_by_value)] // built in place
    pub(crate) fn offer(&mut self, event: Event) -> bool {
        let room = self.events.len() < EVENTS - EVENTS_RESERVED;
        if room {
            self.events.push_back(event);
        }
        room
    }

    /// What becomes of a packet whose next hop has no MAC address: it is kept until there is one, and the control thread is
    /// asked for it. What can never be resolved, and what was kept before, is dropped.
    ///
    /// The path comes here before it changes anything of a packet that must not be changed twice: kept packets go through it
    /// anew, so that whatever else has changed meanwhile (the route, the MTU, the binding) is heeded.
    #[cold]
    pub(crate) fn hold(&mut self, neighbour: u32, now: Nanos) -> Verdict {
        if !self.holds || !self.hops.at(neighbour).known {
            return Verdict::Drop(DropReason::NeighbourUnresolved);
        }
        let now_s = seconds(now);
        // Asked only together with the event: if there is no room for it, the next packet asks.
        if self.hops.wanted(neighbour, now_s) && self.offer(Event::NeighbourWanted(NeighbourId(neighbour))) {
            self.hops.ask(neighbour, now_s);
        }
        Verdict::Hold(Neighbour24::new(neighbour))
    }

    /// Whether the address is the gateway's own on that side.
    pub(crate) fn is_own(&self, side: Side, address: u32) -> bool {
        self.own[side as usize].contains(&address)
    }

    /// An own address to speak from on a port: one of its own, or any of its side.
    pub(crate) fn own_address(&self, port: &Port) -> Option<u32> {
        port.address.or_else(|| self.own[port.side as usize].first().copied())
    }

    /// Whether the address lies in a network of proxy addresses.
    pub(crate) fn is_proxy(&self, address: u32) -> bool {
        self.proxy_networks.iter().any(|&(network, prefix)| ipv4::within(address, network, prefix))
    }

    /// Bytes of memory of the bindings and what leads to them.
    pub fn binding_bytes(&self) -> usize {
        self.bindings.len() * size_of::<Entry>()
            + self.handles.len() * size_of::<Handle>()
            + self.index.bytes()
    }

    /// The page size of the binding table's memory in bytes.
    pub fn page_size(&self) -> usize {
        self.bindings.page_size()
    }
}

/// Whole seconds.
#[inline(always)]
pub(crate) const fn seconds(now: Nanos) -> u32 {
    (now / SECOND) as u32
}
