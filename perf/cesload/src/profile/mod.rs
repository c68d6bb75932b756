//! The one TOML file that says what is sent.
//!
//! It is read and checked whole, with the files it names, before anything starts. serde finds wrong keys and types;
//! [`check`] finds what does not fit together. Every complaint names the file, the line, the key and what was expected.

pub mod bindings;
pub mod capture;
mod check;
mod locate;
pub mod range;
pub mod rate;
pub mod session;
pub mod size;
pub mod traffic;

use ces_dataplane::wire::ipv4;
use ipnet::Ipv4Net;
use range::{Addresses, PortRange};
use rate::Speed;
use serde::Deserialize;
use size::Sizes;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use traffic::Traffic;

/// A profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Memory for packets.
    #[serde(default)]
    pub memory: Memory,
    /// The generator's threads and manners.
    #[serde(default)]
    pub generator: Generator,
    /// The ports.
    pub port: Vec<Port>,
    /// The streams.
    #[serde(default)]
    pub stream: Vec<Stream>,
    /// Kinds of sessions.
    #[serde(default)]
    pub session: Vec<session::Session>,
    /// What the sessions come to. Filled by [`load`].
    #[serde(skip)]
    pub sessions: Vec<session::Placed>,
    /// What the streams come to, file contents included. Filled by [`load`].
    #[serde(skip)]
    pub traffic: Vec<Traffic>,
}

/// Memory for packets.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Whether packet buffers live on huge pages, which must be set aside before.
    pub huge_pages: bool,
    /// Without huge pages: memory for packet buffers and what DPDK keeps beside them, in MiB.
    pub mib: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { huge_pages: false, mib: 256 }
    }
}

/// The generator's threads and manners.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generator {
    /// The cores, one thread on each; empty = one thread on the last core that this process may use.
    pub cores: Vec<usize>,
    /// Queue pairs of each port, where more are needed than there are threads: for a peer that sends on several, as
    /// OVS-DPDK does over a memif. Thread *i* sends on queue *i* and listens on queues *i*, *i* + threads, …
    pub queues: u16,
    /// Packets at most that are sent or received at once.
    pub burst: u16,
    /// Packets at most by which a thread that was held up may exceed its rate afterwards. What is more is never sent.
    pub catch_up: u32,
    /// Begin of all random sequences.
    pub seed: u64,
    /// How long nothing must have come before a trial ends, in milliseconds.
    pub drain_ms: u32,
    /// How long to wait for a link or a memif peer, in seconds.
    pub link_wait_s: u32,
    /// Memory at most for flows, in MiB.
    pub flow_mib: u64,
}

impl Default for Generator {
    fn default() -> Self {
        Self {
            cores: Vec::new(),
            queues: 0,
            burst: 32,
            catch_up: 256,
            seed: 1,
            drain_ms: 200,
            link_wait_s: 10,
            flow_mib: 4096,
        }
    }
}

/// A port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name, for streams and reports.
    pub name: String,
    /// A PCI address, or a virtual device with its arguments, such as `net_memif0,role=client,id=0`.
    pub device: String,
    /// The MAC address that its frames come from; without it, the device's own.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The MAC address that its frames go to; without it and without `gateway`, that of the port where the stream ends.
    #[serde(default)]
    pub peer_mac: Option<Mac>,
    /// The next hop, found by ARP before anything is sent.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Its own address, from which it asks for the gateway, and for which it answers.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Networks for whose addresses, but the gateway's, ARP requests are answered with the port's MAC address.
    #[serde(default)]
    pub answers_for: Vec<Ipv4Net>,
    /// The link's speed, where the device does not know it.
    #[serde(default)]
    pub speed: Option<Speed>,
    /// Largest IP packet in bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Receive and transmit descriptors of each queue.
    #[serde(default = "default_descriptors")]
    pub descriptors: u16,
    /// The VLAN whose tag its frames carry.
    #[serde(default)]
    pub vlan: Option<u16>,
}

const fn default_mtu() -> u16 {
    1500
}
const fn default_descriptors() -> u16 {
    1024
}
const fn default_weight() -> f64 {
    1.0
}
const fn default_ttl() -> u8 {
    64
}
const fn default_probes() -> u32 {
    1000
}
const fn default_source_port() -> PortRange {
    PortRange { first: 1024, last: 65535 }
}
const fn default_destination_port() -> PortRange {
    PortRange::one(9) // discard (RFC 863)
}

/// A MAC address: `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no MAC address: expected one like 02:00:00:00:00:01");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a stream's packets carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP.
    #[default]
    Udp,
    /// TCP segments of no connection.
    Tcp,
}

