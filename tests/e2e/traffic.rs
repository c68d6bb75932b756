//! What crosses between two hosts, with the programs that people use.

use crate::Case;
use ces_tests::lab::{Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("ping_both_ways", ping_both_ways),
    ("page_by_name", page_by_name),
    ("page_from_the_other_realm", page_from_the_other_realm),
    ("download_is_complete", download_is_complete),
    ("iperf3_tcp_both_ways", iperf3_tcp_both_ways),
    ("iperf3_udp", iperf3_udp),
    ("datagram_there_and_back", datagram_there_and_back),
    ("fragments_there_and_back", fragments_there_and_back),
    ("closed_udp_port_is_refused_at_the_host", closed_udp_port_is_refused_at_the_host),
    ("closed_tcp_port_is_refused_at_the_host", closed_tcp_port_is_refused_at_the_host),
    ("traceroute_shows_the_gateway_then_the_proxy", traceroute_shows_the_gateway_then_the_proxy),
    ("too_large_for_the_tunnel_is_answered", too_large_for_the_tunnel_is_answered),
    ("segments_fit_the_tunnel", segments_fit_the_tunnel),
    ("narrow_path_is_found", narrow_path_is_found),
    ("p12_a_path_that_is_silently_narrow", p12_a_path_that_is_silently_narrow),
    ("two_hosts_of_one_realm", two_hosts_of_one_realm),
    ("restricted_service_carries_its_port_alone", restricted_service_carries_its_port_alone),
    ("slow_service_is_slow", slow_service_is_slow),
    ("many_pairs_at_once", many_pairs_at_once),
    (
        "first_packet_arrives_at_a_host_whose_mac_is_unknown",
        first_packet_arrives_at_a_host_whose_mac_is_unknown,
    ),
    ("host_that_does_not_answer_is_one_reason", host_that_does_not_answer_is_one_reason),
];

fn ping_both_ways(lab: &Lab) {
    lab.gateways(&[]);
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
    lab.run("b1", "ping -n -c 3 -i 0.2 -W 5 a1.a.demo").says(" 0% packet loss");
}

