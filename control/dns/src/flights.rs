//! All questions in flight, with what leads to each: its key, its open messages, its timer. They agree because nobody
//! else can touch them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rand::RngExt;
use rand::rngs::StdRng;

use crate::Nanos;
use crate::flight::{Flight, Manner, SocketKey, Try};
use crate::question::{QuestionKey, Seeded};

/// Draws of a UDP socket until one without open query is found; after that they are shared.
const DRAWS: usize = 16;
/// Draws of an id.
const ID_DRAWS: usize = 32;

/// Flights by slot.
#[derive(Debug)]
pub(crate) struct Flights {
    slots: Vec<Option<(Flight, Option<Nanos>)>>,
    free: Vec<u32>,
    by_key: HashMap<QuestionKey, u32, Seeded>,
    by_id: BTreeMap<(SocketKey, u16), u32>,
    timers: BTreeSet<(Nanos, u32)>,
    /// Open messages of each UDP socket.
    open: Box<[u16]>,
    next_tcp: u64,
    closed: VecDeque<SocketKey>,
}

impl Flights {
    pub(crate) fn new(sockets: u16, seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_hasher(Seeded(seed)),
            by_id: BTreeMap::new(),
            timers: BTreeSet::new(),
            open: vec![0; usize::from(sockets.max(1))].into(),
            next_tcp: 0,
            closed: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn find(&self, key: &QuestionKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Flight> {
        self.slots.get(slot as usize)?.as_ref().map(|(flight, _)| flight)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Flight> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|(flight, _)| flight)
    }

    pub(crate) fn insert(&mut self, flight: Flight) -> u32 {
        let key = flight.key.clone();
        let entry = Some((flight, None));
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            self.slots.len() as u32 - 1
        };
        self.by_key.insert(key, slot);
        slot
    }

    /// Takes a flight out, with all its messages.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Flight> {
        let (flight, timer) = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.by_key.remove(&flight.key);
        if let Some(timer) = timer {
            self.timers.remove(&(timer, slot));
        }
        for attempt in &flight.sent {
            self.release(attempt.socket, attempt.id);
        }
        Some(flight)
    }

    /// A socket and an id under which a message may be sent.
    pub(crate) fn draw(&mut self, tcp: bool, rng: &mut StdRng) -> Option<(SocketKey, u16)> {
        if tcp {
            self.next_tcp += 1;
            return Some((SocketKey::Tcp(self.next_tcp - 1), rng.random()));
        }
        let draw = |rng: &mut StdRng| rng.random_range(0..self.open.len());
        // RFC 5452 §9.2: id and port are unpredictable; a socket that nothing is open on has a port of its own.
        let fresh = (0..DRAWS).map(|_| draw(rng)).find(|&socket| self.open[socket] == 0);
        let socket = SocketKey::Udp(fresh.unwrap_or_else(|| draw(rng)) as u16);
        // Few tries suffice: of 65,536 ids a socket, the questions in flight over all sockets are taken.
        (0..ID_DRAWS)
            .map(|_| (socket, rng.random()))
            .find(|&(socket, id)| !self.by_id.contains_key(&(socket, id)))
    }

    /// A message is on its way.
    pub(crate) fn open(&mut self, slot: u32, attempt: Try) {
        self.by_id.insert((attempt.socket, attempt.id), slot);
        if let SocketKey::Udp(socket) = attempt.socket {
            self.open[usize::from(socket)] += 1;
        }
        if let Some(flight) = self.get_mut(slot) {
            flight.sent.push(attempt);
        }
    }

    /// A message is no longer waited for.
    pub(crate) fn close(&mut self, slot: u32, at: usize) -> Option<Try> {
        let attempt = self.get_mut(slot).filter(|flight| at < flight.sent.len())?.sent.remove(at);
        self.release(attempt.socket, attempt.id);
        Some(attempt)
    }

    fn release(&mut self, socket: SocketKey, id: u16) {
        self.by_id.remove(&(socket, id));
        let left = match socket {
            SocketKey::Udp(number) => {
                let open = &mut self.open[usize::from(number)];
                *open = open.saturating_sub(1);
                *open
            }
            SocketKey::Tcp(_) => 0,
        };
        if left == 0 {
            self.closed.push_back(socket);
        }
    }

    /// The flight, and which of its messages, that a response under that id answers.
    pub(crate) fn answered(&self, socket: SocketKey, id: u16) -> Option<(u32, usize)> {
        let &slot = self.by_id.get(&(socket, id))?;
        let at = self.get(slot)?.sent.iter().position(|a| (a.socket, a.id) == (socket, id))?;
        Some((slot, at))
    }

    pub(crate) fn attempt(&self, slot: u32, at: usize) -> Option<(usize, Manner)> {
        self.get(slot)?.sent.get(at).map(|attempt| (attempt.server, attempt.manner))
    }

    /// The ids that are open on a socket.
    pub(crate) fn ids(&self, socket: SocketKey) -> Vec<u16> {
        self.by_id.range((socket, 0)..=(socket, u16::MAX)).map(|(&(_, id), _)| id).collect()
    }

    /// The sockets that something is open on.
    pub(crate) fn sockets(&self) -> Vec<SocketKey> {
        let mut sockets: Vec<SocketKey> = self.by_id.keys().map(|&(socket, _)| socket).collect();
        sockets.dedup();
        sockets
    }

    /// Sets a flight's timer to when something is due.
    pub(crate) fn retime(&mut self, slot: u32) {
        let Some((flight, timer)) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let due = flight.due();
        if *timer == Some(due) {
            return;
        }
        if let Some(old) = timer.replace(due) {
            self.timers.remove(&(old, slot));
        }
        self.timers.insert((due, slot));
    }

    /// The next flight that something is due of; its timer is no longer set.
    pub(crate) fn pop_due(&mut self, now: Nanos) -> Option<u32> {
        let &(_, slot) = self.timers.first().filter(|(at, _)| *at <= now)?;
        self.timers.pop_first();
        if let Some((_, timer)) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) {
            *timer = None;
        }
        Some(slot)
    }

    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// The next socket that the last open message was closed on.
    pub(crate) fn poll_closed(&mut self) -> Option<SocketKey> {
        self.closed.pop_front()
    }

    /// Whether a message is still waited for.
    pub(crate) fn is_open(&self, socket: SocketKey, id: u16) -> bool {
        self.by_id.contains_key(&(socket, id))
    }
}
