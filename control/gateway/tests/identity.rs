//! Whose a host's address is (P10): the station's that the registry names, or that was seen first and is still there.

mod lab;

use ces_dataplane::msg::Binding;
use ces_gateway::counters::MacEvent;
use ces_gateway::settings::MacPolicy;
use ces_gateway::{Evidence, LearntRoute, LeasedHost, Mac, Output, registry};
use hickory_proto::rr::RecordType;
use lab::{H1, H2, Lab, S, host_mac};
use std::net::Ipv4Addr;
use std::sync::Arc;

const OTHER: Mac = [2, 0, 0, 9, 9, 9];

fn with(policy: MacPolicy, text: &str) -> Lab {
    Lab::with(move |settings| settings.realm.mac_policy = policy, text, &lab::realm("b.demo"))
}

fn lab() -> Lab {
    with(MacPolicy::Pin, &lab::realm("a.demo"))
}

impl Lab {
    fn from(&mut self, host: Ipv4Addr, mac: Mac, by: Evidence) -> bool {
        let now = self.now;
        let taken = self.nodes[0].gateway.handle_sender(host.into(), mac, by, now);
        self.settle();
        taken
    }

    fn macs(&self) -> [u64; MacEvent::COUNT] {
        self.nodes[0].gateway.counters().macs
    }

    /// How often an owner was asked.
    fn asked(&mut self) -> usize {
        let asked =
            |output: &Output| matches!(output, Output::AskOwner { port: 0, address, .. } if *address == H1);
        let count = self.nodes[0].other.iter().filter(|output| asked(output)).count();
        self.nodes[0].other.retain(|output| !asked(output));
        count
    }

    /// The binding of h1 to a far host.
    fn met(&mut self) -> Binding {
        let proxy = self.address(0, H1, "h1.b.demo").unwrap();
        self.binding(0, H1, proxy).unwrap().1
    }
}

#[test]
fn p10_a_forged_query_is_not_taken_and_bindings_know_their_hosts_mac() {
    let mut lab = lab();
    assert!(lab.from(H1, host_mac(H1), Evidence::Arp) && lab.from(H2, host_mac(H2), Evidence::Arp));
    assert!(!lab.from(H1, host_mac(H2), Evidence::Packet), "h2 in the name of h1");
    assert!(!lab.from(H1, host_mac(H2), Evidence::Arp), "and by unsolicited ARP");
    assert_eq!((lab.macs(), lab.asked()), ([2, 0, 2, 0], 1));
    assert!(lab.logged(0, "host's address from another mac refused", "02:00:00:01:00:0b"));
    assert_eq!(lab.met().mac, Some(host_mac(H1)));
    let shown = &lab.nodes[0].gateway.hosts(lab.now)[0];
    assert_eq!((shown.mac.as_deref(), shown.mac_known_by), (Some("02:00:00:01:00:0a"), Some("arp")));
    assert_eq!((shown.mac_other.as_deref(), shown.mac_others), (Some("02:00:00:01:00:0b"), 2));
    assert!(
        lab.from(Ipv4Addr::new(192, 168, 0, 99), OTHER, Evidence::Arp),
        "an address of no host is nobody's"
    );
}

#[test]
fn p10_an_address_moves_when_its_owner_is_gone_and_stays_while_it_answers() {
    let mut lab = lab();
    lab.from(H1, host_mac(H1), Evidence::Arp);
    assert_eq!(lab.met().mac, Some(host_mac(H1)));
    assert!(!lab.from(H1, OTHER, Evidence::Arp));
    lab.advance(S / 4);
    lab.from(H1, host_mac(H1), Evidence::Arp); // It answers.
    lab.advance(2 * S);
    assert_eq!(
        (lab.met().mac, lab.asked(), lab.macs()[MacEvent::Moved as usize]),
        (Some(host_mac(H1)), 1, 0)
    );
    assert!(!lab.from(H1, OTHER, Evidence::Arp));
    lab.advance(S / 2 + S / 4);
    assert_eq!((lab.met().mac, lab.asked()), (Some(host_mac(H1)), 2), "asked twice");
    lab.advance(S / 2);
    assert_eq!((lab.met().mac, lab.macs()), (Some(OTHER), [1, 1, 2, 0]), "the binding that stands is told");
    assert!(lab.from(H1, OTHER, Evidence::Packet) && !lab.from(H1, host_mac(H1), Evidence::Packet));
    // The kernel still thinks of the first for a while; packets go to the second.
    lab.nodes[0].gateway.set_neighbour(0, H1.into(), Some(host_mac(H1)));
    let moved = |output: Option<Output>| matches!(output, None | Some(Output::Log(_)));
    assert!(moved(lab.nodes[0].gateway.poll_output()), "no hop is told the old one");
}

