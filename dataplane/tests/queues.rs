//! Shaped ports in a model whose time is a number: nothing lost without a count, no flow reordered, hosts alike, never too fast.

mod gateways;

use ces_dataplane::frame::{Frame, MemoryFrame};
use ces_dataplane::path::BURST;
use ces_dataplane::queue::codel::{Aim, Coarse};
use ces_dataplane::queue::fair::{Backlog, FairQueues};
use ces_dataplane::queue::key::QueueKey;
use ces_dataplane::queue::{Class, Figure, PortKeys, QueueOutcomes, Shape, Shaper, SharedLine};
use ces_dataplane::reason::DropReason;
use ces_dataplane::settings::Side;
use ces_dataplane::table::index::Hasher;
use ces_dataplane::worker::{Bell, Mesh, RingSizes};
use gateways::lab::Lab;
use gateways::{Gateway, INSIDE, OUTSIDE};
use proptest::prelude::*;
use std::collections::HashMap;

const HASHER: Hasher = Hasher::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

fn key(class: Class, host: u32, flow: u64) -> QueueKey {
    QueueKey::new(HASHER, class, host, flow, 14)
}

proptest! {
    /// Few places, so that sets are full and places shared.
    #[test]
    fn nothing_is_lost_without_a_count_and_no_flow_is_reordered(
        steps in proptest::collection::vec((0u32..3000, 0u64..4, 0usize..4, 84u16..1600, 0u8..4, 0u64..40), 1..4000),
    ) {
        let mut queues = FairQueues::new(500);
        let (mut pushed, mut refused, mut taken, mut dropped, mut now) = (0u64, 0u64, 0u64, 0u64, SECOND);
        let mut last: HashMap<(u32, u64, usize), u64> = HashMap::new();
        let mut seen = |(flow, number): ((u32, u64, usize), u64)| {
            last.insert(flow, number).is_none_or(|before| before < number)
        };
        for (host, flow, class, bytes, pops, pause) in steps {
            now += pause * MS;
            pushed += 1;
            let frame = ((host, flow, class), pushed);
            refused += u64::from(queues.push(&key(Class::ALL[class], host, flow), frame, bytes, Coarse::of(now)).is_err());
            for _ in 0..pops {
                let class = Class::ALL[(now / MS) as usize % 4];
                let before = queues.backlog(class).packets;
                match queues.pop(class, Aim::of(0), Coarse::of(now), |_, _| false) {
                    Some(one) => {
                        prop_assert!(seen(one.frame), "reordered");
                        (taken, dropped) = (taken + 1, dropped + u64::from(one.dropped));
                    }
                    None => dropped += before,
                }
            }
            prop_assert_eq!(pushed, refused + taken + dropped + queues.all().packets);
        }
        for class in Class::ALL {
            while let Some(one) = queues.pop(class, Aim::of(0), Coarse::of(now), |_, _| true) {
                prop_assert!(seen(one.frame), "reordered");
                taken += 1;
            }
            prop_assert_eq!(queues.backlog(class), Backlog::default());
        }
        prop_assert_eq!(pushed, refused + taken + dropped);
        prop_assert!(queues.is_empty());
    }
}

/// Somebody who sends.
struct Sender {
    class: Class,
    host: u32,
    flows: u64,
    /// Bits a second in all its flows.
    rate: u64,
    length: usize,
    /// What it could have sent, and did, in bits.
    due: u64,
    sent: u64,
    got: u64,
    lost: u64,
    next: u64,
}

impl Sender {
    fn new(class: Class, host: u32, flows: u64, rate: u64, length: usize) -> Self {
        Self { class, host, flows, rate, length, due: 0, sent: 0, got: 0, lost: 0, next: 0 }
    }

    fn frame(&self) -> MemoryFrame {
        let mut bytes = vec![0; self.length - 24];
        bytes[..4].copy_from_slice(&self.host.to_be_bytes());
        MemoryFrame::new(&bytes)
    }
}

