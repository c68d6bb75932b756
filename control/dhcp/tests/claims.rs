//! What other stations say in a client's name (P10): they get nothing of it while the client answers.

mod lab;

use ces_dhcp::{DhcpHost, DhcpNotice, LeaseState, MILLISECOND, Outcome, SECOND, Whose};
use dhcproto::v4::MessageType;
use lab::{Lab, Say, at, mac, settings};
use std::net::Ipv4Addr;

const NAME: &[u8] = &[255, 0, 0, 0, 1];
/// Three questions, each waited for.
const PATIENCE: u64 = 900 * MILLISECOND;

/// A client with an identifier has an address, and owners can be asked.
fn lab() -> (Lab, Ipv4Addr) {
    let mut settings = settings();
    settings.probe_ms = 300;
    let mut lab = Lab::new(settings);
    let address = lease(&mut lab, 1);
    (lab, address)
}

/// With the identifier, until it has an address.
#[track_caller]
fn lease(lab: &mut Lab, client: u8) -> Ipv4Addr {
    let mut offers = lab.say(&Say::discover(client).identifier(NAME));
    offers.extend(lab.wait(PATIENCE + 300 * MILLISECOND));
    assert_eq!(offers.len(), 1, "{offers:?}");
    let offered = offers[0].yiaddr();
    let given = lab.answer(&Say::select(client, offered).identifier(NAME));
    assert_eq!((given.kind(), given.yiaddr()), (MessageType::Ack, offered));
    lab.notices.clear();
    lab.probes.clear();
    offered
}

#[track_caller]
fn still_has(lab: &Lab, address: Ipv4Addr, client: u8) {
    let lease = lab.server.book().at(address).unwrap();
    assert_eq!((lease.state, lease.mac), (LeaseState::Bound, mac(client)));
    assert_eq!(lab.hosts.get(&address), Some(&DhcpHost { mac: Some(mac(client)), name: None }));
}

#[test]
fn p10_nobody_gives_back_anothers_address() {
    let (mut lab, address) = lab();
    let stranger = DhcpNotice::Stranger { address, owner: mac(1), mac: mac(66) };
    for said in [
        Say::release(66, address).identifier(NAME),
        Say::release(66, address).identifier(NAME).server([192, 0, 2, 9].into()),
        Say::decline(66, address).identifier(NAME),
        // With the client's hardware address, too: the frame has another.
        Say::release(1, address).station(mac(66)),
        Say::decline(1, address).identifier(NAME).station(mac(66)),
    ] {
        assert!(lab.say(&said).is_empty());
        still_has(&lab, address, 1);
        assert_eq!(lab.notices.pop(), Some(stranger.clone()));
    }
    lab.counted(Outcome::Stranger, 5);
    lab.say(&Say::release(1, address).identifier(NAME));
    lab.counted(Outcome::Released, 1);
}

#[test]
fn p10_an_owner_that_answers_keeps_its_lease() {
    let (mut lab, address) = lab();
    for said in [
        Say::reboot(66, address),
        Say::renew(66, address),
        Say::rebind(66, address),
        Say::select(66, address),
    ] {
        assert!(lab.say(&said.identifier(NAME)).is_empty(), "the owner is asked");
        assert_eq!(lab.probes.pop(), Some(address));
        // The stranger's own answer is none.
        lab.server.handle_seen(address, mac(66), lab.now);
        assert!(lab.hear().is_empty());
        lab.server.handle_seen(address, mac(1), lab.now);
        let heard = lab.hear();
        assert_eq!((heard.len(), heard[0].kind()), (1, MessageType::Nak));
        still_has(&lab, address, 1);
        assert_eq!(lab.notices.pop(), Some(DhcpNotice::Stranger { address, owner: mac(1), mac: mac(66) }));
    }
    lab.counted(Outcome::NakStranger, 4);
    assert!(lab.wait(10 * SECOND).is_empty());
    still_has(&lab, address, 1);
}

