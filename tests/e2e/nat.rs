//! What hosts send into the world goes through NAT44, beside what goes to other realms by name.

use crate::Case;
use ces_dataplane::tag::{PORT_BITS, worker_of, worker_of_port};
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("hosts_reach_the_world_and_other_realms_at_once", hosts_reach_the_world_and_other_realms_at_once),
    ("tcp_and_udp_flow_both_ways", tcp_and_udp_flow_both_ways),
    ("routers_on_the_way_are_seen", routers_on_the_way_are_seen),
    ("nothing_unasked_comes_in", nothing_unasked_comes_in),
    ("a_host_that_no_file_names_goes_out", a_host_that_no_file_names_goes_out),
    ("fragments_and_large_packets_go_out", fragments_and_large_packets_go_out),
    ("hosts_meet_at_their_external_addresses", hosts_meet_at_their_external_addresses),
    ("hosts_of_two_workers_meet", hosts_of_two_workers_meet),
    ("a_neighbour_on_the_outside_link_is_reached", a_neighbour_on_the_outside_link_is_reached),
    ("who_asks_for_nobody_is_told", who_asks_for_nobody_is_told),
    ("p10_nobody_goes_out_in_anothers_name", p10_nobody_goes_out_in_anothers_name),
    ("p10_what_is_behind_a_router_comes_from_it", p10_what_is_behind_a_router_comes_from_it),
    ("connections_outlive_a_killed_gateway", connections_outlive_a_killed_gateway),
    ("connections_outlive_a_clean_restart", connections_outlive_a_clean_restart),
];

