//! DNS over TCP towards clients, and both transports towards resolvers, over the loopback.

use ces_control::config::DnsTcpSection;
use ces_control::source::{Socket, Sockets, Source};
use ces_control::sources::dns_tcp::{Asker, ClientQuery, DnsTcp};
use ces_control::sources::upstream::{Answers, SOCKETS, Upstream};
use ces_dataplane::settings::Side;
use ces_dns::resolver::{SocketKey, Transmit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// What the clients asked, and whose questions are not to be answered any more.
#[derive(Debug, Default)]
struct Asked {
    all: Vec<ClientQuery>,
    gone: Vec<u64>,
}

impl Asker for Asked {
    fn asked(&mut self, question: ClientQuery, _: u64) {
        self.all.push(question);
    }

    fn gone(&mut self, number: u64) {
        self.gone.push(number);
    }
}

struct Server {
    dns: DnsTcp,
    poll: mio::Poll,
    address: SocketAddr,
    asked: Asked,
    now: u64,
}

impl Server {
    fn new(limits: DnsTcpSection) -> Self {
        let poll = mio::Poll::new().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut dns = DnsTcp::new(limits, Sockets::new(&poll, 1).unwrap());
        let opened = dns.open(vec![(address, Side::Inside)]).unwrap();
        dns.listen(opened).unwrap();
        Self { dns, poll, address, asked: Asked::default(), now: 0 }
    }

    fn turn(&mut self) {
        let mut events = mio::Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        for event in &events {
            self.dns.handle(Socket::of(event.token()).1, &mut self.asked, self.now);
        }
        self.dns.handle_unread(&mut self.asked, self.now);
        self.dns.handle_timeout(&mut self.asked, self.now);
    }

    fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "{:?} {:?}", self.asked, self.dns.counters);
            self.turn();
        }
    }

    fn messages(&self) -> Vec<&[u8]> {
        self.asked.all.iter().map(|question| &question.message[..]).collect()
    }
}

#[test]
fn questions_are_pipelined_and_answered_in_any_order() {
    let mut server = Server::new(DnsTcpSection { pipeline: 2, ..DnsTcpSection::default() });
    let mut client = TcpStream::connect(server.address).unwrap();
    // Three questions, cut in an awkward place.
    let all = [framed(b"one"), framed(b"two"), framed(b"three")].concat();
    client.write_all(&all[..4]).unwrap();
    server.until(|server| server.dns.len() == 1);
    client.write_all(&all[4..]).unwrap();
    server.until(|server| server.asked.all.len() == 2);
    server.turn();
    assert_eq!(server.messages(), [b"one", b"two"], "the third waits for room in the pipeline");
    let (key, second) = (server.asked.all[1].client, server.asked.all[1].number);
    server.dns.answer(key, second, Some(b"answer two"), 0);
    server.until(|server| server.asked.all.len() == 3);
    let (first, third) = (server.asked.all[0].number, server.asked.all[2].number);
    server.dns.answer(key, first, None, 0);
    server.dns.answer(key, third, Some(b"answer three"), 0);
    let expected = [framed(b"answer two"), framed(b"answer three")].concat();
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

#[test]
fn a_client_that_has_asked_its_last_still_gets_its_answer() {
    let mut server = Server::new(DnsTcpSection::default());
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(&framed(b"last")).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.until(|server| server.asked.all.len() == 1);
    server.turn();
    assert_eq!(server.dns.len(), 1, "it waits");
    let (key, number) = (server.asked.all[0].client, server.asked.all[0].number);
    server.dns.answer(key, number, Some(b"bye"), 0);
    server.until(|server| server.dns.is_empty());
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, framed(b"bye"));
}

