//! The two realms: their settings, hosts and policies as a person would write them.

use ces_gateway::{PolicySet, Registry, Settings, SourceFile};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Sessions that a run may make: each takes a slot at both sides.
pub const SESSIONS: u32 = 1 << 20;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its hosts ask.
    Initiator,
    /// Its hosts are asked for.
    Responder,
}

impl Side {
    /// The zone.
    pub const fn zone(self) -> &'static str {
        match self {
            Side::Initiator => "a.demo",
            Side::Responder => "b.demo",
        }
    }

    /// The CES id, also the certificate's CN.
    pub const fn ces_id(self) -> &'static str {
        match self {
            Side::Initiator => "cesa.demo.",
            Side::Responder => "cesb.demo.",
        }
    }

    /// Where it listens.
    pub const fn endpoint(self) -> Ipv4Addr {
        match self {
            Side::Initiator => Ipv4Addr::LOCALHOST,
            Side::Responder => Ipv4Addr::new(127, 0, 0, 2),
        }
    }

    /// Where its tunnels end.
    pub const fn locator(self) -> Ipv4Addr {
        match self {
            Side::Initiator => Ipv4Addr::new(192, 0, 2, 1),
            Side::Responder => Ipv4Addr::new(192, 0, 2, 2),
        }
    }
}

/// How the realms are to be.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Hosts on each side.
    pub hosts: u32,
    /// Whether the responder asks for an acknowledgement first: two round trips.
    pub two_rounds: bool,
    /// The responder's port.
    pub port: u16,
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// The address of host number `host`, the same in both realms.
pub fn address(host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc0a8_0000 + 256 + host) // 192.168.1.0 and on
}

/// The name of host number `host`.
pub fn name(side: Side, host: u32) -> String {
    format!("h{host}.{}", side.zone())
}

/// A gateway's settings. Whatever limits rates or numbers is out of the way: the benchmark measures what the code can do.
pub fn settings(side: Side, shape: &Shape) -> Result<Settings, String> {
    let (zone, ces_id, endpoint, locator) = (side.zone(), side.ces_id(), side.endpoint(), side.locator());
    let (port, proto) = (shape.port, if shape.tls { "tls" } else { "tcp" });
    let text = format!(
        r#"
        [realm]
        name = "{zone}"
        ces_id = "{ces_id}"
        zones = ["{zone}"]
        networks = ["192.168.0.0/16"]
        host_bindings = 16384
        [dns]
        upstreams = ["203.0.113.53"]
        name_server = "ns.{zone}"
        addresses = ["{locator}"]
        published_ttl_s = 3600
        negotiation_rate = 0
        host_rate = 0
        outside_rate = 0
        [cetp]
        endpoints = [{{ address = "{endpoint}", port = {port}, proto = "{proto}" }}]
        locators = [{{ address = "{locator}" }}]
        look_up_names = false
        [cetp.limits]
        sessions_per_peer = {SESSIONS}
        sessions_per_peer_max = {SESSIONS}
        sessions = {SESSIONS}
        messages_per_s = 100000000
        "#
    );
    let settings: Settings = toml::from_str(&text).map_err(|error| format!("settings: {error}"))?;
    match settings.check(&[]).first() {
        None => Ok(settings),
        Some(problem) => Err(format!("settings: {problem}")),
    }
}

/// A gateway's hosts and policies.
pub fn registry(side: Side, shape: &Shape, settings: &Settings) -> Result<(Registry, PolicySet), String> {
    let mut text = String::from("[[policy]]\nname = \"open\"\noutbound.to = \"*\"\n");
    text.push_str(if shape.two_rounds {
        "inbound = { from = \"*\", request = [\"control.ack\"] }\n"
    } else {
        "inbound.from = \"*\"\n"
    });
    for host in 0..shape.hosts {
        let (name, address) = (name(side, host), address(host));
        let _ = write!(text, "[[host]]\nname = \"{name}\"\naddress = \"{address}\"\npolicy = \"open\"\n");
    }
    let file = SourceFile { path: "hosts.toml".to_owned(), text };
    ces_gateway::registry::load(&[file], settings)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Where the resolver of the settings stands; its answers come from the harness.
pub fn upstream() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 53))
}
