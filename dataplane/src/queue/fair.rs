//! Fair queues: classes, in each of them hosts that take turns, in each host flows that take turns (DRR++ twice), and in each
//! flow packets in the order in which they came, under CoDel.
//!
//! A host gets as much as another one, with one flow or with a hundred. Hosts and flows have a place while something of theirs
//! waits ([`ways`](super::ways)); packets stand in one pool of places, which bounds what waits. How much of what is free of it
//! one host may take, and of that one flow, is as much as stays free (dynamic thresholds, Choudhury and Hahne, 1998): so
//! there is always room for one who has nothing waiting, and nobody is sought out to make it.

use super::class::Class;
use super::codel::{Aim, Coarse, Codel, Sentence};
use super::key::QueueKey;
use super::round::{Place, Round, Turn};
use super::ways::Ways;
use crate::narrow::NONE;

/// The fewest places for hosts: a class's few hosts find a set that is not full.
const HOSTS_LEAST: usize = 1024;

/// A packet that waits.
#[derive(Debug)]
struct Waiting<F> {
    /// `None` = a free place.
    frame: Option<F>,
    since: Coarse,
    /// The one behind it, or the next free place.
    next: u32,
    bytes: u16,
    inner: u16,
}

/// A host with what waits of it, in a class.
#[derive(Clone, Copy, Debug)]
struct Host {
    place: Place,
    flows: Round,
    packets: u32,
    class: Class,
}

/// A flow: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Flow {
    place: Place,
    host: u32,
    first: u32,
    last: u32,
    packets: u32,
    codel: Codel,
}

const _: () = assert!(size_of::<Flow>() == 64);

impl Turn for Host {
    #[inline(always)]
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl Turn for Flow {
    #[inline(always)]
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

/// What waits in a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Packets.
    pub packets: u64,
    /// Bytes as on the wire.
    pub bytes: u64,
    /// Hosts whose packets they are.
    pub hosts: u32,
}

/// A packet that was taken out.
#[derive(Debug)]
pub struct Dequeued<F> {
    /// It.
    pub frame: F,
    /// Its bytes as on the wire.
    pub bytes: u32,
    /// How long it waited, in units of [`codel`](super::codel).
    pub waited: u32,
    /// Whether it was marked, because it waited too long.
    pub is_marked: bool,
    /// Packets before it that were dropped for that.
    pub dropped: u32,
}

/// The queues of a port.
#[derive(Debug)]
pub struct FairQueues<F> {
    packets: Vec<Waiting<F>>,
    /// The first free place, and how many there are.
    free: u32,
    room: u32,
    host_ways: Ways,
    hosts: Vec<Host>,
    flow_ways: Ways,
    flows: Vec<Flow>,
    classes: [Round; Class::COUNT],
    backlog: [Backlog; Class::COUNT],
}

impl<F> FairQueues<F> {
    /// Room for so many packets.
    pub fn new(packets: usize) -> Self {
        let waiting = |next| Waiting { frame: None, since: Coarse::default(), next, bytes: 0, inner: 0 };
        let host = Host { place: Place::default(), flows: Round::EMPTY, packets: 0, class: Class::Ordinary };
        let flow = Flow {
            place: Place::default(),
            host: NONE,
            first: NONE,
            last: NONE,
            packets: 0,
            codel: Codel::default(),
        };
        let host_ways = Ways::new(packets.max(HOSTS_LEAST));
        let flow_ways = Ways::new(2 * host_ways.places());
        Self {
            packets: (1..=packets as u32).map(waiting).collect(),
            free: 0,
            room: packets as u32,
            hosts: vec![host; host_ways.places()],
            flows: vec![flow; flow_ways.places()],
            host_ways,
            flow_ways,
            classes: [Round::EMPTY; Class::COUNT],
            backlog: [Backlog::default(); Class::COUNT],
        }
    }

    /// What waits in a class.
    #[inline(always)]
    pub fn backlog(&self, class: Class) -> Backlog {
        self.backlog[class as usize]
    }

    /// What waits in all.
    #[inline]
    pub fn all(&self) -> Backlog {
        self.backlog.iter().fold(Backlog::default(), |sum, class| Backlog {
            packets: sum.packets + class.packets,
            bytes: sum.bytes + class.bytes,
            hosts: sum.hosts + class.hosts,
        })
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.room as usize == self.packets.len()
    }

    /// Starts to fetch what [`FairQueues::push`] will read.
    #[inline(always)]
    pub fn prefetch(&self, key: &QueueKey) {
        self.flow_ways.prefetch(key.flow);
        self.host_ways.prefetch(key.host);
    }

