//! What a worker owns, and how the control thread changes it.
//!
//! Each field is an owner that keeps its own things in agreement; what is done here is to say which of them a command
//! concerns. All memory is allocated in [`State::new`].

use crate::Nanos;
use crate::counters::Counters;
use crate::events::Events;
use crate::msg::{Command, Event, Record, TraceRecord};
use crate::packet::{BURST, Packet};
use crate::premises::{Meters, Premises};
use crate::seal::KeyChange;
use crate::settings::{SettingsError, WorkerSettings};
use crate::table::bindings::Bindings;
use crate::table::index::Hasher;
use crate::table::sessions::{Adopted, Sessions};
use crate::tag::Share;
use crate::trace::Trace;
use crate::way::Ways;
use machine::Kept;

/// Everything that one worker owns.
pub struct State {
    /// What the worker counts.
    pub counters: Counters,
    pub(crate) premises: Premises,
    pub(crate) meters: Meters,
    pub(crate) share: Share,
    pub(crate) hasher: Hasher,
    pub(crate) bindings: Bindings,
    pub(crate) sessions: Sessions,
    pub(crate) ways: Ways,
    pub(crate) events: Events,
    pub(crate) trace: Box<Trace>,
    /// The burst under way, parsed: [`BURST`] packets.
    pub(crate) packets: Vec<Packet>,
}

impl State {
    /// Allocates every table.
    pub fn new(settings: &WorkerSettings) -> Result<Self, SettingsError> {
        Self::with(settings, None)
    }

    /// The same, where sessions of NAT44 go on that stand in this file: see [`Sessions::adopt`].
    pub fn resumed(settings: &WorkerSettings, kept: Kept, now: Nanos) -> Result<Self, SettingsError> {
        let mut state = Self::with(settings, Some(kept))?;
        let Adopted { adopted, forgotten } =
            state.sessions.adopt(&state.share, &settings.nat, &settings.alg, now);
        state.counters.sessions_adopted = adopted;
        state.counters.sessions_forgotten = forgotten;
        Ok(state)
    }

    fn with(settings: &WorkerSettings, kept: Option<Kept>) -> Result<Self, SettingsError> {
        settings.check()?;
        let hasher = Hasher::new(settings.hash_seed);
        let share = Share::new(settings.tag_key, settings.layout, settings.worker, settings.workers)
            .with_port_bits(settings.nat.port_bits());
        Ok(Self {
            counters: Counters::default(),
            premises: Premises::new(settings),
            meters: Meters::new(hasher),
            share,
            hasher,
            bindings: Bindings::new(settings, hasher, share)?,
            sessions: Sessions::new(settings, hasher, share, kept)?,
            ways: Ways::new(settings, hasher)?,
            events: Events::default(),
            trace: Box::default(),
            packets: vec![Packet::NOTHING; BURST],
        })
    }

    /// Whether [`State::command`] may be called: there is room for the event that answers a command. If not, the worker
    /// leaves commands in their ring until the control thread has taken events.
    pub fn ready(&self) -> bool {
        self.events.ready()
    }

    /// Carries out a command. Call it only when [`State::ready`].
    pub fn command(&mut self, command: Command, now: Nanos) {
        match command {
            Command::SetTunnel(id, ref tunnel) => self.ways.set_tunnel(id, tunnel),
            Command::RemoveTunnel(id) => self.ways.remove_tunnel(id),
            Command::SetHop(id, ref neighbour) => {
                self.ways.set_hop(id, neighbour, &self.premises);
            }
            Command::Reach(address, id) => self.ways.reach(address, id),
            Command::Unreach(address) => self.ways.unreach(address),
            Command::InsertBinding(handle, ref binding) => match self.bindings.insert(handle, binding, now) {
                Ok(()) => self.counters.bindings_inserted += 1,
                Err(error) => {
                    self.counters.insert_failed += 1;
                    self.events.push(Event::InsertFailed(handle, error));
                }
            },
            Command::PinBinding(handle, mac) => self.bindings.pin(handle, mac),
            Command::RemoveBinding(handle) => self.bindings.remove(handle, &mut self.events, now),
            Command::ReadBinding(handle) => {
                let stats = self.bindings.stats(handle, now);
                self.events.push(Event::BindingStats(handle, stats));
            }
            Command::ReadRows(table, number, from) => {
                let end =
                    self.sessions.read(table, from, now, |row| self.events.offer(Event::Row(number, row)));
                self.events.push(Event::RowsRead(number, end));
            }
            Command::Reserve(id, reservation) => self.sessions.reserve(id, reservation, now),
            Command::Withdraw(id) => self.sessions.withdraw(id),
            Command::Trace(filter, count) => self.trace.arm(filter, count),
            // What they are about does not go by value: see [`State::move_in`] and [`State::change_key`].
            Command::MoveIn | Command::TakeKey => {}
        }
        self.counters.bindings_live = self.bindings.live();
    }

