//! A small world in memory under a virtual clock: gateways, their hosts' queries, the resolver that knows where each
//! zone is served, and the connections between gateways.
//!
//! Workers are a model (what is inserted stands until it is removed or a test ends it) or, for `packets.rs`, real ones.

#![allow(dead_code)] // each test program uses a part of it

use ces_cetp::engine::{ConnId, PeerIdentity};
use ces_dataplane::egress::Egress;
use ces_dataplane::frame::{Buffers, Frame, MemoryFrame};
use ces_dataplane::msg::{Binding, BindingStats, Command, EndReason, Event, Far, InsertError};
use ces_dataplane::packet::Packet;
use ces_dataplane::path::{process, process_arrival};
use ces_dataplane::settings::{PortSettings, Side, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::tag::{Handle, Layout};
use ces_dataplane::verdict::{Arrival, Custody, Verdict};
use ces_dns::answer::{Answer, Voice};
use ces_dns::message::{Query, Transport, parse};
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::resolver::Transmit;
use ces_gateway::counters::NegotiationOutcome;
use ces_gateway::log::LogLine;
use ces_gateway::{Change, CoreSettings, Gateway, LearntRoute, Output, Platform, QueryToken, SourceFile};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{RData, Record, RecordType};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Slots for bindings of a worker.
const SLOTS: u32 = 1 << 16;
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000_000_000;

/// What the resolver does with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// Answers: delegated zones by asking their gateway, `legacy.example.` by itself, NXDOMAIN for the rest.
    Answers,
    /// Says nothing.
    Silent,
    /// Refuses.
    Refuses,
}

/// What upstream does with one question, whatever else it does.
#[derive(Clone, Debug)]
pub(crate) enum Odd {
    /// Says nothing.
    Silent,
    /// Says that.
    Code(ResponseCode),
    /// Answers with these records of the name.
    Says(Vec<RData>),
    /// The same, with addresses of other names beside it.
    With(Vec<RData>, Vec<(String, Ipv4Addr)>),
    /// Answers that it is another name, which has this address.
    Alias(String, Ipv4Addr),
    /// Does so after so many nanoseconds.
    After(u64, Box<Odd>),
    /// Asks whoever serves the name.
    Asks,
}

/// One gateway and what is around it.
pub(crate) struct Node {
    pub gateway: Gateway,
    pub ces_id: String,
    pub outer: Ipv4Addr,
    pub settings: CoreSettings,
    pub zone: String,
    /// What the workers hold.
    pub bindings: BTreeMap<Handle, Binding>,
    pairs: HashSet<(Ipv4Addr, Ipv4Addr)>,
    /// Every command, in order.
    pub commands: Vec<(u32, Command)>,
    /// Answers by token.
    pub answers: HashMap<u64, Option<Vec<u8>>>,
    /// Lines of the log.
    pub log: Vec<LogLine>,
    /// Every change of sessions, with its time.
    pub changes: Vec<(u64, Change)>,
    pub other: Vec<Output>,
    /// Counters that the worker answers with.
    pub stats: BindingStats,
    /// Insertions fail with this.
    pub insert_error: Option<InsertError>,
    /// Commands are kept back: the worker answers nothing.
    pub workers_stuck: bool,
    /// Real workers, in place of the model.
    pub workers: Vec<State>,
    alive: bool,
}

/// The world.
pub(crate) struct Lab {
    pub now: u64,
    pub nodes: Vec<Node>,
    pub upstream: Upstream,
    /// CETP messages are lost from now on, connections stay.
    pub mute: bool,
    /// Connections cannot be opened.
    pub unreachable: bool,
    /// Where connections neither come up nor fail.
    pub tarpits: HashSet<IpAddr>,
    /// A name that stands for another one.
    pub alias: Option<(String, String)>,
    /// Questions that upstream treats in a way of their own.
    odd: HashMap<(String, RecordType), Odd>,
    pub upstream_queries: Vec<(String, RecordType)>,
    pub cetp_frames: usize,
    wires: HashMap<(usize, ConnId), (usize, ConnId)>,
    next_token: u64,
    /// One-way delay of everything that crosses, nanoseconds.
    pub delay: u64,
    late: BTreeMap<(u64, u64), Late>,
    late_count: u64,
    lives: u8,
}

