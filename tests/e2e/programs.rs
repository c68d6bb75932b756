//! What hosts use the Internet for crosses NAT44: real clients, real servers.

use crate::{Case, ssh};
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("stun_finds_mapping_and_filtering", stun_finds_mapping_and_filtering),
    ("stun_finds_hairpinning_and_open_filtering", stun_finds_hairpinning_and_open_filtering),
    ("stun_finds_filtering_by_address", stun_finds_filtering_by_address),
    ("turn_relays_udp_and_tcp", turn_relays_udp_and_tcp),
    ("udp_and_tcp_meet_by_hole_punching", udp_and_tcp_meet_by_hole_punching),
    ("ssh_logs_in", ssh_logs_in),
    ("http_2_and_3_are_served", http_2_and_3_are_served),
    ("mail_is_sent_and_fetched", mail_is_sent_and_fetched),
    ("a_clock_is_read", a_clock_is_read),
    ("a_caching_proxy_stands_on_the_way", a_caching_proxy_stands_on_the_way),
    ("a_content_network_answers_by_the_asker", a_content_network_answers_by_the_asker),
    ("a_hundred_hosts_use_one_source_port", a_hundred_hosts_use_one_source_port),
    ("a_narrow_hop_inside_is_found", a_narrow_hop_inside_is_found),
    ("a_narrow_hop_outside_is_found", a_narrow_hop_outside_is_found),
];

const NAT: &[Edit] = &[(Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n")];

const OPEN: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\nfiltering = \"endpoint-independent\"\n\n[tls]\n",
)];

const BY_ADDRESS: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\nfiltering = \"address-dependent\"\n\n[tls]\n",
)];

const BOTH: &[Edit] = &[NAT[0], (Realm::B, "[tls]\n", "[nat]\naddresses = [\"198.51.100.2\"]\n\n[tls]\n")];

fn web(lab: &Lab, address: &str) -> Background {
    let directory = lab.directory().join("www");
    let line = format!("python3 -m http.server --bind {address} --directory {} 80", directory.display());
    lab.serve("net", &format!("{address}:80"), &line)
}

fn stun_server(lab: &Lab) -> Background {
    let at = lab.directory().display();
    let line = format!(
        "turnserver -n -L 203.0.113.20 -L 203.0.113.21 --no-tls --no-dtls --no-cli --no-auth --db {at}/turn.db \
         --log-file {at}/log/turn.log --simple-log --no-stdout-log --pidfile {at}/turn.pid"
    );
    lab.serve("net", "203.0.113.21:3479", &line)
}

fn discover(lab: &Lab, what: &str) -> Outcome {
    lab.run("a1", &format!("timeout 30 turnutils_natdiscovery {what} 203.0.113.20"))
}

/// RFC 5780 §4.3 and §4.4.
fn stun_finds_mapping_and_filtering(lab: &Lab) {
    lab.gateways(NAT);
    let server = stun_server(lab);
    discover(lab, "-m").says("NAT with Endpoint Independent Mapping!");
    discover(lab, "-f").says("NAT with Address and Port Dependent Filtering!");
    server.end();
}

/// RFC 5780 §4.4 and §4.5: who may reach a port from anywhere may do so from inside.
fn stun_finds_hairpinning_and_open_filtering(lab: &Lab) {
    lab.gateways(OPEN);
    let server = stun_server(lab);
    discover(lab, "-f").says("NAT with Endpoint Independent Filtering!");
    discover(lab, "-H").says("successful hairpinning");
    server.end();
}

/// RFC 5780 §4.4.
fn stun_finds_filtering_by_address(lab: &Lab) {
    lab.gateways(BY_ADDRESS);
    let server = stun_server(lab);
    discover(lab, "-f").says("NAT with Address Dependent Filtering!");
    server.end();
}

fn turn_relays_udp_and_tcp(lab: &Lab) {
    lab.gateways(NAT);
    let server = stun_server(lab);
    for how in ["", "-t"] {
        let relayed = lab.run("a1", &format!("timeout 60 turnutils_uclient {how} -y -n 10 203.0.113.20"));
        relayed.says("tot_send_msgs=40, tot_recv_msgs=40");
        relayed.says("Total lost packets 0 ");
    }
    server.end();
}

