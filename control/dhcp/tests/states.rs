//! What clients say in each state, and what they get (RFC 2131 §4.3, RFC 2132, 3046, 3442, 6842; ../shared cases by name).

mod lab;

use ces_dhcp::reply::{CLIENT_PORT, SERVER_PORT};
use ces_dhcp::{DhcpHost, DhcpNotice, LeaseState, MILLISECOND, Outcome, SECOND, Whose};
use dhcproto::v4::{DhcpOption, MessageType};
use lab::{GATEWAY, LEASE_S, Lab, NONE, RELAY, Say, at, mac, settings};
use std::net::{Ipv4Addr, SocketAddrV4};

#[test]
fn rfc_2131_3_1_four_messages_lease_an_address() {
    let mut lab = Lab::new(settings());
    let offer = lab.answer(&Say::discover(1));
    assert_eq!(offer.kind(), MessageType::Offer);
    assert_eq!(offer.option(54), Some(&DhcpOption::ServerIdentifier(GATEWAY)));
    assert_eq!(offer.option(51), Some(&DhcpOption::AddressLeaseTime(LEASE_S)));
    assert_eq!(offer.option(58), Some(&DhcpOption::Renewal(300)));
    assert_eq!(offer.option(59), Some(&DhcpOption::Rebinding(525)));
    assert_eq!(offer.option(1), Some(&DhcpOption::SubnetMask([255, 255, 255, 0].into())));
    assert_eq!(offer.option(3), Some(&DhcpOption::Router(vec![GATEWAY])));
    assert_eq!(offer.option(6), Some(&DhcpOption::DomainNameServer(vec![GATEWAY])));
    assert_eq!(offer.option(15), Some(&DhcpOption::DomainName("a.demo".into())));
    assert!(offer.reply.bytes.len() >= 300, "RFC 1542 §2.1");
    // To the client alone, which has no address yet: by its hardware address.
    assert_eq!((offer.reply.mac, offer.reply.source), (mac(1), GATEWAY));
    assert_eq!(offer.reply.to, SocketAddrV4::new(offer.yiaddr(), CLIENT_PORT));
    let ack = lab.answer(&Say::select(1, offer.yiaddr()));
    assert_eq!((ack.kind(), ack.yiaddr()), (MessageType::Ack, offer.yiaddr()));
    let lease = lab.server.book().at(offer.yiaddr()).unwrap();
    assert_eq!((lease.state, lease.mac), (LeaseState::Bound, mac(1)));
    assert_ne!(lab.lease(2), offer.yiaddr(), "another client, another address");
    assert_eq!(lab.server.counters().total(), 4, "each message once");
}

#[test]
fn rfc_2131_4_1_who_hears_only_broadcasts_gets_them() {
    let mut lab = Lab::new(settings());
    let offer = lab.answer(&Say::discover(1).broadcast());
    assert_eq!((offer.reply.mac, *offer.reply.to.ip()), ([0xff; 6], Ipv4Addr::BROADCAST));
    assert!(offer.message.flags().broadcast());
}

#[test]
fn rfc_2132_9_8_only_what_is_asked_for_is_told() {
    let mut lab = Lab::new(settings());
    let offer = lab.answer(&Say::discover(1).parameters(&[6, 42]));
    assert_eq!(offer.codes(), [1, 6, 51, 53, 54, 58, 59]);
}

#[test]
fn rfc_2131_4_3_2_renewing_and_rebinding_go_on_with_the_lease() {
    let mut lab = Lab::new(settings());
    let address = lab.lease(1);
    lab.wait(300 * SECOND);
    let renewed = lab.answer(&Say::renew(1, address));
    assert_eq!(
        (renewed.kind(), renewed.yiaddr(), renewed.message.ciaddr()),
        (MessageType::Ack, address, address)
    );
    assert_eq!(*renewed.reply.to.ip(), address);
    lab.wait(525 * SECOND);
    assert_eq!(lab.answer(&Say::rebind(1, address)).kind(), MessageType::Ack);
    lab.wait(599 * SECOND);
    assert_eq!(lab.server.book().at(address).unwrap().state, LeaseState::Bound);
    lab.wait(SECOND);
    assert_eq!(lab.server.book().at(address).unwrap().state, LeaseState::Past);
    assert_eq!(lab.server.counters().expired, 1);
    lab.counted(Outcome::Renewed, 1);
    lab.counted(Outcome::Rebound, 1);
    assert_eq!(lab.lease(1), address, "it comes back to the same");
}

