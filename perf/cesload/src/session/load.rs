//! One thread's clients and server on their ports: what one turn of the generator's loop does.
//!
//! What is for a server, any thread answers. What is for a client is its own thread's: where a device spreads packets over
//! queues in its own way, they come to any thread, which hands them over to their owner by a ring.

use crate::arp::Answers;
use crate::frame::ends::Ends;
use crate::frame::signature::{self, Found};
use crate::session::client::Client;
use crate::session::frames::FCS;
use crate::session::packet::Packet;
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

/// Frames that wait for another thread at most, from each. It looks at them in every turn; so many come while it is held up for
/// 100 µs at 2.5 million a second.
pub const HAND_OVER: usize = 256;

/// What was counted, and is counted anew.
#[derive(Debug, Default)]
pub struct Taken {
    /// Of the client.
    pub tally: Tally,
    /// Of the server.
    pub served: Served,
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
    /// The side that begins.
    pub client: Client,
    server: Server,
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
    slot: u32,
    /// How often that turn has come to its end.
    rounds: u64,
}

impl<P: PortQueues, Q: Pool<Frame = P::Frame>> Load<P, Q>
where
    P::Frame: Send,
{
    /// Both sides of sessions; ARP requests are answered by port. `mesh`: the rings from and to the other threads.
    pub fn new(
        wires: Wires<P, Q>,
        (client, server): (Client, Server),
        answers: Vec<Answers>,
        mesh: Mesh<P::Frame>,
    ) -> Self {
        Self {
            wires,
            client,
            server,
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
            slot: 0,
            rounds: 0,
        }
    }

    /// Begins a trial.
    pub fn reset(&mut self, trial: u16, keep: bool) {
        self.client.reset(trial, keep);
        self.server.reset(trial, keep);
        (self.foreign, self.handed_over) = (0, 0);
        self.restart_turn();
    }

    /// Begins the turn through kept sessions anew.
    pub fn restart_turn(&mut self) {
        (self.slot, self.rounds) = (0, 0);
    }

    /// How often all kept sessions had their turn.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// What was counted since the last time, which begins anew.
    pub fn take_counts(&mut self) -> Taken {
        Taken {
            tally: self.client.take_tally(),
            served: self.server.take_served(),
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
        if self.has_room() {
            self.client.expire(BURST, now, &mut self.wires);
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
        if if self.client.port() == port { !self.held.is_empty() } else { !self.wires.has_room(port) } {
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
            let ends = Ends::of(frame.data()).filter(|_| self.client.port() == port);
            let owner = ends.and_then(|(ends, _)| self.client.other_owner_of(ends));
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
            if let Packet::Tcp(ends, _) | Packet::Udp(ends, _) = *packet
                && self.client.port() == port_of(index)
                && let Some(slot) = self.client.slot_of(ends)
            {
                self.client.prefetch(slot);
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
                    let ours = self.client.port() == port;
                    if ours {
                        self.client.damaged();
                    }
                    ours
                }
                Packet::Tcp(..) | Packet::Udp(..) => {
                    let (data, wires) = (frame.data(), &mut self.wires);
                    self.client.port() == port && self.client.receive(packet, data.len() + FCS, now, wires)
                        || self.server.port() == port && self.server.receive(packet, source(data), now, wires)
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

    /// Begins a session.
    pub fn begin(&mut self, now: Nanos) -> Begun {
        if !self.has_room() {
            Begun::Congested
        } else if self.client.begin(now, &mut self.wires) {
            Begun::Yes
        } else {
            Begun::Full
        }
    }

    /// Whether the clients' port takes more.
    fn has_room(&self) -> bool {
        self.wires.has_room(self.client.port())
    }

    /// The next kept session that waits for nothing, if it is in sight and its port takes more.
    fn next_kept(&mut self) -> Option<u32> {
        for _ in 0..if self.has_room() { LOOK } else { 0 } {
            if self.slot >= self.client.slots_used() {
                self.slot = 0;
                self.rounds += 1;
                return None;
            }
            if self.slot + AHEAD < self.client.slots_used() {
                self.client.prefetch(self.slot + AHEAD);
            }
            self.slot += 1;
            if self.client.is_idle(self.slot - 1) {
                return Some(self.slot - 1);
            }
        }
        None
    }

    /// Sends a request through the next kept session; `false` if there is none.
    pub fn use_next(&mut self, now: Nanos) -> bool {
        self.next_kept().is_some_and(|slot| self.client.use_kept(slot, now, &mut self.wires))
    }

    /// Ends the next kept session; `false` if there is none.
    pub fn end_next(&mut self, now: Nanos) -> bool {
        self.next_kept().is_some_and(|slot| self.client.end_kept(slot, now, &mut self.wires))
    }
}

/// The station that a frame comes from; 0 if it has none.
fn source(frame: &[u8]) -> [u8; 6] {
    frame.get(6..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
}