    /// Takes other premises, and leaves those that were in their place: whoever made them frees them. They stand in the state
    /// itself, so that the path reaches them in one step less than through a pointer.
    pub fn move_in(&mut self, premises: &mut Premises) {
        std::mem::swap(&mut self.premises, premises);
        let Self { premises: now, sessions, .. } = self;
        sessions.offer(&now.nat, &now.pool);
        if now.translations() != premises.translations() {
            sessions.look_anew();
        }
    }

    /// Takes a key of a peer, and leaves the one that was in its place: whoever made it frees it.
    pub fn change_key(&mut self, change: &mut KeyChange) {
        self.ways.seals_mut().change(change);
    }

    /// Periodic work: ends bindings and sessions whose time is over. Called once a turn, takes a bounded time.
    pub fn tick(&mut self, now: Nanos) {
        if let Some(slot) = self.ways.seals_mut().take_low() {
            // If there is no room, the peer has its other key by time.
            self.events.offer(Event::KeyLow(slot));
        }
        if self.bindings.expire(&mut self.events, now) {
            self.counters.bindings_live = self.bindings.live();
        }
        if self.sessions.has_room() {
            self.counters.sessions_ended += self.sessions.expire(&self.premises.nat, now);
            self.counters.sessions_changed += self.sessions.end_stale(&self.premises.nat, now);
            self.sessions.expire_reservations(&mut self.events, now);
        }
    }

    /// Counts what there is of everything, for whoever reads the counters.
    pub fn take_stock(&mut self) {
        self.counters.events_waiting = self.events.len() as u64;
        let seals = self.ways.seals();
        (self.counters.packets_sealed, self.counters.packets_opened) = (seals.sealed, seals.opened);
        self.counters.alg_channels = self.bindings.conversations().len() as u64;
        if self.sessions.has_room() {
            let usage = self.sessions.usage();
            self.counters.sessions_live = usage.sessions;
            self.counters.mappings_live = usage.mappings;
            self.counters.nat_hosts = usage.hosts;
            self.counters.sessions_configured = usage.configured;
            self.counters.nat_ports = usage.ports;
            self.counters.nat_blocks = usage.blocks;
            self.counters.records_lost = self.sessions.records_lost();
            self.counters.sessions_displaced = usage.displaced;
            self.counters.sessions_percent = usage.sessions_percent;
            self.counters.ports_percent = usage.ports_percent;
            let (channels, awaited) = self.sessions.attended();
            self.counters.alg_channels += channels;
            self.counters.alg_awaited = awaited;
            (self.counters.sip_live, self.counters.rtsp_live) = self.sessions.calls();
        }
    }

    /// The number of a first fragment that came since this was asked last: later ones may wait for it.
    pub fn take_came(&mut self) -> Option<u32> {
        self.bindings.annexes_mut().take_came().or_else(|| self.sessions.take_came())
    }

    /// The next event for the control thread, if any: see [`Events::peek`].
    pub fn peek_event(&self) -> Option<&Event> {
        self.events.peek()
    }

    /// Removes the event that [`State::peek_event`] showed.
    pub fn pop_event(&mut self) {
        self.events.pop();
    }

    /// Whether there are records of NAT44 for the control thread.
    #[inline(always)]
    pub fn has_records(&self) -> bool {
        self.sessions.has_records()
    }

    /// The next record of NAT44 for the control thread, if any. It leaves with [`State::pop_record`].
    #[inline]
    pub fn peek_record(&self) -> Option<&Record> {
        self.sessions.peek_record()
    }

    /// Removes the record that [`State::peek_record`] showed.
    pub fn pop_record(&mut self) {
        self.sessions.pop_record();
    }

    /// The next record of a trace for the control thread, if any. It leaves with [`State::pop_trace`].
    pub fn peek_trace(&self) -> Option<&TraceRecord> {
        self.trace.peek()
    }

    /// Removes the record that [`State::peek_trace`] showed.
    pub fn pop_trace(&mut self) {
        self.trace.pop();
    }

    /// Events that wait.
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// The page size of the binding table's memory in bytes.
    pub fn page_size(&self) -> usize {
        self.bindings.page_size()
    }
}
