//! The stages of the path one by one, each over whole bursts as the path runs it, but alone.
//!
//! In the path the stages overlap: while one packet is parsed, lines of others are under way (`ces_dataplane::path`). So what the
//! stages cost alone does not add up to the whole: it says how much work a stage is, and what part of it is waiting.

use crate::measure::{Burst, Case, Done, timed};
use crate::packets::PacketTemplate;
use crate::realm::{PlanWay, RealmPlan};
use crate::rotation::{Rewrite, Rotation};
use crate::sequence::Sequence;
use ces_dataplane::msg::Command;
use ces_dataplane::narrow::NONE;
use ces_dataplane::packet::Packet;
use ces_dataplane::path::{unwrap, unwrap_plain};
use ces_dataplane::port::PathPort;
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::table::entry::BindingEntry;
use ces_dataplane::table::hops::Hops;
use ces_dataplane::table::index::{Hasher, Index};
use ces_dataplane::table::tunnels::Tunnels;
use ces_dataplane::tag::{Layout, Tag, TagCipher};
use ces_dataplane::way::{self, write};
use ces_dataplane::wire::Pair;
use ces_dataplane::wire::checksum::{Delta, Sum};
use machine::table::HugeSlice;
use std::hint::black_box;

/// As far ahead as the path fetches: its `GROUP` (`ces_dataplane::path`).
const AHEAD: usize = 16;

/// A stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Of a packet from a host: Ethernet, IPv4, UDP, is the source ours, hash of the key. Cold packets.
    Parse,
    /// Of a tunnel packet: outer and inner headers, tag to slot. Cold packets.
    Unwrap,
    /// From hash to slot in the egress index, the bucket fetched ahead.
    Index,
    /// The same with each lookup waiting for the one before: a whole cache miss each in a large table.
    IndexChained,
    /// The binding, fetched ahead: compare, count.
    Entry,
    /// New addresses, checksums, outer header. The packet is in the cache, as it is in the path by then.
    Encap,
    /// New addresses, checksums, the next hop's Ethernet header. The packet is in the cache.
    Deliver,
}

/// What the stages work on.
struct Tables {
    port: PathPort,
    hasher: Hasher,
    index: Index,
    entries: HugeSlice<BindingEntry>,
    cipher: TagCipher,
    layout: Layout,
    hops: Hops,
    tunnels: Tunnels,
    /// How many of both there are.
    hop_count: u32,
    tunnel_count: u32,
}

impl Tables {
    /// Those that `stage` needs are full, the others small.
    fn new(stage: Stage, plan: &RealmPlan, settings: &WorkerSettings) -> Result<Self, String> {
        let ports: Vec<PathPort> = settings.ports.iter().map(PathPort::new).collect();
        let hasher = Hasher::new(settings.hash_seed);
        let indexed = matches!(stage, Stage::Index | Stage::IndexChained);
        let error = |error: ces_dataplane::settings::SettingsError| error.to_string();
        let mut index = Index::new(if indexed { plan.entries } else { 1 }).map_err(error)?;
        for entry in (0..plan.entries).filter(|_| indexed) {
            if !index.insert(hasher.hash(near(plan, entry).bits()), entry) {
                return Err(format!("the index is full at {entry} entries"));
            }
        }
        let count = if stage == Stage::Entry { plan.entries as usize } else { 1 };
        let entries = HugeSlice::from_fn(count, |entry| {
            BindingEntry::new(near(plan, entry as u32), Pair::NONE, way::Way::Tunnel(0), 0)
        })
        .map_err(|error| error.to_string())?;
        let mut hops = Hops::new(settings.neighbours, hasher).map_err(error)?;
        let mut tunnels = Tunnels::new(settings.tunnels, hasher).map_err(error)?;
        let (mut hop_count, mut tunnel_count) = (0, 0);
        for command in plan.surroundings() {
            if let Command::SetHop(id, neighbour) = command {
                hops.set(id, &neighbour, &ports[usize::from(neighbour.port)]);
                hop_count += 1;
            } else if let Command::SetTunnel(id, tunnel) = command {
                tunnels.set(id, &tunnel, &hops);
                tunnel_count += 1;
            }
        }
        let port = ports[usize::from(plan.arrival())].clone();
        let cipher = TagCipher::new(settings.tag_key);
        let layout = settings.layout;
        Ok(Self { port, hasher, index, entries, cipher, layout, hops, tunnels, hop_count, tunnel_count })
    }
}

