//! The yardstick: parse, TTL, checksum, forward with one flow, in code that stands here and nowhere else.
//!
//! It never changes with the dataplane, so that a case's ratio to it can be compared between versions, days and
//! machines. Do not improve it.

use crate::measure::{Burst, Case, Done, timed};
use crate::packets::{Differences, PacketTemplate, SERVICE};
use crate::rotation::{Rewrite, Rotation};
use std::hint::black_box;

/// The calibration over frames of a kind.
#[derive(Debug)]
pub struct Calibration<F> {
    rotation: Rotation<F>,
    template: PacketTemplate,
    done: Done,
}

const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FLOW: Differences = Differences {
    source: 0x0a01_0203,
    destination: 0x0a02_0304,
    source_port: 4321,
    destination_port: SERVICE,
    outer_source: 0,
    id: 0,
};
/// The Ethernet header of everything that is forwarded.
const NEW_HEADER: [u8; 14] = [2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0];

impl<F: Rewrite> Calibration<F> {
    /// Over this packet memory.
    pub fn new(mut rotation: Rotation<F>) -> Self {
        let mut template = PacketTemplate::plain(HOST, GATEWAY);
        rotation.fill(|frame| frame.rewrite(template.packet(&FLOW)));
        Self { rotation, template, done: Done::default() }
    }
}

impl<F: Rewrite> Case for Calibration<F> {
    fn burst(&mut self) -> Burst {
        let template = &mut self.template;
        let frames = self.rotation.advance(|frame| frame.rewrite(template.packet(&FLOW)));
        self.done.burst(frames.len(), || timed(|| forward(frames)))
    }

    fn done(&self) -> Done {
        self.done
    }
}

#[inline(never)]
fn forward<F: Rewrite>(frames: &mut [F]) -> usize {
    for frame in frames.iter() {
        frame.prefetch();
    }
    let mut forwarded = 0;
    for frame in frames.iter_mut() {
        forwarded += usize::from(forward_one(frame.data_mut()));
    }
    black_box(forwarded)
}

#[inline(always)]
fn forward_one(frame: &mut [u8]) -> bool {
    let Some(header) = frame.first_chunk_mut::<34>() else { return false };
    if header[0..6] != GATEWAY || header[12..15] != [8, 0, 0x45] || header[22] < 2 {
        return false;
    }
    let word = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let sum: u32 = (14..34).step_by(2).map(word).sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    if (sum >> 16) + (sum & 0xffff) != 0xffff || word(16) + 14 > PLAIN {
        return false;
    }
    // RFC 1141: one less in the upper half of its word makes the checksum so much larger.
    let checksum = word(24) + 0x0100;
    let checksum = ((checksum >> 16) + checksum) as u16;
    header[22] -= 1;
    header[24..26].copy_from_slice(&checksum.to_be_bytes());
    header[0..14].copy_from_slice(&NEW_HEADER);
    true
}

const PLAIN: u32 = crate::packets::PLAIN as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::wire::{Wire, ipv4};

    #[test]
    fn packets_are_forwarded_with_a_right_checksum() {
        let mut frame = PacketTemplate::plain(HOST, GATEWAY).packet(&FLOW).to_vec();
        assert!(forward_one(&mut frame));
        assert_eq!(ipv4::Header::parse(&frame[14..]).unwrap().ttl, 63);
        assert!(!forward_one(&mut frame), "it is for another station now");
    }

    #[test]
    fn every_packet_counts() {
        let mut calibration = Calibration::new(Rotation::in_memory(256, 64));
        for _ in 0..10 {
            assert_eq!(calibration.burst().packets, 64);
        }
        assert_eq!(calibration.done(), Done { packets: 640, right: 640, allocations: 0 });
    }
}
