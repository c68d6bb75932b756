//! Two TCP stacks (smoltcp's) speak FTP's control channel, or RTSP, through the gateway, over a path that drops, duplicates,
//! reorders and cuts segments anew on both sides: what each application reads is what the other wrote, but for the places that it
//! names.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::shift::TEXT;
use ces_dataplane::counters::Counters;
use ces_dataplane::msg::BindingLimits;
use ces_dataplane::verdict::Verdict;
use ces_dataplane::wire::ftp::{PLACE, Said, Speaker, said};
use common::nat::*;
use common::*;
use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::VecDeque;

/// A link of one stack: packets in, packets out.
struct Link {
    arrived: VecDeque<Vec<u8>>,
    left: Vec<Vec<u8>>,
    mtu: usize,
}

struct Arrived(Vec<u8>);
struct Leaving<'l>(&'l mut Vec<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Link {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        self.arrived.pop_front().map(|packet| (Arrived(packet), Leaving(&mut self.left)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.left))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A stack with one connection, and its application, which writes and reads.
struct End {
    link: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    writes: VecDeque<Vec<u8>>,
    read: Vec<u8>,
    /// It has written all, and heard that it has arrived.
    is_done: bool,
    /// Behind the last byte that it has ever sent, once it has sent one.
    next: Option<u32>,
}

impl End {
    fn new(own: u32, gateway: u32, seed: u64, (mtu, buffer): (usize, usize), writes: Vec<Vec<u8>>) -> Self {
        let mut link = Link { arrived: VecDeque::new(), left: vec![], mtu };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut link, Instant::ZERO);
        interface.update_ip_addrs(|all| all.push(IpCidr::new(ip(own), 24)).unwrap());
        interface.routes_mut().add_default_ipv4_route(Ipv4Address::from_bits(gateway)).unwrap();
        let room = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut sockets = SocketSet::new(vec![]);
        let socket = sockets.add(tcp::Socket::new(room(), room()));
        let writes = writes.into();
        Self { link, interface, sockets, socket, writes, read: vec![], is_done: false, next: None }
    }

    /// A packet as it leaves: an acknowledgement bears the number of what is sent next (RFC 9293 §3.10.7.4). smoltcp's bears
    /// that of what it sends again, which the other end does not take if it has come; two that say all again to each other, and
    /// have all of the other's, would never hear so.
    fn leaves(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let length = packet.len() - 20 - usize::from(packet[32] >> 4) * 4;
        let first = u32::from_be_bytes(packet[24..28].try_into().unwrap());
        let end = first.wrapping_add(length as u32).wrapping_add(u32::from(packet[33] & (SYN | FIN) != 0));
        match self.next {
            Some(next) if end.wrapping_sub(next) as i32 <= 0 => {
                if length == 0 && packet[33] & (SYN | FIN | RST) == 0 {
                    packet[24..28].copy_from_slice(&next.to_be_bytes());
                    packet = mended(packet);
                }
            }
            _ => self.next = Some(end),
        }
        packet
    }

