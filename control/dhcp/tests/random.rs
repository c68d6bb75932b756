//! Whatever clients say in whatever order, whatever the disk does and however often the process starts again: no address has two
//! live clients.

mod lab;

use ces_dhcp::{Nanos, SECOND};
use dhcproto::v4::MessageType;
use lab::{Heard, LEASE_S, Lab, Say, at, mac, settings};
use proptest::prelude::*;
use std::net::Ipv4Addr;

const CLIENTS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    Discover(u8),
    Select(u8),
    Renew(u8),
    Rebind(u8),
    /// It asks for any address.
    Reboot(u8, u8),
    Decline(u8),
    Release(u8),
    /// A station that nobody knows answers for an address.
    Seen(u8),
    Wait(u64),
    Write(bool),
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS as u8;
    prop_oneof![
        4 => client.clone().prop_map(Step::Discover),
        4 => client.clone().prop_map(Step::Select),
        2 => client.clone().prop_map(Step::Renew),
        2 => client.clone().prop_map(Step::Rebind),
        2 => (client.clone(), 99u8..105).prop_map(|(client, address)| Step::Reboot(client, address)),
        1 => client.clone().prop_map(Step::Decline),
        1 => client.prop_map(Step::Release),
        1 => (100u8..104).prop_map(Step::Seen),
        3 => (1u64..400).prop_map(Step::Wait),
        6 => prop::bool::weighted(0.8).prop_map(Step::Write),
        1 => (0usize..3).prop_map(Step::Restart),
    ]
}

/// What a client believes.
#[derive(Clone, Copy, Default)]
struct Client {
    offered: Option<Ipv4Addr>,
    has: Option<(Ipv4Addr, Nanos)>,
    /// When it sent its last request: its lease counts from there (RFC 2131 §4.4.1).
    asked: Nanos,
    /// The transaction that it is in: answers of others mean nothing to it.
    xid: u32,
}

struct World {
    lab: Lab,
    clients: [Client; CLIENTS],
    /// Whether all have the same identifier.
    are_clones: bool,
}

impl World {
    /// Who has an address answers for it.
    fn answer_probes(&mut self) {
        let now = self.lab.now;
        for address in std::mem::take(&mut self.lab.probes) {
            for number in 0..CLIENTS {
                if self.clients[number].has.is_some_and(|(own, until)| own == address && until > now) {
                    self.lab.server.handle_seen(address, mac(number as u8 + 1), now);
                }
            }
            let heard = self.lab.hear();
            self.hear(heard);
        }
    }

    fn hear(&mut self, all: Vec<Heard>) {
        for heard in all {
            let number = heard.message.chaddr()[5] as usize - 1;
            let client = &mut self.clients[number];
            if heard.message.xid() != client.xid {
                continue;
            }
            match heard.kind() {
                MessageType::Offer => client.offered = Some(heard.yiaddr()),
                MessageType::Nak => client.has = None,
                MessageType::Ack => {
                    client.has = Some((heard.yiaddr(), client.asked + u64::from(LEASE_S) * SECOND));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn ask(&mut self, client: u8, said: impl FnOnce(u8) -> Say) {
        let asking = &mut self.clients[usize::from(client)];
        (asking.asked, asking.xid) = (self.lab.now, asking.xid + 1);
        let said = said(client + 1).xid(asking.xid);
        let heard = self.lab.say(&if self.are_clones { said.identifier(&[255, 1]) } else { said });
        self.hear(heard);
    }

    fn step(&mut self, step: &Step) {
        let now = self.lab.now;
        let live = |world: &Self, client: u8| {
            world.clients[usize::from(client)]
                .has
                .filter(|(_, until)| *until > now)
                .map(|(address, _)| address)
        };
        match *step {
            Step::Discover(client) => {
                // Who asks anew uses nothing any more.
                self.clients[usize::from(client)].has = None;
                self.ask(client, Say::discover);
            }
            Step::Select(client) => {
                if let Some(address) = self.clients[usize::from(client)].offered.take() {
                    self.ask(client, |client| Say::select(client, address));
                }
            }
            Step::Renew(client) => {
                if let Some(address) = live(self, client) {
                    self.ask(client, |client| Say::renew(client, address));
                }
            }
            Step::Rebind(client) => {
                if let Some(address) = live(self, client) {
                    self.ask(client, |client| Say::rebind(client, address));
                }
            }
            Step::Reboot(client, address) => {
                self.clients[usize::from(client)].has = None;
                self.ask(client, |client| Say::reboot(client, at(address)));
            }
            Step::Decline(client) => {
                if let Some(address) = live(self, client) {
                    self.clients[usize::from(client)].has = None;
                    self.ask(client, |client| Say::decline(client, address));
                }
            }
            Step::Release(client) => {
                if let Some(address) = live(self, client) {
                    self.clients[usize::from(client)].has = None;
                    self.ask(client, |client| Say::release(client, address));
                }
            }
            Step::Seen(address) => {
                self.lab.server.handle_seen(at(address), mac(99), now);
                let heard = self.lab.hear();
                self.hear(heard);
            }
            Step::Wait(seconds) => {
                let until = now + seconds * SECOND;
                while self.lab.now < until {
                    let next = self.lab.server.poll_timeout().unwrap_or(until).clamp(self.lab.now, until);
                    let heard = self.lab.wait(next - self.lab.now);
                    self.hear(heard);
                    self.answer_probes();
                }
            }
            Step::Write(works) => {
                let heard = self.lab.write(works);
                self.hear(heard);
            }
            Step::Restart(written) => self.lab.restart(written),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let now = self.lab.now;
        let live = self.clients.iter().filter_map(|client| client.has).filter(|(_, until)| *until > now);
        let mut addresses: Vec<_> = live.map(|(address, _)| address).collect();
        let count = addresses.len();
        addresses.sort();
        addresses.dedup();
        prop_assert_eq!(addresses.len(), count, "an address has two clients");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_address_has_one_live_client(
        steps in prop::collection::vec(steps(), 1..120), probe_ms in prop::sample::select(&[0u32, 300][..]),
        are_clones: bool,
    ) {
        let mut settings = settings();
        (settings.is_written, settings.probe_ms) = (true, probe_ms);
        let mut world = World { lab: Lab::new(settings), clients: [Client::default(); CLIENTS], are_clones };
        for step in &steps {
            world.step(step);
            world.answer_probes();
            world.check()?;
        }
        // A message is under way, or ended in one outcome.
        let (probing, waiting) = world.lab.server.under_way();
        prop_assert!(probing <= CLIENTS && waiting <= steps.len());
    }

    #[test]
    fn any_bytes_are_no_trouble(bytes in prop::collection::vec(any::<u8>(), 0..700), fixed: bool) {
        let mut lab = Lab::new(settings());
        let mut bytes = bytes;
        if fixed && bytes.len() >= 240 {
            bytes[..3].copy_from_slice(&[1, 1, 6]);
            bytes[28] &= 0xfe;
            bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        }
        let arrival = ces_dhcp::DhcpArrival { port: 0, mac: mac(1), source: at(9), to: None };
        lab.server.handle(&arrival, &bytes, lab.now);
        let heard = lab.hear();
        prop_assert!(heard.len() <= 1);
        let (probing, waiting) = lab.server.under_way();
        prop_assert_eq!(lab.server.counters().total() as usize + probing + waiting, 1);
    }
}
