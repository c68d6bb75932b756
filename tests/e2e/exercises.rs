//! Two lab exercises and the rules that go with them: a machine and a server behind the filter, seen under their own addresses,
//! with the programs that the exercises name.
//!
//! What is sent to many hosts at once stays on its link, as behind any router: OSPF and the like pass to one address alone.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("a_machine_and_its_lab", a_machine_and_its_lab),
    ("a_protected_server", a_protected_server),
    ("one_public_web_server_and_no_web_outside", one_public_web_server_and_no_web_outside),
    ("what_answers_nothing_is_dropped", what_answers_nothing_is_dropped),
    ("an_idle_session_of_a_minute_is_gone", an_idle_session_of_a_minute_is_gone),
];

/// The machine a1 and the server a2 are seen under their own addresses; the web server a2 under a public one as well.
const OWN_ADDRESSES: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\n\n\
     [[nat.exception]]\ninside = \"192.168.10.11\"\noutside = \"10.0.0.0/10\"\n\n\
     [[nat.exception]]\ninside = \"192.168.10.12\"\noutside = \"203.0.113.0/24\"\n\n\
     [[nat.static]]\nexternal = \"130.207.244.203\"\ninside = \"192.168.10.12\"\n\n\
     [filter]\nfiles = [\"rules\"]\n\n[tls]\n",
)];

/// The lab's machines, outside; who is in none of its networks; and the ways to the two inside.
const WORLD: &str = "ip address replace 10.0.0.0/10 dev lo scope host; \
    ip route replace local 10.0.0.0/10 dev lo; \
    for inside in 192.168.10.11 192.168.10.12 130.207.244.203; do ip route replace $inside via 192.0.2.2; done";

/// Both gateways, with these rules in force, and the world around.
fn gateways(lab: &Lab, rules: &str) {
    std::fs::write(lab.directory().join("a/rules"), rules).expect("the state directory is ours");
    lab.gateways(OWN_ADDRESSES);
    lab.ctl(Realm::A, "reload").expect();
    lab.run("net", WORLD).expect();
}

/// What both exercises let in: SSH, HTTP, FTP with anonymous logins; and telnet and mail, each where it is asked for.
fn servers(lab: &Lab, node: &str) -> Vec<Background> {
    let at = lab.directory().join(format!("exercise-{node}"));
    let www = lab.directory().join("www");
    let (at, www) = (at.display(), www.display());
    let prepare = format!(
        "mkdir -p {at} /run/vsftpd/empty && {{ [ -f {at}/key ] || dropbearkey -t ed25519 -f {at}/key; }} && \
         printf '%s\\n' listen=YES background=NO seccomp_sandbox=NO anonymous_enable=YES local_enable=NO \
         anon_root={www} secure_chroot_dir=/run/vsftpd/empty connect_from_port_20=YES no_anon_password=YES \
         >{at}/vsftpd.conf"
    );
    lab.run(node, &prepare).expect();
    vec![
        lab.serve(node, ":22", &format!("dropbear -F -E -r {at}/key -p 22 -P {at}/pid")),
        lab.serve(node, ":8080", &format!("python3 -m http.server --directory {www} 8080")),
        lab.serve(node, ":21", &format!("vsftpd {at}/vsftpd.conf")),
        lab.serve(node, ":23", "socat TCP-LISTEN:23,fork,reuseaddr EXEC:'echo login'"),
        lab.serve(node, ":25", "/usr/bin/python3 -m aiosmtpd -n -l 0.0.0.0:25"),
    ]
}

fn end(servers: Vec<Background>) {
    for server in servers {
        server.end();
    }
}

/// What a service says first to who connects from an address outside.
fn greets(lab: &Lab, from: &str, to: &str, port: u16) -> Outcome {
    lab.run(
        "net",
        &format!("timeout 5 socat -T 3 - TCP:{to}:{port},bind={from},connect-timeout=2 </dev/null"),
    )
}

fn ping(lab: &Lab, node: &str, from: &str, to: &str) -> Outcome {
    let from = if from.is_empty() { String::new() } else { format!("-I {from}") };
    lab.run(node, &format!("ping -n -c 2 -i 0.2 -W 2 {from} {to}"))
}

/// Whom a packet of this protocol comes from at its destination, if it comes.
fn raw(lab: &Lab, protocol: u8, (from, source): (&str, &str), (to, destination): (&str, &str)) -> String {
    let tool = lab.root().join("tests/tools/raw.py");
    let mut receiver = lab.background(to, &format!("python3 {} receive {protocol}", tool.display()));
    assert_eq!(receiver.line(), "ready");
    lab.tool(from, "raw.py", &format!("send {protocol} {source} {destination}")).expect();
    receiver.wait().stdout
}

/// The number of OSPF.
const OSPF: u8 = 89;

