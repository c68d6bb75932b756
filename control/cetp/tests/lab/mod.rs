//! A network of engines under a virtual clock: connections with a delay, that can be cut, and gateways that can crash.

#![allow(dead_code)] // each test file uses a part

mod book;

pub(crate) use book::Book;

use ces_cetp::engine::*;
use ces_cetp::{CetpLimits, Engine};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub(crate) const MS: Nanos = 1_000_000;
pub(crate) const S: Nanos = 1_000_000_000;

/// One way over the network.
pub(crate) const DELAY: Nanos = 5 * MS;

/// From one piece of what is to end to the next.
const PIECE_NS: Nanos = MS / 10;

/// The owner's part: policies, tags, proxies, and a ledger of every reservation.
pub(crate) struct TestOwner {
    pub book: Book,
    pub services: BTreeSet<String>,
    pub reserved: BTreeSet<u32>,
    pub up: BTreeMap<u32, H2hSession>,
    /// When each session's binding ends by its hard lifetime, as the data path has it.
    pub ends: BTreeMap<u32, Nanos>,
    pub next_tag: u32,
    pub capacity: usize,
    pub reserves: u64,
    pub releases: u64,
    pub ups: u64,
    pub downs: u64,
}

impl Owner for TestOwner {
    fn host_policy(
        &self,
        local: &str,
        direction: Direction,
        _remote: &str,
        _remote_ces: &str,
    ) -> Option<Arc<ces_cetp::Policy>> {
        self.book.host(local, direction)
    }

    fn is_service(&self, fqdn: &str) -> bool {
        self.services.contains(fqdn)
    }

    fn reserve(&mut self, _local: &str, _remote: &str, _ces: &str) -> Result<SetAside, ReserveError> {
        if self.reserved.len() + self.up.len() >= self.capacity {
            return Err(ReserveError::PoolEmpty);
        }
        self.reserves += 1;
        self.next_tag = self.next_tag.wrapping_mul(2_654_435_761).wrapping_add(0x9E37_79B1).max(1);
        let tag = self.next_tag;
        assert!(self.reserved.insert(tag));
        Ok(SetAside { tag, proxy: IpAddr::from([10, 0, (tag >> 8) as u8, tag as u8]) })
    }

    fn release(&mut self, tag: u32) {
        self.releases += 1;
        assert!(self.reserved.remove(&tag), "released twice, or never reserved: {tag}");
    }
}

impl TestOwner {
    fn apply(&mut self, output: &CetpOutput, now: Nanos) {
        match output {
            CetpOutput::H2hUp { session } => {
                self.ups += 1;
                assert!(self.reserved.remove(&session.local_tag), "up without reservation");
                self.up.insert(session.local_tag, session.clone());
                if session.hard_ttl_s > 0 {
                    self.ends.insert(session.local_tag, now + Nanos::from(session.hard_ttl_s) * S);
                }
            }
            CetpOutput::H2hDown { local_tag, .. } => {
                self.downs += 1;
                assert!(self.up.remove(local_tag).is_some(), "down twice, or never up");
            }
            _ => {}
        }
    }
}

pub(crate) struct Node {
    pub engine: Engine,
    pub owner: TestOwner,
    pub settings: EngineSettings,
    pub addr: IpAddr,
    /// All outputs but Connect, Send, Close.
    pub log: Vec<CetpOutput>,
    pub sent: Vec<Vec<u8>>,
    generation: u64,
    /// Refuses connections, as a host without the service does.
    pub refuses: bool,
    /// Swallows connection attempts and data, as a dead host does.
    pub is_dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    node: usize,
    generation: u64,
    conn: Option<ConnId>,
    is_open: bool,
}

#[derive(Debug)]
enum Event {
    Arrive { link: usize },
    Connected { link: usize },
    Data { link: usize, to: usize, bytes: Vec<u8> },
    Closed { link: usize, to: usize },
}

