//! Shaped ports: who shares a line, and what is urgent on it. Counted are bytes and losses, never time.

use crate::Case;
use crate::nat::ON_TWO_CORES;
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};
use serde_json::Value;

pub(crate) const CASES: &[Case] = &[
    ("a_shaped_port_carries_what_it_did_and_says_so", a_shaped_port_carries_what_it_did_and_says_so),
    ("hosts_share_a_line_whatever_they_open", hosts_share_a_line_whatever_they_open),
    ("audio_beside_a_transfer_goes_on", audio_beside_a_transfer_goes_on),
    (
        "audio_that_misbehaves_takes_nothing_from_the_transfer",
        audio_that_misbehaves_takes_nothing_from_the_transfer,
    ),
    ("two_workers_share_a_line", two_workers_share_a_line),
];

const OUTSIDE: &str = "name = \"outside\"";

fn shaped(bandwidth: &'static str) -> Vec<Edit> {
    vec![(Realm::A, OUTSIDE, bandwidth)]
}

/// The line of the lectures' example, 1.5 Mbit/s, of which 1.2 are kept for audio: 1 Mbit/s takes 1.116 with all headers.
const LECTURE: &str = "name = \"outside\"\nbandwidth = \"1.5M\"\nurgent = \"1.2M\"";
const FOUR: &str = "name = \"outside\"\nbandwidth = \"4M\"";
const TWENTY: &str = "name = \"outside\"\nbandwidth = \"20M\"";

/// One more iperf3 server at b1.
fn server(lab: &Lab, port: u16) -> Background {
    lab.serve("b1", &format!(":{port}"), &format!("iperf3 -s -p {port}"))
}

fn report(text: &str) -> Value {
    serde_json::from_str(text).expect("iperf3 speaks JSON")
}

fn received(report: &Value) -> f64 {
    report["end"]["sum_received"]["bytes"].as_f64().unwrap_or_default()
}

/// A figure of a class of gateway A's outside port.
fn queue(lab: &Lab, class: &str, figure: &str) -> u64 {
    let ports = lab.json(Realm::A, "show queues");
    let classes = ports[0]["classes"].as_array().cloned().unwrap_or_default();
    let class = classes.into_iter().find(|one| one["class"] == class).expect("there is such a class");
    class[figure].as_u64().expect("a number")
}

fn a_shaped_port_carries_what_it_did_and_says_so(lab: &Lab) {
    lab.gateways(&shaped(TWENTY));
    let fetched = report(lab.run("a1", "iperf3 -J -c www.b.demo -n 4M").expect());
    assert!(received(&fetched) >= 3e6, "{fetched}");
    // What comes in is not shaped, and fragments of one packet arrive as well.
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 -s 4000 www.b.demo").says(" 0% packet loss");
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 -Q 0xb8 www.b.demo").says(" 0% packet loss");
    assert!(eventually(
        || queue(lab, "ordinary", "sent_bytes") > 3_000_000 && queue(lab, "urgent", "sent") >= 3
    ));
    for word in ["20.0 Mbit/s", "5.0 Mbit/s", "urgent", "background"] {
        lab.ctl(Realm::A, "show queues").says(word);
    }
    let of = [("port", "outside"), ("class", "ordinary")];
    assert!(lab.metrics(Realm::A).sum("ces_queue_sent_bytes_total", &of) > 3e6);
    assert!(!lab.metrics(Realm::B).has("ces_queue_sent_bytes_total", &[]), "which is not shaped");
    lab.ctl(Realm::B, "show queues").says("no port is shaped");
    // Another bandwidth is a matter of a reload, whether there is one of a restart.
    let text = lab.shipped_config(Realm::A);
    lab.write_config(Realm::A, &text.replacen(OUTSIDE, FOUR, 1));
    lab.ctl(Realm::A, "reload").expect();
    assert!(eventually(|| lab.ctl(Realm::A, "show queues").expect().contains("4.0 Mbit/s")));
    lab.write_config(Realm::A, &text);
    lab.ctl(Realm::A, "reload").says("[[port]]");
    lab.ctl(Realm::A, "show queues").says("4.0 Mbit/s");
    lab.stop(Realm::A);
}

