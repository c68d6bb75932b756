//! Sessions in a profile: who talks to whom, about what, and how patiently.

use super::model::{Port, Protocol};
use super::range::{Addresses, PortRange};
use crate::frame::signature;
use crate::session::dns::Names;
use crate::session::frames::{FCS, SLOT_BITS, TCP_HEADERS, UDP_HEADERS};
use crate::session::plan::{Destination, Plan, Transport};
use crate::session::stamp::LONGEST_WAIT_MS;
use ces_dataplane::wire::ethernet;
use ces_settings::Problem;
use serde::Deserialize;
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// Sessions of one kind.
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
    /// Its part of the sessions, beside the weights of the others.
    #[serde(default = "super::model::default_weight")]
    pub weight: f64,
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
    #[serde(default)]
    pub name: Option<String>,
    /// The numbers: `1-1000`.
    #[serde(default)]
    pub numbers: Option<Numbers>,
    /// A list of names instead.
    #[serde(default)]
    pub names: Option<Vec<String>>,
}

/// Numbers from the first to the last, both included: `1-1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Numbers {
    /// The lowest.
    pub first: u32,
    /// The highest.
    pub last: u32,
}

impl TryFrom<String> for Numbers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers = text.split_once('-').and_then(|(first, last)| {
            Some(Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        });
        numbers.ok_or_else(|| format!("\"{text}\" is no range of numbers (\"1-1000\")"))
    }
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

/// Sessions of one kind, and where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// What they are.
    pub plan: Plan,
    /// The number of the clients' port.
    pub from: usize,
    /// The number of the servers' port.
    pub to: usize,
    /// Their part of all sessions.
    pub weight: f64,
}

/// What a signature has room for: the number of a kind of sessions stands above that of the slot.
const KINDS_MAX: usize = 1 << (32 - SLOT_BITS);
/// Sessions of one kind at most, as a slot's number has room for. The longest ladder ends below, at 16,515,072.
const SLOTS_MAX: u64 = 1 << SLOT_BITS;

/// What all sessions of a profile come to, or everything that is wrong with them.
pub fn all(ports: &[Port], sessions: &[Session]) -> Result<Vec<Placed>, Vec<Problem>> {
    let (mut placed, mut found): (Vec<Placed>, _) = (Vec::new(), Vec::new());
    if sessions.len() > KINDS_MAX {
        found.push(Problem::new("session", format!("expected at most {KINDS_MAX} kinds of sessions")));
    }
    let mut names = HashSet::new();
    for (index, session) in sessions.iter().enumerate().take(KINDS_MAX) {
        let before = found.len();
        let mut wrong = |key: &str, message: String| {
            found.push(Problem::new(format!("session[{index}].{key}"), message));
        };
        if session.name.is_empty() || !names.insert(session.name.as_str()) {
            wrong("name", format!("expected a name of its own, not \"{}\"", session.name));
        }
        let one = place(ports, session, index as u8, &mut wrong);
        let Some(one) = one.filter(|_| found.len() == before) else { continue };
        if let Some((key, message)) = placed.iter().find_map(|other| conflict(other, &one)) {
            found.push(Problem::new(format!("session[{index}].{key}"), message));
        }
        placed.push(one);
    }
    if found.is_empty() { Ok(placed) } else { Err(found) }
}

