//! FTP's ALG, case by case: control channels between inside hosts and the world, segments in, segments out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::scope::{AlgHosts, AlgMode, Rewrite};
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::msg::Event;
use ces_dataplane::nat::Filtering;
use ces_dataplane::nat::statics::{PortProtocol, Static};
use ces_dataplane::path::process_burst;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::verdict::Verdict;
use common::nat::*;
use common::*;

const PSH: u8 = 0x08;
const FTP: u16 = 21;
/// Where the client's and the server's first bytes stand.
const CLIENT: u32 = 1000;
const REMOTE_ISN: u32 = 0xffff_ff00;

/// A segment with these numbers.
fn segment(ports: (u16, u16), flags: u8, (sequence, acknowledgement): (u32, u32), data: &[u8]) -> Vec<u8> {
    let mut bytes = tcp(ports.0, ports.1, flags, &[], data);
    bytes[4..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    bytes
}

/// What the host sends in its control channel.
fn says(sequence: u32, data: &[u8]) -> Vec<u8> {
    from_host(&Ip::new(HOST, SERVER, 6, segment((4000, FTP), ACK | PSH, (sequence, REMOTE_ISN + 1), data)))
}

/// What the server sends in it.
fn hears(acknowledgement: u32, data: &[u8]) -> Vec<u8> {
    let numbers = (REMOTE_ISN + 1, acknowledgement);
    from_world(&Ip::new(SERVER, LOCAL, 6, segment((FTP, 4000), ACK | PSH, numbers, data)))
}

/// A gateway through which a client inside has connected to a server outside.
fn connected() -> Gateway {
    connect(gateway())
}

fn connect(mut gateway: Gateway) -> Gateway {
    let syn = segment((4000, FTP), SYN, (CLIENT - 1, 0), &[]);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, syn)));
    let answer = segment((FTP, 4000), SYN | ACK, (REMOTE_ISN, CLIENT), &[]);
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, answer)));
    sent(&mut gateway, INSIDE, &says(CLIENT, b""));
    gateway
}

/// Sequence number, acknowledged number, and payload of a segment that left.
fn said(frame: &[u8]) -> (u32, u32, Vec<u8>) {
    assert_sound(frame);
    let header = usize::from(frame[14 + 32] >> 4) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    (word(frame, 24), word(frame, 28), frame[14 + 20 + header..14 + total].to_vec())
}

/// What the server is sent for what the host says.
fn passes(gateway: &mut Gateway, sequence: u32, data: &[u8]) -> (u32, Vec<u8>) {
    let (port, frame) = sent(gateway, INSIDE, &says(sequence, data));
    assert_eq!((port, flow(&frame)), (OUTSIDE, (LOCAL, 4000, SERVER, FTP)));
    let (sequence, _, data) = said(&frame);
    (sequence, data)
}

/// What the host is acknowledged when the server acknowledges this.
fn acknowledged(gateway: &mut Gateway, acknowledgement: u32) -> u32 {
    let (port, frame) = sent(gateway, OUTSIDE, &hears(acknowledgement, b""));
    assert_eq!(port, INSIDE);
    said(&frame).1
}