pub(crate) struct Lab {
    pub nodes: Vec<Node>,
    pub now: Nanos,
    events: BTreeMap<(Nanos, u64), Event>,
    next_event: u64,
    links: Vec<[End; 2]>,
    protos: Vec<(Proto, SocketAddr, SocketAddr)>,
    by_conn: HashMap<(usize, u64, ConnId), (usize, usize)>,
    /// Cuts what arrives into pieces of this size, if set.
    pub chunk: Option<usize>,
    /// How long each thing that crosses the network takes, in the order in which they set out, if not all [`DELAY`]. What is on
    /// one way of one connection stays in its order.
    pub delays: Option<Box<dyn FnMut() -> Nanos>>,
    /// Every wish to connect: when, who, and where to.
    pub dials: Vec<(Nanos, usize, SocketAddr)>,
    /// Behind these ports is a relay that has all said on it fall to the ground.
    pub relays: BTreeSet<u16>,
    /// When the last thing arrives on each way of each connection.
    last: HashMap<(usize, usize), Nanos>,
}

pub(crate) fn locator(address: &str, preference: u32) -> Locator {
    Locator {
        address: LocatorAddress::Ip(address.parse().unwrap()),
        preference,
        order: 80,
        alias: "wan0".into(),
    }
}

pub(crate) fn network_policy(ces_id: &str) -> String {
    format!(
        r#"{{"request":[{{"group":"ces","code":"cesid"}},{{"group":"ces","code":"fw_version","value":"0.1"}},
        {{"group":"ces","code":"ttl","value":{{"min":"600","max":"7200"}}}},
        {{"group":"rloc","code":"ipv4"}},{{"group":"payload","code":"vxlan"}},{{"group":"payload","code":"geneve"}}],
        "offer":[{{"group":"ces","code":"cesid","value":"{ces_id}"}},{{"group":"ces","code":"fw_version","value":"0.1"}},
        {{"group":"ces","code":"ttl","value":"7200"}},{{"group":"rloc","code":"ipv4"}},
        {{"group":"payload","code":"vxlan"}},{{"group":"payload","code":"geneve"}}],
        "available":[{{"group":"ces","code":"cesid","value":"{ces_id}"}},{{"group":"ces","code":"fw_version","value":"0.1"}},
        {{"group":"ces","code":"ttl","value":"7200"}},{{"group":"ces","code":"pow"}},{{"group":"rloc","code":"ipv4"}},
        {{"group":"payload","code":"vxlan"}},{{"group":"payload","code":"geneve"}}]}}"#
    )
}

pub(crate) fn settings(ces_id: &str, address: &str) -> EngineSettings {
    EngineSettings {
        ces_id: ces_id.into(),
        network_policy: Arc::new(serde_json::from_str(&network_policy(ces_id)).unwrap()),
        locators: vec![locator(address, 100)],
        payloads: vec![
            PayloadOffer { encapsulation: Encapsulation::Vxlan, preference: 80 },
            PayloadOffer { encapsulation: Encapsulation::Geneve, preference: 40 },
        ],
        trusted: Vec::new(),
        believe_unauthenticated: true,
        sealing: SealingSettings::default(),
        limits: CetpLimits::default(),
    }
}

