//! The worker: one thread, one core, one loop.
//!
//! Each turn: commands, injected frames, what the ports and the other workers have, then sending, events, expiry. All of
//! it bounded, so that no source starves another. Commands come before injected frames, and both before packets, so that a
//! binding stands before the DNS answer that names it leaves.
//!
//! Nothing is allocated, locked or formatted here. The clock is read once a turn. The only system calls are the bell
//! towards a sleeping control thread, and the nap of an idle worker where that is configured.

mod held;
mod link;
mod mesh;
mod outbound;
mod shaped;
mod shares;

pub use held::HELD_MOST;
pub use link::{Bell, ControlSide, RingSizes, WorkerSide, link};
pub use mesh::{HandedOver, Mesh};

use crate::Nanos;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::io::{Pool, PortQueues};
use crate::msg::{Command, Event, PortId, PuntClass, SLOT_BYTES};
use crate::packet::Packet;
use crate::path::{BURST, process_arrival};
use crate::queue::SharedLine;
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::State;
use crate::verdict::{Arrival, Attempt, Custody, Verdict};
use crate::way::UNNAMED;
use held::{FOR_ASKING, FOR_FIRST, FOR_HOP, Held, HeldFrame};
use machine::Clock;
use outbound::Outbound;
use shaped::Shaped;
use shares::Shares;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Commands taken in a turn: a few microseconds of work at most.
const COMMANDS_A_TURN: usize = 64;
/// How often counters are published.
const PUBLISH_NS: Nanos = 1_000_000;

/// How a worker behaves when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Empty turns before a nap.
    pub polls: u32,
    /// Length of a nap; zero = none, poll all the time.
    pub nap: Duration,
}

impl Default for Idle {
    fn default() -> Self {
        Self { polls: 1000, nap: Duration::ZERO }
    }
}

/// What a worker is made of.
pub struct Parts<P: PortQueues, M> {
    /// The tables.
    pub state: State,
    /// Its queue pair of each port, in the order of the configuration.
    pub ports: Vec<P>,
    /// Its packet memory.
    pub pool: M,
    /// Its ends of the rings to the control thread.
    pub control: WorkerSide,
    /// Its ends of the rings to the other workers.
    pub mesh: Mesh<P::Frame>,
    /// The lines of the ports, which all workers share; those of shaped ones that are missing are its own alone.
    pub lines: Vec<Arc<SharedLine>>,
    /// The time.
    pub clock: Clock,
    /// What to do when there is nothing to do.
    pub idle: Idle,
}

/// A worker. Generic over the back end, so that tests run the same loop as the appliance.
pub struct Worker<P: PortQueues, M> {
    state: State,
    ports: Vec<P>,
    control: WorkerSide,
    mesh: Mesh<P::Frame>,
    clock: Clock,
    idle: Idle,
    outbound: Outbound<P::Frame, M>,
    /// A burst, as it is received and decided on.
    burst: Vec<P::Frame>,
    /// What was decided, frame by frame: as long as a burst can be.
    verdicts: Vec<Verdict>,
    /// What came from other workers, by port of arrival; behind that, what they have opened.
    taken_over: Vec<Vec<P::Frame>>,
    /// What came from there on the second half of its way.
    turned: Vec<HandedOver<P::Frame>>,
    /// What waits for the MAC addresses of next hops.
    held: Held<P::Frame>,
    /// Later fragments that wait for the first one of their packet.
    later: Held<P::Frame>,
    /// SYNs that nobody has asked for.
    unasked: Held<P::Frame>,
    /// Who has how many places in the punt ring.
    shares: Shares,
    /// When the counters were last published.
    published: Nanos,
    /// Something new stands in a ring to the control thread.
    news: bool,
}

