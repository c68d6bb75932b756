//! What a stream sends: its flows, and how long its packets are.

use super::bindings::{self, Binding};
use super::capture::{self, Captured};
use super::model::{Direction, Generator, Order, Port, Protocol, Stream};
use super::range::{Addresses, PortRange};
use super::size::{self, FCS, WIRE_OVERHEAD, Weighted};
use crate::frame;
use crate::frame::ends::Ends;
use ces_dataplane::msg::Encapsulation;
use ces_dataplane::wire::ethernet;
use ces_settings::Problem;
use std::path::Path;

/// The most entries of a mix, after its weights were divided by what they have in common.
const MIX_MAX: u64 = 65_536;
/// Why bindings cannot be used whose packets nobody but the gateways makes or reads.
const SEALED: &str = "their tunnels are encrypted; with cetp.encryption = \"off\" they are in clear";
/// Bytes that the sender keeps for a flow.
pub const SENDER_BYTES: u64 = 20;
/// Bytes that each receiving thread keeps for a flow.
pub const TRACKER_BYTES: u64 = 24;

/// What a tunnel packet has around the hosts' packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The encapsulation.
    pub encapsulation: Encapsulation,
    /// The outer source address.
    pub source: u32,
    /// The outer destination address.
    pub destination: u32,
    /// The tunnel id.
    pub id: u32,
}

/// What all packets of some flows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The tunnel that they are sent in.
    pub outer: Option<Outer>,
    /// Bytes that the received packet's outermost IPv4 packet has beside the hosts' packet: those of a tunnel.
    pub received_overhead: u16,
}

/// What differs between the flows of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Those of the hosts' packet.
    pub ends: Ends,
    /// Index into [`Traffic::shapes`].
    pub shape: u32,
}

/// Where flows come from.
#[derive(Clone, Debug)]
enum Flows {
    /// Combinations of ranges.
    Ranges { source: Addresses, destination: Addresses, source_port: PortRange, destination_port: PortRange },
    /// Each of these in turn, with combinations of ports where those of the flow are 0.
    Listed { flows: Vec<Flow>, source_port: PortRange, destination_port: PortRange },
}

/// A stream with all that its profile and files say of it.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Its name.
    pub name: String,
    /// Index of the port that sends.
    pub from: usize,
    /// Index of the port that is to receive.
    pub to: usize,
    /// Its part of the rate; all parts together are 1.
    pub share: f64,
    /// How many flows.
    pub count: u32,
    /// Their order.
    pub order: Order,
    /// DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Packets a second whose delay is measured.
    pub probes_per_second: u32,
    /// What packets look like.
    pub shapes: Vec<Shape>,
    /// How long they are.
    pub lengths: Lengths,
    /// What was made to fit, as a sentence; empty if nothing was.
    pub note: String,
    flows: Flows,
}

/// Lengths of hosts' IPv4 packets, by flow and sequence number, so that the receiver knows them as well.
#[derive(Clone, Debug)]
pub struct Lengths {
    list: Vec<u16>,
    /// Which part of the list each flow goes round in; without it, all flows share the whole list.
    spans: Option<Vec<(u32, u32)>>,
}

impl Lengths {
    /// The length of this packet.
    #[inline(always)]
    pub fn at(&self, flow: u32, sequence: u32) -> u16 {
        if self.list.len() == 1 {
            return self.list[0];
        }
        self.drawn(flow, sequence)
    }

    fn drawn(&self, flow: u32, sequence: u32) -> u16 {
        let index = match &self.spans {
            // Multiples of the golden ratio spread evenly over the list (Knuth, TAOCP vol. 3, 6.4): every part of it has its
            // share of every run of packets.
            None => {
                let spread = flow.wrapping_add(sequence).wrapping_mul(0x9e37_79b9);
                (u64::from(spread) * self.list.len() as u64) >> 32
            }
            Some(spans) => {
                let (start, count) = spans.get(flow as usize).copied().unwrap_or((0, 1));
                u64::from(start) + u64::from(sequence % count.max(1))
            }
        };
        self.list.get(index as usize).copied().unwrap_or(0)
    }

    /// The longest.
    pub fn longest(&self) -> u16 {
        self.list.iter().copied().max().unwrap_or(0)
    }

