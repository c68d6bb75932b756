//! A reference device: a wire between two ports, with exact faults.
//!
//! It is there to check the generator itself. Faults are by number, not by chance, so that what a trial must report can be
//! computed: of each direction's frames every Nth is dropped, duplicated, or swapped with its successor, and all are delayed.
//! A wire without faults loses nothing: what a port does not take waits, and what waits is not polled for.

use crate::port::frames::{Blank, Buffers};
use crate::sums::sums;
use ces_dataplane::io::dpdk::start;
use ces_dataplane::io::{Pool, PortQueues};
use dpdk::{Eal, Memory, Options, PortConfig, RegisteredThread};
use machine::Clock;
use std::collections::VecDeque;

/// Frames at once.
const BURST: usize = 32;
/// Frames that a delay holds at most, in each direction.
const DELAYED_MAX: usize = 8_192;
/// Memory for packet buffers with what DPDK keeps beside, in MiB: both ports' queues of 1,024 descriptors and bursts; with a
/// delay also what both directions hold.
const MEMORY_MIB: u32 = 64;
const MEMORY_DELAYED_MIB: u32 = 256;
/// A frame that waits for a successor to be swapped with goes on alone after so long.
const SWAP_WAIT_NS: u64 = 100_000_000;
/// Turns between two questions whether to go on.
const TURNS: u32 = 1024;

/// What to do to the frames of each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Drop every Nth; 0 = none.
    pub drop_every: u64,
    /// Send every Nth twice; 0 = none.
    pub duplicate_every: u64,
    /// Send every Nth after its successor; 0 = none. A frame that is dropped has no part in it.
    pub reorder_every: u64,
    /// Keep each for so long, in nanoseconds.
    pub delay_ns: u64,
}

sums! {
    /// What became of the frames of one direction.
    Passed {
        /// Received.
        received,
        /// Sent, copies included.
        sent,
        /// Dropped because they were the Nth.
        dropped,
        /// Sent twice.
        duplicated,
        /// Sent after their successor.
        reordered,
        /// Dropped because more were delayed than there is room for, or because there was no buffer for a copy.
        overflowed,
    }
}

/// One direction.
struct Way<F> {
    faults: Faults,
    passed: Passed,
    /// The frame that waits for its successor, and since when.
    held: Option<(u64, F)>,
    /// Frames that are delayed, and until when.
    delayed: VecDeque<(u64, F)>,
    /// Frames that are due.
    out: Vec<F>,
}

impl<F: Blank> Way<F> {
    fn new(faults: Faults) -> Self {
        // A burst may become twice as many, and have a held frame before it.
        let delayed = if faults.delay_ns > 0 { DELAYED_MAX } else { 0 };
        Self {
            faults,
            passed: Passed::default(),
            held: None,
            delayed: VecDeque::with_capacity(delayed),
            out: Vec::with_capacity(2 * BURST + 2),
        }
    }

    /// A frame has come.
    fn take<B: Buffers<Frame = F>>(&mut self, frame: F, pool: &mut B, now: u64) {
        let is_nth = |every: u64, number: u64| every != 0 && number.is_multiple_of(every);
        self.passed.received += 1;
        let number = self.passed.received;
        if is_nth(self.faults.drop_every, number) {
            self.passed.dropped += 1;
            return;
        }
        if is_nth(self.faults.reorder_every, number) && self.held.is_none() {
            self.held = Some((now, frame));
            return;
        }
        let copy = is_nth(self.faults.duplicate_every, number).then(|| copy_of(&frame, pool));
        self.pass(frame, now);
        match copy {
            Some(Some(copy)) => {
                self.passed.duplicated += 1;
                self.pass(copy, now);
            }
            Some(None) => self.passed.overflowed += 1,
            None => {}
        }
        if let Some((_, held)) = self.held.take() {
            self.passed.reordered += 1;
            self.pass(held, now);
        }
    }

    /// A frame goes on, now or later.
    fn pass(&mut self, frame: F, now: u64) {
        if self.faults.delay_ns == 0 {
            self.out.push(frame);
        } else if self.delayed.len() < DELAYED_MAX {
            self.delayed.push_back((now + self.faults.delay_ns, frame));
        } else {
            self.passed.overflowed += 1;
        }
    }

    /// What is due by now goes on; a frame without successor, too.
    fn release(&mut self, now: u64) {
        if self.held.as_ref().is_some_and(|(since, _)| now - since > SWAP_WAIT_NS)
            && let Some((_, frame)) = self.held.take()
        {
            self.pass(frame, now);
        }
        while self.out.len() < BURST && self.delayed.front().is_some_and(|(due, _)| *due <= now) {
            self.out.extend(self.delayed.pop_front().map(|(_, frame)| frame));
        }
    }
}

