//! What others have learnt about NAT44, restated: reports of those who run one, the suites of the best known ones, bad input.
//! `docs/checklists.md` says which test stands for which case.
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod reports;
mod statics;
mod suites;

use ces_dataplane::verdict::Verdict;
use common::nat::*;
use common::*;

/// A segment with a sequence number of its own, between the host's port and the server's.
fn numbered(out: bool, flags: u8, sequence: u32, data: &[u8]) -> Vec<u8> {
    let ports = if out { (4000, 80) } else { (80, 4000) };
    let mut segment = tcp(ports.0, ports.1, flags, &[], data);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    if out {
        from_host(&Ip::new(HOST, SERVER, 6, segment))
    } else {
        from_world(&Ip::new(SERVER, LOCAL, 6, segment))
    }
}

/// A gateway with an established TCP connection between the host's port 4000 and the server's port 80.
fn connected() -> Gateway {
    let mut gateway = gateway();
    for (out, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
        assert!(segment(&mut gateway, out, flags).is_some());
    }
    gateway
}

/// Sends segments, all of which are carried.
fn carried(gateway: &mut Gateway, steps: &[(bool, u8)]) {
    for (step, &(out, flags)) in steps.iter().enumerate() {
        assert!(segment(gateway, out, flags).is_some(), "step {step}");
    }
}

fn live(gateway: &mut Gateway) -> u64 {
    gateway.state.take_stock();
    gateway.state.counters.sessions_live
}

/// Whether a packet is stopped here without a word to anybody.
fn silent(gateway: &mut Gateway, port: u8, frame: &[u8]) -> bool {
    let (verdict, out) = gateway.one(port, frame);
    matches!(verdict, Verdict::Drop(_)) && out.is_empty()
}
