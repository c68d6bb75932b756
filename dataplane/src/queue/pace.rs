//! How fast a port sends, all workers together, without a lock.
//!
//! The port's line is one number that all workers share: the time at which it will have sent all that was given to it. Who
//! finds that in the past may send, and moves it on by what that takes, in one exchange; so the line is never promised
//! twice. What each worker takes of it is its own matter, and one that looks more often would get more: so each also keeps to
//! a time of its own, which moves on as if it had as much of the line as it has of the hosts that wait.

use crate::Nanos;
use crate::meter::SECOND;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Bits of a time behind the point: 64 bits last for 9 years, and at 400 Gbit/s the shortest frame is right to 1 %.
const FRACTION: u32 = 6;
/// Bits of a byte's cost behind that.
const FINE: u32 = 24;
/// What a worker that came late to what waits may send at once, as time of the line: so much later it may come and lose nothing.
/// Where workers share their cores with others that is as long as these may have them; elsewhere it is never needed. The
/// urgent class may come in bursts of as much.
const LATE_NS: Nanos = 20_000_000;
/// A line that is busy for longer was left so by a clock that jumped.
const LOST_NS: Nanos = 10 * SECOND;

/// Ethernet's share of a frame beyond the frame itself: preamble 8, FCS 4, gap 12 (IEEE 802.3 §4.2.3).
const ETHERNET_MORE: usize = 24;
/// The shortest frame with that.
const ETHERNET_LEAST: usize = 84;

/// What a frame of so many bytes takes of an Ethernet wire, in bytes.
#[inline(always)]
pub const fn on_wire(length: usize) -> u16 {
    let all = length + ETHERNET_MORE;
    if all < ETHERNET_LEAST { ETHERNET_LEAST as u16 } else { all as u16 }
}

/// How a port is shaped. Bits are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bits a second.
    pub bandwidth: u64,
    /// Bits a second of it that the urgent class has before all others.
    pub urgent: u64,
}

/// Packets that may wait at a port with the most.
const FRAMES_MOST: u64 = 8192;
/// And with the least.
const FRAMES_LEAST: u64 = 256;

impl Shape {
    /// How many packets may wait, in all workers together: a tenth of a second in packets of half the longest length.
    pub const fn frames(&self) -> u64 {
        let frames = self.bandwidth / 8 / 10 / 750;
        if frames < FRAMES_LEAST {
            FRAMES_LEAST
        } else if frames > FRAMES_MOST {
            FRAMES_MOST
        } else {
            frames
        }
    }

    /// How many of them one of so many workers may have: more than its part, since hosts are not spread evenly.
    pub const fn frames_of_worker(&self, workers: u32) -> u64 {
        let workers = if workers == 0 { 1 } else { workers as u64 };
        let part = if workers == 1 { self.frames() } else { self.frames() * 2 / workers };
        if part < FRAMES_LEAST { FRAMES_LEAST } else { part }
    }

    /// How long a frame of so many bytes takes.
    pub const fn frame_ns(&self, length: usize) -> Nanos {
        on_wire(length) as u64 * 8 * SECOND / if self.bandwidth == 0 { 1 } else { self.bandwidth }
    }
}

/// A number in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Alone<T>(T);

/// A port's line, as all workers see it.
#[derive(Debug)]
pub struct SharedLine {
    /// When it will have sent what was given to it.
    free_at: Alone<AtomicU64>,
    /// When the urgent class will have used what it was given.
    urgent_at: Alone<AtomicU64>,
    /// Of each worker the hosts that wait.
    hosts: Vec<Alone<AtomicU32>>,
}

impl SharedLine {
    /// Of a port of so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let hosts = (0..workers).map(|_| Alone::default()).collect();
        Arc::new(Self { free_at: Alone::default(), urgent_at: Alone::default(), hosts })
    }

    /// The hosts that wait at other workers.
    fn hosts_elsewhere(&self, worker: usize) -> u32 {
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != worker);
        others.map(|(_, hosts)| hosts.0.load(Relaxed)).sum()
    }
}

/// What a byte takes of a rate's time.
#[derive(Clone, Copy, Debug)]
struct Cost(u64);

impl Cost {
    fn of(bits: u64) -> Self {
        let byte = (u128::from(SECOND) * 8) << (FRACTION + FINE);
        Self(u64::try_from(byte.div_ceil(u128::from(bits.max(1)))).unwrap_or(u64::MAX))
    }

    #[inline(always)]
    fn bytes(self, bytes: u64) -> u64 {
        ((u128::from(bytes) * u128::from(self.0)) >> FINE) as u64 + 1
    }

