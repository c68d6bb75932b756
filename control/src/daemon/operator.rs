//! What `cesctl` asks of the running gateway.

use super::house::House;
use super::listings::Listings;
use super::rules::Question;
use super::shortage::Of;
use super::tracing_packets::Tracing;
use super::views;
use crate::admin::protocol::{Request, Response, TRACE_MAX, Topic, Why};
use crate::slots::Key;
use ces_dataplane::filter::Seen;
use ces_dataplane::msg::{TraceFilter, TraceRecord};
use ces_dataplane::premises::Premises;
use ces_dataplane::tag::TagCipher;
use ces_dataplane::wire::ipv4;
use serde::Serialize;
use serde_json::{Value, json};

/// The longest block by hand, in seconds: a year.
const BLOCK_SECONDS: u64 = 366 * 86_400;

/// What there is to say of the Realm Gateway where there is none.
const NO_POOL: &str = "nobody is reached from the plain Internet: there is no section [realm_gateway]";

/// What is under way for operators.
pub(super) struct Operator {
    listings: Listings,
    tracing: Tracing,
    /// Cycles, busy and idle, of each worker at the last look.
    seen: Vec<(u64, u64)>,
}

fn ok(value: &impl Serialize) -> Response {
    match serde_json::to_value(value) {
        Ok(value) => Response::Ok(value),
        Err(error) => Response::Error(format!("cannot be said in JSON: {error}")),
    }
}

fn done(is_done: bool, said: String, refused: String) -> Response {
    if is_done { Response::Ok(Value::String(said)) } else { Response::Error(refused) }
}

impl Operator {
    /// Nothing under way. The cipher tells whose a traced packet's tag is.
    pub(super) fn new(cipher: TagCipher) -> Self {
        Self { listings: Listings::default(), tracing: Tracing::new(cipher), seen: Vec::new() }
    }

    /// Carries out a request and answers it; what takes time is answered later.
    pub(super) fn serve(&mut self, house: &mut House, client: Key, request: Request, now: u64) {
        let response = match request {
            Request::Show { topic } if self.listings.begin(client, topic, house) => return,
            Request::Who(asked) => match house.recorder.as_ref().map(|recorder| recorder.ask(asked)) {
                Some(Some(answer)) => return self.listings.begin_who(client, answer),
                Some(None) => Response::Error("no records are stored, or too many ask: try again".to_owned()),
                None => Response::Error("nothing is recorded: there is no section [records]".to_owned()),
            },
            Request::Trace { address, port, protocol, dropped, count } => {
                match trace_filter(house, port, count) {
                    Ok(port) => {
                        let filter = TraceFilter { port, address, protocol, dropped_only: dropped };
                        return self.tracing.start(house, client, filter, count);
                    }
                    Err(text) => Response::Error(text),
                }
            }
            other => self.respond(house, other, now),
        };
        house.pump(now);
        house.sources.admin.respond(client, &response);
    }

    fn respond(&mut self, house: &mut House, request: Request, now: u64) -> Response {
        let wrong_seconds = || Response::Error(format!("seconds: 1 to {BLOCK_SECONDS} was expected"));
        let gateway = &mut house.gateway;
        match request {
            Request::Show { topic } => self.show(house, topic, now),
            // Answered by the caller, since they take time.
            Request::Trace { .. }
            | Request::Reload
            | Request::AddHost(_)
            | Request::RemoveHost { .. }
            | Request::Who(_) => Response::Ok(Value::Null),
            Request::Why(why) => match question(house, why) {
                Ok(question) => ok(&house.rules.why(&Premises::new(&house.settings), &question)),
                Err(text) => Response::Error(text),
            },
            Request::TerminateSession { tag } => done(
                gateway.terminate_session(tag, now),
                format!("session {tag:08x} ended"),
                format!("there is no session {tag:08x}"),
            ),
            Request::TerminateSessions { peer } => {
                let count = gateway.terminate_sessions(&with_dot(peer), now);
                Response::Ok(json!(format!("{count} sessions ended")))
            }
            Request::TerminatePeer { peer } => {
                let peer = with_dot(peer);
                let ended = gateway.terminate_peer(&peer, now);
                done(ended, format!("{peer} ended"), format!("{peer} is not up"))
            }
            Request::BlockHost { seconds, .. } | Request::BlockAddress { seconds, .. }
                if !(1..=BLOCK_SECONDS).contains(&seconds) =>
            {
                wrong_seconds()
            }
            Request::BlockHost { host, seconds } => {
                let blocked = gateway.block_host(&with_dot(host.clone()), seconds, now);
                let said = format!("{host} is blocked for {seconds} s");
                done(blocked, said, format!("there is no host {host}"))
            }
            Request::UnblockHost { host } => {
                let unblocked = gateway.unblock_host(&with_dot(host.clone()), now);
                done(unblocked, format!("{host} may act again"), format!("{host} was not blocked"))
            }
            Request::BlockAddress { address, seconds } => {
                gateway.block_address(address, seconds, now);
                house.blocked.look_again();
                Response::Ok(json!(format!("{address} is blocked for {seconds} s")))
            }
            Request::UnblockAddress { address } => {
                let unblocked = gateway.unblock_address(address, now);
                house.blocked.look_again();
                done(unblocked, format!("{address} may connect again"), format!("{address} was not blocked"))
            }
            Request::Flush => {
                gateway.flush_cache();
                Response::Ok(json!("the cache is empty"))
            }
        }
    }

