//! Control channels between realms: connections through bindings in which addresses are named, and what is announced there.
//!
//! A binding is a pair of hosts, so nobody else can come by what is announced, and ports are the same at both ends: what a line
//! has to say is where each of the two directions is. Those of one connection are found by the pair of addresses beyond the
//! gateway, which is no other binding's, and by the ports. Nothing has to be taken away when a binding ends: what it was is found
//! by nobody any more, and goes when it has been silent.

use super::entry::BindingEntry;
use super::index::{Hasher, Index};
use super::session::Heading;
use super::slab::{Line, Slab};
use crate::alg::ftp::Reader;
use crate::alg::shift::{Shift, later};
use crate::msg::TCP_IDLE_S;
use crate::narrow::NONE;
use crate::packet::Packet;
use crate::settings::SettingsError;
use crate::table::channels::{Privacy, Spoken, Talk};
use crate::way::Way;
use crate::wire::ftp::Speaker;
use crate::wire::{Pair, ipv4, tcp};
use machine::table::HugeSlice;

/// How long a connection is known that both ends have closed, or one has reset: for what comes again.
const CLOSED_S: u32 = 60;
/// How long media is known that was announced and that nobody sends (RFC 4787 §4.3).
const MEDIA_IDLE_S: u32 = 300;
/// Announcements that stand together: of those whose pairs have the same hash the oldest gives way. Two streams, with RTCP, from
/// both sides, are eight.
const TOGETHER: usize = 16;

/// A packet of a binding as its connection sees it: the pair of addresses beyond the gateway, both ports, the host's first, and
/// which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pair: Pair,
    ports: u32,
    heading: Heading,
}

/// A binding, and which way a packet goes through it.
pub type Through<'e> = (u32, &'e BindingEntry, Heading);

/// Who announces something: a pair of addresses beyond the gateway, and which way that one's packets go.
pub type Announcer = (Pair, Heading);

/// How a packet of a binding may be seen. One that stays in the realm is of a connection that its own host has opened, or that
/// the other one has, by the binding of its own.
pub fn sights(entry: &BindingEntry, packet: &Packet, heading: Heading) -> [Option<Sight>; 2] {
    let swapped = packet.ports.rotate_left(16);
    let ports = if heading == Heading::Out { packet.ports } else { swapped };
    let own = Sight { pair: entry.far(), ports, heading };
    let other = Sight { pair: entry.near_reversed(), ports: swapped, heading: Heading::In };
    [Some(own), matches!(entry.way_out(), Way::Realm(_)).then_some(other)]
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
pub struct OneWay {
    /// What becomes of its bytes, from its SYN on.
    pub shift: Option<Shift>,
    /// How it is read.
    pub reader: Reader,
    /// The window that its receiver announced last.
    pub window: u16,
    /// What its sender was told to have arrived, since it is kept.
    told: u32,
}

impl OneWay {
    /// Its SYN has this sequence number: see [`Shift::gives_way_to`].
    pub fn begin(&mut self, initial: u32) {
        if self.shift.is_none_or(|shift| shift.gives_way_to(initial, false)) {
            (self.reader, self.shift) = (self.reader.anew(), Some(Shift::begin(initial)));
            self.told = initial.wrapping_add(1);
        }
    }

    /// What its sender was told to have arrived: it is to hear no less.
    pub const fn told(&self) -> u32 {
        self.told
    }

    /// Its sender is told that so much has arrived, or what it was told before.
    pub const fn tell(&mut self, arrived: u32) -> u32 {
        self.told = later(self.told, arrived);
        self.told
    }
}

/// A connection in which addresses are named.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// The next one, in a free line.
    next: u32,
    pair: Pair,
    ports: u32,
    /// Who has opened it: what goes this way is the client's.
    opened: Heading,
    seen_s: u32,
    /// A bit for each heading whose end has come.
    ended: u8,
    /// What is spoken.
    pub spoken: Spoken,
    /// What is said is only shown, and goes as it came.
    pub is_dry: bool,
    /// The place of its talk, if messages are spoken.
    talk: u32,
    /// Who can read it.
    pub privacy: Privacy,
    directions: [OneWay; 2],
}

impl Conversation {
    fn new(sight: Sight, (spoken, is_dry): (Spoken, bool), is_near: bool) -> Self {
        let Sight { pair, ports, heading: opened } = sight;
        let direction = |of: Heading| {
            let speaker = if of == opened { Speaker::Client } else { Speaker::Server };
            let reader = Reader::new(speaker);
            // What comes through a tunnel the other gateway has put together; its sender cannot be answered here.
            let reader = match of {
                _ if is_near => reader,
                Heading::Out => reader.for_another(),
                Heading::In => reader.from_another(),
            };
            OneWay { shift: None, reader, window: 0, told: 0 }
        };
        let directions = [direction(Heading::Out), direction(Heading::In)];
        Self {
            next: NONE,
            pair,
            ports,
            opened,
            seen_s: 0,
            ended: 0,
            spoken,
            is_dry,
            talk: NONE,
            privacy: Privacy::None,
            directions,
        }
    }