/// The SYN of a data connection from the server.
fn data_syn(gateway: &mut Gateway, source: u32, port: u16) -> Result<(u32, u16, u32, u16), Why> {
    let frame = from_world(&Ip::new(source, LOCAL, 6, segment((20, port), SYN, (7, 0), &[])));
    match gateway.one(OUTSIDE, &frame) {
        (Verdict::Forward(_), out) => Ok(flow(&out[0].1)),
        (Verdict::Drop(why), _) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// What the host says is written anew: its address is 10.0.0.10, ours outside 198.51.100.1, and its port stays where it is
/// free.
#[test]
fn a_port_command_names_the_external_address_and_lets_the_server_in_once() {
    let mut gateway = connected();
    let (from, to) = (b"PORT 10,0,0,10,20,21\r\n", b"PORT 198,51,100,1,20,21\r\n");
    assert_eq!(passes(&mut gateway, CLIENT, from), (CLIENT, to.to_vec()));
    let (length, grown) = (from.len() as u32, to.len() as u32);
    assert_eq!(acknowledged(&mut gateway, CLIENT + grown), CLIENT + length);
    assert_eq!(acknowledged(&mut gateway, CLIENT + 8), CLIENT + 5, "in the middle of it: not yet");
    assert_eq!(passes(&mut gateway, CLIENT + length, b"LIST\r\n"), (CLIENT + grown, b"LIST\r\n".to_vec()));
    // Once more, whole and from its middle on: the same bytes.
    assert_eq!(passes(&mut gateway, CLIENT, from), (CLIENT, to.to_vec()));
    assert_eq!(passes(&mut gateway, CLIENT + 9, &from[9..]), (CLIENT + 5, to[5..].to_vec()));

    let port = 20 * 256 + 21;
    assert_eq!(data_syn(&mut gateway, SERVER_2, port), Err(Why::Unasked), "RFC 2577 §3: of nobody else");
    assert_eq!(data_syn(&mut gateway, SERVER, port + 1), Err(Why::Unasked));
    assert_eq!(data_syn(&mut gateway, SERVER, port), Ok((SERVER, 20, HOST, port)));
    let (_, frame) = sent(
        &mut gateway,
        INSIDE,
        &from_host(&Ip::new(HOST, SERVER, 6, segment((port, 20), SYN | ACK, (1, 8), &[]))),
    );
    assert_eq!(flow(&frame), (LOCAL, port, SERVER, 20));
    let other = from_world(&Ip::new(SERVER, LOCAL, 6, segment((1234, port), SYN, (7, 0), &[])));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &other), Why::Unasked, "once");
    let counters = &gateway.state.counters;
    assert_eq!((counters.alg_announced, counters.alg_came, counters.alg_attended), (1, 1, 1));
}

/// A SYN in the midst of a connection is the server's to answer (RFC 5961 §4.2): by how much bytes have moved stays.
#[test]
fn a_stray_syn_leaves_a_channel_where_it_is() {
    let mut gateway = connected();
    let (from, to) = (b"PORT 10,0,0,10,20,21\r\n", b"PORT 198,51,100,1,20,21\r\n");
    passes(&mut gateway, CLIENT, from);
    let stray = Ip::new(HOST, SERVER, 6, segment((4000, FTP), SYN, (7, 0), &[]));
    sent(&mut gateway, INSIDE, &from_host(&stray));
    let (length, grown) = (from.len() as u32, to.len() as u32);
    assert_eq!(passes(&mut gateway, CLIENT + length, b"LIST\r\n"), (CLIENT + grown, b"LIST\r\n".to_vec()));
}

/// Cases of others, 13: a command in two segments, in either order, and once more whole.
#[test]
fn case_13_a_command_in_two_segments_arrives_once_and_whole() {
    let to = b"PORT 198,51,100,1,100,21\r\n".to_vec();
    let (first, second, whole): (&[u8], &[u8], &[u8]) =
        (b"PORT 10,0,0,10,1", b"00,21\r\n", b"PORT 10,0,0,10,100,21\r\n");
    let middle = CLIENT + first.len() as u32;

    let mut gateway = connected();
    // The first half is kept, and the host hears that it has arrived: it may wait with the second one until it has.
    let (verdict, out) = gateway.one(INSIDE, &says(CLIENT, first));
    assert!(matches!(verdict, Verdict::Forward(_)));
    assert_eq!((out[0].0, flow(&out[0].1)), (INSIDE, (SERVER, FTP, HOST, 4000)));
    assert_eq!(said(&out[0].1), (REMOTE_ISN + 1, middle, vec![]));
    assert_eq!(passes(&mut gateway, middle, second), (CLIENT, to.clone()));
    // Whatever of it comes again carries all of it.
    assert_eq!(passes(&mut gateway, middle, second), (CLIENT, to.clone()));
    assert_eq!(passes(&mut gateway, CLIENT, whole), (CLIENT, to.clone()));
    assert_eq!(
        passes(&mut gateway, CLIENT, first).1,
        to[..to.len() - 2],
        "the end of its line is none of it"
    );
    assert_eq!(acknowledged(&mut gateway, CLIENT + to.len() as u32), CLIENT + whole.len() as u32);
    assert_eq!(data_syn(&mut gateway, SERVER, 25621), Ok((SERVER, 20, HOST, 25621)));

    // The second one first: it comes again.
    let mut gateway = connected();
    assert_eq!(dropped(&mut gateway, INSIDE, &says(middle, second)), Why::AlgGap);
    gateway.one(INSIDE, &says(CLIENT, first));
    assert_eq!(passes(&mut gateway, middle, second), (CLIENT, to.clone()));

    // The first one again, whole.
    let mut gateway = connected();
    gateway.one(INSIDE, &says(CLIENT, first));
    assert_eq!(passes(&mut gateway, CLIENT, whole), (CLIENT, to));
}