fn near(plan: &RealmPlan, entry: u32) -> Pair {
    let binding = plan.binding(entry);
    Pair::new(binding.host.to_bits(), binding.proxy.to_bits())
}

/// One stage over bursts.
pub struct Alone<F> {
    stage: Stage,
    plan: RealmPlan,
    tables: Tables,
    rotation: Rotation<F>,
    template: PacketTemplate,
    sequence: Sequence,
    /// Keys and slots in the sequence's order, for the stages without frames.
    keys: Vec<(Pair, u32)>,
    next: usize,
    packets: Vec<Packet>,
    /// What each packet of the burst becomes: addresses, what they do to checksums, its tunnel's or next hop's number.
    targets: Vec<(Pair, Delta, u32)>,
    done: Done,
}

impl<F: Rewrite> Alone<F> {
    /// A stage over a realm with so many `entries`.
    pub fn new(
        stage: Stage,
        plan: RealmPlan,
        mut rotation: Rotation<F>,
        burst: usize,
    ) -> Result<Self, String> {
        let way = match stage {
            Stage::Unwrap | Stage::Deliver => PlanWay::Ingress,
            _ => PlanWay::Egress,
        };
        let plan = RealmPlan { way, ..plan };
        let settings = plan.settings();
        let tables = Tables::new(stage, &plan, &settings)?;
        let keyed = matches!(stage, Stage::Index | Stage::IndexChained | Stage::Entry);
        let keys = if keyed {
            let order = crate::random::shuffled(plan.entries, 100);
            let rounds = (1usize << 16).div_ceil(order.len());
            (0..rounds).flat_map(|_| &order).map(|&entry| (near(&plan, entry), entry)).collect()
        } else {
            Vec::new()
        };
        // The stages with keys have no frames.
        let arriving = RealmPlan { entries: if keyed { 1 } else { plan.entries }, ..plan };
        let mut sequence = Sequence::new(&arriving, &settings, &arriving.handles(&settings), None);
        let mut template = plan.template();
        rotation.fill(|frame| frame.rewrite(template.packet(sequence.next_flow())));
        Ok(Self {
            stage,
            plan,
            tables,
            rotation,
            template,
            sequence,
            keys,
            next: 0,
            packets: vec![Packet::NOTHING; burst],
            targets: vec![(Pair::NONE, Delta::default(), 0); burst],
            done: Done::default(),
        })
    }

    /// The next burst of keys, for the stages without frames.
    fn advance(&mut self) -> std::ops::Range<usize> {
        let start = if self.next + self.packets.len() > self.keys.len() { 0 } else { self.next };
        let end = (start + self.packets.len()).min(self.keys.len());
        self.next = end;
        start..end
    }
}

impl<F: Rewrite> Case for Alone<F> {
    fn burst(&mut self) -> Burst {
        let range = if self.keys.is_empty() { 0..0 } else { self.advance() };
        let Self { stage, tables, packets, template, sequence, targets, done, .. } = self;
        let frames = if range.is_empty() {
            let frames = self.rotation.advance(|frame| frame.rewrite(template.packet(sequence.next_flow())));
            if matches!(*stage, Stage::Encap | Stage::Deliver) {
                prepare(*stage, tables, frames, packets, targets);
            }
            &mut frames[..]
        } else {
            &mut []
        };
        let keys = &self.keys[range];
        done.burst(frames.len().max(keys.len()), || {
            timed(|| match *stage {
                Stage::Parse => measured_parse(tables, frames, packets),
                Stage::Unwrap => measured_unwrap(tables, frames, packets),
                Stage::Index => measured_index(tables, keys, packets),
                Stage::IndexChained => measured_chain(tables, keys),
                Stage::Entry => measured_entries(tables, keys),
                Stage::Encap => measured_encap(tables, frames, packets, targets),
                Stage::Deliver => measured_deliver(tables, frames, packets, targets),
            })
        })
    }