/// TCP tells a client that does not read to wait with its questions; what it has asked is answered, and nothing is lost.
#[test]
fn n17_a_client_that_reads_late_gets_all_its_answers() {
    const QUESTIONS: usize = 200;
    const LONG: usize = 60_000;
    let mut server = Server::new(DnsTcpSection::default());
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(&framed(b"question").repeat(QUESTIONS)).unwrap();
    let mut answered = 0;
    let mut answer = |server: &mut Server| {
        server.turn();
        for at in answered..server.asked.all.len() {
            let (key, number) = (server.asked.all[at].client, server.asked.all[at].number);
            server.dns.answer(key, number, Some(&vec![7; LONG]), 0);
        }
        answered = server.asked.all.len();
        answered
    };
    // Long enough for all that would be taken.
    let mut before = 0;
    while before == 0 || answer(&mut server) > before {
        before = server.asked.all.len();
        (0..20).for_each(|_| server.turn());
    }
    assert!(before < QUESTIONS, "{before} questions were taken of who reads nothing");
    assert_eq!((server.dns.len(), server.dns.counters.congested), (1, 0));
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; QUESTIONS * (2 + LONG)];
        client.read_exact(&mut all).unwrap();
        all.chunks(2 + LONG).filter(|answer| answer[2..].iter().all(|byte| *byte == 7)).count()
    });
    let end = Instant::now() + PATIENCE;
    while !reader.is_finished() {
        assert!(Instant::now() < end, "{:?}", server.dns.counters);
        answer(&mut server);
    }
    assert_eq!(reader.join().unwrap(), QUESTIONS);
    assert_eq!(server.dns.counters.congested, 0);
}

#[test]
fn who_goes_away_leaves_its_questions_to_be_given_up() {
    let mut server = Server::new(DnsTcpSection::default());
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(&[framed(b"one"), framed(b"two")].concat()).unwrap();
    server.until(|server| server.asked.all.len() == 2);
    // Reset rather than closed: unread bytes are left.
    server.dns.answer(server.asked.all[0].client, server.asked.all[0].number, Some(b"unread"), 0);
    std::thread::sleep(Duration::from_millis(5));
    drop(client);
    server.until(|server| server.dns.is_empty());
    server.turn();
    assert_eq!(server.asked.gone, [server.asked.all[1].number]);
    server.dns.answer(server.asked.all[1].client, server.asked.all[1].number, Some(b"too late"), 0);
}

#[test]
fn idle_clients_are_closed_waiting_ones_are_not_and_a_crowd_is_refused() {
    let limits =
        DnsTcpSection { idle_s: 10, connections: 3, connections_per_client: 2, ..DnsTcpSection::default() };
    let mut server = Server::new(limits);
    let mut one = TcpStream::connect(server.address).unwrap();
    let mut two = TcpStream::connect(server.address).unwrap();
    server.until(|server| server.dns.len() == 2);
    let mut three = TcpStream::connect(server.address).unwrap();
    server.until(|server| server.dns.counters.refused == 1);
    assert_eq!(three.read(&mut [0; 1]).unwrap(), 0);
    one.write_all(&framed(b"slow")).unwrap();
    // A byte now and then is no question.
    two.write_all(&[0]).unwrap();
    server.until(|server| server.asked.all.len() == 1);
    server.now = 10_000_000_000;
    server.until(|server| server.dns.len() == 1);
    assert_eq!(two.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(server.dns.counters.idle, 1);
    server.dns.answer(server.asked.all[0].client, server.asked.all[0].number, Some(b"done"), server.now);
    let mut got = [0; 6];
    one.read_exact(&mut got).unwrap();
    assert_eq!(got, *b"\0\x04done");
}

/// C6: strangers who connect and ask nothing keep nobody out.
#[test]
fn c6_who_asks_nothing_gives_way_to_who_finds_no_room() {
    let limits = DnsTcpSection { connections: 3, connections_per_client: 8, ..DnsTcpSection::default() };
    let mut server = Server::new(limits);
    let connect = |server: &mut Server| {
        let stream = TcpStream::connect(server.address).unwrap();
        let counted = |server: &Server| server.dns.counters.accepted + server.dns.counters.refused;
        let before = counted(server);
        server.until(|server| counted(server) > before);
        stream
    };
    let mut asker = connect(&mut server);
    let mut silent = connect(&mut server);
    asker.write_all(&framed(b"slow")).unwrap();
    silent.write_all(&[0]).unwrap();
    server.until(|server| server.asked.all.len() == 1);
    connect(&mut server);
    assert_eq!(server.dns.counters.refused, 1, "nobody has been silent for a second");
    server.now = 1_000_000_000;
    let mut late = connect(&mut server);
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    late.write_all(&framed(b"mine")).unwrap();
    server.until(|server| server.asked.all.len() == 2);
    // Both wait for their answers, however long that takes.
    server.now = 9_000_000_000;
    connect(&mut server);
    assert_eq!((server.dns.counters.refused, server.dns.counters.idle, server.dns.len()), (2, 1, 2));
}

#[derive(Default)]
struct Heard {
    answers: Vec<(SocketAddr, SocketKey, Vec<u8>)>,
    unreachable: Vec<SocketKey>,
}

impl Answers for Heard {
    fn answered(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8]) {
        self.answers.push((server, socket, bytes.to_vec()));
    }

    fn unreachable(&mut self, _: SocketAddr, socket: SocketKey) {
        self.unreachable.push(socket);
    }
}