    /// The stack and the application have a turn.
    fn turn(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.link, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        if socket.can_recv() {
            let _ = socket.recv(|bytes| {
                self.read.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        if socket.may_send() && socket.can_send() {
            match self.writes.pop_front() {
                Some(chunk) => {
                    let sent = socket.send_slice(&chunk).unwrap_or(0);
                    if sent < chunk.len() {
                        self.writes.push_front(chunk[sent..].to_vec());
                    }
                }
                None if socket.send_queue() == 0 => self.is_done = true,
                None => {}
            }
        }
    }
}

fn ip(bits: u32) -> IpAddress {
    IpAddress::Ipv4(Ipv4Address::from_bits(bits))
}

/// What a path does to packets, by numbers that are drawn once.
struct Path {
    random: u64,
    /// Of 256.
    loss: u64,
    mess: u64,
    cuts: u64,
    /// Under way, each until its time.
    under_way: Vec<(u64, Vec<u8>)>,
}

impl Path {
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn happens(&mut self, of_256: u64) -> bool {
        self.draw() >> 20 & 255 < of_256
    }

    fn put(&mut self, packet: Vec<u8>, now: u64) {
        if self.happens(self.loss) {
            return;
        }
        let pieces = if self.happens(self.cuts) { cut(&packet, self.draw()) } else { vec![packet] };
        for piece in pieces {
            let copies = 1 + usize::from(self.happens(self.mess));
            for _ in 0..copies {
                let delay = if self.happens(self.mess) { self.draw() % 90 } else { 5 };
                self.under_way.push((now + delay, piece.clone()));
            }
        }
    }

    fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        let due = self.under_way.extract_if(.., |(at, _)| *at <= now);
        due.map(|(_, packet)| packet).collect()
    }
}

/// A segment in two, where it has two bytes at least.
fn cut(packet: &[u8], at: u64) -> Vec<Vec<u8>> {
    let data = 20 + usize::from(packet[32] >> 4) * 4;
    let length = packet.len() - data;
    if length < 2 || packet[33] & (SYN | RST) != 0 {
        return vec![packet.to_vec()];
    }
    let at = 1 + at as usize % (length - 1);
    let (mut first, mut second) = (packet[..data + at].to_vec(), packet[..data].to_vec());
    second.extend(&packet[data + at..]);
    first[33] &= !FIN;
    let sequence = u32::from_be_bytes(packet[24..28].try_into().unwrap()).wrapping_add(at as u32);
    second[24..28].copy_from_slice(&sequence.to_be_bytes());
    [first, second].map(mended).to_vec()
}

/// The packet with right lengths and checksums.
fn mended(mut packet: Vec<u8>) -> Vec<u8> {
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[10..12].fill(0);
    packet[36..38].fill(0);
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let sum = l4_checksum(word(12), word(16), 6, &packet[20..]);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Moves the numbers of the client's bytes, so that they wrap where a case wants it: in what it sends, and back in what it is
/// sent.
fn renumbered(mut packet: Vec<u8>, by: u32, is_sent: bool) -> Vec<u8> {
    let mut add = |at: usize| {
        let number = u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        packet[at..at + 4].copy_from_slice(&number.wrapping_add(by).to_be_bytes());
    };
    if is_sent {
        add(24);
        return mended(packet);
    }
    add(28);
    let (mut at, end) = (40, 20 + usize::from(packet[32] >> 4) * 4);
    while at < end && packet[at] != 0 {
        let length = if packet[at] == 1 { 1 } else { usize::from(packet[at + 1]) };
        if packet[at] == 5 {
            for edge in (at + 2..at + length).step_by(4) {
                let number = u32::from_be_bytes(packet[edge..edge + 4].try_into().unwrap());
                packet[edge..edge + 4].copy_from_slice(&number.wrapping_add(by).to_be_bytes());
            }
        }
        at += length;
    }
    mended(packet)
}

/// Lines of a control channel, and what is none.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let port = || (1024u16..9000).prop_map(|port| (port >> 8, port & 255));
    prop_oneof![
        4 => port().prop_map(|(high, low)| format!("PORT 10,0,0,10,{high},{low}\r\n").into_bytes()),
        3 => (1024u16..9000).prop_map(|port| format!("eprt |1|10.0.0.10|{port}|\r\n").into_bytes()),
        1 => port().prop_map(|(high, low)| format!("PORT 10,0,0,77,{high},{low}\r\n").into_bytes()),
        1 => Just(b"PORT 10,0,0,10,".to_vec()),
        1 => Just(b"EPRT\r\n\r\nP".to_vec()),
        1 => Just(b"\xff\xf4\xff\xf2ABOR\r\n".to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..300),
        2 => Just(b"LIST\r\n".to_vec()),
    ]
}

/// Lines of a server.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let port = || (1024u16..9000).prop_map(|port| (port >> 8, port & 255));
    prop_oneof![
        4 => port().prop_map(|(high, low)| {
            format!("227 Entering Passive Mode (10,0,0,10,{high},{low}).\r\n").into_bytes()
        }),
        1 => (1024u16..9000).prop_map(|port| format!("229 Extended (|||{port}|)\r\n").into_bytes()),
        1 => Just(b"227 (10,0,0,".to_vec()),
        4 => line(),
    ]
}

/// What is written, in chunks as an application writes them.
fn script() -> impl Strategy<Value = (Vec<u8>, Vec<Vec<u8>>)> {
    script_of(line())
}

fn script_of(line: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = (Vec<u8>, Vec<Vec<u8>>)> {
    let lines = proptest::collection::vec(line, 1..24);
    (lines, proptest::collection::vec(1usize..200, 1..20)).prop_map(|(lines, sizes)| {
        let whole = [lines.concat(), b"QUIT\r\n".to_vec()].concat();
        let chunks = chunks(&whole, &sizes);
        (whole, chunks)
    })
}

fn chunks(whole: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (mut chunks, mut rest) = (vec![], whole);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, more) = rest.split_at((*size).min(rest.len()));
        chunks.push(chunk.to_vec());
        rest = more;
    }
    chunks
}

