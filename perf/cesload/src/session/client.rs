//! The side that begins sessions: a state machine over frames and time, without I/O.
//!
//! A session asks for a name (or knows its address), sets up (SYN, SYN-ACK, ACK; over UDP the first request and response),
//! sends its requests one after the other, and ends (FIN, FIN-ACK, ACK). What is not answered in time is sent again, and
//! after the last try the session has failed for the cause that it waited for. So every session that was begun is open,
//! completed or failed for one cause, whatever the network does.

use crate::frame::signature::Signature;
use crate::session::dns::{self, Answer};
use crate::session::frames::{FIN, Fields, Outlet, PSH, SLOT_BITS, Template, datagram, signature_of};
use crate::session::packet::{Ends, Packet, Segment};
use crate::session::plan::{Plan, Target, Transport};
use crate::session::stamp::Stamp;
use crate::session::table::{State, Table, Wait};
use crate::session::tally::{Cause, Tally};
use ces_dataplane::Nanos;
use ces_dataplane::wire::ethernet;
use ces_dataplane::wire::tcp::{ACK, RST, SYN};

/// The clients of one profile.
pub struct Client {
    plan: Plan,
    table: Table,
    /// The port that they are at.
    port: usize,
    link: ethernet::Header,
    syn: Template,
    plain: Template,
    request: Template,
    trial: u16,
    secret: u64,
    /// Whether sessions stay open after their set-up, until they are used and ended.
    keep: bool,
    /// Sessions begun in all trials: a name that was asked for in one comes in the next only after all others.
    turn: u64,
    tally: Tally,
}

/// Mixes the bits of a number (the finaliser of MurmurHash3).
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// Of two sequence numbers, whether the first is before the second (RFC 9293 §3.4).
const fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