fn place(
    ports: &[Port],
    session: &Session,
    number: u8,
    wrong: &mut impl FnMut(&str, String),
) -> Option<Placed> {
    let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let mut port = |key: &str, name: &String| {
        let found = ports.iter().position(|port| port.name == *name);
        if found.is_none() {
            wrong(key, format!("there is no port \"{name}\"; there are: {}", known.join(", ")));
        }
        found
    };
    let (from, to) = (port("from", &session.from)?, port("to", &session.to)?);
    if !session.weight.is_finite() || session.weight <= 0.0 {
        wrong("weight", "expected a number above 0".to_owned());
    }
    for (key, first) in [("client_port", session.client_port.first), ("server_port", session.server_port)] {
        if first == 0 {
            wrong(key, "expected ports from 1 on".to_owned());
        }
    }
    let slots = session.client.count() * session.client_port.count();
    if slots > SLOTS_MAX {
        wrong(
            "client",
            format!("{slots} addresses and ports are too many: expected at most {SLOTS_MAX} of one kind"),
        );
    }
    if session.requests == 0 && session.protocol == Protocol::Udp && session.dns.is_none() {
        wrong("requests", "expected at least 1: over UDP there is nothing else but names".to_owned());
    }
    if session.outstanding == Some(0) {
        wrong("outstanding", "expected at least 1".to_owned());
    }
    if session.timeout_ms == 0 || session.timeout_ms > LONGEST_WAIT_MS {
        wrong("timeout_ms", format!("expected 1 to {LONGEST_WAIT_MS}"));
    }
    if session.think_ms > LONGEST_WAIT_MS {
        wrong("think_ms", format!("expected 0 to {LONGEST_WAIT_MS}"));
    }
    let (headers, least) = match session.protocol {
        Protocol::Udp => (UDP_HEADERS, signature::LENGTH),
        Protocol::Tcp => (TCP_HEADERS, 1),
    };
    let mut payload = |key: &str, size: u16, port: usize| {
        let port = &ports[port];
        let link = if port.vlan.is_some() { ethernet::LENGTH_TAGGED } else { ethernet::LENGTH };
        let (smallest, largest) = (link + headers + least + FCS, link + usize::from(port.mtu) + FCS);
        if usize::from(size) < smallest || usize::from(size) > largest {
            wrong(key, format!("expected {smallest} to {largest} bytes, headers and FCS included"));
        }
        usize::from(size).saturating_sub(link + headers + FCS)
    };
    let request_bytes = payload("request_size", session.request_size, from);
    let response_bytes = payload("response_size", session.response_size, to);
    Some(Placed {
        plan: Plan {
            name: session.name.clone(),
            number,
            transport: match session.protocol {
                Protocol::Udp => Transport::Udp,
                Protocol::Tcp => Transport::Tcp,
            },
            client: session.client.first.to_bits(),
            clients: session.client.count().min(SLOTS_MAX) as u32,
            client_port: session.client_port.first,
            client_ports: session.client_port.count() as u32,
            target: target(session, wrong)?,
            server_port: session.server_port,
            requests: session.requests,
            request_bytes,
            response_bytes,
            think_ns: session.think_ms * 1_000_000,
            timeout_ns: session.timeout_ms * 1_000_000,
            retries: session.retries,
            outstanding: session.outstanding.unwrap_or(u32::MAX),
        },
        from,
        to,
        weight: session.weight,
    })
}

fn target(session: &Session, wrong: &mut impl FnMut(&str, String)) -> Option<Destination> {
    let dns = match (&session.dns, session.server) {
        (Some(dns), None) => dns,
        (None, Some(server)) => {
            let count = server.count().min(u64::from(u32::MAX)) as u32;
            return Some(Destination::Addresses { first: server.first.to_bits(), count });
        }
        (None, None) => {
            wrong("server", "expected server = \"…\", or [session.dns] to ask for it".to_owned());
            return None;
        }
        (Some(_), Some(_)) => {
            wrong("server", "is not wanted: it comes from the session's dns".to_owned());
            return None;
        }
    };
    let names = match (&dns.name, dns.numbers, &dns.names) {
        (Some(pattern), Some(numbers), None) => Names::numbered(pattern, numbers.first, numbers.last),
        (None, None, Some(names)) => Names::listed(names.clone()),
        _ => {
            Err("expected either name = \"h{}.b.demo\" with numbers = \"1-1000\", or names = […]".to_owned())
        }
    };
    match names {
        Ok(names) => Some(Destination::Named { server: dns.server.to_bits(), names }),
        Err(message) => {
            let key = if dns.names.is_some() { "dns.names" } else { "dns.name" };
            wrong(key, message);
            None
        }
    }
}