impl Protocol {
    /// Its number in the IPv4 header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Udp => ipv4::UDP,
            Self::Tcp => ipv4::TCP,
        }
    }
}

/// In which order the flows of a stream have their turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Each packet is of a flow drawn from all.
    #[default]
    Random,
    /// One after the other.
    Sequential,
}

/// A stream: packets of many flows from one port to another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name in reports.
    pub name: String,
    /// The port that sends.
    pub from: String,
    /// The port that is to receive.
    pub to: String,
    /// Its part of the rate, beside the weights of the other streams.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Bytes of every frame, its FCS included. In a tunnel: of the frame without the tunnel's headers.
    #[serde(default)]
    pub size: Option<u16>,
    /// A mix of sizes instead.
    #[serde(default)]
    pub sizes: Option<Sizes>,
    /// What the packets carry.
    #[serde(default)]
    pub protocol: Protocol,
    /// Source addresses.
    #[serde(default)]
    pub source: Option<Addresses>,
    /// Destination addresses.
    #[serde(default)]
    pub destination: Option<Addresses>,
    /// Source ports.
    #[serde(default = "default_source_port")]
    pub source_port: PortRange,
    /// Destination ports.
    #[serde(default = "default_destination_port")]
    pub destination_port: PortRange,
    /// How many flows: different pairs of addresses and ports. Source addresses change fastest, then destination
    /// addresses, source ports, destination ports.
    /// Without it: one, or as many as there are bindings or as the capture has.
    #[serde(default)]
    pub flows: Option<u64>,
    /// Their order.
    #[serde(default)]
    pub order: Order,
    /// The whole byte of DSCP and ECN.
    #[serde(default)]
    pub tos: Option<u8>,
    /// The DSCP, 0 to 63, instead.
    #[serde(default)]
    pub dscp: Option<u8>,
    /// Time to live.
    #[serde(default = "default_ttl")]
    pub ttl: u8,
    /// Packets a second whose delay is measured, part of the rate; 0 = none.
    #[serde(default = "default_probes")]
    pub probes_per_second: u32,
    /// A capture whose 5-tuples are the flows and whose lengths the sizes.
    #[serde(default)]
    pub pcap: Option<PathBuf>,
    /// Packets of a gateway's bindings.
    #[serde(default)]
    pub ces: Option<Ces>,
}

/// Packets of a gateway's bindings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ces {
    /// What `cesctl --json show bindings` printed.
    pub bindings: PathBuf,
    /// Which way.
    pub direction: Direction,
}

/// Which way packets of bindings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Packets from hosts to proxy addresses, which leave the gateway in tunnels.
    Egress,
    /// Tunnel packets with valid tags, which leave the gateway towards the hosts.
    Ingress,
}

/// Something wrong in a profile or a file that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// The file.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for ProfileError {}

/// A problem of a key, as `stream[0].size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Problem {
    /// A problem.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// Reads the profile in `path` and the files that it names, and checks all of it. Problems are found together.
pub fn load(path: &Path) -> Result<Profile, Vec<ProfileError>> {
    load_with(path, &[])
}

/// [`load`], with other devices for some ports, by their names.
pub fn load_with(path: &Path, devices: &[(String, String)]) -> Result<Profile, Vec<ProfileError>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![ProfileError { path: name.clone(), line: None, message: format!("cannot be read: {error}") }]
    })?;
    parse(&name, &text, path.parent().unwrap_or(Path::new("")), devices)
}