/// A listing by an anonymous login, from an address outside; the server brings it from its port 20.
fn listing(lab: &Lab, from: &str, to: &str) -> Outcome {
    let line = format!(
        "timeout 20 python3 -c \"import ftplib
ftp=ftplib.FTP('{to}',timeout=5,source_address=('{from}',0)); ftp.login(); ftp.set_pasv(False); print(ftp.nlst())\""
    );
    lab.run("net", &line)
}

fn a_machine_and_its_lab(lab: &Lab) {
    gateways(
        lab,
        "set lab = 10.0.0.0/16\n\
         allow from inside host a1.a.demo to outside @lab\n\
         allow icmp from outside 10.0.0.0/24 to inside host a1.a.demo type ping\n\
         allow tcp from outside @lab to inside host a1.a.demo port ssh, 8080, ftp\n\
         allow tcp from outside 10.0.0.1, 10.0.0.110 to inside host a1.a.demo port telnet\n\
         allow ospf, igmp from outside @lab to inside host a1.a.demo\n\
         deny to inside host a1.a.demo name refused\n",
    );
    const MACHINE: &str = "192.168.10.11";
    let inside = servers(lab, "a1");
    let outside = lab.serve("net", ":8081", "python3 -m http.server --bind 10.0.7.7 8081");
    lab.run("a1", "curl -sS -m 10 -o /dev/null http://10.0.7.7:8081/").expect();
    ping(lab, "a1", "", "10.0.7.7").says(" 0% packet loss");
    ping(lab, "net", "10.0.0.9", MACHINE).says(" 0% packet loss");
    ping(lab, "net", "10.0.1.9", MACHINE).says("100% packet loss");
    for (from, is_let_in) in [("10.0.5.5", true), ("10.1.5.5", false)] {
        assert_eq!(greets(lab, from, MACHINE, 22).stdout.contains("SSH-2.0-dropbear"), is_let_in, "{from}");
        let page =
            lab.run("net", &format!("curl -sS -m 3 --interface {from} http://{MACHINE}:8080/index.html"));
        assert_eq!(page.ok(), is_let_in, "{page}");
        let list = listing(lab, from, MACHINE);
        assert_eq!(list.stdout.contains("index.html"), is_let_in, "{list}");
    }
    for (from, is_let_in) in [("10.0.0.1", true), ("10.0.0.110", true), ("10.0.0.111", false)] {
        let login = greets(lab, from, MACHINE, 23);
        assert_eq!(login.stdout.contains("login"), is_let_in, "{login}");
    }
    assert!(!greets(lab, "10.0.0.1", MACHINE, 25).stdout.contains("220"), "no mail");
    assert_eq!(raw(lab, OSPF, ("net", "10.0.3.3"), ("a1", MACHINE)).trim(), "10.0.3.3");
    assert_eq!(raw(lab, OSPF, ("net", "10.1.3.3"), ("a1", MACHINE)).trim(), "nothing came");
    assert_eq!(raw(lab, OSPF, ("a1", MACHINE), ("net", "10.0.3.3")).trim(), MACHINE);
    outside.end();
    end(inside);
}

fn a_protected_server(lab: &Lab) {
    gateways(
        lab,
        "allow tcp from inside host a2.a.demo to outside port ssh\n\
         allow icmp, ospf, igmp from inside host a2.a.demo to outside\n\
         allow tcp from inside host a2.a.demo port 20 to outside name ftp-data\n\
         reject from inside host a2.a.demo to outside name no-way-out\n\
         allow tcp from outside to inside host a2.a.demo port ssh, 8080, smtp, ftp\n\
         allow icmp from outside to inside host a2.a.demo type ping\n\
         allow ospf, igmp from outside to inside host a2.a.demo\n\
         deny to inside host a2.a.demo name refused\n",
    );
    const SERVER: &str = "192.168.10.12";
    const STRANGER: &str = "203.0.113.7";
    let inside = servers(lab, "a2");
    for (port, greeting) in [(22, "SSH-2.0-dropbear"), (25, "220 "), (21, "220 ")] {
        greets(lab, STRANGER, SERVER, port).says(greeting);
    }
    lab.run("net", &format!("curl -sS -m 5 --interface {STRANGER} http://{SERVER}:8080/"))
        .says("Hello from b1");
    listing(lab, STRANGER, SERVER).says("index.html");
    ping(lab, "net", STRANGER, SERVER).says(" 0% packet loss");
    assert!(!greets(lab, STRANGER, SERVER, 23).stdout.contains("login"), "no telnet");
    assert_eq!(raw(lab, OSPF, ("net", STRANGER), ("a2", SERVER)).trim(), STRANGER);
    // And out.
    let outside = lab.serve(
        "net",
        ":22",
        "socat TCP-LISTEN:22,bind=203.0.113.7,fork,reuseaddr EXEC:'echo SSH-2.0-out'",
    );
    lab.run("a2", "timeout 5 socat -T 3 - TCP:203.0.113.7:22 </dev/null").says("SSH-2.0-out");
    ping(lab, "a2", "", STRANGER).says(" 0% packet loss");
    assert_eq!(raw(lab, OSPF, ("a2", SERVER), ("net", STRANGER)).trim(), SERVER);
    let web = lab.run("a2", "curl -sS -m 5 http://203.0.113.7/");
    assert_eq!(web.status, 7, "it is told at once: {web}");
    lab.run("a2", "dig +time=1 +tries=1 @203.0.113.53 demo. SOA").says("no servers could be reached");
    outside.end();
    end(inside);
}

