//! A server with a link, a relay, a disk, and clients that say what they are told to.
#![allow(dead_code)] // each test file uses a part

use ces_dhcp::reply::Reply;
use ces_dhcp::{
    DhcpArrival, DhcpHost, DhcpNotice, DhcpOutput, Given, HardwareAddress, LeaseRecord, Nanos, Outcome,
    ReservedAddress, SECOND, Server, Settings, Subnet, Whose,
};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use std::net::Ipv4Addr;

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 1);
pub(crate) const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
pub(crate) const LEASE_S: u32 = 600;
pub(crate) const START: Nanos = 1_700_000_000 * SECOND;

pub(crate) fn at(last: u8) -> Ipv4Addr {
    [192, 168, 10, last].into()
}

pub(crate) fn mac(number: u8) -> HardwareAddress {
    [2, 0, 0, 0, 0, number]
}

/// 192.168.10.100 to .103 on the link of port 0, the same of 192.168.20.0/24 behind a relay; .50 is reserved for mac(50).
pub(crate) fn settings() -> Settings {
    let subnet = |third: u8, link| Subnet {
        network: format!("192.168.{third}.0/24").parse().unwrap(),
        link,
        pools: vec![([192, 168, third, 100].into(), [192, 168, third, 103].into())],
        lease_s: LEASE_S,
        given: Given {
            routers: vec![[192, 168, third, 1].into()],
            dns: vec![GATEWAY],
            domain: Some("a.demo".into()),
            ..Given::default()
        },
    };
    Settings {
        subnets: vec![subnet(10, Some((0, GATEWAY))), subnet(20, None)],
        reservations: vec![ReservedAddress {
            address: at(50),
            whose: Whose::Hardware(mac(50)),
            name: Some("printer".into()),
        }],
        own: vec![GATEWAY],
        probe_ms: 0,
        offer_s: 10,
        decline_s: 300,
        client_rate: 1000,
        link_rate: 10_000,
        station_leases: 0,
        names: true,
        are_owners_asked: true,
        is_written: false,
    }
}

/// A client's message in the making.
pub(crate) struct Say {
    message: Message,
    /// To the server alone, or to everybody.
    to: Option<Ipv4Addr>,
    station: Option<HardwareAddress>,
    relay: Vec<u8>,
}

impl Say {
    pub(crate) fn new(kind: MessageType, client: u8) -> Self {
        let mut message = Message::new_with_id(7, NONE, NONE, NONE, NONE, &mac(client));
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        Self { message, to: None, station: None, relay: Vec::new() }
    }

    pub(crate) fn discover(client: u8) -> Self {
        Self::new(MessageType::Discover, client)
    }

    /// In SELECTING.
    pub(crate) fn select(client: u8, address: Ipv4Addr) -> Self {
        Self::new(MessageType::Request, client).wants(address).server(GATEWAY)
    }

    /// In INIT-REBOOT.
    pub(crate) fn reboot(client: u8, address: Ipv4Addr) -> Self {
        Self::new(MessageType::Request, client).wants(address)
    }

    /// In RENEWING.
    pub(crate) fn renew(client: u8, address: Ipv4Addr) -> Self {
        Self::rebind(client, address).unicast()
    }

    /// In REBINDING.
    pub(crate) fn rebind(client: u8, address: Ipv4Addr) -> Self {
        Self::new(MessageType::Request, client).has(address)
    }

    pub(crate) fn decline(client: u8, address: Ipv4Addr) -> Self {
        Self::new(MessageType::Decline, client).wants(address).server(GATEWAY)
    }

    pub(crate) fn release(client: u8, address: Ipv4Addr) -> Self {
        Self::new(MessageType::Release, client).has(address).server(GATEWAY).unicast()
    }

    pub(crate) fn option(mut self, option: DhcpOption) -> Self {
        self.message.opts_mut().insert(option);
        self
    }

    pub(crate) fn wants(self, address: Ipv4Addr) -> Self {
        self.option(DhcpOption::RequestedIpAddress(address))
    }

    pub(crate) fn server(self, address: Ipv4Addr) -> Self {
        self.option(DhcpOption::ServerIdentifier(address))
    }

    pub(crate) fn identifier(self, identifier: &[u8]) -> Self {
        self.option(DhcpOption::ClientIdentifier(identifier.to_vec()))
    }

    pub(crate) fn parameters(self, codes: &[u8]) -> Self {
        self.option(DhcpOption::ParameterRequestList(
            codes.iter().map(|code| OptionCode::from(*code)).collect(),
        ))
    }

    pub(crate) fn xid(mut self, xid: u32) -> Self {
        self.message.set_xid(xid);
        self
    }

    pub(crate) fn unicast(self) -> Self {
        Self { to: Some(GATEWAY), ..self }
    }

    pub(crate) fn has(mut self, address: Ipv4Addr) -> Self {
        self.message.set_ciaddr(address);
        self
    }

    pub(crate) fn broadcast(mut self) -> Self {
        self.message.set_flags(Flags::default().set_broadcast());
        self
    }