    /// The mean over the list.
    pub fn mean(&self) -> f64 {
        self.list.iter().map(|&length| f64::from(length)).sum::<f64>() / self.list.len().max(1) as f64
    }
}

impl Traffic {
    /// Flow number `index` of [`Traffic::count`].
    pub fn flow(&self, index: u32) -> Flow {
        let mut rest = u64::from(index);
        let mut digit = |count: u64| {
            let digit = rest % count;
            rest /= count;
            digit
        };
        match &self.flows {
            Flows::Ranges { source, destination, source_port, destination_port } => {
                let ends = Ends {
                    source: source.at(digit(source.count())),
                    destination: destination.at(digit(destination.count())),
                    source_port: source_port.at(digit(source_port.count())) as u16,
                    destination_port: destination_port.at(digit(destination_port.count())) as u16,
                };
                Flow { ends, shape: 0 }
            }
            Flows::Listed { flows, source_port, destination_port } => {
                let mut flow = flows[digit(flows.len() as u64) as usize];
                let drawn = source_port.at(digit(source_port.count())) as u16;
                let Flow { ends, .. } = &mut flow;
                if ends.source_port == 0 {
                    ends.source_port = drawn;
                }
                if ends.destination_port == 0 {
                    ends.destination_port = destination_port.at(digit(destination_port.count())) as u16;
                }
                flow
            }
        }
    }

    /// Bits on the wire for a packet, in the mean: as sent, and as received.
    pub fn wire_bits(&self, ports: &[Port]) -> (f64, f64) {
        let bits = |port: usize, overhead: f64| {
            let tag = if ports[port].vlan.is_some() { ethernet::LENGTH_TAGGED } else { ethernet::LENGTH };
            let frame = self.lengths.mean() + overhead + tag as f64 + f64::from(FCS);
            8.0 * (frame.max(64.0) + f64::from(WIRE_OVERHEAD))
        };
        let sum = |overhead: fn(&Shape) -> u16| {
            self.shapes.iter().map(|shape| f64::from(overhead(shape))).sum::<f64>()
                / self.shapes.len().max(1) as f64
        };
        (bits(self.from, sum(sent_overhead)), bits(self.to, sum(|shape| shape.received_overhead)))
    }
}

/// Bytes that a sent packet's outermost IPv4 packet has beside the hosts' packet.
pub fn sent_overhead(shape: &Shape) -> u16 {
    shape.outer.map_or(0, |outer| outer.encapsulation.overhead())
}

