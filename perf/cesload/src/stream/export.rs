//! A profile's packets as a capture, for generators that send what they read.

use super::schedule::Schedule;
use super::sender::{Part, Sender};
use crate::frame::template::Link;
use crate::profile::Profile;
use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::io::pcap::Writer;
use std::io::{self, Write};
use std::sync::Arc;

/// Writes the first `count` packets of all streams, each with its part of them. The ports are not asked: frames come from
/// address 0, and go to `peer_mac`.
pub fn write<W: Write>(profile: &Profile, count: usize, to: W) -> io::Result<W> {
    let mut senders = senders(profile)?;
    let mut out = Writer::new(to)?;
    let mut frame = MemoryFrame::empty();
    for number in 1..=count {
        // Whose part is missing most.
        let due = |sender: &Sender| sender.share * number as f64 - sender.sent as f64;
        let Some(next) = senders.iter_mut().max_by(|a, b| due(a).total_cmp(&due(b))) else { break };
        next.fill(std::slice::from_mut(&mut frame), 0, 0, 0);
        next.sent += 1;
        out.write(0, frame.data())?;
    }
    out.finish()
}

fn senders(profile: &Profile) -> io::Result<Vec<Sender>> {
    let (mut first, mut senders) = (0, Vec::new());
    for (stream, traffic) in profile.traffic.iter().enumerate() {
        let port = &profile.port[traffic.from];
        let link = Link {
            source: [0; 6],
            destination: port.peer_mac.map_or([0; 6], |mac| mac.0),
            vlan: port.vlan,
            tos: traffic.tos,
            ttl: traffic.ttl,
        };
        let part = Part { thread: 0, threads: 1, first };
        let lengths = Arc::new(traffic.lengths.clone());
        if let Some(mut sender) = Sender::new(stream, traffic, &lengths, &link, part, profile.generator.seed)?
        {
            sender.begin(Schedule::free(0.0), 0.0, 1);
            senders.push(sender);
        }
        first += traffic.count;
    }
    Ok(senders)
}