#[test]
fn rfc_2577_nothing_is_opened_for_others_or_to_privileged_ports() {
    for line in ["PORT 10,0,0,11,200,21\r\n", "PORT 10,0,0,10,0,22\r\n", "EPRT |1|10.0.0.11|51221|\r\n"] {
        let mut gateway = connected();
        assert_eq!(passes(&mut gateway, CLIENT, line.as_bytes()), (CLIENT, line.as_bytes().to_vec()));
        for port in [22, 51221] {
            assert_eq!(data_syn(&mut gateway, SERVER, port), Err(Why::Unasked), "{line}");
        }
        assert_eq!(
            (gateway.state.counters.alg_refused, gateway.state.counters.alg_announced),
            (1, 0),
            "{line}"
        );
    }
}

#[test]
fn what_cannot_be_read_passes_as_it_is() {
    for line in ["PORT ten,0,0,10,200,21\r\n", "PORT 10,0,0,10,200\r\n", "EPRT |1|10.0.0.10|\r\n"] {
        let mut gateway = connected();
        assert_eq!(passes(&mut gateway, CLIENT, line.as_bytes()), (CLIENT, line.as_bytes().to_vec()));
        assert_eq!(gateway.state.counters.alg_garbled, 1, "{line}");
    }
    let mut gateway = connected();
    let site = b"SITE PORT 10,0,0,10,200,21\r\nUSER x\r\n";
    assert_eq!(passes(&mut gateway, CLIENT, site), (CLIENT, site.to_vec()));
    assert_eq!((gateway.state.counters.alg_garbled, gateway.state.counters.alg_rewritten), (0, 0));
}

#[test]
fn several_commands_in_one_segment_and_more_than_are_remembered() {
    let mut gateway = connected();
    let lines = "NOOP\r\nPORT 10,0,0,10,20,1\r\nEPRT |1|10.0.0.10|5122|\r\nNOOP\r\n";
    let told = "NOOP\r\nPORT 198,51,100,1,20,1\r\nEPRT |1|198.51.100.1|5122|\r\nNOOP\r\n";
    assert_eq!(passes(&mut gateway, CLIENT, lines.as_bytes()), (CLIENT, told.as_bytes().to_vec()));
    // Four are remembered until they have arrived: what comes behind them comes again.
    let (mut at, mut to) = (CLIENT + lines.len() as u32, CLIENT + told.len() as u32);
    let line = |port: u8| format!("PORT 10,0,0,10,20,{port}\r\n").into_bytes();
    let many: Vec<u8> = (2..6).flat_map(line).collect();
    let half = line(2).len() * 2;
    let (begin, data) = passes(&mut gateway, at, &many);
    assert_eq!((begin, data.split_inclusive(|byte| *byte == b'\n').count()), (to, 2));
    to += data.len() as u32;
    assert_eq!(dropped(&mut gateway, INSIDE, &says(at + half as u32, &many[half..])), Why::AlgRoom);
    assert_eq!(acknowledged(&mut gateway, to), at + half as u32);
    let (begin, data) = passes(&mut gateway, at + half as u32, &many[half..]);
    assert_eq!((begin, data), (to, b"PORT 198,51,100,1,20,4\r\nPORT 198,51,100,1,20,5\r\n".to_vec()));
    // What is no longer known has arrived: nothing of it is said again, but asked how far the server is.
    at = CLIENT;
    assert_eq!(passes(&mut gateway, at, lines.as_bytes()).1, b"|\r\nNOOP\r\n");
    assert_eq!(passes(&mut gateway, at, &lines.as_bytes()[..30]), (CLIENT + told.len() as u32 - 10, vec![]));
}

