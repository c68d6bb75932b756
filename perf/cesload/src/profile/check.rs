//! What does not fit together in a profile, before any other file is read.

use super::model::{Generator, Mac, Memory, Port, Stream};
use ces_settings::Problem;
use std::collections::HashSet;

/// The largest IP packet that a buffer holds with its link header and tag: 2,048 bytes in all, 8 spare.
const MTU_MAX: u16 = 2022;
/// RFC 791: every host takes packets of 576 bytes; below 68 there is no IPv4 at all.
const MTU_MIN: u16 = 68;
/// Packets at most in a burst.
const BURST_MAX: u16 = 256;
/// A probe every microsecond is more than any histogram needs.
const PROBES_MAX: u32 = 1_000_000;
/// Longest wait for the last packets, in milliseconds.
const DRAIN_MAX_MS: u32 = 60_000;
/// A port that takes nothing for a second has lost its peer.
const CATCH_UP_MAX_MS: u32 = 1000;

/// Everything that is wrong.
pub(super) fn problems(memory: &Memory, settings: &Generator, own: &[Port], all: &[Stream]) -> Vec<Problem> {
    let mut found = Vec::new();
    generator(memory, settings, &mut found);
    ports(own, &mut found);
    streams(own, all, &mut found);
    found
}

fn generator(memory: &Memory, generator: &Generator, found: &mut Vec<Problem>) {
    let mut wrong = |key: &str, message: String| found.push(Problem::new(key, message));
    if generator.burst == 0 || generator.burst > BURST_MAX {
        wrong("generator.burst", format!("expected 1 to {BURST_MAX}"));
    }
    if generator.catch_up_ms == 0 || generator.catch_up_ms > CATCH_UP_MAX_MS {
        wrong("generator.catch_up_ms", format!("expected 1 to {CATCH_UP_MAX_MS}"));
    }
    if generator.drain_ms == 0 || generator.drain_ms > DRAIN_MAX_MS {
        wrong("generator.drain_ms", format!("expected 1 to {DRAIN_MAX_MS}"));
    }
    if memory.mib == 0 {
        wrong("memory.mib", "expected at least 1".to_owned());
    }
    let mut seen = HashSet::new();
    if let Some(twice) = generator.cores.iter().find(|core| !seen.insert(**core)) {
        wrong("generator.cores", format!("core {twice} is named twice"));
    }
}

fn ports(ports: &[Port], found: &mut Vec<Problem>) {
    if ports.is_empty() {
        found.push(Problem::new("port", "expected at least one [[port]]"));
    }
    let (mut names, mut devices) = (HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let mut wrong = |key: &str, message: String| {
            found.push(Problem::new(format!("port[{index}].{key}"), message));
        };
        if port.name.is_empty() || !names.insert(port.name.as_str()) {
            wrong("name", format!("expected a name of its own, not \"{}\"", port.name));
        }
        let device = port.device.split(',').next().unwrap_or_default();
        if device.is_empty() {
            wrong("device", "expected a PCI address or a device such as net_memif0,role=client".to_owned());
        } else if !devices.insert(device) {
            wrong("device", format!("{device} is the device of two ports"));
        }
        if port.mtu < MTU_MIN || port.mtu > MTU_MAX {
            wrong("mtu", format!("expected {MTU_MIN} to {MTU_MAX} bytes"));
        }
        if port.descriptors == 0 {
            wrong("descriptors", "expected at least 1".to_owned());
        }
        if port.vlan.is_some_and(|vlan| vlan == 0 || vlan > 4094) {
            wrong("vlan", "expected 1 to 4094".to_owned());
        }
        for (key, mac) in [("mac", port.mac), ("peer_mac", port.peer_mac)] {
            if let Some(mac @ Mac([first, ..])) = mac
                && first & 1 == 1
            {
                wrong(key, format!("{mac} is a group's address, not a station's"));
            }
        }
        if port.gateway.is_some() && port.peer_mac.is_some() {
            wrong("gateway", "expected either gateway or peer_mac, not both".to_owned());
        }
        if port.gateway.is_some() && port.address.is_none() {
            wrong("gateway", "expected an address = \"…\" of the port beside it, to ask from".to_owned());
        }
        if port.gateway.is_some() && port.gateway == port.address {
            wrong("gateway", "expected another address than the port's own".to_owned());
        }
    }
}

