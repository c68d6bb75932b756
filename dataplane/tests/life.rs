//! The life of bindings, told by events: inserted, counted, idle, too old, removed; full tables; a full event queue.
#![allow(missing_docs)]

mod common;

use ces_dataplane::egress::Egress;
use ces_dataplane::msg::{
    Binding, BindingLimits, Command, EndReason, Event, Far, Fate, HopId, InsertError, Neighbour, Patience,
    TraceFilter, TunnelId,
};
use ces_dataplane::msg::{BindingStats, Encapsulation};
use ces_dataplane::reason::DropReason;
use ces_dataplane::tag::Layout;
use ces_dataplane::verdict::Verdict;
use common::*;

fn numbered(number: u32) -> Binding {
    Binding { proxy: address(PROXY + number), ..binding() }
}

/// Turns until every slot was looked at once.
fn sweep(gateway: &mut Gateway) {
    for _ in 0..200 {
        gateway.now += SECOND / 50;
        let now = gateway.now;
        gateway.state.tick(now);
    }
}

#[test]
fn counters_are_the_hosts_packets() {
    let mut g = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    let out = Ip::new(HOST, PROXY, 17, udp(1, 2, b"12345678"));
    let back = Ip::new(REMOTE_TAG, g.tag(0), 17, udp(2, 1, b""));
    for _ in 0..3 {
        g.one(INSIDE, &from_host(&out));
    }
    g.now += SECOND;
    g.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &back));
    g.now += 5 * SECOND;
    let handle = g.handle(0);
    let stats = BindingStats { out_packets: 3, out_bytes: 3 * 36, in_packets: 1, in_bytes: 28, idle_s: 5 };
    g.command(Command::ReadBinding(handle));
    g.command(Command::RemoveBinding(handle));
    g.command(Command::ReadBinding(handle));
    g.command(Command::RemoveBinding(handle));
    assert_eq!(
        g.events(),
        [
            Event::BindingStats(handle, Some(stats)),
            Event::BindingEnded(handle, EndReason::Removed, stats),
            Event::BindingStats(handle, None),
        ]
    );
    assert_eq!(g.one(INSIDE, &from_host(&out)).0, Verdict::Reply(Egress::by(INSIDE), DropReason::NoBinding));
    assert_eq!(g.state.counters.bindings_live, 0);
}

#[test]
fn idle_and_old_bindings_end_and_their_slots_are_free() {
    let mut g = Gateway::bare(settings());
    g.command(Command::SetTunnel(TunnelId(0), tunnel(Encapsulation::Vxlan)));
    let handles: Vec<_> = (0..3).map(|slot| g.handle(slot)).collect();
    g.command(Command::InsertBinding(handles[0], Binding { idle_s: 10, ..numbered(0) }));
    g.command(Command::InsertBinding(handles[1], Binding { hard_s: 20, ..numbered(1) }));
    g.command(Command::InsertBinding(handles[2], numbered(2)));
    for _ in 0..2 {
        sweep(&mut g); // 4 s each
        g.one(INSIDE, &from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, b""))));
    }
    assert_eq!(g.events(), []);
    for _ in 0..4 {
        sweep(&mut g);
    }
    let ended: Vec<_> = g
        .events()
        .into_iter()
        .map(|event| match event {
            Event::BindingEnded(handle, reason, stats) => (handle, reason, stats.out_packets),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ended, [(handles[0], EndReason::Idle, 2), (handles[1], EndReason::Hard, 0)]);
    assert_eq!(g.state.counters.bindings_live, 1);
    g.command(Command::InsertBinding(handles[0], numbered(0)));
    assert_eq!(g.events(), []);
}