#[derive(Debug)]
enum Late {
    Upstream { to: usize, transmit: Transmit, odd: Odd },
    Cetp { to: usize, conn: ConnId, bytes: Vec<u8> },
}

pub(crate) fn settings(name: &str, ces_id: &str, zone: &str, outer: Ipv4Addr) -> CoreSettings {
    let text = format!(
        r#"
        [realm]
        name = "{name}"
        ces_id = "{ces_id}"
        zones = ["{zone}"]
        networks = ["192.168.0.0/24"]
        [dns]
        upstreams = ["203.0.113.53"]
        name_server = "ns.{zone}"
        addresses = ["{outer}"]
        [cetp]
        endpoints = [{{ address = "{outer}", port = 48001 }}]
        locators = [{{ address = "{outer}" }}]
        "#
    );
    let settings: CoreSettings = toml::from_str(&text).unwrap();
    assert_eq!(settings.check(&[outer]), []);
    settings
}

pub(crate) fn platform(seed: u8, workers: u32) -> Platform {
    Platform {
        workers,
        bindings_per_worker: SLOTS,
        limited_per_worker: SLOTS,
        reservations_per_worker: SLOTS,
        layout: Layout::new(workers, SLOTS),
        tag_key: [u32::from(seed), 2, 3, 4],
        tunnel_key: [u64::from(seed), 5],
        tunnels: 64,
        neighbours: 1024,
        forwards: false,
        addresses: vec![GATEWAY.into()],
        outer_mtu: 1500,
        upstream_sockets: 4,
        has_aes: true,
        start: Some(1),
        seed: [seed; 32],
    }
}

pub(crate) fn hosts(text: &str) -> Vec<SourceFile> {
    vec![SourceFile { path: "hosts.toml".into(), text: text.into() }]
}

pub(crate) fn start(settings: &CoreSettings, files: &[SourceFile], platform: Platform, now: u64) -> Gateway {
    let (registry, policies) = ces_gateway::registry::load(files, settings).unwrap();
    let mut gateway = Gateway::new(settings.clone(), registry, policies, platform, now).unwrap();
    let routes = [
        LearntRoute { network: "192.168.0.0/24".parse().unwrap(), via: None, port: 0 },
        LearntRoute { network: "0.0.0.0/0".parse().unwrap(), via: Some([192, 0, 2, 254].into()), port: 1 },
    ];
    gateway.set_routes(Arc::new(routes.into_iter().collect()), 0);
    gateway
}

pub(crate) fn port_mac(node: u8, port: u8) -> [u8; 6] {
    [2, 0, 0, 0, node, port]
}

pub(crate) fn host_mac(address: Ipv4Addr) -> [u8; 6] {
    [2, 0, 0, 1, 0, address.octets()[3]]
}

fn worker_settings(node: u8, outer: Ipv4Addr, worker: u32, workers: u32) -> WorkerSettings {
    let port = |side, number, address, networks| PortSettings {
        side,
        mac: port_mac(node, number),
        addresses: vec![(address, 24)],
        networks,
        vlan: None,
        mtu: 1500,
    };
    let realm = (Ipv4Addr::new(192, 168, 0, 0), 24);
    let inside = port(Side::Inside, 0, Ipv4Addr::new(192, 168, 0, 1), vec![realm]);
    let outside = port(Side::Outside, 1, outer, Vec::new());
    let platform = platform(node + 1, workers);
    let mut settings = WorkerSettings::new(vec![inside, outside], platform.bindings_per_worker);
    settings.tag_key = platform.tag_key;
    settings.layout = platform.layout;
    settings.tunnels = platform.tunnels;
    settings.neighbours = platform.neighbours;
    settings.worker = worker;
    settings.workers = workers;
    settings.proxy_networks = vec![(Ipv4Addr::new(10, 64, 0, 0), 16)];
    settings
}

pub(crate) const A_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const B_OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
pub(crate) const H1: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
pub(crate) const H2: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 11);
pub(crate) const H3: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 12);

