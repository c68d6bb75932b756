//! The Realm Gateway between real programs: clients of the plain Internet, with nothing installed, ask an ordinary resolver for a
//! host's name and reach it; nobody else does.

use crate::{Case, ssh};
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("a_client_reaches_a_host_by_its_name", a_client_reaches_a_host_by_its_name),
    ("ping_and_ssh_reach_a_host", ping_and_ssh_reach_a_host),
    ("ten_clients_share_three_addresses", ten_clients_share_three_addresses),
    ("clients_of_one_resolver_come_at_once", clients_of_one_resolver_come_at_once),
    ("a_resolver_tells_from_where_the_client_comes", a_resolver_tells_from_where_the_client_comes),
    ("who_comes_late_or_never_finds_nothing", who_comes_late_or_never_finds_nothing),
    ("who_comes_unasked_takes_nobodys_place", who_comes_unasked_takes_nobodys_place),
    ("a_full_pool_is_silence_over_udp_and_an_answer_over_tcp", a_full_pool),
    ("who_asks_proves_that_he_is_there", who_asks_proves_that_he_is_there),
    ("by_ces_from_a_ces_and_through_the_pool_from_elsewhere", by_ces_and_through_the_pool),
    ("pool_and_services_change_while_reservations_live", pool_and_services_change),
    ("addresses_on_the_link_are_answered_for", addresses_on_the_link_are_answered_for),
];

pub(crate) const OF_HOSTS: Edit = (Realm::B, "files = [\"hosts.toml\"]", "files = [\"inbound.toml\"]");

/// Three addresses that are routed to the gateway; a busy machine has time enough.
pub(crate) const THREE: &[Edit] = &[
    (
        Realm::B,
        "[tls]\n",
        "[nat]\naddresses = [\"198.51.100.2\"]\n\n[realm_gateway]\ntimeout_ms = 20000\n\
         addresses = [\"198.51.100.17\", \"198.51.100.18/31\"]\n\
         resolvers = [{ networks = [\"203.0.113.0/24\"], proof = \"none\" }]\n\n[tls]\n",
    ),
    OF_HOSTS,
];

/// With a resolver that is shared by many: it asks from the router's own address.
const SHARED: &[Edit] = &[
    THREE[0],
    (
        Realm::B,
        "[{ networks = [\"203.0.113.0/24\"], proof = \"none\" }]",
        "[{ networks = [\"198.51.100.1\"], proof = \"truncation\", clients = 16 }]",
    ),
    OF_HOSTS,
];

/// With one that is believed for whom it asks.
const BELIEVED: &[Edit] =
    &[THREE[0], (Realm::B, "proof = \"none\" }", "proof = \"none\", client_subnet = true }"), OF_HOSTS];

/// One that lies on the outside link.
const ON_THE_LINK: &[Edit] = &[
    (
        Realm::B,
        "[tls]\n",
        "[nat]\naddresses = [\"198.51.100.2\"]\n\n[realm_gateway]\ntimeout_ms = 20000\n\
         addresses = [\"198.51.100.40\"]\n\n[tls]\n",
    ),
    (Realm::B, "[\"198.51.100.2/30\"]", "[\"198.51.100.2/30\", \"198.51.100.33/28\"]"),
    OF_HOSTS,
];

