//! What does not fit together in a profile, before any other file is read.

use super::model::{Generator, Mac, Memory, Port, Stream};
use ces_settings::{Problem, Problems};

/// The largest IP packet that a buffer holds with its link header and tag: 2,048 bytes in all, 8 spare.
const MTU_MAX: u64 = 2022;
/// RFC 791: every host takes packets of 576 bytes; below 68 there is no IPv4 at all.
const MTU_MIN: u64 = 68;
/// Packets at most in a burst.
const BURST_MAX: u64 = 256;
/// A probe every microsecond is more than any histogram needs.
const PROBES_MAX: u64 = 1_000_000;
/// Longest wait for the last packets, in milliseconds.
const DRAIN_MAX_MS: u64 = 60_000;
/// A port that takes nothing for a second has lost its peer.
const CATCH_UP_MAX_MS: u64 = 1000;

/// Everything that is wrong.
pub(super) fn problems(memory: &Memory, settings: &Generator, own: &[Port], all: &[Stream]) -> Vec<Problem> {
    let mut found = Problems::default();
    found.within("memory.mib", memory.mib.into(), 1, u32::MAX.into());
    found.within("generator.burst", settings.burst.into(), 1, BURST_MAX);
    found.within("generator.catch_up_ms", settings.catch_up_ms.into(), 1, CATCH_UP_MAX_MS);
    found.within("generator.drain_ms", settings.drain_ms.into(), 1, DRAIN_MAX_MS);
    let cores = settings.cores.iter().map(|core| ("generator.cores".to_owned(), format!("core {core}")));
    found.distinct(&cores.collect::<Vec<_>>());
    ports(own, &mut found);
    streams(own, all, &mut found);
    found.into_vec()
}

/// A complaint, if it is one, about a key.
pub(super) type Complaint<'a> = (bool, &'a str, String);

/// Adds what there is to complain about in a table of the file.
pub(super) fn tell<'a>(
    found: &mut Problems,
    table: &str,
    complaints: impl IntoIterator<Item = Complaint<'a>>,
) {
    for (_, key, message) in complaints.into_iter().filter(|(wrong, ..)| *wrong) {
        found.add(format!("{table}.{key}"), message);
    }
}

fn ports(ports: &[Port], found: &mut Problems) {
    if ports.is_empty() {
        found.add("port", "expected at least one [[port]]");
    }
    let device = |port: &Port| port.device.split(',').next().unwrap_or_default().to_owned();
    for (index, port) in ports.iter().enumerate() {
        let (table, before) = (format!("port[{index}]"), &ports[..index]);
        found.within(format!("{table}.mtu"), port.mtu.into(), MTU_MIN, MTU_MAX);
        found.within(format!("{table}.descriptors"), port.descriptors.into(), 1, u16::MAX.into());
        found.within(format!("{table}.vlan"), port.vlan.unwrap_or(1).into(), 1, 4094);
        let taken = port.name.is_empty() || before.iter().any(|other| other.name == port.name);
        let own = device(port);
        let shared = before.iter().any(|other| device(other) == own);
        let asks = port.gateway.is_some();
        let group = |mac: Option<Mac>| mac.is_some_and(|Mac(mac)| mac[0] & 1 == 1);
        let station = "expected a station's address, not a group's".to_owned();
        let address = "expected an address = \"…\" of the port beside it, to ask from, and another one";
        let complaints = [
            (taken, "name", format!("expected a name of its own, not \"{}\"", port.name)),
            (
                own.is_empty(),
                "device",
                "expected a PCI address or one such as net_memif0,role=client".to_owned(),
            ),
            (shared, "device", format!("{own} is the device of two ports")),
            (group(port.mac), "mac", station.clone()),
            (group(port.peer_mac), "peer_mac", station),
            (asks && port.peer_mac.is_some(), "gateway", "expected either gateway or peer_mac".to_owned()),
            (asks && port.address.is_none_or(|own| Some(own) == port.gateway), "gateway", address.to_owned()),
        ];
        tell(found, &table, complaints);
    }
}

/// A port's name where there is none such.
pub(super) fn port_complaint<'a>(ports: &[Port], key: &'a str, name: &str) -> Complaint<'a> {
    let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    (!known.contains(&name), key, format!("there is no port \"{name}\"; there are: {}", known.join(", ")))
}

fn streams(ports: &[Port], streams: &[Stream], found: &mut Problems) {
    for (index, stream) in streams.iter().enumerate() {
        let (table, before) = (format!("stream[{index}]"), &streams[..index]);
        found.within(format!("{table}.ttl"), stream.ttl.into(), 1, 255);
        found.within(format!("{table}.dscp"), stream.dscp.unwrap_or(0).into(), 0, 63);
        found.within(format!("{table}.probes_per_second"), stream.probes_per_second.into(), 0, PROBES_MAX);
        let taken = stream.name.is_empty() || before.iter().any(|other| other.name == stream.name);
        let weight = stream.weight.is_finite() && stream.weight > 0.0;
        let (pcap, ces) = (stream.pcap.is_some(), stream.ces.is_some());
        let both = |key: &str, other: &str| format!("expected either {key} or {other}, not both");
        let unwanted =
            format!("is not wanted: it comes from the stream's {}", if pcap { "pcap" } else { "ces" });
        let overlapped = before.iter().find(|other| overlap(other, stream)).map_or("", |other| &other.name);
        let overlapping =
            format!("its flows overlap those of stream \"{overlapped}\": same addresses and ports");
        let complaints = [
            (taken, "name", format!("expected a name of its own, not \"{}\"", stream.name)),
            port_complaint(ports, "from", &stream.from),
            port_complaint(ports, "to", &stream.to),
            (!weight, "weight", "expected a number above 0".to_owned()),
            (stream.dscp.is_some() && stream.tos.is_some(), "dscp", both("dscp", "tos")),
            (stream.source_port.first == 0, "source_port", "expected ports from 1 on".to_owned()),
            (stream.destination_port.first == 0, "destination_port", "expected ports from 1 on".to_owned()),
            // Where flows and sizes come from is said once.
            (ces && pcap, "pcap", both("pcap", "ces")),
            ((ces || pcap) && stream.source.is_some(), "source", unwanted.clone()),
            ((ces || pcap) && stream.destination.is_some(), "destination", unwanted.clone()),
            (pcap && stream.size.is_some(), "size", unwanted.clone()),
            (pcap && stream.sizes.is_some(), "sizes", unwanted),
            (!pcap && stream.size.is_some() && stream.sizes.is_some(), "size", both("size", "sizes")),
            (!overlapped.is_empty(), "source", overlapping),
        ];
        tell(found, &table, complaints);
    }
}

/// Whether some packet of one stream could be of the other. What comes from files is not looked at.
fn overlap(a: &Stream, b: &Stream) -> bool {
    let (Some(a_source), Some(b_source)) = (a.source, b.source) else { return false };
    let (Some(a_destination), Some(b_destination)) = (a.destination, b.destination) else { return false };
    a.from == b.from
        && a.protocol == b.protocol
        && a_source.meets(&b_source)
        && a_destination.meets(&b_destination)
        && a.source_port.meets(&b.source_port)
        && a.destination_port.meets(&b.destination_port)
}