/// The same private addresses in both realms.
pub(crate) fn realm(zone: &str) -> String {
    let far = if zone == "a.demo" { "b.demo" } else { "a.demo" };
    format!(
        r#"
        [[host]]
        name = "h1.{zone}"
        address = "192.168.0.10"
        policy = ["office"]
        services = ["www.h1.{zone}"]

        [[host]]
        name = "h2.{zone}"
        address = "192.168.0.11"
        policy = ["office", "choosy"]

        # No policy: reaches nobody, is reached by nobody.
        [[host]]
        name = "h3.{zone}"
        address = "192.168.0.12"

        [[policy]]
        name = "office"
        outbound.to = ["*"]
        inbound.from = ["h1.{far}", "h1.{zone}"]

        [[policy]]
        name = "choosy"
        inbound = {{ from = "h2.{far}", protocol = "tcp", port = 80, hard_ttl = 60, idle_ttl = 20, rate_bps = "1M" }}
        "#
    )
}

impl Lab {
    /// Realms a and b with the same private addresses.
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, &realm("a.demo"), &realm("b.demo"))
    }

    pub(crate) fn with(change: impl Fn(&mut CoreSettings), a: &str, b: &str) -> Self {
        Self::build(change, a, b, 1, false)
    }

    /// Realms a and b with real workers.
    pub(crate) fn with_workers(workers: u32) -> Self {
        Self::build(|_| {}, &realm("a.demo"), &realm("b.demo"), workers, true)
    }

    fn build(change: impl Fn(&mut CoreSettings), a: &str, b: &str, workers: u32, real: bool) -> Self {
        let mut lab = Self {
            now: S,
            nodes: Vec::new(),
            upstream: Upstream::Answers,
            mute: false,
            unreachable: false,
            tarpits: HashSet::new(),
            alias: None,
            odd: HashMap::new(),
            upstream_queries: Vec::new(),
            cetp_frames: 0,
            wires: HashMap::new(),
            next_token: 0,
            delay: 0,
            late: BTreeMap::new(),
            late_count: 0,
            lives: 0,
        };
        for (i, (zone, outer, text)) in
            [("a.demo", A_OUTER, a), ("b.demo", B_OUTER, b)].into_iter().enumerate()
        {
            let ces_id = format!("ces{zone}.");
            let mut settings = settings(&zone[..1], &ces_id, zone, outer);
            change(&mut settings);
            let gateway = start(&settings, &hosts(text), platform(i as u8 + 1, workers), lab.now);
            let real = (0..if real { workers } else { 0 })
                .map(|worker| State::new(&worker_settings(i as u8, outer, worker, workers)).unwrap());
            lab.nodes.push(Node {
                gateway,
                ces_id,
                outer,
                settings,
                zone: format!("{zone}."),
                bindings: BTreeMap::new(),
                pairs: HashSet::new(),
                commands: Vec::new(),
                answers: HashMap::new(),
                log: Vec::new(),
                changes: Vec::new(),
                other: Vec::new(),
                stats: BindingStats::default(),
                insert_error: None,
                workers_stuck: false,
                workers: real.collect(),
                alive: true,
            });
        }
        lab.settle();
        lab
    }

    /// A host asks; returns the token.
    pub(crate) fn query(&mut self, node: usize, host: Ipv4Addr, name: &str, qtype: RecordType) -> u64 {
        self.query_as(node, QuerySide::Inside, Transport::Udp, host, name, qtype)
    }

    pub(crate) fn query_as(
        &mut self,
        node: usize,
        side: QuerySide,
        transport: Transport,
        client: Ipv4Addr,
        name: &str,
        qtype: RecordType,
    ) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let bytes = question(name, qtype, token as u16);
        self.raw_query(node, side, transport, client, &bytes, token);
        token
    }

    pub(crate) fn raw_query(
        &mut self,
        node: usize,
        side: QuerySide,
        transport: Transport,
        client: Ipv4Addr,
        bytes: &[u8],
        token: u64,
    ) {
        let client = SocketAddr::new(client.into(), 5353);
        let now = self.now;
        self.nodes[node].gateway.handle_dns(side, transport, client, bytes, QueryToken(token), now);
        self.settle();
    }

    /// A host asks and waits for the answer.
    pub(crate) fn ask(&mut self, node: usize, host: Ipv4Addr, name: &str, qtype: RecordType) -> Reply {
        let token = self.query(node, host, name, qtype);
        self.wait(node, token)
    }

    /// The answer's address.
    pub(crate) fn address(&mut self, node: usize, host: Ipv4Addr, name: &str) -> Option<Ipv4Addr> {
        self.ask(node, host, name, RecordType::A).address
    }

    /// Lets time pass until the answer is there; 10 s at most.
    pub(crate) fn wait(&mut self, node: usize, token: u64) -> Reply {
        let until = self.now + 10 * S;
        while !self.nodes[node].answers.contains_key(&token) {
            assert!(self.now < until, "no answer within 10 s");
            self.advance(10 * MS);
        }
        self.reply(node, token).expect("no answer is wanted")
    }

    /// The answer, if there is one already.
    pub(crate) fn reply(&self, node: usize, token: u64) -> Option<Reply> {
        self.nodes[node].answers.get(&token)?.as_ref().map(|bytes| Reply::read(bytes))
    }

    /// Lets that much time pass, timers and all.
    pub(crate) fn advance(&mut self, ns: u64) {
        let end = self.now + ns;
        self.settle();
        loop {
            let timers = self.nodes.iter().filter(|n| n.alive).filter_map(|n| n.gateway.poll_timeout());
            let due = timers.chain(self.late.keys().next().map(|key| key.0)).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let now = self.now;
                match entry.remove() {
                    Late::Cetp { to, conn, bytes } => {
                        self.nodes[to].gateway.handle_cetp_received(conn, &bytes, now);
                    }
                    Late::Upstream { to, transmit, odd } => self.answer_oddly(to, &transmit, odd),
                }
            }
            for i in 0..self.nodes.len() {
                if self.nodes[i].alive && self.nodes[i].gateway.poll_timeout().is_some_and(|t| t <= self.now)
                {
                    let now = self.now;
                    self.nodes[i].gateway.handle_timeout(now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    /// Carries everything to where it belongs until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut work = VecDeque::new();
            for (i, node) in self.nodes.iter_mut().enumerate() {
                while let Some(output) = node.gateway.poll_output() {
                    work.push_back((i, output));
                }
            }
            if work.is_empty() && !self.do_chores() {
                return;
            }
            for (i, output) in work {
                self.carry(i, output);
            }
        }
    }

    /// Has who is at something go on with it; false if nobody is.
    fn do_chores(&mut self) -> bool {
        let mut any = false;
        for node in self.nodes.iter_mut().filter(|node| node.alive && node.gateway.has_chores()) {
            // A piece at each moment.
            self.now += 1;
            node.gateway.do_chores(self.now);
            any = true;
        }
        any
    }

    fn carry(&mut self, i: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Answer { token, bytes } => {
                assert!(self.nodes[i].answers.insert(token.0, Some(bytes)).is_none(), "answered twice");
            }
            Output::NoAnswer { token } => {
                assert!(self.nodes[i].answers.insert(token.0, None).is_none(), "answered twice");
            }
            Output::Dataplane { worker, command } => self.work(i, worker, command),
            Output::Key { worker, mut change } => {
                if let Some(state) = self.nodes[i].workers.get_mut(worker as usize) {
                    state.change_key(&mut change);
                }
            }
            Output::Upstream(transmit) => {
                let query = parse(&transmit.bytes, Transport::Udp).expect("a well-formed question");
                let name = ces_dns::fqdn(&query.name);
                if let Some(odd) = self.odd.get(&(name.clone(), query.qtype)).cloned() {
                    self.upstream_queries.push((name, query.qtype));
                    self.answer_oddly(i, &transmit, odd);
                } else if let Some(bytes) = self.resolve(&transmit.bytes) {
                    self.nodes[i].gateway.handle_upstream(transmit.server, transmit.socket, &bytes, now);
                }
            }
            Output::CetpConnect { endpoint, .. } if self.tarpits.contains(&endpoint.addr) => {}
            Output::CetpConnect { conn, endpoint, ces_id } => {
                let far = self.nodes.iter().position(|n| n.alive && IpAddr::V4(n.outer) == endpoint.addr);
                let Some(far) = far.filter(|_| !self.unreachable) else {
                    return self.nodes[i].gateway.handle_cetp_closed(conn, now);
                };
                let identity = |ces_id: &str| PeerIdentity { ces_id: Some(ces_id.into()) };
                let near = SocketAddr::new(self.nodes[i].outer.into(), 40_000 + conn.0 as u16);
                let there = SocketAddr::new(self.nodes[far].outer.into(), endpoint.port);
                assert_eq!(*ces_id, *self.nodes[far].ces_id);
                let me = identity(&self.nodes[i].ces_id);
                match self.nodes[far].gateway.handle_cetp_accepted(me, near, now) {
                    Ok(accepted) => {
                        self.wires.insert((i, conn), (far, accepted));
                        self.wires.insert((far, accepted), (i, conn));
                        let it = identity(&self.nodes[far].ces_id);
                        self.nodes[i].gateway.handle_cetp_connected(conn, it, there, now);
                    }
                    Err(_) => self.nodes[i].gateway.handle_cetp_closed(conn, now),
                }
            }
            Output::CetpSend { conn, bytes } => {
                self.cetp_frames += 1;
                if let Some((to, conn)) = self.wires.get(&(i, conn)).copied().filter(|_| !self.mute) {
                    if self.delay > 0 {
                        self.late_count += 1;
                        self.late.insert((now + self.delay, self.late_count), Late::Cetp { to, conn, bytes });
                    } else if self.nodes[to].alive {
                        self.nodes[to].gateway.handle_cetp_received(conn, &bytes, now);
                    }
                }
            }
            Output::CetpClose { conn } => {
                if let Some(far) = self.wires.remove(&(i, conn)) {
                    self.wires.remove(&far);
                    if self.nodes[far.0].alive {
                        self.nodes[far.0].gateway.handle_cetp_closed(far.1, now);
                    }
                }
            }
            Output::Log(entry) => self.nodes[i].log.push(entry),
            Output::Changed { at, change } => self.nodes[i].changes.push((at, *change)),
            Output::ResolveNeighbour { port, address } if !self.nodes[i].workers.is_empty() => {
                // The kernel answers at once: hosts have a MAC address of their number, the other gateway its port's.
                let mac = if port == 0 { host_mac(address.v4()) } else { port_mac(1 - i as u8, 1) };
                self.nodes[i].gateway.set_neighbour(port, address, Some(mac));
            }
            other => self.nodes[i].other.push(other),
        }
    }

    /// From now on upstream does so with that question.
    pub(crate) fn odd(&mut self, name: &str, qtype: RecordType, odd: Odd) {
        self.odd.insert((ces_dns::fqdn(&ces_dns::name(name).unwrap()), qtype), odd);
    }

    fn answer_oddly(&mut self, to: usize, transmit: &Transmit, odd: Odd) {
        let query = parse(&transmit.bytes, Transport::Tcp).expect("a well-formed question");
        let owned = |data: Vec<RData>| -> Vec<Record> {
            data.into_iter().map(|data| Record::from_rdata(query.name.clone(), 30, data)).collect()
        };
        let answer = |records: Vec<Record>, additional| {
            Answer { additional, ..Answer::records(Voice::Recursive, records) }.emit(&query)
        };
        let bytes = match odd {
            Odd::Silent => None,
            Odd::Code(code) => Some(ces_dns::answer::error(&query, code)),
            Odd::Says(data) => Some(answer(owned(data), Vec::new())),
            Odd::With(data, beside) => {
                let record = |(name, ip): (String, Ipv4Addr)| {
                    Record::from_rdata(ces_dns::name(&name).unwrap(), 30, RData::A(A(ip)))
                };
                Some(answer(owned(data), beside.into_iter().map(record).collect()))
            }
            Odd::Alias(target, ip) => {
                let target = ces_dns::name(&target).unwrap();
                let mut records = owned(vec![RData::CNAME(CNAME(target.clone()))]);
                records.push(Record::from_rdata(target, 30, RData::A(A(ip))));
                Some(answer(records, Vec::new()))
            }
            Odd::Asks => self.resolve(&transmit.bytes),
            Odd::After(ns, odd) => {
                self.late_count += 1;
                let late = Late::Upstream { to, transmit: transmit.clone(), odd: *odd };
                self.late.insert((self.now + ns, self.late_count), late);
                None
            }
        };
        if let Some(bytes) = bytes {
            let now = self.now;
            self.nodes[to].gateway.handle_upstream(transmit.server, transmit.socket, &bytes, now);
        }
    }

    fn work(&mut self, i: usize, worker: u32, command: Command) {
        let now = self.now;
        let node = &mut self.nodes[i];
        node.commands.push((worker, command));
        if node.workers_stuck {
            return;
        }
        if !node.workers.is_empty() {
            assert!(node.workers[worker as usize].ready());
            node.workers[worker as usize].command(command, now);
            return self.events(i);
        }
        let event = match command {
            Command::InsertBinding(handle, _) if node.insert_error.is_some() => {
                node.insert_error.map(|error| Event::InsertFailed(handle, error))
            }
            Command::InsertBinding(handle, binding) => {
                assert!(node.pairs.insert((binding.host, binding.proxy)), "pair taken");
                assert!(node.bindings.insert(handle, binding).is_none(), "slot taken");
                None
            }
            Command::RemoveBinding(handle) => node.bindings.remove(&handle).map(|binding| {
                node.pairs.remove(&(binding.host, binding.proxy));
                Event::BindingEnded(handle, EndReason::Removed, BindingStats::default())
            }),
            Command::PinBinding(handle, mac) => {
                node.bindings.entry(handle).and_modify(|binding| binding.mac = mac);
                None
            }
            Command::ReadBinding(handle) => {
                Some(Event::BindingStats(handle, node.bindings.get(&handle).map(|_| node.stats)))
            }
            _ => None,
        };
        if let Some(event) = event {
            node.gateway.handle_event(worker, event, now);
        }
    }

    /// What the real workers have to say.
    fn events(&mut self, i: usize) {
        let (now, node) = (self.now, &mut self.nodes[i]);
        for worker in 0..node.workers.len() {
            while let Some(event) = node.workers[worker].peek_event().copied() {
                node.workers[worker].pop_event();
                node.gateway.handle_event(worker as u32, event, now);
            }
        }
    }

    /// Lets time pass, second by second, for real workers too.
    pub(crate) fn age(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.advance(S);
            for i in 0..self.nodes.len() {
                let now = self.now;
                // A turn of the loop does a bounded part of the work.
                for state in &mut self.nodes[i].workers {
                    (0..4096).for_each(|_| state.tick(now));
                }
                self.events(i);
            }
            self.settle();
        }
    }

    /// A frame arrives at a real worker: what becomes of it, and what it is then. The queue may be a wrong worker's.
    pub(crate) fn frame(&mut self, i: usize, port: u8, queue: usize, frame: &[u8]) -> (Verdict, Vec<u8>) {
        struct None_;
        impl Buffers<MemoryFrame> for None_ {
            fn allocate(&mut self) -> Option<MemoryFrame> {
                None
            }
            fn send(&mut self, _: Egress, _: MemoryFrame, _: &Packet) {}
        }
        let mut memory = MemoryFrame::new(frame);
        let (now, node) = (self.now, &mut self.nodes[i]);
        let mut verdict = process(&mut node.workers[queue], port, &mut memory, &mut None_, now);
        if let Verdict::HandOff(owner) = verdict {
            let arrival = Arrival { is_handed: true, custody: Custody::Opened, ..Arrival::at(port, now) };
            let (frames, verdicts) = (std::slice::from_mut(&mut memory), std::slice::from_mut(&mut verdict));
            let state = &mut node.workers[owner as usize];
            process_arrival(state, arrival, frames, verdicts, &mut None_);
            assert!(!matches!(verdict, Verdict::HandOff(_)), "handed over twice");
        }
        self.events(i);
        self.settle();
        (verdict, memory.data().to_vec())
    }

    /// A binding ends at the worker by itself.
    pub(crate) fn end(&mut self, i: usize, handle: Handle, reason: EndReason) {
        let binding = self.nodes[i].bindings.remove(&handle).expect("it stands");
        self.nodes[i].pairs.remove(&(binding.host, binding.proxy));
        let event = Event::BindingEnded(handle, reason, BindingStats::default());
        let now = self.now;
        self.nodes[i].gateway.handle_event(0, event, now);
        self.settle();
    }

    /// A gateway dies; its connections break.
    pub(crate) fn kill(&mut self, i: usize) {
        self.nodes[i].alive = false;
        let now = self.now;
        let broken: Vec<_> =
            self.wires.iter().filter(|(from, _)| from.0 == i).map(|(from, to)| (*from, *to)).collect();
        for (from, to) in broken {
            self.wires.remove(&from);
            self.wires.remove(&to);
            self.nodes[to.0].gateway.handle_cetp_closed(to.1, now);
        }
        self.settle();
    }

    /// A gateway comes back with its files and with what its sessions were: a replay of all changes.
    pub(crate) fn resume(&mut self, i: usize, text: &str) -> ces_gateway::Restored {
        let node = &mut self.nodes[i];
        self.lives += 1;
        let platform = Platform { seed: [128 + self.lives; 32], ..platform(i as u8 + 1, 1) };
        let (settings, now) = (node.settings.clone(), self.now);
        let mut gateway = start(&settings, &hosts(text), platform, now);
        let mut sessions = gateway.sessions().clone();
        for (at, change) in &node.changes {
            sessions.apply(change, *at).unwrap();
        }
        let restored = gateway.restore(sessions, now);
        node.gateway = gateway;
        node.bindings.clear();
        node.pairs.clear();
        node.commands.clear();
        node.alive = true;
        self.settle();
        restored
    }

    /// A gateway comes back with nothing but its files.
    pub(crate) fn restart(&mut self, i: usize, text: &str) {
        let settings = self.nodes[i].settings.clone();
        // Other random numbers than before: a session of the last life must not fit one of this.
        self.lives += 1;
        self.nodes[i].gateway = start(&settings, &hosts(text), platform(16 + self.lives, 1), self.now);
        self.nodes[i].bindings.clear();
        self.nodes[i].pairs.clear();
        self.nodes[i].commands.clear();
        self.nodes[i].changes.clear();
        self.nodes[i].alive = true;
        self.settle();
    }

    /// What the name server of the world answers.
    fn resolve(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let query = parse(bytes, Transport::Udp).expect("the gateway asks well-formed questions");
        let name = ces_dns::fqdn(&query.name);
        self.upstream_queries.push((name.clone(), query.qtype));
        match self.upstream {
            Upstream::Silent => return None,
            Upstream::Refuses => return Some(ces_dns::answer::refused(&query)),
            Upstream::Answers => {}
        }
        if let Some((_, target)) = self.alias.clone().filter(|(alias, _)| *alias == name) {
            let inner = self.resolve(&question(&target, query.qtype, 1))?;
            let inner = Message::from_vec(&inner).ok()?;
            let target = ces_dns::name(&target).unwrap();
            let cname = Record::from_rdata(query.name.clone(), 60, RData::CNAME(CNAME(target)));
            let records = std::iter::once(cname).chain(inner.answers).collect();
            return Some(Answer::records(Voice::Recursive, records).emit(&query));
        }
        let served = self.nodes.iter().position(|node| node.alive && name.ends_with(&node.zone));
        if let Some(i) = served {
            let client = SocketAddr::from(([203, 0, 113, 53], 5353));
            let token = QueryToken(u64::MAX);
            let (now, node) = (self.now, &mut self.nodes[i]);
            node.gateway.handle_dns(QuerySide::Outside, Transport::Udp, client, bytes, token, now);
            let mut answer = None;
            let mut rest = Vec::new();
            while let Some(output) = node.gateway.poll_output() {
                match output {
                    Output::Answer { token: QueryToken(u64::MAX), bytes } => answer = Some(bytes),
                    other => rest.push(other),
                }
            }
            for output in rest {
                self.carry(i, output);
            }
            return answer;
        }
        Some(world(&query, &name))
    }

    pub(crate) fn dns_count(&self, i: usize, outcome: QueryOutcome) -> u64 {
        self.nodes[i].gateway.counters().dns.value(QuerySide::Inside, outcome)
    }

    pub(crate) fn outside_count(&self, i: usize, outcome: QueryOutcome) -> u64 {
        self.nodes[i].gateway.counters().dns.value(QuerySide::Outside, outcome)
    }

    pub(crate) fn negotiation_count(&self, i: usize, outcome: NegotiationOutcome) -> u64 {
        self.nodes[i].gateway.counters().negotiation_count(outcome)
    }

    /// The binding of a host and a proxy address.
    pub(crate) fn binding(&self, i: usize, host: Ipv4Addr, proxy: Ipv4Addr) -> Option<(Handle, Binding)> {
        let mut found = self.nodes[i].bindings.iter().filter(|(_, b)| (b.host, b.proxy) == (host, proxy));
        found.next().map(|(handle, binding)| (*handle, *binding))
    }

    /// Whether a line of the log says so.
    pub(crate) fn logged(&self, i: usize, event: &str, reason: &str) -> bool {
        self.nodes[i]
            .log
            .iter()
            .any(|entry| entry.event == event && entry.reason.as_deref().unwrap_or_default().contains(reason))
    }
}

