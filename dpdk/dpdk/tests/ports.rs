//! Ports of DPDK's virtual devices, without huge pages. Needs root, for veth pairs in a network namespace.
//!
//! The EAL starts once per process, so all is one test, whose parts are functions.

mod support;

use dpdk::{
    Eal, Error, HEADROOM, Mbuf, Memory, Mempool, Options, Port, PortConfig, RegisteredThread, RxQueue,
};
use std::time::{Duration, Instant};
use support::{in_own_network, make_veth};

const POOL: u32 = 2047;

#[test]
fn ports_move_frames() {
    if !in_own_network("ports_move_frames") {
        return;
    }
    let options = Options {
        memory: Memory::Ordinary { mib: 128 },
        polling: Vec::new(),
        devices: Vec::new(),
        extra: Vec::new(),
    };
    let eal = Eal::start(&options).unwrap();
    assert!(matches!(Eal::start(&options), Err(Error::AlreadyStarted)));
    assert!(dpdk::version().starts_with("DPDK "));
    let pool = Mempool::new(&eal, "frames", POOL).unwrap();

    frames_grow_and_shrink(&pool);
    pool_runs_dry_and_recovers(&pool);
    too_large_a_pool_is_refused(&eal);
    missing_devices_are_named(&eal);
    threads_can_be_registered(&eal, &pool);
    ring_port_loops_back(&eal, &pool);
    null_port_takes_everything(&eal, &pool);
    veth_carries_frames(&eal, &pool);
    veth_keeps_vlan_tags(&eal, &pool);

    assert_eq!(pool.available(), POOL, "every frame is back");
    drop(pool);
    drop(eal);
}

fn frames_grow_and_shrink(pool: &Mempool) {
    let mut frame = pool.alloc().unwrap();
    assert!(frame.is_empty());
    assert_eq!(frame.headroom(), usize::from(HEADROOM));
    assert!(frame.copy_from(b"payload"));
    assert!(frame.prepend(4));
    frame.data_mut()[..4].copy_from_slice(b"head");
    assert_eq!(frame.data(), b"headpayload");
    assert!(frame.append(2));
    assert_eq!(frame.data(), b"headpayload\0\0");
    assert!(frame.adj(4) && frame.trim(2));
    assert_eq!((frame.data(), frame.len()), (&b"payload"[..], 7));

    frame.reshape(3, 5, 3).unwrap()[..5].copy_from_slice(b"over-");
    assert_eq!((frame.data(), frame.headroom()), (&b"over-loa"[..], usize::from(HEADROOM) - 2));
    assert!(frame.reshape(5, 0, 4).is_none() && frame.reshape(9, 0, 0).is_none());
    assert!(
        frame.reshape(usize::MAX, 0, 1).is_none() && frame.reshape(0, usize::from(HEADROOM), 0).is_none()
    );
    assert_eq!(frame.data(), b"over-loa");
    assert!(frame.copy_from(b"payload"));

    let tailroom = frame.tailroom();
    assert!(!frame.prepend(usize::from(HEADROOM) + 1));
    assert!(!frame.append(tailroom + 1));
    assert!(!frame.adj(8));
    assert!(!frame.trim(8));
    assert!(!frame.copy_from(&[0; 2049]));
    assert!(frame.is_empty());
    assert!(frame.copy_from(&[7; 2048]));
    assert_eq!(frame.tailroom(), 0);
}

fn pool_runs_dry_and_recovers(pool: &Mempool) {
    let mut frames = Vec::new();
    assert!(!pool.alloc_bulk(&mut frames, POOL as usize + 1));
    assert!(frames.is_empty());
    assert!(pool.alloc_bulk(&mut frames, POOL as usize));
    assert!(pool.alloc().is_none());
    assert_eq!(pool.available(), 0);
    Mbuf::free_bulk(&mut frames);
    assert_eq!(pool.available(), POOL);
}

fn too_large_a_pool_is_refused(eal: &Eal) {
    let error = Mempool::new(eal, "huge", 1 << 20).unwrap_err().to_string();
    assert!(error.contains("1048576 packet buffers") && error.contains("MiB"), "{error}");
}

fn missing_devices_are_named(eal: &Eal) {
    for device in ["net_af_packet7,iface=absent0", "0000:7f:1f.7", "net_nosuch0"] {
        let error = Port::open(eal, device).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error:?}");
        let text = error.to_string();
        eprintln!("{text}");
        assert!(text.contains(device), "{text}");
    }
}

fn threads_can_be_registered(eal: &Eal, pool: &Mempool) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _registered = RegisteredThread::new(eal).unwrap();
            let mut frames = Vec::new();
            assert!(pool.alloc_bulk(&mut frames, 300));
        });
    });
    assert_eq!(pool.available(), POOL);
}