/// Lets them all send through a shaped port, turn by turn; the bytes that left.
fn run(shape: Shape, senders: &mut [Sender], turn_ns: u64, time: u64) -> (Shaper<MemoryFrame>, u64) {
    let whose = PortKeys::new(HASHER, Side::Outside);
    let mut shaper = Shaper::new(shape, whose, SharedLine::new(1), 0, 1);
    let (mut out, mut bytes, mut now) = (Vec::with_capacity(4 * BURST), 0, SECOND);
    while now < SECOND + time {
        now += turn_ns;
        shaper.begin(now);
        for sender in &mut *senders {
            sender.due += sender.rate * turn_ns / 1000;
            while sender.due / 1_000_000 >= (sender.sent + sender.length as u64) * 8 {
                sender.sent += sender.length as u64;
                sender.next += 1;
                let key = key(sender.class, sender.host, sender.next % sender.flows);
                let full = shaper.outcomes(sender.class).full;
                shaper.push_as(&key, sender.frame());
                sender.lost += shaper.outcomes(sender.class).full - full;
            }
        }
        shaper.send(&mut out);
        for frame in out.drain(..) {
            let length = frame.data().len() as u64 + 24;
            bytes += length;
            let host = u32::from_be_bytes(frame.data()[..4].try_into().unwrap());
            senders.iter_mut().find(|sender| sender.host == host).unwrap().got += length;
        }
    }
    (shaper, bytes)
}

#[test]
fn hosts_with_one_and_with_thirty_flows_get_alike() {
    let shape = Shape { bandwidth: 100_000_000, urgent: 25_000_000 };
    let ordinary = |host, flows, rate, length| Sender::new(Class::Ordinary, host, flows, rate, length);
    let mut senders = [
        ordinary(1, 1, 90_000_000, 1538),
        ordinary(2, 30, 200_000_000, 1538),
        ordinary(3, 30, 80_000_000, 300),
    ];
    let (_, bytes) = run(shape, &mut senders, 50_000, 10 * SECOND);
    let all = 10 * shape.bandwidth / 8;
    assert!(bytes <= all + 30_000 && bytes > all - all / 100, "{bytes} of {all}");
    for sender in &senders {
        assert!(sender.got.abs_diff(all / 3) < all / 3 / 20, "host {}: {} of {all}", sender.host, sender.got);
    }
}

#[test]
fn who_sends_little_waits_for_nobody() {
    let shape = Shape { bandwidth: 10_000_000, urgent: 2_500_000 };
    let mut senders = [
        Sender::new(Class::Ordinary, 1, 1, 100_000, 238),
        Sender::new(Class::Ordinary, 2, 50, 50_000_000, 1538),
    ];
    run(shape, &mut senders, 50_000, 10 * SECOND);
    let [call, load] = &senders;
    assert_eq!(call.lost, 0);
    assert!(call.sent - call.got <= 2 * 238, "{} of {}", call.got, call.sent);
    assert!(load.got > 11_000_000, "{}", load.got);
}

/// The example of the lectures: a link of 1.5 Mbit/s, audio of 1 Mbit/s and a transfer that takes what it gets.
fn audio_and_transfer(audio: u64) -> ([Sender; 2], QueueOutcomes) {
    let shape = Shape { bandwidth: 1_500_000, urgent: 1_000_000 };
    let mut senders =
        [Sender::new(Class::Urgent, 1, 1, audio, 250), Sender::new(Class::Ordinary, 2, 1, 3_000_000, 1538)];
    let (shaper, _) = run(shape, &mut senders, 200_000, 20 * SECOND);
    (senders, shaper.outcomes(Class::Urgent))
}

#[test]
fn audio_beside_a_transfer_loses_nothing() {
    let ([audio, transfer], outcomes) = audio_and_transfer(1_000_000);
    assert_eq!((audio.lost, outcomes.full, outcomes.late), (0, 0, 0));
    assert!(audio.sent - audio.got <= 3 * 250, "{} of {}", audio.got, audio.sent);
    let rest = 20 * 500_000 / 8;
    assert!(transfer.got > rest - rest / 20, "{} of {rest}", transfer.got);
}

#[test]
fn audio_that_misbehaves_takes_nothing_from_the_transfer() {
    let ([audio, transfer], outcomes) = audio_and_transfer(3_000_000);
    assert!(outcomes.full + outcomes.late > 0 && audio.got < audio.sent / 2);
    let rest = 20 * 500_000 / 8;
    assert!(transfer.got > rest - rest / 10, "{} of {rest}", transfer.got);
}

