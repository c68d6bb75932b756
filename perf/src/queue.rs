//! A shaped port's queues: packets of many hosts go in and come out, and some of each host wait all the time.

use crate::measure::{Burst, Case, Done, timed};
use crate::packets::{Differences, PLAIN, PacketTemplate};
use crate::random::shuffled;
use ces_dataplane::frame::Frame;
use ces_dataplane::packet::Packet;
use ces_dataplane::path::BURST;
use ces_dataplane::queue::{Class, PortKeys, QueueOutcomes, Shape, Shaper, SharedLine};
use ces_dataplane::settings::Side;
use ces_dataplane::table::index::Hasher;
use ces_dataplane::wire::ethernet;

/// Bits a second: one of the shortest frames, 84 bytes on the wire, is due every 64 ns.
const SHAPE: Shape = Shape { bandwidth: 10_500_000_000, urgent: 2_500_000_000 };
const FRAME_NS: u64 = SHAPE.frame_ns(PLAIN);

/// A frame behind one pointer, as an mbuf is.
struct Short(Box<[u8; PLAIN]>);

impl Frame for Short {
    fn data(&self) -> &[u8] {
        &self.0[..]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.0[..]
    }

    fn prepend(&mut self, _: usize) -> bool {
        false
    }

    fn trim_front(&mut self, _: usize) {}

    fn truncate(&mut self, _: usize) {}

    fn extend(&mut self, _: usize) -> bool {
        false
    }

    fn reshape(&mut self, _: usize, _: usize, _: usize) -> Option<&mut [u8]> {
        None
    }
}

/// Hosts at most: half of what may wait.
const HOSTS: u32 = 4096;

/// The queues, and packets for them.
pub struct Queue {
    shaper: Shaper<Short>,
    /// The packets, parsed, in a random order of their hosts, and which of them are next.
    packets: Vec<Packet>,
    next: usize,
    /// The burst, and what it was when it arrived.
    burst: Vec<Short>,
    arrived: Vec<Packet>,
    out: Vec<Short>,
    now: u64,
    done: Done,
}

/// How many hosts there are of so many asked for.
pub fn hosts(asked: u32) -> u32 {
    asked.clamp(BURST as u32, HOSTS)
}

impl Queue {
    /// Of so many hosts, as far as their packets may wait, in bursts of so many packets.
    pub fn new(hosts: u32, burst: usize) -> Result<Self, String> {
        if burst > BURST {
            return Err(format!("bursts of at most {BURST} packets"));
        }
        let whose = PortKeys::new(Hasher::new([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345]), Side::Outside);
        let mut shaper = Shaper::new(SHAPE, whose, SharedLine::new(1), 0, 1);
        let (mut template, now) = (PacketTemplate::plain([2; 6], [4; 6]), 1_000_000_000);
        shaper.begin(now);
        let (mut packets, mut frames) = (Vec::new(), Vec::new());
        let order = shuffled(self::hosts(hosts), 3);
        for (number, host) in order.iter().chain(&order[..burst]).enumerate() {
            let flow = Differences {
                source: 0x0a00_0000 | host,
                destination: 0xcb00_7109,
                ..Differences::default()
            };
            let frame = template.packet(&flow);
            let mut packet = Packet::NOTHING;
            if !packet.parse_plain(&frame[ethernet::LENGTH..], ethernet::LENGTH) {
                return Err("a packet that is not plain".to_owned());
            }
            let frame = Short(Box::new(frame.try_into().map_err(|_| "a frame of another length")?));
            if number < order.len() {
                shaper.push(frame, Some(&packet));
                packets.push(packet);
            } else {
                frames.push(frame);
            }
        }
        let (arrived, out) = (vec![Packet::NOTHING; burst], Vec::with_capacity(2 * burst));
        Ok(Self { shaper, packets, next: 0, burst: frames, arrived, out, now, done: Done::default() })
    }
}

#[inline(never)]
fn measured_queue(
    shaper: &mut Shaper<Short>,
    burst: &mut Vec<Short>,
    packets: &[Packet],
    out: &mut Vec<Short>,
    now: u64,
) {
    shaper.begin(now);
    shaper.push_burst(burst, packets);
    shaper.send(out);
}

impl Case for Queue {
    fn burst(&mut self) -> Burst {
        let Self { shaper, packets, next, burst, arrived, out, now, done } = self;
        for (number, packet) in arrived.iter_mut().enumerate() {
            *packet = packets[(*next + number) % packets.len()];
        }
        let size = arrived.len();
        *next = (*next + size) % packets.len();
        // What is due is a burst; a little more where too much waits.
        let too_much = shaper.waiting(Class::Ordinary).packets > packets.len() as u64;
        *now += size as u64 * FRAME_NS + u64::from(too_much);
        // A burst more or less comes out at a time: what is missing is made, what is too much is kept.
        while burst.len() < size {
            burst.push(Short(Box::new([0; PLAIN])));
        }
        let rest = burst.split_off(size);
        let made = done.burst(size, || {
            let (cycles, ()) = timed(|| measured_queue(shaper, burst, arrived, out, *now));
            (cycles, size)
        });
        burst.extend(rest);
        burst.append(out);
        made
    }

    fn done(&self) -> Done {
        self.done
    }

    fn check(&self) -> Result<(), String> {
        let (mut sent, mut lost) = (0, 0);
        for class in Class::ALL {
            let QueueOutcomes { sent: went, full, late, .. } = self.shaper.outcomes(class);
            (sent, lost) = (sent + went, lost + full + late);
        }
        let packets = self.done.packets;
        if lost == 0 && sent + 2 * BURST as u64 >= packets {
            Ok(())
        } else {
            Err(format!("{lost} lost, {sent} of {packets} sent"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_goes_out_as_goes_in() {
        let mut queue = Queue::new(4096, 64).unwrap();
        for _ in 0..1000 {
            assert_eq!(queue.burst().packets, 64);
        }
        queue.check().unwrap();
    }
}
