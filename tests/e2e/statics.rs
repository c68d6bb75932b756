//! Servers behind the gateway: what static mappings of NAT44 let in, with real servers and clients, and what a reload does to it.

use crate::{Case, ssh};
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("servers_behind_are_reached_from_everywhere", servers_behind_are_reached_from_everywhere),
    ("a_host_has_an_address_of_its_own", a_host_has_an_address_of_its_own),
    ("rules_judge_what_comes_to_a_server", rules_judge_what_comes_to_a_server),
    ("a_reload_adds_and_ends_what_is_configured", a_reload_adds_and_ends_what_is_configured),
    ("an_address_of_the_link_is_a_hosts", an_address_of_the_link_is_a_hosts),
    ("what_is_excepted_is_routed_as_it_is", what_is_excepted_is_routed_as_it_is),
];

/// Ports of both hosts, and an address for each that the world routes to the gateway.
const STATICS: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    r#"[nat]
addresses = ["192.0.2.2"]

[filter]
files = ["rules"]

[[nat.static]]
external = "192.0.2.2"
inside = "192.168.10.11"
protocol = "tcp"
port = 8080
inside_port = 80

[[nat.static]]
external = "192.0.2.2"
inside = "192.168.10.11"
protocol = "udp"
port = 5353
inside_port = 53

[[nat.static]]
external = "192.0.2.2"
inside = "192.168.10.12"
protocol = "tcp"
ports = [2200, 2222]
inside_port = 2200

[[nat.static]]
external = "192.0.2.16/30"
inside = "192.168.10.12/30"

[tls]
"#,
)];

/// Brings the gateways up, with these rules, and has the world lead the addresses to ours.
fn gateways(lab: &Lab, rules: &str) {
    std::fs::write(lab.directory().join("a/rules"), rules).expect("the state directory is ours");
    lab.run("net", "ip route replace 192.0.2.16/30 via 192.0.2.2").expect();
    lab.gateways(STATICS);
    lab.ctl(Realm::A, "reload").expect();
}

fn web(lab: &Lab, host: &str, address: &str) -> Background {
    let directory = lab.directory().join("www");
    let line = format!("python3 -m http.server --bind {address} --directory {} 80", directory.display());
    lab.serve(host, &format!("{address}:80"), &line)
}

/// A name server for one zone.
fn names(lab: &Lab, host: &str, address: &str) -> Background {
    let at = lab.directory().join("inner");
    std::fs::create_dir_all(&at).expect("the state directory is ours");
    let zone =
        "$TTL 60\n@ IN SOA ns root 1 60 60 60 60\n@ IN NS ns\nns IN A 192.0.2.2\n* IN TXT \"from behind\"\n";
    std::fs::write(at.join("zone"), zone).expect("the state directory is ours");
    let config = format!(
        "options {{ directory \"{0}\"; pid-file none; session-keyfile none; listen-on {{ {address}; }}; \
         listen-on-v6 {{ none; }}; recursion no; }}; controls {{ }}; zone \"inner.test\" {{ type primary; file \"zone\"; }};",
        at.display()
    );
    std::fs::write(at.join("named.conf"), config).expect("the state directory is ours");
    let named = lab.directory().join("named/named");
    lab.serve(
        host,
        &format!("{address}:53"),
        &format!("{} -f -c {}/named.conf", named.display(), at.display()),
    )
}

/// A server for ssh, and the line of a client that sends it something and reads a megabyte.
fn shell(lab: &Lab, host: &str, address: &str, port: u16) -> (Background, String) {
    let (server, ssh) = ssh::server(lab, host, &format!("{address}:{port}"), "inner-ssh");
    let client = format!("{ssh} -p {port} root@192.0.2.2 'head -c 1000000 /dev/zero' | wc -c");
    (server, client)
}

