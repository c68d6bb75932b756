//! RTSP's ALG, case by case: players and cameras inside, servers and players in the world, segments in, segments out. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::alg::media::MediaFrom;
use ces_dataplane::alg::rtsp::Rtsp;
use ces_dataplane::alg::scope::AlgMode;
use ces_dataplane::reason::DropReason as Why;
use common::nat::*;
use common::talk::*;
use common::*;

const RTSP: u16 = 554;

fn setup(sequence: u32, transport: &str) -> String {
    let url = format!("rtsp://{}/a/track{sequence}", dotted(SERVER));
    format!("SETUP {url} RTSP/1.0\r\nCSeq: {sequence}\r\nTransport: {transport}\r\n\r\n")
}

fn answer(sequence: u32, transport: &str) -> String {
    format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nSession: 1\r\nTransport: {transport}\r\n\r\n")
}

/// Somebody else inside has the port that the player would like to have.
fn take_port(gateway: &mut Gateway, port: u16) {
    let taken = Ip::new(OTHER, SERVER_2, 17, udp(port, 9, b"x"));
    assert_eq!(flow(&sent(gateway, INSIDE, &from_other(&taken)).1).1, port);
}

/// RFC 2326 §12.39; RFC 3550 §11: the server reads an even port and the next, and the player what it has asked for.
#[test]
fn a_player_is_sent_media_where_it_asked() {
    let mut talk = Talk::out(nat_settings(), RTSP);
    take_port(&mut talk.gateway, 5001);
    let asked = setup(1, "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=0-1");
    let read = talk.host(&asked);
    let port: u16 = read.split("client_port=").nth(1).unwrap().split('-').next().unwrap().parse().unwrap();
    assert!(port != 5000 && port.is_multiple_of(2));
    assert_eq!(read, asked.replace("5000-5001", &format!("{port}-{}", port + 1)));
    let took = format!(
        "RTP/AVP;unicast;client_port={port}-{};destination={};source={};server_port=6000-6001",
        port + 1,
        dotted(LOCAL),
        dotted(SERVER)
    );
    let expected =
        took.replace(&format!("{port}-{}", port + 1), "5000-5001").replace(&dotted(LOCAL), &dotted(HOST));
    assert_eq!(talk.world(&answer(1, &took)), answer(1, &expected));
    assert_eq!(talk.live(), (1, 2));
    assert_eq!(talk.media((SERVER_2, 6000), port), Err(Why::Unasked), "of nobody else");
    assert_eq!(talk.media((SERVER, 6000), port), Ok(5000));
    assert_eq!(talk.media((SERVER, 6001), port + 1), Ok(5001));
    assert_eq!(talk.media((SERVER, 6002), port), Err(Why::Unasked), "once");
    let counters = &talk.gateway.state.counters;
    assert_eq!((counters.rtsp_messages, counters.rtsp_rewritten, counters.rtsp_announced), (2, 2, 1));
}

/// RFC 7826 §18.54.
#[test]
fn rtsp_2_says_where_by_addresses() {
    let mut talk = Talk::out(nat_settings(), RTSP);
    let host = dotted(HOST);
    let asked = setup(1, &format!("RTP/AVP/UDP;unicast;dest_addr=\"{host}:5000\"/\"{host}:5001\""));
    assert_eq!(talk.host(&asked), asked.replace(&host, &dotted(LOCAL)));
    let took = format!(
        "RTP/AVP;unicast;dest_addr=\"{0}:5000\"/\"{0}:5001\";src_addr=\"{1}:6000\"/\"{1}:6001\"",
        dotted(LOCAL),
        dotted(SERVER)
    );
    assert_eq!(talk.world(&answer(1, &took)), answer(1, &took.replace(&dotted(LOCAL), &host)));
    let asked = setup(2, "RTP/AVP/UDP;unicast;dest_addr=\":5002\"/\":5003\"");
    assert_eq!(talk.host(&asked), asked, "where the connection comes from");
    for port in 5000..5004 {
        assert_eq!(talk.media((SERVER, 6000), port), Ok(port));
    }
}