const NAT: &[Edit] = &[(Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n")];

/// Two workers, through ports that have two queues.
pub(crate) const ON_TWO_CORES: [Edit; 3] = [
    (Realm::A, "net_af_xdp0,iface=inside", "net_af_packet0,iface=inside,qpairs=2"),
    (Realm::A, "net_af_xdp1,iface=outside", "net_af_packet1,iface=outside,qpairs=2"),
    (Realm::A, "cores = [0]", "cores = [0, 1]"),
];

const TWO_WORKERS: &[Edit] = &[
    (
        Realm::A,
        "[tls]\n",
        "[nat]\naddresses = [\"192.0.2.2\"]\n\n[[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"192.168.10.12\"\n\
         port = 8080\n\n[tls]\n",
    ),
    ON_TWO_CORES[0],
    ON_TWO_CORES[1],
    ON_TWO_CORES[2],
];

/// A web server in the world.
fn web(lab: &Lab) -> Background {
    let line = format!(
        "python3 -m http.server --bind 203.0.113.80 --directory {}/www 80",
        lab.directory().display()
    );
    let server = lab.background("net", &line);
    assert!(eventually(|| lab.run("net", "curl -sf -o /dev/null http://203.0.113.80/").ok()), "it is up");
    server
}

fn hosts_reach_the_world_and_other_realms_at_once(lab: &Lab) {
    lab.gateways(NAT);
    let server = web(lab);
    for host in ["a1", "a2"] {
        lab.run(host, "ping -n -c 3 -i 0.2 -W 5 203.0.113.9").says(" 0% packet loss");
        lab.run(host, "curl -sS -m 20 http://203.0.113.80/").says("Hello from b1");
        lab.run(host, "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
        assert!(lab.run(host, "dig +short @203.0.113.53 demo. SOA").expect().contains("demo"));
    }
    let metrics = lab.metrics(Realm::A);
    assert!(metrics.sum("ces_nat_sessions", &[]) >= 4.0);
    lab.ctl(Realm::A, "show nat").says("external addresses 192.0.2.2");
    let sessions = lab.json(Realm::A, "show sessions");
    let tcp = sessions.as_array().expect("rows").iter().find(|row| {
        row["stage"] == "half closed" || row["stage"] == "closing" || row["stage"] == "established"
    });
    assert!(
        tcp.is_some_and(|row| row["remote"] == "203.0.113.80:80" && row["in_bytes"].as_u64() > Some(100))
    );
    lab.ctl(Realm::A, "show sessions").says("203.0.113.80:80");
    server.end();
}

fn tcp_and_udp_flow_both_ways(lab: &Lab) {
    lab.gateways(NAT);
    let server = lab.background("net", "iperf3 -s -B 203.0.113.9");
    assert!(eventually(|| lab.run("net", "ss -Hltn sport = 5201").expect().contains("5201")));
    for way in ["", "-R"] {
        let outcome = lab.run("a1", &format!("iperf3 -J -c 203.0.113.9 -n 20M {way}"));
        let report: serde_json::Value = serde_json::from_str(outcome.expect()).expect("iperf3 speaks JSON");
        let received = report["end"]["sum_received"]["bytes"].as_f64().unwrap_or_default();
        assert!(received >= 15e6, "{received} bytes {way}");
        let outcome = lab.run("a1", &format!("iperf3 -J -u -b 2M -l 1200 -n 500K -c 203.0.113.9 {way}"));
        let report: serde_json::Value = serde_json::from_str(outcome.expect()).expect("iperf3 speaks JSON");
        let (packets, lost) = (&report["end"]["sum"]["packets"], &report["end"]["sum"]["lost_packets"]);
        assert!(
            lost.as_f64().unwrap_or(1e9) <= packets.as_f64().unwrap_or(0.0) / 10.0,
            "{lost} of {packets} {way}"
        );
    }
    server.end();
}

fn routers_on_the_way_are_seen(lab: &Lab) {
    lab.gateways(NAT);
    for how in ["", "-I", "-T -p 80"] {
        let outcome = lab.run("a1", &format!("traceroute -n -q 1 -w 3 -m 4 {how} 203.0.113.9"));
        for router in ["192.168.10.1", "203.0.113.9"] {
            outcome.says(router);
        }
    }
}

fn nothing_unasked_comes_in(lab: &Lab) {
    lab.gateways(NAT);
    lab.run("a1", "ping -n -c 1 -W 5 203.0.113.9").says(" 0% packet loss");
    let before = lab.drops(Realm::A, "unasked");
    let line = "for port in 1024 5000 20000 32767; do echo x >/dev/udp/192.0.2.2/$port; done";
    lab.run("net", &format!("bash -c '{line}'"));
    assert!(eventually(|| lab.drops(Realm::A, "unasked") >= before + 4));
    assert!(!lab.run("net", "curl -sS -m 2 http://192.0.2.2:5000/").ok());
}

/// RFC 5382 §4.3, REQ-4: a real connection attempt hears that nobody is there, before its own patience ends.
fn who_asks_for_nobody_is_told(lab: &Lab) {
    lab.gateways(NAT);
    let told = || lab.metrics(Realm::A).sum("ces_nat_unasked_total", &[("event", "told")]);
    let before = told();
    let refused = lab.run("net", "curl -sS -m 60 http://192.0.2.2:5000/");
    assert_eq!(refused.status, 7, "could not connect, and not timed out: {refused}");
    assert!(eventually(|| told() > before));
}

fn p10_nobody_goes_out_in_anothers_name(lab: &Lab) {
    lab.gateways(NAT);
    lab.run("a1", "ping -n -c 1 -W 5 203.0.113.9").says(" 0% packet loss");
    let opened = || lab.metrics(Realm::A).sum("ces_nat_sessions_opened_total", &[]);
    let before = opened();
    lab.drops_more(Realm::A, "source_mac", 3, || {
        let what = "udp --source 192.168.10.11 --destination 203.0.113.9 --port 53 --count 3";
        lab.tool("a2", "datagram.py", what).expect();
    });
    assert!(opened() <= before, "no session in the name of a1");
    for host in ["a1", "a2"] {
        lab.run(host, "ping -n -c 1 -W 5 203.0.113.9").says(" 0% packet loss");
    }
}

/// Host a2 has a network behind it.
fn p10_what_is_behind_a_router_comes_from_it(lab: &Lab) {
    let behind = "[realm]\nmac_policy = \"strict\"\n";
    let route = "[[route]]\nto = \"192.168.77.0/24\"\nvia = \"192.168.10.12\"\n\n[worker]\n";
    let networks = "networks = [\"192.168.0.0/16\"]";
    lab.gateways(&[
        NAT[0],
        (Realm::A, "[realm]\n", behind),
        (Realm::A, "[worker]\n", route),
        (Realm::A, "networks = [\"192.168.10.0/24\"]", networks),
    ]);
    lab.run("a2", "ip address add 192.168.77.9/32 dev lo").expect();
    lab.run("a2", "ping -n -c 3 -i 0.2 -W 5 -I 192.168.77.9 203.0.113.9").says(" 0% packet loss");
    lab.drops_more(Realm::A, "source_mac", 3, || {
        let what = "udp --source 192.168.77.9 --destination 203.0.113.9 --port 53 --count 3";
        lab.tool("a1", "datagram.py", what).expect();
    });
    lab.run("a2", "ping -n -c 1 -W 5 -I 192.168.77.9 203.0.113.9").says(" 0% packet loss");
    lab.run("a2", "ip address del 192.168.77.9/32 dev lo").expect();
}

fn a_host_that_no_file_names_goes_out(lab: &Lab) {
    lab.gateways(NAT);
    lab.run("a1", "ip address add 192.168.10.77/24 dev eth0").expect();
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 -I 192.168.10.77 203.0.113.9").says(" 0% packet loss");
    let status = lab.dig_status("a1", "-b 192.168.10.77 demo. SOA");
    assert_eq!(status, "NOERROR");
    // It negotiates with nobody.
    assert_ne!(lab.dig("a1", "-b 192.168.10.77 www.b.demo").split('.').next(), Some("10"));
    lab.run("a1", "ip address del 192.168.10.77/24 dev eth0").expect();
}

fn fragments_and_large_packets_go_out(lab: &Lab) {
    lab.gateways(NAT);
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 -s 4000 203.0.113.9").says(" 0% packet loss");
    // The path narrows behind the gateway's router: the error comes back to the host that sent.
    lab.run("net", "ip route add 203.0.113.99/32 dev lo mtu lock 1300").expect();
    lab.run("a1", "ping -n -c 2 -i 0.2 -W 5 -M do -s 1400 203.0.113.9").says(" 0% packet loss");
    lab.run("net", "ip route del 203.0.113.99/32 dev lo").expect();
}

/// RFC 4787 §6, REQ-9: two hosts behind one gateway, by UDP hole punching over what each is seen as outside.
fn hosts_meet_at_their_external_addresses(lab: &Lab) {
    lab.gateways(NAT);
    meet(lab, (4001, 4002));
}

/// The same between hosts of two workers, each of which gives of its own ports: a port that its host has inside as well is in a
/// block of that worker. TCP, too, to a port that is configured.
fn hosts_of_two_workers_meet(lab: &Lab) {
    lab.gateways(TWO_WORKERS);
    let workers = [11, 12].map(|host| worker_of(u32::from_be_bytes([192, 168, 10, host]), 2));
    assert_ne!(workers[0], workers[1]);
    let port_of = |worker| {
        (4000..5000).find(|port| worker_of_port(*port, PORT_BITS, 2) == worker).expect("one of its ports")
    };
    meet(lab, (port_of(workers[0]), port_of(workers[1])));
    let line = format!(
        "python3 -m http.server --bind 192.168.10.12 --directory {}/www 8080",
        lab.directory().display()
    );
    let server = lab.background("a2", &line);
    assert!(eventually(|| lab.run("a1", "curl -sf -m 5 -o /dev/null http://192.0.2.2:8080/").ok()));
    lab.run("a1", "curl -sS -m 20 http://192.0.2.2:8080/").says("Hello from b1");
    server.end();
    let handed = lab.json(Realm::A, "show workers");
    let of_each = handed.as_array().expect("rows").iter().map(|row| row["handed_off"].as_u64());
    assert!(of_each.clone().count() == 2 && of_each.clone().all(|count| count > Some(0)), "{handed}");
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 203.0.113.9").says(" 0% packet loss");
    lab.run("a2", "ping -n -c 3 -i 0.2 -W 5 203.0.113.9").says(" 0% packet loss");
}

/// Hosts a1 and a2, each from this port, which is the same outside.
fn meet(lab: &Lab, (own, other): (u16, u16)) {
    let punch = |own: u16, other: u16| {
        format!(
            "python3 -c \"import socket,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',{own})); s.settimeout(0.3)
got=b''
for i in range(40):
    s.sendto(b'from {own}',('192.0.2.2',{other}))
    try: got,who=s.recvfrom(100)
    except OSError: continue
    if i > 5: break
print(got.decode(), who[0], who[1])\""
        )
    };
    let first = lab.background("a1", &punch(own, other));
    let second = lab.run("a2", &punch(other, own));
    second.says(&format!("from {own} 192.0.2.2 {own}"));
    first.wait().says(&format!("from {other} 192.0.2.2 {other}"));
}

fn a_neighbour_on_the_outside_link_is_reached(lab: &Lab) {
    lab.gateways(NAT);
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 192.0.2.1").says(" 0% packet loss");
}

/// Ends and starts the gateway three times while TCP runs both ways through it. What goes on is the same flow: the server sees no
/// other port.
fn restarts_under_traffic(lab: &Lab, end: fn(&Lab)) {
    lab.gateways(&[
        NAT[0],
        (Realm::A, "[registry]", "[state]\ndirectory = \"nat-state\"\nmemory = \"../memory\"\n\n[registry]"),
    ]);
    let server = lab.background("net", "iperf3 -s -B 203.0.113.9");
    assert!(eventually(|| lab.run("net", "ss -Hltn sport = 5201").expect().contains("5201")));
    let transfer = lab.background("a1", "iperf3 -J -c 203.0.113.9 --bidir -b 1M -t 12 -i 1");
    let flows = || lab.run("net", "ss -Htn state established '( sport = 5201 )'").expect().to_owned();
    assert!(eventually(|| flows().lines().count() == 3), "it runs");
    let peers = |flows: &str| {
        let mut peers: Vec<_> =
            flows.lines().filter_map(|line| line.split_whitespace().last().map(str::to_owned)).collect();
        peers.sort();
        peers
    };
    let before = peers(&flows());
    for _ in 0..3 {
        end(lab);
        lab.start(Realm::A);
        // Data, from both ends, since the start.
        let both = |row: &serde_json::Value| {
            row["remote"] == "203.0.113.9:5201" && row["stage"] == "established" && row["idle_s"] == 0
        };
        let run = || {
            let sessions = lab.json(Realm::A, "show sessions");
            sessions.as_array().expect("rows").iter().filter(|row| both(row)).count() >= 2
        };
        assert!(eventually(run), "{}", lab.ctl(Realm::A, "show sessions"));
        assert_eq!(peers(&flows()), before);
        assert!(lab.metrics(Realm::A).sum("ces_nat_sessions_kept", &[("fate", "adopted")]) >= 3.0);
    }
    let report: serde_json::Value =
        serde_json::from_str(transfer.wait().expect()).expect("iperf3 speaks JSON");
    for way in ["sum_received", "sum_received_bidir_reverse"] {
        let received = report["end"][way]["bytes"].as_f64().unwrap_or(0.0);
        assert!(received > 0.9 * 12.0 * 1e6 / 8.0, "all of it arrived: {received} octets {way}");
    }
    lab.ctl(Realm::A, "show nat").says(", 0 forgotten");
    server.end();
}

fn connections_outlive_a_killed_gateway(lab: &Lab) {
    restarts_under_traffic(lab, |lab| lab.kill(Realm::A));
}

fn connections_outlive_a_clean_restart(lab: &Lab) {
    restarts_under_traffic(lab, |lab| drop(lab.stop(Realm::A)));
}
