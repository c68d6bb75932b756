//! The ring against `VecDeque`, and between two real threads.
#![cfg(not(loom))]

use machine::ring::ring;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Operation {
    Push(u32),
    PushWith(u32),
    Pop,
    PopWith,
    Queue(u32),
    Tell,
    PopUpTo(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        any::<u32>().prop_map(Operation::Push),
        any::<u32>().prop_map(Operation::PushWith),
        Just(Operation::Pop),
        Just(Operation::PopWith),
        any::<u32>().prop_map(Operation::Queue),
        Just(Operation::Tell),
        (0usize..10).prop_map(Operation::PopUpTo),
    ]
}

proptest! {
    #[test]
    fn ring_behaves_as_a_bounded_deque(capacity in 1usize..9, operations in prop::collection::vec(operation(), 0..200)) {
        let (mut producer, mut consumer) = ring::<u32>(capacity);
        let capacity = capacity.next_power_of_two();
        let mut model = VecDeque::new();
        let mut untold = VecDeque::new();
        for operation in operations {
            let fits = model.len() + untold.len() < capacity;
            match operation {
                Operation::Push(value) => {
                    let expected = if fits { untold.push_back(value); Ok(()) } else { Err(value) };
                    prop_assert_eq!(producer.push(value), expected);
                    // What goes ahead of it is told with it.
                    if fits { model.append(&mut untold); }
                }
                Operation::PushWith(value) => {
                    prop_assert_eq!(producer.push_with(|slot| *slot = value), fits);
                    if fits { untold.push_back(value); model.append(&mut untold); }
                }
                Operation::Queue(value) => {
                    prop_assert_eq!(producer.queue(value), if fits { Ok(()) } else { Err(value) });
                    if fits { untold.push_back(value); }
                }
                Operation::Tell => {
                    producer.tell();
                    model.append(&mut untold);
                }
                Operation::PopUpTo(most) => {
                    let mut taken = Vec::new();
                    let count = consumer.pop_up_to(most, |value| taken.push(value));
                    prop_assert_eq!(count, taken.len());
                    prop_assert!(count <= most && (count > 0 || most == 0 || model.is_empty()));
                    prop_assert_eq!(taken, model.drain(..count).collect::<Vec<_>>());
                }
                Operation::Pop => prop_assert_eq!(consumer.pop(), model.pop_front()),
                Operation::PopWith => prop_assert_eq!(consumer.pop_with(|slot| *slot), model.pop_front()),
            }
            prop_assert_eq!(producer.len(), model.len() + untold.len());
            prop_assert_eq!(consumer.len(), model.len());
            prop_assert_eq!(consumer.is_empty(), model.is_empty());
        }
    }
}

#[test]
fn a_million_values_cross_between_threads_in_order() {
    const COUNT: u64 = 1_000_000;
    let (mut producer, mut consumer) = ring::<u64>(256);
    let writer = std::thread::spawn(move || {
        for value in 0..COUNT {
            while producer.push(value).is_err() {
                std::thread::yield_now();
            }
        }
    });
    for expected in 0..COUNT {
        let value = loop {
            if let Some(value) = consumer.pop() {
                break value;
            }
            std::thread::yield_now();
        };
        assert_eq!(value, expected);
    }
    writer.join().unwrap();
    assert_eq!(consumer.pop(), None);
}