/// RFC 2326 §10.7: with its session media ends, one stream by itself or all.
#[test]
fn streams_end_with_their_session() {
    let mut talk = Talk::out(nat_settings(), RTSP);
    for (nth, port) in [(1, 5000), (2, 5002)] {
        talk.host(&setup(nth, &format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)));
        talk.world(&answer(
            nth,
            &format!("RTP/AVP;unicast;client_port={port}-{};server_port={port}-{}", port + 1, port + 1),
        ));
        assert_eq!(talk.media((SERVER, port), port), Ok(port));
    }
    let url = format!("rtsp://{}/a", dotted(SERVER));
    let ends = |url: &str, nth: u32| format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: {nth}\r\nSession: 1\r\n\r\n");
    talk.host(&ends(&format!("{url}/track1"), 3));
    assert_eq!(talk.media((SERVER, 5000), 5000), Ok(5000), "not yet");
    talk.world("RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n");
    assert_eq!(talk.media((SERVER, 5000), 5000), Err(Why::Unasked));
    assert_eq!(talk.media((SERVER, 5002), 5002), Ok(5002));
    assert_eq!(talk.live(), (1, 1));
    talk.host(&ends(&url, 4));
    talk.world("RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n");
    assert_eq!(talk.media((SERVER, 5002), 5002), Err(Why::Unasked));
    assert_eq!((talk.live(), talk.gateway.state.counters.rtsp_ended), ((0, 0), 2));
    // Without that, by silence; what is played again is awaited again.
    talk.host(&setup(5, "RTP/AVP;unicast;client_port=5004-5005"));
    wait(&mut talk.gateway, 62);
    assert_eq!(talk.media((SERVER, 5004), 5004), Err(Why::Unasked));
    talk.host(&format!("PLAY {url} RTSP/1.0\r\nCSeq: 6\r\n\r\n"));
    assert_eq!(talk.media((SERVER, 5004), 5004), Ok(5004));
    // With its connection at the latest what is awaited is over.
    talk.part(0, RST, talk.sent[0], b"").unwrap();
    wait(&mut talk.gateway, 400);
    assert_eq!(talk.live(), (0, 0));
}

