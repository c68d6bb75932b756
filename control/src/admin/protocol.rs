//! What `cesctl` asks and `cesd` answers.
//!
//! A request is one line. Its answer is one line, [`Response::Ok`] or [`Response::Error`]; a trace sends lines of
//! [`Response::Item`] before, and a long list comes in pages of the same kind, which [`PagedList`] puts together.

use crate::records::RecordQuestion;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Longest request in bytes.
pub const REQUEST_BYTES: usize = 4096;
/// The most packets that one trace records.
pub const TRACE_MAX: u32 = 100_000;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Interfaces: addresses, link, packets and bytes by direction
    Ports,
    /// Shaped ports: what waits in each class, for how long, and what became of the rest
    Queues,
    /// Worker threads: load, bursts, rings
    Workers,
    /// Bindings between hosts and far hosts, with their counters
    Bindings,
    /// Other gateways, blocked addresses, filters
    Peers,
    /// The realm's hosts
    Hosts,
    /// The name service: queries and negotiations by outcome
    Dns,
    /// Dropped packets by reason
    Drops,
    /// Tunnels to other gateways
    Tunnels,
    /// Next hops and routes, as the kernel tells them
    Neighbours,
    /// NAT44: external addresses, sessions, mappings, external ports
    Nat,
    /// Application layer gateways: where they are on, what they met with
    Alg,
    /// What application layer gateways wrote anew last, or would have
    Rewrites,
    /// Sessions of NAT44, with their counters
    Sessions,
    /// The hosts that hold most of NAT44's sessions and external ports
    Holders,
    /// Mappings of NAT44: what stands for hosts by configuration, and what their ports were given
    Mappings,
    /// The rules of the filter, and how often each has decided
    Rules,
    /// What rules that say `log` decided last
    Logged,
    /// The Realm Gateway: the circular pool, who asked and who came
    Inbound,
    /// The Realm Gateway: the reputation of who asks, and of who comes
    Reputation,
    /// Names by which hosts are reached from the plain Internet, and what became of their reservations
    Services,
    /// Pending reservations of the circular pool
    Reservations,
    /// How full the pools are
    Pools,
    /// The control thread: its longest pieces of work, by cause
    Control,
    /// DHCP: messages by outcome, how many addresses are left, other servers
    Dhcp,
    /// Addresses that were leased by DHCP
    Leases,
    /// Names that came at run time, by UPDATE (RFC 2136)
    Names,
    /// The journal of sessions: whether it is whole, its size, what it said at the start
    Journal,
}

/// The first packet of a session, about which rules are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// From where
    pub source: Ipv4Addr,
    /// To where; an inside host by its own address
    pub destination: Ipv4Addr,
    /// The protocol: icmp, tcp, udp, or a number
    #[arg(value_parser = protocol)]
    pub proto: u8,
    /// The destination's port, or the type of an ICMP message
    #[arg(default_value_t = 0)]
    pub port: u16,
    /// The source's port
    #[arg(long, default_value_t = 49_152)]
    pub source_port: u16,
    /// The name of the port of the gateway by which it comes [default: the one that leads back]
    #[arg(long)]
    pub comes_by: Option<String>,
    /// The name of the port of the gateway by which it goes [default: the one that leads there]
    #[arg(long)]
    pub goes_by: Option<String>,
    /// Flags of TCP, with commas between them
    #[arg(long, default_value = "syn", value_parser = flags)]
    pub flags: u8,
    /// The code point of differentiated services: ef, af11, cs1, or a number
    #[arg(long, default_value = "0", value_parser = dscp)]
    pub dscp: u8,
    /// Bytes of the packet
    #[arg(long, default_value_t = 60)]
    pub length: u16,
    /// It is a fragment
    #[arg(long)]
    pub fragmented: bool,
}

/// Reads the name or number of a protocol.
pub fn protocol(text: &str) -> Result<u8, String> {
    ces_rules::protocol_number(&text.to_ascii_lowercase())
        .ok_or_else(|| "a name such as icmp, tcp, udp, or a number from 0 to 255 was expected".to_owned())
}

/// Reads an address outside, with a port where the protocol has ports.
pub fn external(text: &str) -> Result<SocketAddrV4, String> {
    let alone = || text.parse().map(|address: Ipv4Addr| SocketAddrV4::new(address, 0));
    text.parse().or_else(|_| alone()).map_err(|_| "an address was expected, or an address:port".to_owned())
}