#[test]
fn classes_share_by_their_weights() {
    let shape = Shape { bandwidth: 10_000_000, urgent: 2_500_000 };
    let mut senders = [
        Sender::new(Class::Assured, 1, 1, 20_000_000, 1538),
        Sender::new(Class::Ordinary, 2, 1, 20_000_000, 800),
        Sender::new(Class::Background, 3, 1, 20_000_000, 1538),
    ];
    run(shape, &mut senders, 100_000, 10 * SECOND);
    let all = 10 * shape.bandwidth / 8;
    for (sender, part) in senders.iter().zip([8, 8, 1]) {
        let part = all * part / 17;
        assert!(sender.got.abs_diff(part) < part / 10, "host {}: {} of {part}", sender.host, sender.got);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn never_faster_than_the_bandwidth(
        bandwidth in 200_000u64..200_000_000,
        turn_ns in 10_000u64..3 * MS,
        senders in proptest::collection::vec((0usize..4, 1u64..10, 100_000u64..50_000_000, 84usize..1538), 1..6),
    ) {
        let shape = Shape { bandwidth, urgent: bandwidth / 3 };
        let mut senders: Vec<_> = senders.into_iter().enumerate().map(|(host, (class, flows, rate, length))| {
            Sender::new(Class::ALL[class], host as u32, flows, rate, length)
        }).collect();
        let (shaper, bytes) = run(shape, &mut senders, turn_ns, SECOND);
        let most = (SECOND + 20 * MS + turn_ns) / 1000 * bandwidth / 8 / 1_000_000 + 1538;
        prop_assert!(bytes <= most, "{bytes} of {most}");
        let offered: u64 = senders.iter().map(|sender| sender.next).sum();
        let counted: u64 = Class::ALL.iter().map(|class| {
            let QueueOutcomes { sent, full, late, .. } = shaper.outcomes(*class);
            sent + full + late + shaper.waiting(*class).packets
        }).sum();
        prop_assert_eq!(offered, counted);
    }
}

/// A worker whose outside port is shaped.
fn shaped(bandwidth: u64) -> Lab {
    let mut settings = Gateway(0).settings();
    settings.shapes = vec![None, Some(Shape { bandwidth, urgent: bandwidth / 4 })];
    let mut lab = Lab::with(&settings, RingSizes::default(), Bell::silent(), Mesh::alone());
    for command in Gateway(0).commands() {
        lab.control.commands.push(command).unwrap();
    }
    lab.turn();
    lab
}

#[test]
fn a_worker_keeps_a_port_to_its_bandwidth_and_looks_as_long_as_anything_waits() {
    // A frame of 44 and 50 bytes is 118 on the wire: a millisecond.
    let mut lab = shaped(118 * 8 * 1000);
    for number in 0..60u8 {
        assert!(lab.inside.send_bytes(&Gateway(0).from_host(&[0, number])));
    }
    let mut left = Vec::new();
    for turn in 0..70 {
        let busy = lab.turn();
        let before = left.len();
        left.extend(std::iter::from_fn(|| lab.outside.receive()));
        assert!(left.len() - before <= 3, "turn {turn}");
        assert_eq!(busy, left.len() < 60 || turn == 0, "turn {turn}");
    }
    let counters = lab.counters();
    assert_eq!((left.len(), counters.dropped()), (60, 0));
    let told = |figure| lab.control.counters.queues.told(OUTSIDE as usize, Class::Ordinary, figure);
    assert_eq!((told(Figure::Sent), told(Figure::SentBytes)), (60, 60 * 118));
    assert_eq!(counters.tx_packets[OUTSIDE as usize], 60);
    let mut far = Lab::plain(Gateway(1));
    for (number, frame) in left.into_iter().enumerate() {
        far.outside.send(frame).unwrap();
        while far.turn() {}
        Gateway(1).assert_at_host(far.inside.receive().unwrap().data(), &[0, number as u8]);
    }
}

#[test]
fn what_a_shaped_port_cannot_keep_is_counted_and_what_is_there_at_the_end_too() {
    let mut lab = shaped(200_000);
    for round in 0..8u8 {
        for number in 0..200 {
            assert!(lab.inside.send_bytes(&Gateway(0).from_host(&[round, number])));
        }
        lab.now -= 999_000;
        while lab.inside.waiting() > 0 {
            lab.now -= 999_999;
            lab.turn();
        }
    }
    lab.turn();
    let counters = lab.counters();
    let told = |figure| lab.control.counters.queues.told(OUTSIDE as usize, Class::Ordinary, figure);
    let waiting = told(Figure::Packets);
    assert!(waiting > 50, "{waiting}");
    assert_eq!((told(Figure::DroppedFull), told(Figure::Hosts)), (lab.drops(DropReason::QueueFull), 1));
    let of = |counters: &ces_dataplane::counters::Counters| {
        counters.tx_packets[OUTSIDE as usize] + counters.dropped()
    };
    assert_eq!(of(&counters) + waiting, 1600);
    lab.worker.run(&std::sync::atomic::AtomicBool::new(true));
    assert_eq!(of(&lab.counters()), 1600, "nothing is kept");
    assert!(lab.drops(DropReason::PortDown) > 0 && lab.counters().rx_packets[INSIDE as usize] == 1600);
}