#[test]
fn rfc_2131_4_3_2_a_client_that_starts_again_keeps_its_address() {
    let mut lab = Lab::new(settings());
    let address = lab.lease(1);
    assert_eq!(lab.answer(&Say::reboot(1, address)).kind(), MessageType::Ack);
    // Another client asks for it, which has none or another.
    assert_eq!(lab.answer(&Say::reboot(2, address)).kind(), MessageType::Nak);
    let other = lab.lease(2);
    assert_eq!(lab.answer(&Say::reboot(2, address)).kind(), MessageType::Nak);
    assert_eq!(lab.answer(&Say::renew(2, address)).kind(), MessageType::Nak);
    assert_eq!(lab.answer(&Say::select(2, address)).kind(), MessageType::Nak);
    lab.counted(Outcome::NakTaken, 4);
    let free = (100..104).map(at).find(|free| ![address, other].contains(free)).unwrap();
    assert_eq!(lab.answer(&Say::reboot(2, free)).kind(), MessageType::Nak, "its own is another");
    lab.counted(Outcome::NakAddress, 1);
    // Nothing is known of that one, and the address is nobody's: silence.
    assert!(lab.say(&Say::reboot(3, free)).is_empty());
    lab.counted(Outcome::UnknownClient, 1);
    assert!(lab.say(&Say::new(MessageType::Request, 3)).is_empty());
    lab.counted(Outcome::NoAddress, 1);
}

/// Case 14: to everybody, through a relay to the relay with the broadcast bit, and nothing else in it.
#[test]
fn case_14_how_a_nak_looks() {
    let mut lab = Lab::new(settings());
    let wrong = || Say::reboot(1, [10, 9, 9, 9].into()).identifier(&[255, 1, 2, 3]).has(NONE);
    let nak = lab.answer(&wrong());
    assert_eq!(
        (nak.reply.mac, nak.reply.to),
        ([0xff; 6], SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT))
    );
    assert_eq!(nak.codes(), [53, 54, 56, 61]);
    let relayed = lab.answer(&wrong().relayed(&[1, 2, 0, 7]));
    assert_eq!(relayed.reply.to, SocketAddrV4::new(RELAY, SERVER_PORT));
    assert!(relayed.message.flags().broadcast());
    assert_eq!(relayed.codes(), [53, 54, 56, 61, 82]);
    for nak in [nak, relayed] {
        assert_eq!(nak.kind(), MessageType::Nak);
        let message = &nak.message;
        assert_eq!([message.ciaddr(), message.yiaddr(), message.siaddr()], [NONE; 3]);
        assert_eq!(message.chaddr(), mac(1));
        assert_eq!(nak.option(61), Some(&DhcpOption::ClientIdentifier(vec![255, 1, 2, 3])));
    }
    lab.counted(Outcome::NakNetwork, 2);
}

/// Case 11: the next offer is another address, and the declined one comes back after a while.
#[test]
fn case_11_a_declined_address() {
    let mut lab = Lab::new(settings());
    let address = lab.lease(1);
    // Of an address that it does not have: nothing changes.
    assert!(lab.say(&Say::decline(2, address)).is_empty());
    assert!(lab.say(&Say::decline(1, at(102))).is_empty() || address == at(102));
    assert!(lab.say(&Say::decline(1, address).server([192, 0, 2, 1].into())).is_empty());
    lab.counted(Outcome::DeclineIgnored, 3);
    assert_eq!(lab.server.book().at(address).unwrap().state, LeaseState::Bound);
    lab.notices.clear();
    assert!(lab.say(&Say::decline(1, address)).is_empty());
    assert_eq!(lab.notices, [DhcpNotice::Declined { address, mac: mac(1) }]);
    let others: Vec<_> = (1..4).map(|client| lab.lease(client)).collect();
    assert!(!others.contains(&address));
    assert!(lab.say(&Say::discover(4)).is_empty(), "the last one is nobody's");
    lab.counted(Outcome::Exhausted, 1);
    lab.wait(300 * SECOND);
    assert_eq!(lab.lease(4), address);
}

