//! The transport of CETP over the loopback: what comes through, and how it defends itself.

use ces_cetp::engine::{AcceptError, ConnId, Endpoint, PeerIdentity, Proto};
use ces_control::source::{Socket, Sockets, Source};
use ces_control::sources::peering::{Peering, PeeringLimits, Upper};
use ces_control::tls::Credentials;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An engine that remembers what it is told, and answers with what it is set to.
#[derive(Default)]
struct Engine {
    told: Vec<String>,
    received: Vec<u8>,
    next: u64,
    blocked: bool,
    refuses: bool,
}

impl Upper for Engine {
    fn is_blocked(&mut self, _: IpAddr) -> bool {
        self.blocked
    }

    fn connected(&mut self, conn: ConnId, identity: PeerIdentity, _: SocketAddr) {
        self.told.push(format!("connected {} {:?}", conn.0, identity.ces_id.as_deref()));
    }

    fn accepted(&mut self, identity: PeerIdentity, _: SocketAddr) -> Result<ConnId, AcceptError> {
        self.told.push(format!("accepted {:?}", identity.ces_id.as_deref()));
        self.next += 1;
        if self.refuses { Err(AcceptError::Identity) } else { Ok(ConnId(1000 + self.next)) }
    }

    fn received(&mut self, _: ConnId, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    fn closed(&mut self, conn: ConnId) {
        self.told.push(format!("closed {}", conn.0));
    }
}

struct Side {
    peering: Peering,
    engine: Engine,
    poll: mio::Poll,
    address: SocketAddr,
    now: u64,
}

const LIMITS: PeeringLimits =
    PeeringLimits { connect_ns: 2_000_000_000, handshake_ns: 2_000_000_000, connections: 8, per_address: 4 };

impl Side {
    fn new(proto: Proto, credentials: Option<Credentials>) -> Self {
        let poll = mio::Poll::new().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut peering = Peering::new(credentials, LIMITS, Sockets::new(&poll, 1).unwrap());
        let opened = peering.open(vec![(address, proto)]).unwrap();
        peering.listen(opened).unwrap();
        Self { peering, engine: Engine::default(), poll, address, now: 0 }
    }

    fn connect(&mut self, to: &Self, proto: Proto, ces_id: &str) {
        let endpoint = Endpoint {
            addr: to.address.ip(),
            port: to.address.port(),
            proto,
            order: 0,
            preference: 0,
            alias: None,
        };
        self.peering.connect(ConnId(7), &endpoint, &ces_id.into(), &mut self.engine, self.now);
    }

    fn turn(&mut self) {
        let mut events = mio::Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        for event in &events {
            let (source, socket) = Socket::of(event.token());
            assert_eq!(source, 1);
            self.peering.handle(socket, &mut self.engine, self.now);
        }
        self.peering.handle_unread(&mut self.engine, self.now);
        self.peering.handle_timeout(&mut self.engine, self.now);
        self.peering.flush(&mut self.engine, self.now);
    }

    fn has(&self, text: &str) -> bool {
        self.engine.told.iter().any(|told| told == text)
    }
}

/// Turns both sides until this holds.
fn until(sides: &mut [&mut Side], holds: impl Fn(&[&mut Side]) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds(sides) {
        let told: Vec<_> = sides.iter().map(|side| side.engine.told.clone()).collect();
        assert!(Instant::now() < end, "{told:?}");
        for side in sides.iter_mut() {
            side.turn();
        }
    }
}

fn credentials(names: &[&str]) -> Vec<Credentials> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("ces-peering-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(directory.join(name), text).unwrap();
        directory.join(name)
    };
    let all = names
        .iter()
        .map(|name| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, *name);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            Credentials::load(
                &write("ca", &ca),
                &write("cert", &certificate.pem()),
                &write("key", &key.serialize_pem()),
                name,
            )
            .unwrap()
        })
        .collect();
    std::fs::remove_dir_all(&directory).unwrap();
    all
}

fn tls_pair(first: &'static str, second: &'static str) -> (Side, Side) {
    let mut both = credentials(&[first, second]).into_iter();
    (Side::new(Proto::Tls, both.next()), Side::new(Proto::Tls, both.next()))
}

#[test]
fn both_ends_are_told_who_the_other_is_and_bytes_cross() {
    let (mut a, mut b) = tls_pair("gwa.demo.", "gwb.demo.");
    a.connect(&b, Proto::Tls, "gwb.demo.");
    until(&mut [&mut a, &mut b], |sides| {
        sides[0].has("connected 7 Some(\"gwb.demo.\")") && sides[1].has("accepted Some(\"gwa.demo.\")")
    });
    // Much more than a record, a segment or a turn.
    let long: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    a.peering.send(ConnId(7), &long, &mut a.engine, a.now);
    b.peering.send(ConnId(1001), b"back", &mut b.engine, b.now);
    until(&mut [&mut a, &mut b], |sides| {
        sides[1].engine.received == long && sides[0].engine.received == b"back"
    });
    a.peering.send(ConnId(7), b"last words", &mut a.engine, a.now);
    a.peering.close(ConnId(7), a.now);
    until(&mut [&mut a, &mut b], |sides| sides[1].has("closed 1001"));
    assert!(b.engine.received.ends_with(b"last words"), "what was sent goes out before the end");
    assert!(a.peering.is_empty() && b.peering.is_empty());
    assert!(!a.engine.told.iter().any(|told| told.starts_with("closed")), "it closed by itself");
}