impl Client {
    /// Clients at `port`, whose frames have `link` as their header. `secret` makes sequence numbers and ids hard to hit by
    /// chance for what belongs to another trial.
    ///
    /// # Errors
    /// If the system has not as much memory available as the table takes.
    pub fn new(plan: Plan, port: usize, link: ethernet::Header, secret: u64) -> std::io::Result<Self> {
        let request = match plan.transport {
            Transport::Tcp => Template::data(&link, plan.request_bytes),
            Transport::Udp => Template::datagram(&link, plan.request_bytes),
        };
        Ok(Self {
            table: Table::new(plan.capacity())?,
            syn: Template::syn(&link),
            plain: Template::data(&link, 0),
            request,
            tally: Tally::default(),
            keep: false,
            turn: 0,
            plan,
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
        let Some(slot) = self.table.free() else { return false };
        let turn = self.turn;
        self.turn += 1;
        self.tally.begun += 1;
        let begun = Stamp::at(now);
        let entry = self.table.slot_mut(slot);
        (entry.begun, entry.answered) = (begun, 0);
        match &self.plan.target {
            Target::Addresses { first, count } => {
                entry.peer = first.wrapping_add((turn % u64::from(*count)) as u32);
                self.open_transport(slot, now, out);
            }
            Target::Named { names, .. } => {
                // Every client asks for a name before any asks for the next, so that all pairs come before one comes again.
                entry.peer = (turn / u64::from(self.plan.clients) % u64::from(names.count())) as u32;
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
        let Some(slot) = self.plan.slot_of(ends) else { return false };
        let named = match &self.plan.target {
            Target::Named { server, .. } => ends.source_port == dns::PORT && ends.source == *server,
            Target::Addresses { .. } => false,
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
        let credible = arrived.filter(|&at| Stamp::at(now).since(at).is_some());
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

    // --- What is sent

    fn ends(&self, slot: u32) -> Ends {
        let (source, source_port) = self.plan.client_of(slot);
        Ends {
            source,
            destination: self.table.slot(slot).peer,
            source_port,
            destination_port: self.plan.server_port,
        }
    }

    /// A number of the session that an earlier one of the slot does not have.
    fn nonce(&self, slot: u32) -> u32 {
        mix(self.secret ^ u64::from(self.table.slot(slot).begun.0) << 32 ^ u64::from(slot)) as u32
    }

    fn sent(&mut self, sent: bool, bytes: usize) {
        self.tally.sent_bytes += if sent { bytes as u64 } else { 0 };
        self.tally.unsent += u64::from(!sent);
    }

    /// The query of a session, and its length.
    fn query(&self, slot: u32) -> Option<([u8; dns::QUERY_MAX], usize)> {
        let Target::Named { names, .. } = &self.plan.target else { return None };
        let mut query = [0; dns::QUERY_MAX];
        let length = dns::query(self.nonce(slot) as u16, names, self.table.slot(slot).peer, &mut query)?;
        Some((query, length))
    }

    fn ask(&mut self, slot: u32, out: &mut impl Outlet) {
        let Target::Named { server, .. } = self.plan.target else { return };
        let Some((query, length)) = self.query(slot) else { return };
        let ends = Ends { destination: server, destination_port: dns::PORT, ..self.ends(slot) };
        let sent = datagram(out, self.port, &self.link, ends, &query[..length]);
        self.sent(sent.is_some(), sent.unwrap_or(0));
    }

    fn send_syn(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        let fields = Fields {
            sequence: self.nonce(slot),
            acknowledgement: 0,
            flags: SYN,
            now: Stamp::at(now),
            echo: 0,
        };
        let sent = self.syn.emit_tcp(out, self.port, None, self.ends(slot), &fields);
        self.sent(sent, self.syn.size());
    }

    fn fields(&self, slot: u32, flags: u8, now: Nanos) -> Fields {
        let entry = self.table.slot(slot);
        let (sequence, acknowledgement) = (entry.mark, entry.expected);
        Fields { sequence, acknowledgement, flags, now: Stamp::at(now), echo: 0 }
    }

    fn emit_plain(&mut self, slot: u32, flags: u8, now: Nanos, out: &mut impl Outlet) {
        let fields = self.fields(slot, flags, now);
        let sent = self.plain.emit_tcp(out, self.port, None, self.ends(slot), &fields);
        self.sent(sent, self.plain.size());
    }

    fn emit_request(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        let ends = self.ends(slot);
        let sent = match self.plan.transport {
            Transport::Tcp => {
                let fields = self.fields(slot, PSH | ACK, now);
                self.request.emit_tcp(out, self.port, None, ends, &fields)
            }
            Transport::Udp => {
                let entry = self.table.slot(slot);
                let signature = Signature {
                    trial: self.trial,
                    flow: u32::from(self.plan.number) << SLOT_BITS | slot,
                    sequence: entry.begun.0 << 16 | u32::from(entry.answered),
                    time_ns: now,
                };
                self.request.emit_udp(out, self.port, None, ends, &signature)
            }
        };
        self.sent(sent, self.request.size());
    }

    // --- What comes

    fn answer(&mut self, slot: u32, payload: &[u8], now: Nanos, out: &mut impl Outlet) {
        if self.table.slot(slot).state() != State::Asking {
            return self.stray(slot);
        }
        let Some((query, length)) = self.query(slot) else { return };
        let cause = match dns::answer(payload, &query[..length]) {
            Answer::NotOurs => {
                self.tally.late += 1;
                return;
            }
            Answer::Address(address) => {
                self.tally.resolved += 1;
                if let Some(taken) = Stamp::at(now).since(self.table.slot(slot).begun) {
                    self.tally.dns_ns.saturating_record(taken);
                }
                self.table.slot_mut(slot).peer = address;
                return self.open_transport(slot, now, out);
            }
            Answer::Error(dns::REFUSED) => Cause::DnsRefused,
            Answer::Error(dns::SERVER_FAILURE) => Cause::DnsServerFailure,
            Answer::Error(dns::NO_SUCH_NAME) => Cause::DnsNoSuchName,
            Answer::NoAddress => Cause::DnsNoAddress,
            Answer::Error(_) | Answer::Truncated | Answer::Malformed => Cause::DnsUnusable,
        };
        self.fail(slot, cause, now);
    }

    fn responded(&mut self, slot: u32, now: Nanos) {
        self.tally.responses += 1;
        let entry = self.table.slot(slot);
        // Of a request that was sent more than once it is not known which was answered (Karn's algorithm, RFC 6298 §3).
        if let Some(taken) = entry.waited(now).filter(|_| entry.again == 0) {
            self.tally.response_ns.saturating_record(taken);
        }
    }

    /// Something that was due once, and is not now.
    fn stray(&mut self, slot: u32) {
        if self.table.slot(slot).state() == State::Free {
            self.tally.late += 1;
        } else {
            self.tally.duplicated += 1;
        }
    }

    fn datagram(&mut self, slot: u32, ends: Ends, payload: &[u8], now: Nanos, out: &mut impl Outlet) {
        let entry = *self.table.slot(slot);
        let signature = signature_of(payload).filter(|it| {
            it.trial == self.trial && it.flow == u32::from(self.plan.number) << SLOT_BITS | slot
        });
        let Some(signature) = signature else {
            self.tally.late += 1;
            return;
        };
        if entry.state() == State::Free || signature.sequence >> 16 != entry.begun.0 & 0xffff {
            self.tally.late += 1;
            return;
        }
        let expected = entry.answered;
        if signature.sequence as u16 != expected
            || !matches!(entry.state(), State::Opening | State::Requesting)
        {
            self.tally.duplicated += 1;
            return;
        }
        if ends.source != entry.peer || payload.len() != self.plan.response_bytes {
            self.tally.misplaced += 1;
            return;
        }
        if entry.state() == State::Opening {
            self.set_up(slot, Some(Stamp::at(signature.time_ns)), now);
        }
        self.responded(slot, now);
        self.table.slot_mut(slot).answered = expected.wrapping_add(1);
        self.go_on(slot, now, out);
    }

    fn segment(&mut self, slot: u32, ends: Ends, segment: &Segment<'_>, now: Nanos, out: &mut impl Outlet) {
        let entry = *self.table.slot(slot);
        if entry.state() == State::Free {
            self.tally.late += 1;
            return;
        }
        if ends.source != entry.peer || entry.state() == State::Asking {
            self.tally.misplaced += 1;
            return;
        }
        if entry.state() == State::Opening {
            return self.opening(slot, segment, now, out);
        }
        if segment.flags & RST != 0 {
            // RFC 9293 §3.5.3: a reset counts if its sequence number is the one that is due (RFC 5961 §3.2).
            return if segment.sequence == entry.expected {
                self.fail(slot, Cause::Reset, now);
            } else {
                self.tally.misplaced += 1;
            };
        }
        if segment.payload.is_empty() && segment.flags & (SYN | FIN) == 0 {
            return; // an acknowledgement alone: nothing waits for it
        }
        if before(segment.sequence, entry.expected) {
            self.tally.duplicated += 1;
            return;
        }
        if segment.sequence != entry.expected || segment.flags & SYN != 0 {
            self.tally.misplaced += 1;
            return;
        }
        let acknowledged = segment.acknowledgement.wrapping_sub(entry.mark) as usize;
        match entry.state() {
            State::Requesting
                if acknowledged == self.plan.request_bytes
                    && segment.payload.len() == self.plan.response_bytes
                    && segment.flags & FIN == 0 =>
            {
                self.responded(slot, now);
                let entry = self.table.slot_mut(slot);
                entry.mark = segment.acknowledgement;
                entry.expected = segment.sequence.wrapping_add(segment.payload.len() as u32);
                entry.answered = entry.answered.wrapping_add(1);
                self.go_on(slot, now, out);
            }
            // RFC 9293 §3.6: our FIN takes one number, and so does theirs.
            State::Closing
                if acknowledged == 1
                    && segment.payload.is_empty()
                    && segment.flags & (FIN | ACK) == FIN | ACK =>
            {
                let entry = self.table.slot_mut(slot);
                entry.mark = segment.acknowledgement;
                entry.expected = segment.sequence.wrapping_add(1);
                self.emit_plain(slot, ACK, now, out);
                self.complete(slot, now);
            }
            _ => self.tally.misplaced += 1,
        }
    }

    /// RFC 9293 §3.10.7.3: what comes in the state SYN-SENT.
    fn opening(&mut self, slot: u32, segment: &Segment<'_>, now: Nanos, out: &mut impl Outlet) {
        let due = self.nonce(slot).wrapping_add(1);
        let acknowledged = segment.flags & ACK != 0 && segment.acknowledgement == due;
        if segment.flags & RST != 0 {
            // "If the ACK was acceptable, then signal … connection reset", and otherwise drop it.
            return if acknowledged {
                self.fail(slot, Cause::Refused, now);
            } else {
                self.tally.misplaced += 1;
            };
        }
        if segment.flags & ACK != 0 && !acknowledged {
            // "If SEG.ACK =< ISS, or SEG.ACK > SND.NXT, send a reset … <SEQ=SEG.ACK><CTL=RST>".
            self.tally.misplaced += 1;
            let fields = Fields {
                sequence: segment.acknowledgement,
                acknowledgement: 0,
                flags: RST,
                now: Stamp::at(now),
                echo: 0,
            };
            let sent = self.plain.emit_tcp(out, self.port, None, self.ends(slot), &fields);
            return self.sent(sent, self.plain.size());
        }
        if segment.flags & (SYN | ACK) != SYN | ACK {
            self.tally.misplaced += 1;
            return;
        }
        self.set_up(slot, segment.timestamp.map(Stamp), now);
        let entry = self.table.slot_mut(slot);
        entry.mark = due;
        entry.expected = segment.sequence.wrapping_add(1);
        if !self.keep {
            self.emit_plain(slot, ACK, now, out);
        }
        self.go_on(slot, now, out);
    }
}
