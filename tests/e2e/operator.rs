//! What the operator sees: `cesctl`, `/metrics`, logs.

use crate::Case;
use ces_tests::lab::{Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("every_show_in_words_and_in_json", every_show_in_words_and_in_json),
    ("wrong_commands_are_explained", wrong_commands_are_explained),
    ("bindings_count_what_they_carry", bindings_count_what_they_carry),
    ("trace_shows_what_was_decided", trace_shows_what_was_decided),
    ("metrics_have_every_family", metrics_have_every_family),
    ("packets_are_counted_by_port_and_direction", packets_are_counted_by_port_and_direction),
    ("what_a_port_loses_is_counted", what_a_port_loses_is_counted),
    ("negotiations_are_counted_by_outcome", negotiations_are_counted_by_outcome),
    ("a_reload_gives_a_port_an_address_and_a_route", a_reload_gives_a_port_an_address_and_a_route),
    ("a_refused_reload_is_told_until_one_is_taken", a_refused_reload_is_told),
    ("log_lines_are_readable_or_json", log_lines_are_readable_or_json),
];

const SHOWS: &[&str] = &["ports", "workers", "bindings", "peers", "hosts", "dns", "drops"];

fn every_show_in_words_and_in_json(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    for what in SHOWS {
        for realm in Realm::BOTH {
            let words = lab.ctl(realm, &format!("show {what}"));
            assert!(!words.expect().trim().is_empty(), "{words}");
            let json = lab.json(realm, &format!("show {what}"));
            assert!(json.is_object() || json.is_array(), "{what}: {json}");
        }
    }
    lab.ctl(Realm::A, "show ports").says("inside");
    lab.ctl(Realm::A, "show peers").says("gwb.demo.");
    lab.ctl(Realm::A, "show hosts").says("a1.a.demo.");
    lab.ctl(Realm::A, "show bindings").says("www.b.demo.");
}

fn wrong_commands_are_explained(lab: &Lab) {
    lab.gateways(&[]);
    for wrong in ["show", "show nothing", "frobnicate", "show ports extra"] {
        let refused = lab.ctl(Realm::A, wrong);
        assert!(
            !refused.ok() && !refused.stderr.is_empty() && !refused.stderr.contains("panicked"),
            "{refused}"
        );
    }
    let nobody =
        lab.run("gwa", &format!("{}/cesctl --socket /nonexistent show ports", lab.binaries().display()));
    assert!(!nobody.ok() && nobody.stderr.contains("/nonexistent"), "{nobody}");
}

/// The binding of realm A between a1 and a name, as `cesctl --json` shows it.
fn binding(lab: &Lab, name: &str) -> Option<serde_json::Value> {
    fn walk(value: &serde_json::Value, name: &str) -> Option<serde_json::Value> {
        match value {
            serde_json::Value::Array(list) => list.iter().find_map(|inner| walk(inner, name)),
            serde_json::Value::Object(map) if map.values().any(|inner| inner.as_str() == Some(name)) => {
                Some(value.clone())
            }
            serde_json::Value::Object(map) => map.values().find_map(|inner| walk(inner, name)),
            _ => None,
        }
    }
    walk(&lab.json(Realm::A, "show bindings"), name)
}

fn bindings_count_what_they_carry(lab: &Lab) {
    lab.gateways(&[]);
    lab.run("a1", "ping -n -c 5 -i 0.2 -W 5 b1.b.demo").expect();
    let counted = eventually(|| {
        let shown = binding(lab, "b1.b.demo.").unwrap_or_default().to_string();
        let number = |key: &str| -> u64 {
            let rest = shown.split(&format!("\"{key}\":")).nth(1).unwrap_or("0");
            rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0)
        };
        // An echo request of 84 bytes, and its reply.
        number("out_packets") >= 5
            && number("in_packets") >= 5
            && number("out_bytes") >= 5 * 84
            && number("in_bytes") >= 5 * 84
    });
    assert!(counted, "{:#?}", binding(lab, "b1.b.demo."));
}

fn trace_shows_what_was_decided(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let pings = lab.background("a1", "ping -n -c 50 -i 0.1 -W 5 www.b.demo");
    let trace = lab.ctl(Realm::A, "trace --count 4 --address 192.168.10.11");
    pings.end();
    trace.expect();
    trace.says("192.168.10.11");
    trace.says("forward");
    let pings = lab.background("a1", "ping -n -c 50 -i 0.1 -W 1 10.64.77.77");
    let dropped = lab.ctl(Realm::A, "trace --count 2 --dropped");
    pings.end();
    dropped.says("no_binding");
}

/// Under traffic, without losing any of it, and back.
fn a_reload_gives_a_port_an_address_and_a_route(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let shipped = lab.shipped_config(Realm::A);
    let more = shipped
        .replacen("[\"192.168.10.1/24\"]", "[\"192.168.10.1/24\", \"192.168.10.2/24\"]", 1)
        .replacen("[realm]", "[[route]]\nto = \"198.51.100.128/25\"\nvia = \"192.0.2.1\"\n\n[realm]", 1);
    let pings = lab.background("a1", "ping -n -c 400 -i 0.01 -W 5 www.b.demo");
    for (config, is_there) in [(&more, true), (&shipped, false)] {
        lab.write_config(Realm::A, config);
        lab.ctl(Realm::A, "reload").expect();
        assert_eq!(lab.run("a1", "ping -n -c 3 -i 0.2 -W 2 192.168.10.2").ok(), is_there, "the new address");
        let shows = || lab.ctl(Realm::A, "show neighbours").stdout.contains("198.51.100.128/25");
        assert!(eventually(|| shows() == is_there), "the new route");
        assert!(lab.run("a1", "dig +time=2 @192.168.10.2 b1.b.demo").ok() == is_there, "and it serves names");
    }
    let pings = pings.wait();
    pings.says(" 0% packet loss");
}