/// A camera inside: what it says of itself is its external address, in URLs, descriptions and transports.
#[test]
fn a_camera_says_where_it_is_outside() {
    let mut talk = Talk::into(nat_settings(), RTSP);
    let (host, local, player) = (dotted(HOST), dotted(LOCAL), dotted(SERVER));
    let describe = format!("DESCRIBE rtsp://{local}/a RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    assert_eq!(talk.world(&describe), describe.replace(&local, &host));
    let described = |at: &str| {
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://{at}/a/1\r\n"
        );
        format!(
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://{at}:554/a/\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    assert_eq!(talk.host(&described(&host)), described(&local));
    let asked = setup(2, "RTP/AVP;unicast;client_port=7000-7001").replace(&player, &local);
    assert_eq!(talk.world(&asked), asked.replace(&local, &host));
    take_port(&mut talk.gateway, 6001);
    let took = answer(
        2,
        &format!(
            "RTP/AVP;unicast;client_port=7000-7001;destination={player};source={host};server_port=6000-6001"
        ),
    );
    let read = talk.host(&took);
    let port: u16 = read.split("server_port=").nth(1).unwrap().split('-').next().unwrap().parse().unwrap();
    assert_eq!(read, took.replace(&host, &local).replace("6000-6001", &format!("{port}-{}", port + 1)));
    assert_eq!(talk.media((SERVER, 7001), port + 1), Ok(6001), "what the player says of what it gets");
    // What the camera sends comes from there.
    let rtp = from_host(&Ip::new(HOST, SERVER, 17, udp(6000, 7000, b"rtp")));
    assert_eq!(flow(&sent(&mut talk.gateway, INSIDE, &rtp).1), (LOCAL, port, SERVER, 7000));
    let played =
        format!("RTSP/1.0 200 OK\r\nCSeq: 3\r\nRTP-Info: url=rtsp://{host}/a/1;seq=1;rtptime=1\r\n\r\n");
    assert_eq!(talk.host(&played), played.replace(&host, &local));
}

/// Cases of others, 3: destination and source in an interleaved answer.
#[test]
fn case_3_addresses_in_an_interleaved_answer() {
    let mut talk = Talk::into(nat_settings(), RTSP);
    talk.world(&setup(2, "RTP/AVP/TCP;unicast;interleaved=0-1"));
    let took = |destination, source| {
        answer(
            2,
            &format!(
                "RTP/AVP/TCP;unicast;destination={};source={};interleaved=0-1",
                dotted(destination),
                dotted(source)
            ),
        )
    };
    assert_eq!(talk.host(&took(LOCAL, HOST)), took(SERVER, LOCAL));
    assert_eq!((talk.live(), talk.gateway.state.counters.rtsp_announced), ((0, 0), 0));
    // Lengths and numbers follow.
    assert_eq!(talk.host(&answer(3, "RTP/AVP/TCP;unicast")), answer(3, "RTP/AVP/TCP;unicast"));
}

/// Media within the connection, in any segments, and what is between it.
#[test]
fn interleaved_media_passes_unread() {
    let mut talk = Talk::out(nat_settings(), RTSP);
    let frame = |channel: u8, length: u16, with: &str| {
        let mut bytes = vec![b'$', channel, (length >> 8) as u8, length as u8];
        bytes.extend(with.as_bytes().iter().cycle().take(length.into()));
        bytes
    };
    // What looks like a message in it is none.
    let inner = answer(7, &format!("RTP/AVP;unicast;client_port=9-10;destination={}", dotted(LOCAL)));
    let mut stream = frame(0, 700, &inner);
    stream.extend(frame(1, 3, "xyz"));
    let spoken = answer(2, &format!("RTP/AVP/TCP;unicast;destination={}", dotted(LOCAL)));
    stream.extend(spoken.as_bytes());
    stream.extend(frame(0, 5, "hello"));
    let mut expected = frame(0, 700, &inner);
    expected.extend(frame(1, 3, "xyz"));
    expected.extend(spoken.replace(&dotted(LOCAL), &dotted(HOST)).as_bytes());
    expected.extend(frame(0, 5, "hello"));
    for cut in [1, 3, 5, 100, 702, 705, 709] {
        let mut talk = Talk::out(nat_settings(), RTSP);
        let mut read = talk.says(1, &stream[..cut]);
        read += &talk.says(1, &stream[cut..]);
        assert_eq!(read, String::from_utf8_lossy(&expected), "{cut}");
    }
    assert_eq!(talk.says(1, &stream), String::from_utf8_lossy(&expected));
    assert_eq!(talk.gateway.state.counters.rtsp_messages, 1);
}

/// A message in pieces arrives whole, and says the same however it comes again.
#[test]
fn a_message_in_two_segments_arrives_once_and_whole() {
    let (host, local) = (dotted(HOST), dotted(LOCAL));
    let text = setup(1, &format!("RTP/AVP;unicast;destination={host};client_port=5000-5001"));
    let expected = text.replace(&host, &local);
    for cut in [10, 60, text.len() - 30, text.len() - 2] {
        let (first, second) = text.as_bytes().split_at(cut);
        let mut talk = Talk::out(nat_settings(), RTSP);
        let at = talk.sent[0];
        let middle = at.wrapping_add(cut as u32);
        // More is to follow at once: the first half waits, and comes again.
        assert_eq!(talk.part(0, 0, at, first).unwrap_err(), Why::AlgPart);
        let (port, frame) = talk.part(0, PSH, middle, second).unwrap();
        assert_eq!((port, talk.got[1]), (OUTSIDE, at), "beyond a gap");
        let late = frame;
        let (_, frame) = talk.part(0, 0, at, first).unwrap();
        let mut read = talk.reads(0, &frame);
        read += &talk.reads(0, &late);
        assert_eq!(read, expected, "{cut}");

        // Who says no more until it is heard, hears; the second half carries the first, until that has arrived.
        let mut talk = Talk::out(nat_settings(), RTSP);
        if cut > 50 {
            let (port, frame) = talk.part(0, PSH, at, first).unwrap();
            assert_eq!((port, word(&frame, 28), frame.len()), (INSIDE, middle, 54), "acknowledged");
            for again in [false, true] {
                let (_, frame) = talk.part(0, PSH, middle, second).unwrap();
                assert_eq!(talk.reads(0, &frame), if again { "" } else { &expected }, "{cut}");
            }
            let end = middle.wrapping_add(second.len() as u32);
            talk.sent[0] = end;
            talk.part(1, 0, talk.sent[1], b"").unwrap();
            let next = setup(2, "RTP/AVP/TCP;unicast;interleaved=0-1");
            assert_eq!(talk.host(&next), next);
        }
    }
}

/// What is not the host's to announce, or cannot be read, passes as it is.
#[test]
fn what_may_not_be_passes_as_it_is() {
    let mut talk = Talk::out(nat_settings(), RTSP);
    let other = dotted(OTHER);
    for (nth, transport) in [
        format!("RTP/AVP;unicast;destination={other};client_port=5000-5001"),
        format!("RTP/AVP;unicast;dest_addr=\"{other}:5000\"/\"{other}:5001\""),
        "RTP/AVP;unicast;client_port=22-23".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let text = setup(nth as u32, transport);
        assert_eq!(talk.host(&text), text);
        assert_eq!(talk.gateway.state.counters.rtsp_refused, nth as u64 + 1);
    }
    let many = vec!["RTP/AVP;unicast;client_port=4588-4589"; 30].join(",");
    for (nth, transport) in
        [many.as_str(), "RTP/AVP;client_port=1-2-3", "RTP/AVP;unicast;client_port=5000-5003"]
            .iter()
            .enumerate()
    {
        let text = setup(9, transport);
        assert_eq!(talk.host(&text), text);
        assert_eq!(talk.gateway.state.counters.rtsp_garbled, nth as u64 + 1, "{transport}");
    }
    assert_eq!(talk.live().1, 0);
    for port in [22, 4588, 5000] {
        assert_eq!(talk.media((SERVER, 6000), port), Err(Why::Unasked));
    }
    // Not RTSP at all: nothing is read until it ends.
    let mut talk = Talk::out(nat_settings(), RTSP);
    let http = "GET /a HTTP/1.1\r\nX: y\r\n\r\n";
    assert_eq!(talk.host(http), http);
    let text = setup(1, &format!("RTP/AVP;unicast;destination={};client_port=5000-5001", dotted(HOST)));
    assert_eq!(talk.host(&text), text);
    assert_eq!(talk.media((SERVER, 6000), 5000), Err(Why::Unasked));
}

#[test]
fn media_comes_from_whom_it_may() {
    for (from, may, may_not) in
        [(MediaFrom::Peer, SERVER, SERVER_2), (MediaFrom::Announced, SERVER_2, SERVER)]
    {
        let mut settings = nat_settings();
        settings.alg.rtsp.media_from = from;
        let mut talk = Talk::out(settings, RTSP);
        talk.host(&setup(1, "RTP/AVP;unicast;client_port=5000-5001"));
        let source = dotted(SERVER_2);
        talk.world(&answer(
            1,
            &format!("RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001;source={source}"),
        ));
        assert_eq!(talk.media((may_not, 6000), 5000), Err(Why::Unasked));
        assert_eq!(talk.media((may, 6000), 5000), Ok(5000));
    }
}

#[test]
fn rtsp_is_off_or_only_shown_or_has_no_room() {
    let text = setup(1, &format!("RTP/AVP;unicast;destination={};client_port=5000-5001", dotted(HOST)));
    for change in [
        (|rtsp: &mut Rtsp, _: &mut u32| rtsp.mode = AlgMode::DryRun) as fn(&mut Rtsp, &mut u32),
        |rtsp, _| rtsp.mode = AlgMode::Off,
        |rtsp, _| rtsp.ports = vec![8554],
        |_, talks| *talks = 0,
    ] {
        let mut settings = nat_settings();
        change(&mut settings.alg.rtsp, &mut settings.talks);
        let (is_dry, is_full) = (settings.alg.rtsp.mode == AlgMode::DryRun, settings.talks == 0);
        let mut talk = Talk::out(settings, RTSP);
        assert_eq!(talk.host(&text), text);
        assert_eq!(talk.media((SERVER, 6000), 5000), Err(Why::Unasked));
        let counters = &talk.gateway.state.counters;
        assert_eq!((counters.rtsp_would_rewrite, counters.alg_unattended), (is_dry.into(), is_full.into()));
    }
}