fn copy_of<F: Blank, B: Pool<Frame = F>>(frame: &F, pool: &mut B) -> Option<F> {
    let mut copy = pool.allocate()?;
    if !copy.blank(frame.data().len()) {
        return None;
    }
    copy.data_mut().copy_from_slice(frame.data());
    Some(copy)
}

/// A wire between two ports.
pub struct Wire<P: PortQueues, B> {
    /// The queue pairs of each.
    ports: [Vec<P>; 2],
    /// From each, by the queue of arrival.
    ways: [Vec<Way<P::Frame>>; 2],
    pool: B,
    arrivals: Vec<P::Frame>,
}

impl<P, B> Wire<P, B>
where
    P: PortQueues,
    P::Frame: Blank,
    B: Buffers<Frame = P::Frame>,
{
    /// A wire with these faults, both ways.
    pub fn new(ports: [P; 2], pool: B, faults: Faults) -> Self {
        Self::of_queues(ports.map(|port| vec![port]), pool, faults)
    }

    /// A wire between ports of several queue pairs, as many at both. Frames from the first port keep their queue. Those from
    /// the second come to the next one, as from a device whose hash is not the same both ways.
    pub fn of_queues(ports: [Vec<P>; 2], pool: B, faults: Faults) -> Self {
        let ways = ports.each_ref().map(|queues| queues.iter().map(|_| Way::new(faults)).collect());
        Self { ports, ways, pool, arrivals: Vec::with_capacity(BURST) }
    }

    /// Carries a burst each way; whether there was anything to carry. The clock is read after a burst is received: a frame's
    /// delay does not begin before it has come, also where the thread is interrupted in between.
    pub fn turn(&mut self, clock: impl Fn() -> u64) -> bool {
        let mut busy = false;
        for (number, ways) in self.ways.iter_mut().enumerate() {
            let queues = ways.len();
            for (queue, way) in ways.iter_mut().enumerate() {
                let came = way.out.is_empty() && self.ports[number][queue].rx_burst(&mut self.arrivals) > 0;
                let now = clock();
                if came {
                    for frame in self.arrivals.drain(..) {
                        way.take(frame, &mut self.pool, now);
                    }
                }
                way.release(now);
                if !way.out.is_empty() {
                    let to = if number == 0 { queue } else { (queue + 1) % queues };
                    way.passed.sent += self.ports[1 - number][to].tx_burst(&mut way.out) as u64;
                    busy = true;
                }
            }
        }
        busy
    }

    /// What became of all frames: from the first port to the second, and back.
    pub fn passed(&self) -> [Passed; 2] {
        self.ways.each_ref().map(|ways| {
            let mut sum = Passed::default();
            for way in ways {
                sum.add(&way.passed);
            }
            sum
        })
    }

    /// Carries frames until `go_on` says no.
    pub fn run(&mut self, clock: Clock, go_on: &mut dyn FnMut() -> bool) {
        loop {
            for _ in 0..TURNS {
                if !self.turn(|| clock.now()) {
                    // On a machine with fewer cores than pollers the others shall have theirs.
                    std::thread::yield_now();
                }
            }
            if !go_on() {
                return;
            }
        }
    }
}

/// How to run a wire on DPDK's ports.
#[derive(Clone, Debug)]
pub struct WireSettings {
    /// Both devices, as for [`dpdk::Port::open`].
    pub devices: [String; 2],
    /// What to do to the frames.
    pub faults: Faults,
    /// The core; without it, any.
    pub core: Option<usize>,
    /// Whether packet buffers live on huge pages.
    pub huge_pages: bool,
    /// Queue pairs of each port.
    pub queues: u16,
}

