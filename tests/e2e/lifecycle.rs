//! Gateways that start, stop, die and come back.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Outcome, Realm, eventually, lives};

pub(crate) const CASES: &[Case] = &[
    ("shipped_configurations_are_right", shipped_configurations_are_right),
    ("configuration_mistakes_are_named_with_their_line", configuration_mistakes_are_named_with_their_line),
    ("what_keeps_it_from_starting_is_said", what_keeps_it_from_starting_is_said),
    ("sigterm_leaves_nothing", sigterm_leaves_nothing),
    ("sigint_ends_it_too", sigint_ends_it_too),
    ("peer_restarted_with_its_state_gone", peer_restarted_with_its_state_gone),
    ("both_start_at_once", both_start_at_once),
    ("peer_killed_while_hosts_talk", peer_killed_while_hosts_talk),
    ("killed_peer_is_found_again_without_a_query", killed_peer_is_found_again_without_a_query),
    ("r1_connections_outlive_a_killed_gateway", r1_connections_outlive_a_killed_gateway),
    ("c15_connections_outlive_a_clean_restart", c15_connections_outlive_a_clean_restart),
    ("name_while_the_peer_is_down_then_up", name_while_the_peer_is_down_then_up),
    ("thousands_of_neighbours_find_room", thousands_of_neighbours_find_room),
    ("p5_the_kernel_does_not_answer_beside_a_port", p5_the_kernel_does_not_answer_beside_a_port),
    ("p5_interfaces_with_addresses_are_refused", p5_interfaces_with_addresses_are_refused),
    ("p5_offloads_are_turned_off", p5_offloads_are_turned_off),
    ("p7_links_are_the_kernels", p7_links_are_the_kernels),
    (
        "p5_a_kernel_that_cannot_be_kept_from_answering_is_refused",
        p5_a_kernel_that_cannot_be_kept_from_answering_is_refused,
    ),
    ("p8_a_second_gateway_touches_nothing", p8_a_second_gateway_touches_nothing),
    ("p8_xdp_programs_come_back", p8_xdp_programs_come_back),
    ("shadows_keep_the_ports_mac_addresses", shadows_keep_the_ports_mac_addresses),
];

/// cesd in a gateway's namespace with this configuration, until it ends by itself.
fn cesd(lab: &Lab, arguments: &str) -> Outcome {
    lab.run("gwa", &format!("timeout 30 {}/cesd {arguments}", lab.binaries().display()))
}

fn shipped_configurations_are_right(lab: &Lab) {
    for realm in ["a", "b"] {
        cesd(lab, &format!("--config {}/{realm}/cesd.toml --check", lab.directory().display())).expect();
    }
    let example = lab.root().join("control/cesd.example.toml");
    let checked = cesd(lab, &format!("--config {} --check", example.display()));
    // Its certificates and hosts are the reader's own; its keys are right.
    assert!(!format!("{checked}").contains("unknown"), "{checked}");
}

fn configuration_mistakes_are_named_with_their_line(lab: &Lab) {
    let shipped = lab.shipped_config(Realm::A);
    let mistakes: &[(&str, &str, &str)] = &[
        ("idle_sleep_us = 20", "idle_slep_us = 20", "idle_slep_us"),
        ("idle_sleep_us = 20", "idle_sleep_us = \"20\"", "idle_sleep_us"),
        ("cores = [0]", "cores = []", "cores"),
        ("cores = [0]", "cores = [0, 0]", "cores"),
        ("192.0.2.2/30", "192.0.2.300/30", "addresses"),
        ("via = \"192.0.2.1\"", "via = \"192.0.9.1\"", "via"),
        ("side = \"outside\"", "side = \"inside\"", "outside"),
        ("ces_id = \"gwa.demo.\"", "ces_id = \"gw a\"", "ces_id"),
        ("port = 48001", "port = 70000", "port"),
        ("[worker]", "[wroker]", "wroker"),
        ("[worker]", "[worker", "unclosed table"),
        ("ca/ca.crt", "ca/none.crt", "none.crt"),
        ("files = [\"hosts.toml\"]", "files = [\"none.toml\"]", "none.toml"),
        ("ca/gwa.demo.key", "ca/gwb.demo.key", "key"),
    ];
    let path = lab.directory().join("a/wrong.toml");
    for (from, to, named) in mistakes {
        assert!(shipped.contains(from), "{from}");
        let text = shipped.replacen(from, to, 1);
        std::fs::write(&path, &text).expect("the state directory is ours");
        let refused = cesd(lab, &format!("--config {} --check", path.display()));
        assert!(!refused.ok(), "{to} was accepted");
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains(named), "{to}: {refused}");
        assert!(!said.contains("panicked"), "{refused}");
        let lines = said
            .split("wrong.toml:")
            .skip(1)
            .filter_map(|rest| rest.split(':').next()?.parse::<usize>().ok());
        for line in lines {
            assert!(line >= 1 && line <= text.lines().count(), "{refused}");
        }
        assert!(
            said.contains("wrong.toml:") || said.contains("none.") || said.contains("key"),
            "no line: {refused}"
        );
    }
}