#[test]
fn p10_who_sent_a_packet_first_yields_to_who_has_the_address_in_arp() {
    let mut lab = lab();
    assert!(lab.from(H1, OTHER, Evidence::Packet));
    assert_eq!(lab.met().mac, Some(OTHER));
    assert!(lab.from(H1, host_mac(H1), Evidence::Arp));
    assert_eq!(lab.met().mac, Some(host_mac(H1)));
    assert!(!lab.from(H1, OTHER, Evidence::Packet));
}

#[test]
fn p10_the_registrys_mac_holds_from_the_start_and_follows_a_reload() {
    let given = |mac: &str| lab::realm("a.demo").replacen("policy", &format!("mac = \"{mac}\"\npolicy"), 1);
    let mut lab = with(MacPolicy::Pin, &given("02:00:00:01:00:0a"));
    assert_eq!(lab.met().mac, Some(host_mac(H1)), "ahead of any frame");
    assert!(!lab.from(H1, OTHER, Evidence::Arp) && lab.from(H1, host_mac(H1), Evidence::Packet));
    lab.advance(3 * S);
    assert!(!lab.from(H1, OTHER, Evidence::Arp) && lab.asked() == 0, "it does not move");
    for (mac, pinned) in [("02:00:00:09:09:09", Some(OTHER)), ("any", None)] {
        let (settings, now) = (lab.nodes[0].settings.clone(), lab.now);
        let (registry, policies) = registry::load(&lab::hosts(&given(mac)), &settings).unwrap();
        lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
        lab.settle();
        assert_eq!(lab.met().mac, pinned);
        assert!(lab.from(H1, OTHER, Evidence::Arp));
    }
}

#[test]
fn p10_policies_tell_or_do_nothing() {
    let mut alarm = with(MacPolicy::Alarm, &lab::realm("a.demo"));
    assert!(alarm.from(H1, host_mac(H1), Evidence::Arp) && alarm.from(H1, OTHER, Evidence::Packet));
    assert_eq!((alarm.macs(), alarm.met().mac), ([1, 1, 0, 0], None));
    assert!(alarm.logged(0, "host's mac moved", "02:00:00:09:09:09"));
    let mut off = with(MacPolicy::Off, &lab::realm("a.demo"));
    assert!(off.from(H1, host_mac(H1), Evidence::Arp) && off.from(H1, OTHER, Evidence::Arp));
    assert_eq!((off.macs(), off.met().mac), ([0; MacEvent::COUNT], None));
}

#[test]
fn p10_behind_a_router_there_is_no_mac_to_be_seen() {
    let mut lab = lab();
    lab.from(H1, host_mac(H1), Evidence::Arp);
    assert_eq!(lab.met().mac, Some(host_mac(H1)));
    let via = Some([192, 168, 0, 254].into());
    let behind = LearntRoute { network: "192.168.0.8/29".parse().unwrap(), via, port: 0 };
    let link = LearntRoute { network: "192.168.0.0/24".parse().unwrap(), via: None, port: 0 };
    let outside =
        LearntRoute { network: "0.0.0.0/0".parse().unwrap(), via: Some([192, 0, 2, 254].into()), port: 1 };
    for (routes, pinned) in [(vec![behind, link, outside], None), (vec![link, outside], Some(host_mac(H1)))] {
        lab.nodes[0].gateway.set_routes(Arc::new(routes.into_iter().collect()), 0);
        lab.settle();
        assert_eq!(lab.met().mac, pinned);
        assert_eq!(lab.from(H1, OTHER, Evidence::Packet), pinned.is_none());
    }
    assert_eq!(lab.ask(0, H1, "h1.b.demo", RecordType::A).answers, 1);
}