/// RFC 4217 §4: what is encrypted passes, and is told.
#[test]
fn what_is_encrypted_passes_and_is_told() {
    let mut gateway = connected();
    passes(&mut gateway, CLIENT, b"AUTH TLS\r\n");
    sent(&mut gateway, OUTSIDE, &hears(CLIENT + 10, b"234 Proceed\r\n"));
    let line = b"PORT 10,0,0,10,20,21\r\n";
    assert_eq!(passes(&mut gateway, CLIENT + 10, line), (CLIENT + 10, line.to_vec()));
    assert_eq!(gateway.state.counters.alg_encrypted, 1);
    assert!(gateway.events().contains(&Event::ChannelEncrypted(address(HOST), address(SERVER))));
    // Refused, it goes on as it was.
    let mut gateway = connected();
    passes(&mut gateway, CLIENT, b"AUTH TLS\r\n");
    sent(&mut gateway, OUTSIDE, &hears(CLIENT + 10, b"530 Please login\r\n"));
    assert_eq!(passes(&mut gateway, CLIENT + 10, line).1, b"PORT 198,51,100,1,20,21\r\n");
}

#[test]
fn what_is_not_on_is_left_alone() {
    let mut settings = nat_settings();
    settings.alg.ftp.ports.clear();
    let mut gateway = connect(gateway_with(settings));
    let line = b"PORT 10,0,0,10,20,21\r\n";
    assert_eq!(passes(&mut gateway, CLIENT, line), (CLIENT, line.to_vec()));
    assert_eq!(data_syn(&mut gateway, SERVER, 5141), Err(Why::Unasked));
}

/// A dry run says what would be written, and every packet goes as it came; elsewhere it is as before.
#[test]
fn a_dry_run_shows_and_does_nothing() {
    let line = b"PORT 10,0,0,10,20,21\r\n";
    for (mode, is_on) in [(AlgMode::DryRun, false), (AlgMode::Off, false), (AlgMode::On, true)] {
        let mut settings = nat_settings();
        let networks = vec![address(HOST).into()];
        settings.alg.ftp.hosts = vec![AlgHosts { networks, mode: Some(mode), ports: None }];
        let mut gateway = connect(gateway_with(settings));
        let (_, said) = passes(&mut gateway, CLIENT, line);
        assert_eq!(said == line, !is_on);
        assert_eq!(data_syn(&mut gateway, SERVER, 5141).is_ok(), is_on);
        // Half a line is nobody's to keep.
        let (at, half) = (CLIENT + line.len() as u32, b"PORT 10,0,0");
        if !is_on {
            assert_eq!(passes(&mut gateway, at, half), (at, half.to_vec()));
        }
        let counters = &gateway.state.counters;
        let is_dry = mode == AlgMode::DryRun;
        assert_eq!((counters.alg_would_rewrite, counters.alg_rewritten), (is_dry.into(), is_on.into()));
        let rewrite = Rewrite {
            protocol: "ftp",
            host: address(HOST),
            remote: address(SERVER),
            from: (address(HOST), 5141),
            to: (address(LOCAL), 5141),
            is_dry,
        };
        assert_eq!(gateway.events().contains(&Event::Rewritten(rewrite)), mode != AlgMode::Off);
    }
}

