//! DNS messages as clients, strangers and upstream servers may send them.
//!
//! The first byte chooses: a query or an UPDATE from inside or outside over UDP or TCP, signed or not, or a response to the
//! resolver's own question, with the id and question that it must have put right if a flag says so, since no fuzzer guesses them.

use ces_dns::message::{Query, Transport, UDP_MAX, is_update, parse_signed};
use ces_dns::naptr::{Announcement, Defaults, Endpoint, Forms, Proto, discover};
use ces_dns::packet::{CheckedResponse, TtlBounds};
use ces_dns::resolver::{Question, Resolution, Resolver, ResolverSettings};
use ces_dns::tsig::{Algorithm, Keyring, SharedKey};
use ces_dns::update::{self, Data, Records};
use ces_dns::zone::{Lookup, NameServer, Names, Standing, Zones};
use ces_dns::{Name, RecordType, ResponseCode, answer};
use std::net::{IpAddr, Ipv4Addr};

/// Flag: the message comes over TCP.
pub const TCP: u8 = 0x01;
/// Flag: it is a response of an upstream server.
pub const RESPONSE: u8 = 0x02;
/// Flag: the response gets the id and the question that are expected.
pub const ANSWERS: u8 = 0x04;

const SECOND_NS: u64 = 1_000_000_000;
const UPSTREAM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
const BOUNDS: TtlBounds = TtlBounds { min_s: 0, max_s: 86_400, max_negative_s: 900 };

struct Www;

impl Names for Www {
    fn standing(&self, name: &Name) -> Standing {
        match ces_dns::fqdn(name).as_str() {
            "www.b.demo." => Standing::Served,
            "b.demo." => Standing::Above,
            _ => Standing::Unknown,
        }
    }
}

fn zones() -> Zones {
    let endpoint = Endpoint {
        addr: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
        port: 48001,
        proto: Proto::Tls,
        alias: Some("internet".into()),
        order: 100,
        preference: 10,
    };
    let announcement =
        Announcement { ces_id: "gwb.demo.".into(), endpoints: vec![endpoint], forms: Forms::Both };
    let settings = ces_dns::zone::ZoneSettings {
        origin: "b.demo.".into(),
        nameservers: vec![NameServer { name: "gwb.demo.".into(), addresses: Vec::new() }],
        mailbox: None,
        serial: 1,
        negative_ttl_s: 5,
        ttl_s: 30,
        ces_ttl_s: 30,
    };
    Zones::new(&[settings], announcement.emit()).expect("a right zone")
}

/// The property: no panic, answers within the asker's limit and with its id, and nothing said to who must hear nothing.
pub fn run(data: &[u8]) {
    let Some((&flags, bytes)) = data.split_first() else { return };
    if flags & RESPONSE != 0 {
        response(flags, bytes);
    } else {
        query(if flags & TCP == 0 { Transport::Udp } else { Transport::Tcp }, bytes);
    }
}

/// The key that the seeds are signed by, and when they were, in seconds since 1970.
fn keys() -> Keyring {
    let name = ces_dns::name("dhcp.b.demo").expect("a name");
    Keyring::new([SharedKey::new(name, Algorithm::Sha256, b"secret of thirty-two octets made".to_vec())])
}
const SIGNED_S: u64 = 0x6b0d_43a2;

/// What stands of the names that prerequisites ask about: nothing.
struct Empty;

impl Records for Empty {
    fn of(&self, _name: &Name) -> Vec<(RecordType, Data)> {
        Vec::new()
    }
}

fn an_update(bytes: &[u8]) {
    let is_ours = |zone: &Name| ces_dns::fqdn(zone) == "b.demo.";
    let reply = match update::parse(bytes, &keys(), is_ours, SIGNED_S) {
        Ok(update) => {
            let code = update.holds(&Empty).err().unwrap_or(ResponseCode::NoError);
            assert!(update.changes.iter().all(|change| update.zone.zone_of(change.name())));
            update.reply(code)
        }
        Err(rejection) => match rejection.reply {
            Some(reply) => reply,
            None => return,
        },
    };
    assert!(reply[..2] == bytes[..2] && reply[2] & 0xf8 == 0xa8 && reply.len() <= usize::from(UDP_MAX));
}

