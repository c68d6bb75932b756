//! A gateway and what is around it: a worker's tables that carry out its commands, and the world's name server.

use crate::control::realms::{self, SESSIONS, Shape, Side};
use ces_cetp::engine::{ConnId, Endpoint};
use ces_dataplane::settings as dataplane;
use ces_dataplane::state::State;
use ces_dataplane::tag::Layout;
use ces_dns::message::Transport;
use ces_gateway::{Entry, Gateway, Level, Output, Platform, QueryToken, Route};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The router outside.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// Log lines kept, to say what went wrong.
const LINES: usize = 5;

/// What the gateway wants of its transport.
#[derive(Debug)]
pub enum Cetp {
    /// Open a connection.
    Connect(ConnId, Endpoint, Arc<str>),
    /// Send bytes.
    Send(ConnId, Vec<u8>),
    /// Close a connection.
    Close(ConnId),
}

/// A gateway with its surroundings.
pub struct Node {
    /// The gateway.
    pub gateway: Box<Gateway>,
    /// Answers that have come out, in order; `None` = no answer is given.
    pub answers: Vec<(QueryToken, Option<Vec<u8>>)>,
    /// What the transport has to do, in order.
    pub cetp: VecDeque<Cetp>,
    /// The first warnings and errors of the log.
    pub complaints: Vec<String>,
    state: State,
    world: Option<Box<Gateway>>,
    hosts: u32,
}

fn gateway(side: Side, shape: Shape, seed: u8, now: u64) -> Result<(Box<Gateway>, Platform), String> {
    let settings = realms::settings(side, &shape)?;
    let (registry, policies) = realms::registry(side, &shape, &settings)?;
    let platform = Platform {
        workers: 1,
        bindings_per_worker: SESSIONS,
        limited_per_worker: SESSIONS,
        layout: Layout::new(1, SESSIONS),
        tag_key: [u32::from(seed), 2, 3, 4],
        tunnel_key: [u64::from(seed), 5],
        tunnels: 1024,
        neighbours: 16_384,
        forwards: false,
        addresses: [side.locator(), side.endpoint()].map(Into::into).to_vec(),
        outer_mtu: 1500,
        upstream_sockets: 4,
        seed: [seed; 32],
    };
    let mut gateway = Gateway::new(settings, registry, policies, platform.clone(), now)?;
    let network = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    let routes = [
        Route { network: network("192.168.0.0/16")?, via: None, port: 0 },
        Route { network: network("0.0.0.0/0")?, via: Some(ROUTER.into()), port: 1 },
    ];
    gateway.set_routes(&routes, 0);
    Ok((Box::new(gateway), platform))
}

impl Node {
    /// A gateway. The initiator's resolver is answered by a name server that serves the responder's zone.
    pub fn new(side: Side, shape: &Shape, now: u64) -> Result<Self, String> {
        let (gateway_made, platform) = gateway(side, *shape, side as u8 + 1, now)?;
        let world = match side {
            Side::Initiator => Some(gateway(Side::Responder, *shape, 9, now)?.0),
            Side::Responder => None,
        };
        let port = |side, mac, address, prefix| dataplane::PortSettings {
            side,
            mac,
            addresses: vec![(address, prefix)],
            networks: Vec::new(),
            vlan: None,
            mtu: 1500,
        };
        let ports = vec![
            port(dataplane::Side::Inside, [2, 0, 0, 0, 0, 1], Ipv4Addr::new(192, 168, 0, 1), 16),
            port(dataplane::Side::Outside, [2, 0, 0, 0, 1, 1], side.locator(), 24),
        ];
        let mut settings = dataplane::Settings::new(ports, SESSIONS);
        settings.layout = platform.layout;
        settings.tag_key = platform.tag_key;
        settings.neighbours = platform.neighbours;
        settings.tunnels = platform.tunnels;
        let state = State::new(&settings).map_err(|error| error.to_string())?;
        let mut node = Self {
            gateway: gateway_made,
            answers: Vec::new(),
            cetp: VecDeque::new(),
            complaints: Vec::new(),
            state,
            world,
            hosts: shape.hosts,
        };
        node.pump(now);
        Ok(node)
    }

    /// Hosts of the realm.
    pub fn hosts(&self) -> u32 {
        self.hosts
    }

    /// Bindings in the worker's tables.
    pub fn bindings(&self) -> u64 {
        self.state.counters.bindings_live
    }

    /// Carries out what the gateway says until it says nothing more; what is for others waits in the queues.
    pub fn pump(&mut self, now: u64) {
        loop {
            while let Some(output) = self.gateway.poll_output() {
                self.carry(output, now);
            }
            let mut told = false;
            while let Some(event) = self.state.peek_event() {
                self.gateway.handle_event(0, *event, now);
                self.state.pop_event();
                told = true;
            }
            if !told {
                return;
            }
        }
    }

    fn carry(&mut self, output: Output, now: u64) {
        match output {
            Output::Answer { token, bytes } => self.answers.push((token, Some(bytes))),
            Output::NoAnswer { token } => self.answers.push((token, None)),
            Output::Dataplane { command, .. } => {
                while !self.state.ready() {
                    let Some(event) = self.state.peek_event() else { break };
                    self.gateway.handle_event(0, *event, now);
                    self.state.pop_event();
                }
                self.state.command(command, now);
            }
            // What goes to names needs no routes.
            Output::Routes(_) => {}
            Output::Upstream(transmit) => {
                if let Some(bytes) = self.world.as_mut().and_then(|world| ask(world, &transmit.bytes, now)) {
                    self.gateway.handle_upstream(transmit.server, transmit.socket, &bytes, now);
                }
            }
            Output::CetpConnect { conn, endpoint, ces_id } => {
                self.cetp.push_back(Cetp::Connect(conn, endpoint, ces_id));
            }
            Output::CetpSend { conn, bytes } => self.cetp.push_back(Cetp::Send(conn, bytes)),
            Output::CetpClose { conn } => self.cetp.push_back(Cetp::Close(conn)),
            Output::ResolveNeighbour { port, address } => {
                let [a, b, c, d] = address.v4().octets();
                self.gateway.set_neighbour(port, address, Some([6, 0, a, b, c, d]));
            }
            Output::Binding { .. }
            | Output::AskOwner { .. }
            | Output::Changed { .. }
            | Output::UpstreamClose(_) => {}
            Output::Log(entry) => self.note(&entry),
        }
    }

    fn note(&mut self, entry: &Entry) {
        if entry.level == Level::Warn && self.complaints.len() < LINES {
            self.complaints.push(entry.to_string());
        }
    }
}

/// Asks a gateway as a resolver does.
fn ask(world: &mut Gateway, query: &[u8], now: u64) -> Option<Vec<u8>> {
    let client = SocketAddr::new(realms::upstream(), 5353);
    world.handle_dns(ces_dns::outcome::Side::Outside, Transport::Udp, client, query, QueryToken(0), now);
    let mut answer = None;
    while let Some(output) = world.poll_output() {
        if let Output::Answer { bytes, .. } = output {
            answer = Some(bytes);
        }
    }
    answer
}
