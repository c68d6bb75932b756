//! Which TCP connections the kernel has, as its own segments tell. What belongs to none of them does not reach it: it would
//! answer, and tell a stranger that somebody is here and which ports are open.
//!
//! A connection is remembered in one of two generations. When the younger one is full or old it becomes the elder, and
//! what is seen again comes back from there; so there is a bound, nothing is swept, and the busy ones stay. Those that are
//! being opened have generations of their own: a flood of SYNs makes none forget that stands.

use ces_wire::{Wire, ethernet, ipv4, tcp};
use rustc_hash::FxSeededState;
use std::collections::HashSet;

/// Addresses and ports, the gateway's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    own: u32,
    other: u32,
    ports: (u16, u16),
}

/// A TCP segment in a frame: source first, and its flags.
struct Segment {
    source: u32,
    destination: u32,
    ports: (u16, u16),
    flags: u8,
}

impl Segment {
    fn parse(frame: &[u8]) -> Option<Self> {
        let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
        let packet = frame.get(link.length()..)?;
        let ip = ipv4::Header::parse_quoted(packet).ok()?;
        if ip.protocol != ipv4::TCP || ip.fragment_offset != 0 {
            return None;
        }
        let header = tcp::Header::parse(packet.get(ip.length()..)?).ok()?;
        Some(Self {
            source: ip.source,
            destination: ip.destination,
            ports: (header.source_port, header.destination_port),
            flags: header.flags,
        })
    }
}

/// Connections of a kind, in two generations.
#[derive(Debug)]
struct Generations {
    young: HashSet<Ends, FxSeededState>,
    elder: HashSet<Ends, FxSeededState>,
    /// When the young ones began.
    since: u64,
    lifetime_ns: u64,
    most: usize,
}

impl Generations {
    fn new(lifetime_s: u64, most: usize, seed: usize) -> Self {
        let set = || HashSet::with_hasher(FxSeededState::with_seed(seed));
        Self { young: set(), elder: set(), since: 0, lifetime_ns: lifetime_s * 1_000_000_000, most }
    }

    fn insert(&mut self, ends: Ends, now: u64) {
        if self.young.len() >= self.most || now.saturating_sub(self.since) >= self.lifetime_ns {
            std::mem::swap(&mut self.young, &mut self.elder);
            self.young.clear();
            self.since = now;
        }
        self.young.insert(ends);
    }

    /// Whether it is known; then it stays so.
    fn has(&mut self, ends: &Ends, now: u64) -> bool {
        if !self.young.contains(ends) && !self.elder.contains(ends) {
            return false;
        }
        self.insert(*ends, now);
        true
    }

    fn remove(&mut self, ends: &Ends) {
        self.young.remove(ends);
        self.elder.remove(ends);
    }
}

/// RFC 5382 REQ-5: an established connection may be silent for 2 hours 4 minutes.
const OPEN_S: u64 = 2 * 3600 + 4 * 60;
/// RFC 5382 REQ-5: one that is being opened is given 4 minutes.
const OPENING_S: u64 = 4 * 60;
/// Connections in a generation, 16 bytes each; the kernel would sooner run out of sockets.
const MOST: usize = 65_536;

/// The kernel's connections.
#[derive(Debug)]
pub struct Connections {
    /// The kernel sent SYN or SYN-ACK.
    opening: Generations,
    /// It sent more.
    open: Generations,
}

impl Connections {
    /// None yet. The seed keeps strangers from choosing what collides.
    pub fn new(seed: u64) -> Self {
        let seed = seed as usize;
        Self { opening: Generations::new(OPENING_S, MOST, seed), open: Generations::new(OPEN_S, MOST, seed) }
    }

    /// The kernel sent this frame.
    pub fn sent(&mut self, frame: &[u8], now: u64) {
        let Some(Segment { source, destination, ports, flags }) = Segment::parse(frame) else { return };
        let ends = Ends { own: source, other: destination, ports };
        if flags & tcp::RST != 0 {
            self.open.remove(&ends);
            self.opening.remove(&ends);
        } else if flags & tcp::SYN != 0 {
            self.opening.insert(ends, now);
        } else if !self.open.has(&ends, now) {
            self.opening.remove(&ends);
            self.open.insert(ends, now);
        }
    }