/// From the world, from the neighbour, and from the server's own host: by the same address and port.
fn servers_behind_are_reached_from_everywhere(lab: &Lab) {
    gateways(lab, "allow\n");
    let web = web(lab, "a1", "192.168.10.11");
    let names = names(lab, "a1", "192.168.10.11");
    let (shell, login) = shell(lab, "a2", "192.168.10.12", 2222);
    for node in ["net", "a2", "a1"] {
        lab.run(node, "curl -sS -m 20 http://192.0.2.2:8080/").says("Hello from b1");
        let answer = lab.run(node, "dig +short -p 5353 @192.0.2.2 any.inner.test TXT");
        assert!(answer.expect().contains("from behind"), "{answer}");
        let login = lab.run(node, &login);
        assert_eq!(login.expect().trim(), "1000000", "{login}");
    }
    let mappings = lab.json(Realm::A, "show mappings");
    let rows = mappings.as_array().expect("rows");
    let has = |row: &serde_json::Value, inside: &str, external: &str| {
        row["kind"] == "static" && row["inside"] == inside && row["external"] == external
    };
    assert!(rows.iter().any(|row| has(row, "192.168.10.11:80", "192.0.2.2:8080")), "{mappings}");
    assert!(rows.iter().any(|row| has(row, "192.168.10.12:2200-2222", "192.0.2.2:2200-2222")), "{mappings}");
    assert!(rows.iter().any(|row| has(row, "192.168.10.12/30", "192.0.2.16/30")), "{mappings}");
    lab.ctl(Realm::A, "show mappings").says("192.168.10.12:2200-2222");
    lab.ctl(Realm::A, "show nat").says("4 static mappings");
    assert!(lab.metrics(Realm::A).sum("ces_nat_static_sessions", &[]) >= 6.0);
    for server in [web, names, shell] {
        server.end();
    }
}

/// Pings and connections both ways; the world sees the host's own address, by TCP, UDP and ICMP, whoever begins.
fn a_host_has_an_address_of_its_own(lab: &Lab) {
    gateways(lab, "allow\n");
    let server = web(lab, "a2", "192.168.10.12");
    for node in ["net", "a1", "a2"] {
        lab.run(node, "ping -n -c 3 -i 0.2 -W 5 192.0.2.16").says(" 0% packet loss");
        lab.run(node, "ping -n -c 2 -i 0.2 -W 5 -s 4000 192.0.2.16").says(" 0% packet loss");
        lab.run(node, "curl -sS -m 20 http://192.0.2.16/").says("Hello from b1");
    }
    lab.run("net", "traceroute -n -q 1 -w 3 -m 4 -I 192.0.2.16").says("192.0.2.16");
    // What it sends comes from there.
    let line = "python3 -c \"import socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('203.0.113.9',9999)); print(s.recvfrom(9)[1][0])\"";
    let seen = lab.serve("net", "203.0.113.9:9999", line);
    lab.run("a2", "bash -c 'echo x >/dev/udp/203.0.113.9/9999'").expect();
    seen.wait().says("192.0.2.16");
    lab.run("a2", "ping -n -c 3 -i 0.2 -W 5 203.0.113.9").says(" 0% packet loss");
    server.end();
}

fn rules_judge_what_comes_to_a_server(lab: &Lab) {
    gateways(
        lab,
        "allow tcp from outside to inside host a1.a.demo port http name web\n\
         deny from outside to inside name nobody-else\n",
    );
    let (first, second) = (web(lab, "a1", "192.168.10.11"), web(lab, "a2", "192.168.10.12"));
    lab.run("net", "curl -sS -m 20 http://192.0.2.2:8080/").says("Hello from b1");
    lab.drops_more(Realm::A, "filter_denied", 2, || {
        assert!(!lab.run("net", "curl -sS -m 3 http://192.0.2.16/").ok());
    });
    // Between hosts of the realm no rule says anything.
    lab.run("a1", "curl -sS -m 20 http://192.0.2.16/").says("Hello from b1");
    first.end();
    second.end();
}

/// While a connection is open: it goes on where its mapping stays, and is over where that is gone.
fn a_reload_adds_and_ends_what_is_configured(lab: &Lab) {
    gateways(lab, "allow\n");
    let server = web(lab, "a1", "192.168.10.11");
    let stays = lab.background("net", "ping -n -i 0.1 -c 100 -W 5 192.0.2.16");
    let text = std::fs::read_to_string(lab.directory().join("a/cesd.toml")).expect("it is there");
    lab.run("net", "curl -sS -m 20 http://192.0.2.2:8080/").says("Hello from b1");
    // Another port for the web server.
    lab.write_config(Realm::A, &text.replace("port = 8080", "port = 8081"));
    lab.ctl(Realm::A, "reload").expect();
    lab.run("net", "curl -sS -m 20 http://192.0.2.2:8081/").says("Hello from b1");
    assert!(!lab.run("net", "curl -sS -m 3 http://192.0.2.2:8080/").ok());
    let changed = || lab.metrics(Realm::A).sum("ces_nat_sessions_changed_total", &[]);
    assert!(eventually(|| changed() >= 1.0), "the connection to the old port is over");
    stays.wait().says(" 0% packet loss");
    // What is wrong changes nothing, and says where.
    lab.write_config(Realm::A, &text.replace("ports = [2200, 2222]", "ports = [8000, 8100]"));
    let refused = lab.ctl(Realm::A, "reload");
    assert!(!refused.ok(), "{refused}");
    refused.says("nat.static[2].external: a port of 8000 to 8100 of 192.0.2.2 has it already: nat.static[0]");
    lab.run("net", "curl -sS -m 20 http://192.0.2.2:8081/").says("Hello from b1");
    lab.write_config(Realm::A, &text);
    lab.ctl(Realm::A, "reload").expect();
    server.end();
}

