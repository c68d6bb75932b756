//! Sessions in a profile: who talks to whom, about what, and how patiently.

use super::check::{port_complaint, tell};
use super::model::{Port, Protocol};
use super::range::{Addresses, Numbers, PortRange};
use crate::frame::signature;
use crate::session::dns::Names;
use crate::session::frames::{FCS, TCP_HEADERS, UDP_HEADERS};
use crate::session::plan::{Destination, Plan, Transport};
use crate::session::stamp::LONGEST_WAIT_MS;
use ces_dataplane::wire::ethernet;
use ces_settings::{Problem, Problems};
use serde::Deserialize;
use std::net::Ipv4Addr;

/// Sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Its name in reports.
    pub name: String,
    /// The port where the clients are. ARP requests for their addresses are answered there.
    pub from: String,
    /// The port where the servers are. ARP requests for the addresses in `server` are answered there; for others, name them
    /// in the port's `answers_for`.
    pub to: String,
    /// What carries them.
    #[serde(default)]
    pub protocol: Protocol,
    /// Client addresses.
    pub client: Addresses,
    /// Client ports. Each address and port has one session at a time.
    #[serde(default = "super::model::default_source_port")]
    pub client_port: PortRange,
    /// Server addresses, taken in turn.
    #[serde(default)]
    pub server: Option<Addresses>,
    /// Where sessions ask for their server's address instead.
    #[serde(default)]
    pub dns: Option<Dns>,
    /// The servers' port.
    pub server_port: u16,
    /// Requests of each session, one after the other.
    #[serde(default = "default_requests")]
    pub requests: u16,
    /// Bytes of the frame of a request, its FCS included.
    #[serde(default = "default_size")]
    pub request_size: u16,
    /// Bytes of the frame of a response, its FCS included.
    #[serde(default = "default_size")]
    pub response_size: u16,
    /// Time from a response to the next request, in milliseconds.
    #[serde(default)]
    pub think_ms: u64,
    /// How long an answer of any kind is waited for, in milliseconds.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// How often what was not answered is sent again until the session has failed.
    #[serde(default = "default_retries")]
    pub retries: u8,
    /// Sessions open at a time, at most: with a rate of `max` the next begins as soon as one has ended.
    #[serde(default)]
    pub outstanding: Option<u32>,
}

/// Where sessions ask for their server's address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name server.
    pub server: Ipv4Addr,
    /// What is asked for, with `{}` for a number: `h{}.b.demo`.
    pub name: String,
    /// The numbers: `1-1000`.
    pub numbers: Numbers,
}

const fn default_requests() -> u16 {
    1
}
/// Room for the headers of both transports.
const fn default_size() -> u16 {
    128
}
const fn default_timeout() -> u64 {
    1000
}
const fn default_retries() -> u8 {
    3
}

/// The sessions, and where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// What they are.
    pub plan: Plan,
    /// The number of the clients' port.
    pub from: usize,
    /// The number of the servers' port.
    pub to: usize,
}

/// Client addresses and ports at most. The longest ladder ends below, at 16,515,072.
const SLOTS_MAX: u64 = 1 << 24;

/// What the sessions of a profile come to, or everything that is wrong with them.
pub fn place(ports: &[Port], session: &Session) -> Result<Placed, Vec<Problem>> {
    let mut found = Problems::default();
    let slots = session.client.count() * session.client_port.count();
    let nothing = session.requests == 0 && session.protocol == Protocol::Udp && session.dns.is_none();
    let complaints = [
        port_complaint(ports, "from", &session.from),
        port_complaint(ports, "to", &session.to),
        (session.client_port.first == 0, "client_port", "expected ports from 1 on".to_owned()),
        (session.server_port == 0, "server_port", "expected ports from 1 on".to_owned()),
        (
            slots > SLOTS_MAX,
            "client",
            format!("{slots} addresses and ports: {SLOTS_MAX} at most were expected"),
        ),
        (nothing, "requests", "expected at least 1: over UDP there is nothing else but names".to_owned()),
        (session.outstanding == Some(0), "outstanding", "expected at least 1".to_owned()),
    ];
    tell(&mut found, "session", complaints);
    found.within("session.timeout_ms", session.timeout_ms, 1, LONGEST_WAIT_MS);
    found.within("session.think_ms", session.think_ms, 0, LONGEST_WAIT_MS);
    let (headers, least) = match session.protocol {
        Protocol::Udp => (UDP_HEADERS, signature::LENGTH),
        Protocol::Tcp => (TCP_HEADERS, 1),
    };
    let mut at = |key: &str, size: u16, name: &str| {
        let number = ports.iter().position(|port| port.name == name).unwrap_or(0);
        let port = &ports[number];
        let link = if port.vlan.is_some() { ethernet::LENGTH_TAGGED } else { ethernet::LENGTH };
        let (smallest, largest) = (link + headers + least + FCS, link + usize::from(port.mtu) + FCS);
        found.within(format!("session.{key}"), size.into(), smallest as u64, largest as u64);
        (number, usize::from(size).saturating_sub(link + headers + FCS))
    };
    let (from, request_bytes) = at("request_size", session.request_size, &session.from);
    let (to, response_bytes) = at("response_size", session.response_size, &session.to);
    let target = target(session).map_err(|(key, message)| found.add(format!("session.{key}"), message));
    let found = found.into_vec();
    let (Ok(target), true) = (target, found.is_empty()) else { return Err(found) };
    let plan = Plan {
        name: session.name.clone(),
        transport: match session.protocol {
            Protocol::Udp => Transport::Udp,
            Protocol::Tcp => Transport::Tcp,
        },
        client: session.client.first.to_bits(),
        clients: session.client.count() as u32,
        client_port: session.client_port.first,
        client_ports: session.client_port.count() as u32,
        target,
        server_port: session.server_port,
        requests: session.requests,
        request_bytes,
        response_bytes,
        think_ns: session.think_ms * 1_000_000,
        timeout_ns: session.timeout_ms * 1_000_000,
        retries: session.retries,
        outstanding: session.outstanding.unwrap_or(u32::MAX),
    };
    Ok(Placed { plan, from, to })
}