#[test]
fn without_room_for_channels_sessions_stand_all_the_same() {
    let mut settings = nat_settings();
    settings.channels = 0;
    let mut gateway = connect(gateway_with(settings));
    assert_eq!(passes(&mut gateway, CLIENT, b"NOOP\r\n"), (CLIENT, b"NOOP\r\n".to_vec()));
    assert_eq!((gateway.state.counters.alg_unattended, gateway.state.counters.alg_attended), (1, 0));
}

/// What was announced and does not come is over, and with it the external port.
#[test]
fn what_was_announced_is_over_after_its_time_or_with_its_channel() {
    let mut gateway = connected();
    passes(&mut gateway, CLIENT, b"PORT 10,0,0,10,20,21\r\n");
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.alg_awaited, gateway.state.counters.mappings_live), (1, 2));
    wait(&mut gateway, 62);
    assert_eq!(data_syn(&mut gateway, SERVER, 5141), Err(Why::Unasked));
    // A turn looks at one place.
    wait(&mut gateway, 256);
    assert_eq!((gateway.state.counters.alg_awaited, gateway.state.counters.mappings_live), (0, 1));
    // Five times, of which four are awaited.
    let mut at = CLIENT + 22;
    for port in 0..5 {
        let line = format!("PORT 10,0,0,10,21,{port}\r\n");
        let (begin, data) = passes(&mut gateway, at, line.as_bytes());
        acknowledged(&mut gateway, begin + data.len() as u32);
        at += line.len() as u32;
    }
    gateway.state.take_stock();
    assert_eq!((gateway.state.counters.alg_awaited, gateway.state.counters.mappings_live), (4, 5));
    wait(&mut gateway, 7500);
    let counters = &gateway.state.counters;
    assert_eq!((counters.alg_awaited, counters.mappings_live, counters.alg_channels), (0, 0, 0));
}

#[test]
fn nothing_is_read_of_what_is_broken_or_in_fragments() {
    let mut gateway = connected();
    let mut broken = says(CLIENT, b"PORT 10,0,0,10,20,21\r\n");
    broken[60] ^= 1;
    assert_eq!(dropped(&mut gateway, INSIDE, &broken), Why::AlgChecksum);
    let whole = Ip::new(HOST, SERVER, 6, segment((4000, FTP), ACK, (CLIENT, 0), b"PORT 10,0,0,10,20,21\r\n"));
    assert_eq!(dropped(&mut gateway, INSIDE, &from_host(&whole.fragment(0x2000).raw())), Why::AlgFragment);
    assert_eq!(passes(&mut gateway, CLIENT, b"NOOP\r\n"), (CLIENT, b"NOOP\r\n".to_vec()));
}

/// RFC 2018 §3: what the server has beyond a gap; and an ICMP error about what it was sent.
#[test]
fn what_the_server_has_beyond_a_gap_and_errors_are_moved_back() {
    let mut gateway = connected();
    let (from, to) = (b"PORT 10,0,0,10,20,21\r\n", b"PORT 198,51,100,1,20,21\r\n");
    let (length, grown) = (from.len() as u32, to.len() as u32);
    passes(&mut gateway, CLIENT, from);
    passes(&mut gateway, CLIENT + length, b"LIST\r\n");
    for (left, right, expected) in [
        (CLIENT + grown, CLIENT + grown + 6, Some((CLIENT + length, CLIENT + length + 6))),
        (CLIENT + 8, CLIENT + grown, Some((CLIENT + 20, CLIENT + length))),
        (CLIENT + 8, CLIENT + 12, None),
    ] {
        let mut options = vec![1, 1, 5, 10];
        options.extend(left.to_be_bytes());
        options.extend(right.to_be_bytes());
        let mut bytes = tcp(FTP, 4000, ACK, &options, b"");
        bytes[8..12].copy_from_slice(&CLIENT.to_be_bytes());
        let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, bytes)));
        let found = &frame[14 + 40..14 + 52];
        match expected {
            Some((left, right)) => {
                assert_eq!((word(&frame, 44), word(&frame, 48)), (left, right));
                assert_eq!(found[..4], [1, 1, 5, 10]);
            }
            None => assert_eq!(found, [1; 12]),
        }
    }
    let quoted = Ip::new(LOCAL, SERVER, 6, segment((4000, FTP), ACK, (CLIENT + grown, 0), b"LIST\r\n"));
    let error = Ip::new(WAYPOINT, LOCAL, 1, icmp(3, 4, 1400, &quoted.bytes()[..28]));
    let (port, frame) = sent(&mut gateway, OUTSIDE, &from_world(&error));
    assert_eq!((port, word(&frame, 28 + 12), word(&frame, 28 + 24)), (INSIDE, HOST, CLIENT + length));
}