#[test]
fn rfc_2131_4_3_4_a_released_address_is_free_and_still_its_clients() {
    let mut lab = Lab::new(settings());
    let address = lab.lease(1);
    assert!(lab.say(&Say::release(2, address)).is_empty());
    lab.counted(Outcome::ReleaseIgnored, 1);
    assert!(lab.say(&Say::release(1, address)).is_empty());
    assert_eq!(lab.server.book().at(address).unwrap().state, LeaseState::Past);
    let others: Vec<_> = (2..5).map(|client| lab.lease(client)).collect();
    assert!(!others.contains(&address), "others get what nobody has had");
    assert_eq!(lab.lease(5), address, "as long as there is any");
    assert_eq!(lab.answer(&Say::rebind(1, address)).kind(), MessageType::Nak);
    // With an identifier when it asks, and without when it gives back.
    let mut lab = Lab::new(settings());
    let address = lab.answer(&Say::discover(1).identifier(&[1, 9])).yiaddr();
    lab.answer(&Say::select(1, address).identifier(&[1, 9]));
    assert!(lab.say(&Say::release(1, address)).is_empty());
    lab.counted(Outcome::Released, 1);
}

#[test]
fn rfc_2131_4_3_5_inform_is_told_and_leases_nothing() {
    let mut lab = Lab::new(settings());
    let inform = Say::new(MessageType::Inform, 1).has(at(9)).unicast();
    let ack = lab.answer(&inform);
    assert_eq!((ack.kind(), ack.yiaddr(), *ack.reply.to.ip()), (MessageType::Ack, NONE, at(9)));
    assert!(ack.option(6).is_some() && [51, 58, 59].iter().all(|code| ack.option(*code).is_none()));
    assert_eq!(lab.server.book().leases().count(), 0);
    assert!(lab.say(&Say::new(MessageType::Inform, 1)).is_empty());
    lab.counted(Outcome::InformIgnored, 1);
}

#[test]
fn rfc_2131_3_1_another_servers_offer_frees_ours() {
    let mut lab = Lab::new(settings());
    let address = lab.answer(&Say::discover(1)).yiaddr();
    assert!(lab.say(&Say::select(1, at(7)).server(at(2))).is_empty());
    assert!(lab.server.book().at(address).is_none());
    lab.counted(Outcome::OtherServer, 1);
}

#[test]
fn an_offer_holds_for_a_while_and_for_one_client() {
    let mut lab = Lab::new(settings());
    let offered: Vec<_> = (1..5).map(|client| lab.answer(&Say::discover(client)).yiaddr()).collect();
    assert_eq!(lab.answer(&Say::discover(1)).yiaddr(), offered[0], "asked again, the same");
    assert!(lab.say(&Say::discover(5)).is_empty());
    lab.wait(11 * SECOND);
    assert!(offered.contains(&lab.lease(5)));
}

#[test]
fn rfc_6842_identifiers_are_echoed_and_tell_clients_apart() {
    let mut lab = Lab::new(settings());
    let one = lab.answer(&Say::discover(1).identifier(&[255, 0, 0, 0, 1])).yiaddr();
    let offer = lab.answer(&Say::discover(1).identifier(&[255, 0, 0, 0, 2]));
    assert_ne!(offer.yiaddr(), one);
    assert_eq!(offer.option(61), Some(&DhcpOption::ClientIdentifier(vec![255, 0, 0, 0, 2])));
    // RFC 4361 §4: it is the identifier that counts, not the hardware.
    assert_eq!(lab.answer(&Say::discover(9).identifier(&[255, 0, 0, 0, 1])).yiaddr(), one);
}