/// Reads a time: milliseconds since 1970.
pub fn time(text: &str) -> Result<u64, String> {
    let expected = || "seconds since 1970 were expected, or a time such as 2026-11-29T18:05:00Z".to_owned();
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(u64::from(seconds) * 1000);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| expected())?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| expected())
}

fn flags(text: &str) -> Result<u8, String> {
    ces_rules::flags(text).ok_or_else(|| "fin, syn, rst, psh, ack, urg, ece, cwr were expected".to_owned())
}

fn dscp(text: &str) -> Result<u8, String> {
    ces_rules::dscp(text).ok_or_else(|| "a name such as ef, or a number from 0 to 63 was expected".to_owned())
}

/// A host that comes at run time, as a file of the registry would say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct NewHost {
    /// Its name
    pub name: String,
    /// Its address
    pub address: Ipv4Addr,
    /// The MAC address that its packets must come from, or `any` [default: the first that is seen]
    #[arg(long)]
    pub mac: Option<String>,
    /// A group that it is in; may be said several times
    #[arg(long = "group")]
    #[serde(default)]
    pub groups: Vec<String>,
    /// Another name of it; may be said several times
    #[arg(long = "service")]
    #[serde(default)]
    pub services: Vec<String>,
    /// A policy of its; may be said several times, the first rule that fits decides
    #[arg(long = "policy")]
    #[serde(default)]
    pub policies: Vec<String>,
    /// What is reached of it from the plain Internet: all, tcp/80, icmp, or www.b.demo=tcp/80; may be said several times
    #[arg(long = "inbound")]
    #[serde(default)]
    pub inbound: Vec<String>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Show something.
    Show {
        /// What.
        topic: Topic,
    },
    /// Record the next packets that match.
    Trace {
        /// Source or destination, outer or inner.
        #[serde(default)]
        address: Option<Ipv4Addr>,
        /// Name of the port of arrival.
        #[serde(default)]
        port: Option<String>,
        /// The innermost IP protocol.
        #[serde(default)]
        protocol: Option<u8>,
        /// Only what is dropped.
        #[serde(default)]
        dropped: bool,
        /// How many.
        count: u32,
    },
    /// Ask which rule of the filter decides.
    Why(Why),
    /// Ask who had an address and port outside.
    Who(RecordQuestion),
    /// Read the configuration, hosts, policies, rules and certificates again.
    Reload,
    /// End a session by our tag.
    TerminateSession {
        /// Our session tag.
        tag: u32,
    },
    /// End all sessions with a peer.
    TerminateSessions {
        /// Its CES id.
        peer: String,
    },
    /// End signalling with a peer and all sessions.
    TerminatePeer {
        /// Its CES id.
        peer: String,
    },
    /// Refuse a host for a while.
    BlockHost {
        /// Its name.
        host: String,
        /// Seconds.
        seconds: u64,
    },
    /// Let a host act again.
    UnblockHost {
        /// Its name.
        host: String,
    },
    /// Refuse an address as a sender of CETP for a while.
    BlockAddress {
        /// The address.
        address: IpAddr,
        /// Seconds.
        seconds: u64,
    },
    /// Let an address in again.
    UnblockAddress {
        /// The address.
        address: IpAddr,
    },
    /// Have a host come; one of that name that came at run time gives way.
    AddHost(NewHost),
    /// Have a host go that came at run time.
    RemoveHost {
        /// Its name.
        name: String,
    },
    /// Forget what the resolver's cache knows.
    Flush,
}

