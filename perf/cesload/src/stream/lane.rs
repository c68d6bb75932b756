//! A generator thread: its queue pair of every port, its share of every stream, and the loop over them.
//!
//! The loop makes no system call, takes no lock and allocates nothing. It is the same over DPDK's ports and over ports in
//! memory, so that tests run it without a device.

use super::receiver::Receiver;
use super::sender::{Probe, Sender};
use super::uptime::Uptime;
use super::watch::READY;
use crate::arp::Answers;
use crate::crew::{Crew, TrialStage};
use crate::port::frames::{Blank, Buffers};
use crate::trial::Counts;
use ces_dataplane::io::PortQueues;
use machine::Clock;

/// A port that takes nothing for so long has lost its peer, in seconds.
const STUCK_S: u64 = 1;
/// How often a thread says what it has counted: a thousand times a second.
const PUBLISH_HZ: u64 = 1000;
/// How long after the end of the time the last packets that were due may still be sent: a thousandth of a second.
const GRACE_HZ: u64 = 1000;
/// Answers to ARP requests that wait for the port.
const REPLIES: usize = 32;

/// A thread's queue pair of a port, and what waits for it.
pub struct Gate<P: PortQueues> {
    port: P,
    /// The port's number.
    number: usize,
    answers: Answers,
    replies: Vec<P::Frame>,
    /// Packets of one stream that are written and not yet taken.
    out: Vec<P::Frame>,
    /// Whose they are.
    sender: usize,
    /// Their bytes, FCS included.
    bytes: u64,
    /// The probe among them, which is the first.
    probe: Option<Probe>,
    /// When the port took a packet last, or had none to take.
    moved: u64,
}

/// A generator thread.
pub struct Lane<P: PortQueues, B> {
    /// Its share of the streams.
    pub senders: Vec<Sender>,
    /// What it receives.
    pub receiver: Receiver,
    /// Bursts that could not be sent because the pool was empty.
    pub no_buffer: u64,
    /// Turns in which a port had not taken the last burst when the next was due.
    pub refused: u64,
    /// Cycles in which it sent, or would have if anything had been due.
    pub elapsed: u64,
    /// Cycles meanwhile in which it did not have its core.
    pub held: u64,
    gates: Vec<Gate<P>>,
    pool: B,
    arrivals: Vec<P::Frame>,
    clock: Clock,
    hertz: u64,
    burst: usize,
    trial: u16,
    /// Which sender is first in the next turn.
    turn: usize,
}

