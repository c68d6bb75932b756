//! The project's own generator as hosts of both realms.

use crate::Case;
use ces_tests::lab::{Lab, Realm};
use std::fmt::Write as _;
use std::fs;

pub(crate) const CASES: &[Case] = &[("sessions_cross_by_name", sessions_cross_by_name)];

/// Hosts that are added to each realm: 192.168.10.101 and on.
const HOSTS: u32 = 8;

/// As perf/profiles/by-name.toml, for few hosts and a busy machine.
const PROFILE: &str = r#"
[memory]
mib = 64
[[port]]
name = "a"
device = "net_af_packet0,iface=load-a"
address = "192.168.10.101"
gateway = "192.168.10.1"
[[port]]
name = "b"
device = "net_af_packet1,iface=load-b"
address = "192.168.10.101"
gateway = "192.168.10.1"
answers_for = ["192.168.10.100/30", "192.168.10.104/30", "192.168.10.108/32"]
[session]
name = "by name"
from = "a"
to = "b"
protocol = "tcp"
client = "192.168.10.101-192.168.10.108"
server_port = 80
retries = 8
[session.dns]
server = "192.168.10.1"
name = "h{}.b.demo"
numbers = "1-8"
"#;

/// Each session asks gateway A for a name of realm B, and its connection crosses both gateways.
fn sessions_cross_by_name(lab: &Lab) {
    for (realm, letter, first, policy) in [(Realm::A, 'a', 'c', "office"), (Realm::B, 'b', 'h', "server")] {
        let mut hosts = String::new();
        for host in 1..=HOSTS {
            let _ = writeln!(
                hosts,
                "[[host]]\nname = \"{first}{host}.{letter}.demo\"\naddress = \"192.168.10.{}\"\npolicy = \"{policy}\"",
                100 + host
            );
        }
        let path = lab.directory().join(letter.to_string()).join("load.toml");
        fs::write(path, hosts).unwrap_or_else(|error| panic!("hosts of realm {realm:?}: {error}"));
    }
    let files = |realm| (realm, "files = [\"hosts.toml\"]", "files = [\"hosts.toml\", \"load.toml\"]");
    lab.gateways(&[files(Realm::A), files(Realm::B)]);

    // Both realms' networks in one namespace, so that one process has hosts in both. The kernel there has no part in it.
    let id = fs::read_to_string(lab.directory().join("id")).expect("the lab has an id");
    for realm in ["a", "b"] {
        let quiet = "tx off rx off sg off tso off gso off gro off >/dev/null";
        lab.run(
            &format!("l{realm}"),
            &format!(
                "ip link add load type veth peer name load-{realm} && ethtool -K load {quiet} && \
                 ethtool -K load-{realm} {quiet} && ip link set load-{realm} netns ces{}-a1 && \
                 ip link set load master br0 up",
                id.trim()
            ),
        )
        .expect();
        lab.run("a1", &format!("ip link set load-{realm} arp off up")).expect();
    }

    let (profile, report) = (lab.directory().join("load.toml"), lab.directory().join("load.json"));
    fs::write(&profile, PROFILE).expect("the state directory is ours");
    let line = format!(
        "{}/cesload rate {} --rate 40 --seconds 2 --quiet --json {}",
        lab.binaries().display(),
        profile.display(),
        report.display()
    );
    let run = lab.run("a1", &line);
    run.expect();
    let text = fs::read_to_string(&report).expect("there is a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
    let result = &report["result"];
    assert!(result["sent"].as_u64() > Some(0), "{run}");
    assert_eq!(result["sent"], result["received"], "every session is completed\n{run}");
    let pairs = result["sent"].as_u64().unwrap_or(0).min(u64::from(HOSTS * HOSTS));
    for realm in Realm::BOTH {
        let bindings = lab.json(realm, "show bindings").as_array().map_or(0, Vec::len) as u64;
        assert!(
            bindings >= pairs,
            "{bindings} bindings in realm {realm:?}, {pairs} pairs were asked for\n{run}"
        );
    }
    for realm in ["a", "b"] {
        lab.run(&format!("l{realm}"), "ip link delete load").expect();
    }
}