    /// Queues a packet that takes so many bytes of the wire, or gives it back if its host or its flow may have no more waiting.
    #[inline]
    pub fn push(&mut self, key: &QueueKey, frame: F, bytes: u16, now: Coarse) -> Result<Class, F> {
        let flow = self.flow_ways.place(key.flow);
        let host = if self.flows[flow as usize].packets > 0 {
            self.flows[flow as usize].host
        } else {
            self.host_of(flow, key)
        };
        let (at, its) = (&mut self.hosts[host as usize], &mut self.flows[flow as usize]);
        let place = self.free;
        let is_over = at.packets >= self.room || (its.packets > 0 && its.packets >= self.room - at.packets);
        let Some(waiting) = self.packets.get_mut(place as usize).filter(|_| !is_over) else {
            self.refuse(flow, host);
            return Err(frame);
        };
        self.free = waiting.next;
        *waiting = Waiting { frame: Some(frame), since: now, next: NONE, bytes, inner: key.inner };
        self.room -= 1;
        at.packets += 1;
        its.packets += 1;
        let (last, class) = (std::mem::replace(&mut its.last, place), at.class);
        if its.packets == 1 {
            its.first = place;
        } else {
            self.packets[last as usize].next = place;
        }
        let backlog = &mut self.backlog[class as usize];
        (backlog.packets, backlog.bytes) = (backlog.packets + 1, backlog.bytes + u64::from(bytes));
        at.flows.join(&mut self.flows, flow);
        if self.classes[class as usize].join(&mut self.hosts, host) {
            backlog.hosts += 1;
        }
        Ok(class)
    }

    /// Who has nothing waiting now has no place either.
    #[cold]
    fn refuse(&mut self, flow: u32, host: u32) {
        if !self.flows[flow as usize].place.waits() {
            self.flow_ways.leave(flow);
        }
        if !self.hosts[host as usize].place.waits() {
            self.host_ways.leave(host);
        }
    }

    /// The host of a flow of which nothing waits. One that has not left yet stays with its own.
    fn host_of(&mut self, flow: u32, key: &QueueKey) -> u32 {
        let its = &mut self.flows[flow as usize];
        if !its.place.waits() {
            its.host = self.host_ways.place(key.host);
            let host = &mut self.hosts[its.host as usize];
            if !host.place.waits() {
                host.class = key.class;
            }
        }
        its.host
    }

    /// Takes the next packet of a class. `mark` marks it, or says that it cannot be marked.
    #[inline]
    pub fn pop(
        &mut self,
        class: Class,
        aim: Aim,
        now: Coarse,
        mut mark: impl FnMut(&mut F, u16) -> bool,
    ) -> Option<Dequeued<F>> {
        let mut dropped = 0;
        loop {
            let host = self.classes[class as usize].turn(&mut self.hosts)?;
            let Some(flow) = self.hosts[host as usize].flows.turn(&mut self.flows) else {
                if self.classes[class as usize].skip(&mut self.hosts) {
                    self.host_ways.leave(host);
                    self.backlog[class as usize].hosts -= 1;
                }
                continue;
            };
            let Some((mut frame, since, bytes, inner)) = self.take(host, flow) else {
                if self.hosts[host as usize].flows.skip(&mut self.flows) {
                    self.flow_ways.leave(flow);
                }
                continue;
            };
            let its = &mut self.flows[flow as usize];
            let told = its.codel.judge(aim, since, its.packets > 0, now) == Sentence::Tell;
            if told && !mark(&mut frame, inner) {
                dropped += 1;
                drop(frame);
                continue;
            }
            Round::sent(&mut self.flows, flow, bytes);
            Round::sent(&mut self.hosts, host, bytes);
            return Some(Dequeued { frame, bytes, waited: now.since(since), is_marked: told, dropped });
        }
    }

    /// Takes the first packet of a flow.
    #[inline(always)]
    fn take(&mut self, host: u32, flow: u32) -> Option<(F, Coarse, u32, u16)> {
        let its = &mut self.flows[flow as usize];
        if its.packets == 0 {
            return None;
        }
        let place = its.first;
        let waiting = &mut self.packets[place as usize];
        let frame = waiting.frame.take()?;
        its.first = std::mem::replace(&mut waiting.next, self.free);
        its.packets -= 1;
        self.free = place;
        self.room += 1;
        let at = &mut self.hosts[host as usize];
        at.packets -= 1;
        let bytes = u32::from(waiting.bytes);
        let backlog = &mut self.backlog[at.class as usize];
        (backlog.packets, backlog.bytes) = (backlog.packets - 1, backlog.bytes - u64::from(bytes));
        Some((frame, waiting.since, bytes, waiting.inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::index::Hasher;

    #[test]
    fn nobody_keeps_a_place_when_nothing_waits() {
        let mut queues = FairQueues::new(64);
        let (hasher, now) = (Hasher::new([3, 5]), Coarse::of(1 << 40));
        let mut refused = 0;
        for number in 0..3000u32 {
            let class = Class::ALL[number as usize % Class::COUNT];
            let key = QueueKey::new(hasher, class, number % 700, u64::from(number), 0);
            refused += u32::from(queues.push(&key, (), 100, now).is_err());
        }
        assert!(refused > 2000);
        for class in Class::ALL {
            while queues.pop(class, Aim::of(0), now, |(), _| true).is_some() {}
        }
        assert!(queues.is_empty() && queues.host_ways.is_free() && queues.flow_ways.is_free());
    }

    #[test]
    fn who_has_nothing_waiting_finds_room() {
        let mut queues = FairQueues::new(300);
        let (hasher, now) = (Hasher::new([3, 5]), Coarse::of(1 << 40));
        let mut push = |host, flow| {
            queues.push(&QueueKey::new(hasher, Class::Ordinary, host, flow, 0), (), 100, now).is_ok()
        };
        let taken = (0..1000).filter(|_| push(1, 1)).count();
        assert_eq!(taken, 100, "a flow leaves as much to its host, and its host as much to others");
        assert_eq!((2..1000).filter(|flow| push(1, *flow)).count(), 50);
        assert!((2..100).all(|host| push(host, 1)));
    }
}