#[test]
fn another_name_than_the_one_asked_for_is_no_peer() {
    let (mut a, mut b) = tls_pair("gwa.demo.", "gwb.demo.");
    a.connect(&b, Proto::Tls, "gwc.demo.");
    until(&mut [&mut a, &mut b], |sides| sides[0].has("closed 7"));
    assert_eq!(a.peering.counters.handshake_failed, 1);
    assert!(a.engine.received.is_empty() && !a.has("connected 7"));
}

#[test]
fn plain_tcp_knows_no_names() {
    let (mut a, mut b) = (Side::new(Proto::Tcp, None), Side::new(Proto::Tcp, None));
    a.connect(&b, Proto::Tcp, "gwb.demo.");
    until(&mut [&mut a, &mut b], |sides| sides[0].has("connected 7 None") && sides[1].has("accepted None"));
    a.peering.send(ConnId(7), b"hello", &mut a.engine, a.now);
    until(&mut [&mut a, &mut b], |sides| sides[1].engine.received == b"hello");
}

#[test]
fn tls_without_certificates_cannot_be_begun() {
    let (mut a, b) = (Side::new(Proto::Tcp, None), Side::new(Proto::Tcp, None));
    a.connect(&b, Proto::Tls, "gwb.demo.");
    assert!(a.has("closed 7") && a.peering.is_empty());
}

#[test]
fn who_does_not_speak_tls_is_gone_at_once_and_who_says_nothing_in_time() {
    let (_, mut b) = tls_pair("gwa.demo.", "gwb.demo.");
    let mut rude = TcpStream::connect(b.address).unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until(&mut [&mut b], |sides| sides[0].peering.counters.handshake_failed == 1);
    let silent = TcpStream::connect(b.address).unwrap();
    until(&mut [&mut b], |sides| sides[0].peering.len() == 1);
    b.now = LIMITS.handshake_ns;
    until(&mut [&mut b], |sides| sides[0].peering.is_empty());
    assert_eq!(b.peering.counters.timed_out, 1);
    assert!(b.engine.told.is_empty(), "the engine hears of nobody without a name");
    drop((rude, silent));
}

#[test]
fn nobody_there_is_told_as_closed() {
    let (mut a, b) = (Side::new(Proto::Tcp, None), Side::new(Proto::Tcp, None));
    let address = b.address;
    drop(b);
    let endpoint = Endpoint {
        addr: address.ip(),
        port: address.port(),
        proto: Proto::Tcp,
        order: 0,
        preference: 0,
        alias: None,
    };
    a.peering.connect(ConnId(7), &endpoint, &"gwb.demo.".into(), &mut a.engine, 0);
    until(&mut [&mut a], |sides| sides[0].has("closed 7"));
    // Packets that vanish: the connection's own time runs out.
    let endpoint = Endpoint { addr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)), ..endpoint };
    a.peering.connect(ConnId(8), &endpoint, &"gwb.demo.".into(), &mut a.engine, 0);
    a.now = LIMITS.connect_ns;
    until(&mut [&mut a], |sides| sides[0].has("closed 8"));
    assert!(a.peering.is_empty());
}

#[test]
fn blocked_addresses_and_too_many_connections_get_no_further_than_accept() {
    let mut b = Side::new(Proto::Tcp, None);
    b.engine.blocked = true;
    let mut stranger = TcpStream::connect(b.address).unwrap();
    until(&mut [&mut b], |sides| sides[0].peering.counters.refused_blocked == 1);
    assert_eq!(stranger.read(&mut [0; 1]).unwrap(), 0);
    b.engine.blocked = false;
    let many: Vec<_> = (0..6).map(|_| TcpStream::connect(b.address).unwrap()).collect();
    until(&mut [&mut b], |sides| sides[0].peering.counters.refused_limit == 2);
    assert_eq!(b.peering.len(), LIMITS.per_address);
    drop(many);
    until(&mut [&mut b], |sides| sides[0].peering.is_empty());
    // Room again.
    let _one = TcpStream::connect(b.address).unwrap();
    until(&mut [&mut b], |sides| sides[0].peering.len() == 1);
    b.engine.refuses = true;
    let mut refused = TcpStream::connect(b.address).unwrap();
    until(&mut [&mut b], |sides| sides[0].peering.counters.refused_engine == 1);
    assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let mut b = Side::new(Proto::Tcp, None);
    let silent = TcpStream::connect(b.address).unwrap();
    until(&mut [&mut b], |sides| sides[0].peering.len() == 1);
    let message = vec![0; 65_537];
    for _ in 0..1000 {
        b.peering.send(ConnId(1001), &message, &mut b.engine, b.now);
        b.peering.flush(&mut b.engine, b.now);
        if b.has("closed 1001") {
            break;
        }
    }
    assert!(b.has("closed 1001") && b.peering.is_empty());
    assert_eq!(b.peering.counters.congested, 1);
    drop(silent);
}

