//! One thread's clients and servers of a profile on their ports: what one turn of the generator's loop does.
//!
//! What is for a server, any thread answers. What is for a client is its own thread's: where a device spreads packets over
//! queues in its own way, they come to any thread, which hands them over to their owner by a ring.

use crate::arp::Answers;
use crate::frame::ends::Ends;
use crate::frame::signature::{self, Found};
use crate::session::client::Client;
use crate::session::frames::FCS;
use crate::session::packet::Packet;
use crate::session::plan::Transport;
use crate::session::server::{Served, Server};
use crate::session::tally::Tally;
use crate::session::wires::Wires;
use ces_dataplane::Nanos;
use ces_dataplane::frame::Frame;
use ces_dataplane::io::{Pool, PortQueues};
use ces_dataplane::msg::PortId;
use ces_dataplane::worker::{HandedOver, Mesh};
use std::time::Duration;

/// Frames received, and sessions expired, at once: as many memory lines as a core can ask for before the first comes.
const BURST: usize = 32;
/// So far ahead a session's memory is asked for that will be used.
const AHEAD: u32 = 8;
/// So many slots are looked at in a turn for one to use.
const LOOK: usize = 256;

/// One kind of sessions: clients, server, and its part of all.
pub struct SessionKind {
    /// The side that begins.
    pub client: Client,
    /// The side that answers.
    pub server: Server,
    /// Its part, beside those of the others.
    pub weight: f64,
    /// What it is behind its part.
    pub credit: f64,
}

/// Frames that wait for another thread at most, from each. It looks at them in every turn; so many come while it is held up for
/// 100 µs at 2.5 million a second.
pub const HAND_OVER: usize = 256;

/// What was counted, and is counted anew.
#[derive(Debug, Default)]
pub struct Taken {
    /// Of each kind's client.
    pub tallies: Vec<Tally>,
    /// Of each kind's server.
    pub served: Vec<Served>,
    /// Frames that were for nobody.
    pub foreign: u64,
    /// Frames for another thread's sessions.
    pub handed_over: u64,
}

/// What became of the wish to begin a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has begun.
    Yes,
    /// Its port takes no more now.
    Congested,
    /// Every address and port is in use.
    Full,
}

/// All sessions of a profile on their ports.
pub struct Load<P: PortQueues, Q> {
    wires: Wires<P, Q>,
    kinds: Vec<SessionKind>,
    answers: Vec<Answers>,
    received: Vec<P::Frame>,
    /// What of it stays here.
    kept: Vec<P::Frame>,
    /// The rings between threads.
    mesh: Mesh<P::Frame>,
    foreign: u64,
    /// Frames for which the ring to their owner has had no room yet: a burst at most.
    held: Vec<(usize, PortId, P::Frame)>,
    handed_over: u64,
    /// Whether more may wait at the ports than was received in the last turn.
    busy: bool,
    /// Whether anything came in this turn.
    came: bool,
    /// How long a turn sleeps in which nothing came. Nothing: it never does.
    pub nap: Duration,
    /// Where the turn through kept sessions goes on.
    kind: usize,
    slot: u32,
    /// How often that turn has come to its end.
    rounds: u64,
}