/// Messages of RTSP that name an address, `@`, and what stands between them.
fn message() -> impl Strategy<Value = String> {
    let described = |fill: usize| {
        format!("v=0\r\no=- 1 1 IN IP4 @\r\ns={}\r\nc=IN IP4 @\r\nm=video 0 RTP/AVP 96\r\n", "x".repeat(fill))
    };
    prop_oneof![
        4 => (2500u16..2504).prop_map(|half| {
            let (port, rtcp) = (2 * half, 2 * half + 1);
            let transport = format!("RTP/AVP;unicast;destination=@;client_port={port}-{rtcp}");
            format!("SETUP rtsp://8.8.8.8/a RTSP/1.0\r\nCSeq: 1\r\nTransport: {transport}\r\n\r\n")
        }),
        2 => Just("RTSP/1.0 200 OK\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;destination=@;interleaved=0-1\r\n\r\n".to_owned()),
        2 => (0usize..1800).prop_map(move |fill| {
            let length = described(fill).replace('@', &address(LOCAL).to_string()).len();
            format!(
                "ANNOUNCE rtsp://8.8.8.8/a RTSP/1.0\r\nCSeq: 3\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {length}\r\n\r\n{}",
                described(fill)
            )
        }),
        1 => (0usize..700).prop_map(|length| {
            format!("SET_PARAMETER * RTSP/1.0\r\nCSeq: 4\r\nContent-Length: {length}\r\n\r\n{}", "y".repeat(length))
        }),
        2 => (0usize..2000).prop_map(|length| {
            let header = [b'$', 0, (length >> 8) as u8 & 0x7f, length as u8 & 0x7f | 1];
            let length = usize::from(header[2]) << 8 | usize::from(header[3]);
            String::from_utf8_lossy(&header).into_owned() + &"z".repeat(length)
        }),
        1 => Just("\r\n\r\n".to_owned()),
    ]
}

/// What is written by one who is at an address: as it is here, and as it is to be read there.
fn talk(here: u32, there: u32) -> impl Strategy<Value = (Vec<u8>, Vec<Vec<u8>>)> {
    let messages = proptest::collection::vec(message(), 1..12);
    (messages, proptest::collection::vec(1usize..1500, 1..20)).prop_map(move |(messages, sizes)| {
        let as_by = |at: u32| {
            let at = address(at).to_string();
            let lengths = |text: &String| {
                let Some((head, body)) =
                    text.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("ANN"))
                else {
                    return text.replace('@', &at);
                };
                let (body, at_length) = (body.replace('@', &at), head.rfind(' ').unwrap() + 1);
                format!("{}{}\r\n\r\n{body}", &head[..at_length], body.len())
            };
            messages.iter().map(lengths).collect::<String>().into_bytes()
        };
        (as_by(there), chunks(&as_by(here), &sizes))
    })
}

/// Whether one reads what the other wrote, with the places that the other may name written as what they are outside.
fn assert_same(speaker: Speaker, outside: u32, written: &[u8], read: &[u8]) {
    let lines =
        |bytes: &[u8]| bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (written, read) = (lines(written), lines(read));
    for (before, after) in written.iter().zip(&read) {
        // What is longer than an edit can be, or would become, another gateway would not read in one piece.
        if before.len() + PLACE > TEXT && before == after {
            continue;
        }
        let own = match said(speaker, before) {
            Ok(Said::Awaits(place)) if place.address == Some(HOST) && before.ends_with(b"\n") => place,
            _ => {
                assert_eq!(before, after);
                continue;
            }
        };
        let Ok(Said::Awaits(place)) = said(speaker, after) else { panic!("{after:?}") };
        assert_eq!(place.address, Some(outside), "{:?}", String::from_utf8_lossy(after));
        assert_eq!(before[..own.at()], after[..place.at()]);
        assert_eq!(before[own.end()..], after[place.end()..]);
    }
    assert_eq!(written.len(), read.len());
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    by: u32,
    mtu: [usize; 2],
    buffer: [usize; 2],
    loss: u64,
    mess: u64,
    cuts: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let mtu = || prop_oneof![Just(1500usize), 120usize..1500];
    // Never full: smoltcp does not always go on when a window has been closed.
    let buffer = (8192usize..20_000, 8192usize..20_000);
    (any::<u64>(), any::<u32>(), (mtu(), mtu()), buffer, 0u64..50, 0u64..60, 0u64..128).prop_map(
        |(seed, by, mtu, buffer, loss, mess, cuts)| Case {
            seed: seed | 1,
            by,
            mtu: mtu.into(),
            buffer: buffer.into(),
            loss,
            mess,
            cuts,
        },
    )
}