/// The other side is made to ask for less than a segment that may grow here.
#[test]
fn a_segment_fits_when_it_has_grown() {
    let mut gateway = gateway();
    let syn = segment((4000, FTP), SYN, (CLIENT - 1, 0), &[]);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, syn)));
    let answer = tcp(FTP, 4000, SYN | ACK, &[2, 4, 0x05, 0xb4], b"");
    let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, answer)));
    assert_eq!(u16::from_be_bytes([frame[14 + 42], frame[14 + 43]]), 1460 - 176);
}

/// A line that its sender never ends is let go with the connection.
#[test]
fn what_was_kept_goes_on_with_the_end() {
    let mut gateway = connected();
    gateway.one(INSIDE, &says(CLIENT, b"PORT 10,0"));
    let fin = segment((4000, FTP), ACK | FIN, (CLIENT + 9, REMOTE_ISN + 1), b"");
    let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, fin)));
    assert_eq!(said(&frame), (CLIENT, REMOTE_ISN + 1, b"PORT 10,0".to_vec()));
    assert_eq!(frame[14 + 33] & FIN, FIN);
    assert_eq!(acknowledged(&mut gateway, CLIENT + 10), CLIENT + 10);
}

/// A gateway behind which a server is, at port 21 of the host, with a client in the world that has connected. The port outside.
fn served() -> (Gateway, u16) {
    let mut settings = nat_settings();
    settings.nat.filtering = Filtering::EndpointIndependent;
    let mut gateway = gateway_with(settings);
    // What a static mapping would give it.
    let begin = Ip::new(HOST, SERVER_2, 6, segment((FTP, 9), SYN, (1, 0), &[]));
    let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&begin));
    let port = flow(&frame).1;
    let syn = segment((4000, port), SYN, (REMOTE_ISN, 0), &[]);
    let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, syn)));
    assert_eq!(flow(&frame), (SERVER, 4000, HOST, FTP));
    let answer = segment((FTP, 4000), SYN | ACK, (CLIENT - 1, REMOTE_ISN + 1), &[]);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, answer)));
    (gateway, port)
}

/// What the client is sent for what the server says.
fn replies(gateway: &mut Gateway, sequence: u32, data: &[u8]) -> (u32, Vec<u8>) {
    let numbers = (sequence, REMOTE_ISN + 1);
    let reply = Ip::new(HOST, SERVER, 6, segment((FTP, 4000), ACK | PSH, numbers, data));
    let (sequence, _, data) = said(&sent(gateway, INSIDE, &from_host(&reply)).1);
    (sequence, data)
}

