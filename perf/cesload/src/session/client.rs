//! The side that begins sessions: a state machine over frames and time, without I/O.
//!
//! A session asks for a name (or knows its address), sets up (SYN, SYN-ACK, ACK; over UDP the first request and response),
//! sends its requests one after the other, and ends (FIN, FIN-ACK, ACK). What is not answered in time is sent again, and
//! after the last try the session has failed for the cause that it waited for. So every session that was begun is open,
//! completed or failed for one cause, whatever the network does.

mod receive;
mod send;

use crate::frame::ends::Ends;
use crate::session::dns;
use crate::session::frames::{Outlet, SessionTemplate};
use crate::session::packet::Packet;
use crate::session::plan::{Destination, Plan, Share, Transport};
use crate::session::stamp::Stamp;
use crate::session::table::{State, Table, Wait};
use crate::session::tally::{Cause, Tally};
use ces_dataplane::Nanos;
use ces_dataplane::wire::ethernet;
use ces_dataplane::wire::tcp::{ACK, FIN};

/// One thread's clients of one profile. A slot's number in here is its place in the thread's share.
pub struct Client {
    plan: Plan,
    share: Share,
    table: Table,
    /// The port that they are at.
    port: usize,
    link: ethernet::Header,
    syn: SessionTemplate,
    plain: SessionTemplate,
    request: SessionTemplate,
    trial: u16,
    secret: u64,
    /// Whether sessions stay open after their set-up, until they are used and ended.
    keep: bool,
    /// Sessions begun in all trials: a name that was asked for in one comes in the next only after all others.
    turn: u64,
    tally: Tally,
}

/// Each thread looks at the clock once a turn, so that another's server may be ahead of ours by one: less than a millisecond.
const TURN_NS: Nanos = 1_000_000;

/// Mixes the bits of a number (the finaliser of MurmurHash3).
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

impl Client {
    /// A `share` of the clients at `port`, whose frames have `link` as their header. `secret` makes sequence numbers and ids
    /// hard to hit by chance for what belongs to another trial.
    ///
    /// # Errors
    /// If the system has not as much memory available as the table takes.
    pub fn new(
        plan: Plan,
        share: Share,
        port: usize,
        link: ethernet::Header,
        secret: u64,
    ) -> std::io::Result<Self> {
        let request = match plan.transport {
            Transport::Tcp => SessionTemplate::data(&link, plan.request_bytes),
            Transport::Udp => SessionTemplate::datagram(&link, plan.request_bytes),
        };
        Ok(Self {
            table: Table::new(share.count())?,
            syn: SessionTemplate::syn(&link),
            plain: SessionTemplate::data(&link, 0),
            request,
            tally: Tally::default(),
            keep: false,
            turn: 0,
            plan,
            share,
            port,
            link,
            trial: 0,
            secret,
        })
    }

    /// Begins a trial: counts from 0, with the new trial's number. `keep`: whether sessions stay open after their set-up;
    /// such take the first slots.
    pub fn reset(&mut self, trial: u16, keep: bool) {
        (self.trial, self.keep) = (trial, keep);
        self.table.reset(keep);
        self.tally = Tally::default();
    }

    /// What it counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What it counted since the last time; counts from 0 again.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What the sessions are.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which of them are here.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// The slot that a packet is for, if it is here.
    pub fn slot_of(&self, ends: Ends) -> Option<u32> {
        self.share.place_of(self.plan.slot_of(ends)?)
    }

    /// The thread that a packet is for, if that is another one.
    pub fn other_owner_of(&self, ends: Ends) -> Option<usize> {
        let slot = self.plan.slot_of(ends)?;
        if self.share.place_of(slot).is_some() { None } else { Some(self.share.owner_of(slot)) }
    }

    /// The port that they are at.
    pub fn port(&self) -> usize {
        self.port
    }

    /// Sessions that are not at their end.
    pub fn open(&self) -> u32 {
        self.table.open()
    }

    /// Sessions that wait for nothing, because they are kept open.
    pub fn idle(&self) -> u32 {
        self.table.idle()
    }

    /// Whether a session waits for nothing, because it is kept open.
    pub fn is_idle(&self, slot: u32) -> bool {
        self.table.slot(slot).state() == State::Idle
    }

    /// All sessions are in slots below this.
    pub fn slots_used(&self) -> u32 {
        self.table.used()
    }

    /// Asks for a session's memory, which is needed soon.
    pub fn prefetch(&self, slot: u32) {
        self.table.prefetch(slot);
    }

    /// Begins a session; `false` if all addresses and ports are in use.
    pub fn begin(&mut self, now: Nanos, out: &mut impl Outlet) -> bool {
        if self.table.open() >= self.plan.outstanding.div_ceil(self.share.threads() as u32) {
            return false;
        }
        let Some(slot) = self.table.free() else { return false };
        let turn = self.turn;
        self.turn += 1;
        self.tally.begun += 1;
        let begun = Stamp::at(now);
        let entry = self.table.slot_mut(slot);
        (entry.begun, entry.answered) = (begun, 0);
        match &self.plan.target {
            Destination::Addresses { first, count } => {
                entry.peer = first.wrapping_add((turn % u64::from(*count)) as u32);
                self.open_transport(slot, now, out);
            }
            Destination::Named { names, .. } => {
                // Every client asks for a name before any asks for the next, so that all pairs come before one comes again.
                // Each thread asks for another one meanwhile.
                let round = turn / u64::from(self.plan.clients) * self.share.threads() as u64;
                entry.peer = ((round + self.share.thread() as u64) % u64::from(names.count())) as u32;
                self.table.enter(slot, State::Asking, now);
                self.ask(slot, out);
            }
        }
        true
    }

