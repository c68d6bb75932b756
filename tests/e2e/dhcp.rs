//! Hosts that get their addresses from the gateway, by dhclient and udhcpc.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

pub(crate) const CASES: &[Case] = &[
    ("hosts_get_addresses_and_go_out", hosts_get_addresses_and_go_out),
    ("leases_outlive_a_killed_gateway", leases_outlive_a_killed_gateway),
    ("an_address_that_somebody_uses_is_not_given", an_address_that_somebody_uses_is_not_given),
    ("a_full_disk_is_told_and_leases_nothing", a_full_disk_is_told_and_leases_nothing),
    ("a_foreign_server_is_told", a_foreign_server_is_told),
    ("reservations_and_reloads", reservations_and_reloads),
    ("p10_another_station_takes_no_lease", p10_another_station_takes_no_lease),
    ("p10_a_client_that_moves_keeps_its_lease", p10_a_client_that_moves_keeps_its_lease),
];

const SUBNET: &str = "[dhcp]\n\n[[dhcp.subnet]]\nnetwork = \"192.168.10.0/24\"\n\
                      pools = [\"192.168.10.100-192.168.10.199\"]\nlease_s = 600\n\n[tls]\n";
/// Gateway A gives addresses, carries what its hosts send into the world, and keeps its state.
const DHCP: [Edit; 3] = [
    (Realm::A, "[tls]\n", "[nat]\naddresses = [\"192.0.2.2\"]\n\n[tls]\n"),
    (Realm::A, "[tls]\n", SUBNET),
    (Realm::A, "[registry]", "[state]\ndirectory = \"state\"\n\n[registry]"),
];

/// A host on realm A's link that has no address yet: a namespace that ends with the process which holds it.
struct Host<'a> {
    lab: &'a Lab,
    name: &'static str,
    keeper: Option<Background>,
    process: String,
    script: PathBuf,
}

impl<'a> Host<'a> {
    fn new(lab: &'a Lab, name: &'static str, mac: &str) -> Self {
        let mut keeper =
            lab.background("la", "unshare -n sh -c 'ip link set lo up; echo $$; exec sleep 600'");
        let process = keeper.line();
        let line = format!(
            "ip link add {name} type veth peer name eth0 netns {process} && ethtool -K {name} tx off >/dev/null && \
             ip link set {name} master br0 up"
        );
        lab.run("la", &line).expect();
        let script = lab.root().join("tests/tools/on-lease");
        let host = Self { lab, name, keeper: Some(keeper), process, script };
        host.run(&format!("ethtool -K eth0 tx off >/dev/null && ip link set eth0 address {mac} up")).expect();
        for what in ["told", "leases", "pid", "conf"] {
            let _ = fs::remove_file(host.file(what));
        }
        fs::write(host.file("conf"), format!("send host-name \"{name}\";\ntimeout 20;\n"))
            .expect("it is ours");
        host
    }

    fn file(&self, what: &str) -> PathBuf {
        self.lab.directory().join(format!("dhcp-{}.{what}", self.name))
    }

    fn inside(&self, line: &str) -> String {
        format!("nsenter -t {} -n {line}", self.process)
    }

    fn run(&self, line: &str) -> Outcome {
        self.lab.run("la", &self.inside(&format!("sh -c '{line}'")))
    }

    fn files(&self) -> String {
        format!(
            "-4 -cf {} -lf {} -pf {} -sf {} -e TOLD={}",
            self.file("conf").display(),
            self.file("leases").display(),
            self.file("pid").display(),
            self.script.display(),
            self.file("told").display()
        )
    }

    /// dhclient, until it has an address.
    #[track_caller]
    fn dhclient(&self) -> (Background, String) {
        let _ = fs::remove_file(self.file("told"));
        let line = self.inside(&format!("dhclient -d -1 {} eth0", self.files()));
        let client = self.lab.background("la", &line);
        let address = self.has_address();
        (client, address)
    }