/// What stands between the two.
trait Between {
    /// Where the server is, and what the client calls it.
    const SERVER: [u32; 2];

    /// What becomes of a packet that one of them (0, 1) has sent: what each gets.
    fn carry(&mut self, from: usize, packet: &[u8], now: u64) -> Vec<(usize, Vec<u8>)>;

    /// What was met with.
    fn counters(&self) -> Vec<&Counters>;
}

impl Between for Gateway {
    const SERVER: [u32; 2] = [SERVER, SERVER];

    fn carry(&mut self, from: usize, packet: &[u8], now: u64) -> Vec<(usize, Vec<u8>)> {
        self.now = now;
        let (port, to, mac) = [(INSIDE, MAC_IN, MAC_HOST), (OUTSIDE, MAC_OUT, MAC_ROUTER)][from];
        let (verdict, out) = self.one(port, &ethernet(to, mac, 0x0800, packet));
        let is_reply = matches!(verdict, Verdict::Reply(..));
        let sound = |(left_by, frame): (u8, Vec<u8>)| {
            assert_sound(&frame);
            (usize::from(left_by != INSIDE), frame[14..].to_vec())
        };
        out.into_iter().filter(|_| !is_reply).map(sound).collect()
    }

    fn counters(&self) -> Vec<&Counters> {
        vec![&self.state.counters]
    }
}

/// Two gateways with a tunnel in which packets are lost, and a host behind each.
struct Realms {
    gateways: Vec<Gateway>,
    random: Path,
}

impl Realms {
    fn new(case: &Case) -> Self {
        let gateways = realms::gateways(&settings(), BindingLimits::default());
        let random = Path { random: case.seed, loss: case.loss, mess: 0, cuts: 0, under_way: vec![] };
        Self { gateways, random }
    }
}

impl Between for Realms {
    const SERVER: [u32; 2] = [HOST, PROXY];

    fn carry(&mut self, from: usize, packet: &[u8], now: u64) -> Vec<(usize, Vec<u8>)> {
        let (mut got, mut under_way) =
            (vec![], vec![(from, INSIDE, ethernet(MAC_IN, MAC_HOST, 0x0800, packet))]);
        while let Some((at, by, frame)) = under_way.pop() {
            self.gateways[at].now = now;
            let (verdict, out) = self.gateways[at].one(by, &frame);
            for (left_by, mut frame) in out.into_iter().filter(|_| !matches!(verdict, Verdict::Reply(..))) {
                assert_sound(&frame);
                if left_by == INSIDE {
                    got.push((at, frame[14..].to_vec()));
                } else if !self.random.happens(self.random.loss) {
                    frame[..6].copy_from_slice(&MAC_OUT);
                    under_way.push((1 - at, OUTSIDE, frame));
                }
            }
        }
        got
    }

    fn counters(&self) -> Vec<&Counters> {
        self.gateways.iter().map(|gateway| &gateway.state.counters).collect()
    }
}

/// Has the two speak through a gateway until both have said all and heard that the other has; what each has read.
fn speak(case: &Case, port: u16, client: Vec<Vec<u8>>, server: Vec<Vec<u8>>) -> [Vec<u8>; 2] {
    speak_through(gateway(), case, port, client, server)
}

