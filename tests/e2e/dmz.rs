//! The DMZ: an application gateway that alone may go out, and servers that the world reaches, with rules between all three zones.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Realm};

pub(crate) const CASES: &[Case] = &[
    ("hosts_reach_the_world_only_through_the_application_gateway", only_through_the_application_gateway),
    ("the_world_reaches_servers_in_the_dmz", the_world_reaches_servers_in_the_dmz),
    ("nobody_comes_from_the_dmz_unasked", nobody_comes_from_the_dmz_unasked),
];

/// A port to the DMZ, in which 192.0.2.128/28 is public and 172.16.5.0/24 private.
const WITH_DMZ: &[Edit] = &[
    (
        Realm::A,
        "[worker]\n",
        "[[port]]\nname = \"dmz\"\ndevice = \"net_af_xdp2,iface=dmz\"\nside = \"dmz\"\n\
         addresses = [\"192.0.2.129/28\", \"172.16.5.1/24\"]\n\n[worker]\n",
    ),
    (
        Realm::A,
        "[tls]\n",
        "[nat]\naddresses = [\"192.0.2.2\"]\n\n\
         [[nat.exception]]\ninside = \"192.0.2.128/28\"\noutside = \"0.0.0.0/0\"\n\n\
         [[nat.static]]\nexternal = \"192.0.2.2\"\ninside = \"172.16.5.2\"\nprotocol = \"tcp\"\nport = 8080\n\n\
         [filter]\nfiles = [\"rules\"]\n\n[tls]\n",
    ),
];

/// Both gateways, with these rules in force.
fn gateways(lab: &Lab, rules: &str) {
    std::fs::write(lab.directory().join("a/rules"), rules).expect("the state directory is ours");
    lab.gateways(WITH_DMZ);
    lab.ctl(Realm::A, "reload").expect();
}

fn web(lab: &Lab, node: &str, port: u16) -> Background {
    let www = lab.directory().join("www");
    lab.serve(
        node,
        &format!(":{port}"),
        &format!("python3 -m http.server --directory {} {port}", www.display()),
    )
}

fn squid(lab: &Lab) -> Background {
    let at = lab.directory().join("dmz-squid");
    let at = at.display();
    let configuration = format!(
        "http_port 192.0.2.130:3128\nacl all_of_us src 192.168.10.0/24\nhttp_access allow all_of_us\nhttp_access deny all\n\
         cache deny all\naccess_log stdio:{at}/access.log\ncache_log {at}/cache.log\npid_filename {at}/squid.pid\n\
         coredump_dir {at}\nshutdown_lifetime 0 seconds\npinger_enable off\n"
    );
    lab.run(
        "d1",
        &format!("mkdir -p {at} && printf '{configuration}' >{at}/squid.conf && chown -R proxy {at}"),
    )
    .expect();
    lab.serve("d1", ":3128", &format!("squid -N -f {at}/squid.conf"))
}

fn only_through_the_application_gateway(lab: &Lab) {
    gateways(
        lab,
        "allow tcp from inside to dmz 192.0.2.130 port 3128 name proxy\n\
         allow tcp from dmz 192.0.2.130 to outside port http name proxy-out\n\
         reject from inside to outside name no-way-out\n\
         deny\n",
    );
    let (server, proxy) = (web(lab, "net", 80), squid(lab));
    for host in ["a1", "a2"] {
        let direct = lab.run(host, "curl -sS -m 10 http://203.0.113.80/");
        assert_eq!(direct.status, 7, "it is told at once: {direct}");
        lab.run(host, "curl -sS -m 20 -x http://192.0.2.130:3128 http://203.0.113.80/").says("Hello from b1");
        // Nothing else of the DMZ is there for them.
        assert!(!lab.run(host, "ping -n -c 1 -W 1 192.0.2.130").ok());
    }
    let log = lab.run("d1", &format!("cat {}/dmz-squid/access.log", lab.directory().display()));
    log.says("192.168.10.11 ");
    log.says("GET http://203.0.113.80/");
    for rule in ["proxy", "proxy-out", "no-way-out"] {
        let decided = lab.metrics(Realm::A).sum("ces_filter_decisions_total", &[("rule", rule)]);
        assert!(decided >= 1.0, "{rule}");
    }
    // Names of other realms are the policies' matter, as ever.
    lab.run("a2", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    lab.ctl(Realm::A, "why 192.168.10.11 192.0.2.130 tcp 3128").says("from inside to dmz: allow");
    lab.ctl(Realm::A, "why 192.0.2.130 203.0.113.80 tcp 80").says("from dmz to outside: allow");
    proxy.end();
    server.end();
}

fn the_world_reaches_servers_in_the_dmz(lab: &Lab) {
    gateways(
        lab,
        "allow tcp from outside to dmz 192.0.2.130 port http\n\
         allow tcp from outside to dmz 172.16.5.2 port 8080\n\
         deny from outside to dmz\n",
    );
    let (public, private) = (web(lab, "d1", 80), web(lab, "d1", 8080));
    let ask = |at: &str| lab.run("net", &format!("curl -sS -m 5 --interface 203.0.113.7 http://{at}/"));
    ask("192.0.2.130").says("Hello from b1");
    ask("192.0.2.2:8080").says("Hello from b1");
    assert!(!ask("192.0.2.130:8080").ok(), "by no rule");
    let sessions = lab.ctl(Realm::A, "show sessions").stdout;
    assert!(sessions.contains("192.0.2.130:80") && sessions.contains("172.16.5.2:8080"), "{sessions}");
    // And out: the one as it is, the other translated.
    let sniffer = lab.background(
        "net",
        "timeout 20 tcpdump -n -l -c 2 -i any icmp[icmptype] = 8 and dst host 203.0.113.9",
    );
    for source in ["192.0.2.130", "172.16.5.2"] {
        lab.run("d1", &format!("ping -n -c 3 -i 0.2 -W 5 -I {source} 203.0.113.9")).says(" 0% packet loss");
    }
    let seen = lab.run("d1", "ping -n -c 1 -W 5 -I 172.16.5.2 203.0.113.9");
    seen.says(" 0% packet loss");
    let seen = sniffer.wait();
    seen.says("192.0.2.130 > 203.0.113.9");
    public.end();
    private.end();
}

fn nobody_comes_from_the_dmz_unasked(lab: &Lab) {
    gateways(lab, "allow tcp from dmz 192.0.2.130 to inside host a1.a.demo port 8081 name back\n");
    let (inside, other) = (web(lab, "a1", 8081), web(lab, "a2", 8081));
    lab.run("d1", "curl -sS -m 5 http://192.168.10.11:8081/").says("Hello from b1");
    lab.drops_more(Realm::A, "unasked", 1, || {
        assert!(!lab.run("d1", "curl -sS -m 2 http://192.168.10.12:8081/").ok(), "by no rule");
    });
    lab.run("a2", "ping -n -c 3 -i 0.2 -W 5 192.0.2.130").says(" 0% packet loss");
    lab.run("d1", "ping -n -c 1 -W 5 192.0.2.129").says(" 0% packet loss");
    // Its names are not looked up here, and it speaks for nobody else.
    assert_ne!(lab.dig_status("d1", "@192.0.2.129 demo. SOA"), "NOERROR");
    lab.drops_more(Realm::A, "source_spoofed", 2, || {
        lab.run("d1", "hping3 -q -c 2 -i u200000 --udp -p 53 -a 192.168.10.11 203.0.113.9");
    });
    inside.end();
    other.end();
}