impl<P: PortQueues, Q: Pool<Frame = P::Frame>> Load<P, Q>
where
    P::Frame: Send,
{
    /// Sessions of these kinds; ARP requests are answered by port. `mesh`: the rings from and to the other threads.
    pub fn new(
        wires: Wires<P, Q>,
        kinds: Vec<SessionKind>,
        answers: Vec<Answers>,
        mesh: Mesh<P::Frame>,
    ) -> Self {
        Self {
            wires,
            kinds,
            answers,
            received: Vec::with_capacity(BURST),
            kept: Vec::with_capacity(BURST),
            mesh,
            foreign: 0,
            held: Vec::with_capacity(BURST),
            handed_over: 0,
            busy: false,
            came: false,
            nap: Duration::ZERO,
            kind: 0,
            slot: 0,
            rounds: 0,
        }
    }

    /// Begins a trial.
    pub fn reset(&mut self, trial: u16, keep: bool) {
        for kind in &mut self.kinds {
            let requests = kind.client.plan().requests;
            kind.client.reset(trial, keep);
            kind.server.reset(trial, requests, keep);
            kind.credit = 0.0;
        }
        (self.foreign, self.handed_over) = (0, 0);
        self.restart_turn();
    }

    /// Begins the turn through kept sessions anew.
    pub fn restart_turn(&mut self) {
        (self.kind, self.slot, self.rounds) = (0, 0, 0);
    }

    /// The kinds of sessions.
    pub fn kinds(&self) -> &[SessionKind] {
        &self.kinds
    }

    /// Sessions that are not at their end.
    pub fn open(&self) -> u64 {
        self.kinds.iter().map(|kind| u64::from(kind.client.open())).sum()
    }

    /// Sessions that are kept open and wait for nothing.
    pub fn idle(&self) -> u64 {
        self.kinds.iter().map(|kind| u64::from(kind.client.idle())).sum()
    }

    /// Sum over all clients.
    pub fn sum(&self, count: impl Fn(&Tally) -> u64) -> u64 {
        self.kinds.iter().map(|kind| count(kind.client.tally())).sum()
    }

    /// How often all kept sessions had their turn.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// What was counted since the last time, which begins anew.
    pub fn take_counts(&mut self) -> Taken {
        Taken {
            tallies: self.kinds.iter_mut().map(|kind| kind.client.take_tally()).collect(),
            served: self.kinds.iter_mut().map(|kind| kind.server.take_served()).collect(),
            foreign: std::mem::take(&mut self.foreign),
            handed_over: std::mem::take(&mut self.handed_over),
        }
    }

    /// Receives, answers, sends again what was not answered, and sends.
    pub fn turn(&mut self, now: Nanos) {
        (self.busy, self.came) = (false, false);
        self.hand_over_held();
        for pair in 0..self.wires.pairs() {
            self.receive(pair, now);
        }
        self.mesh.tell();
        self.take_handed_over(now);
        for kind in &mut self.kinds {
            if self.wires.has_room(kind.client.port()) {
                kind.client.expire(BURST, now, &mut self.wires);
            }
        }
        self.wires.flush();
        if !self.came && !self.nap.is_zero() {
            std::thread::sleep(self.nap);
        }
    }

    fn receive(&mut self, pair: usize, now: Nanos) {
        let port = self.wires.port_of(pair);
        // What has no room further on waits in the port's queue. For clients: while another thread does not take what is its
        // own. For servers alone: while the port does not take answers; what it waits for is received by clients, who always can.
        let has_clients = self.kinds.iter().any(|kind| kind.client.port() == port);
        if if has_clients { !self.held.is_empty() } else { !self.wires.has_room(port) } {
            return;
        }
        self.wires.receive(pair, &mut self.received);
        self.busy |= self.received.len() == BURST;
        self.came |= !self.received.is_empty();
        for frame in &self.received {
            frame.prefetch();
        }
        self.hand_over(port);
        let questions = self.act(|_| port, now);
        if questions > 0 {
            self.answer_arp(port);
        }
        self.wires.free(&mut self.received);
    }

    /// What came for other threads goes to them.
    fn hand_over(&mut self, port: usize) {
        if self.mesh.arrivals().is_empty() {
            return;
        }
        for frame in self.received.drain(..) {
            let owner = Ends::of(frame.data()).and_then(|(ends, _)| {
                let mut here = self.kinds.iter().filter(|kind| kind.client.port() == port);
                here.find_map(|kind| kind.client.other_owner_of(ends))
            });
            let Some(owner) = owner else {
                self.kept.push(frame);
                continue;
            };
            self.handed_over += 1;
            if let Err(frame) = self.mesh.send(owner as u8, port as PortId, frame) {
                self.held.push((owner, port as PortId, frame));
            }
        }
        std::mem::swap(&mut self.received, &mut self.kept);
    }

    /// What was held back goes to its owners, as far as there is room by now.
    fn hand_over_held(&mut self) {
        while let Some((owner, port, frame)) = self.held.pop() {
            if let Err(frame) = self.mesh.send(owner as u8, port, frame) {
                self.held.push((owner, port, frame));
                break;
            }
        }
    }

    /// Takes what came to other threads and is for this one: a burst from each.
    fn take_handed_over(&mut self, now: Nanos) {
        for ring in 0..self.mesh.arrivals().len() {
            let mut ports = [0; BURST];
            let arrivals = &mut self.mesh.arrivals()[ring];
            while self.received.len() < BURST
                && let Some(HandedOver { port, frame, .. }) = arrivals.pop()
            {
                frame.prefetch();
                ports[self.received.len()] = usize::from(port);
                self.received.push(frame);
            }
            if self.received.is_empty() {
                continue;
            }
            self.busy |= self.received.len() == BURST;
            self.act(|index| ports[index], now);
            self.wires.free(&mut self.received);
        }
    }

    /// Acts on what was received, each at its port; returns how many of them are ARP requests.
    #[inline]
    fn act(&mut self, port_of: impl Fn(usize) -> usize, now: Nanos) -> usize {
        // All are read and their sessions asked for, before the first is acted on.
        let mut packets = [Packet::Foreign; BURST];
        for (index, (frame, packet)) in self.received.iter().zip(&mut packets).enumerate() {
            *packet = Packet::parse(frame.data());
            if let Packet::Tcp(ends, _) | Packet::Udp(ends, _) = *packet {
                for kind in &self.kinds {
                    if kind.client.port() == port_of(index)
                        && let Some(slot) = kind.client.slot_of(ends)
                    {
                        kind.client.prefetch(slot);
                    }
                }
            }
        }
        let mut questions = 0;
        for (index, (frame, packet)) in self.received.iter().zip(&packets).enumerate() {
            let port = port_of(index);
            let taken = match packet {
                Packet::Foreign => {
                    questions += usize::from(matches!(signature::find(frame.data()), Found::Arp(_)));
                    false
                }
                Packet::Damaged => {
                    let damaged = self.kinds.iter_mut().find(|kind| kind.client.port() == port);
                    damaged.is_some_and(|kind| {
                        kind.client.damaged();
                        true
                    })
                }
                Packet::Tcp(..) | Packet::Udp(..) => {
                    take(&mut self.kinds, &mut self.wires, port, frame.data(), packet, now)
                }
            };
            self.foreign += u64::from(!taken);
        }
        questions
    }

    #[cold]
    fn answer_arp(&mut self, port: usize) {
        let mut index = 0;
        while let Some(frame) = self.received.get_mut(index) {
            if let Found::Arp(start) = signature::find(frame.data())
                && self.answers[port].answer(frame, start)
            {
                let frame = self.received.swap_remove(index);
                self.wires.send(port, frame);
            } else {
                index += 1;
            }
        }
    }

    /// Whether it does not keep up with what it receives.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a session of the kind that is most behind its part.
    pub fn begin(&mut self, now: Nanos) -> Begun {
        let weights: f64 = self.kinds.iter().map(|kind| kind.weight).sum();
        let mut first = 0;
        for index in 0..self.kinds.len() {
            let kind = &mut self.kinds[index];
            // What a kind without a free address and port cannot use is not saved up.
            kind.credit = (kind.credit + kind.weight).min(weights);
            if kind.credit > self.kinds[first].credit {
                first = index;
            }
        }
        let mut told = Begun::Full;
        // The others have its turn if it cannot.
        for index in std::iter::once(first).chain(0..self.kinds.len()) {
            let Some(kind) = self.kinds.get_mut(index) else { break };
            if !self.wires.has_room(kind.client.port()) {
                told = Begun::Congested;
            } else if kind.client.begin(now, &mut self.wires) {
                kind.credit -= weights;
                return Begun::Yes;
            }
        }
        told
    }

    /// Whether every client port takes more.
    fn has_room(&self) -> bool {
        self.kinds.iter().all(|kind| self.wires.has_room(kind.client.port()))
    }

    /// The next kept session that waits for nothing, after a look at so many slots.
    fn next_kept(&mut self) -> Option<(usize, u32)> {
        for _ in 0..LOOK {
            let client = &self.kinds.get(self.kind)?.client;
            if self.slot >= client.slots_used() {
                self.slot = 0;
                self.kind += 1;
                if self.kind == self.kinds.len() {
                    self.kind = 0;
                    self.rounds += 1;
                    return None;
                }
                continue;
            }
            if self.slot + AHEAD < client.slots_used() {
                client.prefetch(self.slot + AHEAD);
            }
            let slot = self.slot;
            self.slot += 1;
            if client.is_idle(slot) {
                return Some((self.kind, slot));
            }
        }
        None
    }

    /// Sends a request through the next kept session; `false` if there is none in sight, or its port takes no more.
    pub fn use_next(&mut self, now: Nanos) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some((kind, slot)) = self.next_kept() else { return false };
        self.kinds[kind].client.use_kept(slot, now, &mut self.wires)
    }

    /// Ends the next kept session; `false` if there is none in sight, or its port takes no more.
    pub fn end_next(&mut self, now: Nanos) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some((kind, slot)) = self.next_kept() else { return false };
        self.kinds[kind].client.end_kept(slot, now, &mut self.wires)
    }

    /// Whether no packet says that a session ends.
    pub fn ends_silently(&self) -> bool {
        self.kinds.iter().all(|kind| kind.client.plan().transport == Transport::Udp)
    }

    /// Gives up every session that is not at its end.
    pub fn abandon(&mut self, now: Nanos) {
        for kind in &mut self.kinds {
            kind.client.abandon(now);
        }
    }

    /// The longest that anything is waited for.
    pub fn patience_ns(&self) -> Nanos {
        self.kinds.iter().map(|kind| kind.client.plan().timeout_ns).max().unwrap_or(0)
    }
}

/// Gives a packet to the client or the server that it is for.
fn take<P: PortQueues, Q: Pool<Frame = P::Frame>>(
    kinds: &mut [SessionKind],
    wires: &mut Wires<P, Q>,
    port: usize,
    frame: &[u8],
    packet: &Packet<'_>,
    now: Nanos,
) -> bool {
    let at_client = |kind: &mut SessionKind, wires: &mut Wires<P, Q>| {
        kind.client.port() == port && kind.client.receive(packet, frame.len() + FCS, now, wires)
    };
    if kinds.iter_mut().any(|kind| at_client(kind, wires)) {
        return true;
    }
    let Some((_, [s0, s1, s2, s3, s4, s5])) =
        frame.first_chunk::<12>().and_then(|addresses| addresses.split_first_chunk::<6>())
    else {
        return false;
    };
    let from = [*s0, *s1, *s2, *s3, *s4, *s5];
    kinds.iter_mut().any(|kind| kind.server.port() == port && kind.server.receive(packet, from, now, wires))
}