    fn done(&self) -> Done {
        self.done
    }

    fn table(&self) -> Option<(f64, usize)> {
        let (bytes, page_size) = match self.stage {
            Stage::Index | Stage::IndexChained => (self.tables.index.bytes(), self.tables.index.page_size()),
            Stage::Entry => {
                let entries = &self.tables.entries;
                (entries.len() * size_of::<BindingEntry>(), entries.page_size())
            }
            _ => (0, 4096),
        };
        Some((bytes as f64 / f64::from(self.plan.entries), page_size))
    }
}

/// What comes before the stages that write: parses the frames, and draws what they become.
fn prepare<F: Rewrite>(
    stage: Stage,
    tables: &Tables,
    frames: &[F],
    packets: &mut [Packet],
    targets: &mut [(Pair, Delta, u32)],
) {
    let number = |packet: &Packet| (packet.hash >> 32) as u32;
    for ((frame, packet), target) in frames.iter().zip(packets).zip(targets) {
        frame.prefetch_headroom();
        let parsed = match stage {
            Stage::Encap => parse(tables, frame.data(), packet),
            _ => parse_outer(tables, frame.data(), packet),
        };
        if parsed {
            packet.hash = tables.hasher.hash(packet.key.bits());
            let addresses = packet.addresses.reversed();
            let change = Sum::default().replace_pair(packet.addresses, addresses).change();
            *target = (addresses, change, number(packet));
        }
    }
}

#[inline(always)]
fn parse(tables: &Tables, frame: &[u8], packet: &mut Packet) -> bool {
    let gate = &tables.port.gate;
    let plain = gate
        .ipv4(frame)
        .is_some_and(|(l3, ip)| packet.parse_plain(ip, l3) && gate.takes_from(packet.source()));
    packet.hash = tables.hasher.hash(packet.key.bits());
    plain
}

#[inline(always)]
fn parse_outer(tables: &Tables, frame: &[u8], packet: &mut Packet) -> bool {
    let Some((l3, ip)) = tables.port.gate.ipv4(frame) else { return false };
    if !unwrap_plain(ip, l3, packet) && !parse_outer_any(frame, l3, packet) {
        return false;
    }
    packet.slot = tables.layout.slot(tables.cipher.handle(Tag(packet.destination())));
    true
}

/// The way of all that is not plain VXLAN.
#[inline(never)]
fn parse_outer_any(frame: &[u8], l3: usize, packet: &mut Packet) -> bool {
    let Ok(Some(outer)) = unwrap(frame, l3) else { return false };
    let Some(inner) = frame.get(outer.inner..outer.end) else { return false };
    (packet.outer, packet.inbound, packet.outer_tos) = (outer.outer, outer.inbound, outer.tos);
    packet.parse_plain(inner, outer.inner)
}

#[inline(always)]
fn over<F: Rewrite>(
    frames: &[F],
    packets: &mut [Packet],
    mut each: impl FnMut(&[u8], &mut Packet) -> bool,
) -> usize {
    frames.iter().take(AHEAD).for_each(F::prefetch);
    let mut right = 0;
    for (number, (frame, packet)) in frames.iter().zip(packets).enumerate() {
        if let Some(next) = frames.get(number + AHEAD) {
            next.prefetch();
        }
        right += usize::from(each(frame.data(), packet));
    }
    black_box(right)
}

#[inline(never)]
fn measured_parse<F: Rewrite>(tables: &Tables, frames: &[F], packets: &mut [Packet]) -> usize {
    over(frames, packets, |frame, packet| parse(tables, frame, packet))
}

#[inline(never)]
fn measured_unwrap<F: Rewrite>(tables: &Tables, frames: &[F], packets: &mut [Packet]) -> usize {
    over(frames, packets, |frame, packet| parse_outer(tables, frame, packet))
}