fn what_keeps_it_from_starting_is_said(lab: &Lab) {
    lab.stop(Realm::A);
    let shipped = lab.shipped_config(Realm::A);
    let path = lab.directory().join("a/wrong.toml");
    let start = |from: &str, to: &str| {
        assert!(shipped.contains(from), "{from}");
        std::fs::write(&path, shipped.replacen(from, to, 1)).expect("the state directory is ours");
        let refused = cesd(lab, &format!("--config {}", path.display()));
        assert!(!refused.ok() && refused.status != 124, "{to}: {refused}");
        assert!(!refused.to_string().contains("panicked"), "{refused}");
        refused
    };
    start("iface=inside", "iface=nowhere").says("net_af_xdp0");
    start("mib = 128", "mib = 33").says("mem");
    start("cores = [0]", "cores = [63]").says("63");
    // A second one on the same socket and ports.
    lab.gateways(&[]);
    let second = cesd(lab, &format!("--config {}/a/cesd.toml", lab.directory().display()));
    assert!(!second.ok() && second.status != 124, "{second}");
    assert!(!second.to_string().contains("panicked"), "{second}");
    assert!(lab.is_running(Realm::A));
    lab.ctl(Realm::A, "show ports").expect();
    lab.run("a1", "ping -n -c 2 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
}

fn nothing_is_left(lab: &Lab, pid: u32) {
    assert!(!lives(pid), "the process is gone");
    let links = lab.run("gwa", "ip -brief link");
    assert!(!links.expect().contains("ces-"), "a TAP is left\n{links}");
    assert!(!lab.directory().join("a/cesd.sock").exists(), "the socket is gone");
}

fn sigterm_leaves_nothing(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let pid = lab.pid(Realm::A);
    lab.stop(Realm::A).says("");
    nothing_is_left(lab, pid);
    assert!(!lab.log(Realm::A).contains("panicked"), "{}", lab.log(Realm::A));
    lab.gateways(&[]);
}

fn sigint_ends_it_too(lab: &Lab) {
    lab.gateways(&[]);
    let pid = lab.pid(Realm::A);
    lab.run("gwa", &format!("kill -INT {pid}")).expect();
    assert!(eventually(|| !lives(pid)), "it ends");
    nothing_is_left(lab, pid);
    lab.stop(Realm::A);
    lab.gateways(&[]);
}

/// The last lines of both logs, for the message of a failed assertion.
fn logs(lab: &Lab) -> String {
    let tail = |realm| {
        let log = lab.log(realm);
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with("lib")).collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    };
    format!("gwa:\n{}\ngwb:\n{}", tail(Realm::A), tail(Realm::B))
}

fn works(lab: &Lab, host: &str, name: &str) -> bool {
    lab.run(host, &format!("ping -n -c 1 -W 2 {name}")).ok()
}

fn peer_restarted_with_its_state_gone(lab: &Lab) {
    lab.gateways(&[]);
    for realm in [Realm::B, Realm::A] {
        lab.reach("a1", "www.b.demo");
        lab.stop(realm);
        lab.start(realm);
        for (host, name) in [("a1", "www.b.demo"), ("b1", "a1.a.demo"), ("a2", "b2.b.demo")] {
            assert!(
                eventually(|| works(lab, host, name)),
                "{host} → {name} after a restart of {realm:?}\n{}",
                logs(lab)
            );
        }
    }
}