/// RFC 5128 §3.3 and §3.4: two hosts, each behind a gateway of its own.
fn udp_and_tcp_meet_by_hole_punching(lab: &Lab) {
    lab.gateways(BOTH);
    let tool = lab.root().join("tests/tools/punch.py");
    let line = format!("python3 {} server 203.0.113.30", tool.display());
    let server = lab.serve("net", "203.0.113.30:7000", &line);
    for how in ["udp", "tcp"] {
        let peer = |name: &str| format!("python3 {} peer 203.0.113.30 {name} {how}", tool.display());
        let alice = lab.background("a1", &peer("alice"));
        lab.run("b1", &peer("bob")).says("I am alice at 192.0.2.2");
        alice.wait().says("I am bob at 198.51.100.2");
    }
    server.end();
}

/// A login, a megabyte down and another one up.
fn ssh_logs_in(lab: &Lab) {
    lab.gateways(NAT);
    let (server, ssh) = ssh::server(lab, "net", "203.0.113.22:22", "ssh");
    let line = format!(
        "head -c 1000000 /dev/zero | {ssh} root@203.0.113.22 'wc -c >&2; head -c 1000000 /dev/zero' | wc -c"
    );
    let login = lab.run("a1", &line);
    assert_eq!(login.expect().trim(), "1000000", "{login}");
    assert!(login.stderr.lines().any(|line| line.trim() == "1000000"), "{login}");
    server.end();
}

fn http_2_and_3_are_served(lab: &Lab) {
    lab.gateways(NAT);
    let directory = lab.directory().join("www");
    let line = format!("nghttpd --no-tls -a 203.0.113.82 -d {} 80", directory.display());
    let server = lab.serve("net", "203.0.113.82:80", &line);
    let line = "curl -sS -m 60 --http2-prior-knowledge -o /dev/null -w '%{http_version} %{size_download}'";
    assert_eq!(lab.run("a1", &format!("{line} http://203.0.113.82/20MB.bin")).expect(), "2 20000000");
    server.end();

    let own = std::env::current_exe().expect("this program has a path");
    let end = |role: &str| {
        let certificate = lab.directory().join("http3.der");
        format!("{} http3 {role} 203.0.113.83:443 {}", own.display(), certificate.display())
    };
    let server = lab.background("net", &end("serve"));
    assert!(eventually(|| lab.directory().join("http3.der").exists()), "the server of HTTP/3 is up");
    lab.run("a1", &format!("timeout 60 {}", end("get"))).says("200 OK, 2000000 bytes over HTTP/3");
    server.end();
}

/// SMTP (RFC 5321) there, IMAP (RFC 3501) and POP3 (RFC 1939) back.
fn mail_is_sent_and_fetched(lab: &Lab) {
    lab.gateways(NAT);
    let at = lab.directory().join("mail");
    std::fs::create_dir(&at).expect("the lab's directory is ours");
    let text = format!(
        "protocols = imap pop3\nlisten = 203.0.113.25\nbase_dir = {at}/run\nlog_path = {at}/log\nssl = no\n\
         disable_plaintext_auth = no\nmail_location = maildir:{at}/box\ndefault_internal_user = root\n\
         default_login_user = nobody\nfirst_valid_uid = 1\n\
         passdb {{\n driver = static\n args = password=secret\n}}\n\
         userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={at}\n}}\n\
         service anvil {{\n chroot =\n}}\nservice imap-login {{\n chroot =\n}}\nservice pop3-login {{\n chroot =\n}}\n",
        at = at.display()
    );
    std::fs::write(at.join("dovecot.conf"), text).expect("the directory is there");
    std::fs::write(at.join("letter"), "From: a1@a.demo\r\nSubject: across\r\n\r\nHello by mail.\r\n")
        .expect("the directory is there");
    let at = at.display();
    lab.run("net", &format!("chown nobody:nogroup {at}")).expect();
    // Debian's own Python, which has the package.
    let line = format!(
        "setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps +net_bind_service --ambient-caps +net_bind_service \
         /usr/bin/python3 -m aiosmtpd -n -l 203.0.113.25:25 -c aiosmtpd.handlers.Mailbox {at}/box"
    );
    let smtp = lab.serve("net", "203.0.113.25:25", &line);
    let fetching = lab.serve("net", "203.0.113.25:110", &format!("dovecot -F -c {at}/dovecot.conf"));
    let line = "curl -sS -m 20 --mail-from a1@a.demo --mail-rcpt b@example.demo";
    lab.run("a1", &format!("{line} -T {at}/letter smtp://203.0.113.25/")).expect();
    for from in ["imap://203.0.113.25/INBOX;MAILINDEX=1", "pop3://203.0.113.25/1"] {
        lab.run("a1", &format!("curl -sS -m 20 -u b:secret '{from}'")).says("Hello by mail.");
    }
    fetching.end();
    smtp.end();
}