impl<P, M> Worker<P, M>
where
    P: PortQueues,
    P::Frame: Send,
    M: Pool<Frame = P::Frame>,
{
    /// Puts a worker together. Everything that it will need is allocated here.
    pub fn new(parts: Parts<P, M>) -> Self {
        let Parts { state, ports, pool, control, mesh, lines, clock, idle } = parts;
        let shares = Shares::new(control.punt.capacity());
        let taken_over = (0..2 * ports.len()).map(|_| Vec::with_capacity(BURST)).collect();
        // At most a burst is spent at a time.
        let burst: Vec<P::Frame> = Vec::with_capacity(BURST);
        let outbound = Outbound::new(pool, ports.len(), Shaped::new(&state, &lines));
        Self {
            state,
            ports,
            control,
            mesh,
            clock,
            idle,
            outbound,
            verdicts: vec![Verdict::Absorb; burst.capacity()],
            burst,
            taken_over,
            turned: Vec::with_capacity(BURST),
            held: Held::new(FOR_HOP),
            later: Held::new(FOR_FIRST),
            unasked: Held::new(FOR_ASKING),
            shares,
            published: 0,
            news: false,
        }
    }

    /// Works until `stop` is set; then sends what is under way, drops what is held, and publishes the last counters.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut quiet = 0u32;
        let mut begin = machine::cycles();
        while !stop.load(Ordering::Relaxed) {
            let busy = self.turn(self.clock.at(begin));
            if busy {
                quiet = 0;
            } else {
                quiet = quiet.saturating_add(1);
                if quiet >= self.idle.polls && !self.idle.nap.is_zero() {
                    self.publish();
                    std::thread::sleep(self.idle.nap);
                } else {
                    std::hint::spin_loop();
                }
            }
            // The end of a turn is the beginning of the next: one reading.
            let end = machine::cycles();
            self.account(busy, end.wrapping_sub(begin));
            begin = end;
        }
        self.turn(self.clock.at(begin));
        while self.held.take_first().is_some() {
            self.state.counters.drop(DropReason::NeighbourUnresolved);
        }
        while self.later.take_first().is_some() {
            self.state.counters.drop(DropReason::FragmentUnmatched);
        }
        while self.unasked.take_first().is_some() {
            self.state.counters.drop(DropReason::Unasked);
        }
        self.state.counters.drops[DropReason::PortDown as usize] += self.outbound.shaped.clear();
        self.publish();
    }

    /// One round over all sources. Returns whether there was anything to do. For tests; [`Worker::run`] calls it.
    pub fn turn(&mut self, now: Nanos) -> bool {
        let is_shaping = !self.outbound.shaped.is_none();
        if is_shaping {
            self.outbound.shaped.begin(now);
        }
        let mut work = self.take_commands(now) + self.take_injected();
        for port in 0..self.ports.len() {
            work += self.receive(port, now);
        }
        work += self.take_over(now);
        if self.later.len() != 0 {
            self.join(now);
        }
        if is_shaping {
            self.outbound.pass_shaped();
        }
        self.send_all();
        work += self.tell_events(now);
        self.state.tick(now);
        if self.news {
            self.news = false;
            self.control.bell.ring();
        }
        if now.wrapping_sub(self.published) >= PUBLISH_NS {
            self.published = now;
            self.let_go(now);
            self.publish();
        }
        // What waits for a shaped port is due before anything new arrives.
        work != 0 || (is_shaping && self.outbound.shaped.is_waiting())
    }

    /// The tables and counters.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The pool.
    pub fn pool(&self) -> &M {
        &self.outbound.pool
    }

    fn account(&mut self, busy: bool, cycles: u64) {
        let counters = &mut self.state.counters;
        if busy {
            counters.busy_turns += 1;
            counters.busy_cycles += cycles;
        } else {
            counters.idle_turns += 1;
            counters.idle_cycles += cycles;
        }
    }

    fn publish(&mut self) {
        self.state.take_stock();
        let counters = &mut self.state.counters;
        if !self.outbound.shaped.is_none() {
            self.outbound.shaped.tell(&self.control.counters.queues, counters);
        }
        counters.held_now = (self.held.len() + self.later.len() + self.unasked.len()) as u64;
        counters.command_depth = self.control.commands.len() as u64;
        counters.inject_depth = self.control.inject.len() as u64;
        counters.punt_depth = self.control.punt.len() as u64;
        self.control.counters.publish(counters);
    }

    fn take_commands(&mut self, now: Nanos) -> usize {
        for taken in 0..COMMANDS_A_TURN {
            if !self.state.ready() {
                return taken;
            }
            let Some(command) = self.control.commands.pop() else { return taken };
            self.state.command(command, now);
            if command == Command::MoveIn {
                self.move_in();
            }
            if command == Command::TakeKey {
                self.take_key();
            }
            if let Command::SetHop(id, neighbour) = command
                && neighbour.mac.is_some()
            {
                self.release(id.0, Attempt::Last, now);
            }
            if let Command::Reach(..) = command {
                // They have a number to wait for now.
                self.release(UNNAMED.number(), Attempt::First, now);
            }
        }
        COMMANDS_A_TURN
    }

    /// Moves into what waits, and sends what was left back to whoever frees it.
    #[cold]
    fn move_in(&mut self) {
        if let Some(mut premises) = self.control.premises.pop() {
            self.state.move_in(&mut premises);
            self.outbound.shaped.change(&self.state.premises.shapes);
            // There is room: as many may be under way as there are places.
            let _ = self.control.left.push(premises);
        }
    }

    /// Takes a key that waits, and sends what was in its place back to whoever frees it.
    #[cold]
    fn take_key(&mut self) {
        if let Some(mut change) = self.control.keys.pop() {
            self.state.change_key(&mut change);
            // There is room: as many may be under way as there are places.
            let _ = self.control.keys_left.push(change);
        }
    }

    /// Sends what the control thread wants sent.
    fn take_injected(&mut self) -> usize {
        let (outbound, counters) = (&mut self.outbound, &mut self.state.counters);
        for taken in 0..BURST {
            let outcome = self.control.inject.pop_with(|slot| outbound.inject(slot));
            match outcome {
                None => return taken,
                Some(Ok(())) => counters.injected += 1,
                Some(Err(reason)) => counters.drop(reason),
            }
        }
        BURST
    }

    fn receive(&mut self, port: usize, now: Nanos) -> usize {
        let count = self.ports[port].rx_burst(&mut self.burst);
        let refused = self.ports[port].take_refused();
        self.state.counters.burst(count);
        if refused != 0 {
            // Not in one buffer, and not to be brought into one.
            self.state.counters.rx(port as PortId, refused, 0);
            self.state.counters.drops[DropReason::NoBuffer as usize] += refused;
        }
        if count != 0 {
            let bytes = self.burst.iter().map(|frame| frame.data().len() as u64).sum();
            self.state.counters.rx(port as PortId, count as u64, bytes);
            self.process(Arrival::at(port as PortId, now));
        }
        count
    }

    /// Takes what other workers handed over, at most a burst of each. What came through several rings goes through the path
    /// together, as one burst for each port of arrival.
    fn take_over(&mut self, now: Nanos) -> usize {
        let mut count = 0;
        for ring in 0..self.mesh.arrivals().len() {
            let mut due = BURST;
            while due > 0 {
                let fullest = self.taken_over.iter().map(Vec::len).max().unwrap_or(0);
                let room = BURST - fullest.max(self.turned.len());
                let taken = self.gather(ring, due.min(room));
                (count, due) = (count + taken, due - taken);
                if taken == room {
                    self.process_taken_over(BURST, now);
                } else if taken == 0 {
                    break;
                }
            }
        }
        if count != 0 {
            self.state.counters.taken_over += count as u64;
            self.process_taken_over(1, now);
        }
        count
    }

    /// Takes up to `most` frames out of a ring.
    fn gather(&mut self, ring: usize, most: usize) -> usize {
        let Self { mesh, taken_over, turned, state, ports, .. } = self;
        mesh.arrivals()[ring].pop_up_to(most, |handed| {
            handed.frame.prefetch_handle();
            if handed.turned().is_some() {
                turned.push(handed);
            } else if let Some(frames) =
                taken_over.get_mut(usize::from(handed.port) + usize::from(handed.is_opened()) * ports.len())
            {
                frames.push(handed.frame);
            } else {
                state.counters.drop(DropReason::PortDown);
            }
        })
    }

    /// Decides on what was taken over from each port, if it is so much.
    fn process_taken_over(&mut self, least: usize, now: Nanos) {
        for place in 0..self.taken_over.len() {
            if self.taken_over[place].len() >= least {
                std::mem::swap(&mut self.burst, &mut self.taken_over[place]);
                let (port, custody) = match place.checked_sub(self.ports.len()) {
                    Some(port) => (port, Custody::Opened),
                    None => (place, Custody::New),
                };
                self.process(Arrival { is_handed: true, custody, ..Arrival::at(port as PortId, now) });
            }
        }
        if self.turned.len() >= least {
            self.process_turned(now);
        }
    }

    /// Decides on what is on the second half of its way, one by one: each has a sender of its own.
    #[cold]
    fn process_turned(&mut self, now: Nanos) {
        let mut turned = std::mem::take(&mut self.turned);
        for handed in turned.drain(..) {
            let arrival =
                Arrival { turned: handed.turned(), is_handed: true, ..Arrival::at(handed.port, now) };
            self.burst.push(handed.frame);
            self.process(arrival);
        }
        self.turned = turned;
    }

    /// Decides on the burst and does what was decided.
    fn process(&mut self, arrival: Arrival) {
        let Arrival { port, turned, now, .. } = arrival;
        self.make_room();
        let count = self.burst.len();
        let verdicts = &mut self.verdicts[..count];
        process_arrival(&mut self.state, arrival, &mut self.burst, verdicts, &mut self.outbound);
        if let Some(&Verdict::Forward(to)) = verdicts.first()
            && all_to(verdicts, to)
            && self.outbound.push_burst(to, &mut self.burst, &self.state.packets)
        {
            return;
        }
        let side = self.state.premises.port(port).map_or(Side::Outside, |port| port.side);
        let State { counters, packets, .. } = &mut self.state;
        for (place, (frame, verdict)) in self.burst.drain(..).zip(&self.verdicts).enumerate() {
            match *verdict {
                Verdict::Forward(to) | Verdict::Reply(to, _) => {
                    let packet = packets.get(place).filter(|_| matches!(verdict, Verdict::Forward(_)));
                    if !self.outbound.push(to, frame, packet) {
                        counters.drop(DropReason::PortDown);
                    }
                }
                Verdict::Punt(class) => {
                    match punt(&mut self.control, &mut self.shares, side, port, class, frame.data()) {
                        Ok(()) => {
                            counters.punt(class);
                            self.news = true;
                        }
                        Err(reason) => counters.drop(reason),
                    }
                    self.outbound.spend(frame);
                }
                Verdict::HandOff(worker) => {
                    let is_opened = packets.get(place).is_some_and(Packet::is_unsealed);
                    let sent = if is_opened {
                        self.mesh.send_opened(worker, port, frame)
                    } else {
                        self.mesh.send(worker, port, frame)
                    };
                    match sent {
                        Ok(()) => counters.handed_off += 1,
                        Err(frame) => {
                            counters.drop(DropReason::HandoffRingFull);
                            self.outbound.spend(frame);
                        }
                    }
                }
                Verdict::TurnBack(worker, by) => match self.mesh.turn_back(worker, port, frame, by) {
                    Ok(()) => counters.handed_off += 1,
                    Err(frame) => {
                        counters.drop(DropReason::HandoffRingFull);
                        self.outbound.spend(frame);
                    }
                },
                Verdict::Hold(number) | Verdict::HoldLater(number) | Verdict::HoldUnasked(number) => {
                    let (waiting, count) = match verdict {
                        Verdict::Hold(_) => (&mut self.held, &mut counters.held),
                        Verdict::HoldLater(_) => (&mut self.later, &mut counters.later_held),
                        _ => (&mut self.unasked, &mut counters.unasked_held),
                    };
                    *count += 1;
                    let is_unsealed = packets.get(place).is_some_and(Packet::is_unsealed);
                    let awaited = number.number();
                    let held = HeldFrame { awaited, port, turned, is_unsealed, since: now, frame };
                    if let Some((frame, reason)) = waiting.hold(held) {
                        counters.drop(reason);
                        self.outbound.spend(frame);
                    }
                }
                // Counted by the path.
                Verdict::Absorb | Verdict::Drop(_) => self.outbound.spend(frame),
            }
        }
        self.outbound.free_spent();
        self.mesh.tell();
    }

    /// Decides anew on what waited for a next hop whose MAC address is known now, in the order of arrival.
    #[cold]
    fn release(&mut self, neighbour: u32, attempt: Attempt, now: Nanos) {
        let mut place = 0;
        for _ in 0..self.held.len() {
            let Some(held) = self.held.take_for(neighbour, &mut place) else { return };
            self.state.counters.held_sent += self.process_held(held, attempt, now);
        }
    }

    /// Decides anew on the later fragments of packets whose first one has come, in the order of arrival.
    fn join(&mut self, now: Nanos) {
        while let Some(number) = self.state.take_came() {
            let mut place = 0;
            while let Some(held) = self.later.take_for(number, &mut place) {
                self.state.counters.later_sent += self.process_held(held, Attempt::Joined, now);
            }
        }
    }

    /// Decides for the last time on what has waited too long: it is dropped, unless another way has opened for it.
    fn let_go(&mut self, now: Nanos) {
        while let Some(held) = self.held.take_older(now) {
            self.state.counters.held_sent += self.process_held(held, Attempt::Last, now);
            self.send_all();
        }
        while let Some(held) = self.later.take_older(now) {
            self.state.counters.later_sent += self.process_held(held, Attempt::Joined, now);
            self.send_all();
        }
        while let Some(held) = self.unasked.take_older(now) {
            self.process_held(held, Attempt::Unasked, now);
            self.state.counters.unasked_told += u64::from(matches!(self.verdicts[0], Verdict::Reply(..)));
            self.send_all();
        }
    }

    /// Sends a frame that was held through the path once more; 1 if it was sent. At the last attempt it is not held again.
    #[cold]
    fn process_held(&mut self, held: HeldFrame<P::Frame>, attempt: Attempt, now: Nanos) -> u64 {
        self.burst.push(held.frame);
        let custody = if held.is_unsealed { Custody::Kept } else { Custody::New };
        self.process(Arrival { attempt, turned: held.turned, custody, ..Arrival::at(held.port, now) });
        u64::from(matches!(self.verdicts[0], Verdict::Forward(_)))
    }

    /// Sends what is more than a burst, so that another burst finds room, with its fragments.
    fn make_room(&mut self) {
        for port in 0..self.ports.len() {
            if self.outbound.queues.is_crowded(port as PortId) {
                self.send(port);
            }
        }
    }

    fn send_all(&mut self) {
        for port in 0..self.ports.len() {
            if self.outbound.queues.is_waiting(port as PortId) {
                self.send(port);
            }
        }
        let lost = self.outbound.take_lost();
        self.state.counters.drops[DropReason::TxQueueFull as usize] += lost;
    }

    fn send(&mut self, port: usize) {
        let bytes = |frames: &[P::Frame]| frames.iter().map(|frame| frame.data().len() as u64).sum::<u64>();
        let Outbound { queues, pool, .. } = &mut self.outbound;
        let counters = &mut self.state.counters;
        if let Some(queue) = queues.waiting(port as PortId) {
            let total = bytes(queue);
            let sent = self.ports[port].tx_burst(queue);
            counters.tx(port as PortId, sent as u64, total - bytes(queue));
            if !queue.is_empty() {
                counters.drops[DropReason::TxQueueFull as usize] += queue.len() as u64;
                pool.free(queue);
            }
        }
    }

    /// Moves events to their ring until it is full; the rest waits.
    fn tell_events(&mut self, now: Nanos) -> usize {
        let mut told = 0;
        while let Some(event) = self.state.peek_event() {
            if self.control.events.push(*event).is_err() {
                self.state.counters.event_ring_full += 1;
                break;
            }
            self.state.pop_event();
            told += 1;
        }
        if self.state.has_records() {
            told += self.tell_records(now);
        }
        while let Some(record) = self.state.peek_trace()
            && self.control.traces.push(*record).is_ok()
        {
            self.state.pop_trace();
            told += 1;
        }
        self.news |= told != 0;
        told
    }

    /// Moves records to the ring, of which they leave a quarter to other events.
    #[inline(never)]
    fn tell_records(&mut self, now: Nanos) -> usize {
        let (capacity, taken) = (self.control.events.capacity(), self.control.events.len());
        let room = (capacity / 4 * 3).saturating_sub(taken);
        let mut told = 0;
        while told < room
            && let Some(record) = self.state.peek_record()
            && self.control.events.push(Event::Recorded(now, *record)).is_ok()
        {
            self.state.pop_record();
            told += 1;
        }
        self.state.counters.records_told += told as u64;
        told
    }
}

/// Whether all leave so.
#[inline(always)]
fn all_to(verdicts: &[Verdict], to: Egress) -> bool {
    let it_does = |verdict: &Verdict| matches!(*verdict, Verdict::Forward(egress) if egress == to);
    // By fours, since half of the work is to count.
    let (fours, rest) = verdicts.as_chunks::<4>();
    fours.iter().all(|four| four.iter().all(it_does)) && rest.iter().all(it_does)
}

/// Puts a copy of a frame in the punt ring.
fn punt(
    control: &mut WorkerSide,
    shares: &mut Shares,
    side: Side,
    port: PortId,
    class: PuntClass,
    frame: &[u8],
) -> Result<(), DropReason> {
    if frame.len() > SLOT_BYTES {
        return Err(DropReason::PuntTooLong);
    }
    if !shares.take(side, class, control.punt.len()) {
        return Err(DropReason::PuntRingFull);
    }
    let fits = control.punt.push_with(|slot| {
        slot.port = port;
        slot.class = class;
        slot.length = frame.len() as u16;
        slot.data[..frame.len()].copy_from_slice(frame);
    });
    if fits { Ok(()) } else { Err(DropReason::PuntRingFull) }
}