#[test]
fn rfc_3046_a_relays_word_comes_back_and_its_clients_get_addresses_of_their_network() {
    let mut lab = Lab::new(settings());
    let information = [1, 3, b'e', b't', b'h', 200, 1, 9];
    let offer = lab.answer(&Say::discover(1).relayed(&information));
    assert_eq!(offer.yiaddr().octets()[..3], [192, 168, 20]);
    assert_eq!((offer.reply.to, offer.reply.mac), (SocketAddrV4::new(RELAY, SERVER_PORT), mac(200)));
    assert_eq!(offer.message.giaddr(), RELAY);
    let tail = [&[82, information.len() as u8][..], &information, &[255]].concat();
    let end = offer.reply.bytes.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(offer.reply.bytes[..=end].ends_with(&tail), "as it came, and last");
    // RFC 3527: the link that the relay names.
    let named = lab.answer(&Say::discover(1).relayed(&[5, 4, 192, 168, 10, 0]));
    assert_eq!(named.yiaddr().octets()[..3], [192, 168, 10]);
    assert!(lab.say(&Say::discover(1).relayed(&[5, 4, 10, 0, 0, 0])).is_empty());
    lab.counted(Outcome::NoSubnet, 1);
}

#[test]
fn rfc_3442_routes_come_with_the_default_route() {
    let mut settings = settings();
    let to = "10.0.0.0/8".parse().unwrap();
    settings.subnets[0].given.routes = vec![(to, at(2))];
    let offer = Lab::new(settings).answer(&Say::discover(1));
    let default = "0.0.0.0/0".parse().unwrap();
    assert_eq!(
        offer.option(121),
        Some(&DhcpOption::ClasslessStaticRoute(vec![(to, at(2)), (default, GATEWAY)]))
    );
}

#[test]
fn what_else_hosts_are_told() {
    let mut settings = settings();
    let given = &mut settings.subnets[0].given;
    given.ntp = vec![at(3)];
    given.mtu = Some(1400);
    given.captive_portal = Some("https://portal.a.demo/api".into());
    given.boot_server = Some(at(4));
    given.boot_server_name = Some("boot.a.demo".into());
    given.boot_file = Some("pxelinux.0".into());
    let offer = Lab::new(settings).answer(&Say::discover(50));
    assert_eq!(offer.option(42), Some(&DhcpOption::NtpServers(vec![at(3)])));
    assert_eq!(offer.option(26), Some(&DhcpOption::InterfaceMtu(1400)));
    assert_eq!(offer.option(114), Some(&DhcpOption::CaptivePortal("https://portal.a.demo/api".into())));
    assert_eq!(offer.message.siaddr(), at(4));
    assert!(
        offer.reply.bytes[44..].starts_with(b"boot.a.demo\0")
            && offer.reply.bytes[108..].starts_with(b"pxelinux.0\0")
    );
    assert_eq!(offer.option(66), Some(&DhcpOption::TFTPServerName(b"boot.a.demo".to_vec())));
    assert_eq!(offer.option(67), Some(&DhcpOption::BootfileName(b"pxelinux.0".to_vec())));
    assert_eq!(offer.option(12), Some(&DhcpOption::Hostname("printer".into())));
}

#[test]
fn a_message_is_never_longer_than_its_client_takes() {
    let mut settings = settings();
    settings.subnets[0].given.ntp = (0..60).map(at).collect();
    settings.subnets[0].given.captive_portal = Some("p".repeat(200));
    let mut lab = Lab::new(settings);
    let short = lab.answer(&Say::discover(1));
    assert!(short.reply.bytes.len() <= 548 && short.option(6).is_some() && short.option(114).is_none());
    let long = lab.answer(&Say::discover(1).option(DhcpOption::MaxMessageSize(1500)));
    assert!(long.reply.bytes.len() > 548 && long.option(114).is_some());
}