#[test]
fn a_server_inside_says_where_it_is_outside() {
    for (from, to) in [
        (
            "227 Entering Passive Mode (10,0,0,10,20,21).\r\n",
            "227 Entering Passive Mode (198,51,100,1,20,21).\r\n",
        ),
        ("227 =198,51,100,1,20,21\r\n", "227 =198,51,100,1,20,21\r\n"),
        ("229 Extended (|||5141|)\r\n", "229 Extended (|||5141|)\r\n"),
    ] {
        let (mut gateway, _) = served();
        assert_eq!(replies(&mut gateway, CLIENT, from.as_bytes()), (CLIENT, to.as_bytes().to_vec()));
        assert_eq!(gateway.state.counters.alg_announced, 1, "{from}");
        assert_eq!(data_syn(&mut gateway, SERVER, 5141), Ok((SERVER, 20, HOST, 5141)), "{from}");
        // Commands of the client go as they are: it names itself.
        let port = b"PORT 8,8,8,8,20,21\r\n";
        let (_, frame) = sent(
            &mut gateway,
            OUTSIDE,
            &from_world(&Ip::new(
                SERVER,
                LOCAL,
                6,
                segment((4000, served().1), ACK, (REMOTE_ISN + 1, CLIENT), port),
            )),
        );
        assert_eq!(said(&frame).2, port);
    }
    // Where its port is somebody else's outside, another one is said.
    let (mut gateway, _) = served();
    let taken = Ip::new(OTHER, SERVER_2, 6, segment((5141, 9), SYN, (1, 0), &[]));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &from_other(&taken)).1).1, 5141);
    let (_, data) = replies(&mut gateway, CLIENT, b"229 Extended (|||5141|)\r\n");
    let text = String::from_utf8(data).unwrap();
    let port: u16 = text.split('|').nth(3).unwrap().parse().unwrap();
    assert_ne!(port, 5141);
    assert_eq!(data_syn(&mut gateway, SERVER, port), Ok((SERVER, 20, HOST, 5141)));
}

/// Addresses that the world routes to the gateway: of one a port is the server's, the other stands for its host.
const BEHIND: u32 = 0xc633_6450;
const WHOLE: u32 = 0xc633_6451;

/// A gateway behind which a server is by configuration, with a client in the world that has connected there.
fn configured(external: u32, port: Option<u16>) -> Gateway {
    let mut settings = nat_settings();
    settings.nat.statics = vec![Static {
        external: address(external).into(),
        inside: address(HOST).into(),
        protocol: port.map(|_| PortProtocol::Tcp),
        port,
        ports: None,
        inside_port: None,
    }]
    .into();
    let mut gateway = gateway_with(settings);
    let syn = segment((4000, FTP), SYN, (REMOTE_ISN, 0), &[]);
    let (_, frame) = sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, external, 6, syn)));
    assert_eq!(flow(&frame), (SERVER, 4000, HOST, FTP));
    let answer = segment((FTP, 4000), SYN | ACK, (CLIENT - 1, REMOTE_ISN + 1), &[]);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, answer)));
    gateway
}

/// Whatever is said, the data connection is at the address to which the client came, and that client's alone; what the server
/// opens itself comes from there as well (RFC 959 §3.3).
#[test]
fn a_server_behind_a_static_mapping_is_where_its_client_came_to() {
    for (external, port) in [(BEHIND, Some(FTP)), (LOCAL, Some(FTP)), (WHOLE, None)] {
        let mut gateway = configured(external, port);
        let [a, b, c, d] = external.to_be_bytes();
        let to = format!("227 Entering Passive Mode ({a},{b},{c},{d},20,21).\r\n");
        let from = b"227 Entering Passive Mode (10,0,0,10,20,21).\r\n";
        assert_eq!(replies(&mut gateway, CLIENT, from), (CLIENT, to.clone().into_bytes()));
        let extended = b"229 Extended (|||5142|)\r\n";
        let next = replies(&mut gateway, CLIENT + from.len() as u32, extended);
        assert_eq!(next, (CLIENT + to.len() as u32, extended.to_vec()));
        for (place, client, expected) in [
            (5141, SERVER, Ok((SERVER, 20, HOST, 5141))),
            (5142, SERVER, Ok((SERVER, 20, HOST, 5142))),
            (5143, SERVER, port.map_or(Ok((SERVER, 20, HOST, 5143)), |_| Err(Why::Unasked))),
        ] {
            let syn = from_world(&Ip::new(client, external, 6, segment((20, place), SYN, (7, 0), &[])));
            let came = match gateway.one(OUTSIDE, &syn) {
                (Verdict::Forward(_), out) => Ok(flow(&out[0].1)),
                (Verdict::Drop(why), _) => Err(why),
                (Verdict::HoldUnasked(_), _) => Err(Why::Unasked),
                other => panic!("{other:?}"),
            };
            assert_eq!(came, expected, "{place}");
        }
        // A client that is active.
        let line = b"PORT 198,18,0,9,20,21\r\n";
        let [a, b, c, d] = SERVER.to_be_bytes();
        let line =
            String::from_utf8(line.to_vec()).unwrap().replace("198,18,0,9", &format!("{a},{b},{c},{d}"));
        let asks = segment((4000, FTP), ACK, (REMOTE_ISN + 1, CLIENT), line.as_bytes());
        sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, external, 6, asks)));
        let opens = Ip::new(HOST, SERVER, 6, segment((20, 5141), SYN, (1, 0), &[]));
        let (_, frame) = sent(&mut gateway, INSIDE, &from_host(&opens));
        assert_eq!((flow(&frame).0, flow(&frame).2), (external, SERVER), "{}", address(external));
        gateway.state.take_stock();
        assert_eq!(gateway.state.counters.alg_awaited, 0, "all has come");
    }
}