/// Two clones of one machine.
#[test]
fn p10_who_has_anothers_identifier_gets_an_address_of_its_own() {
    let (mut lab, address) = lab();
    assert!(lab.say(&Say::discover(66).identifier(NAME)).is_empty());
    lab.server.handle_seen(address, mac(1), lab.now);
    assert!(lab.hear().is_empty(), "the other address is probed");
    let offers = lab.wait(300 * MILLISECOND);
    let own = offers[0].yiaddr();
    assert_ne!(own, address);
    assert_eq!(lab.answer(&Say::select(66, own).identifier(NAME)).kind(), MessageType::Ack);
    lab.counted(Outcome::OfferedApart, 1);
    lab.probes.clear();
    // Each goes on with its own, and nobody is asked any more.
    for (client, address) in [(66, own), (1, address), (66, own)] {
        let renewed = lab.answer(&Say::renew(client, address).identifier(NAME));
        assert_eq!((renewed.kind(), renewed.yiaddr()), (MessageType::Ack, address));
        still_has(&lab, address, client);
    }
    assert!(lab.probes.is_empty());
    lab.write(true);
    lab.restart(0);
    lab.hear();
    assert_eq!(lab.answer(&Say::renew(66, own).identifier(NAME)).kind(), MessageType::Ack);
    lab.say(&Say::release(66, own).identifier(NAME));
    assert_eq!(lab.server.book().at(own).unwrap().state, LeaseState::Past);
    still_has(&lab, address, 1);
}

/// A laptop from the cable to the air, a virtual machine that was started again, a random hardware address.
#[test]
fn p10_who_has_moved_keeps_its_address() {
    for discovers in [true, false] {
        let (mut lab, address) = lab();
        if discovers {
            assert_eq!(lease(&mut lab, 2), address);
        } else {
            assert!(lab.say(&Say::reboot(2, address).identifier(NAME)).is_empty());
            assert!(lab.wait(PATIENCE - 1).is_empty());
            assert_eq!(lab.probes, [address; 3], "one lost frame ends no lease");
            let given = lab.wait(1);
            assert_eq!((given[0].kind(), given[0].yiaddr()), (MessageType::Ack, address));
            assert!(lab.notices.contains(&DhcpNotice::Moved { address, owner: mac(1), mac: mac(2) }));
        }
        still_has(&lab, address, 2);
        assert_eq!(lab.server.counters().moved, 1);
    }
}

#[test]
fn p10_what_the_owner_says_meanwhile_counts() {
    let sayings: [fn(Ipv4Addr) -> Say; 2] = [|_| Say::discover(1), |address| Say::rebind(1, address)];
    for said in sayings {
        let (mut lab, address) = lab();
        let said = said(address).identifier(NAME);
        assert!(lab.say(&Say::reboot(66, address).identifier(NAME)).is_empty());
        assert!(
            lab.say(&Say::reboot(67, address).identifier(NAME)).is_empty(),
            "one is asked about at a time"
        );
        lab.counted(Outcome::Probing, 1);
        let kinds: Vec<_> = lab.say(&said).iter().map(lab::Heard::kind).collect();
        assert!(
            kinds.len() == 2 && kinds[0] == MessageType::Nak && kinds[1] != MessageType::Nak,
            "{kinds:?}"
        );
        assert!(lab.wait(2 * SECOND).is_empty());
        still_has(&lab, address, 1);
    }
}

/// Then it cannot be told from the client: nothing is answered, and its frames do not make the address anybody's.
#[test]
fn p10_the_clients_hardware_address_in_anothers_frame() {
    let (mut lab, address) = lab();
    for said in [Say::discover(1), Say::reboot(1, address), Say::renew(1, address)] {
        assert!(lab.say(&said.identifier(NAME).station(mac(66))).is_empty());
        lab.server.handle_seen(address, mac(1), lab.now);
        assert!(lab.hear().is_empty());
        still_has(&lab, address, 1);
    }
    lab.counted(Outcome::Stranger, 3);
    // The same of an address that is reserved by it.
    lab.answer(&Say::select(50, at(50)));
    assert!(lab.say(&Say::renew(50, at(50)).station(mac(66))).is_empty());
    lab.server.handle_seen(at(50), mac(50), lab.now);
    assert!(lab.hear().is_empty());
    still_has(&lab, at(50), 50);
    // Behind a station that speaks for it from now on it is silent here.
    assert!(lab.say(&Say::reboot(1, address).identifier(NAME).station(mac(70))).is_empty());
    lab.server.handle_seen(address, mac(70), lab.now);
    assert_eq!(lab.wait(PATIENCE)[0].kind(), MessageType::Ack);
    assert_eq!(lab.hosts[&address].mac, None);
    assert_eq!(
        lab.answer(&Say::renew(1, address).identifier(NAME).station(mac(70))).kind(),
        MessageType::Ack
    );
}