fn speak_through<B: Between>(
    mut between: B,
    case: &Case,
    port: u16,
    client: Vec<Vec<u8>>,
    server: Vec<Vec<u8>>,
) -> [Vec<u8>; 2] {
    let Case { seed, by, mtu, buffer, loss, mess, cuts } = *case;
    let [at, called] = B::SERVER;
    let router = if at == HOST { GATEWAY } else { at + 1 };
    let mut ends = [
        End::new(HOST, GATEWAY, seed, (mtu[0], buffer[0]), client),
        End::new(at, router, seed >> 7, (mtu[1], buffer[1]), server),
    ];
    let path = |random: u64| Path { random: random | 1, loss, mess, cuts, under_way: vec![] };
    // From and to the client, from and to the server.
    let mut paths =
        [1, 2, 3, 4].map(|nth: u64| path(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(nth << 32)));
    let handle = ends[1].socket;
    ends[1].sockets.get_mut::<tcp::Socket<'_>>(handle).listen(port).unwrap();
    let End { interface, sockets, socket, .. } = &mut ends[0];
    let connection = sockets.get_mut::<tcp::Socket<'_>>(*socket);
    connection.connect(interface.context(), (ip(called), port), 4000).unwrap();
    let mut now = 0;
    for _ in 0..400_000u64 {
        // Where nothing is under way, the time is that at which somebody has something to say.
        now += 5;
        if paths.iter().all(|path| path.under_way.is_empty()) {
            let at = Instant::from_millis(now as i64);
            let says = |end: &mut End| end.interface.poll_at(at, &end.sockets);
            let next = ends.iter_mut().filter_map(says).map(|at| at.total_millis() as u64).min();
            now = now.max(next.unwrap_or(now));
        }
        for (side, end) in ends.iter_mut().enumerate() {
            end.turn(Instant::from_millis(now as i64));
            for packet in std::mem::take(&mut end.link.left) {
                let packet = end.leaves(packet);
                let packet = if side == 0 { renumbered(packet, by, true) } else { packet };
                paths[2 * side].put(packet, now);
            }
            end.link.arrived.extend(paths[2 * side + 1].take(now));
        }
        for from in 0..2 {
            for packet in paths[2 * from].take(now) {
                for (to, packet) in between.carry(from, &packet, SECOND + now * 1_000_000) {
                    let packet = if to == 0 { renumbered(packet, by.wrapping_neg(), false) } else { packet };
                    paths[2 * to + 1].put(packet, now);
                }
            }
        }
        if ends.iter().all(|end| end.is_done) {
            assert!(between.counters().iter().all(|counters| counters.alg_full == 0));
            return ends.map(|end| end.read);
        }
    }
    let read = ends.each_ref().map(|end| String::from_utf8_lossy(&end.read).into_owned());
    panic!("they do not come to an end: {read:?}, {:?}", between.counters());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// alg.md, TCP sequence adjustment: nothing is lost, duplicated, or let through.
    #[test]
    fn each_reads_what_the_other_wrote(case in case(), client in script(), server in script()) {
        let [to_client, to_server] = speak(&case, 21, client.1, server.1);
        prop_assert_eq!(&to_client, &server.0);
        assert_same(Speaker::Client, LOCAL, &client.0, &to_server);
    }

    /// The same of messages, both ways.
    #[test]
    fn each_reads_what_the_other_said(case in case(), client in talk(HOST, LOCAL), server in talk(LOCAL, HOST)) {
        let [to_client, to_server] = speak(&case, 554, client.1, server.1);
        prop_assert_eq!(String::from_utf8_lossy(&to_client), String::from_utf8_lossy(&server.0));
        prop_assert_eq!(String::from_utf8_lossy(&to_server), String::from_utf8_lossy(&client.0));
    }

    /// The same between realms, whose gateways both write anew what both sides say.
    #[test]
    fn each_reads_what_the_other_wrote_in_another_realm(case in case(), client in script(), server in script_of(reply())) {
        let [to_client, to_server] = speak_through(Realms::new(&case), &case, 21, client.1, server.1);
        assert_same(Speaker::Server, PROXY, &server.0, &to_client);
        assert_same(Speaker::Client, PROXY, &client.0, &to_server);
    }

    /// The same of messages.
    #[test]
    fn each_reads_what_the_other_said_in_another_realm(case in case(), client in talk(HOST, PROXY), server in talk(HOST, PROXY)) {
        let [to_client, to_server] = speak_through(Realms::new(&case), &case, 554, client.1, server.1);
        prop_assert_eq!(String::from_utf8_lossy(&to_client), String::from_utf8_lossy(&server.0));
        prop_assert_eq!(String::from_utf8_lossy(&to_server), String::from_utf8_lossy(&client.0));
    }
}