fn query(transport: Transport, bytes: &[u8]) {
    if is_update(bytes) {
        an_update(bytes);
    }
    let query = match parse_signed(bytes, transport, &keys(), SIGNED_S) {
        Ok(query) => query,
        Err(rejection) => {
            if let Some(reply) = rejection.reply {
                assert!(
                    reply[..2] == bytes[..2] && reply[2] & 0x80 != 0 && reply.len() <= usize::from(UDP_MAX)
                );
            }
            return;
        }
    };
    for reply in [
        answer::serv_fail(&query),
        answer::refused(&query),
        answer::addresses(&query, answer::Voice::Authority, 30, &[IpAddr::V4(Ipv4Addr::new(10, 64, 0, 1))]),
    ] {
        fits(&query, bytes, &reply);
    }
    if let Lookup::Answer(found, _) = zones().lookup(&query, &mut Www) {
        fits(&query, bytes, &found.emit(&query));
    }
}

fn fits(query: &Query, bytes: &[u8], reply: &[u8]) {
    assert!(reply.len() <= query.limit(), "{} of {}", reply.len(), query.limit());
    assert!(reply[..2] == bytes[..2] && reply[2] & 0x80 != 0, "{reply:?}");
    let packet = CheckedResponse::parse(reply, BOUNDS);
    assert!(packet.is_ok(), "what we say can be read: {packet:?} {reply:?}");
}

fn response(flags: u8, bytes: &[u8]) {
    let settings = ResolverSettings { servers: vec![(UPSTREAM, 53).into()], ..ResolverSettings::default() };
    let mut resolver = Resolver::new(settings, 7);
    let name = ces_dns::name("www.b.demo.").expect("a name");
    resolver.query(Question::new(name.clone(), RecordType::NAPTR), 500, 1, SECOND_NS);
    let sent = resolver.poll_transmit().expect("it asks");
    let mut message = bytes.to_vec();
    if flags & ANSWERS != 0 && message.len() >= 12 {
        message[..2].copy_from_slice(&sent.bytes[..2]);
        message[2] |= 0x80;
        message[4..6].copy_from_slice(&[0, 1]);
        // www.b.demo. is 12 bytes on the wire, type and class 4.
        message.splice(12..12, sent.bytes[12..28].iter().copied());
    }
    resolver.handle_response(sent.server, sent.socket, &message, SECOND_NS);
    let asked = Query {
        id: 1,
        name,
        qtype: RecordType::NAPTR,
        recursion_desired: true,
        checking_disabled: false,
        edns: None,
        cookie: None,
        client_subnet: None,
        seal: None,
        transport: Transport::Udp,
    };
    while let Some((token, resolution)) = resolver.poll_done() {
        assert_eq!(token, 1);
        if let Resolution::Answer(got) | Resolution::NoData(got) | Resolution::NxDomain(got) = resolution {
            let reply = got.reply(&asked, 3 * SECOND_NS);
            assert!(reply.len() <= asked.limit() && reply[..2] == [0, 1]);
            let found = discover(&got.packet.answers(), Defaults { port: 48001, proto: Proto::Tls });
            assert!(found.services.iter().map(|service| service.endpoints.len()).sum::<usize>() <= 5);
        }
    }
    let mut now = SECOND_NS;
    for _ in 0..16 {
        let Some(due) = resolver.poll_timeout() else { break };
        now = now.max(due);
        resolver.handle_timeout(now);
        while resolver.poll_transmit().is_some() {}
        while resolver.poll_done().is_some() {}
    }
}