/// The rest of the Internet: one legacy name, and nothing else.
fn world(query: &Query, name: &str) -> Vec<u8> {
    let answer = match (name, query.qtype) {
        ("legacy.example.", RecordType::A) => {
            let record = Record::from_rdata(query.name.clone(), 300, RData::A(A::new(198, 51, 100, 80)));
            Answer::records(Voice::Recursive, vec![record])
        }
        ("legacy.example.", _) => Answer::no_data(Voice::Recursive, None),
        _ => Answer::nx_domain(Voice::Recursive, None),
    };
    answer.emit(query)
}

/// A query as a host's stub resolver sends it.
pub(crate) fn question(name: &str, qtype: RecordType, id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&u16::from(qtype).to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// An answer, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub code: ResponseCode,
    pub address: Option<Ipv4Addr>,
    pub target: Option<String>,
    pub ttl: Option<u32>,
    pub answers: usize,
    pub authoritative: bool,
    pub id: u16,
    /// Owner of the SOA in the authority section.
    pub soa: Option<String>,
    /// The answers' data, as text.
    pub data: Vec<String>,
    pub edns: bool,
    /// The additional records' data, as text.
    pub additional: Vec<String>,
}

impl Reply {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let message = Message::from_vec(bytes).expect("a well-formed answer");
        let first = message.answers.first();
        Self {
            code: message.metadata.response_code,
            address: first.and_then(|record| match &record.data {
                RData::A(a) => Some(a.0),
                _ => None,
            }),
            target: first.and_then(|record| match &record.data {
                RData::PTR(name) => Some(name.0.to_ascii()),
                _ => None,
            }),
            ttl: first.map(|record| record.ttl),
            answers: message.answers.len(),
            authoritative: message.metadata.authoritative,
            id: message.metadata.id,
            soa: message
                .authorities
                .iter()
                .find(|record| record.record_type() == RecordType::SOA)
                .map(|record| record.name.to_ascii()),
            data: message.answers.iter().map(|record| record.data.to_string()).collect(),
            edns: message.edns.is_some(),
            additional: message.additionals.iter().map(|record| record.data.to_string()).collect(),
        }
    }
}

/// Both halves of the one session between a and b: their tags must point at each other.
pub(crate) fn assert_paired(a: &Binding, b: &Binding, tags: (u32, u32)) {
    let (Far::Tunnel { remote_tag: at_a, .. }, Far::Tunnel { remote_tag: at_b, .. }) = (a.far, b.far) else {
        panic!("both lead through a tunnel");
    };
    assert_eq!((at_a, at_b), (tags.1, tags.0));
}
