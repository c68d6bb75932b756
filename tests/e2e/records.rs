//! Records of NAT44: who had an address and port, from the gateway's own store and at collectors of IPFIX.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm, eventually};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const CASES: &[Case] = &[
    ("who_had_a_port_is_told_over_restarts", who_had_a_port_is_told_over_restarts),
    ("collectors_understand_what_they_get", collectors_understand_what_they_get),
    ("one_record_says_whose_a_block_of_ports_was", one_record_says_whose_a_block_of_ports_was),
];

const BLOCKS: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\nblock_ports = 64\n\n[state]\ndirectory = \"state\"\n\n\
     [records]\nfile_mib = 1\nwhat = \"blocks\"\n\n\
     [[records.collector]]\naddress = \"127.0.0.1:4739\"\n\n[tls]\n",
)];

const KEPT: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n[state]\ndirectory = \"state\"\n\n[records]\nfile_mib = 1\n\n[tls]\n",
)];
const TOLD: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n[records]\nwhat = \"sessions\"\n\n\
     [[records.collector]]\naddress = \"127.0.0.1:4739\"\n\n\
     [[records.collector]]\naddress = \"127.0.0.1:4740\"\ntransport = \"tcp\"\n\n\
     [[records.collector]]\naddress = \"127.0.0.1:4741\"\ntransport = \"tcp\"\n\n[tls]\n",
)];

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A datagram of a1 from this port to the world.
fn asks(lab: &Lab, port: u16) {
    let line = format!(
        "python3 -c \"import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', {port}))
s.sendto(b'x', ('203.0.113.9', 7777))\""
    );
    lab.run("a1", &line).expect();
}

fn who_had_a_port_is_told_over_restarts(lab: &Lab) {
    lab.gateways(KEPT);
    asks(lab, 5123);
    let who = |more: &str| lab.json(Realm::A, &format!("who 192.0.2.2:5123 {more}"));
    assert!(eventually(|| who("--protocol udp")[0]["host"][0] == "192.168.10.11"), "{}", who(""));
    let found = who("");
    assert_eq!(found[0]["host"][1], 5123, "{found}");
    assert_eq!((found[0]["remote"].is_null(), found[0]["to_ms"].is_null()), (true, true), "{found}");
    let from_s = found[0]["from_ms"].as_u64().expect("a time") / 1000;
    assert!(now_s() - from_s < 60, "{found}");
    assert_eq!(who("--protocol tcp").as_array().map(Vec::len), Some(0));
    lab.ctl(Realm::A, "who 192.0.2.2:5123").says("192.168.10.11:5123");
    lab.kill(Realm::A);
    lab.start(Realm::A);
    // It goes on, and is found at the time at which it began, and not before.
    let found = who(&format!("--at {}", from_s + 1));
    assert_eq!(found[0]["host"][0], "192.168.10.11", "{found}");
    assert!(found[0]["restarted_ms"].as_u64() > found[0]["from_ms"].as_u64(), "{found}");
    lab.ctl(Realm::A, "who 192.0.2.2:5123").says("the gateway started again at ");
    assert_eq!(who(&format!("--at {}", from_s - 1)).as_array().map(Vec::len), Some(0));
    assert_eq!(who("--at 2020-01-01T00:00:00Z").as_array().map(Vec::len), Some(0));
    lab.ctl(Realm::A, "who 192.0.2.2:1").says("nobody, as far as the records say");
    let metrics = lab.metrics(Realm::A);
    assert!(metrics.sum("ces_records_total", &[("by", "store"), ("outcome", "kept")]) >= 1.0);
    assert!(metrics.sum("ces_records_total", &[("outcome", "lost")]) < 0.5);
    let size = std::fs::metadata(lab.directory().join("a/state/records")).map(|file| file.len());
    assert!(size.is_ok_and(|octets| octets <= 1 << 20));
    lab.gateways(&[]);
}

/// A listener of TCP that takes what comes.
const SINK: &str = "python3 -c \"import socket
s = socket.create_server(('127.0.0.1', 4740))
while True:
    c, _ = s.accept()
    while c.recv(65536): pass\"";

