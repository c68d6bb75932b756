//! A session's line: a flow between an inside host and a host outside, as each of them sees it. One cache line, counters
//! included.

use super::stage::Standing;
pub use super::stage::{Heading, Stage};
use super::wheel::Hook;
use crate::narrow::{Count40, Count56, Number24};

use crate::filter::Seen;
use crate::msg::SessionView;
use crate::nat::Timeouts;
use crate::packet::Packet;
use crate::verdict::External;
use crate::wire::checksum::{Delta, Sum};
use crate::wire::{Pair, ipv4};
use std::mem::offset_of;
use std::net::Ipv4Addr;

/// A packet's flow: addresses, ports, protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source and destination address.
    pub addresses: Pair,
    /// Source and destination port; the identifier of an ICMP query stands for the port inside; 0 where there are none.
    pub ports: u32,
    /// The protocol.
    pub protocol: u8,
}

impl Flow {
    /// That of a packet.
    #[inline(always)]
    pub const fn of(packet: &Packet) -> Self {
        Self { addresses: packet.addresses, ports: packet.ports, protocol: packet.protocol }
    }

    /// What an inside host sends to the external address of another, as it arrives there: what stands for the port of a query
    /// is that of whoever receives it.
    pub const fn at_another(self) -> Self {
        match self.protocol {
            ipv4::ICMP => Self { ports: self.ports.rotate_left(16), ..self },
            _ => self,
        }
    }

    /// The same from a source that is seen as this.
    pub(crate) const fn seen_as(self, external: External) -> Self {
        let addresses = Pair::new(external.address(), self.addresses.destination());
        Self { addresses, ports: (external.port() as u32) << 16 | self.ports & 0xffff, ..self }
    }

    /// The same the other way.
    pub const fn reversed(self) -> Self {
        Self { addresses: self.addresses.reversed(), ports: self.ports.rotate_left(16), ..self }
    }
}

/// What becomes of a packet that is one of a flow's: other addresses, and other ports where it has any.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The new addresses.
    pub addresses: Pair,
    /// The new ports, as in [`Flow`].
    pub ports: u32,
    /// What the addresses do to the checksum of the IPv4 header.
    pub header: Delta,
    /// What addresses and ports do to that of layer 4.
    pub change: Delta,
}

impl Turn {
    /// What makes one flow another, of which only the source differs.
    pub(crate) fn between(near: Flow, far: Flow) -> Self {
        let (header, change) = changes(near, far);
        Self { addresses: far.addresses, ports: far.ports, header, change }
    }

    /// What the source is then.
    pub(crate) const fn external(&self) -> External {
        External::new(self.addresses.source(), (self.ports >> 16) as u16)
    }

    /// This, and then another one.
    pub const fn and(self, then: Self) -> Self {
        let Self { addresses, ports, .. } = then;
        Self { addresses, ports, header: self.header.and(then.header), change: self.change.and(then.change) }
    }
}

/// The number of the layout of a line: another one where the next process must not read what this one wrote.
pub const LAYOUT: u32 = 5;

/// It was opened from outside.
const FROM_OUTSIDE: u8 = 1;
/// Its external port is the host's by configuration.
const CONFIGURED: u8 = 2;
/// Where the code point of its first packet begins, behind the bits.
const DSCP_SHIFT: u32 = 2;
const BITS: u8 = (1 << DSCP_SHIFT) - 1;
/// Its first packet was a fragment: the flag ACK, which no first segment has, in a type that no query has.
const BY_FRAGMENT: u8 = 0x10;

/// One line. Times are in whole seconds of the worker's clock.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Session {
    /// The inside host.
    host: u32,
    /// The host outside.
    remote: u32,
    /// The address under which the one is seen by the other.
    external: u32,
    host_port: u16,
    remote_port: u16,
    external_port: u16,
    /// What the new addresses do to the checksum of the IPv4 header of what the host sends.
    header_change: u16,
    /// What addresses and ports do to that of layer 4.
    change: u16,
    protocol: u8,
    standing: Standing,
    /// Bytes from the host; beside them bits from [`FROM_OUTSIDE`] on, and the code point of its first packet.
    out_bytes: Count56,
    /// Bytes to the host; beside them the mark of its first packet, with [`BY_FRAGMENT`].
    in_bytes: Count56,
    /// Packets from the host; beside them their next hop.
    out_packets: Count40,
    /// Packets to the host; beside them their next hop.
    in_packets: Count40,
    last_seen_s: u32,
    /// The premises whose rules let it stand, and whose forwarding table led to the next hops.
    generation: u16,
    /// Where it hangs on the wheel.
    hangs: Hook,
}

