//! How many queries a second one core answers: `cargo run --release -p ces-dns --example answers_per_second`.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ces_dns::answer::{self, Answer, Voice};
use ces_dns::limit::{RateLimit, Rates};
use ces_dns::message::{self, Transport};
use ces_dns::resolver::{Question, Resolver, ResolverSettings};
use ces_dns::{Name, RData, Record, RecordType};
use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use hickory_proto::rr::rdata::A;

fn measure(title: &str, mut once: impl FnMut()) {
    let mut rate = 0.0;
    for length in [Duration::from_millis(200), Duration::from_secs(1)] {
        let start = Instant::now();
        let mut count = 0u32;
        while start.elapsed() < length {
            for _ in 0..1_000 {
                once();
            }
            count += 1_000;
        }
        rate = f64::from(count) / start.elapsed().as_secs_f64();
    }
    println!("{title:<52} {rate:>12.0} /s {:>8.0} ns", 1e9 / rate);
}

fn main() {
    let name: Name = ces_dns::name("www.some-host.b.demo").expect("a name");
    let ip: IpAddr = "10.9.8.7".parse().expect("an address");
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(hickory_proto::op::Query::query(name.clone(), RecordType::A));
    message.set_edns(Edns::new());
    let bytes = message.to_vec().expect("a query");

    measure("parse", || {
        black_box(message::parse(black_box(&bytes), Transport::Udp)).expect("a query");
    });
    measure("parse by hickory alone", || {
        black_box(Message::from_vec(black_box(&bytes))).expect("a query");
    });
    let query = message::parse(&bytes, Transport::Udp).expect("a query");
    measure("write an address answer", || {
        black_box(answer::addresses(black_box(&query), Voice::Recursive, 120, &[ip]));
    });
    measure("write an address answer by hickory's encoder", || {
        let records = vec![Record::from_rdata(query.name.clone(), 120, ip.into())];
        black_box(Answer::records(Voice::Recursive, records).emit(black_box(&query)));
    });

    let mut limit = RateLimit::new(
        &Rates { client_per_second: u32::MAX, total_per_second: u32::MAX, ..Rates::default() },
        1,
    );
    let mut now = 0;
    measure("rate, parse, write: a connected name", || {
        now += 1_000;
        limit.admit(black_box(ip), now).expect("within the rate");
        let query = message::parse(black_box(&bytes), Transport::Udp).expect("a query");
        black_box(answer::addresses(&query, Voice::Recursive, 120, &[ip]));
    });

    let server = SocketAddr::from(([192, 0, 2, 1], 53));
    let mut resolver =
        Resolver::new(ResolverSettings { servers: vec![server], ..ResolverSettings::default() }, 1);
    let answer_upstream = |resolver: &mut Resolver, name: Name| {
        resolver.query(Question::new(name, RecordType::A), 0, 1, 0);
        let sent = resolver.poll_transmit().expect("sent");
        let asked = Message::from_vec(&sent.bytes).expect("a query");
        let mut reply = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
        let owner = asked.queries[0].name().clone();
        reply.add_query(asked.queries[0].clone());
        reply.add_answer(Record::from_rdata(owner, 86_400, RData::A(A::new(192, 0, 2, 9))));
        (sent, reply.to_vec().expect("a reply"))
    };
    let (sent, reply) = answer_upstream(&mut resolver, name.clone());
    resolver.handle_response(sent.server, sent.socket, &reply, 0);
    resolver.poll_done().expect("done");
    measure("parse, look up in the cache, write", || {
        let query = message::parse(black_box(&bytes), Transport::Udp).expect("a query");
        let found = resolver.cached(&Question::of(&query), 5_000_000_000).expect("cached");
        black_box(found.reply(&query, 5_000_000_000));
    });

    let mut n = 0u64;
    measure("ask upstream, read its answer, cache it (with test peer)", || {
        n += 1;
        let name = ces_dns::name(&format!("n{n}.b.demo")).expect("a name");
        let (sent, reply) = answer_upstream(&mut resolver, name);
        resolver.handle_response(sent.server, sent.socket, &reply, 0);
        black_box(resolver.poll_done()).expect("done");
    });
}