    /// How many bytes so much time is enough for.
    #[inline(always)]
    fn within(self, time: u64) -> u64 {
        ((u128::from(time) << FINE) / u128::from(self.0.max(1))) as u64
    }
}

/// A worker's pace at a port.
#[derive(Debug)]
pub struct Pace {
    line: Arc<SharedLine>,
    worker: usize,
    cost: Cost,
    urgent: Cost,
    /// When it will have used its own part.
    own_at: u64,
    /// Something waited when it last looked: it may make up for coming late.
    waited: bool,
}

/// What a worker was given of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Bytes.
    pub bytes: u64,
    /// Hosts that wait in all workers, for each of its own: in 256ths.
    part: u64,
}

const fn fine(now: Nanos) -> u64 {
    now << FRACTION
}

impl Pace {
    /// Of this worker.
    pub fn new(line: Arc<SharedLine>, worker: usize, shape: Shape) -> Self {
        let (cost, urgent) = (Cost::of(shape.bandwidth), Cost::of(shape.urgent));
        Self { line, worker, cost, urgent, own_at: 0, waited: false }
    }

    /// Another bandwidth.
    pub fn change(&mut self, shape: Shape) {
        (self.cost, self.urgent) = (Cost::of(shape.bandwidth), Cost::of(shape.urgent));
    }

    /// Nothing waits any more.
    #[inline(always)]
    pub fn rest(&mut self) {
        if std::mem::take(&mut self.waited)
            && let Some(own) = self.line.hosts.get(self.worker)
        {
            own.0.store(0, Relaxed);
        }
    }

    /// How much may be sent now of so many bytes of so many hosts. What was in fact sent is said by [`Pace::sent`].
    #[inline]
    pub fn ask(&mut self, bytes: u64, hosts: u32, now: Nanos) -> Option<Grant> {
        let late = if std::mem::replace(&mut self.waited, true) { fine(LATE_NS) } else { 0 };
        let time = fine(now);
        let part = self.part(hosts);
        if part != 256 {
            if self.own_at > time && self.own_at < time + fine(LOST_NS) {
                return None;
            }
            self.own_at = self.own_at.clamp(time.saturating_sub(late), time);
        }
        let mut given = 0;
        let (cost, earliest) = (self.cost, time.saturating_sub(late));
        let ask = |free_at: u64| {
            let from = if free_at > time + fine(LOST_NS) { time } else { free_at.max(earliest) };
            // What began before now goes out, so a byte more than what is over by now.
            given = (cost.within(time.checked_sub(from)?) + 1).min(bytes);
            Some(from + cost.bytes(given))
        };
        self.line.free_at.0.fetch_update(Relaxed, Relaxed, ask).ok()?;
        Some(Grant { bytes: given, part })
    }

    /// Hosts in all workers for each of this one's, in 256ths.
    #[inline(always)]
    fn part(&self, hosts: u32) -> u64 {
        if self.line.hosts.len() < 2 {
            return 256;
        }
        if let Some(own) = self.line.hosts.get(self.worker) {
            own.0.store(hosts, Relaxed);
        }
        let elsewhere = u64::from(self.line.hosts_elsewhere(self.worker));
        256 + 256 * elsewhere / u64::from(hosts.max(1))
    }

    /// So many bytes were sent of what was given: the last frame mostly goes beyond it.
    #[inline]
    pub fn sent(&mut self, grant: Grant, bytes: u64) {
        let (given, taken) = (self.cost.bytes(grant.bytes), self.cost.bytes(bytes));
        self.line.free_at.0.fetch_add(taken.wrapping_sub(given), Relaxed);
        if grant.part != 256 {
            self.own_at += ((u128::from(taken) * u128::from(grant.part)) >> 8) as u64;
        }
    }

    /// Whether the urgent class keeps to its rate.
    #[inline(always)]
    pub fn is_urgent_due(&self, now: Nanos) -> bool {
        let at = self.line.urgent_at.0.load(Relaxed);
        at <= fine(now) || at > fine(now + LOST_NS)
    }