#[test]
fn a_reserved_address_is_its_owners_alone() {
    let mut settings = settings();
    settings.reservations[0].address = at(100);
    let mut lab = Lab::new(settings.clone());
    assert_eq!(lab.lease(50), at(100));
    // Firmware and system of one machine.
    let system = || Say::discover(50).identifier(&[255, 9, 9]);
    assert_eq!(lab.answer(&system()).yiaddr(), at(100));
    assert_eq!(lab.answer(&Say::select(50, at(100)).identifier(&[255, 9, 9])).kind(), MessageType::Ack);
    let others: Vec<_> = (1..4).map(|client| lab.lease(client)).collect();
    assert!(!others.contains(&at(100)));
    assert_eq!(lab.answer(&Say::select(4, at(100))).kind(), MessageType::Nak);
    // By identifier.
    settings.reservations[0].whose = Whose::Identifier([255, 1, 2].into());
    let mut lab = Lab::new(settings.clone());
    assert_eq!(lab.answer(&Say::discover(9).identifier(&[255, 1, 2])).yiaddr(), at(100));
    assert_ne!(lab.lease(50), at(100));
    // A host's that does not ask.
    settings.reservations[0].whose = Whose::Nobodys;
    let mut lab = Lab::new(settings);
    assert!((1..4).all(|client| lab.lease(client) != at(100)));
    assert_eq!(lab.answer(&Say::reboot(1, at(100))).kind(), MessageType::Nak);
}

#[test]
fn who_is_given_another_address_by_the_registry_moves_at_the_next_renewal() {
    let mut lab = Lab::new(settings());
    let address = lab.lease(1);
    let mut other = settings();
    other.reservations[0].whose = Whose::Hardware(mac(1));
    lab.server.configure(other);
    assert_eq!(lab.answer(&Say::renew(1, address)).kind(), MessageType::Nak);
    lab.write(true);
    assert_eq!(lab.lease(1), at(50));
    assert!(lab.server.book().at(address).is_none());
    lab.write(true);
    assert!(lab.disk.iter().any(|record| record.address == address && record.holder.is_none()));
}

#[test]
fn rfc_2131_2_2_an_address_is_probed_before_it_is_offered() {
    let mut settings = settings();
    settings.probe_ms = 300;
    let mut lab = Lab::new(settings);
    assert!(lab.say(&Say::discover(1)).is_empty());
    let first = lab.probes[0];
    assert!(lab.say(&Say::discover(1)).is_empty(), "asked again meanwhile");
    lab.counted(Outcome::Probing, 1);
    // It is the client's own.
    lab.server.handle_seen(first, mac(1), lab.now);
    assert!(lab.hear().is_empty() && lab.probes.len() == 1);
    // Somebody has it.
    lab.server.handle_seen(first, mac(99), lab.now);
    assert!(lab.hear().is_empty());
    assert!(lab.notices.contains(&DhcpNotice::InUse { address: first, mac: mac(99) }));
    let second = lab.probes[1];
    assert_ne!(second, first);
    let offered = lab.wait(300 * MILLISECOND);
    assert_eq!((offered.len(), offered[0].yiaddr()), (1, second));
    assert_eq!(lab.answer(&Say::select(1, second)).kind(), MessageType::Ack);
    assert_eq!(lab.answer(&Say::discover(1)).yiaddr(), second, "its own is not probed");
    assert_eq!(lab.server.counters().probes, 2);
    // All that are left are in use.
    assert!(lab.say(&Say::discover(2)).is_empty());
    while let Some(address) = lab.probes.get(2).copied() {
        lab.probes.remove(2);
        lab.server.handle_seen(address, mac(99), lab.now);
        assert!(lab.hear().is_empty());
    }
    lab.counted(Outcome::Exhausted, 1);
    assert_eq!(lab.server.counters().total(), 5);
}

#[test]
fn a_lease_is_acknowledged_when_it_is_written_down() {
    let mut settings = settings();
    settings.is_written = true;
    let mut lab = Lab::new(settings);
    let address = lab.answer(&Say::discover(1)).yiaddr();
    assert!(lab.say(&Say::select(1, address)).is_empty());
    assert!(lab.write(false).is_empty(), "the disk is full");
    lab.counted(Outcome::Unwritten, 1);
    assert!(lab.say(&Say::select(1, address)).is_empty());
    let given = lab.write(true);
    assert_eq!((given.len(), given[0].kind(), given[0].yiaddr()), (1, MessageType::Ack, address));
    lab.restart(0);
    assert_ne!(lab.answer(&Say::discover(2)).yiaddr(), address);
    assert!(lab.say(&Say::renew(1, address)).is_empty());
    assert_eq!(lab.write(true)[0].kind(), MessageType::Ack);
}

