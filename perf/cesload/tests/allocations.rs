//! The generator's loop allocates nothing: not for what it sends, not for what comes back, not for what it answers.

use ces_dataplane::io::memory::{self, MemoryPool};
use ces_load::arp::{self, Answers};
use ces_load::crew::Crew;
use ces_load::frame::template::Link;
use ces_load::profile::{self, Profile};
use ces_load::stream::lane::Lane;
use ces_load::stream::receiver::Receiver;
use ces_load::stream::schedule::Schedule;
use ces_load::stream::sender::{Part, Sender};
use machine::Clock;
use machine::allocations::{Counting, on_this_thread};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAMES: usize = 1024;
const BURST: usize = 32;
const MAC: [u8; 6] = [2; 6];

const PROFILE: &str = r#"
[[port]]
name = "left"
device = "a"
[[port]]
name = "right"
device = "b"
[[stream]]
name = "there"
from = "left"
to = "right"
sizes = "imix-simple"
source = "192.0.2.0/24"
destination = "198.51.100.1"
flows = 200
"#;

fn profile() -> Profile {
    profile::parse("test.toml", PROFILE, Path::new(""), &[]).expect("the profile is right")
}

#[test]
fn no_packet_allocates() {
    let traffic = profile().traffic.remove(0);
    let lengths = Arc::new(traffic.lengths.clone());
    let link = Link { source: MAC, destination: MAC, vlan: None, tos: 0, ttl: 64 };
    let part = Part { thread: 0, threads: 1, first: 0 };
    let mut sender = Sender::new(0, &traffic, &lengths, &link, part, 1).unwrap().unwrap();
    let hertz = machine::cycles_per_second();
    let cycles = hertz / 10;
    sender.begin(Schedule::paced(50_000.0, cycles, hertz, 256), 1000.0, hertz);
    let receiver = Receiver::new(&[(traffic, lengths, 0)], BURST).unwrap();
    let (left, mut left_end) = memory::port(FRAMES);
    let (right, mut right_end) = memory::port(FRAMES);
    let answers = Answers { mac: MAC, networks: vec![(0, 0)], except: None };
    let ports = vec![(left, Answers::default()), (right, answers)];
    let mut lane =
        Lane::new(2, ports, MemoryPool::new(2 * FRAMES), vec![sender], receiver, BURST, Clock::new());
    lane.begin(1);
    let crew = Crew::new(1);
    let asker = Ipv4Addr::new(192, 0, 2, 1);
    assert!(right_end.send_bytes(&arp::request(MAC, None, asker, Ipv4Addr::new(192, 0, 2, 2))));

    let counted = crew.run(
        std::slice::from_mut(&mut lane),
        |number, lane| {
            let before = on_this_thread();
            lane.run(&crew, number, cycles);
            Ok(on_this_thread() - before)
        },
        |_| {
            while !crew.have_met(2) {
                while let Some(frame) = left_end.receive() {
                    // A full cable drops it, as a device does.
                    let _ = right_end.send(frame);
                }
                std::thread::yield_now();
            }
        },
    );
    let counts = crew.counts().1;
    assert!(counts.sent > 100 && counts.received > 0 && lane.receiver.answered == 1, "{counts:?}");
    assert_eq!(counted, Ok(vec![0]), "{counts:?}");
}
