//! CETP as a peer may speak it: what a connection carries, and what the engine makes of it.
//!
//! The first byte chooses. Raw: the bytes are the stream itself. Otherwise they are payloads, one a line, which are put
//! into frames; in a line, `@` stands for the tag that the engine used last, which no fuzzer guesses.

use ces_cetp::engine::{
    CetpOutput, Direction, Encapsulation, Endpoint, Engine, EngineSettings, H2hRequest, Locator,
    LocatorAddress, Negotiating, Owner, PayloadOffer, PeerIdentity, Proto, ReserveError, SealingSettings,
    SetAside,
};
use ces_cetp::frame;
use ces_cetp::{CetpLimits, Policy};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Flag: the rest is a stream as it is.
pub const RAW: u8 = 0x01;
/// Flag: it is we who ask; otherwise the peer connects to us.
pub const ASK: u8 = 0x02;
/// Flag: the policies ask for more, so that a second round is needed.
pub const STRICT: u8 = 0x04;

const MILLISECOND_NS: u64 = 1_000_000;
const OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 48001);
const PEERS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)), 48001);

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(serde_json::from_str(text).expect("a policy"))
}

/// A realm with one host, which counts what was reserved.
struct Hosts {
    policy: Arc<Policy>,
    next: u32,
    reserved: BTreeSet<u32>,
}

impl Owner for Hosts {
    fn host_policy(&self, local: &str, _: Direction, _: &str, _: &str) -> Option<Arc<Policy>> {
        (local == "a1.a.demo.").then(|| Arc::clone(&self.policy))
    }

    fn is_service(&self, fqdn: &str) -> bool {
        fqdn == "a1.a.demo."
    }

    fn reserve(&mut self, _: &str, _: &str, _: &str) -> Result<SetAside, ReserveError> {
        if self.reserved.len() >= 4 {
            return Err(ReserveError::TableFull);
        }
        self.next += 1;
        assert!(self.reserved.insert(self.next));
        Ok(SetAside { tag: self.next, proxy: IpAddr::V4(Ipv4Addr::from(0x0a40_0000 + self.next)) })
    }

    fn release(&mut self, tag: u32) {
        assert!(self.reserved.remove(&tag), "{tag} was released, but is not reserved");
    }
}

struct World {
    engine: Engine,
    hosts: Hosts,
    /// Tags of sessions that stand: their reservation has become a binding.
    sessions: BTreeSet<u32>,
    connection: Option<ces_cetp::engine::ConnId>,
    last_tag: String,
    now: u64,
}

