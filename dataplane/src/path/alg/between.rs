//! Control channels between realms, and between two hosts of one. FTP's here: each gateway writes of each line the address that
//! it translates, so that both hosts read the address under which they know the other. Ports stay, and what is announced comes
//! through the binding of the same pair; one that is restricted lets it in, and nothing else. What becomes of messages is in
//! [`super::crossing`].

use super::acknowledge::acknowledge;
use super::crossing;
use super::growth::leave_room;
use super::note_encrypted;
use super::shown::show;
use super::sip;
use super::stream::{Segment, ip_of};
use super::talk::{self, TalkOf};
use crate::Nanos;
use crate::alg::Alg;
use crate::alg::ftp::{Listener, overhear};
use crate::alg::scope::AlgMode;
use crate::alg::shift::later;
use crate::counters::Counters;
use crate::events::Events;
use crate::frame::Frame;
use crate::meter::seconds;
use crate::packet::{ERROR, LATER, Packet, READ, SYN};
use crate::path::ground::Ground;
use crate::premises::{Meters, Premises};
use crate::reason::DropReason;
use crate::table::channels::{Privacy, Spoken};
use crate::table::conversations::{Through, sights};
use crate::table::entry::BindingEntry;
use crate::table::session::Heading;
use crate::table::sessions::{UNPRIVILEGED, in_tcp};
use crate::verdict::Settled;
use crate::way::Way;
use crate::wire::ftp::{PLACE, Place, Said};
use crate::wire::ipv4;
use crate::wire::text::{Garbled, Text};
use std::cell::Cell;

/// Notes whether what this packet says is read, whatever binding it goes through: nothing tells before that it comes.
#[cold]
#[inline(never)]
pub(in crate::path) fn look(premises: &Premises, packet: &mut Packet) {
    let is_spoken = |port: u16| premises.alg.sip.spoken().any(|spoken| spoken == port);
    if packet.protocol == ipv4::UDP && packet.ports != 0 && ports_of(packet).into_iter().any(is_spoken) {
        packet.flags |= READ;
    }
}

const fn ports_of(packet: &Packet) -> [u16; 2] {
    [(packet.ports >> 16) as u16, packet.ports as u16]
}

/// The inside hosts of a binding: two, where it stays in the realm.
fn hosts(entry: &BindingEntry) -> [u32; 2] {
    let is_near = matches!(entry.way_out(), Way::Realm(_));
    [entry.host(), if is_near { entry.far().destination() } else { entry.host() }]
}

/// What is spoken in connections through a binding to this port, and what is done about it; `None`: it is left alone.
fn spoken(entry: &BindingEntry, alg: &Alg, port: u16) -> Option<(Spoken, AlgMode)> {
    let [own, other] = hosts(entry).map(|host| in_tcp(alg, host, port));
    let both = own.into_iter().zip(other).map(|((spoken, own), (_, other))| (spoken, own.max(other)));
    both.into_iter().find(|(_, mode)| *mode != AlgMode::Off)
}

/// Reads and rewrites a packet of a binding as far as it is of a control channel, before its addresses are changed: what it is
/// then.
pub(in crate::path) fn treat<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    through: Through<'_>,
) -> Settled<Packet> {
    let (slot, entry, heading) = through;
    if packet.flags & READ != 0 {
        return Ok(datagram(ground, frame, packet, through));
    }
    let opens = packet.flags & SYN != 0;
    if packet.protocol != ipv4::TCP
        || packet.flags & (ERROR | LATER) != 0
        || !(opens || ground.bindings.hears(entry, packet))
    {
        return Ok(*packet);
    }
    // Not before it can go: what is held comes here once more.
    let way = entry.way(heading);
    if ground.ways.mtu(way) == 0 {
        return Ok(*packet);
    }
    if packet.opens_tcp(true) && !packet.opens_tcp(false) {
        open(ground, packet, through);
    }
    let Some(found) = ground.bindings.conversations().find(sights(entry, packet, heading)) else {
        return Ok(*packet);
    };
    if packet.is_fragment() {
        return Err(DropReason::AlgFragment.into());
    }
    if opens {
        // Of two hosts of one realm each has a binding of its own.
        let port = if packet.opens_tcp(false) { packet.ports >> 16 } else { packet.ports & 0xffff };
        ground.bindings.hear(slot, port as u16);
    }
    let mut packet = *packet;
    let (line, towards) = found;
    let conversation = ground.bindings.conversations().get_mut(line);
    conversation.follow(towards, packet.tcp_flags, seconds(ground.arrival.now));
    match (conversation.spoken, conversation.is_dry) {
        (Spoken::Talk(language), is_dry) => {
            let place = (TalkOf::Crossing(line, packet.addresses, through), towards);
            if is_dry {
                talk::watch(ground, ip_of(frame, &packet), &packet, place, language);
            } else {
                talk::treat(ground, frame, &mut packet, place, language)?;
            }
        }
        _ => speak(ground, frame, &mut packet, found, through)?,
    }
    Ok(packet)
}

/// A datagram of SIP, as its gateway passes it on.
fn datagram<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    through: Through<'_>,
) -> Packet {
    let (_, entry, heading) = through;
    let sip = &ground.desk.premises.alg.sip;
    let [own, other] = hosts(entry).map(|host| sip.mode(host, &ports_of(packet)));
    let mode = own.max(other);
    let mtu = ground.ways.mtu(entry.way(heading));
    let mut now = *packet;
    // Not before it can go: what is held comes here once more.
    if mode == AlgMode::Off || packet.flags & (ERROR | LATER) != 0 || mtu == 0 {
        return now;
    }
    let is_dry = mode == AlgMode::DryRun;
    sip::rewrite(ground, frame, &mut now, (mtu, is_dry), |ground, bytes| {
        crossing::translate_sip(ground, bytes, true, (packet.addresses, through), is_dry)
    });
    now
}