#[test]
fn a_server_inside_that_encrypts_is_not_read() {
    let (mut gateway, port) = served();
    let asks = segment((4000, port), ACK, (REMOTE_ISN + 1, CLIENT), b"AUTH TLS\r\n");
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, asks)));
    replies(&mut gateway, CLIENT, b"234 Proceed\r\n");
    let line = b"227 Entering Passive Mode (10,0,0,10,20,21).\r\n";
    assert_eq!(replies(&mut gateway, CLIENT + 13, line), (CLIENT + 13, line.to_vec()));
    assert_eq!(gateway.state.counters.alg_encrypted, 1);
}

/// Cycles of a packet in bursts of 32, the median of many bursts. For perf/JOURNAL.md: run it by name, with `--ignored`.
#[test]
#[ignore = "it measures"]
fn what_a_segment_costs() {
    let mut gateway = connected();
    let line = b"PORT 10,0,0,10,20,21\r\n";
    let noop = b"NOOP\r\n";
    let mut at = CLIENT;
    // An ordinary session, and one that was announced.
    let plain =
        |port, flags| from_host(&Ip::new(HOST, SERVER, 6, segment((port, 80), flags, (1, 1), b"data")));
    let back = segment((80, 4001), SYN | ACK, (0, 1), &[]);
    sent(&mut gateway, INSIDE, &plain(4001, SYN));
    sent(&mut gateway, OUTSIDE, &from_world(&Ip::new(SERVER, LOCAL, 6, back)));
    passes(&mut gateway, at, line);
    at += line.len() as u32;
    data_syn(&mut gateway, SERVER, 5141).unwrap();
    let answer = segment((5141, 20), SYN | ACK, (0, 1), &[]);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER, 6, answer)));
    let announced = from_host(&Ip::new(HOST, SERVER, 6, segment((5141, 20), ACK, (1, 1), b"data")));
    let mut show = |what: &str, next: &mut dyn FnMut(usize) -> Vec<u8>| {
        let mut cycles: Vec<u64> = (0..2000)
            .map(|burst| {
                let mut frames: Vec<_> =
                    (0..32).map(|nth| MemoryFrame::new(&next(32 * burst + nth))).collect();
                let mut verdicts = [Verdict::Absorb; 32];
                let Gateway { state, wire, now, .. } = &mut gateway;
                let began = machine::cycles();
                process_burst(state, INSIDE, &mut frames, &mut verdicts, wire, *now);
                let cycles = machine::cycles() - began;
                assert!(
                    verdicts.iter().all(|verdict| matches!(verdict, Verdict::Forward(_))),
                    "{verdicts:?}"
                );
                cycles / 32
            })
            .collect();
        cycles.sort_unstable();
        println!("{what}: {} cycles", cycles[1000]);
    };
    show("a packet of a session", &mut |_| plain(4001, ACK));
    show("of one that was announced", &mut |_| announced.clone());
    show("a control segment without payload", &mut |_| says(at, b""));
    show("one that says nothing of the kind", &mut |nth| says(at + (noop.len() * nth) as u32, noop));
    show("one that is written anew, again", &mut |_| says(CLIENT, line));
}