struct Asking {
    upstream: Upstream,
    poll: mio::Poll,
    heard: Heard,
}

impl Asking {
    fn new() -> Self {
        let poll = mio::Poll::new().unwrap();
        let upstream = Upstream::new(Sockets::new(&poll, 1).unwrap());
        Self { upstream, poll, heard: Heard::default() }
    }

    fn send(&mut self, server: SocketAddr, socket: SocketKey) {
        let transmit = Transmit { server, socket, bytes: b"question".to_vec() };
        self.upstream.send(&transmit, &mut self.heard, 0);
    }

    fn until(&mut self, holds: impl Fn(&Heard) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&self.heard) {
            assert!(Instant::now() < end, "{:?}", self.upstream.counters);
            let mut events = mio::Events::with_capacity(64);
            self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
            for event in &events {
                self.upstream.handle(Socket::of(event.token()).1, &mut self.heard, 0);
            }
            self.upstream.handle_unread(&mut self.heard, 0);
        }
    }
}

#[test]
fn each_udp_socket_has_a_port_of_its_own_and_hears_its_own_answers() {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = resolver.local_addr().unwrap();
    let mut asking = Asking::new();
    let mut ports = Vec::new();
    for number in 0..SOCKETS {
        asking.send(server, SocketKey::Udp(number));
        let mut buffer = [0; 64];
        let (length, from) = resolver.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        ports.push(from.port());
        resolver.send_to(&number.to_be_bytes(), from).unwrap();
    }
    asking.until(|heard| heard.answers.len() == usize::from(SOCKETS));
    for (from, socket, bytes) in &asking.heard.answers {
        let SocketKey::Udp(number) = socket else { panic!("{socket:?}") };
        assert_eq!((*from, &bytes[..]), (server, &number.to_be_bytes()[..]));
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), usize::from(SOCKETS));
    assert!(ports.iter().all(|port| *port >= 1024));
}

/// RFC 5452 §9.2: a port is used as long as its question is open, then never again but by chance.
#[test]
fn n7_a_socket_that_was_closed_comes_back_at_another_port() {
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = resolver.local_addr().unwrap();
    let mut asking = Asking::new();
    let mut ports = Vec::new();
    for _ in 0..20 {
        for _ in 0..2 {
            asking.send(server, SocketKey::Udp(7));
            ports.push(resolver.recv_from(&mut [0; 64]).unwrap().1.port());
        }
        asking.upstream.close_socket(SocketKey::Udp(7));
    }
    assert!(ports.chunks(2).all(|pair| pair[0] == pair[1]), "open, it stays where it is: {ports:?}");
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() >= 18, "{ports:?}");
}

#[test]
fn an_answer_over_tcp_comes_whole_or_not_at_all() {
    let resolver = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = resolver.local_addr().unwrap();
    let mut asking = Asking::new();
    asking.send(server, SocketKey::Tcp(1));
    asking.send(server, SocketKey::Tcp(2));
    let thread = std::thread::spawn(move || {
        let long = vec![7; 40_000];
        for cut in [false, true] {
            let (mut socket, _) = resolver.accept().unwrap();
            let mut question = [0; 10];
            socket.read_exact(&mut question).unwrap();
            assert_eq!(question, *b"\0\x08question");
            let answer = framed(&long);
            socket.write_all(&answer[..if cut { 100 } else { answer.len() }]).unwrap();
        }
    });
    asking.until(|heard| heard.answers.len() == 1 && heard.unreachable.len() == 1);
    assert_eq!(asking.heard.answers[0].2.len(), 40_000);
    thread.join().unwrap();
    // Nobody listens there any more.
    asking.send(server, SocketKey::Tcp(3));
    asking.until(|heard| heard.unreachable.contains(&SocketKey::Tcp(3)));
    // Somebody who says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    asking.send(silent.local_addr().unwrap(), SocketKey::Tcp(4));
    asking.upstream.handle_timeout(&mut asking.heard, 5_000_000_000);
    assert!(asking.heard.unreachable.contains(&SocketKey::Tcp(4)));
}