/// Two things that share a signature are told apart by the entry alone, so a wrong candidate counts as right here; none does
/// not.
#[inline(never)]
fn measured_index(tables: &Tables, keys: &[(Pair, u32)], packets: &mut [Packet]) -> usize {
    let mut right = 0;
    for step in 0..keys.len() + AHEAD {
        if let Some(&(key, _)) = keys.get(step) {
            let hash = tables.hasher.hash(key.bits());
            packets[step].hash = hash;
            tables.index.prefetch(hash);
        }
        if let Some(packet) = step.checked_sub(AHEAD).and_then(|number| packets.get_mut(number)) {
            packet.slot = tables.index.candidate(packet.hash);
            right += usize::from(packet.slot != NONE);
        }
    }
    black_box(right)
}

#[inline(never)]
fn measured_chain(tables: &Tables, keys: &[(Pair, u32)]) -> usize {
    let (mut before, mut right) = (0, 0);
    for &(key, _) in keys {
        // The highest bit of a slot is never set, which the compiler cannot know.
        let slot = tables.index.candidate(tables.hasher.hash(key.bits() ^ u64::from(before >> 31)));
        right += usize::from(slot != NONE);
        before = slot;
    }
    black_box(right)
}

#[inline(never)]
fn measured_entries(tables: &mut Tables, keys: &[(Pair, u32)]) -> usize {
    let mut right = 0;
    for step in 0..keys.len() + AHEAD {
        if let Some(entry) = keys.get(step).and_then(|&(_, slot)| tables.entries.get(slot as usize)) {
            machine::prefetch_write(entry);
        }
        if let Some(&(near, slot)) = step.checked_sub(AHEAD).and_then(|number| keys.get(number))
            && let Some(entry) = tables.entries.get_mut(slot as usize)
            && entry.near() == near
            && entry.is_plain_tunnel()
        {
            entry.count_out(46, slot & 1);
            right += 1;
        }
    }
    black_box(right)
}

/// Puts the new header in front of each packet by `head`, and translates what comes after it.
#[inline(always)]
fn written<F: Rewrite>(
    frames: &mut [F],
    packets: &[Packet],
    targets: &[(Pair, Delta, u32)],
    head: impl for<'f> Fn(usize, &'f mut F, &Packet, u32) -> Option<&'f mut [u8]>,
) -> usize {
    let mut right = 0;
    for (id, ((frame, packet), &(addresses, change, number))) in
        frames.iter_mut().zip(packets).zip(targets).enumerate()
    {
        if let Some(ip) = head(id, frame, packet, number) {
            write::translate(ip, packet, addresses, change);
            right += 1;
        }
    }
    black_box(right)
}

#[inline(never)]
fn measured_encap<F: Rewrite>(
    tables: &Tables,
    frames: &mut [F],
    packets: &[Packet],
    targets: &[(Pair, Delta, u32)],
) -> usize {
    written(frames, packets, targets, |id, frame, packet, number| {
        let tunnel = tables.tunnels.at((number % tables.tunnel_count) as u16)?;
        let (tos, entropy) = (packet.tos, packet.entropy());
        let (l3, id) = (usize::from(packet.l3), id as u16);
        write::encap(frame, l3, packet.total, tunnel, tos, entropy, id, |_| false).map(|(ip, _)| ip)
    })
}

#[inline(never)]
fn measured_deliver<F: Rewrite>(
    tables: &Tables,
    frames: &mut [F],
    packets: &[Packet],
    targets: &[(Pair, Delta, u32)],
) -> usize {
    written(frames, packets, targets, |_, frame, packet, number| {
        let hop = tables.hops.at(number % tables.hop_count);
        write::deliver(frame, usize::from(packet.l3), packet.total, hop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::msg::Encapsulation;

    #[test]
    fn every_stage_takes_every_packet_for_what_it_is() {
        for stage in [
            Stage::Parse,
            Stage::Unwrap,
            Stage::Index,
            Stage::IndexChained,
            Stage::Entry,
            Stage::Encap,
            Stage::Deliver,
        ] {
            for encapsulation in [Encapsulation::Vxlan, Encapsulation::Gre] {
                let plan = RealmPlan { tunnels: 20, encapsulation, ..RealmPlan::new(PlanWay::Egress, 3000) };
                let mut alone = Alone::new(stage, plan, Rotation::in_memory(1000, 64), 64).unwrap();
                for _ in 0..100 {
                    assert_eq!(alone.burst().packets, 64);
                }
                alone.check().unwrap();
            }
        }
    }
}