    /// Whether a frame for the kernel may reach it: what is no TCP, what opens a connection (the packet path has seen that
    /// somebody listens), and what belongs to one.
    pub fn admits(&mut self, frame: &[u8], now: u64) -> bool {
        let Some(Segment { source, destination, ports, flags }) = Segment::parse(frame) else { return true };
        let ends = Ends { own: destination, other: source, ports: (ports.1, ports.0) };
        flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
            || self.open.has(&ends, now)
            || self.opening.has(&ends, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 0xc633_6401;
    const PEER: u32 = 0xcb00_7101;
    const SECOND: u64 = 1_000_000_000;

    fn segment(from: (u32, u16), to: (u32, u16), flags: u8) -> Vec<u8> {
        let mut frame = vec![0; ethernet::LENGTH + ipv4::LENGTH + tcp::LENGTH];
        ethernet::Header { destination: [2; 6], source: [4; 6], vlan: None, ethertype: ethernet::IPV4 }
            .emit(&mut frame);
        let total = (ipv4::LENGTH + tcp::LENGTH) as u16;
        ipv4::Header::new(ipv4::TCP, from.0, to.0, total).emit(&mut frame[ethernet::LENGTH..]);
        tcp::Header {
            source_port: from.1,
            destination_port: to.1,
            sequence: 1,
            acknowledgement: 1,
            header_length: tcp::LENGTH as u8,
            flags,
            window: 1,
            checksum: 0,
            urgent: 0,
        }
        .emit(&mut frame[ethernet::LENGTH + ipv4::LENGTH..]);
        frame
    }

    fn comes(connections: &mut Connections, port: u16, flags: u8, now: u64) -> bool {
        connections.admits(&segment((PEER, 5000), (OWN, port), flags), now)
    }

    fn goes(connections: &mut Connections, port: u16, flags: u8, now: u64) {
        connections.sent(&segment((OWN, port), (PEER, 5000), flags), now);
    }

    #[test]
    fn p11_scans_do_not_reach_the_kernel() {
        let mut connections = Connections::new(7);
        // ACK, FIN, NULL, XMAS, SYN-ACK, RST, SYN-FIN, FIN-ACK, to a port where somebody listens as to any other.
        for flags in [0x10, 0x01, 0, 0x29, 0x12, 0x04, 0x03, 0x11] {
            assert!(!comes(&mut connections, 48_001, flags, 0), "{flags:02x}");
        }
        assert!(comes(&mut connections, 48_001, tcp::SYN, 0));
        assert!(connections.admits(&[0; 60], 0), "what is no TCP is none of its business");
    }

    #[test]
    fn p11_what_the_kernel_has_reaches_it() {
        let mut connections = Connections::new(7);
        // Opened from here.
        goes(&mut connections, 40_000, tcp::SYN, 0);
        assert!(comes(&mut connections, 40_000, tcp::SYN | tcp::ACK, 0));
        goes(&mut connections, 40_000, tcp::ACK, 0);
        assert!(
            comes(&mut connections, 40_000, tcp::ACK, 2 * 3600 * SECOND),
            "it may be silent for two hours"
        );
        assert!(!comes(&mut connections, 40_001, tcp::ACK, 0), "another port");
        // Opened from there.
        assert!(comes(&mut connections, 48_001, tcp::SYN, 0));
        goes(&mut connections, 48_001, tcp::SYN | tcp::ACK, 0);
        assert!(comes(&mut connections, 48_001, tcp::ACK, 0));
        // The kernel refuses: nothing more.
        goes(&mut connections, 48_001, tcp::RST | tcp::ACK, 0);
        assert!(!comes(&mut connections, 48_001, tcp::ACK, 0));
    }

    #[test]
    fn p11_a_flood_of_opening_ones_makes_none_forgotten_that_stands() {
        let mut connections = Connections::new(7);
        goes(&mut connections, 40_000, tcp::ACK, 0);
        for number in 0..3 * MOST as u32 {
            connections.sent(&segment((OWN, 48_001), (number, 1), tcp::SYN | tcp::ACK), 0);
        }
        assert!(comes(&mut connections, 40_000, tcp::ACK, 0));
        assert!(connections.opening.young.len() + connections.opening.elder.len() <= 2 * MOST);
        let old = (OPENING_S + 1) * SECOND;
        connections.sent(&segment((OWN, 1), (2, 3), tcp::SYN), old);
        connections.sent(&segment((OWN, 1), (2, 3), tcp::SYN), 2 * old);
        assert!(!comes(&mut connections, 48_001, tcp::ACK, 2 * old), "those that were never opened go");
    }
}