fn ring_port_loops_back(eal: &Eal, pool: &Mempool) {
    let mut port = Port::open(eal, "net_ring0").unwrap();
    assert!(matches!(Port::open(eal, "net_ring0"), Err(Error::InUse(_))));
    let too_many = PortConfig { queues: 1000, ..PortConfig::default() };
    let error = port.start(&too_many, std::slice::from_ref(pool)).unwrap_err().to_string();
    assert!(error.contains("net_ring0") && error.contains("1000 workers"), "{error}");

    let two = PortConfig { queues: 2, ..PortConfig::default() };
    let mut queues = port.start(&two, std::slice::from_ref(pool)).unwrap();
    assert!(port.start(&two, std::slice::from_ref(pool)).is_err(), "a port starts once");
    assert!(port.link().unwrap().up);
    let (rx, tx) = &mut queues[1];
    let mut frames = Vec::with_capacity(64);
    assert!(pool.alloc_bulk(&mut frames, 40));
    for (index, frame) in frames.iter_mut().enumerate() {
        assert!(frame.copy_from(&[index as u8; 60]));
    }
    assert_eq!(tx.burst(&mut frames), 40);
    assert!(frames.is_empty());
    let mut received = Vec::with_capacity(32);
    assert_eq!(rx.burst(&mut received), 32, "as many as there is room for");
    assert!(received.iter().enumerate().all(|(index, frame)| frame.data() == [index as u8; 60]));
    assert_eq!(rx.burst(&mut received), 0);
    received.clear();
    assert_eq!(rx.burst(&mut received), 8);

    // Full: the queue takes what it can, the rest stays with the caller.
    received.clear();
    let mut sent = 0;
    let stuck = loop {
        frames.clear();
        assert!(pool.alloc_bulk(&mut frames, 64));
        let count = tx.burst(&mut frames);
        sent += count;
        if count < 64 {
            break frames.len();
        }
    };
    assert!(stuck > 0 && sent > 0);
    frames.clear();
    while rx.burst(&mut received) > 0 {
        received.clear();
    }
    drop(port);
    assert_eq!(queues[0].0.burst(&mut received), 0, "the queues keep the port running");
    drop(queues);
    assert!(Port::open(eal, "net_ring0").is_ok(), "the device is free again");
}

fn null_port_takes_everything(eal: &Eal, pool: &Mempool) {
    let mut port = Port::open(eal, "net_null0,no-rx=1").unwrap();
    assert!(port.driver().unwrap().contains("null"));
    let mut queues = port.start(&PortConfig::default(), std::slice::from_ref(pool)).unwrap();
    let mut frames = Vec::new();
    assert!(pool.alloc_bulk(&mut frames, 32));
    assert_eq!(queues[0].1.burst(&mut frames), 32);
    assert_eq!(port.stats().unwrap().tx_packets, 32);
}

fn receive(rx: &mut RxQueue, frames: &mut Vec<Mbuf>, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while frames.len() < count && Instant::now() < deadline {
        rx.burst(frames);
    }
    assert_eq!(frames.len(), count, "frames received");
}

/// A frame to everybody with a counter in its payload.
fn numbered(number: u8) -> [u8; 60] {
    let mut frame = [number; 60];
    frame[..6].fill(0xff);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5]); // IEEE 802 local experimental EtherType
    frame
}

fn veth_carries_frames(eal: &Eal, pool: &Mempool) {
    make_veth("near0", "far0");
    let mut near = Port::open(eal, "net_af_packet0,iface=near0").unwrap();
    let mut far = Port::open(eal, "net_af_packet1,iface=far0").unwrap();
    let config = PortConfig { promiscuous: true, mtu: 1400, ..PortConfig::default() };
    let mut near_queues = near.start(&config, std::slice::from_ref(pool)).unwrap();
    let mut far_queues = far.start(&config, std::slice::from_ref(pool)).unwrap();
    assert_eq!(near.mtu().unwrap(), 1400);
    assert_ne!(near.mac().unwrap(), far.mac().unwrap());
    assert!(near.link().unwrap().up);

    let mut frames = Vec::with_capacity(64);
    assert!(pool.alloc_bulk(&mut frames, 64));
    for (index, frame) in frames.iter_mut().enumerate() {
        assert!(frame.copy_from(&numbered(index as u8)));
    }
    assert_eq!(near_queues[0].1.burst(&mut frames), 64);
    receive(&mut far_queues[0].0, &mut frames, 64);
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.data(), numbered(index as u8));
        assert_eq!(frame.headroom(), usize::from(HEADROOM));
    }
    assert_eq!(far_queues[0].0.refused(), 0);
    assert_eq!(far.stats().unwrap().rx_packets, 64);
    assert_eq!(near.stats().unwrap().tx_packets, 64);
}

/// The kernel takes the tag out of a received frame and hands it to AF_PACKET beside the frame.
fn veth_keeps_vlan_tags(eal: &Eal, pool: &Mempool) {
    make_veth("near1", "far1");
    let mut near = Port::open(eal, "net_af_packet2,iface=near1").unwrap();
    let mut far = Port::open(eal, "net_af_packet3,iface=far1").unwrap();
    let config = PortConfig { promiscuous: true, ..PortConfig::default() };
    let mut near_queues = near.start(&config, std::slice::from_ref(pool)).unwrap();
    let mut far_queues = far.start(&config, std::slice::from_ref(pool)).unwrap();

    let mut tagged = numbered(9);
    tagged[12..18].copy_from_slice(&[0x81, 0x00, 0, 42, 0x88, 0xb5]);
    let mut frames = Vec::with_capacity(8);
    let mut frame = pool.alloc().unwrap();
    assert!(frame.copy_from(&tagged));
    frames.push(frame);
    assert_eq!(near_queues[0].1.burst(&mut frames), 1);
    receive(&mut far_queues[0].0, &mut frames, 1);
    assert_eq!(frames[0].data(), tagged);
}