    /// Whether what goes this way is said by who has opened it.
    pub fn is_client(&self, heading: Heading) -> bool {
        self.opened == heading
    }

    /// What goes this way, and what comes back.
    pub const fn both(&mut self, heading: Heading) -> (&mut OneWay, &mut OneWay) {
        let [out, back] = &mut self.directions;
        match heading {
            Heading::Out => (out, back),
            Heading::In => (back, out),
        }
    }

    /// Notes a packet that goes this way.
    pub fn follow(&mut self, heading: Heading, tcp_flags: u8, now_s: u32) {
        self.seen_s = now_s;
        if tcp_flags & tcp::RST != 0 {
            self.ended = 3;
        }
        if tcp_flags & tcp::FIN != 0 {
            self.ended |= 1 << heading as u8;
        }
    }

    fn is_over(&self, now_s: u32) -> bool {
        let rests_s = if self.ended == 3 { CLOSED_S } else { TCP_IDLE_S.into() };
        now_s.saturating_sub(self.seen_s) > rests_s
    }

    fn is_at(&self, sight: Sight) -> bool {
        self.pair == sight.pair && self.ports == sight.ports
    }
}

impl Line for Conversation {
    fn free(next: u32) -> Self {
        let nowhere = Sight { pair: Pair::NONE, ports: 0, heading: Heading::Out };
        Self { next, ..Self::new(nowhere, (Spoken::Lines, false), false) }
    }

    fn next(&self) -> u32 {
        self.next
    }
}

/// A connection, or media, that was announced: from the other host of a pair to this port of who said so.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    pair: Pair,
    /// What stands for the call of media; 0: it is of none.
    call: u32,
    protocol: u8,
    port: u16,
    /// The other end's port, once that has come; 0: it has not.
    from: u16,
    /// The port is that of who stands first in the ports.
    is_first: bool,
    until_s: u32,
}

impl Announced {
    /// Whether this packet is of it, once it was let in.
    fn has(&self, Sight { pair, ports, .. }: Sight) -> bool {
        let (first, second) = ((ports >> 16) as u16, ports as u16);
        let (port, from) = if self.is_first { (first, second) } else { (second, first) };
        pair == self.pair && port == self.port && (self.from == 0 || self.from == from)
    }
}

/// The table.
#[derive(Debug)]
pub struct Conversations {
    lines: Slab<Conversation>,
    talks: Slab<Talk>,
    index: Index,
    announced: HugeSlice<[Announced; TOGETHER]>,
    /// When all that was announced is over.
    until_s: u32,
    hasher: Hasher,
    /// The next line that is looked at.
    hand: u32,
}

impl Conversations {
    /// Room for so many connections, and for so many that are streams of messages.
    pub(super) fn new(count: u32, talks: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        let announced =
            HugeSlice::new((count as usize).div_ceil(2)).map_err(|_| SettingsError::Memory("announced"))?;
        Ok(Self {
            lines: Slab::new(count, "conversations")?,
            talks: Slab::new(talks, "talks")?,
            index: Index::new(count)?,
            announced,
            until_s: 0,
            hasher,
            hand: 0,
        })
    }