/// What two kinds of sessions cannot have in common: a client, or a server's port with other sizes.
fn conflict(one: &Placed, other: &Placed) -> Option<(&'static str, String)> {
    let (a, b) = (&one.plan, &other.plan);
    let meet = |first: u32, count: u32, other: u32, others: u32| {
        u64::from(first) < u64::from(other) + u64::from(others)
            && u64::from(other) < u64::from(first) + u64::from(count)
    };
    if one.from == other.from
        && meet(a.client, a.clients, b.client, b.clients)
        && meet(a.client_port.into(), a.client_ports, b.client_port.into(), b.client_ports)
    {
        let message =
            format!("its clients overlap those of session \"{}\": same addresses and ports", a.name);
        return Some(("client", message));
    }
    let sizes = |plan: &Plan| (plan.request_bytes, plan.response_bytes, plan.requests);
    if one.to == other.to
        && (a.transport, a.server_port) == (b.transport, b.server_port)
        && sizes(a) != sizes(b)
    {
        let message = format!("session \"{}\" has other sizes or requests at the same port", a.name);
        return Some(("server_port", message));
    }
    None
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

[[session]]
name = "web"
from = "a"
to = "b"
protocol = "tcp"
client = "10.0.0.0/24"
server = "198.51.100.1-198.51.100.4"
server_port = 80
request_size = 128
response_size = 1518

[[session]]
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
"#;

    #[test]
    fn sessions_are_read() {
        let profile = parse("p.toml", GOOD, Path::new(""), &[]).unwrap();
        let [web, named] = profile.sessions.as_slice() else { panic!("two of them") };
        assert_eq!((web.from, web.to, web.plan.capacity()), (0, 1, 256 * 64_512));
        assert_eq!((web.plan.request_bytes, web.plan.response_bytes), (128 - 70, 1518 - 70));
        assert_eq!(web.plan.target, Destination::Addresses { first: 0xc633_6401, count: 4 });
        assert_eq!((named.plan.request_bytes, named.plan.number, named.plan.capacity()), (128 - 46, 1, 10));
        assert!(matches!(&named.plan.target, Destination::Named { names, .. } if names.count() == 1000));
        assert_eq!(named.plan.think_ns, 5_000_000);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let faults = [
            (
                "from = \"a\"\nto = \"b\"\nprotocol",
                "from = \"c\"\nto = \"b\"\nprotocol",
                "p.toml:11: session[0].from: there is no port \"c\"",
            ),
            ("protocol = \"tcp\"", "protocol = \"sctp\"", "p.toml:13: session[0].protocol: "),
            (
                "10.0.0.0/24",
                "10.0.0.0/23",
                "p.toml:14: session[0].client: 33030144 addresses and ports are too many",
            ),
            (
                "request_size = 128",
                "request_size = 70",
                "p.toml:17: session[0].request_size: expected 71 to 1518",
            ),
            (
                "response_size = 1518",
                "response_size = 1519",
                "p.toml:18: session[0].response_size: expected 71 to 1518",
            ),
            ("think_ms = 5", "request_size = 63", "session[1].request_size: expected 64 to 1518"),
            ("think_ms = 5", "think_ms = 60001", "p.toml:27: session[1].think_ms: expected 0 to 60000"),
            ("think_ms = 5", "timeout_ms = 0", "p.toml:27: session[1].timeout_ms: expected 1 to 60000"),
            // Names alone can be asked for, where there are names.
            ("\"tcp\"", "\"udp\"\nrequests = 0", "p.toml:14: session[0].requests: expected at least 1"),
            ("think_ms = 5", "outstanding = 0", "p.toml:27: session[1].outstanding: expected at least 1"),
            ("think_ms = 5", "pause = 5", "p.toml:27: session[1].pause: unknown field `pause`"),
            ("think_ms = 5", "server = \"10.9.9.9\"", "p.toml:27: session[1].server: is not wanted"),
            ("server = \"198.51.100.1-198.51.100.4\"\n", "", "session[0].server: expected server"),
            ("h{}.b.demo", "h.b.demo", "p.toml:30: session[1].dns.name: \"h.b.demo\" has no {}"),
            ("numbers = \"1-1000\"", "", "session[1].dns.name: expected either name"),
            (
                "numbers = \"1-1000\"",
                "numbers = \"9\"",
                "p.toml:31: session[1].dns.numbers: \"9\" is no range of numbers",
            ),
            (
                "name = \"by name\"",
                "name = \"web\"",
                "p.toml:21: session[1].name: expected a name of its own",
            ),
            (
                "client = \"10.0.1.1\"",
                "client = \"10.0.0.7\"",
                "p.toml:24: session[1].client: its clients overlap",
            ),
            (
                "server_port = 80",
                "server_port = 0",
                "p.toml:16: session[0].server_port: expected ports from 1",
            ),
        ];
        assert_told(GOOD, &faults);
        let nothing = &GOOD[..GOOD.find("[[session]]").unwrap()];
        assert!(errors(nothing).contains("expected at least one [[stream]] or [[session]]"));
    }

    #[test]
    fn server_port_has_one_size() {
        let text = GOOD
            .replace("server_port = 5000", "server_port = 80")
            .replace("client_port = \"1024-1033\"", "client_port = \"1024-1033\"\nprotocol = \"tcp\"");
        assert!(errors(&text).contains("session[1].server_port: session \"web\" has other sizes"));
    }
}