/// An address that the gateway has on its link for a host alone: the link is told, the host is reached, the gateway's own
/// stays its own.
fn an_address_of_the_link_is_a_hosts(lab: &Lab) {
    let link =
        (Realm::A, "addresses = [\"192.0.2.2/30\"]", "addresses = [\"192.0.2.2/30\", \"192.0.2.9/29\"]");
    let nat = "[nat]\n\n[[nat.static]]\nexternal = \"192.0.2.9\"\ninside = \"192.168.10.12\"\n\n[tls]\n";
    lab.gateways(&[link, (Realm::A, "[tls]\n", nat)]);
    lab.run("net", "ip address add 192.0.2.10/29 dev gwa").expect();
    for node in ["net", "a2"] {
        lab.run(node, "ping -n -c 3 -i 0.2 -W 5 192.0.2.9").says(" 0% packet loss");
    }
    let host = lab
        .run("a2", "cat /proc/net/snmp | grep ^Icmp: | tail -n 1 | cut -d' ' -f10")
        .expect()
        .trim()
        .to_owned();
    assert!(host.parse::<u32>().is_ok_and(|echoes| echoes >= 6), "the host was asked: {host}");
    lab.run("net", "ping -n -c 1 -W 5 192.0.2.2").says(" 0% packet loss");
    // Others have no address to go out from.
    lab.drops_more(Realm::A, "nat_no_address", 1, || {
        lab.run("a1", "ping -n -c 1 -W 1 203.0.113.9");
    });
    lab.run("net", "ip address del 192.0.2.10/29 dev gwa").expect();
}

/// RFC 6888 §3, REQ-6. The world has a way back to the hosts; rules say who may begin from there.
fn what_is_excepted_is_routed_as_it_is(lab: &Lab) {
    let rules = "allow tcp from outside 203.0.113.0/24 to inside host a1.a.demo port http\n";
    std::fs::write(lab.directory().join("a/rules"), rules).expect("the state directory is ours");
    let nat = "[nat]\naddresses = [\"192.0.2.2\"]\n\n[filter]\nfiles = [\"rules\"]\n\n[[nat.exception]]\n\
               inside = \"192.168.10.11\"\noutside = \"203.0.113.0/24\"\n\n[tls]\n";
    lab.gateways(&[(Realm::A, "[tls]\n", nat)]);
    lab.ctl(Realm::A, "reload").expect();
    lab.run("net", "ip route add 192.168.10.11/32 via 192.0.2.2").expect();
    let (inner, outer) = (web(lab, "a1", "192.168.10.11"), web(lab, "net", "203.0.113.80"));
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 -s 4000 203.0.113.9").says(" 0% packet loss");
    for host in ["a1", "a2"] {
        lab.run(host, "curl -sS -m 20 http://203.0.113.80/").says("Hello from b1");
    }
    let seen = outer.end();
    assert!(seen.stderr.contains("192.168.10.11 - ") && seen.stderr.contains("192.0.2.2 - "), "{seen}");
    lab.run("net", "curl -sS -m 20 --interface 203.0.113.9 http://192.168.10.11/").says("Hello from b1");
    lab.drops_more(Realm::A, "unasked", 1, || {
        lab.run("net", "ping -n -c 1 -W 1 -I 203.0.113.9 192.168.10.11");
    });
    assert!(!lab.run("net", "curl -sS -m 2 --interface 192.0.2.1 http://192.168.10.11/").ok());
    lab.run("net", "ip route del 192.168.10.11/32 via 192.0.2.2").expect();
    inner.end();
}