fn a_refused_reload_is_told(lab: &Lab) {
    lab.gateways(&[]);
    let shipped = lab.shipped_config(Realm::A);
    let wrong = shipped.replacen("[realm]", "[realm]\nnonsense = 1", 1);
    let taken_at = || lab.metrics(Realm::A).sum("ces_config_last_reload_success_timestamp_seconds", &[]);
    let (before, left) = (taken_at(), "ces_tls_certificate_expiry_timestamp_seconds");
    assert!(before > 1.7e9 && lab.metrics(Realm::A).sum(left, &[]) > before);
    for (config, is_taken) in [(&wrong, false), (&shipped, true)] {
        lab.write_config(Realm::A, config);
        assert_eq!(lab.ctl(Realm::A, "reload").ok(), is_taken);
        let told = lab.metrics(Realm::A).sum("ces_config_last_reload_successful", &[]);
        assert_eq!(told > 0.5, is_taken);
        assert_eq!(taken_at() > before, is_taken, "the one in force");
    }
}

fn metrics_have_every_family(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let metrics = lab.metrics(Realm::A);
    for (what, part) in [
        ("packets by port and direction", "packets"),
        ("bytes by port and direction", "bytes"),
        ("drops by reason", "drops"),
        ("bindings", "bindings"),
        ("negotiations by outcome", "negotiations"),
        ("their time", "negotiation_seconds"),
        ("DNS by outcome", "dns"),
        ("cycles per worker", "cycles"),
        ("burst sizes", "burst"),
        ("ring depths and overflows", "ring"),
        ("pool occupancy", "pool"),
        ("packets held for a MAC address", "held"),
    ] {
        assert!(
            metrics.families().iter().any(|family| family.contains(part)),
            "{what}: {:#?}",
            metrics.families()
        );
    }
    assert!(
        metrics.families().iter().all(|family| family.starts_with("ces_") || family.starts_with("process_"))
    );
}

fn packets_are_counted_by_port_and_direction(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let count = |port: &str, direction: &str| {
        lab.metrics(Realm::A).sum("ces_packets_total", &[("port", port), ("direction", direction)])
    };
    let before =
        [count("inside", "rx"), count("outside", "tx"), count("outside", "rx"), count("inside", "tx")];
    lab.run("a1", "ping -n -c 20 -i 0.02 -W 5 www.b.demo").expect();
    let ports = [("inside", "rx"), ("outside", "tx"), ("outside", "rx"), ("inside", "tx")];
    for ((port, direction), before) in ports.into_iter().zip(before) {
        assert!(eventually(|| count(port, direction) >= before + 20.0), "{port} {direction}");
    }
}

/// A gateway that is away from its core for a while: its port's queue overflows. Each frame that came to the interface was
/// either received or is told as missed.
fn what_a_port_loses_is_counted(lab: &Lab) {
    const FRAMES: u64 = 6000;
    lab.gateways(&[]);
    lab.reach("a1", "192.168.10.1");
    let counts = || {
        let metrics = lab.metrics(Realm::A);
        let sum = |name: &str, label| metrics.sum(name, &[("port", "inside"), label]) as u64;
        let received = sum("ces_packets_total", ("direction", "rx"));
        let missed = sum("ces_device_drops_total", ("reason", "rx_missed"));
        let came = lab.run("gwa", "cat /sys/class/net/inside/statistics/rx_packets");
        (received, missed, came.expect().trim().parse::<u64>().expect("a number"))
    };
    let before = counts();
    let flood = format!(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
         [s.sendto(b'x', ('192.168.10.1', 9)) for _ in range({FRAMES})]"
    );
    let pid = lab.pid(Realm::A);
    lab.run("gwa", &format!("kill -STOP {pid}")).expect();
    let sent = lab.run("a1", &format!("python3 -c \"{flood}\""));
    lab.run("gwa", &format!("kill -CONT {pid}")).expect();
    sent.expect();
    let mut last = before;
    let all = eventually(|| {
        last = counts();
        let more = (last.0 - before.0, last.1 - before.1, last.2 - before.2);
        more.2 >= FRAMES && more.1 > 0 && more.0 + more.1 == more.2
    });
    assert!(all, "received, missed, came: {before:?}, then {last:?}");
    lab.ctl(Realm::A, "show ports").says("missed by the device");
}

fn negotiations_are_counted_by_outcome(lab: &Lab) {
    lab.gateways(&[]);
    let total = || lab.metrics(Realm::A).sum("ces_negotiations_total", &[]);
    let before = total();
    lab.dig_status("a1", "b2.b.demo");
    assert!(eventually(|| total() > before));
}

fn log_lines_are_readable_or_json(lab: &Lab) {
    let log = "[metrics]";
    lab.gateways(&[(Realm::A, log, "[log]\nformat = \"json\"\n\n[metrics]")]);
    lab.dig_status("a1", "b2.b.demo");
    let since = |text: String| text.lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
    let json = since(lab.log(Realm::A));
    assert!(
        !json.is_empty() && json.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{json:#?}"
    );
    lab.gateways(&[]);
}