impl<P, B> Lane<P, B>
where
    P: PortQueues,
    P::Frame: Blank,
    B: Buffers<Frame = P::Frame>,
{
    /// A thread with these queue pairs of so many ports: one of each, then further ones on which it only listens.
    pub fn new(
        count: usize,
        ports: Vec<(P, Answers)>,
        pool: B,
        senders: Vec<Sender>,
        receiver: Receiver,
        burst: usize,
        clock: Clock,
    ) -> Self {
        let gates = ports.into_iter().enumerate().map(|(index, (port, answers))| Gate {
            port,
            number: index % count,
            answers,
            replies: Vec::with_capacity(REPLIES),
            out: Vec::with_capacity(burst),
            sender: 0,
            bytes: 0,
            probe: None,
            moved: 0,
        });
        Self {
            senders,
            receiver,
            no_buffer: 0,
            refused: 0,
            elapsed: 0,
            held: 0,
            gates: gates.collect(),
            pool,
            arrivals: Vec::with_capacity(burst),
            clock,
            hertz: machine::cycles_per_second(),
            burst,
            trial: 0,
            turn: 0,
        }
    }

    /// Makes ready for a trial. The senders have their schedules.
    pub fn begin(&mut self, trial: u16) {
        (self.trial, self.no_buffer, self.refused) = (trial, 0, 0);
        (self.elapsed, self.held) = (0, 0);
        self.receiver.begin(trial);
    }

    /// Runs a trial until it is ended; sends for `cycles` in which the thread has its core.
    pub fn run(&mut self, crew: &Crew, number: usize, cycles: u64) {
        let publish_every = self.hertz / PUBLISH_HZ;
        let mut published = 0;
        crew.arrive();
        while !crew.have_met(READY) {
            self.receive();
        }
        let start = machine::cycles();
        let mut uptime = Uptime::new(start, self.hertz);
        let mut sending = true;
        let mut over = None;
        for gate in &mut self.gates {
            gate.moved = start;
        }
        loop {
            self.receive();
            let now = machine::cycles();
            let elapsed = sending.then(|| uptime.turn(now));
            if let Some(elapsed) = elapsed {
                (self.elapsed, self.held) = (elapsed.min(cycles), uptime.held());
            }
            if crew.is_over() {
                break;
            }
            if sending && crew.is_stopped() {
                sending = false;
                self.abandon();
                crew.arrive();
            }
            if let Some(elapsed) = elapsed.filter(|_| sending) {
                if elapsed < cycles {
                    self.send(elapsed, now);
                } else {
                    let over = *over.get_or_insert(elapsed);
                    if self.finish(cycles, now) || elapsed - over > self.hertz / GRACE_HZ {
                        sending = false;
                        self.abandon();
                        crew.arrive();
                    }
                }
                self.look_for_stuck(now, crew);
            }
            if now - published >= publish_every {
                published = now;
                crew.gauge(number).publish(TrialStage::Begin, &self.counts());
            }
        }
        self.abandon();
        crew.gauge(number).publish(TrialStage::Begin, &self.counts());
    }

    /// Receives a burst from every port.
    #[inline(always)]
    fn receive(&mut self) {
        for gate in &mut self.gates {
            if gate.port.rx_burst(&mut self.arrivals) > 0 {
                let now_ns = self.clock.now();
                let (arrivals, replies) = (&mut self.arrivals, &mut gate.replies);
                self.receiver.take(arrivals, gate.number, &gate.answers, replies, now_ns);
                self.pool.free(&mut self.arrivals);
            }
            self.receiver.foreign += gate.port.take_refused();
            if !gate.replies.is_empty() {
                gate.port.tx_burst(&mut gate.replies);
            }
        }
    }

    /// Sends what is due after `elapsed` cycles.
    #[inline(always)]
    fn send(&mut self, elapsed: u64, now: u64) {
        let count = self.senders.len();
        for offset in 0..count {
            // Each stream in turn is the first, so that none has the port before the others whenever it is short.
            let index = self.turn + offset;
            let index = if index < count { index } else { index - count };
            let gate = &mut self.gates[self.senders[index].port];
            if !gate.out.is_empty() && !gate.transmit(&mut self.senders, self.trial, self.clock, now) {
                self.refused += 1;
                continue;
            }
            let sender = &mut self.senders[index];
            let due = sender.schedule.due(self.burst, elapsed);
            if due > 0 {
                self.launch(index, due, elapsed, now);
            }
        }
        self.turn = if self.turn + 1 < count { self.turn + 1 } else { 0 };
    }

    /// Sends what is left at the end of the time; whether nothing is.
    #[cold]
    fn finish(&mut self, cycles: u64, now: u64) -> bool {
        let mut nothing = true;
        for index in 0..self.senders.len() {
            let gate = &mut self.gates[self.senders[index].port];
            if !gate.out.is_empty() && !gate.transmit(&mut self.senders, self.trial, self.clock, now) {
                nothing = false;
                continue;
            }
            let due = self.senders[index].schedule.left(self.burst);
            if due > 0 {
                nothing = false;
                self.launch(index, due, cycles, now);
            }
        }
        nothing && self.gates.iter().all(|gate| gate.out.is_empty())
    }

    /// Writes a burst of a stream and gives it to its port, which has taken all before.
    #[inline(always)]
    fn launch(&mut self, index: usize, due: usize, elapsed: u64, now: u64) {
        let sender = &mut self.senders[index];
        let gate = &mut self.gates[sender.port];
        let got = self.pool.take(&mut gate.out, due);
        if got == 0 {
            self.no_buffer += 1;
            return;
        }
        sender.schedule.take(got);
        let time_ns = self.clock.at(now);
        (gate.probe, gate.bytes) = sender.fill(&mut gate.out, self.trial, time_ns, elapsed);
        (gate.sender, gate.moved) = (index, now);
        gate.transmit(&mut self.senders, self.trial, self.clock, now);
    }

    /// Gives up what no port has taken.
    #[cold]
    fn abandon(&mut self) {
        for gate in &mut self.gates {
            self.pool.free(&mut gate.out);
            (gate.bytes, gate.probe) = (0, None);
        }
    }

    #[inline(always)]
    fn look_for_stuck(&self, now: u64, crew: &Crew) {
        for (number, gate) in self.gates.iter().enumerate() {
            if !gate.out.is_empty() && now.saturating_sub(gate.moved) > STUCK_S * self.hertz {
                crew.report_stuck(number);
            }
        }
    }

    /// The sum of all streams.
    #[cold]
    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for stream in &self.receiver.streams {
            sum.add(&stream.counts);
        }
        for sender in &self.senders {
            sum.sent += sender.sent;
            sum.sent_bytes += sender.sent_bytes;
        }
        sum
    }
}

impl<P> Gate<P>
where
    P: PortQueues,
    P::Frame: Blank,
{
    /// Gives the port what waits for it; whether it took all.
    #[inline(always)]
    fn transmit(&mut self, senders: &mut [Sender], trial: u16, clock: Clock, now: u64) -> bool {
        let Some(sender) = senders.get_mut(self.sender) else { return false };
        if let (Some(probe), Some(first)) = (&self.probe, self.out.first_mut()) {
            // As late as can be.
            sender.write_probe(first, probe, trial, clock.now());
        }
        let taken = self.port.tx_burst(&mut self.out);
        if taken > 0 {
            self.probe = None;
            self.moved = now;
            let left: u64 = self.out.iter().map(bytes_of).sum();
            sender.sent += taken as u64;
            sender.sent_bytes += self.bytes - left;
            self.bytes = left;
        }
        self.out.is_empty()
    }
}

/// Bytes of a frame, FCS included.
fn bytes_of<F: Blank>(frame: &F) -> u64 {
    frame.data().len() as u64 + u64::from(crate::profile::size::FCS)
}