    /// Sends again, or gives up, what was waited for too long, and lets those go on who have thought enough: at most
    /// `most` sessions.
    pub fn expire(&mut self, most: usize, now: Nanos, out: &mut impl Outlet) {
        for _ in 0..most {
            let Some(slot) = self.table.due(Wait::Reply, self.plan.timeout_ns, now) else { break };
            self.lapse(slot, now, out);
        }
        for _ in 0..most {
            let Some(slot) = self.table.due(Wait::Thought, self.plan.think_ns, now) else { break };
            self.send_request(slot, now, out);
        }
    }

    /// Sends a request through a session that is kept open; `false` if it is not there or busy.
    pub fn use_kept(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) -> bool {
        let idle = self.is_idle(slot);
        if idle {
            self.send_request(slot, now, out);
        }
        idle
    }

    /// Ends a session that is kept open; `false` if it is not there or busy.
    pub fn end_kept(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) -> bool {
        let idle = self.is_idle(slot);
        if idle {
            self.close(slot, now, out);
        }
        idle
    }

    /// Gives up every session that is not at its end.
    pub fn abandon(&mut self, now: Nanos) {
        for slot in 0..self.table.used() {
            if self.table.slot(slot).state() != State::Free {
                self.fail(slot, Cause::Stopped, now);
            }
        }
    }

    /// Takes a frame of `length` bytes with FCS, if it is for one of its clients.
    pub fn receive(&mut self, packet: &Packet<'_>, length: usize, now: Nanos, out: &mut impl Outlet) -> bool {
        let (&Packet::Tcp(ends, _) | &Packet::Udp(ends, _)) = packet else { return false };
        let Some(slot) = self.slot_of(ends) else { return false };
        let named = match &self.plan.target {
            Destination::Named { server, .. } => ends.source_port == dns::PORT && ends.source == *server,
            Destination::Addresses { .. } => false,
        };
        if ends.source_port != self.plan.server_port && !named {
            return false;
        }
        match *packet {
            Packet::Udp(_, payload) if named => self.answer(slot, payload, now, out),
            Packet::Udp(_, payload) if self.plan.transport == Transport::Udp => {
                self.datagram(slot, ends, payload, now, out);
            }
            Packet::Tcp(_, segment) if self.plan.transport == Transport::Tcp => {
                self.segment(slot, ends, &segment, now, out);
            }
            _ => return false,
        }
        self.tally.received_bytes += length as u64;
        true
    }

    /// Counts a frame for this port that was damaged.
    pub fn damaged(&mut self) {
        self.tally.damaged += 1;
    }

    // --- What a session does next

    fn open_transport(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        self.table.slot_mut(slot).mark = Stamp::at(now).0;
        self.table.enter(slot, State::Opening, now);
        match self.plan.transport {
            Transport::Tcp => self.send_syn(slot, now, out),
            Transport::Udp => {
                self.tally.requests += 1;
                self.emit_request(slot, now, out);
            }
        }
    }

    fn set_up(&mut self, slot: u32, arrived: Option<Stamp>, now: Nanos) {
        self.tally.set_up += 1;
        let entry = self.table.slot(slot);
        if let Some(taken) = Stamp::at(now).since(Stamp(entry.mark)) {
            self.tally.set_up_ns.saturating_record(taken);
        }
        // The server's clock is ours. What it says to be after now or before the begin was not written by it.
        let credible = arrived.filter(|&at| Stamp::at(now + TURN_NS).since(at).is_some());
        if let Some(taken) = credible.and_then(|at| at.since(entry.begun)) {
            self.tally.first_packet_ns.saturating_record(taken);
        }
    }

    /// After a response, or after the handshake.
    fn go_on(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        let first = self.table.slot(slot).answered == 0;
        if self.keep {
            self.table.enter(slot, State::Idle, now);
        } else if self.table.slot(slot).answered == self.plan.requests {
            return self.close(slot, now, out);
        } else if !first && self.plan.think_ns > 0 {
            self.table.enter(slot, State::Thinking, now);
        } else {
            // The request carries the acknowledgement.
            return self.send_request(slot, now, out);
        }
        if self.plan.transport == Transport::Tcp {
            self.emit_plain(slot, ACK, now, out);
        }
    }

    fn send_request(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        self.table.enter(slot, State::Requesting, now);
        self.tally.requests += 1;
        self.emit_request(slot, now, out);
    }

    fn close(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        match self.plan.transport {
            Transport::Udp => self.complete(slot, now),
            Transport::Tcp => {
                self.table.enter(slot, State::Closing, now);
                self.emit_plain(slot, FIN | ACK, now, out);
            }
        }
    }

    fn complete(&mut self, slot: u32, now: Nanos) {
        self.tally.completed += 1;
        self.table.enter(slot, State::Free, now);
    }

    fn fail(&mut self, slot: u32, cause: Cause, now: Nanos) {
        self.tally.failed[cause as usize] += 1;
        self.table.enter(slot, State::Free, now);
    }

    /// Nothing came in time.
    fn lapse(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        let entry = self.table.slot(slot);
        let state = entry.state();
        if entry.again >= self.plan.retries {
            let cause = match (state, self.plan.transport) {
                (State::Asking, _) => Cause::NoDnsAnswer,
                (State::Opening, Transport::Tcp) => Cause::NoSynAck,
                (State::Closing, _) => Cause::NoFin,
                _ => Cause::NoResponse,
            };
            return self.fail(slot, cause, now);
        }
        self.table.wait_again(slot, now);
        self.tally.again += 1;
        match (state, self.plan.transport) {
            (State::Asking, _) => self.ask(slot, out),
            (State::Opening, Transport::Tcp) => self.send_syn(slot, now, out),
            (State::Closing, _) => self.emit_plain(slot, FIN | ACK, now, out),
            _ => self.emit_request(slot, now, out),
        }
    }
}