fn target(session: &Session) -> Result<Destination, (&'static str, String)> {
    let dns = match (&session.dns, session.server) {
        (Some(dns), None) => dns,
        (None, Some(server)) => {
            let count = server.count().min(u64::from(u32::MAX)) as u32;
            return Ok(Destination::Addresses { first: server.first.to_bits(), count });
        }
        (None, None) => {
            return Err(("server", "expected server = \"…\", or [session.dns] to ask for it".to_owned()));
        }
        (Some(_), Some(_)) => {
            return Err(("server", "is not wanted: it comes from the session's dns".to_owned()));
        }
    };
    let names = Names::new(&dns.name, dns.numbers.first, dns.numbers.last);
    let names = names.map_err(|message| ("dns.name", message))?;
    Ok(Destination::Named { server: dns.server.to_bits(), names })
}

#[cfg(test)]
mod tests {
    use crate::profile::parse;
    use crate::profile::tests::{assert_told, errors};
    use crate::session::plan::Destination;
    use std::path::Path;

    const GOOD: &str = r#"
[[port]]
name = "a"
device = "net_null0"
[[port]]
name = "b"
device = "net_null1"

[session]
name = "web"
from = "a"
to = "b"
protocol = "tcp"
client = "10.0.0.0/24"
server = "198.51.100.1-198.51.100.4"
server_port = 80
request_size = 128
response_size = 1518
"#;

    /// The same by name, from line 11 on.
    fn named() -> String {
        GOOD[..GOOD.find("[session]").unwrap()].to_owned()
            + r#"[session]
name = "by name"
from = "a"
to = "b"
client = "10.0.1.1"
client_port = "1024-1033"
server_port = 5000
think_ms = 5
[session.dns]
server = "10.0.0.254"
name = "h{}.b.demo"
numbers = "1-1000"
"#
    }

    #[test]
    fn sessions_are_read() {
        let web = parse("p.toml", GOOD, Path::new(""), &[]).unwrap().sessions.unwrap();
        assert_eq!((web.from, web.to, web.plan.capacity()), (0, 1, 256 * 64_512));
        assert_eq!((web.plan.request_bytes, web.plan.response_bytes), (128 - 70, 1518 - 70));
        assert_eq!(web.plan.target, Destination::Addresses { first: 0xc633_6401, count: 4 });
        let named = parse("p.toml", &named(), Path::new(""), &[]).unwrap().sessions.unwrap();
        assert_eq!((named.plan.request_bytes, named.plan.capacity()), (128 - 46, 10));
        assert!(matches!(&named.plan.target, Destination::Named { names, .. } if names.count() == 1000));
        assert_eq!(named.plan.think_ns, 5_000_000);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let faults = [
            ("from = \"a\"", "from = \"c\"", "p.toml:11: session.from: there is no port \"c\""),
            ("protocol = \"tcp\"", "protocol = \"sctp\"", "p.toml:13: session.protocol: "),
            (
                "10.0.0.0/24",
                "10.0.0.0/23",
                "p.toml:14: session.client: 33030144 addresses and ports: 16777216",
            ),
            ("_size = 128", "_size = 70", "p.toml:17: session.request_size: 70: 71 to 1518 was expected"),
            ("_size = 1518", "_size = 1519", "p.toml:18: session.response_size: 1519: 71 to 1518"),
            ("server = \"198.51.100.1-198.51.100.4\"\n", "", "session.server: expected server"),
            ("server_port = 80", "server_port = 0", "p.toml:16: session.server_port: expected ports from 1"),
            // Names alone can be asked for, where there are names.
            ("\"tcp\"", "\"udp\"\nrequests = 0", "p.toml:14: session.requests: expected at least 1"),
        ];
        assert_told(GOOD, &faults);
        let faults = [
            ("think_ms = 5", "request_size = 63", "session.request_size: 63: 64 to 1518 was expected"),
            ("think_ms = 5", "think_ms = 60001", "p.toml:16: session.think_ms: 60001: 0 to 60000"),
            ("think_ms = 5", "timeout_ms = 0", "p.toml:16: session.timeout_ms: 0: 1 to 60000"),
            ("think_ms = 5", "outstanding = 0", "p.toml:16: session.outstanding: expected at least 1"),
            ("think_ms = 5", "pause = 5", "p.toml:16: session.pause: unknown field `pause`"),
            ("think_ms = 5", "server = \"10.9.9.9\"", "p.toml:16: session.server: is not wanted"),
            ("h{}.b.demo", "h.b.demo", "p.toml:19: session.dns.name: \"h.b.demo\" has no {}"),
            ("numbers = \"1-1000\"", "", "session.dns: missing field `numbers`"),
            ("\"1-1000\"", "\"a\"", "p.toml:20: session.dns.numbers: \"a\" is no range of numbers"),
        ];
        assert_told(&named(), &faults);
        let nothing = &GOOD[..GOOD.find("[session]").unwrap()];
        assert!(errors(nothing).contains("expected at least one [[stream]], or a [session]"));
    }
}