#[test]
fn p10_by_the_strict_policy_what_is_behind_a_router_comes_from_the_router() {
    const ROUTER: Mac = [2, 0, 0, 7, 7, 7];
    let router = Ipv4Addr::new(192, 168, 0, 254);
    let routes = || {
        let route = |network: &str, via: Option<[u8; 4]>, port| LearntRoute {
            network: network.parse().unwrap(),
            via: via.map(Into::into),
            port,
        };
        let behind = route("192.168.0.8/29", Some(router.octets()), 0);
        let outside = route("0.0.0.0/0", Some([192, 0, 2, 254]), 1);
        Arc::new([behind, route("192.168.0.0/24", None, 0), outside].into_iter().collect())
    };
    let reload = |lab: &mut Lab, policy, text: &str| {
        let (mut settings, now) = (lab.nodes[0].settings.clone(), lab.now);
        settings.realm.mac_policy = policy;
        let (registry, policies) = registry::load(&lab::hosts(text), &settings).unwrap();
        lab.nodes[0].gateway.reload(settings, registry, policies, now).unwrap();
        lab.settle();
    };
    let all = lab::realm("a.demo");
    let mut lab = with(MacPolicy::Strict, &all);
    lab.nodes[0].gateway.set_routes(routes(), 0);
    assert!(lab.from(H1, OTHER, Evidence::Packet), "nobody knows the router yet");
    for mac in [ROUTER, [2, 0, 0, 8, 8, 8]] {
        lab.nodes[0].gateway.set_neighbour(0, router.into(), Some(mac));
        lab.settle();
        assert_eq!(lab.met().mac, Some(mac), "the binding that stands is told");
        assert!(lab.from(H1, mac, Evidence::Packet) && !lab.from(H1, OTHER, Evidence::Packet));
        assert!(!lab.from(H1, host_mac(H2), Evidence::Packet), "a host on the link is no router");
    }
    assert!(lab.logged(0, "host's address from another mac refused", "02:00:00:09:09:09"));
    reload(&mut lab, MacPolicy::Pin, &all);
    assert_eq!(lab.met().mac, None, "by the other policy nothing is known of it");
    assert!(lab.from(H1, OTHER, Evidence::Packet));
    reload(&mut lab, MacPolicy::Strict, &all);
    assert_eq!(lab.met().mac, Some([2, 0, 0, 8, 8, 8]));
    reload(&mut lab, MacPolicy::Strict, &all.replacen("policy", "mac = \"any\"\npolicy", 1));
    assert_eq!(lab.met().mac, None, "the registry knows better");
    assert!(lab.from(H1, OTHER, Evidence::Packet));
}

#[test]
fn p10_a_leased_address_is_its_clients_alone() {
    const LEASED: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 77);
    let client = [2, 0, 0, 7, 7, 7];
    let host = || Some(LeasedHost { mac: Some(client), label: None });
    let mut lab = lab();
    assert!(lab.from(LEASED, OTHER, Evidence::Packet), "nobody's yet");
    lab.nodes[0].gateway.set_leased(LEASED.into(), host());
    assert!(lab.from(LEASED, client, Evidence::Arp) && !lab.from(LEASED, OTHER, Evidence::Arp));
    assert!(lab.logged(0, "leased address from another mac refused", "02:00:00:09:09:09"));
    assert_eq!(lab.macs()[MacEvent::Refused as usize], 1);
    lab.nodes[0].gateway.set_leased(LEASED.into(), None);
    assert!(lab.from(LEASED, OTHER, Evidence::Packet));
    // What the registry says of a host's address is not changed by a lease.
    lab.nodes[0].gateway.set_leased(H1.into(), host());
    assert!(lab.from(H1, host_mac(H1), Evidence::Arp));
    let mut lab = with(MacPolicy::Alarm, &lab::realm("a.demo"));
    lab.nodes[0].gateway.set_leased(LEASED.into(), host());
    assert!(lab.from(LEASED, OTHER, Evidence::Arp));
    assert_eq!(lab.macs()[MacEvent::Told as usize], 1);
}