fn page_by_name(lab: &Lab) {
    lab.gateways(&[]);
    for host in ["a1", "a2"] {
        lab.run(host, "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    }
}

fn page_from_the_other_realm(lab: &Lab) {
    lab.gateways(&[]);
    let server = lab.background(
        "a1",
        &format!("python3 -m http.server --directory {}/www 80", lab.directory().display()),
    );
    assert!(eventually(|| lab.run("a1", "curl -sf http://192.168.10.11/").ok()), "the server of a1 is up");
    lab.run("b1", "curl -sS -m 20 http://a1.a.demo/").says("Hello from b1");
    server.end();
}

fn download_is_complete(lab: &Lab) {
    lab.gateways(&[]);
    let file = lab.directory().join("www/20MB.bin");
    let whole = lab.run("b1", &format!("sha256sum <{}", file.display()));
    let fetched = lab.run("a1", "curl -sS -m 120 http://www.b.demo/20MB.bin | sha256sum");
    assert_eq!(fetched.expect(), whole.expect());
}

fn iperf3_tcp_both_ways(lab: &Lab) {
    lab.gateways(&[]);
    for way in ["", "-R"] {
        let outcome = lab.run("a1", &format!("iperf3 -J -c www.b.demo -n 20M {way}"));
        let report: serde_json::Value = serde_json::from_str(outcome.expect()).expect("iperf3 speaks JSON");
        let received = report["end"]["sum_received"]["bytes"].as_f64().unwrap_or_default();
        // What the sender counts as sent at the end may still be on its way to the receiver.
        assert!(received >= 15e6, "{received} bytes {way}");
    }
}

fn iperf3_udp(lab: &Lab) {
    lab.gateways(&[]);
    let outcome = lab.run("a1", "iperf3 -J -u -b 2M -l 1200 -n 500K -c www.b.demo");
    let report: serde_json::Value = serde_json::from_str(outcome.expect()).expect("iperf3 speaks JSON");
    let (packets, lost) = (&report["end"]["sum"]["packets"], &report["end"]["sum"]["lost_packets"]);
    // A few may be lost where the machine is busy; it is the path that is tested, not its speed.
    assert!(
        lost.as_f64().unwrap_or(1e9) * 5.0 < packets.as_f64().unwrap_or_default(),
        "{lost} of {packets} lost"
    );
}

fn datagram_there_and_back(lab: &Lab) {
    lab.gateways(&[]);
    let server = lab.background("b1", "socat UDP4-RECVFROM:7777,fork EXEC:cat");
    let echoed = |size: u32| {
        let line = format!(
            "head -c {size} /dev/zero | tr '\\0' x | socat -b 9000 -t 1 - UDP4:www.b.demo:7777 | wc -c"
        );
        lab.run("a1", &line).expect().trim() == size.to_string()
    };
    let listens = || lab.run("b1", "ss -Hlnu 'sport = 7777'").expect().contains("7777");
    assert!(eventually(listens), "the echo of b1 is up");
    for size in [1, 1000, 1400] {
        assert!(echoed(size), "{size} bytes");
    }
    server.end();
}

fn fragments_there_and_back(lab: &Lab) {
    lab.gateways(&[]);
    for size in [1473, 4000, 8000] {
        lab.run("a1", &format!("ping -n -c 3 -i 0.2 -W 5 -s {size} www.b.demo")).says(" 0% packet loss");
    }
}

fn closed_udp_port_is_refused_at_the_host(lab: &Lab) {
    lab.gateways(&[]);
    let address = lab.dig("a1", "www.b.demo");
    lab.tool("a1", "refused.py", &format!("{address} 9")).says("refused");
}

fn closed_tcp_port_is_refused_at_the_host(lab: &Lab) {
    lab.gateways(&[]);
    let refused = lab.run("a1", "curl -sS -m 20 http://www.b.demo:9/");
    assert_eq!(refused.status, 7, "{refused}");
}

fn traceroute_shows_the_gateway_then_the_proxy(lab: &Lab) {
    lab.gateways(&[]);
    let proxy = lab.dig("a1", "www.b.demo");
    for kind in ["", "-I", "-T -p 80"] {
        let trace = lab.run("a1", &format!("traceroute -n -q 2 -w 3 -m 5 {kind} www.b.demo"));
        let hops: Vec<&str> =
            trace.expect().lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops.first(), Some(&"192.168.10.1"), "{trace}");
        assert_eq!(hops.last(), Some(&proxy.as_str()), "{trace}");
        assert!(
            hops.iter().all(|hop| !hop.starts_with("192.168.10.11") && !hop.starts_with("198.51.")),
            "{trace}"
        );
    }
}

/// The path swallows what is longer than 1,400 bytes, and says nothing.
fn p12_a_path_that_is_silently_narrow(lab: &Lab) {
    let swallow = "add table ip narrow; add chain ip narrow through { type filter hook forward priority 0; }; \
                   add rule ip narrow through meta length > 1400 drop";
    lab.run("net", &format!("nft '{swallow}'")).expect();
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let narrow = || told_mtu(lab, "a1", "www.b.demo", 1500).is_some_and(|mtu| (1330..=1350).contains(&mtu));
    let found = eventually(narrow);
    let there = lab.run(
        "a1",
        "head -c 2000000 /dev/zero | curl -sS -m 60 -o /dev/null -w '%{size_upload}' -T - http://www.b.demo/",
    );
    lab.run("net", "nft 'delete table ip narrow'").expect();
    lab.run("a1", "ip route flush cache");
    lab.stop(Realm::A);
    assert!(found, "the path MTU is found and told to the host");
    assert!(there.ok() || there.stdout.starts_with("2000000"), "{there}");
}

/// The MTU that a host is told when it sends a ping of that many bytes which may not be fragmented.
fn told_mtu(lab: &Lab, host: &str, name: &str, bytes: u32) -> Option<u32> {
    lab.run(host, "ip route flush cache").expect();
    let told = lab.run(host, &format!("ping -n -c 3 -i 0.2 -W 2 -M do -s {} {name}", bytes - 28));
    let text = format!("{}{}", told.stdout, told.stderr);
    let mtu = text.split("mtu").nth(1)?.trim_start_matches([' ', '=', ':']);
    mtu.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn too_large_for_the_tunnel_is_answered(lab: &Lab) {
    lab.gateways(&[]);
    // RFC 1191 §4: the MTU of what fits: 1500 less the outer IPv4 20, UDP 8, and PSP's header and tag of 16 each.
    assert_eq!(told_mtu(lab, "a1", "www.b.demo", 1500), Some(1440));
    lab.run("a1", "ping -n -c 2 -i 0.2 -W 5 -M do -s 1412 www.b.demo").says(" 0% packet loss");
    lab.run("a1", "ip route flush cache");
}

fn segments_fit_the_tunnel(lab: &Lab) {
    lab.gateways(&[]);
    let address = lab.dig("a1", "www.b.demo");
    let size: u32 =
        lab.tool("a1", "segment.py", &format!("{address} 80")).expect().trim().parse().expect("a number");
    assert!(size <= 1400, "{size}");
}

fn narrow_path_is_found(lab: &Lab) {
    // From scratch, so that nothing about the path is known.
    lab.gateways(&[]);
    let mtu = |value: u32| {
        for (node, interface) in [("net", "gwb"), ("gwb", "outside")] {
            lab.run(node, &format!("ip link set {interface} mtu {value}")).expect();
        }
    };
    lab.reach("a1", "www.b.demo");
    mtu(1400);
    // The router tells gwa, gwa learns, and tells a1 (1400 less 60) when it tries again.
    let told = eventually(|| told_mtu(lab, "a1", "www.b.demo", 1440) == Some(1340));
    let page = lab.run("a1", "curl -sS -m 60 http://www.b.demo/");
    let there = lab.run(
        "a1",
        "head -c 2000000 /dev/zero | curl -sS -m 60 -o /dev/null -w '%{size_upload}' -T - http://www.b.demo/",
    );
    mtu(1500);
    lab.run("a1", "ip route flush cache");
    lab.stop(Realm::A);
    assert!(told, "the path MTU is told to the host");
    page.says("Hello from b1");
    assert!(there.ok() || there.stdout.starts_with("2000000"), "{there}");
}

fn two_hosts_of_one_realm(lab: &Lab) {
    lab.gateways(&[]);
    lab.run("a2", "ping -n -c 3 -i 0.2 -W 5 a1.a.demo").says(" 0% packet loss");
    let server = lab.background(
        "a1",
        &format!("python3 -m http.server --directory {}/www 8080", lab.directory().display()),
    );
    assert!(
        eventually(|| lab.run("a1", "curl -sf http://192.168.10.11:8080/").ok()),
        "the server of a1 is up"
    );
    lab.run("a2", "curl -sS -m 20 http://a1.a.demo:8080/").says("Hello from b1");
    server.end();
}

fn restricted_service_carries_its_port_alone(lab: &Lab) {
    lab.gateways(&[]);
    lab.run("a1", "curl -sS -m 20 http://shop.b.demo/").says("Hello from b1");
    let refused = lab.drops(Realm::A, "policy_protocol") + lab.drops(Realm::B, "policy_protocol");
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 1 shop.b.demo").says("100% packet loss");
    assert_ne!(lab.run("a1", "curl -sS -m 2 http://shop.b.demo:5201/").status, 0);
    let now = || lab.drops(Realm::A, "policy_protocol") + lab.drops(Realm::B, "policy_protocol");
    assert!(eventually(|| now() >= refused + 4), "{refused} before, {} after", now());
}

fn slow_service_is_slow(lab: &Lab) {
    lab.gateways(&[]);
    lab.run("a1", "curl -sS -m 20 http://slow.b.demo/").says("Hello from b1");
    // Far more than 2 Mbit/s, whatever the machine's speed: some must be lost here, or there.
    let limited = || lab.drops(Realm::A, "rate_limited") + lab.drops(Realm::B, "rate_limited");
    let before = limited();
    lab.run("a1", "ping -n -q -f -c 2000 -s 1400 -W 1 slow.b.demo");
    assert!(eventually(|| limited() > before));
}

fn many_pairs_at_once(lab: &Lab) {
    lab.gateways(&[]);
    let one = lab.background("a1", "ping -n -c 20 -i 0.05 -W 5 b1.b.demo");
    let two = lab.background("a2", "ping -n -c 20 -i 0.05 -W 5 b2.b.demo");
    let three = lab.background("b1", "ping -n -c 20 -i 0.05 -W 5 a1.a.demo");
    for outcome in [one.wait(), two.wait(), three.wait()] {
        outcome.says(" 0% packet loss");
    }
}

/// Both ways at both gateways: the kernels there forget every neighbour, and one ping goes and comes.
fn first_packet_arrives_at_a_host_whose_mac_is_unknown(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let sent = |realm| lab.metrics(realm).sum("ces_held_total", &[("event", "sent")]);
    let lost = || -> u64 {
        let reasons = ["neighbour_unresolved", "neighbour_replaced", "neighbour_full"];
        Realm::BOTH.iter().flat_map(|realm| reasons.map(|reason| lab.drops(*realm, reason))).sum()
    };
    let (before, lost_before) = (Realm::BOTH.map(sent), lost());
    // The kernels may find a neighbour again before the ping comes, for the gateways' own connection or the host's query.
    for _ in 0..10 {
        for node in ["gwa", "gwb"] {
            lab.run(node, "ip neigh flush all").expect();
        }
        lab.reach("a1", "www.b.demo");
    }
    let held: Vec<f64> =
        Realm::BOTH.into_iter().zip(before).map(|(realm, before)| sent(realm) - before).collect();
    assert!(held.iter().all(|held| *held > 0.0), "{held:?} were held and sent");
    assert_eq!(lost(), lost_before, "none was lost");
    for realm in Realm::BOTH {
        assert!(
            eventually(|| lab.metrics(realm).sum("ces_held_packets", &[]) < 1.0),
            "none is held for ever"
        );
    }
}

/// The far host is gone: what is sent to it is held, in vain, and each packet is one drop.
fn host_that_does_not_answer_is_one_reason(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    lab.run("b1", "ip link set eth0 arp off").expect();
    lab.run("gwb", "ip neigh flush all").expect();
    lab.drops_more(Realm::B, "neighbour_unresolved", 3, || {
        lab.run("a1", "ping -n -c 3 -i 0.2 -W 1 www.b.demo").says("100% packet loss");
    });
    lab.drops_more(Realm::B, "neighbour_replaced", 1, || {
        lab.run("a1", "ping -n -c 40 -i 0.005 -W 1 www.b.demo").says("100% packet loss");
    });
    lab.run("b1", "ip link set eth0 arp on").expect();
    // The kernel has given the host up, and asks for it anew when it is ready to: the packet that is held may not live so long.
    let again = || lab.run("a1", "ping -n -c 1 -W 2 www.b.demo").ok();
    assert!(eventually(again), "a host that answers again is reached again");
}