#[test]
fn one_station_does_not_get_all_addresses_nor_ask_for_ever() {
    let mut settings = settings();
    (settings.station_leases, settings.client_rate) = (2, 10);
    let mut lab = Lab::new(settings);
    let from = |client| Say::discover(client).station(mac(66));
    assert_eq!(lab.say(&Say::discover(50).station(mac(66))).len(), 1, "what is reserved does not count");
    for client in [1, 2] {
        assert_eq!(lab.say(&from(client)).len(), 1);
    }
    assert!(lab.say(&from(3)).is_empty());
    lab.counted(Outcome::StationLimit, 1);
    assert_eq!(lab.say(&Say::discover(50).station(mac(66))).len(), 1, "what is reserved does not count");
    let line = |client, line| Say::discover(client).relayed(&[1, 1, line]);
    for client in [1, 2] {
        assert_eq!(lab.say(&line(client, 5)).len(), 1);
    }
    assert!(lab.say(&line(3, 5)).is_empty());
    assert_eq!(lab.say(&line(3, 6)).len(), 1, "another line of the relay");
    for _ in 0..30 {
        lab.say(&from(1));
    }
    assert!(lab.server.counters().value(Outcome::RateClient) >= 10);
    assert_eq!(lab.say(&Say::discover(4)).len(), 1, "another station");
}

#[test]
fn a_foreign_server_is_told() {
    let mut lab = Lab::new(settings());
    let mut answer = Say::new(MessageType::Offer, 1).server(at(9)).bytes();
    answer[0] = 2;
    let arrival = ces_dhcp::DhcpArrival { port: 0, mac: mac(9), source: at(9), to: None };
    lab.server.handle(&arrival, &answer, lab.now);
    lab.hear();
    assert_eq!(lab.notices, [DhcpNotice::ForeignServer { port: 0, server: Some(at(9)), mac: mac(9) }]);
    lab.counted(Outcome::ForeignServer, 1);
}

#[test]
fn pools_of_several_subnets_on_one_link_are_one() {
    let mut settings = settings();
    settings.subnets[1].link = Some((0, RELAY));
    let mut lab = Lab::new(settings);
    let all: std::collections::BTreeSet<_> = (1..9)
        .map(|client| {
            let offer = lab.answer(&Say::discover(client));
            let server = if offer.yiaddr().octets()[2] == 10 { GATEWAY } else { RELAY };
            assert_eq!(offer.reply.source, server);
            offer.yiaddr()
        })
        .collect();
    assert_eq!(all.len(), 8);
}

#[test]
fn who_has_an_address_is_told_with_its_name_as_long_as_the_lease_holds() {
    let mut lab = Lab::new(settings());
    let named = |client| Say::discover(client).option(DhcpOption::Hostname("Laptop".into()));
    let address = lab.answer(&named(1)).yiaddr();
    assert!(lab.hosts.is_empty(), "an offer is nobody's yet");
    lab.answer(&Say::select(1, address).option(DhcpOption::Hostname("Laptop".into())));
    let host = DhcpHost { mac: Some(mac(1)), name: Some("laptop".into()) };
    assert_eq!(lab.hosts.get(&address), Some(&host));
    // Behind a relay its frames come from there.
    let far = lab.answer(&Say::discover(2).relayed(&[1, 1, 1])).yiaddr();
    lab.answer(&Say::select(2, far).relayed(&[1, 1, 1]));
    assert_eq!(lab.hosts.get(&far), Some(&DhcpHost { mac: None, name: None }));
    // The next process knows it as well.
    lab.write(true);
    lab.hosts.clear();
    lab.restart(0);
    lab.hear();
    assert_eq!(lab.hosts.get(&address), Some(&host));
    let mut nameless = settings();
    nameless.names = false;
    lab.server.configure(nameless);
    lab.hear();
    assert_eq!(lab.hosts[&address].name, None);
    lab.say(&Say::release(1, address));
    lab.wait(600 * SECOND);
    assert!(lab.hosts.is_empty());
}