    fn show(&mut self, house: &House, topic: Topic, now: u64) -> Response {
        match topic {
            Topic::Ports => ok(&views::ports(house)),
            Topic::Queues => ok(&views::queues(house)),
            Topic::Workers => ok(&views::workers(house, &mut self.seen)),
            Topic::Peers => ok(&views::peers(house, now)),
            Topic::Dns => ok(&house.gateway.dns(now)),
            Topic::Drops => ok(&views::drops(house)),
            Topic::Tunnels => ok(&house.gateway.tunnels()),
            Topic::Nat => match views::nat(house) {
                Some(view) => ok(&view),
                None => Response::Error("there is no NAT44: there is no section [nat]".to_owned()),
            },
            Topic::Logged => ok(&house.rules.logged(now)),
            Topic::Alg => ok(&views::alg(house)),
            Topic::Rewrites => ok(&house.rewrites.rows(now)),
            Topic::Inbound => match house.gateway.inbound() {
                Some(view) => ok(&view),
                None => Response::Error(NO_POOL.to_owned()),
            },
            Topic::Reputation => match house.gateway.reputations(now) {
                Some(view) => ok(&view),
                None => Response::Error(NO_POOL.to_owned()),
            },
            Topic::Pools => ok(&house.gateway.pools()),
            Topic::Control => ok(&house.load.pieces()),
            Topic::Dhcp => ok(&house.dhcp.view()),
            Topic::Journal => match &house.journal {
                Some(journal) => ok(&journal.view()),
                None => Response::Error("no journal is kept: there is no section [state]".to_owned()),
            },
            // In pages, by the caller.
            Topic::Bindings
            | Topic::Hosts
            | Topic::Neighbours
            | Topic::Sessions
            | Topic::Holders
            | Topic::Mappings
            | Topic::Rules
            | Topic::Services
            | Topic::Leases
            | Topic::Names
            | Topic::Reservations => Response::Ok(Value::Null),
        }
    }

    /// There is little left of something: finds out who has it, and says so.
    pub(super) fn tell_shortage(&mut self, of: Of) {
        self.listings.begin_shortage(of);
    }

    /// A worker recorded a packet.
    pub(super) fn traced(&mut self, house: &mut House, worker: usize, record: &TraceRecord, now: u64) {
        self.tracing.record(house, worker, record, now);
    }

    /// Whether a list is being made.
    pub(super) fn is_listing(&self) -> bool {
        !self.listings.is_empty()
    }

    /// Goes on with the lists that are being made. True if there was anything to do.
    pub(super) fn list(&mut self, house: &mut House, now: u64) -> bool {
        for (token, binding) in std::mem::take(&mut house.told) {
            self.listings.told(token, binding);
        }
        for event in std::mem::take(&mut house.rows_told) {
            self.listings.told_row(&event);
        }
        self.listings.step(house, now)
    }

    /// What has to be looked at now and then.
    pub(super) fn handle_timeout(&mut self, house: &mut House) {
        self.tracing.handle_timeout(house);
    }
}

/// The number of the port of that name.
fn port_number(house: &House, name: &str) -> Result<u8, String> {
    let ports = &house.config.port;
    let place = ports.iter().position(|port| port.name == name);
    place.map(|number| number as u8).ok_or_else(|| {
        let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
        format!("no port {name:?}; there are {}", names.join(", "))
    })
}

/// What a trace looks for at a port of that name.
fn trace_filter(house: &House, port: Option<String>, count: u32) -> Result<Option<u8>, String> {
    let number = port.map(|name| port_number(house, &name)).transpose()?;
    if (1..=TRACE_MAX).contains(&count) {
        Ok(number)
    } else {
        Err(format!("count: 1 to {TRACE_MAX} was expected"))
    }
}

/// What the rules are asked. A port of the gateway that nobody names is the one to which the routes lead.
fn question(house: &House, why: Why) -> Result<Question, String> {
    let by = |name: Option<String>, address| match name {
        Some(name) => port_number(house, &name),
        None => Ok(house.sources.learnt.routes().lead(address).map_or(u8::MAX, |(port, _)| port)),
    };
    let mark = if why.proto == ipv4::ICMP { why.port as u8 } else { why.flags };
    Ok(Question {
        source: why.source,
        destination: why.destination,
        protocol: why.proto,
        source_port: why.source_port,
        port: why.port,
        comes_by: by(why.comes_by, why.source)?,
        goes_by: by(why.goes_by, why.destination)?,
        seen: Seen { mark, dscp: why.dscp, is_fragment: why.fragmented, length: why.length },
    })
}

/// CES ids and host names end with a dot; people leave it out.
fn with_dot(mut name: String) -> String {
    name.make_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}