    /// udhcpc, until it has an address.
    #[track_caller]
    fn udhcpc(&self, arguments: &str) -> (Background, String) {
        let _ = fs::remove_file(self.file("told"));
        let line = self.inside(&format!(
            "env TOLD={} busybox udhcpc -f -i eth0 -t 20 -T 1 -A 1 -s {} -p {} -x hostname:{} {arguments}",
            self.file("told").display(),
            self.script.display(),
            self.file("pid").display(),
            self.name
        ));
        let client = self.lab.background("la", &line);
        let address = self.has_address();
        (client, address)
    }

    /// Sends a signal to udhcpc: USR1 renews, USR2 releases.
    fn signal(&self, signal: &str) {
        self.run(&format!("kill -{signal} $(cat {})", self.file("pid").display())).expect();
    }

    fn told(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.file("told")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    /// Whether udhcpc was last told that its lease goes on.
    fn has_renewed(&self) -> bool {
        self.told().get("what").is_some_and(|what| what == "renew")
    }

    #[track_caller]
    fn has_address(&self) -> String {
        let address = || self.told().remove("address").filter(|address| !address.is_empty());
        assert!(
            eventually(|| address().is_some()),
            "{} gets an address\n{}",
            self.name,
            self.lab.log(Realm::A)
        );
        address().unwrap_or_default()
    }

    fn get_none(&self) -> Outcome {
        let line = format!("busybox udhcpc -f -n -q -i eth0 -t 2 -T 1 -s {}", self.script.display());
        self.run(&format!("TOLD={} {line}", self.file("told").display()))
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        self.lab.run("la", &format!("ip link del {}", self.name));
        if let Some(keeper) = self.keeper.take() {
            keeper.end();
        }
    }
}

/// Messages by outcome.
fn counted(lab: &Lab, outcome: &str) -> f64 {
    lab.metrics(Realm::A).sum("ces_dhcp_messages_total", &[("outcome", outcome)])
}

fn hosts_get_addresses_and_go_out(lab: &Lab) {
    lab.gateways(&DHCP);
    let (one, two) =
        (Host::new(lab, "laptop", "02:00:00:00:03:01"), Host::new(lab, "phone", "02:00:00:00:03:02"));
    let (dhclient, first) = one.dhclient();
    let (udhcpc, second) = two.udhcpc("");
    assert_ne!(first, second);
    for (host, address) in [(&one, &first), (&two, &second)] {
        assert!(address.starts_with("192.168.10.1"), "{address}");
        let told = host.told();
        assert_eq!((told["dns"].as_str(), told["domain"].as_str()), ("192.168.10.1", "a.demo"));
        host.run("ping -n -c 3 -i 0.2 -W 5 203.0.113.9").says(" 0% packet loss");
        let soa = host.run("dig +short +tries=3 @192.168.10.1 demo. SOA");
        assert!(soa.expect().contains("demo"), "{soa}");
    }
    // By its name, to hosts that a file names and to those like it.
    assert_eq!(lab.dig("a1", "laptop.a.demo"), first);
    assert_eq!(lab.dig("a1", &format!("-x {first}")), "laptop.a.demo.");
    assert_eq!(two.run("dig +short +tries=3 @192.168.10.1 laptop.a.demo").expect().trim(), first);
    two.run("ping -n -c 1 -W 5 192.168.10.1").expect();
    let leases = lab.json(Realm::A, "show leases");
    let rows = leases.as_array().expect("rows");
    let of = |address: &String| rows.iter().find(|row| row["address"] == **address).expect("it is leased");
    assert_eq!((&of(&first)["state"], &of(&first)["name"]), (&"bound".into(), &"laptop".into()));
    assert_eq!(of(&second)["mac"], "02:00:00:00:03:02");
    lab.ctl(Realm::A, "show leases").says("phone");
    lab.ctl(Realm::A, "show dhcp").says("192.168.10.0/24");
    assert!(counted(lab, "selected") >= 2.0 && counted(lab, "offered") >= 2.0);
    assert!(lab.metrics(Realm::A).sum("ces_punts_total", &[("class", "dhcp")]) >= 4.0);

    // Renewed, to the server alone; then released.
    two.signal("USR1");
    assert!(eventually(|| two.has_renewed()));
    assert!(counted(lab, "renewed") >= 1.0);
    two.signal("USR2");
    assert!(eventually(|| counted(lab, "released") >= 1.0), "{}", lab.ctl(Realm::A, "show dhcp"));
    one.lab.run("la", &one.inside(&format!("dhclient -r {} eth0", one.files()))).expect();
    assert!(eventually(|| counted(lab, "released") >= 2.0));
    let bound = |lab: &Lab| {
        let rows = lab.json(Realm::A, "show leases");
        rows.as_array().into_iter().flatten().filter(|row| row["state"] == "bound").count()
    };
    assert_eq!(bound(lab), 0);
    assert_eq!(lab.dig_status("a1", "laptop.a.demo"), "NXDOMAIN");
    drop((dhclient, udhcpc));
    // Its address is still its own.
    let (udhcpc, again) = two.udhcpc("");
    assert_eq!(again, second);
    drop(udhcpc);
}

fn leases_outlive_a_killed_gateway(lab: &Lab) {
    lab.gateways(&DHCP);
    let (one, two) =
        (Host::new(lab, "laptop", "02:00:00:00:03:11"), Host::new(lab, "phone", "02:00:00:00:03:12"));
    let (dhclient, first) = one.dhclient();
    let (udhcpc, second) = two.udhcpc("");
    lab.kill(Realm::A);
    lab.start(Realm::A);
    // Who has it goes on with it, who starts again has the same, and others get others.
    two.signal("USR1");
    assert!(eventually(|| counted(lab, "renewed") >= 1.0), "{}", lab.log(Realm::A));
    drop(dhclient);
    let (dhclient, again) = one.dhclient();
    assert_eq!(again, first);
    assert!(counted(lab, "rebooted") >= 1.0, "{}", lab.ctl(Realm::A, "show dhcp"));
    let three = Host::new(lab, "tablet", "02:00:00:00:03:13");
    // It believes that the first one's address is its own.
    fs::copy(one.file("leases"), three.file("leases")).expect("it is there");
    let (third, other) = three.dhclient();
    assert!(![&first, &second].contains(&&other), "{other}");
    assert!(counted(lab, "nak_taken") >= 1.0, "{}", lab.ctl(Realm::A, "show dhcp"));
    assert!(!lab.log(Realm::A).contains("panicked"));
    drop((dhclient, udhcpc, third));
}

fn an_address_that_somebody_uses_is_not_given(lab: &Lab) {
    let mut edits = DHCP.to_vec();
    edits.push((Realm::A, "192.168.10.100-192.168.10.199", "192.168.10.110-192.168.10.111"));
    lab.gateways(&edits);
    let (still, new) =
        (Host::new(lab, "still", "02:00:00:00:03:21"), Host::new(lab, "new", "02:00:00:00:03:22"));
    still.run("ip address add 192.168.10.110/24 dev eth0").expect();
    let (client, address) = new.udhcpc("-r 192.168.10.110");
    assert_eq!(address, "192.168.10.111");
    assert!(lab.log(Realm::A).contains("is used by somebody without a lease"), "{}", lab.log(Realm::A));
    assert!(lab.metrics(Realm::A).sum("ces_dhcp_conflicts_total", &[]) >= 1.0);
    let third = Host::new(lab, "third", "02:00:00:00:03:23");
    assert!(!third.get_none().ok());
    assert!(counted(lab, "exhausted") >= 1.0);
    drop(client);
}

fn a_full_disk_is_told_and_leases_nothing(lab: &Lab) {
    lab.stop(Realm::A);
    let disk = crate::journal::SmallDisk::mount(lab);
    let mut edits = DHCP.to_vec();
    edits[2] = (Realm::A, "[registry]", "[state]\ndirectory = \"disk\"\n\n[registry]");
    lab.gateways(&edits);
    let (one, two) =
        (Host::new(lab, "laptop", "02:00:00:00:03:31"), Host::new(lab, "phone", "02:00:00:00:03:32"));
    let (client, first) = one.udhcpc("");
    disk.fill();
    // Until the last page of the file is full, too.
    assert!(eventually(|| {
        one.signal("USR1");
        counted(lab, "unwritten") >= 1.0
    }));
    disk.fill();
    assert!(lab.log(Realm::A).contains("leases cannot be written down"), "{}", lab.log(Realm::A));
    let is_whole = || lab.metrics(Realm::A).sum("ces_dhcp_leases_whole", &[]) > 0.5;
    assert!(!is_whole());
    assert!(!two.get_none().ok(), "nobody gets an address");
    disk.clear();
    let (other, second) = two.udhcpc("");
    assert_ne!(first, second);
    assert!(is_whole());
    lab.kill(Realm::A);
    lab.start(Realm::A);
    // However it asks by now, it keeps its address.
    let acknowledged =
        || ["renewed", "rebound", "rebooted", "selected"].map(|how| counted(lab, how)).iter().sum::<f64>();
    assert!(
        eventually(|| {
            one.signal("USR1");
            acknowledged() >= 1.0
        }),
        "{}",
        lab.ctl(Realm::A, "show dhcp")
    );
    assert_eq!(one.has_address(), first);
    drop((client, other));
    lab.stop(Realm::A);
}

fn a_foreign_server_is_told(lab: &Lab) {
    lab.gateways(&DHCP);
    let (foreign, host) =
        (Host::new(lab, "foreign", "02:00:00:00:03:41"), Host::new(lab, "laptop", "02:00:00:00:03:42"));
    foreign.run("ip address add 192.168.10.9/24 dev eth0").expect();
    let conf = foreign.file("conf");
    let leases = foreign.file("leases");
    fs::write(&leases, "").expect("it is ours");
    let text = format!(
        "start 192.168.10.200\nend 192.168.10.210\ninterface eth0\nlease_file {}\npidfile {}\n",
        leases.display(),
        foreign.file("pid").display()
    );
    fs::write(&conf, text).expect("it is ours");
    let server = lab.background("la", &foreign.inside(&format!("busybox udhcpd -f {}", conf.display())));
    // Whose answers go to everybody.
    let (client, _) = host.udhcpc("-B");
    assert!(
        eventually(|| {
            host.signal("USR2");
            host.signal("USR1");
            counted(lab, "foreign_server") >= 1.0
        }),
        "{}",
        lab.ctl(Realm::A, "show dhcp")
    );
    assert!(lab.log(Realm::A).contains("another DHCP server"), "{}", lab.log(Realm::A));
    lab.ctl(Realm::A, "show dhcp").says("02:00:00:00:03:41");
    drop((client, server));
}

fn reservations_and_reloads(lab: &Lab) {
    lab.gateways(&DHCP);
    let host = Host::new(lab, "printer", "02:00:00:00:03:51");
    let (client, first) = host.udhcpc("");
    assert!(first.starts_with("192.168.10.1"), "{first}");
    let config = fs::read_to_string(lab.directory().join("a/cesd.toml")).expect("it is there");
    let reserved =
        "[[dhcp.reservation]]\naddress = \"192.168.10.77\"\nmac = \"02:00:00:00:03:51\"\n\n[tls]\n";
    lab.write_config(Realm::A, &config.replacen("[tls]\n", reserved, 1));
    lab.ctl(Realm::A, "reload").expect();
    host.signal("USR1");
    let moved = || host.told().get("address").is_some_and(|address| address == "192.168.10.77");
    assert!(eventually(moved), "{}", lab.ctl(Realm::A, "show dhcp"));
    assert!(counted(lab, "nak_address") >= 1.0);
    // Without the section nobody is answered, and what is leased is not forgotten.
    lab.write_config(Realm::A, &config.replacen(&SUBNET.replace("[tls]\n", ""), "", 1));
    lab.ctl(Realm::A, "reload").expect();
    let punted = || lab.metrics(Realm::A).sum("ces_punts_total", &[("class", "dhcp")]);
    let before = punted();
    let other = Host::new(lab, "other", "02:00:00:00:03:52");
    assert!(!other.get_none().ok());
    assert!(punted() <= before);
    lab.write_config(Realm::A, &config);
    lab.ctl(Realm::A, "reload").expect();
    let (again, second) = other.udhcpc("");
    assert_ne!(second, "192.168.10.77");
    drop((client, again));
}

/// With this identifier, whatever the hardware address.
const NAMED: &str = "-x 0x3d:ff0000000101";

/// What `cesctl show leases` has of an address.
fn lease(lab: &Lab, address: &str) -> serde_json::Value {
    let rows = lab.json(Realm::A, "show leases");
    let row = rows.as_array().into_iter().flatten().find(|row| row["address"] == *address).cloned();
    row.unwrap_or_default()
}

fn goes_out(host: &Host<'_>) {
    let goes = || host.run("ping -n -c 1 -W 2 203.0.113.9").ok();
    assert!(eventually(goes), "{}", host.lab.log(Realm::A));
}

fn p10_another_station_takes_no_lease(lab: &Lab) {
    lab.gateways(&DHCP);
    let (laptop, thief) =
        (Host::new(lab, "laptop", "02:00:00:00:03:61"), Host::new(lab, "thief", "02:00:00:00:03:62"));
    let (client, address) = laptop.udhcpc(NAMED);
    let tool = lab.root().join("tests/tools/dhcp.py");
    let says = |what: &str, more: &str| {
        let line = format!("python3 {} {what} eth0 --server 192.168.10.1 {more}", tool.display());
        thief.run(&line).expect();
    };
    // The gateway may have run for cases before this one.
    let given_up = || (counted(lab, "released"), counted(lab, "declined"));
    let before = given_up();
    let named = "--identifier ff0000000101";
    says("7", &format!("{named} --has {address}"));
    says("4", &format!("{named} --wants {address}"));
    // With the owner's hardware address in the message, too.
    says("7", &format!("{named} --has {address} --mac 02:00:00:00:03:61"));
    says("3", &format!("{named} --wants {address} --mac 02:00:00:00:03:61"));
    assert!(eventually(|| counted(lab, "stranger") > 3.5), "{}", lab.ctl(Realm::A, "show dhcp"));
    says("3", &format!("{named} --wants {address}"));
    assert!(eventually(|| counted(lab, "nak_stranger") > 0.5), "{}", lab.ctl(Realm::A, "show dhcp"));
    assert_eq!(given_up(), before, "{}", lab.ctl(Realm::A, "show dhcp"));
    let kept = lease(lab, &address);
    assert_eq!((&kept["state"], &kept["mac"]), (&"bound".into(), &"02:00:00:00:03:61".into()));
    lab.ctl(Realm::A, "show dhcp").says("nak_stranger");
    let log = lab.log(Realm::A);
    let told = log.lines().find(|line| line.contains("another station spoke in the name of a host"));
    assert!(told.is_some_and(|line| line.contains("03:61") && line.contains("03:62")), "{log}");
    // As a clone of the machine it gets another address, and each goes on with its own.
    let (other, second) = thief.udhcpc(NAMED);
    assert_ne!(second, address);
    assert!(counted(lab, "offered_apart") > 0.5, "{}", lab.ctl(Realm::A, "show dhcp"));
    for (host, address, mac) in
        [(&laptop, &address, "02:00:00:00:03:61"), (&thief, &second, "02:00:00:00:03:62")]
    {
        host.signal("USR1");
        assert!(eventually(|| host.has_renewed()), "{}", lab.ctl(Realm::A, "show dhcp"));
        assert_eq!(host.told()["address"], **address);
        let lease = lease(lab, address);
        assert_eq!((&lease["state"], &lease["mac"]), (&"bound".into(), &mac.into()));
        goes_out(host);
    }
    drop((client, other));
}

fn p10_a_client_that_moves_keeps_its_lease(lab: &Lab) {
    lab.gateways(&DHCP);
    let cable = Host::new(lab, "cable", "02:00:00:00:03:71");
    let (client, address) = cable.udhcpc(NAMED);
    goes_out(&cable);
    drop(client);
    cable.run("ip link set eth0 down").expect();
    let air = Host::new(lab, "air", "02:00:00:00:03:72");
    let (client, again) = air.udhcpc(NAMED);
    assert_eq!(again, address, "{}", lab.ctl(Realm::A, "show dhcp"));
    assert_eq!(lease(lab, &address)["mac"], "02:00:00:00:03:72");
    goes_out(&air);
    assert!(lab.metrics(Realm::A).sum("ces_dhcp_moved_total", &[]) > 0.5);
    let log = lab.log(Realm::A);
    assert!(log.contains("speaks from another mac, and is silent at the one before"), "{log}");
    drop(client);
}