    pub(crate) fn station(mut self, station: HardwareAddress) -> Self {
        self.station = Some(station);
        self
    }

    /// Through the relay, with this as option 82.
    pub(crate) fn relayed(mut self, information: &[u8]) -> Self {
        self.message.set_giaddr(RELAY);
        self.to = Some(GATEWAY);
        self.station = Some(mac(200));
        self.relay = information.to_vec();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.message.to_vec().unwrap();
        if !self.relay.is_empty() {
            bytes.pop();
            bytes.extend([82, self.relay.len() as u8]);
            bytes.extend_from_slice(&self.relay);
            bytes.push(255);
        }
        bytes
    }
}

/// An answer, read.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) reply: Reply,
    pub(crate) message: Message,
}

impl Heard {
    pub(crate) fn kind(&self) -> MessageType {
        self.message.opts().msg_type().unwrap()
    }

    pub(crate) fn option(&self, code: u8) -> Option<&DhcpOption> {
        self.message.opts().get(OptionCode::from(code))
    }

    /// Its options, but for the end.
    pub(crate) fn codes(&self) -> Vec<u8> {
        self.message.opts().iter().map(|(code, _)| u8::from(*code)).collect()
    }

    pub(crate) fn yiaddr(&self) -> Ipv4Addr {
        self.message.yiaddr()
    }
}

pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) now: Nanos,
    /// What was written down.
    pub(crate) disk: Vec<LeaseRecord>,
    /// What is to be written down.
    pub(crate) unwritten: Vec<(u64, LeaseRecord)>,
    pub(crate) notices: Vec<DhcpNotice>,
    pub(crate) probes: Vec<Ipv4Addr>,
    /// Who has which address, as it was told.
    pub(crate) hosts: std::collections::BTreeMap<Ipv4Addr, DhcpHost>,
    settings: Settings,
}

impl Lab {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            server: Server::new(settings.clone(), 7),
            now: START,
            disk: Vec::new(),
            unwritten: Vec::new(),
            notices: Vec::new(),
            probes: Vec::new(),
            hosts: std::collections::BTreeMap::new(),
            settings,
        }
    }

    /// What the server says to that.
    pub(crate) fn say(&mut self, said: &Say) -> Vec<Heard> {
        let source = said.message.ciaddr();
        let sender = said.station.unwrap_or_else(|| said.message.chaddr().try_into().unwrap());
        let arrival = DhcpArrival { port: 0, mac: sender, source, to: said.to };
        self.server.handle(&arrival, &said.bytes(), self.now);
        self.hear()
    }

    /// The one answer to that.
    #[track_caller]
    pub(crate) fn answer(&mut self, said: &Say) -> Heard {
        let mut all = self.say(said);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub(crate) fn hear(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                DhcpOutput::Write(number, record) => self.unwritten.push((number, record)),
                DhcpOutput::Send(reply) => {
                    let message = Message::decode(&mut Decoder::new(&reply.bytes)).unwrap();
                    heard.push(Heard { reply, message });
                }
                DhcpOutput::Probe(0, address) => self.probes.push(address),
                DhcpOutput::Probe(port, _) => panic!("no such port: {port}"),
                DhcpOutput::Host(address, host) => {
                    self.hosts.remove(&address);
                    self.hosts.extend(host.map(|host| (address, host)));
                }
                DhcpOutput::Notice(notice) => self.notices.push(notice),
            }
        }
        heard
    }

    /// The disk has taken what there was, or it has not.
    pub(crate) fn write(&mut self, works: bool) -> Vec<Heard> {
        if let Some((number, _)) = self.unwritten.last() {
            self.server.handle_written(*number, works);
        }
        let all: Vec<_> = self.unwritten.drain(..).map(|(_, record)| record).collect();
        if works {
            self.disk.extend(all);
        }
        self.hear()
    }

    /// The process ends; of what was not written down yet so much has come to the disk all the same.
    pub(crate) fn restart(&mut self, written: usize) {
        let all = std::mem::take(&mut self.unwritten);
        self.disk.extend(all.into_iter().take(written).map(|(_, record)| record));
        self.server = Server::new(self.settings.clone(), 8);
        self.server.restore(self.disk.iter().cloned(), self.now);
    }

    pub(crate) fn wait(&mut self, time: Nanos) -> Vec<Heard> {
        let until = self.now + time;
        while let Some(at) = self.server.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.server.handle_timeout(self.now);
        }
        self.now = until;
        self.hear()
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    #[track_caller]
    pub(crate) fn lease(&mut self, client: u8) -> Ipv4Addr {
        let offered = self.answer(&Say::discover(client)).yiaddr();
        let given = self.answer(&Say::select(client, offered));
        assert_eq!((given.kind(), given.yiaddr()), (MessageType::Ack, offered));
        offered
    }

    #[track_caller]
    pub(crate) fn counted(&self, outcome: Outcome, times: u64) {
        assert_eq!(self.server.counters().value(outcome), times, "{outcome:?}");
    }
}