#[test]
fn c14_what_a_dead_connection_carried_goes_over_another() {
    let mut a = Side::new(Proto::Tcp, None);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    let endpoint = Endpoint {
        addr: address.ip(),
        port: address.port(),
        proto: Proto::Tcp,
        order: 0,
        preference: 0,
        alias: None,
    };
    for conn in [7, 8] {
        a.peering.connect(ConnId(conn), &endpoint, &"gwb.demo.".into(), &mut a.engine, a.now);
        until(&mut [&mut a], |sides| sides[0].has(&format!("connected {conn} None")));
    }
    let (mut first, mut second) = (peer.accept().unwrap().0, peer.accept().unwrap().0);
    // The first one has heard and answered; what comes after that is never read, and the connection is reset.
    a.peering.send(ConnId(7), b"heard", &mut a.engine, a.now);
    until(&mut [&mut a], |_| true);
    a.turn();
    first.read_exact(&mut [0; 5]).unwrap();
    first.write_all(b"yes").unwrap();
    until(&mut [&mut a], |sides| sides[0].engine.received == b"yes");
    a.peering.send(ConnId(7), b"unheard", &mut a.engine, a.now);
    a.turn();
    socket2::SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
    drop(first);
    until(&mut [&mut a], |sides| sides[0].has("closed 7"));
    a.turn();
    let mut said = [0; 7];
    second.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"unheard");
    assert_eq!(a.peering.counters.sent_again, 1);
}

/// Where the log goes while a test looks at it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn c10_a_refusal_says_which_peer_and_why() {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        // Another authority has signed the one who asks.
        let (mut a, mut b) = (
            Side::new(Proto::Tls, credentials(&["gwx.demo."]).pop()),
            Side::new(Proto::Tls, credentials(&["gwb.demo."]).pop()),
        );
        a.connect(&b, Proto::Tls, "gwb.demo.");
        until(&mut [&mut a, &mut b], |sides| {
            sides[0].peering.counters.handshake_failed + sides[1].peering.counters.handshake_failed > 0
        });
        // The engine does not trust the name.
        let (mut a, mut b) = tls_pair("gwy.demo.", "gwb.demo.");
        b.engine.refuses = true;
        a.connect(&b, Proto::Tls, "gwb.demo.");
        until(&mut [&mut a, &mut b], |sides| sides[1].peering.counters.refused_engine == 1);
    });
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |words: &[&str]| said.lines().any(|line| words.iter().all(|word| line.contains(word)));
    // Those whom we seek have lines of their own, which no number of strangers takes.
    assert!(line(&["no TLS with this peer", "gwb.demo.", "signature", "cetp_tls_known"]), "{said}");
    assert!(line(&["the peer is refused", "gwy.demo.", "not trusted"]), "{said}");
}

/// Whatever a peer sends at once is taken a little at a time, and of two that do so each has its turn.
#[test]
fn r2_what_comes_at_once_is_taken_in_pieces() {
    let (mut near, mut far) = tls_pair("gwa.", "gwb.");
    near.connect(&far, Proto::Tls, "gwb.");
    until(&mut [&mut near, &mut far], |sides| sides[1].has("accepted Some(\"gwa.\")"));
    let all = 512 * 1024;
    near.peering.send(ConnId(7), &vec![7; all], &mut near.engine, 0);
    let (mut seen, mut most) = (0, 0);
    let end = Instant::now() + Duration::from_secs(10);
    while seen < all && Instant::now() < end {
        near.turn();
        let mut events = mio::Events::with_capacity(64);
        far.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        let sockets: Vec<_> = events.iter().map(|event| Socket::of(event.token()).1).collect();
        for socket in sockets.into_iter().map(Some).chain([None]) {
            match socket {
                Some(socket) => far.peering.handle(socket, &mut far.engine, 0),
                None => far.peering.handle_unread(&mut far.engine, 0),
            }
            most = most.max(far.engine.received.len() - seen);
            seen = far.engine.received.len();
        }
    }
    // A record of TLS is given out whole: 16 KiB at most.
    assert!(seen == all && most <= 32 * 1024, "{seen} octets, {most} at once");
}