impl World {
    fn new(strict: bool) -> Self {
        let locator = Locator {
            address: LocatorAddress::Ip(OURS.ip()),
            preference: 100,
            order: 100,
            alias: "internet".into(),
        };
        let payload = |encapsulation, preference| PayloadOffer { encapsulation, preference };
        let network = if strict {
            r#"{"request":[{"group":"ces","code":"cesid"},{"group":"ces","code":"ttl"},{"group":"ces","code":"pow"},
                {"group":"rloc","code":"ipv4"},{"group":"payload","code":"vxlan"}],
                "offer":[{"group":"ces","code":"cesid","value":"gwa.demo."}],
                "available":[{"group":"ces","code":"cesid","value":"gwa.demo."},{"group":"ces","code":"ttl","value":3600},
                {"group":"ces","code":"pow"},{"group":"rloc","code":"ipv4"},{"group":"payload","code":"vxlan"}]}"#
        } else {
            r#"{"request":[{"group":"ces","code":"cesid"},{"group":"rloc","code":"ipv4"},
                {"group":"payload","code":"vxlan","cmp":"optional"},{"group":"payload","code":"gre","cmp":"optional"}],
                "offer":[{"group":"ces","code":"cesid","value":"gwa.demo."},{"group":"rloc","code":"ipv4"},
                {"group":"payload","code":"vxlan"},{"group":"payload","code":"gre"}],
                "available":[{"group":"ces","code":"cesid","value":"gwa.demo."},{"group":"ces","code":"ttl","value":3600},
                {"group":"rloc","code":"ipv4"},{"group":"payload","code":"vxlan"},{"group":"payload","code":"gre"}]}"#
        };
        let host = if strict {
            r#"{"request":[{"group":"id","code":"fqdn","value":["b1.b.demo."]},{"group":"control","code":"ack"},
                {"group":"control","code":"hard_ttl","cmp":"optional"},{"group":"control","code":"dp_port","cmp":"optional"}],
                "available":[{"group":"id","code":"fqdn","value":"a1.a.demo."},{"group":"control","code":"ack"}]}"#
        } else {
            r#"{"request":[{"group":"id","code":"fqdn"}],
                "offer":[{"group":"id","code":"fqdn","value":"a1.a.demo."}],
                "available":[{"group":"id","code":"fqdn","value":"a1.a.demo."},{"group":"control","code":"ack"}]}"#
        };
        let settings = EngineSettings {
            ces_id: "gwa.demo.".into(),
            network_policy: policy(network),
            locators: vec![locator],
            payloads: vec![payload(Encapsulation::Vxlan, 80), payload(Encapsulation::Gre, 60)],
            trusted: Vec::new(),
            believe_unauthenticated: false,
            // A proof of work of 20 bits would be a fuzzer's whole minute.
            sealing: SealingSettings { has_aes: true, workers: 1, ..SealingSettings::default() },
            limits: CetpLimits {
                pow_bits: 2,
                pow_max_bits: 4,
                sessions: 8,
                connections: 8,
                pending: 4,
                ..CetpLimits::default()
            },
        };
        Self {
            engine: Engine::new(settings, [7; 32], 0).expect("right settings"),
            hosts: Hosts { policy: policy(host), next: 0, reserved: BTreeSet::new() },
            sessions: BTreeSet::new(),
            connection: None,
            last_tag: "1".into(),
            now: MILLISECOND_NS,
        }
    }

    fn peer() -> PeerIdentity {
        PeerIdentity { ces_id: Some("gwb.demo.".into()) }
    }

    fn ask(&mut self) {
        let endpoint = Endpoint {
            addr: PEERS.ip(),
            port: PEERS.port(),
            proto: Proto::Tls,
            order: 1,
            preference: 1,
            alias: None,
        };
        let request = H2hRequest {
            source: "a1.a.demo.".into(),
            destination: "b1.b.demo.".into(),
            ces_id: "gwb.demo.".into(),
            endpoints: vec![endpoint],
        };
        let asked = self.engine.negotiate(&mut self.hosts, request, self.now);
        assert!(matches!(asked, Negotiating::Pending(_)));
        self.outputs();
    }

    fn outputs(&mut self) {
        let mut bound = 0;
        while let Some(output) = self.engine.poll_output() {
            bound += 1;
            assert!(bound < 10_000, "outputs without end");
            match output {
                CetpOutput::Connect { conn, .. } => {
                    self.connection = Some(conn);
                    self.engine.handle_connected(&mut self.hosts, conn, Self::peer(), PEERS, self.now);
                }
                CetpOutput::Send { bytes, .. } => {
                    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                    assert!(bytes.len() >= 2 + length && length > 0);
                    let text = String::from_utf8_lossy(&bytes[2..]);
                    if let Some(tag) = text.split("\"SST\":").nth(1) {
                        let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
                        if digits != "0" {
                            self.last_tag = digits;
                        }
                    }
                }
                CetpOutput::Close { conn } if self.connection == Some(conn) => self.connection = None,
                CetpOutput::H2hUp { session } => {
                    assert!(
                        self.hosts.reserved.remove(&session.local_tag),
                        "a session without a reservation"
                    );
                    assert!(self.sessions.insert(session.local_tag) && session.remote_tag != 0);
                }
                CetpOutput::H2hDown { local_tag, .. } => {
                    assert!(self.sessions.remove(&local_tag), "a session ends that did not stand");
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.now += 10 * MILLISECOND_NS;
        if self.connection.is_none() {
            self.connection = self.engine.handle_accepted(Self::peer(), PEERS, self.now).ok();
        }
        if let Some(connection) = self.connection {
            self.engine.handle_received(&mut self.hosts, connection, bytes, self.now);
        }
        self.outputs();
    }

    fn end(mut self) {
        for _ in 0..8 {
            let Some(due) = self.engine.poll_timeout() else { break };
            self.now = self.now.max(due);
            self.engine.handle_timeout(&mut self.hosts, self.now);
            self.outputs();
        }
        self.engine.shutdown(&mut self.hosts, self.now);
        self.outputs();
        assert!(
            self.hosts.reserved.is_empty(),
            "reserved and neither released nor used: {:?}",
            self.hosts.reserved
        );
        assert!(self.sessions.is_empty(), "sessions outlive the shutdown: {:?}", self.sessions);
    }
}

/// The property: no panic, no endless output, no reservation lost, no session that outlives the end.
pub fn run(data: &[u8]) {
    let Some((&flags, bytes)) = data.split_first() else { return };
    let mut world = World::new(flags & STRICT != 0);
    if flags & ASK != 0 {
        world.ask();
    }
    if flags & RAW != 0 {
        for piece in bytes.chunks(700) {
            world.receive(piece);
        }
    } else {
        for line in bytes.split(|byte| *byte == b'\n').take(64) {
            let payload =
                line.split(|byte| *byte == b'@').collect::<Vec<_>>().join(world.last_tag.as_bytes());
            if let Ok(framed) = frame::emit(&payload) {
                world.receive(&framed);
            }
        }
    }
    world.end();
}