    /// It has sent so many bytes.
    #[inline(always)]
    pub fn sent_urgent(&self, bytes: u64, now: Nanos) {
        let (time, late) = (fine(now), fine(LATE_NS));
        let taken = self.urgent.bytes(bytes);
        let from = |at: u64| if at > time + fine(LOST_NS) { time } else { at.max(time.saturating_sub(late)) };
        let _ = self.line.urgent_at.0.fetch_update(Relaxed, Relaxed, |at| Some(from(at) + taken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape { bandwidth: 100_000_000, urgent: 25_000_000 };

    /// Sends frames of these lengths whenever it is let, at these times; bytes at each time.
    fn sent(shape: Shape, times: &[u64], length: u64) -> Vec<(u64, u64)> {
        let mut pace = Pace::new(SharedLine::new(1), 0, shape);
        let mut sent = Vec::new();
        for &now in times {
            if let Some(grant) = pace.ask(1 << 30, 1, now) {
                let bytes = grant.bytes.div_ceil(length) * length;
                pace.sent(grant, bytes);
                sent.push((now, bytes));
            }
        }
        sent
    }

    proptest! {
        #[test]
        fn never_more_than_the_bandwidth(
            bandwidth in 100_000u64..400_000_000_000,
            steps in proptest::collection::vec(1u64..3_000_000, 1..300),
            length in 84u64..2100,
        ) {
            let shape = Shape { bandwidth, urgent: bandwidth / 4 };
            let times: Vec<u64> = steps.iter().scan(SECOND, |now, step| { *now += step; Some(*now) }).collect();
            let sent = sent(shape, &times, length);
            for (i, (from, _)) in sent.iter().enumerate() {
                let mut bytes = 0;
                for (to, more) in &sent[i..] {
                    bytes += more;
                    let time = u128::from(to - from + LATE_NS);
                    let most = time * u128::from(bandwidth) / 8 / u128::from(SECOND) + u128::from(length) + 1;
                    prop_assert!(u128::from(bytes) <= most, "{bytes} bytes in {} ns, at most {most}", to - from);
                }
            }
        }
    }

    #[test]
    fn who_comes_late_loses_nothing() {
        let times: Vec<u64> = (0..1000).map(|turn| SECOND + turn * 1_000_000).collect();
        let bytes: u64 = sent(SHAPE, &times, 1538).iter().map(|(_, bytes)| bytes).sum();
        let all = 100_000_000 / 8; // a second
        assert!(bytes.abs_diff(all) < all / 500, "{bytes}");
    }

    #[test]
    fn a_line_that_rested_gives_no_burst() {
        let mut pace = Pace::new(SharedLine::new(1), 0, SHAPE);
        assert_eq!(pace.ask(1 << 20, 1, SECOND).map(|grant| grant.bytes), Some(1));
        assert_eq!(
            pace.ask(1 << 20, 1, 2 * SECOND).map(|grant| grant.bytes),
            Some(250_001),
            "20 milliseconds"
        );
        pace.rest();
        assert_eq!(pace.ask(1 << 20, 1, 3 * SECOND).map(|grant| grant.bytes), Some(1));
    }

    #[test]
    fn workers_share_a_line_by_their_hosts() {
        let line = SharedLine::new(2);
        let mut paces = [0, 1].map(|worker| Pace::new(Arc::clone(&line), worker, SHAPE));
        let (mut sent, hosts) = ([0u64; 2], [1, 3]);
        for turn in 0..400_000u64 {
            // The first looks twice as often.
            for worker in if turn % 2 == 0 { &[0, 1][..] } else { &[0][..] } {
                if let Some(grant) = paces[*worker].ask(1 << 20, hosts[*worker], SECOND + turn * 5_000) {
                    let bytes = grant.bytes.div_ceil(1538) * 1538;
                    paces[*worker].sent(grant, bytes);
                    sent[*worker] += bytes;
                }
            }
        }
        let all = 2 * 100_000_000 / 8;
        assert!((sent[0] + sent[1]).abs_diff(all) < all / 50, "{sent:?}");
        assert!(sent[0].abs_diff(all / 4) < all / 40, "{sent:?}");
    }

    #[test]
    fn a_clock_that_jumps_back_stops_nothing() {
        let mut pace = Pace::new(SharedLine::new(1), 0, SHAPE);
        let grant = pace.ask(1 << 20, 1, 1000 * SECOND).unwrap();
        pace.sent(grant, 1538);
        assert!(pace.ask(1 << 20, 1, SECOND).is_some());
    }

    #[test]
    fn the_urgent_class_is_due_as_long_as_it_keeps_to_its_rate() {
        let pace = Pace::new(SharedLine::new(1), 0, SHAPE);
        let mut bytes = 0;
        for turn in 0..1_000_000u64 {
            let now = SECOND + turn * 1000;
            if pace.is_urgent_due(now) {
                pace.sent_urgent(1538, now);
                bytes += 1538;
            }
        }
        let all = 25_000_000u64 / 8; // a second
        assert!(bytes > all && bytes < all + all / 40, "a burst of 20 ms, and its rate: {bytes}");
    }
}