fn a_clock_is_read(lab: &Lab) {
    lab.gateways(NAT);
    let tool = lab.root().join("tests/tools/ntp.py");
    let server = lab.serve("net", "203.0.113.26:123", &format!("python3 {} 203.0.113.26", tool.display()));
    lab.run("a1", "ntpdig -j 203.0.113.26").says("\"stratum\":1");
    server.end();
}

fn a_caching_proxy_stands_on_the_way(lab: &Lab) {
    lab.gateways(NAT);
    let origin = web(lab, "203.0.113.80");
    let at = lab.directory().join("squid");
    std::fs::create_dir(&at).expect("the lab's directory is ours");
    let text = format!(
        "http_port 203.0.113.31:3128\nhttp_access allow all\npid_filename none\ncache_log {at}/log\naccess_log none\n\
         cache_mem 8 MB\ncoredump_dir {at}\nnetdb_filename none\nshutdown_lifetime 0 seconds\n",
        at = at.display()
    );
    std::fs::write(at.join("conf"), text).expect("the directory is there");
    let at = at.display();
    lab.run("net", &format!("chown proxy {at}")).expect();
    let proxy = lab.serve("net", "203.0.113.31:3128", &format!("squid -N -f {at}/conf"));
    for cache in ["X-Cache: MISS", "X-Cache: HIT"] {
        let line = "curl -sS -m 20 -D - -x http://203.0.113.31:3128 http://203.0.113.80/";
        let page = lab.run("a1", line);
        page.says(cache);
        page.says("Hello from b1");
    }
    proxy.end();
    origin.end();
}

/// An alias into another zone, whose server answers by the network of whoever asks: the gateway's.
fn a_content_network_answers_by_the_asker(lab: &Lab) {
    lab.gateways(BOTH);
    for (host, edge) in [("a1", "203.0.113.81"), ("b1", "203.0.113.82")] {
        let server = web(lab, edge);
        let answer = lab.dig(host, "img.example.demo");
        assert_eq!(answer.lines().collect::<Vec<_>>(), ["edge.cdn.demo.", edge]);
        lab.run(host, "curl -sS -m 20 http://img.example.demo/").says("Hello from b1");
        server.end();
    }
}

fn a_hundred_hosts_use_one_source_port(lab: &Lab) {
    lab.gateways(NAT);
    let server = web(lab, "203.0.113.80");
    let hosts = "for i in $(seq 100 199); do ip address $0 192.168.10.$i/24 dev eth0; done";
    lab.run("a1", &format!("sh -c '{hosts}' add")).expect();
    let tool = "import socket
all = []
for i in range(100, 200):
    s = socket.socket(); s.bind((f'192.168.10.{i}', 5000)); s.settimeout(20)
    s.connect(('203.0.113.80', 80)); all.append(s)
for s in all: s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
print(sum(b'200 OK' in s.recv(1000) for s in all), 'answered')";
    lab.run("a1", &format!("python3 -c \"{tool}\"")).says("100 answered");
    let sessions = lab.json(Realm::A, "show sessions");
    let mut outside: Vec<&str> = sessions
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["host"].as_str().is_some_and(|host| host.ends_with(":5000")))
        .filter_map(|row| row["external"].as_str())
        .collect();
    let count = outside.len();
    outside.sort_unstable();
    outside.dedup();
    assert_eq!((count, outside.len()), (100, 100), "one mapping each");
    lab.run("a1", &format!("sh -c '{hosts}' del")).expect();
    server.end();
}