/// Runs a wire until `go_on`, which is asked now and then, says no; what became of all frames.
pub fn run(settings: &WireSettings, go_on: &mut dyn FnMut() -> bool) -> Result<[Passed; 2], String> {
    let delayed = settings.faults.delay_ns > 0;
    let memory = if settings.huge_pages {
        Memory::HugePages
    } else {
        let mib = if delayed { MEMORY_DELAYED_MIB } else { MEMORY_MIB };
        Memory::Ordinary { mib: mib * u32::from(settings.queues) }
    };
    let usable = machine::usable_cores().map_err(|error| format!("the cores are not known: {error}"))?;
    if let Some(core) = settings.core.filter(|core| !usable.contains(core)) {
        return Err(format!("core {core} cannot be used by this process"));
    }
    let text = |error: dpdk::Error| error.to_string();
    let polling = settings.core.into_iter().collect();
    let eal = Eal::start(&Options { memory, polling, devices: settings.devices.to_vec(), extra: Vec::new() })
        .map_err(text)?;
    let config = PortConfig { promiscuous: true, ..PortConfig::default() };
    let devices = settings.devices.clone().map(|device| (device, config.clone()));
    let waiting = if delayed { 2 * DELAYED_MAX as u32 } else { 0 };
    let (_ports, shares) = start(&eal, &devices, settings.queues, waiting).map_err(text)?;
    let pool = shares.first().ok_or("no queue pairs")?.pool.clone();
    let mut ports = [Vec::new(), Vec::new()];
    for share in shares {
        ports.iter_mut().zip(share.ports).for_each(|(queues, queue)| queues.push(queue));
    }
    if let Some(core) = settings.core {
        machine::pin_to_core(core).map_err(|error| format!("core {core} cannot be used: {error}"))?;
    }
    let _registered = RegisteredThread::new(&eal).map_err(text)?;
    let mut wire = Wire::of_queues(ports, pool, settings.faults);
    wire.run(Clock::new(), go_on);
    Ok(wire.passed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::frame::{Frame, MemoryFrame};
    use ces_dataplane::io::memory::{Cable, MemoryPool, MemoryPort, port};

    fn wire(faults: Faults) -> (Wire<MemoryPort, MemoryPool>, Cable, Cable) {
        let ((first, near), (second, far)) = (port(64), port(64));
        (Wire::new([first, second], MemoryPool::new(1024), faults), near, far)
    }

    fn received(cable: &mut Cable) -> Vec<u8> {
        std::iter::from_fn(|| cable.receive()).map(|frame: MemoryFrame| frame.data()[0]).collect()
    }

    fn carry(faults: Faults) -> (Vec<u8>, Passed) {
        let (mut wire, mut near, mut far) = wire(faults);
        for value in 1..=12 {
            assert!(near.send_bytes(&[value]));
        }
        while wire.turn(|| 1000) {}
        (received(&mut far), wire.passed()[0])
    }

    #[test]
    fn a_wire_without_faults_changes_nothing_both_ways() {
        let (mut wire, mut near, mut far) = wire(Faults::default());
        assert!(near.send_bytes(&[1]) && far.send_bytes(&[2]));
        while wire.turn(|| 0) {}
        assert_eq!((received(&mut far), received(&mut near)), (vec![1], vec![2]));
        assert_eq!(wire.passed()[1], Passed { received: 1, sent: 1, ..Passed::default() });
    }

    #[test]
    fn the_way_back_is_another_queues() {
        let ((a0, mut near0), (a1, mut near1)) = (port(64), port(64));
        let ((b0, mut far0), (b1, mut far1)) = (port(64), port(64));
        let ports = [vec![a0, a1], vec![b0, b1]];
        let mut wire = Wire::of_queues(ports, MemoryPool::new(64), Faults::default());
        assert!(
            near0.send_bytes(&[1])
                && near1.send_bytes(&[2])
                && far0.send_bytes(&[3])
                && far1.send_bytes(&[4])
        );
        while wire.turn(|| 0) {}
        assert_eq!((received(&mut far0), received(&mut far1)), (vec![1], vec![2]));
        assert_eq!((received(&mut near0), received(&mut near1)), (vec![4], vec![3]));
        assert_eq!(wire.passed()[1], Passed { received: 2, sent: 2, ..Passed::default() });
    }

    #[test]
    fn every_nth_is_dropped_duplicated_or_swapped() {
        let (frames, passed) = carry(Faults { drop_every: 5, ..Faults::default() });
        assert_eq!(frames, [1, 2, 3, 4, 6, 7, 8, 9, 11, 12]);
        assert_eq!((passed.dropped, passed.sent), (2, 10));
        let (frames, passed) = carry(Faults { duplicate_every: 5, ..Faults::default() });
        assert_eq!(frames, [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 11, 12]);
        assert_eq!((passed.duplicated, passed.sent), (2, 14));
        let (frames, passed) = carry(Faults { reorder_every: 5, ..Faults::default() });
        assert_eq!(frames, [1, 2, 3, 4, 6, 5, 7, 8, 9, 11, 10, 12]);
        assert_eq!(passed.reordered, 2);
    }

    #[test]
    fn delayed_frames_come_when_they_are_due() {
        let (mut wire, mut near, mut far) = wire(Faults { delay_ns: 500, ..Faults::default() });
        assert!(near.send_bytes(&[1]));
        wire.turn(|| 1000);
        assert!(near.send_bytes(&[2]));
        wire.turn(|| 1499);
        assert!(received(&mut far).is_empty());
        wire.turn(|| 1500);
        assert_eq!(received(&mut far), [1]);
        wire.turn(|| 1999);
        assert_eq!(received(&mut far), [2]);
    }

    #[test]
    fn a_frame_without_successor_goes_on_alone() {
        let (mut wire, mut near, mut far) = wire(Faults { reorder_every: 1, ..Faults::default() });
        assert!(near.send_bytes(&[1]));
        wire.turn(|| 0);
        wire.turn(|| SWAP_WAIT_NS);
        assert!(received(&mut far).is_empty());
        wire.turn(|| SWAP_WAIT_NS + 1);
        assert_eq!(received(&mut far), [1]);
        assert_eq!(wire.passed()[0].reordered, 0);
    }
}
