//! Client and server with a network between them that is made of arithmetic: it loses, repeats, delays and translates.

use crate::session::client::Client;
use crate::session::frames::Outlet;
use crate::session::packet::Packet;
use crate::session::plan::{Destination, Plan, Share};
use crate::session::server::Server;
use ces_dataplane::Nanos;
use ces_dataplane::wire::{checksum::Sum, ethernet, ipv4};
use std::collections::BTreeMap;

/// What the network does with a frame: when copies of it arrive, in nanoseconds from now. None: it is lost.
pub(super) type Weather<'a> = dyn FnMut(&[u8]) -> Vec<Nanos> + 'a;

/// What a port was given to send.
#[derive(Default)]
pub(super) struct Sent {
    pub frames: Vec<(usize, Vec<u8>)>,
    /// Frames for which there is no room.
    pub refuse: usize,
}

impl Outlet for Sent {
    fn frame(&mut self, port: usize, content: &[u8]) -> Option<&mut [u8]> {
        if self.refuse > 0 {
            self.refuse -= 1;
            return None;
        }
        self.frames.push((port, content.to_vec()));
        self.frames.last_mut().map(|(_, frame)| frame.as_mut_slice())
    }
}

/// Clients at port 0, servers at port 1.
pub(super) struct World {
    pub client: Client,
    pub server: Server,
    pub now: Nanos,
    pub out: Sent,
    /// Frames under way, by when they arrive: to which port, and what.
    under_way: BTreeMap<(Nanos, u64), (usize, Vec<u8>)>,
    order: u64,
    /// What the server sees in place of the clients' addresses: this is added to them.
    pub translate: u32,
    /// The name server's answers: response code and address.
    pub zone: Box<dyn FnMut(u16) -> (u8, u32)>,
}

/// The time that frames take where the weather is fine.
pub(super) const DELAY: Nanos = 10_240;

fn link(last: u8) -> ethernet::Header {
    ethernet::Header {
        destination: [2, 0, 0, 0, 0, last ^ 1],
        source: [2, 0, 0, 0, 0, last],
        vlan: None,
        ethertype: ethernet::IPV4,
    }
}

impl World {
    pub(super) fn new(plan: Plan, keep: bool) -> Self {
        let mut server = Server::new(&plan, 1, link(1), 77);
        server.reset(5, keep);
        let share = Share::new(&plan, 0, 1);
        let mut client = Client::new(plan, share, 0, link(0), 99).unwrap();
        client.reset(5, keep);
        Self {
            client,
            server,
            now: 1 << 20,
            out: Sent::default(),
            under_way: BTreeMap::new(),
            order: 0,
            translate: 0,
            zone: Box::new(|_| (0, 0x0a40_0001)),
        }
    }

    /// Puts what was sent on its way.
    pub(super) fn carry(&mut self, weather: &mut Weather<'_>) {
        for (port, mut frame) in std::mem::take(&mut self.out.frames) {
            if port == 0 && self.is_query(&frame) {
                frame = self.answered(frame);
                for delay in weather(&frame) {
                    self.post(0, frame.clone(), 2 * delay);
                }
                continue;
            }
            // The client's address is the source on the way out and the destination on the way back.
            if port == 0 {
                shift(&mut frame, 12, self.translate);
            } else {
                shift(&mut frame, 16, self.translate.wrapping_neg());
            }
            for delay in weather(&frame) {
                self.post(1 - port, frame.clone(), delay);
            }
        }
    }

    pub(super) fn post(&mut self, port: usize, frame: Vec<u8>, delay: Nanos) {
        self.order += 1;
        self.under_way.insert((self.now + delay, self.order), (port, frame));
    }

    fn is_query(&self, frame: &[u8]) -> bool {
        matches!(Packet::parse(frame), Packet::Udp(ends, _) if ends.destination_port == 53)
            && matches!(self.client.plan().target, Destination::Named { .. })
    }

    fn answered(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let Packet::Udp(ends, query) = Packet::parse(&frame) else { unreachable!() };
        let (code, address) = (self.zone)(u16::from(query[14]));
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[3] = code;
        if code == 0 && address != 0 {
            answer[7] = 1;
            answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04");
            answer.extend_from_slice(&address.to_be_bytes());
        }
        let mut out = Sent::default();
        crate::session::frames::datagram(&mut out, 0, &link(0), ends.swapped(), &answer).unwrap();
        out.frames.remove(0).1
    }

    /// Lets the next frame arrive, or the time pass until something is due. `false`: nothing is left to happen.
    pub(super) fn step(&mut self, weather: &mut Weather<'_>) -> bool {
        self.carry(weather);
        let timeout = self.client.plan().timeout_ns.max(self.client.plan().think_ns) / 4;
        match self.under_way.first_key_value() {
            Some((&(when, _), _)) if when <= self.now + timeout => {
                self.now = self.now.max(when);
                let Some((_, (port, frame))) = self.under_way.pop_first() else { return false };
                self.deliver(port, &frame);
            }
            _ if self.client.open() > 0 => self.now += timeout,
            Some(_) => self.now += timeout,
            None => return false,
        }
        self.client.expire(64, self.now, &mut self.out);
        true
    }

    pub(super) fn deliver(&mut self, port: usize, frame: &[u8]) {
        let packet = Packet::parse(frame);
        let Ok(from) = <[u8; 6]>::try_from(&frame[6..12]) else { return };
        let taken = if port == 0 {
            self.client.receive(&packet, frame.len() + 4, self.now, &mut self.out)
        } else {
            self.server.receive(&packet, from, self.now, &mut self.out)
        };
        assert!(taken || packet == Packet::Damaged, "nobody wanted {packet:?}");
    }

    pub(super) fn begin(&mut self) -> bool {
        self.client.begin(self.now, &mut self.out)
    }

    /// Runs until nothing is left to happen.
    pub(super) fn run(&mut self, weather: &mut Weather<'_>) {
        let mut steps = 0;
        while self.client.open() > self.client.idle()
            || !self.under_way.is_empty()
            || !self.out.frames.is_empty()
        {
            self.step(weather);
            steps += 1;
            assert!(steps < 1_000_000, "it never ends");
        }
    }
}

/// Adds to an address, and keeps the checksums right, as a NAT does.
fn shift(frame: &mut [u8], at: usize, by: u32) {
    let (ip, body) = frame[ethernet::LENGTH..].split_at_mut(ipv4::LENGTH);
    let old = u32::from_be_bytes([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
    let new = old.wrapping_add(by);
    ip[at..at + 4].copy_from_slice(&new.to_be_bytes());
    let change = Sum::default().replace_words(old, new);
    let sum = change.adjust(u16::from_be_bytes([ip[10], ip[11]]));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let place = if ip[9] == ipv4::TCP { 16 } else { 6 };
    let sum = u16::from_be_bytes([body[place], body[place + 1]]);
    let sum = if ip[9] == ipv4::TCP { change.adjust(sum) } else { change.adjust_udp(sum) };
    body[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}