/// Policies for `count` hosts that may all reach and be reached; those of `strict` ask for an acknowledgement.
pub(crate) fn host_policies(realm: &str, count: usize, strict: &[usize]) -> Vec<Value> {
    let both = |index: usize| -> Vec<Value> {
        let fqdn = format!("h{index}.{realm}");
        let ack = if strict.contains(&index) { r#",{"group":"control","code":"ack"}"# } else { "" };
        let json = format!(
            r#"[{{"type":"hostpolicy","fqdn":"{fqdn}","direction":"outbound","policy":{{
            "request":[{{"group":"id","code":"fqdn"}},{{"group":"control","code":"caep"}},
                {{"group":"control","code":"hard_ttl","cmp":"optional"}}],
            "offer":[{{"group":"id","code":"fqdn","value":"{fqdn}"}},{{"group":"control","code":"caep","value":"192.0.2.7"}},
                {{"group":"control","code":"hard_ttl","value":"120"}}],
            "available":[{{"group":"id","code":"fqdn","value":"{fqdn}"}},{{"group":"control","code":"caep","value":"192.0.2.7"}},
                {{"group":"control","code":"hard_ttl","value":"120"}},{{"group":"control","code":"ack"}}]}}}},
            {{"type":"hostpolicy","fqdn":"{fqdn}","direction":"inbound","policy":{{
            "request":[{{"group":"id","code":"fqdn"}},{{"group":"control","code":"caep"}}{ack}],
            "available":[{{"group":"id","code":"fqdn","value":"{fqdn}"}},{{"group":"control","code":"caep","value":"192.0.2.7"}},
                {{"group":"control","code":"hard_ttl","value":"180"}}]}}}}]"#
        );
        serde_json::from_str(&json).unwrap()
    };
    (0..count).flat_map(both).collect()
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            now: 0,
            events: BTreeMap::new(),
            next_event: 0,
            links: Vec::new(),
            protos: Vec::new(),
            by_conn: HashMap::new(),
            chunk: None,
            delays: None,
            dials: Vec::new(),
            relays: BTreeSet::new(),
            last: HashMap::new(),
        }
    }

    /// gwa.demo. and gwb.demo., each with `hosts` hosts h0, h1, …
    pub(crate) fn pair(hosts: usize) -> Self {
        let mut lab = Self::new();
        lab.add(settings("gwa.demo.", "192.0.2.1"), host_policies("gwa.demo.", hosts, &[]));
        lab.add(settings("gwb.demo.", "192.0.2.2"), host_policies("gwb.demo.", hosts, &[]));
        lab
    }

    pub(crate) fn add(&mut self, settings: EngineSettings, policies: Vec<Value>) -> usize {
        let index = self.nodes.len();
        let addr: IpAddr = [192, 0, 2, index as u8 + 1].into();
        let book = Book::read(&Value::Array(policies).to_string());
        let services = book.0.keys().map(|(name, _)| (**name).to_owned()).collect();
        let owner = TestOwner {
            book,
            services,
            reserved: BTreeSet::new(),
            up: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_tag: 1000 * (index as u32 + 1),
            capacity: usize::MAX,
            reserves: 0,
            releases: 0,
            ups: 0,
            downs: 0,
        };
        let engine = Engine::new(settings.clone(), [index as u8 + 1; 32], self.now).unwrap();
        self.nodes.push(Node {
            engine,
            owner,
            settings,
            addr,
            log: Vec::new(),
            sent: Vec::new(),
            generation: 0,
            refuses: false,
            is_dead: false,
        });
        index
    }

    pub(crate) fn endpoints(&self, node: usize, count: u16, proto: Proto) -> Vec<Endpoint> {
        let one = |index| Endpoint {
            addr: self.nodes[node].addr,
            port: 49_001 + index,
            proto,
            order: 10,
            preference: 100 + index,
            alias: None,
        };
        (0..count).map(one).collect()
    }

    pub(crate) fn request(
        &self,
        from: usize,
        source: &str,
        to: usize,
        destination: &str,
        endpoints: u16,
    ) -> H2hRequest {
        H2hRequest {
            source: source.into(),
            destination: destination.into(),
            ces_id: self.nodes[to].settings.ces_id.clone(),
            endpoints: self.endpoints(to, endpoints, Proto::Tls),
        }
        .tap(|_| assert_ne!(from, to))
    }

    /// Host `h{a}` of `from` asks for `h{b}` of `to`.
    pub(crate) fn ask(&mut self, from: usize, a: usize, to: usize, b: usize) -> Negotiating {
        let source = format!("h{a}.{}", self.nodes[from].settings.ces_id);
        let destination = format!("h{b}.{}", self.nodes[to].settings.ces_id);
        let request = self.request(from, &source, to, &destination, 3);
        self.negotiate(from, request)
    }

    pub(crate) fn negotiate(&mut self, from: usize, request: H2hRequest) -> Negotiating {
        let now = self.now;
        let asked = self.with(from, |engine, owner| engine.negotiate(owner, request, now));
        self.drain();
        asked
    }

    pub(crate) fn with<R>(&mut self, node: usize, act: impl FnOnce(&mut Engine, &mut TestOwner) -> R) -> R {
        let node = &mut self.nodes[node];
        let result = act(&mut node.engine, &mut node.owner);
        self.drain();
        result
    }

    fn schedule(&mut self, mut at: Nanos, event: Event) {
        self.next_event += 1;
        if let Some(delay) = &mut self.delays {
            let way = match event {
                Event::Arrive { link } => (link, 1),
                Event::Connected { link } => (link, 0),
                Event::Data { link, to, .. } | Event::Closed { link, to } => (link, to),
            };
            let last = self.last.entry(way).or_default();
            at = (self.now + delay()).max(*last);
            *last = at;
        }
        self.events.insert((at, self.next_event), event);
    }

    /// Carries out what the engines want.
    pub(crate) fn drain(&mut self) {
        for index in 0..self.nodes.len() {
            while let Some(output) = self.nodes[index].engine.poll_output() {
                self.nodes[index].owner.apply(&output, self.now);
                let generation = self.nodes[index].generation;
                match output {
                    CetpOutput::Connect { conn, endpoint, .. } => {
                        let there = SocketAddr::new(endpoint.addr, endpoint.port);
                        self.dials.push((self.now, index, there));
                        let target = self.nodes.iter().position(|node| node.addr == endpoint.addr);
                        let link = self.links.len();
                        let ours = End { node: index, generation, conn: Some(conn), is_open: true };
                        let there = target.unwrap_or(usize::MAX);
                        let theirs = End { node: there, generation: 0, conn: None, is_open: false };
                        self.links.push([ours, theirs]);
                        let relay = self.relays.contains(&endpoint.port);
                        let near = if relay { [203, 0, 113, 99].into() } else { self.nodes[index].addr };
                        let local = SocketAddr::new(near, 20_000 + (link % 40_000) as u16);
                        self.protos.push((
                            endpoint.proto,
                            local,
                            SocketAddr::new(endpoint.addr, endpoint.port),
                        ));
                        self.by_conn.insert((index, generation, conn), (link, 0));
                        self.schedule(self.now + DELAY, Event::Arrive { link });
                    }
                    CetpOutput::Send { conn, bytes } => {
                        let Some(&(link, side)) = self.by_conn.get(&(index, generation, conn)) else {
                            panic!("sent on an unknown connection");
                        };
                        assert!(self.links[link][side].is_open, "sent on a closed connection");
                        self.nodes[index].sent.push(bytes.clone());
                        self.schedule(self.now + DELAY, Event::Data { link, to: 1 - side, bytes });
                    }
                    CetpOutput::Close { conn } => {
                        if let Some(&(link, side)) = self.by_conn.get(&(index, generation, conn)) {
                            self.links[link][side].is_open = false;
                            self.schedule(self.now + DELAY, Event::Closed { link, to: 1 - side });
                        }
                    }
                    other => self.nodes[index].log.push(other),
                }
            }
        }
    }

    fn live(&self, link: usize, side: usize) -> Option<(usize, ConnId)> {
        let end = self.links[link][side];
        let node = self.nodes.get(end.node)?;
        let is_live = end.is_open && node.generation == end.generation && !node.is_dead;
        end.conn.filter(|_| is_live).map(|conn| (end.node, conn))
    }

    fn step(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Arrive { link } => {
                let [ours, theirs] = self.links[link];
                let (proto, local, _) = self.protos[link];
                let Some(node) = self.nodes.get(theirs.node) else { return };
                if node.is_dead {
                    return;
                }
                let refuses = node.refuses;
                let generation = node.generation;
                let ces_id = (proto == Proto::Tls).then(|| self.nodes[ours.node].settings.ces_id.clone());
                let accepted = if refuses || !self.links[link][0].is_open {
                    None
                } else {
                    let node = &mut self.nodes[theirs.node];
                    node.engine.handle_accepted(PeerIdentity { ces_id }, local, now).ok()
                };
                match accepted {
                    Some(conn) => {
                        let end = &mut self.links[link][1];
                        (end.generation, end.conn, end.is_open) = (generation, Some(conn), true);
                        self.by_conn.insert((theirs.node, generation, conn), (link, 1));
                        self.schedule(now + DELAY, Event::Connected { link });
                    }
                    // Accepted and closed at once, or refused: the connection ends either way.
                    None => self.schedule(now + DELAY, Event::Closed { link, to: 0 }),
                }
            }
            Event::Connected { link } => {
                if let Some((node, conn)) = self.live(link, 0) {
                    let (proto, _, remote) = self.protos[link];
                    let there = self.links[link][1].node;
                    let ces_id = (proto == Proto::Tls).then(|| self.nodes[there].settings.ces_id.clone());
                    let Node { engine, owner, .. } = &mut self.nodes[node];
                    engine.handle_connected(owner, conn, PeerIdentity { ces_id }, remote, now);
                }
            }
            Event::Data { link, to, bytes } => {
                let end = self.links[link][to];
                if self.relays.contains(&self.protos[link].2.port()) {
                    return;
                }
                let is_gone =
                    |node: &Node| (node.generation != end.generation || !end.is_open) && !node.is_dead;
                let forgotten = self.nodes.get(end.node).is_some_and(is_gone);
                if forgotten {
                    // RFC 9293 §3.5.2: a reset answers what belongs to no connection.
                    self.schedule(now + DELAY, Event::Closed { link, to: 1 - to });
                } else if let Some((node, conn)) = self.live(link, to) {
                    let chunk = self.chunk.unwrap_or(bytes.len().max(1));
                    for piece in bytes.chunks(chunk) {
                        let Node { engine, owner, .. } = &mut self.nodes[node];
                        engine.handle_received(owner, conn, piece, now);
                    }
                }
            }
            Event::Closed { link, to } => {
                if let Some((node, conn)) = self.live(link, to) {
                    self.links[link][to].is_open = false;
                    let Node { engine, owner, .. } = &mut self.nodes[node];
                    engine.handle_closed(owner, conn, now);
                }
            }
        }
    }

    /// The data path ends what has had its time, and the owners tell their engines.
    fn expire(&mut self) {
        let now = self.now;
        for node in &mut self.nodes {
            let over: Vec<u32> =
                node.owner.ends.iter().filter(|(_, at)| **at <= now).map(|(tag, _)| *tag).collect();
            for tag in over {
                node.owner.ends.remove(&tag);
                if node.owner.up.remove(&tag).is_some() {
                    node.owner.downs += 1;
                    node.engine.session_ended(tag, now);
                }
            }
        }
    }

    /// Runs until nothing is under way in the network, or that time.
    pub(crate) fn run_for(&mut self, duration: Nanos) {
        let end = self.now + duration;
        self.drain();
        loop {
            let event = self.events.keys().next().map(|key| key.0);
            let dead = |node: &Node| node.is_dead;
            let timer = self.nodes.iter().filter(|n| !dead(n)).filter_map(|n| n.engine.poll_timeout()).min();
            let expiry = self.nodes.iter().flat_map(|node| node.owner.ends.values()).min().copied();
            let has_ends = self.nodes.iter().any(|node| !node.is_dead && node.engine.has_ends());
            let more = has_ends.then_some(self.now + PIECE_NS);
            let next = event.into_iter().chain(timer).chain(expiry).chain(more).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.expire();
            if more == Some(at) {
                let now = self.now;
                for node in self.nodes.iter_mut().filter(|node| !node.is_dead && node.engine.has_ends()) {
                    node.engine.end_some(&mut node.owner, now);
                }
            } else if event == Some(at) {
                let ((_, _), event) = self.events.pop_first().unwrap();
                self.step(event);
            } else {
                let now = self.now;
                for node in self.nodes.iter_mut().filter(|node| !node.is_dead) {
                    if node.engine.poll_timeout().is_some_and(|at| at <= now) {
                        node.engine.handle_timeout(&mut node.owner, now);
                        assert!(
                            node.engine.poll_timeout().is_none_or(|at| at > now),
                            "a timer that does not move"
                        );
                    }
                }
            }
            self.drain();
        }
        self.now = end;
    }

    /// Open connections as the network sees them.
    pub(crate) fn open_links(&self) -> Vec<usize> {
        (0..self.links.len())
            .filter(|link| self.live(*link, 0).is_some() && self.live(*link, 1).is_some())
            .collect()
    }

    /// How many connections a gateway has, those that it is opening included.
    pub(crate) fn connections(&self, node: usize) -> usize {
        self.links.iter().flatten().filter(|end| end.node == node && end.is_open).count()
    }

    /// Cuts a connection: both ends hear of it, what is on the way is lost.
    pub(crate) fn cut(&mut self, link: usize) {
        self.events.retain(|_, event| !matches!(event, Event::Data { link: l, .. } if *l == link));
        for side in 0..2 {
            if let Some((node, conn)) = self.live(link, side) {
                self.links[link][side].is_open = false;
                let now = self.now;
                let Node { engine, owner, .. } = &mut self.nodes[node];
                engine.handle_closed(owner, conn, now);
            }
        }
        self.drain();
    }

    /// Bytes of nobody's making arrive on the gateway's first open connection.
    pub(crate) fn inject(&mut self, node: usize, bytes: &[u8]) {
        let now = self.now;
        let ends = (0..self.links.len()).flat_map(|link| [self.live(link, 0), self.live(link, 1)]).flatten();
        let found = ends.into_iter().find(|(n, _)| *n == node);
        if let Some((node, conn)) = found {
            let Node { engine, owner, .. } = &mut self.nodes[node];
            engine.handle_received(owner, conn, bytes, now);
        }
        self.drain();
    }

    /// The gateway is cut off from the network, or back in it. What was on the way is lost, and no stream goes on
    /// after a gap: its connections are closed at its end, and at the other with the next message.
    pub(crate) fn set_dead(&mut self, index: usize, dead: bool) {
        if self.nodes[index].is_dead && !dead {
            self.nodes[index].is_dead = false;
            for link in 0..self.links.len() {
                for side in 0..2 {
                    if let Some((node, conn)) = self.live(link, side).filter(|(node, _)| *node == index) {
                        self.links[link][side].is_open = false;
                        let now = self.now;
                        let Node { engine, owner, .. } = &mut self.nodes[node];
                        engine.handle_closed(owner, conn, now);
                        self.drain();
                    }
                }
            }
        }
        self.nodes[index].is_dead = dead;
    }

    /// The gateway's process dies and starts again with nothing; its connections are closed by its kernel.
    pub(crate) fn restart(&mut self, index: usize) {
        for link in self.open_links() {
            if let Some(side) = self.links[link].iter().position(|end| end.node == index) {
                self.links[link][side].is_open = false;
                self.schedule(self.now + DELAY, Event::Closed { link, to: 1 - side });
            }
        }
        self.forget(index);
    }

    /// The same, but nobody is told: the machine lost power.
    pub(crate) fn forget(&mut self, index: usize) {
        let seed = [(self.next_event as u8).wrapping_add(100); 32];
        let now = self.now;
        let node = &mut self.nodes[index];
        node.generation += 1;
        node.engine = Engine::new(node.settings.clone(), seed, now).unwrap();
        node.owner.reserved.clear();
        node.owner.up.clear();
        node.owner.ends.clear();
        (node.owner.reserves, node.owner.releases, node.owner.ups, node.owner.downs) = (0, 0, 0, 0);
    }

    /// No reservation is lost: all that were made ended in a release or a session, and sessions are the engine's.
    pub(crate) fn check_ledger(&self) {
        for node in &self.nodes {
            let owner = &node.owner;
            assert_eq!(owner.reserves, owner.releases + owner.ups + owner.reserved.len() as u64);
            assert_eq!(owner.up.len() as u64, owner.ups - owner.downs);
            let engine: BTreeSet<u32> = node.engine.sessions().map(|session| session.local_tag).collect();
            assert_eq!(engine, owner.up.keys().copied().collect::<BTreeSet<_>>());
            if node.engine.pending() == 0 {
                assert!(owner.reserved.is_empty(), "reservations leaked: {:?}", owner.reserved);
            }
        }
    }

    /// The result of the last negotiation of these two.
    pub(crate) fn result(
        &self,
        node: usize,
        source: &str,
        destination: &str,
    ) -> Option<Result<(u32, IpAddr), Failure>> {
        self.nodes[node].log.iter().rev().find_map(|output| match output {
            CetpOutput::NegotiationDone { source: s, destination: d, result, .. }
                if **s == *source && **d == *destination =>
            {
                Some(*result)
            }
            _ => None,
        })
    }

    /// The results of all negotiations so far.
    pub(crate) fn results(&self, node: usize) -> Vec<Result<(), Failure>> {
        let result = |output: &CetpOutput| match output {
            CetpOutput::NegotiationDone { result, .. } => Some(result.map(|_| ())),
            _ => None,
        };
        self.nodes[node].log.iter().filter_map(result).collect()
    }

    /// The sessions of both ends fit together: each of `a`'s with `b` has its mirror there.
    pub(crate) fn assert_mirrored(&self, a: usize, b: usize) {
        let of = |x: usize, y: usize| -> Vec<&H2hSession> {
            let there = &self.nodes[y].settings.ces_id;
            self.nodes[x].owner.up.values().filter(|session| session.ces_id == *there).collect()
        };
        let (ours, theirs) = (of(a, b), of(b, a));
        assert_eq!(ours.len(), theirs.len(), "{ours:#?}\n{theirs:#?}");
        for session in ours {
            let mirror = theirs.iter().find(|other| other.local_tag == session.remote_tag);
            let mirror = mirror.unwrap_or_else(|| panic!("no mirror of {session:?}"));
            assert_eq!(mirror.remote_tag, session.local_tag);
            assert_eq!(mirror.remote_fqdn, session.local_fqdn);
            assert_eq!(mirror.local_fqdn, session.remote_fqdn);
            assert_ne!(mirror.role, session.role);
            assert_eq!(mirror.tunnel.encapsulation, session.tunnel.encapsulation);
            assert_eq!(
                (mirror.tunnel.local, mirror.tunnel.remote),
                (session.tunnel.remote, session.tunnel.local)
            );
            assert_eq!(
                (mirror.tunnel.id_in, mirror.tunnel.id_out),
                (session.tunnel.id_out, session.tunnel.id_in)
            );
        }
    }

    pub(crate) fn events_of(&self, node: usize) -> VecDeque<&CetpOutput> {
        self.nodes[node].log.iter().collect()
    }
}

trait Tap: Sized {
    fn tap(self, look: impl FnOnce(&Self)) -> Self {
        look(&self);
        self
    }
}

impl Tap for H2hRequest {}

/// The names of two hosts.
pub(crate) fn names(lab: &Lab, from: usize, a: usize, to: usize, b: usize) -> (String, String) {
    let name = |node: usize, host| format!("h{host}.{}", lab.nodes[node].settings.ces_id);
    (name(from, a), name(to, b))
}

/// The local tag that the last negotiation of these two hosts brought.
pub(crate) fn result(lab: &Lab, from: usize, a: usize, to: usize, b: usize) -> Option<Result<u32, Failure>> {
    let (source, destination) = names(lab, from, a, to, b);
    lab.result(from, &source, &destination).map(|result| result.map(|(tag, _)| tag))
}