/// A further network behind a host, made of a namespace that has no name and ends with the process that holds it. The way from
/// the router to its host takes 1,300 bytes.
struct Behind {
    keeper: Background,
    router: &'static str,
    process: String,
}

impl Behind {
    fn new(lab: &Lab, router: &'static str, network: &str) -> Self {
        let mut keeper =
            lab.background(router, "unshare -n sh -c 'ip link set lo up; echo $$; exec sleep 600'");
        let process = keeper.line();
        let line = format!(
            "ip link add behind type veth peer name eth0 netns {process} && ethtool -K behind tx off >/dev/null && \
             ip address add {network}.1/24 dev behind && ip link set behind up && \
             ip route replace {network}.2/32 dev behind mtu lock 1300 && sysctl -qw net.ipv4.ip_forward=1"
        );
        lab.run(router, &line).expect();
        let behind = Self { keeper, router, process };
        behind.run(
            lab,
            &format!(
                "ethtool -K eth0 tx off >/dev/null && ip link set eth0 up && ip address add {network}.2/24 dev eth0 && \
                 ip route add default via {network}.1"
            ),
        );
        behind
    }

    fn run(&self, lab: &Lab, line: &str) -> Outcome {
        let outcome = lab.run(self.router, &format!("nsenter -t {} -n sh -c '{line}'", self.process));
        outcome.expect();
        outcome
    }

    fn end(self, lab: &Lab) {
        lab.run(self.router, "ip link del behind").expect();
        self.keeper.end();
    }
}

/// The hop's error comes from a router that is not the session's host, and is believed by the server outside (RFC 5508 §4.2).
fn a_narrow_hop_inside_is_found(lab: &Lab) {
    lab.gateways(&[
        NAT[0],
        (
            Realm::A,
            "[worker]\n",
            "[[route]]\nto = \"192.168.20.0/24\"\nvia = \"192.168.10.12\"\n\n[worker]\n",
        ),
        (
            Realm::A,
            "networks = [\"192.168.10.0/24\"]",
            "networks = [\"192.168.10.0/24\", \"192.168.20.0/24\"]",
        ),
    ]);
    let behind = Behind::new(lab, "a2", "192.168.20");
    let server = web(lab, "203.0.113.80");
    lab.run("net", "ip route flush cache").expect();
    let line = "curl -sS -m 60 -o /dev/null -w %{size_download} http://203.0.113.80/20MB.bin";
    assert_eq!(behind.run(lab, line).stdout, "20000000");
    lab.run("net", "ip route get 192.0.2.2").says("mtu 1300");
    lab.run("net", "ip route flush cache").expect();
    server.end();
    behind.end(lab);
}

fn a_narrow_hop_outside_is_found(lab: &Lab) {
    lab.gateways(NAT);
    let behind = Behind::new(lab, "net", "198.18.5");
    let line =
        format!("nsenter -t {} -n socat -u TCP-LISTEN:9000,reuseaddr SYSTEM:'sha256sum >&2'", behind.process);
    let server = lab.background("net", &line);
    assert!(eventually(|| behind.run(lab, "ss -Hltn").expect().contains(":9000 ")));
    let file = lab.directory().join("www/20MB.bin");
    lab.run("a1", &format!("socat -u FILE:{} TCP:198.18.5.2:9000", file.display())).expect();
    let sum = lab.run("a1", &format!("sha256sum {}", file.display()));
    server.wait().says(sum.expect().split(' ').next().expect("a sum"));
    lab.run("a1", "ip route get 198.18.5.2").says("mtu 1300");
    lab.run("a1", "ip route flush cache").expect();
    behind.end(lab);
}