fn one_public_web_server_and_no_web_outside(lab: &Lab) {
    gateways(
        lab,
        "reject tcp from inside to outside port http, https, 8080 name no-web\n\
         allow tcp from outside to inside host a2.a.demo port 80 name public-web\n\
         allow udp from outside to inside host a2.a.demo port dns\n\
         deny to inside name refused\n",
    );
    let www = lab.directory().join("www");
    let served = lab.serve("a2", ":80", &format!("python3 -m http.server --directory {} 80", www.display()));
    let other = lab.serve("a1", ":80", &format!("python3 -m http.server --directory {} 80", www.display()));
    let world = lab.serve("net", ":8080", "python3 -m http.server --bind 203.0.113.80 8080");
    for host in ["a1", "a2"] {
        let refused = lab.run(host, "curl -sS -m 5 http://203.0.113.80:8080/");
        assert_eq!(refused.status, 7, "{refused}");
    }
    let ask = |at: &str| lab.run("net", &format!("curl -sS -m 3 --interface 10.0.9.9 http://{at}/"));
    ask("130.207.244.203").says("Hello from b1");
    assert!(!ask("192.168.10.11").ok(), "no other server");
    assert!(decisions(lab, "refused") >= 1.0 && decisions(lab, "public-web") >= 1.0);
    // No UDP comes in but DNS.
    let udp = |port: u16| {
        let mut receiver = lab.background("a2", &format!("timeout 8 socat -u -T 6 UDP-RECV:{port} STDOUT"));
        assert!(eventually(|| lab
            .run("a2", &format!("ss -Hlun sport = {port}"))
            .expect()
            .contains(&format!(":{port} "))));
        let line = "for i in 1 2 3; do echo hello; sleep 0.3; done";
        lab.run("net", &format!("({line}) | socat -u - UDP:130.207.244.203:{port},bind=10.0.9.9")).expect();
        let _ = &mut receiver;
        receiver.end().stdout
    };
    assert!(udp(53).contains("hello"));
    assert_eq!(udp(54), "");
    // The hops before it are not shown: by no probe that is not let in.
    for how in ["", "-I"] {
        let traced =
            lab.run("net", &format!("traceroute -n -q 1 -w 1 -m 3 {how} -s 10.0.9.9 130.207.244.203"));
        assert!(!traced.expect().contains("192.0.2.2") && !traced.stdout.contains(" ms"), "{traced}");
    }
    for server in [served, other, world] {
        server.end();
    }
}

fn decisions(lab: &Lab, rule: &str) -> f64 {
    lab.metrics(Realm::A).sum("ces_filter_decisions_total", &[("rule", rule)])
}

fn what_answers_nothing_is_dropped(lab: &Lab) {
    gateways(lab, "allow tcp from outside to inside host a2.a.demo port 80\ndeny to inside name refused\n");
    // A stateless rule that lets answers in would take it for one.
    let opened = || lab.metrics(Realm::A).sum("ces_nat_sessions_opened_total", &[]);
    let before = opened();
    let acks = "hping3 -q -c 3 -i u200000 -A -p 80 -s 5000 -a 203.0.113.9 130.207.244.203";
    lab.drops_more(Realm::A, "unasked", 3, || {
        lab.run("net", acks);
    });
    assert!(opened() <= before);
    for (node, address) in [("net", "192.0.2.3"), ("a1", "192.168.10.255"), ("a1", "255.255.255.255")] {
        lab.drops_more(Realm::A, "broadcast", 2, || {
            lab.run(node, &format!("ping -n -b -c 2 -i 0.2 -W 1 {address}")).says("100% packet loss");
        });
    }
}

fn an_idle_session_of_a_minute_is_gone(lab: &Lab) {
    // A query lasts a minute where nothing else is configured.
    gateways(lab, "allow\n");
    ping(lab, "a1", "", "203.0.113.99").says(" 0% packet loss");
    let stands = || lab.ctl(Realm::A, "show sessions").stdout.contains("203.0.113.99");
    assert!(stands());
    assert!((0..4).any(|_| eventually(|| !stands())), "it is gone");
}
