//! The gate among threads of the system, with each kind of barrier.
#![cfg(not(loom))]

use machine::gate::{Barrier, Gate};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn this_kernel_has_barriers() {
    assert_eq!(Barrier::cheapest(), Barrier::Kernel);
}

#[test]
fn who_is_behind_it_is_waited_for_and_nobody_comes_after() {
    let gate = Gate::new(Barrier::cheapest());
    let (mut pass, mut late) = (gate.pass(), gate.pass());
    let (inside, entered) = mpsc::channel();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pass.through(|| {
                inside.send(()).unwrap();
                // Long against the time that closing takes; if it were not, the test would still be right.
                std::thread::sleep(Duration::from_millis(50));
                done.store(true, Ordering::Relaxed);
            })
        });
        entered.recv().unwrap();
        let closed = gate.close();
        assert!(done.load(Ordering::Relaxed), "closed with somebody behind it");
        assert_eq!(late.through(|| ()), None);
        assert_eq!(gate.pass().through(|| ()), None, "made while it was closed");
        drop(closed);
        assert_eq!(late.through(|| 1), Some(1));
    });
}

#[test]
fn a_panic_behind_it_leaves_no_mark() {
    let gate = Gate::new(Barrier::cheapest());
    let mut pass = gate.pass();
    std::thread::spawn(move || pass.through(|| panic!("behind the gate"))).join().unwrap_err();
    drop(gate.close());
}

/// Threads that pass all the time, and one that closes: what that one does is never seen half done.
fn contended(barrier: Barrier) {
    const CLOSINGS: u64 = 2000;
    let gate = Gate::new(barrier);
    let (torn, ended, inside) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut pass = gate.pass();
            let (torn, ended, inside, passed) = (&torn, &ended, &inside, &passed);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let through = pass.through(|| {
                        inside.fetch_add(1, Ordering::Relaxed);
                        let whole = !torn.load(Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::Relaxed);
                        whole
                    });
                    assert_ne!(through, Some(false), "behind a closed gate");
                    passed.fetch_add(u64::from(through.is_some()), Ordering::Relaxed);
                }
            });
        }
        for _ in 0..CLOSINGS {
            let closed = gate.close();
            torn.store(true, Ordering::Relaxed);
            assert_eq!(inside.load(Ordering::Relaxed), 0, "closed with somebody behind it");
            torn.store(false, Ordering::Relaxed);
            drop(closed);
        }
        while passed.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn many_pass_and_one_closes_with_the_kernels_barrier() {
    contended(Barrier::cheapest());
}

#[test]
fn many_pass_and_one_closes_with_their_own_fences() {
    contended(Barrier::Own);
}