fn both_start_at_once(lab: &Lab) {
    for _ in 0..3 {
        lab.gateways(&[]);
        for realm in Realm::BOTH {
            lab.stop(realm);
        }
        for realm in Realm::BOTH {
            lab.start(realm);
        }
        let one = lab.background("a1", "ping -n -c 1 -W 10 www.b.demo");
        let two = lab.background("b1", "ping -n -c 1 -W 10 a1.a.demo");
        let (one, two) = (one.wait(), two.wait());
        assert!(eventually(|| works(lab, "a1", "www.b.demo")), "{one}");
        assert!(eventually(|| works(lab, "b1", "a1.a.demo")), "{two}");
    }
}

fn peer_killed_while_hosts_talk(lab: &Lab) {
    lab.gateways(&[]);
    let transfer = lab.background("a1", "iperf3 -c www.b.demo -t 60");
    assert!(
        eventually(
            || lab.run("b1", "ss -Htn state established '( sport = 5201 )'").expect().lines().count() > 1
        ),
        "it runs"
    );
    lab.kill(Realm::B);
    assert!(lab.is_running(Realm::A));
    lab.ctl(Realm::A, "show peers").expect();
    drop(transfer);
    lab.server("iperf3", "stop");
    lab.server("iperf3", "start");
    lab.start(Realm::B);
    assert!(eventually(|| works(lab, "a1", "www.b.demo")), "a killed gateway comes back\n{}", logs(lab));
    assert!(eventually(|| works(lab, "b1", "a1.a.demo")), "in both directions\n{}", logs(lab));
}

fn killed_peer_is_found_again_without_a_query(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let seen =
        |lab: &Lab| ["peer up", "the peer restarted"].map(|line| lab.log(Realm::A).matches(line).count());
    let [ups, ends] = seen(lab);
    lab.kill(Realm::B);
    lab.start(Realm::B);
    // What B has lost is ended at A, so that the next packet of a1 is not sent into nothing.
    assert!(eventually(|| matches!(seen(lab), [up, end] if up > ups && end > ends)), "{}", logs(lab));
}

/// Has gateway A keep its state.
const KEEPS_STATE: &[Edit] = &[(Realm::A, "[registry]", "[state]\ndirectory = \"state\"\n\n[registry]")];

/// Ends and starts gateway A three times while TCP connections run through it, begun at either end.
fn restarts_under_traffic(lab: &Lab, end: fn(&Lab)) {
    lab.gateways(KEEPS_STATE);
    lab.reach("a1", "www.b.demo");
    lab.reach("b1", "a1.a.demo");
    let tags = |realm| {
        let bindings = lab.json(realm, "show bindings");
        let all = bindings.as_array().expect("a list").iter().map(|binding| binding["tag"].as_u64());
        all.collect::<std::collections::BTreeSet<_>>()
    };
    let before = Realm::BOTH.map(tags);
    let said = |lab: &Lab| {
        ["session up", "session down", "session ended", "the peer restarted"]
            .map(|line| lab.log(Realm::B).matches(line).count())
    };
    let at_b = said(lab);
    let transfer = lab.background("a1", "iperf3 -J -c www.b.demo -b 2M -t 20 -i 1");
    let is_running = "ss -Htn state established '( sport = 5201 )'";
    assert!(eventually(|| lab.run("b1", is_running).expect().lines().count() > 1), "it runs");
    for _ in 0..3 {
        end(lab);
        lab.start(Realm::A);
        // Answered from what stands, whatever C2C is up to.
        assert!(eventually(|| works(lab, "a1", "www.b.demo")), "{}", logs(lab));
        assert_eq!(Realm::BOTH.map(tags), before, "the same sessions\n{}", logs(lab));
        lab.ctl(Realm::A, "show journal").says("whole");
    }
    let report: serde_json::Value =
        serde_json::from_str(transfer.wait().expect()).expect("iperf3 speaks JSON");
    let received = report["end"]["sum_received"]["bytes"].as_f64().unwrap_or(0.0);
    assert!(received > 0.9 * 20.0 * 2e6 / 8.0, "all of it arrived: {received} octets\n{}", logs(lab));
    assert_eq!(said(lab), at_b, "the peer saw nothing but connections that broke\n{}", logs(lab));
    assert!(lab.metrics(Realm::A).sum("ces_journal_restored", &[("what", "kept")]) >= 2.0);
}

