//! What a routing daemon learns is forwarded by: bird beside the gateway, at an exchange with several neighbours.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[("an_exchange_is_learnt", an_exchange_is_learnt)];

/// What docs/exchange says: an address on the exchange's link, and BGP for the kernel.
const EXCHANGE: &[Edit] = &[
    (
        Realm::A,
        "addresses = [\"192.0.2.2/30\"]",
        "addresses = [\"192.0.2.2/28\"]\ntcp = [179]                             # BGP",
    ),
    (Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n"),
];
const PREFIXES: usize = 20_000;
/// Those of the gateway itself: two links, and the way to everybody else.
const OWN: usize = 3;

/// Ends the neighbours, also where the case fails.
struct Exchange<'a>(&'a Lab);

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        exchange(self.0, "down");
        self.0.run("net", "ip route del local 20.0.0.0/8 dev lo");
    }
}

fn exchange(lab: &Lab, words: &str) -> std::process::Output {
    let mut command = std::process::Command::new(lab.root().join("tests/tools/exchange.py"));
    command.args(words.split_whitespace()).env("CES_LAB", lab.directory());
    command.output().expect("the tool runs")
}

fn routes(lab: &Lab) -> usize {
    lab.metrics(Realm::A).sum("ces_routes", &[]) as usize
}

/// Whether a ping from a host is answered with this time to live, which tells the neighbours apart: the gateway takes one off.
fn is_answered_by(lab: &Lab, address: &str, ttl: u32) -> bool {
    lab.run("a1", &format!("ping -n -c 1 -W 2 {address}")).stdout.contains(&format!(" ttl={ttl} "))
}

fn an_exchange_is_learnt(lab: &Lab) {
    lab.gateways(EXCHANGE);
    // Who is behind the router that the default route leads to, is everybody as well.
    lab.run("net", "ip route add local 20.0.0.0/8 dev lo").expect();
    let running = Exchange(lab);
    let up = exchange(lab, &format!("up --prefixes {PREFIXES} --neighbours 4"));
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert!(eventually(|| routes(lab) == OWN + PREFIXES), "{} routes", routes(lab));
    // The prefixes come in fours, of each neighbour in turn: the first four, and one from further behind.
    for (address, neighbour) in [
        ("20.0.0.1", 1),
        ("20.0.5.1", 2),
        ("20.0.11.255", 3),
        ("20.0.12.1", 4),
        ("20.0.16.1", 1),
        ("20.62.4.1", 2),
    ] {
        assert!(eventually(|| is_answered_by(lab, address, 199 + neighbour)), "{address}: {neighbour}");
    }
    lab.ctl(Realm::A, "show neighbours").says("20.0.4.0/22");

    // The exchange's own network: nothing that neighbours say of it counts, and nothing is said of it to them.
    let known = lab.json(Realm::A, "show neighbours");
    let of_link =
        |row: &&serde_json::Value| row["network"].as_str().is_some_and(|net| net.starts_with("192.0.2."));
    let about: Vec<_> = known["routes"].as_array().expect("rows").iter().filter(of_link).collect();
    assert_eq!(about.len(), 1, "{about:?}");
    let heard = lab.run(
        "net",
        &format!("birdc -s {}/bird-ix2.ctl show route protocol to_gateway", lab.directory().display()),
    );
    heard.says("198.18.7.0/24");
    assert!(!heard.stdout.contains("192.0.2.0/"), "{heard}");

    // A neighbour goes: its prefixes lead to everybody else again, and nothing that goes to others is lost meanwhile.
    let others = lab.background("a1", "ping -n -c 300 -i 0.01 -W 2 20.0.5.1");
    assert!(exchange(lab, "withdraw 1").status.success());
    assert!(eventually(|| routes(lab) == OWN + PREFIXES * 3 / 4), "{} routes", routes(lab));
    assert!(eventually(|| is_answered_by(lab, "20.0.0.1", 63)));
    assert!(is_answered_by(lab, "20.0.5.1", 201));
    others.wait().says(" 0% packet loss");
    drop(running);
}