fn hosts_share_a_line_whatever_they_open(lab: &Lab) {
    lab.gateways(&shaped(FOUR));
    let servers = [server(lab, 5301), server(lab, 5302)];
    // Eight connections against one, for as long; the one is not starved of its half.
    let many = lab.background("a2", "iperf3 -J -c www.b.demo -p 5302 -P 8 -t 12");
    let one = lab.background("a1", "iperf3 -J -c www.b.demo -p 5301 -t 12");
    let [many, one] = [many, one].map(|client| received(&report(client.wait().expect())));
    assert!(one > many / 2.0 && many > one / 2.0, "{one} and {many} bytes");
    assert!(
        queue(lab, "ordinary", "marked") + queue(lab, "ordinary", "dropped_late") > 0,
        "senders were told"
    );
    for server in servers {
        server.end();
    }
}

/// What audio lost of what it sent, and the bytes of the transfer beside it.
fn audio_and_transfer(lab: &Lab, rate: &str) -> (f64, f64, f64) {
    lab.gateways(&shaped(LECTURE));
    let servers = [server(lab, 5303), server(lab, 5304)];
    let lost = || queue(lab, "urgent", "dropped_full") + queue(lab, "urgent", "dropped_late");
    let before = lost();
    let transfer = lab.background("a2", "iperf3 -J -c www.b.demo -p 5304 -t 20");
    // DSCP 46: expedited forwarding. 1,000 bytes are 1,126 on the wire, in the tunnel and with what Ethernet adds.
    let audio = lab.run("a1", &format!("iperf3 -J -u -b {rate} -l 1000 -S 0xb8 -c www.b.demo -p 5303 -t 10"));
    let audio = report(audio.expect());
    let bytes = received(&report(transfer.wait().expect()));
    let dropped = lost() - before;
    let packets = audio["end"]["sum"]["packets"].as_f64().unwrap_or_default();
    for server in servers {
        server.end();
    }
    (dropped as f64, packets, bytes)
}

fn audio_beside_a_transfer_goes_on(lab: &Lab) {
    // A third of what is kept for it, and a few late ones allowed for: on a machine that others use as well a worker may be
    // away for longer than audio waits. None is lost at the full rate in `dataplane/tests/queues.rs`, whose time is its own.
    let (dropped, packets, bytes) = audio_and_transfer(lab, "300K");
    assert!(packets > 150.0, "{packets}");
    assert!(dropped < packets / 10.0, "{dropped} of {packets}");
    assert!(bytes > 300_000.0, "the transfer goes on beside it: {bytes} bytes");
}

fn audio_that_misbehaves_takes_nothing_from_the_transfer(lab: &Lab) {
    let (dropped, packets, bytes) = audio_and_transfer(lab, "3M");
    assert!(dropped > packets / 4.0, "{dropped} of {packets}");
    assert!(bytes > 300_000.0, "the transfer keeps its share: {bytes} bytes");
}

fn two_workers_share_a_line(lab: &Lab) {
    let [inside, outside, cores] = ON_TWO_CORES;
    lab.gateways(&[(Realm::A, OUTSIDE, FOUR), inside, outside, cores]);
    let servers = [server(lab, 5305), server(lab, 5306)];
    let clients = [("a1", 5305), ("a2", 5306)]
        .map(|(host, port)| lab.background(host, &format!("iperf3 -J -c www.b.demo -p {port} -n 3M")));
    for client in clients {
        // What the sender counts as sent at the end may still wait.
        assert!(received(&report(client.wait().expect())) > 1.5e6);
    }
    let is_over =
        || queue(lab, "ordinary", "packets") == 0 && queue(lab, "ordinary", "sent_bytes") > 3_000_000;
    assert!(eventually(is_over), "{}", lab.ctl(Realm::A, "show queues"));
    for server in servers {
        server.end();
    }
}