/// Both straight lines leave a SYN to the long way, which is where a connection is noticed.
#[test]
fn p1_a_silent_connection_is_not_over() {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    for (answered, ends) in [(true, false), (false, true)] {
        let mut g = Gateway::new(
            settings(),
            Encapsulation::Vxlan,
            Binding { idle_s: 300, patience: Patience::WithTcp, ..binding() },
        );
        let segment = |flags| tcp(1, 80, flags, &[], b"");
        g.one(INSIDE, &from_host(&Ip::new(HOST, PROXY, 6, segment(SYN))));
        if answered {
            let answer = Ip::new(REMOTE_TAG, g.tag(0), 6, tcp(80, 1, SYN | ACK, &[], b""));
            assert!(matches!(
                g.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &answer)).0,
                Verdict::Forward(_)
            ));
        }
        g.one(INSIDE, &from_host(&Ip::new(HOST, PROXY, 6, segment(ACK))));
        g.now += 325 * SECOND;
        sweep(&mut g);
        assert_eq!(g.events().is_empty(), !ends, "325 s of silence");
        let data = from_host(&Ip::new(HOST, PROXY, 6, segment(ACK)));
        assert_eq!(matches!(g.one(INSIDE, &data).0, Verdict::Forward(_)), !ends);
        // RFC 5382 §5, REQ-5: 2 hours and 4 minutes, and not for ever.
        g.now += 7_439 * SECOND;
        assert_eq!(g.events(), []);
        g.now += 2 * SECOND;
        sweep(&mut g);
        assert_eq!(g.state.counters.bindings_live, 0);
    }
}

#[test]
fn what_cannot_be_inserted_says_why() {
    let mut g = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    let rate = |bps| BindingLimits { rate_bps: Some(bps), ..BindingLimits::default() };
    let handles: Vec<_> = (0..5).map(|slot| g.handle(slot)).collect();
    let far_slot = g.settings.layout.handle(0, 63, 0);
    let beyond = ces_dataplane::tag::Handle(64);
    g.command(Command::InsertBinding(handles[0], numbered(1))); // slot taken
    g.command(Command::InsertBinding(handles[1], numbered(0))); // pair taken
    g.command(Command::InsertBinding(handles[2], Binding { limits: rate(1), ..numbered(2) }));
    g.command(Command::InsertBinding(handles[3], Binding { limits: rate(1), ..numbered(3) }));
    g.command(Command::InsertBinding(handles[4], Binding { limits: rate(1), ..numbered(4) })); // third of two
    g.command(Command::InsertBinding(far_slot, numbered(5)));
    let _ = beyond;
    assert_eq!(
        g.events(),
        [
            Event::InsertFailed(handles[0], InsertError::Occupied),
            Event::InsertFailed(handles[1], InsertError::Occupied),
            Event::InsertFailed(handles[4], InsertError::LimitsFull),
        ]
    );
    // A limit that was given back is used again.
    g.command(Command::RemoveBinding(handles[2]));
    g.command(Command::InsertBinding(handles[4], Binding { limits: rate(1), ..numbered(4) }));
    assert_eq!(g.events().len(), 1);
    assert_eq!((g.state.counters.insert_failed, g.state.counters.bindings_live), (3, 4));
}

#[test]
fn every_slot_can_be_used_and_used_again() {
    let mut all = settings();
    all.bindings = 1000;
    all.layout = Layout::new(1, 1000);
    let mut g = Gateway::bare(all);
    for generation in 0..3 {
        let handle = |g: &Gateway, slot| g.settings.layout.handle(0, slot, generation);
        for slot in 0..1000 {
            let handle = handle(&g, slot);
            g.command(Command::InsertBinding(handle, numbered(slot * 7 + generation)));
        }
        assert_eq!(g.events(), []);
        assert_eq!(g.state.counters.bindings_live, 1000);
        for slot in 0..1000 {
            let handle = handle(&g, slot);
            g.command(Command::RemoveBinding(handle));
        }
        assert_eq!(g.events().len(), 1000);
    }
}