fn collectors_understand_what_they_get(lab: &Lab) {
    lab.gateways(&[]);
    let flows = lab.directory().join("flows");
    let capture = lab.directory().join("ipfix.pcap");
    std::fs::create_dir_all(&flows).expect("the state directory is ours");
    let nfcapd =
        lab.serve("gwa", "127.0.0.1:4739", &format!("nfcapd -b 127.0.0.1 -p 4739 -w {}", flows.display()));
    let sink = lab.serve("gwa", "127.0.0.1:4740", SINK);
    let tshark =
        lab.background("gwa", &format!("tshark -q -i lo -f 'tcp port 4740' -w {}", capture.display()));
    assert!(eventually(|| capture.exists()));
    lab.gateways(TOLD);
    for port in 5200..5210 {
        asks(lab, port);
    }
    let sent = |by: &str, outcome: &str| {
        lab.metrics(Realm::A).sum("ces_records_total", &[("by", by), ("outcome", outcome)])
    };
    for by in ["127.0.0.1:4739", "127.0.0.1:4740"] {
        assert!(eventually(|| sent(by, "kept") >= 10.0), "{by}");
        assert!(sent(by, "lost") < 0.5, "{by}");
    }
    // Nobody listens at the third, which waits, and is in nobody's way.
    assert!(sent("127.0.0.1:4741", "kept") < 0.5);
    nfcapd.end();
    let read = format!("nfdump -R {} -o json", flows.display());
    let told = lab.run("gwa", &read);
    for port in 5200..5210 {
        told.says(&format!("\"src_xlt_port\" : \"{port}\""));
    }
    for words in
        ["\"src4_addr\" : \"192.168.10.11\"", "\"src4_xlt_ip\" : \"192.0.2.2\"", "NAT44 session create"]
    {
        told.says(words);
    }
    let dissect = format!(
        "tshark -r {} -d tcp.port==4740,cflow -T fields -e cflow.srcaddr -e cflow.post_natsource_ipv4_address \
         -e cflow.nat_event -e cflow.dstaddr 2>/dev/null",
        capture.display()
    );
    assert!(
        eventually(|| lab.run("gwa", &dissect).expect().contains("192.168.10.11")),
        "{}",
        lab.run("gwa", &dissect)
    );
    let outcome = lab.run("gwa", &dissect);
    outcome.says("192.0.2.2");
    outcome.says("203.0.113.9");
    tshark.end();
    sink.end();
    lab.gateways(&[]);
}

fn one_record_says_whose_a_block_of_ports_was(lab: &Lab) {
    lab.gateways(&[]);
    let capture = lab.directory().join("blocks.pcap");
    let tshark =
        lab.background("gwa", &format!("tshark -q -i lo -f 'udp port 4739' -w {}", capture.display()));
    assert!(eventually(|| capture.exists()));
    lab.gateways(BLOCKS);
    lab.ctl(Realm::A, "show nat").says("by blocks of 64");
    for port in 5200..5210 {
        asks(lab, port);
    }
    let port = || {
        let sessions = lab.json(Realm::A, "show sessions");
        let row = sessions.as_array().and_then(|rows| rows.first()).expect("a session");
        let external = row["external"].as_str().expect("an end").to_owned();
        external.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port")
    };
    let first = port() / 64 * 64;
    let who = |port: u16, more: &str| lab.json(Realm::A, &format!("who 192.0.2.2:{port} {more}"));
    assert!(eventually(|| who(first, "")[0]["host"][0] == "192.168.10.11"), "{}", who(first, ""));
    let found = who(first + 63, "--protocol tcp");
    assert_eq!(found[0]["ports"], serde_json::json!([first, first + 63]), "a block is of all protocols");
    assert_eq!(who(first.wrapping_sub(1), "").as_array().map(Vec::len), Some(0));
    lab.ctl(Realm::A, &format!("who 192.0.2.2:{first}")).says(&format!("{first}-{}", first + 63));
    let metrics = lab.metrics(Realm::A);
    assert_eq!(metrics.sum("ces_nat_port_blocks", &[]) as u64, 1);
    // That it started, and one for all ports.
    assert_eq!(metrics.sum("ces_records_total", &[("by", "store"), ("outcome", "kept")]) as u64, 2);
    // The next process knows whose it is.
    lab.kill(Realm::A);
    lab.start(Realm::A);
    asks(lab, 5300);
    assert_eq!(port() / 64 * 64, first);
    assert_eq!(lab.metrics(Realm::A).sum("ces_nat_port_blocks", &[]) as u64, 1);
    let dissect = format!("tshark -r {} -d udp.port==4739,cflow -V 2>/dev/null", capture.display());
    let told = |words: &str| lab.run("gwa", &dissect).expect().contains(words);
    assert!(eventually(|| told(&format!(": {}", first + 63))), "{}", lab.run("gwa", &dissect));
    tshark.end();
    lab.gateways(&[]);
}
