//! A host that takes all that it can get of NAT44 is named, and leaves room for others.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm, eventually};

pub(crate) const CASES: &[Case] =
    &[("who_takes_everything_is_named_and_others_go_on", who_takes_everything_is_named_and_others_go_on)];

const SMALL: &[Edit] = &[(
    Realm::A,
    "[tls]\n",
    "[nat]\naddresses = [\"192.0.2.2\"]\nhost_sessions = 256\nhost_ports = 256\n\n\
     [capacity]\nsessions = 256\nmappings = 256\n\n[tls]\n",
)];

fn who_takes_everything_is_named_and_others_go_on(lab: &Lab) {
    lab.gateways(SMALL);
    let short = |of: &str| lab.metrics(Realm::A).sum("ces_nat_short", &[("of", of)]);
    assert!(short("sessions") + short("ports") < 0.5);
    // Somebody who is there already, and an echo that answers.
    lab.run("a2", "ping -n -c 1 -W 5 203.0.113.9").says(" 0% packet loss");
    let flood = "import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(20000, 21000):
    s.sendto(b'x', ('203.0.113.9', port))
    time.sleep(0.002)
";
    lab.run("a1", &format!("python3 -c \"{flood}\"")).expect();
    assert!(eventually(|| short("sessions") > 0.5), "{}", lab.ctl(Realm::A, "show nat"));
    lab.ctl(Realm::A, "show nat").says("there are few sessions left: cesctl show holders");
    let holders = lab.json(Realm::A, "show holders");
    assert_eq!(holders[0]["host"], "192.168.10.11", "{holders}");
    assert!(holders[0]["sessions"].as_u64() >= Some(200), "{holders}");
    lab.ctl(Realm::A, "show holders").says("192.168.10.11");
    let said = "NAT44: 80 % of the sessions are taken; most have 192.168.10.11 (";
    assert!(eventually(|| lab.log(Realm::A).matches(said).count() == 1), "{}", lab.log(Realm::A));
    // Its own give way to its own, and others have the rest.
    assert!(lab.metrics(Realm::A).sum("ces_nat_sessions_displaced_total", &[]) >= 500.0);
    for _ in 0..3 {
        lab.run("a2", "ping -n -c 1 -W 5 203.0.113.9").says(" 0% packet loss");
    }
    assert!(lab.run("a1", "dig +short @192.168.10.1 www.b.demo").ok(), "and the gateway itself answers");
    assert_eq!(lab.log(Realm::A).matches(said).count(), 1, "said once");
    lab.gateways(&[]);
}
