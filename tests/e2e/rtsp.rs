//! Streams cross NAT44: GStreamer's server of RTSP and players of several kinds, inside and in the world, and frames counted
//! where they arrive. Between realms players reach cameras by name.

use crate::{Case, inbound};
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("players_inside_play_from_the_world", players_inside_play_from_the_world),
    ("two_players_ask_for_the_same_ports", two_players_ask_for_the_same_ports),
    ("media_is_let_in_where_rules_forbid_the_world", media_is_let_in_where_rules_forbid_the_world),
    ("a_camera_records_in_the_world", a_camera_records_in_the_world),
    ("a_camera_behind_a_static_mapping_is_played", a_camera_behind_a_static_mapping_is_played),
    ("a_camera_is_played_by_its_name", a_camera_is_played_by_its_name),
    ("a_camera_is_played_from_another_realm", a_camera_is_played_from_another_realm),
    ("a_camera_is_played_through_a_restricted_binding", a_camera_is_played_through_a_restricted_binding),
];

/// Where the server in the world is.
const SERVER: &str = "203.0.113.90";
const HOST: &str = "192.168.10.11";
const FRAMES: usize = 40;

const NAT: &[Edit] = &[(Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n")];

const FILTERED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n[filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

const MAPPED: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n\
     [[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"192.168.10.11\"\nprotocol = \"tcp\"\nport = 8554\n\n[tls]\n",
)];

fn events(lab: &Lab, realm: Realm, event: &str) -> u64 {
    lab.metrics(realm).sum("ces_alg_rtsp_events_total", &[("event", event)]) as u64
}

fn server(lab: &Lab, node: &str, address: &str) -> Background {
    let tool = lab.root().join("tests/tools/rtsp/server.py");
    let frames = lab.directory().join("frames");
    let _ = std::fs::remove_dir_all(&frames);
    std::fs::create_dir_all(&frames).expect("the state directory is ours");
    let line = format!("/usr/bin/python3 {} {address} 8554 {}", tool.display(), frames.display());
    lab.serve(node, &format!("{address}:8554"), &line)
}

/// The world's server sends media from its address, which it does not bind to.
fn from_one_address(lab: &Lab, source: &str) {
    lab.run("net", &format!("ip route replace 192.0.2.0/30 dev gwa scope link src {source}")).expect();
}

/// ffmpeg, by one transport; with these options.
fn ffmpeg(address: &str, transport: &str, more: &str) -> String {
    format!(
        "timeout 60 ffmpeg -nostdin -loglevel info -rtsp_transport {transport} {more} -i rtsp://{address}:8554/test \
         -frames:v {FRAMES} -f null -"
    )
}

/// How many frames ffmpeg says at last that it got.
fn frames(said: &Outcome) -> usize {
    let last = said.stderr.rsplit("frame=").next().unwrap_or_default();
    last.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// GStreamer's player, with these properties of its source: how many pictures it got.
fn gstreamer(lab: &Lab, node: &str, address: &str, more: &str) -> usize {
    let at = lab.directory().join("pictures");
    let _ = std::fs::remove_dir_all(&at);
    std::fs::create_dir_all(&at).expect("the state directory is ours");
    let line = format!(
        "timeout 60 gst-launch-1.0 -q rtspsrc location=rtsp://{address}:8554/test {more} ! rtpjpegdepay ! \
         identity eos-after={} ! multifilesink location={}/%05d.jpg",
        FRAMES + 1,
        at.display()
    );
    let played = lab.run(node, &line);
    let count = std::fs::read_dir(&at).expect("it is there").count();
    assert!(count >= FRAMES, "{count} pictures: {played}");
    count
}

/// Sessions of media with the world's server.
fn media(lab: &Lab) -> usize {
    let sessions = lab.json(Realm::A, "show sessions");
    let is_media = |row: &&serde_json::Value| {
        row["protocol"] == 17 && row["remote"].as_str().is_some_and(|at| at.starts_with(SERVER))
    };
    sessions.as_array().expect("rows").iter().filter(is_media).count()
}

fn players_inside_play_from_the_world(lab: &Lab) {
    lab.gateways(NAT);
    from_one_address(lab, SERVER);
    let server = server(lab, "net", SERVER);
    for (transport, streams) in [("udp", 2), ("tcp", 0)] {
        let announced = events(lab, Realm::A, "announced");
        let played = lab.run("a1", &ffmpeg(SERVER, transport, ""));
        assert_eq!(frames(&played), FRAMES, "{played}");
        assert!(
            events(lab, Realm::A, "announced") >= announced + streams,
            "{}",
            lab.ctl(Realm::A, "show alg")
        );
        assert!(eventually(|| media(lab) == 0), "{}", lab.ctl(Realm::A, "show sessions"));
    }
    let ended = events(lab, Realm::A, "ended");
    for more in ["protocols=udp", "protocols=tcp", "protocols=udp default-rtsp-version=2-0"] {
        gstreamer(lab, "a1", SERVER, more);
    }
    assert!(events(lab, Realm::A, "ended") > ended, "{}", lab.ctl(Realm::A, "show alg"));
    assert!(eventually(|| media(lab) == 0), "{}", lab.ctl(Realm::A, "show sessions"));
    lab.ctl(Realm::A, "show alg").says("RTSP on TCP ports 554, 8554");
    assert_eq!(events(lab, Realm::A, "garbled") + events(lab, Realm::A, "full"), 0);
    server.end();
    from_one_address(lab, "192.0.2.1");
}

/// One of them is given others, and does not notice.
fn two_players_ask_for_the_same_ports(lab: &Lab) {
    lab.gateways(NAT);
    from_one_address(lab, SERVER);
    let server = server(lab, "net", SERVER);
    let rewritten = events(lab, Realm::A, "rewritten");
    let same = "-min_port 20000 -max_port 20003";
    let players = ["a1", "a2"].map(|host| lab.background(host, &ffmpeg(SERVER, "udp", same)));
    for played in players.map(Background::wait) {
        assert_eq!(frames(&played), FRAMES, "{played}");
    }
    // What is asked for, and what is answered.
    assert!(events(lab, Realm::A, "rewritten") >= rewritten + 4, "{}", lab.ctl(Realm::A, "show alg"));
    lab.ctl(Realm::A, "show alg --last").says("rtsp");
    server.end();
    from_one_address(lab, "192.0.2.1");
}

fn media_is_let_in_where_rules_forbid_the_world(lab: &Lab) {
    let rules = lab.directory().join("a/rules");
    std::fs::write(&rules, "allow tcp from inside to outside port 8554\ndeny\n")
        .expect("the state directory is ours");
    lab.gateways(FILTERED);
    lab.ctl(Realm::A, "reload").expect();
    from_one_address(lab, SERVER);
    let server = server(lab, "net", SERVER);
    let played = lab.run("a1", &ffmpeg(SERVER, "udp", ""));
    assert_eq!(frames(&played), FRAMES, "{played}");
    server.end();
    from_one_address(lab, "192.0.2.1");
}

/// ANNOUNCE and RECORD.
fn a_camera_records_in_the_world(lab: &Lab) {
    lab.gateways(NAT);
    from_one_address(lab, SERVER);
    for transport in ["udp", "tcp"] {
        let server = server(lab, "net", SERVER);
        let kept = || std::fs::read_dir(lab.directory().join("frames")).expect("it is there").count();
        let line = format!(
            "timeout 60 ffmpeg -nostdin -loglevel info -re -f lavfi -i testsrc=size=160x120:rate=25 -t 3 -c:v mpeg4 \
             -f rtsp -rtsp_transport {transport} rtsp://{SERVER}:8554/record"
        );
        let recorded = lab.run("a1", &line);
        assert!(recorded.ok() && kept() >= FRAMES, "{} frames by {transport}: {recorded}", kept());
        server.end();
    }
    assert_eq!(events(lab, Realm::A, "garbled") + events(lab, Realm::A, "full"), 0);
    from_one_address(lab, "192.0.2.1");
}

fn a_camera_behind_a_static_mapping_is_played(lab: &Lab) {
    lab.gateways(MAPPED);
    let server = server(lab, "a1", HOST);
    let announced = events(lab, Realm::A, "announced");
    for transport in ["udp", "tcp"] {
        let played = lab.run("net", &ffmpeg("192.0.2.2", transport, ""));
        assert_eq!(frames(&played), FRAMES, "{played}");
    }
    gstreamer(lab, "net", "192.0.2.2", "protocols=udp");
    assert!(events(lab, Realm::A, "announced") >= announced + 3, "{}", lab.ctl(Realm::A, "show alg"));
    server.end();
}

/// Through the circular pool: who has asked for the name comes to an address that is the camera's for him alone.
fn a_camera_is_played_by_its_name(lab: &Lab) {
    inbound::serve_by_name(lab, "cam.b.demo", 8554);
    let server = server(lab, "b1", HOST);
    for transport in ["udp", "tcp"] {
        let played = lab.run("net", &ffmpeg("cam.b.demo", transport, ""));
        assert_eq!(frames(&played), FRAMES, "{played}");
    }
    assert!(events(lab, Realm::B, "announced") >= 2, "{}", lab.ctl(Realm::B, "show alg"));
    server.end();
}

/// What an URL names by its address a player asks for again: it is the proxy's, as far as the player reads.
fn played_from(lab: &Lab, client: &str, server: &str) {
    for transport in ["udp", "tcp"] {
        let played = lab.run(client, &ffmpeg(server, transport, ""));
        assert_eq!(frames(&played), FRAMES, "{transport}: {played}");
    }
    for more in ["protocols=udp", "protocols=tcp", "protocols=udp default-rtsp-version=2-0"] {
        gstreamer(lab, client, server, more);
    }
}

/// Through two gateways, and through one where both are of one realm; by name, and by the address that the name has.
fn a_camera_is_played_from_another_realm(lab: &Lab) {
    lab.gateways(&[]);
    let before = Realm::BOTH.map(|realm| events(lab, realm, "rewritten"));
    let camera = server(lab, "b1", HOST);
    played_from(lab, "a2", "www.b.demo");
    let proxy = lab.run("a2", "getent ahostsv4 www.b.demo");
    let proxy = proxy.expect().split_whitespace().next().expect("an address").to_owned();
    let played = lab.run("a2", &ffmpeg(&proxy, "udp", ""));
    assert_eq!(frames(&played), FRAMES, "{played}");
    camera.end();
    let camera = server(lab, "a1", HOST);
    played_from(lab, "a2", "a1.a.demo");
    camera.end();
    for (realm, before) in Realm::BOTH.into_iter().zip(before) {
        assert!(events(lab, realm, "rewritten") > before, "{}", lab.ctl(realm, "show alg"));
        assert_eq!(events(lab, realm, "garbled") + events(lab, realm, "refused"), 0);
        for reason in ["alg_checksum", "alg_room", "alg_fragment"] {
            assert_eq!(lab.drops(realm, reason), 0, "{reason}");
        }
    }
}

/// Where the pair may use the server's port alone, media that was announced comes in as well.
fn a_camera_is_played_through_a_restricted_binding(lab: &Lab) {
    lab.gateways(&[]);
    let came = || lab.metrics(Realm::A).sum("ces_alg_events_total", &[("event", "came")]) as u64;
    let before = came();
    let camera = server(lab, "b1", HOST);
    let played = lab.run("a2", &ffmpeg("view.b.demo", "udp", ""));
    assert_eq!(frames(&played), FRAMES, "{played}");
    assert!(came() >= before + 2, "{}", lab.ctl(Realm::A, "show alg"));
    camera.end();
}
