//! What sessions of one profile are, in numbers.

use crate::frame::ends::Ends;
use crate::session::dns::Names;
use ces_dataplane::Nanos;

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Requests and responses alone.
    Udp,
    /// With a handshake, sequence numbers and an end.
    Tcp,
}

/// Where sessions find their server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// In turn among these: the first address, and how many.
    Addresses {
        /// The first.
        first: u32,
        /// How many, at least 1.
        count: u32,
    },
    /// By asking this name server.
    Named {
        /// Its address.
        server: u32,
        /// What is asked for, in turn.
        names: Names,
    },
}

/// What sessions of one profile are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name in reports.
    pub name: String,
    /// What carries them.
    pub transport: Transport,
    /// The first client address.
    pub client: u32,
    /// How many there are.
    pub clients: u32,
    /// The first client port.
    pub client_port: u16,
    /// How many there are.
    pub client_ports: u32,
    /// Where they go.
    pub target: Destination,
    /// The port there.
    pub server_port: u16,
    /// Requests of each session.
    pub requests: u16,
    /// Bytes of a request's payload.
    pub request_bytes: usize,
    /// Bytes of a response's payload.
    pub response_bytes: usize,
    /// Time from a response to the next request.
    pub think_ns: Nanos,
    /// How long an answer is waited for.
    pub timeout_ns: Nanos,
    /// How often what was not answered is sent again.
    pub retries: u8,
    /// Sessions open at a time, of all threads together.
    pub outstanding: u32,
}

impl Plan {
    /// Whether a session is over once its name was answered.
    pub fn only_asks(&self) -> bool {
        self.requests == 0 && self.transport == Transport::Udp
    }

    /// Whether no packet says that a session ends.
    pub fn ends_silently(&self) -> bool {
        self.transport == Transport::Udp
    }

    /// How many sessions there can be at once, on all threads together.
    pub fn capacity(&self) -> u32 {
        self.clients.saturating_mul(self.client_ports)
    }

    /// A slot's client address and port. Neighbours have different addresses.
    pub fn client_of(&self, slot: u32) -> (u32, u16) {
        let (port, client) = (slot / self.clients, slot % self.clients);
        (self.client.wrapping_add(client), self.client_port.wrapping_add(port as u16))
    }

    /// The slot that a packet is for, by where it goes. Slots are counted over all threads.
    pub fn slot_of(&self, ends: Ends) -> Option<u32> {
        let client = ends.destination.wrapping_sub(self.client);
        let port = u32::from(ends.destination_port.wrapping_sub(self.client_port));
        (client < self.clients && port < self.client_ports).then(|| port * self.clients + client)
    }
}

/// One thread's share of the client addresses and ports: a range of slots, which is a range of client ports where there are as
/// many as threads. So all threads have all client addresses, and each has them in the same turn as one thread alone would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    thread: usize,
    /// Where the slots of each thread begin, and behind those of the last one their number.
    bounds: Vec<u32>,
}

impl Share {
    /// That of a `thread` of so many.
    pub fn new(plan: &Plan, thread: usize, threads: usize) -> Self {
        let threads = threads.max(1) as u64;
        let unit = if u64::from(plan.client_ports) >= threads { plan.clients.max(1) } else { 1 };
        let units = u64::from(plan.capacity() / unit);
        let bound = |thread| (units * thread / threads) as u32 * unit;
        Self { thread, bounds: (0..=threads).map(bound).collect() }
    }

    /// Its first slot, and those of all threads before it.
    pub fn first(&self) -> u32 {
        self.bounds[self.thread]
    }

    /// How many slots it has.
    pub fn count(&self) -> u32 {
        self.bounds[self.thread + 1] - self.first()
    }

    /// Its place among the threads.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Its part of a number. The parts of all threads add up to it, and none is more than its slots if the number is not.
    pub fn of(&self, number: u64) -> u64 {
        let until = |slots: u32| u128::from(number) * u128::from(slots) / u128::from(self.all().max(1));
        (until(self.first() + self.count()) - until(self.first())) as u64
    }

    /// Its part of a rate.
    pub fn rate(&self, per_second: Option<f64>) -> Option<f64> {
        per_second.map(|rate| rate * f64::from(self.count()) / f64::from(self.all().max(1)))
    }

    fn all(&self) -> u32 {
        self.bounds.last().copied().unwrap_or(0)
    }

    /// A slot's place in this share, if it is in it.
    pub fn place_of(&self, slot: u32) -> Option<u32> {
        let place = slot.wrapping_sub(self.first());
        (place < self.count()).then_some(place)
    }

    /// The thread that has a slot.
    pub fn owner_of(&self, slot: u32) -> usize {
        self.bounds.partition_point(|&bound| bound <= slot).saturating_sub(1)
    }
}