    fn hash(&self, sight: Sight) -> u64 {
        self.hasher.hash(self.hasher.hash(sight.pair.bits()) ^ u64::from(sight.ports))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one that a packet is of, and which way it goes there.
    pub fn find(&self, sights: [Option<Sight>; 2]) -> Option<(u32, Heading)> {
        let mut found = sights.into_iter().flatten().filter_map(|sight| {
            let line = self.index.find(self.hash(sight), |line| self.lines[line].is_at(sight))?;
            Some((line, sight.heading))
        });
        found.next()
    }

    /// One that a packet opens which is seen so; `None` without room. One of the same ends before it gives way.
    pub fn open(&mut self, sight: Sight, spoken: (Spoken, bool), is_near: bool) -> Option<u32> {
        let known = self.index.find(self.hash(sight), |line| self.lines[line].is_at(sight));
        if let Some(line) = known {
            if self.lines[line].ended == 0 && self.has_begun(line) {
                return Some(line);
            }
            self.forget(line);
        }
        let mut conversation = Conversation::new(sight, spoken, is_near);
        // Of what is only shown nothing has to be remembered.
        if let (Spoken::Talk(_), false) = spoken {
            conversation.talk = self.talks.take(Talk::NONE)?;
        }
        let line = self.lines.take(conversation);
        let fits = line.filter(|line| self.index.insert(self.hash(sight), *line));
        if fits.is_none() {
            if let Some(line) = line {
                self.lines.give_back(line);
            }
            self.end_talk(conversation.talk);
        }
        fits
    }

    fn has_begun(&mut self, line: u32) -> bool {
        let by_lines = self.lines[line].directions.iter().any(|direction| direction.shift.is_some());
        let has_begun = |talk: &mut Talk| {
            [Heading::Out, Heading::In].into_iter().any(|heading| talk.tongue(heading).shift.is_some())
        };
        by_lines || self.talk(line).is_some_and(has_begun)
    }

    /// What is said in the connection in this line, both ways, if that is messages.
    pub fn talk(&mut self, line: u32) -> Option<&mut Talk> {
        let talk = self.lines[line].talk;
        (talk != NONE).then(|| &mut self.talks[talk])
    }

    fn end_talk(&mut self, talk: u32) {
        if talk != NONE {
            self.talks.give_back(talk);
        }
    }

    /// That in this line.
    pub fn get_mut(&mut self, line: u32) -> &mut Conversation {
        &mut self.lines[line]
    }

    fn forget(&mut self, line: u32) {
        let Conversation { pair, ports, talk, .. } = self.lines[line];
        let hash = self.hash(Sight { pair, ports, heading: Heading::Out });
        if self.index.remove(hash, line) {
            self.lines.give_back(line);
            self.end_talk(talk);
        }
    }

    /// Looks at the next line, and forgets what has been silent too long.
    pub(super) fn expire(&mut self, now_s: u32) {
        if self.is_empty() {
            return;
        }
        self.hand = if self.hand as usize + 1 < self.lines.len() { self.hand + 1 } else { 0 };
        if self.lines[self.hand].is_over(now_s) {
            self.forget(self.hand);
        }
    }

    fn together(&mut self, pair: Pair) -> &mut [Announced] {
        let places = self.announced.len().max(1) as u64;
        let place = self.hasher.hash(pair.bits()) % places;
        self.announced.get_mut(place as usize).map_or(&mut [], |together| &mut together[..])
    }

    /// Who speaks in this connection, this way.
    pub fn announcer(&self, (line, heading): (u32, Heading)) -> Announcer {
        (self.lines[line].pair, heading)
    }

    /// What stands for a call of this name; never 0.
    pub fn call(&self, name: &[u8]) -> u32 {
        let add = |key: u64, byte: &u8| self.hasher.hash(key ^ u64::from(*byte));
        name.iter().fold(0, add) as u32 | 1
    }

    /// Who speaks is to be reached at this port for so long, in this call.
    pub fn announce(
        &mut self,
        (pair, heading): Announcer,
        (protocol, port): (u8, u16),
        call: u32,
        (await_s, now_s): (u16, u32),
    ) {
        let is_first = heading == Heading::Out;
        let together = self.together(pair);
        let is_same = |one: &Announced| {
            (one.pair, one.protocol, one.port, one.is_first) == (pair, protocol, port, is_first)
        };
        let until_s = now_s.saturating_add(await_s.into());
        let place = match together.iter().position(is_same) {
            Some(known) => together.get_mut(known),
            None => together.iter_mut().min_by_key(|one| one.until_s),
        };
        if let Some(place) = place {
            // Media that flows already does so still.
            let from = if place.call == call && call != 0 && is_same(place) { place.from } else { 0 };
            *place = Announced { pair, call, protocol, port, from, is_first, until_s };
        }
        self.until_s = self.until_s.max(until_s);
    }

    /// A call of this pair is over, and with it its media.
    pub fn end_call(&mut self, pair: Pair, call: u32) {
        let of_call = self.together(pair).iter_mut().filter(|one| one.pair == pair && one.call == call);
        of_call.for_each(|one| *one = Announced::default());
    }

    /// Whether anything may have been announced that is not over.
    pub(super) const fn awaits(&self, now_s: u32) -> bool {
        now_s <= self.until_s
    }

    /// Whether a packet is of what was announced: the first time one that opens it. `Some(true)`: that one it is.
    pub fn lets_in(&mut self, sights: [Option<Sight>; 2], packet: &Packet, now_s: u32) -> Option<bool> {
        let is_media = packet.protocol == ipv4::UDP;
        if !is_media && packet.protocol != ipv4::TCP {
            return None;
        }
        sights.into_iter().flatten().find_map(|sight| {
            let opens = is_media || packet.opens_tcp(true) && !packet.opens_tcp(false);
            // What goes from a port that was announced to another one is of that, too.
            let may_come = |one: &Announced| opens && one.is_first == (sight.heading == Heading::In);
            let found = self.together(sight.pair).iter_mut().find(|one| {
                one.protocol == packet.protocol
                    && one.has(sight)
                    && one.until_s >= now_s
                    && (one.from != 0 || may_come(one))
            })?;
            let comes = found.from == 0;
            let (first, second) = ((sight.ports >> 16) as u16, sight.ports as u16);
            found.from = if found.is_first { second } else { first };
            let rests_s = if is_media { MEDIA_IDLE_S } else { TCP_IDLE_S.into() };
            found.until_s = found.until_s.max(now_s + rests_s);
            let until_s = found.until_s;
            self.until_s = self.until_s.max(until_s);
            Some(comes)
        })
    }
}