/// What all streams of a profile come to. [`super::check`] has found nothing wrong with it.
pub fn all(
    generator: &Generator,
    ports: &[Port],
    streams: &[Stream],
    directory: &Path,
) -> Result<Vec<Traffic>, Vec<Problem>> {
    let weights: f64 = streams.iter().map(|stream| stream.weight).sum();
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (index, stream) in streams.iter().enumerate() {
        match one(ports, stream, stream.weight / weights, directory) {
            Ok(traffic) => all.push(traffic),
            Err((key, message)) => problems.push(Problem::new(format!("stream[{index}].{key}"), message)),
        }
    }
    problems.extend(memory(generator, &all));
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// Whether the flows fit in the memory that is set aside for them.
fn memory(generator: &Generator, all: &[Traffic]) -> Option<Problem> {
    let threads = generator.cores.len().max(1) as u64;
    let flows: u64 = all.iter().map(|traffic| u64::from(traffic.count)).sum();
    let bytes = flows * (SENDER_BYTES + TRACKER_BYTES * threads);
    let most = generator.flow_mib << 20;
    (flows > u64::from(u32::MAX) || bytes > most).then(|| {
        Problem::new(
            "stream",
            format!(
                "{flows} flows need {} MiB ({SENDER_BYTES} bytes each, and {TRACKER_BYTES} for each of {threads} threads); \
                 generator.flow_mib allows {} MiB",
                bytes.div_ceil(1 << 20),
                generator.flow_mib
            ),
        )
    })
}

type Wrong = (&'static str, String);

fn one(ports: &[Port], stream: &Stream, share: f64, directory: &Path) -> Result<Traffic, Wrong> {
    // Whether there is one, is known by now.
    let port = |name: &str| ports.iter().position(|port| port.name == *name).unwrap_or(0);
    let (from, to) = (port(&stream.from), port(&stream.to));
    let mut traffic = Traffic {
        name: stream.name.clone(),
        from,
        to,
        share,
        count: 0,
        order: stream.order,
        tos: stream.tos.unwrap_or(stream.dscp.unwrap_or(0) << 2),
        ttl: stream.ttl,
        probes_per_second: stream.probes_per_second,
        shapes: vec![Shape { protocol: stream.protocol, outer: None, received_overhead: 0 }],
        lengths: Lengths { list: Vec::new(), spans: None },
        note: String::new(),
        flows: Flows::Listed {
            flows: Vec::new(),
            source_port: stream.source_port,
            destination_port: stream.destination_port,
        },
    };
    let port_pairs = stream.source_port.count() * stream.destination_port.count();
    let (possible, usual) = if let Some(file) = &stream.pcap {
        let captured = capture::read(&directory.join(file)).map_err(|error| ("pcap", error))?;
        traffic.adopt_capture(captured, ports);
        let count = traffic.listed();
        (count, count)
    } else if let Some(ces) = &stream.ces {
        let wrong = |error| ("ces.bindings", error);
        let bindings = bindings::read(&directory.join(&ces.bindings)).map_err(wrong)?;
        traffic.adopt_bindings(&bindings, ces.direction, stream.protocol).map_err(wrong)?;
        (traffic.listed().saturating_mul(port_pairs), traffic.listed())
    } else {
        let missing = || "expected an address, network or range of addresses".to_owned();
        let source = stream.source.ok_or_else(|| ("source", missing()))?;
        let destination = stream.destination.ok_or_else(|| ("destination", missing()))?;
        let (source_port, destination_port) = (stream.source_port, stream.destination_port);
        traffic.flows = Flows::Ranges { source, destination, source_port, destination_port };
        (source.count().saturating_mul(destination.count()).saturating_mul(port_pairs), 1)
    };
    let count = stream.flows.unwrap_or(usual);
    if count == 0 || count > possible {
        return Err((
            "flows",
            format!("expected 1 to {possible}: its addresses and ports allow no more flows"),
        ));
    }
    traffic.count = u32::try_from(count).map_err(|_| ("flows", format!("expected at most {}", u32::MAX)))?;
    if stream.pcap.is_none() {
        traffic.adopt_sizes(stream, ports)?;
    }
    Ok(traffic)
}

impl Traffic {
    fn listed(&self) -> u64 {
        match &self.flows {
            Flows::Ranges { .. } => 0,
            Flows::Listed { flows, .. } => flows.len() as u64,
        }
    }

    /// What a frame has beside the hosts' IPv4 packet, FCS included, not counting a tunnel.
    fn link(&self, ports: &[Port]) -> u16 {
        let tagged = ports[self.from].vlan.is_some() && self.shapes[0].outer.is_none();
        FCS + if tagged { ethernet::LENGTH_TAGGED } else { ethernet::LENGTH } as u16
    }

    /// The largest hosts' packet that both ports carry.
    fn longest_possible(&self, ports: &[Port]) -> u16 {
        let room = |port: usize, overhead: fn(&Shape) -> u16| {
            let largest = self.shapes.iter().map(overhead).max().unwrap_or(0);
            ports[port].mtu.saturating_sub(largest)
        };
        room(self.from, sent_overhead).min(room(self.to, |shape| shape.received_overhead))
    }

    fn adopt_sizes(&mut self, stream: &Stream, ports: &[Port]) -> Result<(), Wrong> {
        let (key, shares) = match (&stream.size, &stream.sizes) {
            (Some(size), _) => ("size", vec![Weighted { size: *size, weight: 1 }]),
            (None, Some(sizes)) => ("sizes", sizes.shares().map_err(|error| ("sizes", error))?),
            (None, None) => return Err(("size", "expected the size of frames in bytes".to_owned())),
        };
        let link = self.link(ports);
        let (smallest, largest) =
            (frame::shortest(stream.protocol) + link, self.longest_possible(ports) + link);
        if let Some(share) = shares.iter().find(|share| !(smallest..=largest).contains(&share.size)) {
            let (size, signature) = (share.size, frame::signature::LENGTH);
            let needs = format!(
                "headers and the signature of {signature} bytes need the least, the ports' MTU leaves the most"
            );
            return Err((key, format!("{size}: {smallest} to {largest} bytes were expected: {needs}")));
        }
        let divisor = shares.iter().fold(0, |divisor, share| gcd(divisor, share.weight)).max(1);
        let entries: u64 = shares.iter().map(|share| u64::from(share.weight / divisor)).sum();
        if entries > MIX_MAX {
            return Err((key, format!("the weights come to {entries}; expected at most {MIX_MAX}")));
        }
        let each = |share: &size::Weighted| {
            std::iter::repeat_n(share.size - link, (share.weight / divisor) as usize)
        };
        self.lengths.list = shares.iter().flat_map(each).collect();
        Ok(())
    }

    fn adopt_capture(&mut self, captured: Vec<Captured>, ports: &[Port]) {
        let shape = |protocol| Shape { protocol, outer: None, received_overhead: 0 };
        self.shapes = vec![shape(Protocol::Udp), shape(Protocol::Tcp)];
        let (link, largest) = (self.link(ports), self.longest_possible(ports));
        let (mut flows, mut list, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        let (mut raised, mut lowered) = (0u64, 0u64);
        for flow in captured {
            let smallest = frame::shortest(flow.protocol);
            spans.push((list.len() as u32, flow.sizes.len() as u32));
            for size in &flow.sizes {
                let length = size.saturating_sub(link);
                raised += u64::from(length < smallest);
                lowered += u64::from(length > largest);
                list.push(length.clamp(smallest, largest.max(smallest)));
            }
            flows.push(Flow { ends: flow.ends, shape: u32::from(flow.protocol == Protocol::Tcp) });
        }
        if raised + lowered > 0 {
            self.note = format!(
                "of {} packets of the capture {raised} are too short for the signature and {lowered} too long for the MTU: \
                 they are sent with the nearest length that fits",
                list.len()
            );
        }
        self.lengths = Lengths { list, spans: Some(spans) };
        if let Flows::Listed { flows: own, .. } = &mut self.flows {
            *own = flows;
        }
    }

    fn adopt_bindings(
        &mut self,
        bindings: &[Binding],
        direction: Direction,
        protocol: Protocol,
    ) -> Result<(), String> {
        self.shapes.clear();
        let mut known = std::collections::HashMap::new();
        let mut flows = Vec::new();
        for binding in bindings {
            let Some(tunnel) = binding.tunnel else { continue };
            if tunnel.encapsulation == Encapsulation::Psp {
                return Err(SEALED.to_owned());
            }
            if binding.protocol.is_some_and(|only| only != protocol.number()) {
                continue;
            }
            let shape = match direction {
                Direction::Egress => {
                    Shape { protocol, outer: None, received_overhead: tunnel.encapsulation.overhead() }
                }
                Direction::Ingress => Shape {
                    protocol,
                    outer: Some(Outer {
                        encapsulation: tunnel.encapsulation,
                        source: tunnel.remote.to_bits(),
                        destination: tunnel.local.to_bits(),
                        id: tunnel.id_in,
                    }),
                    received_overhead: 0,
                },
            };
            let key =
                (tunnel.encapsulation, shape.outer.map(|outer| (outer.source, outer.destination, outer.id)));
            let shape = *known.entry(key).or_insert_with(|| {
                self.shapes.push(shape);
                self.shapes.len() as u32 - 1
            });
            let (source, destination) = match direction {
                Direction::Egress => (binding.host.to_bits(), binding.proxy.to_bits()),
                // The tags stand where the addresses do: ours as the destination.
                Direction::Ingress => (binding.remote_tag, binding.tag),
            };
            let only = binding.port.unwrap_or(0);
            let ends = Ends { source, destination, source_port: 0, destination_port: only };
            flows.push(Flow { ends, shape });
        }
        if flows.is_empty() {
            let protocol = format!("{protocol:?}").to_uppercase();
            return Err(format!(
                "of {} bindings none goes through a tunnel and carries {protocol}",
                bindings.len()
            ));
        }
        if flows.len() < bindings.len() {
            let left = bindings.len() - flows.len();
            self.note = format!("{left} bindings without a tunnel, or of another protocol, are left out");
        }
        if let Flows::Listed { flows: own, .. } = &mut self.flows {
            *own = flows;
        }
        Ok(())
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