/// Reads a text as the profile `name`, whose files are in `directory`.
pub fn parse(
    name: &str,
    text: &str,
    directory: &Path,
    devices: &[(String, String)],
) -> Result<Profile, Vec<ProfileError>> {
    let error = |line, message| ProfileError { path: name.to_owned(), line, message };
    let mut profile: Profile = toml::from_str(text).map_err(|wrong| {
        let line = wrong.span().map(|span| locate::line_at(text, span.start));
        let message = wrong.message().trim().replace('\n', "; ");
        let content = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default().trim();
        vec![error(line, if content.is_empty() { message } else { format!("{message} in \"{content}\"") })]
    })?;
    let mut problems = Vec::new();
    for (port, device) in devices {
        match profile.port.iter_mut().find(|known| known.name == *port) {
            Some(known) => known.device.clone_from(device),
            None => problems.push(Problem::new(
                "port",
                format!("there is no port \"{port}\" whose device could be {device}"),
            )),
        }
    }
    problems.extend(check::problems(&profile));
    if problems.is_empty() {
        match traffic::all(&profile, directory) {
            Ok(traffic) => profile.traffic = traffic,
            Err(found) => problems = found,
        }
    }
    if problems.is_empty() {
        match session::all(&profile) {
            Ok(sessions) => profile.sessions = sessions,
            Err(found) => problems = found,
        }
    }
    if problems.is_empty() {
        return Ok(profile);
    }
    let mut errors: Vec<ProfileError> = problems
        .into_iter()
        .map(|problem| {
            error(locate::line_of(text, &problem.key), format!("{}: {}", problem.key, problem.message))
        })
        .collect();
    errors.sort_by_key(|error| error.line);
    Err(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[port]]
name = "a"
device = "net_null0"
[[port]]
name = "b"
device = "net_null1"

[[stream]]
name = "there"
from = "a"
to = "b"
size = 64
source = "192.0.2.0/24"
destination = "198.51.100.1-198.51.100.4"
source_port = 5000
destination_port = 9
flows = 1024
"#;

    fn errors(text: &str) -> String {
        let errors = parse("p.toml", text, Path::new(""), &[]).expect_err("the profile is wrong");
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn with(line: &str, other: &str) -> String {
        assert!(GOOD.contains(line), "{line}");
        GOOD.replace(line, other)
    }

    #[test]
    fn a_good_profile_has_all_its_flows() {
        let profile = parse("p.toml", GOOD, Path::new(""), &[]).unwrap();
        let traffic = &profile.traffic[0];
        assert_eq!((traffic.from, traffic.to, traffic.count), (0, 1, 1024));
        let flows: std::collections::HashSet<_> = (0..1024)
            .map(|index| traffic.flow(index))
            .map(|flow| (flow.source, flow.destination, flow.source_port))
            .collect();
        assert_eq!(flows.len(), 1024);
        assert_eq!(traffic.lengths.at(5, 7), 46);
        assert_eq!(traffic.probes(), traffic::PROBE_FLOWS);
        let (sent, _) = traffic.wire_bits(&profile);
        assert!((sent - 84.0 * 8.0).abs() < 1e-9);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        for (line, other, expected) in [
            ("size = 64", "sise = 64", "p.toml:13: unknown field `sise`, expected one of"),
            ("size = 64", "size = 63", "p.toml:13: stream[0].size: 63 bytes are too few"),
            ("size = 64", "size = 1519", "p.toml:13: stream[0].size: 1519 bytes are too many"),
            ("size = 64", "size = \"big\"", "p.toml:13: invalid type: string \"big\", expected u16"),
            ("size = 64", "size = 64\nsizes = \"imix-simple\"", "p.toml:13: stream[0].size: expected either"),
            ("size = 64", "sizes = \"imix\"", "p.toml:13: stream[0].sizes: there is no mix \"imix\""),
            (
                "size = 64",
                "size = 64\nprotocol = \"tcp\"",
                "the headers and the signature of 18 bytes need 76",
            ),
            ("to = \"b\"", "to = \"c\"", "p.toml:12: stream[0].to: there is no port \"c\"; there are: a, b"),
            ("flows = 1024", "flows = 1025", "p.toml:18: stream[0].flows: expected 1 to 1024"),
            ("flows = 1024", "flows = 0", "p.toml:18: stream[0].flows: expected 1 to 1024"),
            ("192.0.2.0/24", "192.0.2.9-192.0.2.1", "p.toml:14: \"192.0.2.9-192.0.2.1\" is empty"),
            ("source_port = 5000", "source_port = \"9-5\"", "p.toml:16: \"9-5\" is empty"),
            (
                "flows = 1024",
                "[stream.ces]\nbindings = \"none.json\"\ndirection = \"egress\"",
                "is not wanted",
            ),
            ("net_null1", "net_null0", "p.toml:7: port[1].device: net_null0 is the device of two ports"),
            (
                "device = \"net_null1\"",
                "device = \"net_null1\"\nspeed = \"fast\"",
                "p.toml:8: \"fast\" is no speed",
            ),
            (
                "device = \"net_null1\"",
                "device = \"net_null1\"\nmtu = 9000",
                "p.toml:8: port[1].mtu: expected 68 to 2022",
            ),
            (
                "device = \"net_null1\"",
                "device = \"net_null1\"\ngateway = \"192.0.2.1\"",
                "p.toml:8: port[1].gateway",
            ),
        ] {
            let text = errors(&with(line, other));
            assert!(text.contains(expected), "{other}: expected {expected}, got:\n{text}");
        }
    }

    #[test]
    fn more_flows_than_memory_are_refused_with_their_bytes() {
        let text = with("flows = 1024", "flows = 200000000")
            .replace("192.0.2.0/24", "10.0.0.0/8")
            .replace("source_port = 5000", "source_port = \"1-100\"");
        assert!(
            errors(&text)
                .contains("200000064 flows need 8393 MiB (20 bytes each, and 24 for each of 1 threads)")
        );
    }

    #[test]
    fn streams_must_not_send_the_same_flows() {
        let again = GOOD.split_once("[[stream]]").unwrap().1.replace("\"there\"", "\"again\"");
        let text = format!("{GOOD}[[stream]]{again}");
        assert!(errors(&text).contains("its flows overlap those of stream \"there\""));
        let apart = text.replacen("source_port = 5000", "source_port = 5001", 1);
        let profile = parse("p.toml", &apart, Path::new(""), &[]).unwrap();
        assert!((profile.traffic[1].share - 0.5).abs() < 1e-9);
    }

    #[test]
    fn bindings_become_packets_of_both_ways() {
        let directory = std::env::temp_dir().join(format!("cesload-bindings-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let json = r#"[
            {"tag": 7, "remote_tag": 9, "role": "initiator", "host": "10.0.0.5", "proxy": "172.16.0.1", "worker": 0,
             "tunnel": {"peer": "b", "encapsulation": "vxlan", "local": "198.51.100.1", "remote": "203.0.113.1",
                        "id_in": 11, "id_out": 12, "mtu": 1500, "bindings": 1}},
            {"tag": 8, "remote_tag": 0, "role": "local", "host": "10.0.0.6", "proxy": "172.16.0.2", "worker": 0}
        ]"#;
        std::fs::write(directory.join("b.json"), json).unwrap();
        let text = |direction: &str| {
            with("source = \"192.0.2.0/24\"\ndestination = \"198.51.100.1-198.51.100.4\"\n", "")
                .replace("source_port = 5000", "source_port = \"5000-5001\"")
                .replace("flows = 1024", "flows = 2")
                + &format!("[stream.ces]\nbindings = \"b.json\"\ndirection = \"{direction}\"\n")
        };
        let read = |direction: &str| parse("p.toml", &text(direction), &directory, &[]).unwrap();
        let egress = &read("egress").traffic[0];
        let flow = egress.flow(1);
        assert_eq!((flow.source, flow.destination, flow.source_port), (0x0a00_0005, 0xac10_0001, 5001));
        assert_eq!(egress.shapes[0].received_overhead, 50);
        assert!(egress.note.contains("1 bindings without a tunnel"));
        let ingress = &read("ingress").traffic[0];
        assert_eq!((ingress.flow(0).source, ingress.flow(0).destination), (9, 7));
        let outer = ingress.shapes[0].outer.unwrap();
        assert_eq!((outer.source, outer.destination, outer.id), (0xcb00_7101, 0xc633_6401, 11));

        std::fs::write(directory.join("b.json"), r#"[{"tag": 7}]"#).unwrap();
        let wrong = parse("p.toml", &text("egress"), &directory, &[]).unwrap_err();
        assert!(wrong[0].to_string().contains("missing field `remote_tag`"), "{}", wrong[0]);
        std::fs::remove_file(directory.join("b.json")).unwrap();
        let wrong = parse("p.toml", &text("egress"), &directory, &[]).unwrap_err();
        assert!(wrong[0].line.is_some() && wrong[0].message.contains("cannot be read"), "{}", wrong[0]);
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_mix_keeps_its_weights_in_every_order() {
        let text = with("size = 64", "sizes = \"imix-simple\"");
        let profile = parse("p.toml", &text, Path::new(""), &[]).unwrap();
        let lengths = &profile.traffic[0].lengths;
        for flows in [1, 7, 1000] {
            let mut counts = std::collections::BTreeMap::new();
            for packet in 0..12_000 {
                *counts.entry(lengths.at(packet % flows, packet / flows)).or_insert(0i32) += 1;
            }
            for (length, expected) in [(46, 7000), (576, 4000), (1500, 1000)] {
                assert!((counts[&length] - expected).abs() <= 20, "{flows} flows: {counts:?}");
            }
        }
    }

    #[test]
    fn another_device_is_for_a_port_that_there_is() {
        let device = |port: &str| [(port.to_owned(), "net_ring0".to_owned())];
        let profile = parse("p.toml", GOOD, Path::new(""), &device("b")).unwrap();
        assert_eq!(profile.port[1].device, "net_ring0");
        assert!(parse("p.toml", GOOD, Path::new(""), &device("c")).is_err());
    }
}