/// A connection is opened: if it is a control channel, it is attended to. Without room it is not, which is counted.
fn open(ground: &mut Ground<'_>, packet: &Packet, (slot, entry, heading): Through<'_>) {
    let Ground { desk, bindings, .. } = ground;
    let port = packet.ports as u16;
    let Some((spoken, mode)) = spoken(entry, &desk.premises.alg, port) else { return };
    let [Some(sight), other] = sights(entry, packet, heading) else { return };
    let spoken = (spoken, mode == AlgMode::DryRun);
    let is_open =
        bindings.hear(slot, port) && bindings.conversations().open(sight, spoken, other.is_some()).is_some();
    desk.counters.alg_attended += u64::from(is_open);
    desk.counters.alg_unattended += u64::from(!is_open);
}

/// A segment of a control channel that goes this way.
fn speak<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &mut Packet,
    (line, towards): (u32, Heading),
    (_, entry, heading): Through<'_>,
) -> Settled<()> {
    let Ground { desk, bindings, ways, events, arrival, .. } = ground;
    let is_restricted = entry.annex().is_some_and(|annex| bindings.annexes().is_restricted(annex));
    let own = packet.source();
    let other = if heading == Heading::Out { entry.far().source() } else { entry.proxy() };
    let ip = ip_of(frame, packet);
    let segment = Segment::of(ip, packet)?;
    let conversation = bindings.conversations().get_mut(line);
    let (is_dry, before, mut privacy) = (conversation.is_dry, conversation.privacy, conversation.privacy);
    let (direction, back) = conversation.both(towards);
    let mut listening = Listening {
        counters: &mut *desk.counters,
        meters: &mut *desk.meters,
        events,
        privacy: &mut privacy,
        between: [entry.host(), entry.proxy()],
        addresses: (own, other),
        is_dry,
        announced: [None; 2],
        now: arrival.now,
    };
    if is_dry {
        let speaker = direction.reader.speaker;
        overhear(speaker, segment.payload(ip), &mut listening);
        conversation.privacy = privacy;
        return Ok(());
    }
    back.window = segment.header.window;
    let told = Cell::new(back.told());
    if let Some(shift) = &mut back.shift {
        segment.move_back(ip, shift, |heard| {
            told.set(later(told.get(), heard));
            told.get()
        });
    }
    back.tell(told.get());
    if packet.flags & SYN != 0 {
        direction.begin(segment.header.sequence);
        leave_room(ip, packet, ways.mtu(entry.way_out()));
    }
    let Some(shift) = &mut direction.shift else { return Ok(()) };
    if segment.glides(ip, packet, shift, direction.reader)? {
        return Ok(());
    }
    let span = segment.read(ip, shift, &mut direction.reader, &mut listening);
    let announced = listening.announced;
    let (shift, window) = (*shift, direction.window);
    conversation.privacy = privacy;
    note_encrypted([entry.host(), entry.proxy()], (before, privacy), desk.counters, events);
    let await_s = desk.premises.alg.ftp.await_s;
    let announcer = bindings.conversations().announcer((line, towards));
    for port in announced.into_iter().flatten().filter(|_| is_restricted) {
        let times = (await_s, seconds(arrival.now));
        bindings.conversations().announce(announcer, (ipv4::TCP, port), 0, times);
    }
    if segment.pass_on(frame, packet, (&shift, span?), desk.counters)? {
        return Ok(());
    }
    let next = bindings.conversations().get_mut(line).both(towards).0.tell(shift.arrived());
    let about = (&segment.header, next, window);
    Err(acknowledge(desk, frame, packet, about, *arrival))
}

/// Hears what is said by the host with the first of these addresses, which the other side knows by the second.
struct Listening<'s> {
    counters: &'s mut Counters,
    meters: &'s mut Meters,
    events: &'s mut Events,
    privacy: &'s mut Privacy,
    between: [u32; 2],
    addresses: (u32, u32),
    is_dry: bool,
    /// Ports at which it awaits the other one.
    announced: [Option<u16>; 2],
    now: Nanos,
}

impl Listener for Listening<'_> {
    /// Nobody announces anybody else (RFC 2577 §3), or what listens below.
    fn awaits(&mut self, place: Place) -> Option<Text<PLACE>> {
        let (own, other) = self.addresses;
        if place.address.is_some_and(|address| address != own) || place.port < UNPRIVILEGED {
            self.counters.alg_refused += 1;
            return None;
        }
        self.counters.alg_announced += u64::from(!self.is_dry);
        self.announced = [self.announced[1], Some(place.port)];
        if place.address.is_some() {
            self.counters.alg_would_rewrite += u64::from(self.is_dry);
            let places = [(own, place.port), (other, place.port)];
            show(self.between, ("ftp", self.is_dry), places, (self.meters, self.events), self.now);
        }
        Some(place.written(other, place.port))
    }

    fn hear(&mut self, said: Result<Said, Garbled>) {
        self.privacy.hear(said, self.counters);
    }

    fn is_private(&self) -> bool {
        *self.privacy == Privacy::Encrypted
    }
}