fn streams(ports: &[Port], streams: &[Stream], found: &mut Vec<Problem>) {
    let mut names = HashSet::new();
    for (index, stream) in streams.iter().enumerate() {
        let mut wrong = |key: &str, message: String| {
            found.push(Problem::new(format!("stream[{index}].{key}"), message));
        };
        if stream.name.is_empty() || !names.insert(stream.name.as_str()) {
            wrong("name", format!("expected a name of its own, not \"{}\"", stream.name));
        }
        let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        for (key, name) in [("from", &stream.from), ("to", &stream.to)] {
            if !known.contains(&name.as_str()) {
                wrong(key, format!("there is no port \"{name}\"; there are: {}", known.join(", ")));
            }
        }
        if !stream.weight.is_finite() || stream.weight <= 0.0 {
            wrong("weight", "expected a number above 0".to_owned());
        }
        if stream.ttl == 0 {
            wrong("ttl", "expected 1 to 255".to_owned());
        }
        if stream.dscp.is_some_and(|dscp| dscp > 63) {
            wrong("dscp", "expected 0 to 63".to_owned());
        }
        if stream.dscp.is_some() && stream.tos.is_some() {
            wrong("dscp", "expected either dscp or tos, not both".to_owned());
        }
        if stream.probes_per_second > PROBES_MAX {
            wrong("probes_per_second", format!("expected at most {PROBES_MAX}"));
        }
        for (key, range) in
            [("source_port", stream.source_port), ("destination_port", stream.destination_port)]
        {
            if range.first == 0 {
                wrong(key, "expected ports from 1 on".to_owned());
            }
        }
        alternatives(stream, &mut wrong);
        if let Some(other) = streams[..index].iter().find(|other| overlap(other, stream)) {
            wrong(
                "source",
                format!("its flows overlap those of stream \"{}\": same addresses and ports", other.name),
            );
        }
    }
}

/// Where flows and sizes come from is said once.
fn alternatives(stream: &Stream, wrong: &mut impl FnMut(&str, String)) {
    if stream.ces.is_some() && stream.pcap.is_some() {
        wrong("pcap", "expected either pcap or ces, not both".to_owned());
    }
    let listed = if stream.pcap.is_some() { "pcap" } else { "ces" };
    let mut unwanted = |key: &str, there: bool, source: &str| {
        if there {
            wrong(key, format!("is not wanted: it comes from the stream's {source}"));
        }
    };
    if stream.pcap.is_some() || stream.ces.is_some() {
        unwanted("source", stream.source.is_some(), listed);
        unwanted("destination", stream.destination.is_some(), listed);
    }
    if stream.pcap.is_some() {
        unwanted("size", stream.size.is_some(), listed);
        unwanted("sizes", stream.sizes.is_some(), listed);
    } else if stream.size.is_some() && stream.sizes.is_some() {
        wrong("size", "expected either size or sizes, not both".to_owned());
    }
}

/// Whether some packet of one stream could be of the other. What comes from files is not looked at.
fn overlap(a: &Stream, b: &Stream) -> bool {
    let (Some(a_source), Some(b_source)) = (a.source, b.source) else { return false };
    let (Some(a_destination), Some(b_destination)) = (a.destination, b.destination) else { return false };
    a.from == b.from
        && a.protocol == b.protocol
        && a_source.first <= b_source.last
        && b_source.first <= a_source.last
        && a_destination.first <= b_destination.last
        && b_destination.first <= a_destination.last
        && a.source_port.first <= b.source_port.last
        && b.source_port.first <= a.source_port.last
        && a.destination_port.first <= b.destination_port.last
        && b.destination_port.first <= a.destination_port.last
}