fn r1_connections_outlive_a_killed_gateway(lab: &Lab) {
    restarts_under_traffic(lab, |lab| lab.kill(Realm::A));
}

fn c15_connections_outlive_a_clean_restart(lab: &Lab) {
    restarts_under_traffic(lab, |lab| drop(lab.stop(Realm::A)));
}

fn name_while_the_peer_is_down_then_up(lab: &Lab) {
    lab.gateways(&[]);
    for realm in Realm::BOTH {
        lab.stop(realm);
    }
    lab.start(Realm::A);
    let status = lab.dig_status("a1", "www.b.demo");
    assert!(status == "SERVFAIL" || status == "NXDOMAIN", "{status}");
    lab.start(Realm::B);
    assert!(eventually(|| works(lab, "a1", "www.b.demo")), "{}", logs(lab));
}

/// The kernel has one table of neighbours for all namespaces, of 1,024 as delivered: with the hosts of two gateways in it,
/// a host cannot learn, or keep, the address of its gateway.
fn thousands_of_neighbours_find_room(lab: &Lab) {
    lab.gateways(&[]);
    let many = "for i in $(seq 0 1999); do \
                echo neigh replace 203.0.$((114 + i / 250)).$((1 + i % 250)) lladdr 02:00:00:00:00:01 dev gwa nud reachable; \
                done | ip -batch -";
    lab.run("net", many).expect();
    lab.run("a1", "ip neigh flush dev eth0").expect();
    lab.reach("a1", "192.168.10.1");
    lab.run("net", "ip neigh flush to 203.0.112.0/20 dev gwa").expect();
}

/// What arrives on a port is seen by the kernel, too, where the port is a packet socket: it must keep silent.
fn p5_the_kernel_does_not_answer_beside_a_port(lab: &Lab) {
    for driver in ["net_af_packet0,iface=inside", "net_af_xdp0,iface=inside"] {
        lab.gateways(&[(Realm::A, "net_af_xdp0,iface=inside", driver)]);
        lab.reach("a1", "192.168.10.1");
        let answers = lab.run("a1", "ping -n -c 5 -i 0.2 -W 5 192.168.10.1");
        answers.says(" 0% packet loss");
        assert!(!answers.to_string().contains("DUP"), "{answers}");
        let resets = lab.run("a1", "timeout 5 hping3 -c 3 -i u200000 -S -p 81 192.168.10.1");
        assert!(!resets.to_string().contains("flags=RA"), "nobody listens, and nobody says so: {resets}");
    }
}

fn p5_interfaces_with_addresses_are_refused(lab: &Lab) {
    lab.stop(Realm::A);
    lab.run("gwa", "ip address add 192.168.99.1/24 dev inside").expect();
    let refused = cesd(lab, &format!("--config {}/a/cesd.toml", lab.directory().display()));
    lab.run("gwa", "ip address flush dev inside").expect();
    assert!(!refused.ok() && refused.status != 124, "{refused}");
    refused.says("192.168.99.1");
    refused.says("port inside");
    // One that comes later, of a DHCP client for instance, is told.
    lab.gateways(&[]);
    lab.run("gwa", "ip address add 192.168.99.1/24 dev inside").expect();
    assert!(eventually(|| lab.log(Realm::A).contains("has got an address")), "{}", lab.log(Realm::A));
    lab.run("gwa", "ip address flush dev inside").expect();
    assert!(eventually(|| lab.log(Realm::A).contains("is as it should be")), "{}", lab.log(Realm::A));
}

/// As some distributions set it: then the kernel takes what arrives on a port of AF_PACKET as well.
fn p5_a_kernel_that_cannot_be_kept_from_answering_is_refused(lab: &Lab) {
    lab.stop(Realm::A);
    let path = lab.directory().join("a/loose.toml");
    let config =
        lab.shipped_config(Realm::A).replacen("net_af_xdp0,iface=inside", "net_af_packet0,iface=inside", 1);
    std::fs::write(&path, config).expect("the state directory is ours");
    lab.run("gwa", "sysctl -q -w net.ipv4.conf.all.rp_filter=2").expect();
    let refused = cesd(lab, &format!("--config {}", path.display()));
    lab.run("gwa", "sysctl -q -w net.ipv4.conf.all.rp_filter=0").expect();
    assert!(!refused.ok() && refused.status != 124, "{refused}");
    refused.says("net.ipv4.conf.all.rp_filter is 2");
}