const _: () = assert!(size_of::<Session>() == 64);

/// The change of addresses and ports.
fn changes(near: Flow, far: Flow) -> (Delta, Delta) {
    let header = Sum::default().replace_pair(near.addresses, far.addresses);
    let ports = Sum::default().replace_words(near.ports, far.ports);
    let change = match near.protocol {
        // No pseudo header, and the identifier is one word.
        ipv4::ICMP => Sum::default().replace((near.ports >> 16) as u16, (far.ports >> 16) as u16).change(),
        _ => header.change().and(ports.change()),
    };
    (header.change(), change)
}

/// So many bytes from there on.
fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

impl Session {
    /// A session whose host sends `near`, which becomes `far` outside: only the source differs.
    pub(super) fn new(near: Flow, far: Flow, heading: Heading, now_s: u32) -> Self {
        let (header, change) = changes(near, far);
        Self {
            out_packets: Count40::of(0),
            in_packets: Count40::of(0),
            host: near.addresses.source(),
            remote: near.addresses.destination(),
            external: far.addresses.source(),
            host_port: (near.ports >> 16) as u16,
            remote_port: near.ports as u16,
            external_port: (far.ports >> 16) as u16,
            header_change: header.bits(),
            change: change.bits(),
            protocol: near.protocol,
            standing: Standing::of(Stage::first(near.protocol, heading)),
            last_seen_s: now_s,
            out_bytes: Count56::new(if matches!(heading, Heading::In) { FROM_OUTSIDE } else { 0 }),
            ..Self::default()
        }
    }

    /// The same, whose external port is the host's by configuration.
    pub(super) fn configured(mut self) -> Self {
        self.out_bytes.set_beside(self.out_bytes.beside() | CONFIGURED);
        self
    }

    /// The same, which a reservation lets in: its host has no external port for it.
    pub(super) const fn reserved(mut self) -> Self {
        self.standing.set_reserved();
        self
    }