impl Request {
    /// What it is, for whoever counts who takes the control thread's time.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Show { topic } => match topic {
                Topic::Ports => "show ports",
                Topic::Queues => "show queues",
                Topic::Workers => "show workers",
                Topic::Bindings => "show bindings",
                Topic::Peers => "show peers",
                Topic::Hosts => "show hosts",
                Topic::Dns => "show dns",
                Topic::Drops => "show drops",
                Topic::Tunnels => "show tunnels",
                Topic::Neighbours => "show neighbours",
                Topic::Nat => "show nat",
                Topic::Alg => "show alg",
                Topic::Rewrites => "show rewrites",
                Topic::Sessions => "show sessions",
                Topic::Holders => "show holders",
                Topic::Mappings => "show mappings",
                Topic::Rules => "show rules",
                Topic::Logged => "show logged",
                Topic::Inbound => "show inbound",
                Topic::Reputation => "show reputation",
                Topic::Services => "show services",
                Topic::Reservations => "show reservations",
                Topic::Pools => "show pools",
                Topic::Control => "show control",
                Topic::Dhcp => "show dhcp",
                Topic::Leases => "show leases",
                Topic::Names => "show names",
                Topic::Journal => "show journal",
            },
            Self::Trace { .. } => "trace",
            Self::Why(_) => "why",
            Self::Who(_) => "who",
            Self::Reload => "reload",
            Self::TerminateSession { .. } | Self::TerminateSessions { .. } | Self::TerminatePeer { .. } => {
                "terminate"
            }
            Self::BlockHost { .. } | Self::BlockAddress { .. } => "block",
            Self::UnblockHost { .. } | Self::UnblockAddress { .. } => "unblock",
            Self::AddHost(_) | Self::RemoveHost { .. } => "host",
            Self::Flush => "flush",
        }
    }
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// One of several; more follow.
    Item(serde_json::Value),
    /// Done.
    Ok(serde_json::Value),
    /// Not done, and why.
    Error(String),
}

impl Response {
    /// The line that goes over the socket.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| br#"{"error":"no JSON"}"#.to_vec());
        line.push(b'\n');
        line
    }
}

/// Pages of a list, put together: rows behind rows, or under the same heading.
#[derive(Default)]
pub struct PagedList(serde_json::Value);

impl PagedList {
    /// One more.
    pub fn add(&mut self, page: serde_json::Value) {
        fn join(all: &mut serde_json::Value, page: serde_json::Value) {
            use serde_json::Value;
            match (all, page) {
                (Value::Array(rows), Value::Array(more)) => rows.extend(more),
                (Value::Object(headings), Value::Object(more)) => {
                    for (heading, rows) in more {
                        join(headings.entry(heading).or_insert(Value::Null), rows);
                    }
                }
                (all, page) => *all = page,
            }
        }
        join(&mut self.0, page);
    }

    /// The whole list; where no page came, what the end of the answer says.
    pub fn whole(mut self, end: serde_json::Value) -> serde_json::Value {
        if self.0.is_null() {
            return end;
        }
        // Hosts come as they lie in the gateway; a person looks for a name.
        if let Some(rows) =
            self.0.as_array_mut().filter(|rows| rows.iter().all(|row| row["services"].is_array()))
        {
            rows.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back_and_unknown_ones_are_explained() {
        for request in [
            Request::Show { topic: Topic::Drops },
            Request::Trace {
                address: Some(Ipv4Addr::LOCALHOST),
                port: None,
                protocol: Some(1),
                dropped: true,
                count: 3,
            },
            Request::Reload,
            Request::BlockAddress { address: IpAddr::V4(Ipv4Addr::LOCALHOST), seconds: 9 },
        ] {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
        }
        assert_eq!(
            serde_json::from_str::<Request>(r#"{"do":"show","topic":"ports"}"#).unwrap(),
            Request::Show { topic: Topic::Ports }
        );
        let error = serde_json::from_str::<Request>(r#"{"do":"dance"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown variant `dance`"), "{error}");
        let error =
            serde_json::from_str::<Request>(r#"{"do":"show","topic":"moods"}"#).unwrap_err().to_string();
        assert!(error.contains("expected one of"), "{error}");
    }

    #[test]
    fn pages_are_put_together() {
        let mut pages = PagedList::default();
        pages.add(serde_json::json!([{ "name": "b", "services": [] }]));
        pages.add(serde_json::json!([{ "name": "a", "services": [] }]));
        let names: Vec<_> =
            pages.whole(serde_json::Value::Null)[0]["name"].as_str().map(str::to_owned).into_iter().collect();
        assert_eq!(names, ["a"]);
        let mut pages = PagedList::default();
        for page in [
            serde_json::json!({ "neighbours": [1] }),
            serde_json::json!({ "neighbours": [2] }),
            serde_json::json!({ "routes": [] }),
        ] {
            pages.add(page);
        }
        assert_eq!(
            pages.whole(serde_json::Value::Null),
            serde_json::json!({ "neighbours": [1, 2], "routes": [] })
        );
        assert_eq!(PagedList::default().whole(serde_json::json!("done")), serde_json::json!("done"));
    }
}