fn p5_offloads_are_turned_off(lab: &Lab) {
    lab.stop(Realm::A);
    lab.run("gwa", "ethtool -K inside rxvlan on txvlan on tx on rx on gro on").expect();
    lab.gateways(&[]);
    let features = lab.run("gwa", "ethtool -k inside");
    for off in
        ["rx-vlan-offload", "tx-vlan-offload", "rx-checksumming", "tx-checksumming", "large-receive-offload"]
    {
        features.says(&format!("{off}: off"));
    }
}

fn p7_links_are_the_kernels(lab: &Lab) {
    lab.gateways(&[]);
    let up = || lab.metrics(Realm::A).sum("ces_port_up", &[("port", "outside")]);
    assert!(up() > 0.0);
    lab.run("net", "ip link set gwa down").expect();
    assert!(eventually(|| up() == 0.0), "a cable that is pulled is seen");
    lab.ctl(Realm::A, "show ports").says("down");
    assert!(lab.log(Realm::A).contains("the link of outside is down"), "{}", lab.log(Realm::A));
    lab.run("net", "ip link set gwa up").expect();
    assert!(eventually(|| up() > 0.0), "and so is one that is plugged in");
    lab.run("gwa", "ip link set outside down").expect();
    assert!(eventually(|| up() == 0.0), "an interface that is down has no link");
    lab.run("gwa", "ip link set outside up").expect();
    assert!(eventually(|| works(lab, "a1", "www.b.demo")), "{}", logs(lab));
}

fn p8_a_second_gateway_touches_nothing(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let path = lab.directory().join("a/second.toml");
    let second = lab.shipped_config(Realm::A).replacen("cesd.sock", "second.sock", 1);
    std::fs::write(&path, second).expect("the state directory is ours");
    let refused = cesd(lab, &format!("--config {}", path.display()));
    assert!(!refused.ok() && refused.status != 124, "{refused}");
    refused.says("another gateway drives interface inside");
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
    // By another name it is the same interface.
    lab.run("gwa", "ip link set inside down && ip link set inside name lan && ip link set lan up").expect();
    let second =
        std::fs::read_to_string(&path).expect("it was written").replacen("iface=inside", "iface=lan", 1);
    std::fs::write(&path, second).expect("the state directory is ours");
    let refused = cesd(lab, &format!("--config {}", path.display()));
    assert!(!refused.ok() && refused.status != 124, "{refused}");
    refused.says("another gateway drives interface lan");
    assert!(eventually(|| works(lab, "a1", "www.b.demo")), "{}", logs(lab));
    assert!(!lab.log(Realm::A).contains("interface inside is gone"), "{}", lab.log(Realm::A));
    lab.run("gwa", "ip link set lan down && ip link set lan name inside && ip link set inside up").expect();
    assert!(eventually(|| works(lab, "a1", "www.b.demo")), "{}", logs(lab));
}

fn p8_xdp_programs_come_back(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let restored = || lab.metrics(Realm::A).sum("ces_xdp_restored_total", &[]);
    let before = restored();
    lab.run("gwa", "ip link set inside xdp off && ip link set outside xdp off").expect();
    assert!(eventually(|| restored() >= before + 2.0), "{}", logs(lab));
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
    assert!(lab.log(Realm::A).contains("somebody took the XDP program off"), "{}", lab.log(Realm::A));
}

/// What udev does that sees the TAP before it has the port's address (`MACAddressPolicy=persistent`).
fn shadows_keep_the_ports_mac_addresses(lab: &Lab) {
    lab.gateways(&[]);
    let station = |interface: &str| lab.run("gwa", &format!("cat /sys/class/net/{interface}/address")).stdout;
    let put_right = || lab.metrics(Realm::A).sum("ces_shadow_macs_restored_total", &[]);
    let before = put_right();
    for port in ["inside", "outside"] {
        lab.run("gwa", &format!("ip link set ces-{port} address 02:ce:50:00:00:07")).expect();
        assert!(eventually(|| station(&format!("ces-{port}")) == station(port)), "{}", logs(lab));
    }
    assert!(put_right() >= before + 2.0);
    lab.reach("a1", "www.b.demo");
}