#[test]
fn no_end_is_lost_when_the_queue_is_full() {
    let mut all = settings();
    all.bindings = 3000;
    all.layout = Layout::new(1, 3000);
    let mut g = Gateway::bare(all);
    for slot in 0..3000 {
        let handle = g.settings.layout.handle(0, slot, 1);
        g.command(Command::InsertBinding(handle, Binding { hard_s: 1, ..numbered(slot) }));
    }
    g.now += 2 * SECOND;
    sweep(&mut g);
    assert!(!g.state.ready());
    assert_eq!(g.state.counters.bindings_live, 0);
    let mut ended: Vec<_> = Vec::new();
    for _ in 0..10 {
        ended.extend(g.events());
        sweep(&mut g);
    }
    assert_eq!(ended.len(), 3000);
    assert!(ended.iter().all(|event| matches!(event, Event::BindingEnded(_, EndReason::Hard, _))));
}

#[test]
fn a_local_binding_says_its_handle_too() {
    let mut g = Gateway::bare(settings());
    let handle = g.handle(4);
    let far = Far::Local { source: address(PROXY_HOST), destination: address(OTHER) };
    g.command(Command::InsertBinding(handle, Binding { far, ..binding() }));
    g.command(Command::RemoveBinding(handle));
    assert!(matches!(g.events()[..], [Event::BindingEnded(ended, EndReason::Removed, _)] if ended == handle));
}

#[test]
fn next_hops_beyond_the_table_drop() {
    let mut g =
        Gateway::new(settings(), Encapsulation::Vxlan, Binding { neighbour: HopId(1 << 30), ..binding() });
    g.command(Command::SetHop(HopId(1 << 30), Neighbour { port: 0, mac: Some([2; 6]), pin: None }));
    g.command(Command::SetHop(HopId(5), Neighbour { port: 200, mac: Some([2; 6]), pin: None }));
    let back = Ip::new(REMOTE_TAG, g.tag(0), 17, udp(2, 1, b""));
    let (verdict, _) = g.one(OUTSIDE, &from_peer(Encapsulation::Vxlan, &back));
    assert_eq!(verdict, Verdict::Drop(DropReason::NeighbourUnresolved));
}

#[test]
fn a_trace_shows_before_after_and_fate() {
    let mut g = Gateway::new(settings(), Encapsulation::Vxlan, binding());
    let good = from_host(&Ip::new(HOST, PROXY, 17, udp(1, 2, b"traced")));
    let other = from_host(&Ip::new(OTHER, PROXY, 6, tcp(1, 2, 0x10, &[], b"")));
    let back = from_peer(Encapsulation::Vxlan, &Ip::new(REMOTE_TAG, g.tag(0), 17, udp(2, 1, b"")));
    let handle = g.handle(0);
    let mut traced = |filter: TraceFilter, port, frames: &[Vec<u8>]| {
        g.command(Command::Trace(filter, 2));
        g.burst(port, frames);
        let records: Vec<_> = g
            .traces()
            .into_iter()
            .map(|record| (record.fate, record.binding, record.length, record.length_after))
            .collect();
        g.command(Command::Trace(filter, 0));
        records
    };
    let length = good.len() as u16;
    let forwarded = (Fate::Forward(OUTSIDE), Some(handle), length, length + 50);
    // The ICMP error quotes the packet, behind 28 bytes.
    let told = other.len() as u16 + 28;
    let dropped = (Fate::Reply(INSIDE, DropReason::NoBinding), None, other.len() as u16, told);
    let frames = [good.clone(), other.clone(), good.clone()];
    let all = TraceFilter::default();
    assert_eq!(traced(all, INSIDE, &frames), [forwarded, dropped]);
    assert_eq!(traced(TraceFilter { dropped_only: true, ..all }, INSIDE, &frames), [dropped]);
    assert_eq!(traced(TraceFilter { protocol: Some(17), ..all }, INSIDE, &frames), [forwarded, forwarded]);
    assert_eq!(traced(TraceFilter { address: Some(address(OTHER)), ..all }, INSIDE, &frames), [dropped]);
    assert_eq!(traced(TraceFilter { port: Some(1), ..all }, INSIDE, &frames), []);
    let inner = TraceFilter { address: Some(address(REMOTE_TAG)), protocol: Some(17), ..all };
    let arrived = (Fate::Forward(INSIDE), Some(handle), back.len() as u16, back.len() as u16 - 50);
    assert_eq!(traced(inner, OUTSIDE, &[back]), [arrived]);
}
