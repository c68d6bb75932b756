//! How many H2H negotiations two engines complete in a second, back to back in one thread: both ends' work, without
//! sockets. `cargo run --release -p ces-cetp --example rate`

#[path = "../tests/lab/book.rs"]
mod book;

use book::Book;
use ces_cetp::engine::{
    CetpOutput, ConnId, Direction, Encapsulation, Endpoint, Engine, EngineSettings, H2hRequest, Locator,
    LocatorAddress, Nanos, Owner, PayloadOffer, PeerIdentity, Proto, ReserveError, SetAside,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Hosts at each side; each asks for each of `SERVICES`.
const HOSTS: usize = 1_000;
/// Names asked for at the far side.
const SERVICES: usize = 100;

struct TestOwner {
    book: Book,
    tag: u32,
}

impl Owner for TestOwner {
    fn host_policy(&self, l: &str, d: Direction, _r: &str, _ces: &str) -> Option<Arc<ces_cetp::Policy>> {
        self.book.host(l, d)
    }
    fn is_service(&self, _fqdn: &str) -> bool {
        true
    }
    fn reserve(&mut self, _l: &str, _r: &str, _ces: &str) -> Result<SetAside, ReserveError> {
        self.tag += 1;
        Ok(SetAside { tag: self.tag, proxy: IpAddr::from([10, 0, 0, 1]) })
    }
    fn release(&mut self, _tag: u32) {}
}

fn gateway(name: &str, address: [u8; 4], ack: bool) -> (Engine, TestOwner) {
    let network = r#"{"request":[{"group":"ces","code":"cesid"},{"group":"rloc","code":"ipv4"},
        {"group":"payload","code":"vxlan"}],
        "offer":[{"group":"ces","code":"cesid"},{"group":"rloc","code":"ipv4"},{"group":"payload","code":"vxlan"},
            {"group":"ces","code":"session_limit","value":1000000}],
        "available":[{"group":"ces","code":"cesid"},{"group":"rloc","code":"ipv4"},{"group":"payload","code":"vxlan"}]}"#;
    let limits = ces_cetp::CetpLimits {
        sessions_per_peer: 1 << 20,
        sessions_per_peer_max: 1 << 20,
        messages_per_s: u32::MAX,
        ..ces_cetp::CetpLimits::default()
    };
    let settings = EngineSettings {
        ces_id: name.into(),
        network_policy: Arc::new(serde_json::from_str(network).unwrap_or_default()),
        locators: vec![Locator {
            address: LocatorAddress::Ip(address.into()),
            preference: 1,
            order: 1,
            alias: "wan".into(),
        }],
        payloads: vec![PayloadOffer { encapsulation: Encapsulation::Vxlan, preference: 1 }],
        trusted: Vec::new(),
        believe_unauthenticated: false,
        sealing: ces_cetp::engine::SealingSettings::default(),
        limits,
    };
    let ack = if ack { r#",{"group":"control","code":"ack"}"# } else { "" };
    let host = |index: usize| {
        format!(
            r#"{{"type":"hostpolicy","fqdn":"h{index}.{name}","direction":"outbound","policy":{{
            "request":[{{"group":"id","code":"fqdn"}},{{"group":"control","code":"caep"}},
                {{"group":"control","code":"hard_ttl","cmp":"optional"}}],
            "offer":[{{"group":"control","code":"caep","value":"192.0.2.7"}},{{"group":"control","code":"hard_ttl","value":120}}],
            "available":[{{"group":"id","code":"fqdn"}},{{"group":"control","code":"caep","value":"192.0.2.7"}},
                {{"group":"control","code":"ack"}}]}}}},
            {{"type":"hostpolicy","fqdn":"h{index}.{name}","direction":"inbound","policy":{{
            "request":[{{"group":"id","code":"fqdn"}},{{"group":"control","code":"caep"}}{ack}],
            "available":[{{"group":"id","code":"fqdn"}},{{"group":"control","code":"caep","value":"192.0.2.7"}},
                {{"group":"control","code":"hard_ttl","value":180}}]}}}}"#
        )
    };
    let book = Book::read(&format!("[{}]", (0..HOSTS).map(host).collect::<Vec<_>>().join(",")));
    let Ok(engine) = Engine::new(settings, [address[3]; 32], 0) else { panic!("settings") };
    (engine, TestOwner { book, tag: 0 })
}

/// Carries everything between the two until both are quiet; how many negotiations ended well.
fn carry(
    a: &mut (Engine, TestOwner),
    b: &mut (Engine, TestOwner),
    link: &mut (ConnId, ConnId),
    now: Nanos,
) -> usize {
    let addr = |last, port| SocketAddr::new(IpAddr::from([192, 0, 2, last]), port);
    let mut done = 0;
    loop {
        let mut quiet = true;
        while let Some(output) = a.0.poll_output() {
            quiet = false;
            match output {
                CetpOutput::Connect { conn, .. } => {
                    let identity = PeerIdentity { ces_id: Some("gwa.".into()) };
                    let accepted = b.0.handle_accepted(identity, addr(1, 9), now);
                    *link = (conn, accepted.unwrap_or(ConnId(0)));
                    let identity = PeerIdentity { ces_id: Some("gwb.".into()) };
                    a.0.handle_connected(&mut a.1, conn, identity, addr(2, 1), now);
                }
                CetpOutput::Send { bytes, .. } => b.0.handle_received(&mut b.1, link.1, &bytes, now),
                CetpOutput::NegotiationDone { result: Ok(_), .. } => done += 1,
                CetpOutput::NegotiationDone { result: Err(why), .. } => panic!("{why}"),
                _ => {}
            }
        }
        while let Some(output) = b.0.poll_output() {
            quiet = false;
            if let CetpOutput::Send { bytes, .. } = output {
                a.0.handle_received(&mut a.1, link.0, &bytes, now);
            }
        }
        if quiet {
            return done;
        }
    }
}

fn main() {
    for (ack, rounds) in [(false, "1 round trip"), (true, "2 round trips")] {
        for outstanding in [1, 1_000] {
            let mut a = gateway("gwa.", [192, 0, 2, 1], ack);
            let mut b = gateway("gwb.", [192, 0, 2, 2], ack);
            let mut link = (ConnId(0), ConnId(0));
            let names = |realm: &str, count| -> Vec<Arc<str>> {
                (0..count).map(|index| format!("h{index}.{realm}").into()).collect()
            };
            let (sources, destinations) = (names("gwa.", HOSTS), names("gwb.", SERVICES));
            let endpoint = Endpoint {
                addr: IpAddr::from([192, 0, 2, 2]),
                port: 49_001,
                proto: Proto::Tls,
                order: 1,
                preference: 1,
                alias: None,
            };
            let start = Instant::now();
            let (mut done, mut asked) = (0, 0);
            for destination in &destinations {
                for source in &sources {
                    let request = H2hRequest {
                        source: source.clone(),
                        destination: destination.clone(),
                        ces_id: "gwb.".into(),
                        endpoints: vec![endpoint.clone()],
                    };
                    let now = start.elapsed().as_nanos() as Nanos;
                    let _ = a.0.negotiate(&mut a.1, request, now);
                    asked += 1;
                    if asked % outstanding == 0 {
                        done += carry(&mut a, &mut b, &mut link, now);
                    }
                }
            }
            done += carry(&mut a, &mut b, &mut link, start.elapsed().as_nanos() as Nanos);
            let seconds = start.elapsed().as_secs_f64();
            let rate = done as f64 / seconds;
            println!(
                "{rounds}, {outstanding} outstanding: {done} sessions, {rate:.0}/s for both ends in one thread"
            );
        }
    }
}