const SERVICES: &str = "inbound = [
    { timeout_ms = 3000 },
    { name = \"www.b.demo\", protocol = \"tcp\", port = 80 },
    { name = \"ssh.b.demo\", protocol = \"tcp\", port = 22 },
    { name = \"ping.b.demo\", protocol = \"icmp\" },
    { name = \"late.b.demo\", protocol = \"tcp\", port = 80, timeout_ms = 300 },
]
";

/// The lab's hosts, the first of which has these services for the plain Internet.
pub(crate) fn write(lab: &Lab, services: &str) {
    let hosts =
        std::fs::read_to_string(lab.root().join("tests/lab/b/hosts.toml")).expect("the lab has hosts");
    let hosts = hosts.replacen("policy = \"server\"\n", &format!("policy = \"server\"\n{services}"), 1);
    std::fs::write(lab.directory().join("b/inbound.toml"), hosts).expect("the state directory is ours");
}

fn gateways(lab: &Lab, edits: &[Edit]) {
    serve(lab, SERVICES, edits);
}

/// The first of the hosts of realm B is reached through the pool at this TCP port, by this name.
pub(crate) fn serve_by_name(lab: &Lab, name: &str, port: u16) {
    let service = format!("inbound = [{{ name = \"{name}\", protocol = \"tcp\", port = {port} }}]\n");
    serve(lab, &service, THREE);
}

fn serve(lab: &Lab, services: &str, edits: &[Edit]) {
    write(lab, services);
    lab.gateways(edits);
    lab.ctl(Realm::B, "reload").expect();
    lab.run("net", "ip route replace 198.51.100.16/29 via 198.51.100.2").expect();
    assert!(eventually(|| pending(lab) == 0), "what tests before this one left is over");
}

fn pending(lab: &Lab) -> u64 {
    lab.metrics(Realm::B).sum("ces_inbound_pending", &[]) as u64
}

fn fate(lab: &Lab, fate: &str) -> u64 {
    lab.metrics(Realm::B).sum("ces_inbound_reservations_total", &[("fate", fate)]) as u64
}

/// An address of the pool for a name, asked of the gateway itself from this address.
fn ask(lab: &Lab, from: &str, name: &str) -> Outcome {
    lab.run("net", &format!("dig +short +time=2 +tries=1 -b {from} @198.51.100.2 {name}"))
}

fn asked(lab: &Lab, name: &str) -> String {
    let address = ask(lab, "203.0.113.60", name).expect().trim().to_owned();
    assert!(address.starts_with("198.51.100."), "{name} has {address:?}");
    address
}

/// A client in the world that goes to an address for a page.
fn fetch(lab: &Lab, from: &str, address: &str, seconds: u32) -> Outcome {
    lab.run("net", &format!("curl -sS -m {seconds} --interface {from} http://{address}/"))
}

fn a_client_reaches_a_host_by_its_name(lab: &Lab) {
    gateways(lab, THREE);
    let used = fate(lab, "used");
    // Two clients behind one resolver, which is an ordinary one.
    for client in ["203.0.113.21", "203.0.113.22"] {
        lab.run("net", &format!("curl -sS -m 30 --interface {client} http://www.b.demo/"))
            .says("Hello from b1");
    }
    assert!(eventually(|| fate(lab, "used") >= used + 2));
    // The host sees who came, and answers by the address to which he came.
    let sessions = lab.json(Realm::B, "show sessions");
    let session = sessions.as_array().expect("rows").iter().find(|row| {
        row["host"] == "192.168.10.11:80"
            && row["remote"].as_str().is_some_and(|at| at.starts_with("203.0.113.21:"))
    });
    let external = session.and_then(|row| row["external"].as_str()).unwrap_or_default();
    assert!(external.starts_with("198.51.100.1") && external.ends_with(":80"), "{sessions}");
    let answer = lab.run("net", "dig +noall +answer @198.51.100.2 www.b.demo");
    let words: Vec<_> = answer.expect().split_whitespace().collect();
    assert_eq!((words.first(), words.get(1)), (Some(&"www.b.demo."), Some(&"0")), "{answer}");
    // Other types are there, and empty; names beside it are not.
    let aaaa = lab.run("net", "dig @198.51.100.2 www.b.demo AAAA");
    aaaa.says("status: NOERROR");
    aaaa.says("SOA");
    lab.run("net", "dig @198.51.100.2 nobody.b.demo").says("NXDOMAIN");
    // A host without services is reached by nobody.
    assert_eq!(ask(lab, "203.0.113.60", "b2.b.demo").expect(), "");
    lab.ctl(Realm::B, "show inbound").says("198.51.100.18");
    lab.ctl(Realm::B, "show services").says("www.b.demo");
    lab.ctl(Realm::B, "show reservations").says("www.b.demo");
}

/// A login, and an echo, at the same address: services share it.
fn ping_and_ssh_reach_a_host(lab: &Lab) {
    gateways(lab, THREE);
    lab.run("net", "ping -n -c 3 -i 0.3 -W 10 -I 203.0.113.23 ping.b.demo").says(" 0% packet loss");
    let (server, ssh) = ssh::server(lab, "b1", "192.168.10.11:22", "ssh-inbound");
    let line = format!("head -c 300000 /dev/zero | {ssh} -b 203.0.113.24 root@ssh.b.demo 'wc -c'");
    assert_eq!(lab.run("net", &line).expect().trim(), "300000");
    server.end();
}

fn ten_clients_share_three_addresses(lab: &Lab) {
    gateways(lab, THREE);
    let client = |number: u32| {
        let from = format!("203.0.113.{}", 100 + number);
        let line = format!(
            "for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
             at=$(dig +short +time=1 +tries=1 -b {from} @198.51.100.2 www.b.demo) && [ -n \"$at\" ] && \
             curl -sS -m 20 --interface {from} http://$at/ && exit 0; done; exit 1"
        );
        lab.background("net", &format!("sh -c '{line}'"))
    };
    let clients: Vec<Background> = (0..10).map(client).collect();
    for client in clients {
        client.wait().says("Hello from b1");
    }
}

/// An ordinary resolver asks once for all who ask it at once, and gives them one answer.
fn clients_of_one_resolver_come_at_once(lab: &Lab) {
    gateways(lab, SHARED);
    let client = |number: u32| {
        let from = format!("203.0.113.{}", 130 + number);
        lab.background("net", &format!("curl -sS -m 30 --interface {from} http://www.b.demo/"))
    };
    let clients: Vec<Background> = (0..8).map(client).collect();
    for client in clients {
        client.wait().says("Hello from b1");
    }
}

/// RFC 7871.
fn a_resolver_tells_from_where_the_client_comes(lab: &Lab) {
    gateways(lab, BELIEVED);
    let line = "dig +tries=1 +subnet=203.0.113.64/26 -b 203.0.113.60 @198.51.100.2 www.b.demo";
    let answer = lab.run("net", line);
    answer.says("CLIENT-SUBNET: 203.0.113.64/26/26");
    let address =
        answer.stdout.lines().find(|line| line.starts_with("www.b.demo.") && line.contains("\tA\t"));
    let address = address.and_then(|line| line.split_whitespace().last()).expect("an address");
    lab.drops_more(Realm::B, "pool_foreign", 1, || {
        assert!(!fetch(lab, "203.0.113.200", address, 2).ok());
    });
    fetch(lab, "203.0.113.70", address, 20).says("Hello from b1");
}

fn who_comes_late_or_never_finds_nothing(lab: &Lab) {
    gateways(lab, THREE);
    let expired = fate(lab, "expired");
    let address = asked(lab, "late.b.demo");
    assert!(eventually(|| fate(lab, "expired") > expired), "nobody came in time");
    lab.drops_more(Realm::B, "pool_unreserved", 1, || {
        assert!(!fetch(lab, "203.0.113.61", &address, 2).ok());
    });
}

fn who_comes_unasked_takes_nobodys_place(lab: &Lab) {
    gateways(lab, THREE);
    // TCP tries again by itself, at each address of the pool.
    let unasked: Vec<_> = [17, 18, 19]
        .map(|last| {
            lab.background(
                "net",
                &format!("curl -sS -m 60 --interface 203.0.113.66 http://198.51.100.{last}/"),
            )
        })
        .into();
    assert!(eventually(|| lab.drops(Realm::B, "pool_unreserved") >= 3));
    let again = lab.drops(Realm::B, "pool_again");
    let address = asked(lab, "www.b.demo");
    assert!(eventually(|| lab.drops(Realm::B, "pool_again") > again), "the same packet came once more");
    fetch(lab, "203.0.113.67", &address, 20).says("Hello from b1");
    for client in unasked {
        assert!(!client.end().stdout.contains("Hello"));
    }
}

fn a_full_pool(lab: &Lab) {
    gateways(lab, THREE);
    let outcome = |outcome: &str| {
        let labels = [("side", "outside"), ("outcome", outcome)];
        lab.metrics(Realm::B).sum("ces_dns_queries_total", &labels) as u64
    };
    let before = outcome("pool_exhausted");
    for _ in 0..3 {
        asked(lab, "www.b.demo");
    }
    assert!(!ask(lab, "203.0.113.60", "www.b.demo").ok(), "silence");
    assert!(eventually(|| outcome("pool_exhausted") > before));
    let over_tcp = lab.run("net", "dig +tcp +time=10 +tries=1 @198.51.100.2 www.b.demo");
    over_tcp.says("status: NOERROR");
    over_tcp.says("ANSWER: 0");
    // What does not overlap has room beside it.
    let address = asked(lab, "ssh.b.demo");
    let rows = lab.json(Realm::B, "show reservations");
    let there =
        rows.as_array().expect("rows").iter().filter(|row| row["address"] == address.as_str()).count();
    assert_eq!(there, 2, "{rows}");
}

/// A spoofed query is one whose answer nobody reads: it sets nothing aside. A resolver that reads is led on by itself, here an
/// ordinary one, which then has a cookie.
fn who_asks_proves_that_he_is_there(lab: &Lab) {
    gateways(lab, THREE);
    let config = std::fs::read_to_string(lab.directory().join("b/cesd.toml")).expect("it is there");
    for proof in ["truncation", "cname", "both"] {
        let other =
            config.replace("proof = \"none\" }]", &format!("proof = \"none\" }}]\nproof = \"{proof}\""));
        lab.write_config(Realm::B, &other);
        lab.ctl(Realm::B, "reload").expect();
        for _ in 0..5 {
            // From the router's own address, which is in no group.
            lab.run("net", "dig +ignore +nocookie +tries=1 @198.51.100.2 www.b.demo").expect();
        }
        assert_eq!(pending(lab), 0, "{proof}");
        let client = "curl -sS -m 30 --retry 3 --retry-all-errors --interface 203.0.113.26";
        for _ in 0..2 {
            // The resolver tells whoever asks within the same second what it was told, whatever the TTL.
            lab.run("net", &format!("sleep 1; {client} http://www.b.demo/")).says("Hello from b1");
        }
        assert!(eventually(|| pending(lab) == 0), "{proof}");
    }
    let queries = |outcome| {
        let labels = [("side", "outside"), ("outcome", outcome)];
        lab.metrics(Realm::B).sum("ces_dns_queries_total", &labels)
    };
    assert!(queries("truncated") >= 10.0 && queries("challenged") >= 7.0);
    lab.write_config(Realm::B, &config);
    lab.ctl(Realm::B, "reload").expect();
}

fn by_ces_and_through_the_pool(lab: &Lab) {
    gateways(lab, THREE);
    lab.reach("a1", "www.b.demo");
    assert!(lab.dig("a1", "www.b.demo").starts_with("10.64."));
    lab.run("a1", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    lab.run("net", "curl -sS -m 30 --interface 203.0.113.25 http://www.b.demo/").says("Hello from b1");
}

fn pool_and_services_change(lab: &Lab) {
    gateways(lab, THREE);
    let (kept, gone) = (asked(lab, "www.b.demo"), asked(lab, "ssh.b.demo"));
    let withdrawn = fate(lab, "withdrawn");
    let config = std::fs::read_to_string(lab.directory().join("b/cesd.toml")).expect("it is there");
    let other = config.replace("\"198.51.100.17\", \"198.51.100.18/31\"", "\"198.51.100.20\"");
    lab.write_config(Realm::B, &other);
    write(lab, "inbound = [{ name = \"www.b.demo\", protocol = \"tcp\", port = 80 }]\n");
    lab.ctl(Realm::B, "reload").expect();
    // The address is taken out of the pool; who was promised it finds the host there all the same.
    fetch(lab, "203.0.113.62", &kept, 20).says("Hello from b1");
    assert!(eventually(|| fate(lab, "withdrawn") > withdrawn), "the service is gone");
    assert!(!lab.run("net", &format!("curl -sS -m 2 http://{gone}:22/")).ok());
    assert_eq!(asked(lab, "www.b.demo"), "198.51.100.20");
    assert_eq!(lab.dig_status("net", "@198.51.100.2 ssh.b.demo"), "NXDOMAIN");
    fetch(lab, "203.0.113.62", "198.51.100.20", 20).says("Hello from b1");
    lab.write_config(Realm::B, &config);
    write(lab, SERVICES);
    lab.ctl(Realm::B, "reload").expect();
}

fn addresses_on_the_link_are_answered_for(lab: &Lab) {
    lab.run("net", "ip address replace 198.51.100.46/28 dev gwb").expect();
    gateways(lab, ON_THE_LINK);
    let address = asked(lab, "www.b.demo");
    assert_eq!(address, "198.51.100.40");
    fetch(lab, "203.0.113.63", &address, 20).says("Hello from b1");
    lab.run("net", "ip neigh show 198.51.100.40").says("lladdr");
    // Nothing but ARP is answered there.
    assert!(!lab.run("net", "ping -n -c 1 -W 1 198.51.100.40").ok());
    lab.run("net", "ip address del 198.51.100.46/28 dev gwb").expect();
}