    /// The line of which these are the bytes, as another process left them at any moment, without what was known of next
    /// hops. A free one unless all of it fits together: the changes of checksums are those of the addresses and ports.
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self::whole(bytes).unwrap_or_default()
    }

    fn whole(bytes: &[u8]) -> Option<Self> {
        let (&[protocol], &[standing]) =
            (part(bytes, offset_of!(Self, protocol))?, part(bytes, offset_of!(Self, standing))?);
        let short = |at| part(bytes, at).copied().map(u16::from_ne_bytes);
        let word = |at| part(bytes, at).copied().map(u32::from_ne_bytes);
        let long = |at| part(bytes, at).copied().map(u64::from_ne_bytes);
        let (host, remote) = (word(offset_of!(Self, host))?, word(offset_of!(Self, remote))?);
        let ports =
            |near| Some(u32::from(short(near)?) << 16 | u32::from(short(offset_of!(Self, remote_port))?));
        let flow = |source, ports| Flow { addresses: Pair::new(source, remote), ports, protocol };
        let near = flow(host, ports(offset_of!(Self, host_port))?);
        let far = flow(word(offset_of!(Self, external))?, ports(offset_of!(Self, external_port))?);
        let line = Self::new(near, far, Heading::Out, word(offset_of!(Self, last_seen_s))?);
        let fits = line.header_change == short(offset_of!(Self, header_change))?
            && line.change == short(offset_of!(Self, change))?;
        let standing = Standing::read(standing, protocol).filter(|_| fits)?;
        Some(Self {
            standing,
            out_bytes: Count56::of_bits(long(offset_of!(Self, out_bytes))?),
            in_bytes: Count56::of_bits(long(offset_of!(Self, in_bytes))?),
            out_packets: Count40::of(long(offset_of!(Self, out_packets))? >> 24),
            in_packets: Count40::of(long(offset_of!(Self, in_packets))? >> 24),
            ..line
        })
    }

    /// What the host sends.
    #[inline(always)]
    pub const fn near(&self) -> Flow {
        Flow {
            addresses: Pair::new(self.host, self.remote),
            ports: (self.host_port as u32) << 16 | self.remote_port as u32,
            protocol: self.protocol,
        }
    }

    /// What comes to it from outside.
    #[inline(always)]
    pub const fn arriving(&self) -> Flow {
        Flow {
            addresses: Pair::new(self.remote, self.external),
            ports: (self.remote_port as u32) << 16 | self.external_port as u32,
            protocol: self.protocol,
        }
    }

    /// What becomes of its packets.
    #[inline(always)]
    pub const fn turn(&self, heading: Heading) -> Turn {
        let (header, change) = (Delta::of_bits(self.header_change), Delta::of_bits(self.change));
        match heading {
            Heading::Out => {
                let ports = (self.external_port as u32) << 16 | self.remote_port as u32;
                Turn { addresses: Pair::new(self.external, self.remote), ports, header, change }
            }
            Heading::In => {
                let ports = (self.remote_port as u32) << 16 | self.host_port as u32;
                let (header, change) = (header.reversed(), change.reversed());
                Turn { addresses: Pair::new(self.remote, self.host), ports, header, change }
            }
        }
    }

    /// The inside host and its port.
    pub const fn host(&self) -> (u32, u16) {
        (self.host, self.host_port)
    }

    /// The host outside and its port.
    pub const fn remote(&self) -> (u32, u16) {
        (self.remote, self.remote_port)
    }

    /// The inside host and the host outside.
    pub const fn between(&self) -> [u32; 2] {
        [self.host, self.remote]
    }

    /// The protocol.
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Where it stands.
    pub const fn stage(&self) -> Stage {
        self.standing.stage()
    }

    /// Whether it gives way to others when there is no room: nothing that two sides have agreed on.
    pub const fn gives_way(&self) -> bool {
        self.stage().gives_way()
    }

    /// Whether it is there.
    pub const fn is_live(&self) -> bool {
        !matches!(self.stage(), Stage::Free)
    }

    /// Whether more is to be said of it than stands here: then none of its packets takes the straight line.
    pub const fn is_annexed(&self) -> bool {
        self.standing.is_annexed()
    }

    /// Whether more is to be said of it, from now on.
    pub(super) const fn set_annexed(&mut self, annexed: bool) {
        self.standing.set_annexed(annexed);
    }

    /// Whether bytes of it have moved: it cannot go on without knowing by how much.
    pub(super) const fn is_moved(&self) -> bool {
        self.standing.is_moved()
    }

    /// Whether bytes of it have moved, from now on.
    pub(super) const fn set_moved(&mut self, moved: bool) {
        self.standing.set_moved(moved);
    }

    /// Whether a control channel announced it, by which it may stand.
    pub const fn is_announced(&self) -> bool {
        self.standing.is_announced()
    }

    /// A control channel announced it.
    pub(super) const fn announced(&mut self) {
        self.standing.set_announced();
    }

    /// The next hop of a packet, as it was found last.
    #[inline(always)]
    pub const fn hop(&self, heading: Heading) -> u32 {
        match heading {
            Heading::Out => self.out_packets.beside(),
            Heading::In => self.in_packets.beside(),
        }
    }

    /// Which way the packet went that opened it.
    pub const fn opened(&self) -> Heading {
        if self.out_bytes.beside() & FROM_OUTSIDE == 0 { Heading::Out } else { Heading::In }
    }

    /// Whether its external port is the host's by configuration, and not by a mapping.
    pub const fn is_configured(&self) -> bool {
        self.out_bytes.beside() & CONFIGURED != 0
    }

    /// Whether a reservation of the Realm Gateway let it in.
    pub const fn is_reserved(&self) -> bool {
        self.standing.is_reserved()
    }

    /// Whether its external port was given to its host, as far as its protocol has any.
    pub const fn is_given(&self) -> bool {
        !self.is_configured() && !self.is_reserved()
    }

    /// What was seen of the packet that opened it, without its length.
    pub const fn seen(&self) -> Seen {
        let mark = self.in_bytes.beside();
        Seen {
            mark: mark & !BY_FRAGMENT,
            dscp: self.out_bytes.beside() >> DSCP_SHIFT,
            is_fragment: mark & BY_FRAGMENT != 0,
            length: Seen::NO_LENGTH,
        }
    }

    /// The rules of these premises let it stand, as one that such a packet opens. It has no next hops yet.
    pub fn admit(&mut self, seen: Seen, generation: u16) {
        let fragment = if seen.is_fragment { BY_FRAGMENT } else { 0 };
        self.out_bytes.set_beside(seen.dscp << DSCP_SHIFT | self.out_bytes.beside() & BITS);
        self.in_bytes.set_beside(seen.mark & !BY_FRAGMENT | fragment);
        self.generation = generation;
    }

    /// The premises by which it was judged and led last.
    #[inline(always)]
    pub const fn generation(&self) -> u16 {
        self.generation
    }

    /// Whether the next hop of a packet was found.
    pub const fn is_led(&self, heading: Heading) -> bool {
        self.hop(heading) != Number24::MOST
    }

    /// The next hop with this heading, by these premises. What others said of the other heading is forgotten.
    pub fn lead(&mut self, heading: Heading, hop: u32, generation: u16) {
        if self.generation != generation {
            self.out_packets.set_beside(Number24::MOST);
            self.in_packets.set_beside(Number24::MOST);
            self.generation = generation;
        }
        match heading {
            Heading::Out => self.out_packets.set_beside(hop),
            Heading::In => self.in_packets.set_beside(hop),
        }
    }

    /// Whether a packet changes nothing of it but its counters.
    #[inline(always)]
    pub const fn is_steady(&self, heading: Heading, packet: &Packet) -> bool {
        self.standing.stays(heading, packet.tcp_flags)
    }

    /// Notes what a packet does to its stage; whether it lasts otherwise now.
    pub(super) fn follow(&mut self, heading: Heading, packet: &Packet, timeouts: &Timeouts) -> bool {
        let before = self.stage();
        let after = before.after(heading, packet.tcp_flags);
        self.standing.set_stage(after);
        after.lasts_s(timeouts) != before.lasts_s(timeouts)
    }

    /// Notes a packet that changes nothing but this: either way it refreshes (RFC 4787 §4.3, REQ-6).
    #[inline(always)]
    pub fn count(&mut self, heading: Heading, bytes: u16, now_s: u32) {
        match heading {
            Heading::Out => {
                self.out_packets.increment();
                self.out_bytes.add(bytes);
            }
            Heading::In => {
                self.in_packets.increment();
                self.in_bytes.add(bytes);
            }
        }
        self.last_seen_s = now_s;
    }

    /// Notes any packet. One that only tries again to open does not make it last longer: who never gets an answer has to
    /// begin anew some time.
    pub(super) fn count_any(&mut self, heading: Heading, bytes: u16, now_s: u32) {
        let opens = matches!(self.stage(), Stage::OpeningOut | Stage::OpeningIn);
        self.count(heading, bytes, if opens { self.last_seen_s } else { now_s });
    }

    /// No packet was seen later than that.
    pub(super) fn not_after(&mut self, now_s: u32) {
        self.last_seen_s = self.last_seen_s.min(now_s);
    }

    /// When it is over if no packet comes.
    pub(super) fn due_s(&self, timeouts: &Timeouts) -> u32 {
        self.last_seen_s.saturating_add(u32::from(self.stage().lasts_s(timeouts)))
    }

    /// Where it hangs.
    pub(super) const fn hangs(&self) -> Hook {
        self.hangs
    }

    /// It hangs there.
    pub(super) const fn hang(&mut self, hook: Hook) {
        self.hangs = hook;
    }

    /// As a list shows it.
    pub fn view(&self, now_s: u32) -> SessionView {
        SessionView {
            host: (Ipv4Addr::from_bits(self.host), self.host_port),
            external: (Ipv4Addr::from_bits(self.external), self.external_port),
            remote: (Ipv4Addr::from_bits(self.remote), self.remote_port),
            protocol: self.protocol,
            stage: self.stage(),
            packets: [self.out_packets.count() as u32, self.in_packets.count() as u32],
            bytes: [self.out_bytes.count(), self.in_bytes.count()],
            idle_s: now_s.saturating_sub(self.last_seen_s),
        }
    }
}