/// Nor does a relay that nobody has set up help.
#[test]
fn p10_a_made_up_relay_moves_no_lease() {
    let (mut lab, address) = lab();
    for client in [1, 66] {
        let said = Say::reboot(client, address).identifier(NAME).relayed(&[5, 4, 192, 168, 10, 0]);
        assert!(lab.say(&said).is_empty());
        lab.server.handle_seen(address, mac(1), lab.now);
        assert!(lab.hear().iter().all(|heard| heard.kind() == MessageType::Nak));
        still_has(&lab, address, 1);
    }
}

/// RFC 4361 §4: the identifier counts, not the hardware; what a relay says cannot be asked about.
#[test]
fn p10_behind_a_relay_the_identifier_counts() {
    let mut lab = Lab::new(settings());
    let far = |said: Say| said.identifier(NAME).relayed(&[1, 1, 7]);
    let address = lab.answer(&far(Say::discover(1))).yiaddr();
    lab.answer(&far(Say::select(1, address)));
    assert_eq!(lab.answer(&far(Say::reboot(2, address))).kind(), MessageType::Ack);
    // Renewed past the relay, by the router.
    assert_eq!(
        lab.answer(&Say::renew(2, address).identifier(NAME).station(mac(200))).kind(),
        MessageType::Ack
    );
    lab.say(&Say::release(66, address).identifier(NAME));
    lab.counted(Outcome::Stranger, 1);
    assert_eq!(lab.answer(&Say::renew(66, address).identifier(NAME)).kind(), MessageType::Nak);
    lab.say(&Say::release(2, address).identifier(NAME).station(mac(200)));
    lab.counted(Outcome::Released, 1);
}

#[test]
fn p10_where_nobody_is_asked_the_owner_is_there() {
    let mut lab = Lab::new(settings());
    let address = lease(&mut lab, 1);
    let own = lease(&mut lab, 66);
    assert_ne!(own, address);
    still_has(&lab, address, 1);
}

#[test]
fn p10_by_the_policies_that_refuse_nothing_the_identifier_counts() {
    let mut settings = settings();
    settings.are_owners_asked = false;
    let mut lab = Lab::new(settings);
    let address = lease(&mut lab, 1);
    assert_eq!(lease(&mut lab, 66), address);
    lab.say(&Say::release(67, address).identifier(NAME));
    lab.counted(Outcome::Released, 1);
}

#[test]
fn p10_an_address_reserved_by_identifier_is_one_stations_at_a_time() {
    let mut settings = settings();
    settings.probe_ms = 300;
    settings.reservations[0].whose = Whose::Identifier(NAME.into());
    let mut lab = Lab::new(settings);
    assert_eq!(lease(&mut lab, 1), at(50));
    assert!(lab.say(&Say::discover(66).identifier(NAME)).is_empty());
    lab.server.handle_seen(at(50), mac(1), lab.now);
    assert_ne!(lab.wait(SECOND)[0].yiaddr(), at(50));
    still_has(&lab, at(50), 1);
    assert_eq!(lease(&mut lab, 2), at(50), "it has moved");
}

#[test]
fn p10_a_lease_that_ends_meanwhile_is_whoevers_comes() {
    let (mut lab, address) = lab();
    lab.wait(u64::from(lab::LEASE_S) * SECOND - 100 * MILLISECOND);
    assert!(lab.say(&Say::reboot(66, address).identifier(NAME)).is_empty());
    let given = lab.wait(PATIENCE);
    assert_eq!((given.len(), given[0].kind()), (1, MessageType::Ack));
    assert_eq!(lab.server.counters().moved, 0);
    assert_eq!(lab.server.under_way(), (0, 0));
}

/// What the registry gives to another meanwhile is that one's at once, as before: nobody's name is used.
#[test]
fn p10_a_new_reservation_asks_no_owner() {
    let (mut lab, address) = lab();
    let mut other = settings();
    other.probe_ms = 300;
    (other.reservations[0].address, other.reservations[0].whose) = (address, Whose::Hardware(mac(9)));
    lab.server.configure(other);
    assert_eq!(lab.answer(&Say::discover(9)).yiaddr(), address);
    lab.counted(Outcome::Stranger, 0);
    assert_eq!(lab.answer(&Say::renew(1, address).identifier(NAME)).kind(), MessageType::Nak);
}
