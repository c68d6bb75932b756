//! A resolver under a virtual clock, and an upstream that says what a test wants.

use std::net::SocketAddr;

use ces_dns::message::{self, Query, Transport};
use ces_dns::resolver::{
    Question, Resolution, Resolver, ResolverEvent as Event, ResolverSettings, Token, Transmit,
};
use ces_dns::{MILLISECOND, Name, Nanos, RData, Record, RecordType, ResponseCode, SECOND};
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, SOA};

pub(crate) fn server(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 53))
}

pub(crate) fn settings(servers: u8) -> ResolverSettings {
    ResolverSettings { servers: (1..=servers).map(server).collect(), ..ResolverSettings::default() }
}

pub(crate) fn name(text: &str) -> Name {
    ces_dns::name(text).unwrap()
}

pub(crate) fn question(text: &str) -> Question {
    Question::new(name(text), RecordType::A)
}

pub(crate) fn query(text: &str) -> Query {
    let mut message = Message::new(5, MessageType::Query, OpCode::Query);
    message.add_query(hickory_proto::op::Query::query(name(text), RecordType::A));
    message::parse(&message.to_vec().unwrap(), Transport::Udp).unwrap()
}

/// What an upstream answers to a transmitted query.
pub(crate) fn reply(transmit: &Transmit, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let asked = Message::from_vec(&transmit.bytes).unwrap();
    let mut message = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    message.add_query(asked.queries[0].clone());
    change(&mut message);
    message.to_vec().unwrap()
}

pub(crate) fn address(message: &mut Message) {
    with_ttl(message, 60);
}

pub(crate) fn with_ttl(message: &mut Message, ttl: u32) {
    let owner = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(owner, ttl, RData::A(A::new(198, 51, 100, 1))));
}

pub(crate) fn nothing(message: &mut Message) {
    message.metadata.response_code = ResponseCode::NXDomain;
    let soa = SOA::new(name("ns.b"), name("m.b"), 1, 2, 3, 4, 20);
    message.add_authority(Record::from_rdata(name("b"), 600, RData::SOA(soa)));
}

pub(crate) fn code(code: ResponseCode) -> impl Fn(&mut Message) {
    move |message| message.metadata.response_code = code
}

pub(crate) struct Lab {
    pub resolver: Resolver,
    pub now: Nanos,
}

impl Lab {
    pub(crate) fn new(settings: ResolverSettings) -> Self {
        Self { resolver: Resolver::new(settings, 42), now: 1_000 * SECOND }
    }

    pub(crate) fn ask(&mut self, text: &str, token: Token) {
        self.resolver.query(question(text), 0, token, self.now);
    }

    pub(crate) fn sent(&mut self) -> Transmit {
        let transmit = self.resolver.poll_transmit().expect("something to send");
        assert_eq!(self.resolver.poll_transmit(), None);
        transmit
    }

    pub(crate) fn answer(&mut self, transmit: &Transmit, change: impl FnOnce(&mut Message)) {
        let bytes = reply(transmit, change);
        self.resolver.handle_response(transmit.server, transmit.socket, &bytes, self.now);
    }

    pub(crate) fn done(&mut self) -> Option<(Token, &'static str)> {
        let (token, resolution) = self.resolver.poll_done()?;
        Some((token, label(&resolution)))
    }

    /// Goes to the next timer, which must be at most that far away.
    pub(crate) fn tick(&mut self, at_most_ms: u64) {
        let at = self.resolver.poll_timeout().expect("a timer");
        assert!(at <= self.now + at_most_ms * MILLISECOND, "{} ms", (at - self.now) / MILLISECOND);
        self.now = at;
        self.resolver.handle_timeout(at);
    }

    pub(crate) fn count(&self, event: Event) -> u64 {
        self.resolver.counters().value(event)
    }

    /// Nothing is left behind, and each question ended once.
    pub(crate) fn settled(&self) {
        assert_eq!(self.resolver.in_flight(), 0);
        assert_eq!(self.resolver.poll_timeout(), None);
        let endings: u64 = Event::ALL[..6].iter().map(|&e| self.count(e)).sum();
        assert_eq!(endings, self.count(Event::Asked));
    }
}

pub(crate) fn label(resolution: &Resolution) -> &'static str {
    match resolution {
        Resolution::Answer(_) => "answer",
        Resolution::NoData(_) => "no_data",
        Resolution::NxDomain(_) => "nx_domain",
        Resolution::ServFail => "serv_fail",
        Resolution::Refused => "refused",
        Resolution::Timeout => "timeout",
    }
}
