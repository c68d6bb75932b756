//! The ring and the gate under loom: every interleaving of a few operations, with the memory model's freedom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p machine --release --test loom`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::thread;
use machine::gate::{Barrier, Gate};
use machine::ring::ring;
use std::sync::Arc;

#[test]
fn values_arrive_once_and_in_order() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::<u32>(2);
        let writer = thread::spawn(move || {
            let mut pushed = 0;
            for value in 0..3 {
                if producer.push(value).is_err() {
                    break;
                }
                pushed += 1;
            }
            pushed
        });
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.extend(consumer.pop());
        }
        let pushed = writer.join().unwrap();
        while let Some(value) = consumer.pop() {
            taken.push(value);
        }
        assert_eq!(taken, (0..pushed).collect::<Vec<u32>>());
        assert!(pushed >= 2, "a ring of two takes two");
    });
}

#[test]
fn values_told_together_are_taken_together() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::<u32>(2);
        let writer = thread::spawn(move || {
            producer.queue(0).unwrap();
            producer.queue(1).unwrap();
            producer.tell();
            let more = producer.queue(2).is_ok();
            producer.tell();
            2 + u32::from(more)
        });
        let mut taken = Vec::new();
        let first = consumer.pop_up_to(3, |value| taken.push(value));
        assert!(first == 0 || first >= 2, "two were told at once");
        let pushed = writer.join().unwrap();
        while consumer.pop_up_to(3, |value| taken.push(value)) != 0 {}
        assert_eq!(taken, (0..pushed).collect::<Vec<u32>>());
    });
}

#[test]
fn slot_filled_in_place_is_read_whole() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring::<[u32; 2]>(1);
        let writer = thread::spawn(move || {
            let mut pushed = 0;
            for value in 1..3 {
                pushed += u32::from(producer.push_with(|slot| *slot = [value; 2]));
            }
            pushed
        });
        let mut taken = 0;
        for _ in 0..2 {
            taken += consumer.pop_with(|slot| assert_eq!(slot[0], slot[1])).map_or(0, |()| 1);
        }
        let pushed = writer.join().unwrap();
        while consumer.pop_with(|slot| assert_eq!(slot[0], slot[1])).is_some() {
            taken += 1;
        }
        assert_eq!(taken, pushed);
    });
}

#[test]
fn what_is_left_is_dropped_with_the_ring() {
    loom::model(|| {
        let value = loom::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(2);
        let sent = value.clone();
        let writer = thread::spawn(move || {
            producer.push(sent.clone()).unwrap();
            producer.push(sent).unwrap();
        });
        drop(consumer.pop());
        writer.join().unwrap();
        drop(consumer);
        assert_eq!(loom::sync::Arc::strong_count(&value), 1);
    });
}

/// What is behind the gate: loom tells if it is read while somebody writes it.
struct Behind(UnsafeCell<u32>);

// SAFETY: this is what the tests are about.
unsafe impl Sync for Behind {}

impl Behind {
    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }

    fn add(&self) {
        // SAFETY: as above.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }
}

// The kernel's barrier is a fence in every thread, wherever it may be; loom knows fences only where they are called.

#[test]
fn nobody_is_behind_a_closed_gate() {
    loom::model(|| {
        let (gate, behind) = (Gate::new(Barrier::Own), Arc::new(Behind(UnsafeCell::new(0))));
        let (mut pass, seen) = (gate.pass(), behind.clone());
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                pass.through(|| seen.read());
            }
        });
        let closed = gate.close();
        behind.add();
        drop(closed);
        reader.join().unwrap();
        assert_eq!(gate.pass().through(|| behind.read()), Some(1));
    });
}

#[test]
fn one_at_a_time_has_it_closed_and_new_passes_heed_it() {
    loom::model(|| {
        let (gate, behind) = (Gate::new(Barrier::Own), Arc::new(Behind(UnsafeCell::new(0))));
        let (of_other, seen) = (gate.clone(), behind.clone());
        let other = thread::spawn(move || {
            let closed = of_other.close();
            seen.add();
            drop(closed);
        });
        gate.pass().through(|| behind.read());
        let closed = gate.close();
        behind.add();
        drop(closed);
        other.join().unwrap();
        assert_eq!(gate.pass().through(|| behind.read()), Some(2));
    });
}
