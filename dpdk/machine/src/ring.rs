//! The ring between two threads: bounded, lockless, one producer and one consumer.
//!
//! Each side owns its index and keeps a copy of the other's, which it reads anew only when the ring looks full or
//! empty: in a steady flow the two cores do not fight over the index lines. A slot is an `Option<T>` that is always
//! initialised, so that one ring serves both ways of use:
//!
//! * values are moved: [`Producer::push`], [`Consumer::pop`];
//! * large slots are filled and read in place: [`Producer::push_with`], [`Consumer::pop_with`]. Such a slot keeps its old
//!   contents for the next round.
//!
//! A full ring refuses; counting what was refused is the caller's business.

use crossbeam::utils::CachePadded;

#[cfg(not(loom))]
use self::plain::UnsafeCell;
#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// `std`'s cell with the interface of loom's.
#[cfg(not(loom))]
mod plain {
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// Indices count up for ever and wrap; a slot is the index modulo the capacity, a power of two.
struct Shared<T> {
    /// The next slot to read; written by the consumer.
    head: CachePadded<AtomicUsize>,
    /// The next slot to write; written by the producer.
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<Option<T>>]>,
}

// SAFETY: a slot is touched by one thread at a time: by the producer from `tail` to `head + capacity`, by the consumer from
// `head` to `tail`, and each index is published with Release after the slot was used and read with Acquire before. The
// values move from one thread to the other, hence `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The slot of an index.
    #[inline(always)]
    fn slot(&self, index: usize) -> &UnsafeCell<Option<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

/// The writing end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// Up to where the consumer was told.
    told: usize,
    head_seen: usize,
}

/// The reading end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// A ring with room for `capacity` values, rounded up to a power of two. Nothing is allocated afterwards.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1).next_power_of_two();
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        slots: (0..capacity).map(|_| UnsafeCell::new(None)).collect(),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, told: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// Appends a value, or gives it back if the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.fill(|slot| *slot = Some(value));
        Ok(())
    }

    /// Appends a value, or gives it back if the ring is full. The consumer does not see it before [`Producer::tell`]: the
    /// line of the index goes from core to core once for many values.
    #[inline]
    pub fn queue(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.place(|slot| *slot = Some(value));
        Ok(())
    }

    /// Shows the consumer all that was queued.
    #[inline]
    pub fn tell(&mut self) {
        if self.told != self.tail {
            self.told = self.tail;
            self.shared.tail.store(self.tail, Ordering::Release);
        }
    }

    /// Appends a value by filling its slot in place; `false` if the ring is full. The slot holds what it held a round
    /// earlier, or `T::default()`.
    #[inline]
    pub fn push_with(&mut self, fill: impl FnOnce(&mut T)) -> bool
    where
        T: Default,
    {
        if self.is_full() {
            return false;
        }
        self.fill(|slot| fill(slot.get_or_insert_with(T::default)));
        true
    }

    #[inline(always)]
    fn fill(&mut self, fill: impl FnOnce(&mut Option<T>)) {
        self.place(fill);
        self.tell();
    }

    #[inline(always)]
    fn place(&mut self, fill: impl FnOnce(&mut Option<T>)) {
        // SAFETY: the ring is not full (`is_full` was asked by all callers), so the consumer is done with this slot, which
        // the Acquire load in `is_full` made visible, and does not touch it before `tail` passes it below. `&mut self` is
        // the only producer.
        self.shared.slot(self.tail).with_mut(|slot| fill(unsafe { &mut *slot }));
        self.tail = self.tail.wrapping_add(1);
    }

    /// Whether a push would fail. Asks the consumer's index only if it has to.
    #[inline(always)]
    fn is_full(&mut self) -> bool {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) < capacity {
            return false;
        }
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head_seen) >= capacity
    }

    /// Values in the ring now; the consumer may have taken some meanwhile.
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.shared.head.load(Ordering::Acquire))
    }

    /// Whether the ring is empty now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values it holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.nothing_left() {
            return None;
        }
        self.read(Option::take)
    }

    /// Takes up to `most` of the oldest values; how many it was. The producer is told once.
    #[inline]
    pub fn pop_up_to(&mut self, most: usize, mut take: impl FnMut(T)) -> usize {
        if most == 0 || self.nothing_left() {
            return 0;
        }
        let count = self.tail_seen.wrapping_sub(self.head).min(most);
        for _ in 0..count {
            // SAFETY: as in `read`; `count` values are there, as `nothing_left` saw.
            let value = self.shared.slot(self.head).with_mut(|slot| unsafe { &mut *slot }.take());
            self.head = self.head.wrapping_add(1);
            if let Some(value) = value {
                take(value);
            }
        }
        self.shared.head.store(self.head, Ordering::Release);
        count
    }

    /// Reads the oldest value in its slot, which keeps it for [`Producer::push_with`] to write over.
    #[inline]
    pub fn pop_with<R>(&mut self, read: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.nothing_left() {
            return None;
        }
        self.read(|slot| slot.as_mut().map(read))
    }

    #[inline(always)]
    fn read<R>(&mut self, read: impl FnOnce(&mut Option<T>) -> R) -> R {
        // SAFETY: the ring is not empty (`nothing_left` was asked by both callers), so the producer is done with this slot,
        // which the Acquire load there made visible, and does not touch it before `head` passes it below. `&mut self` is
        // the only consumer.
        let result = self.shared.slot(self.head).with_mut(|slot| read(unsafe { &mut *slot }));
        self.head = self.head.wrapping_add(1);
        self.shared.head.store(self.head, Ordering::Release);
        result
    }

    /// Whether there is nothing to take. Asks the producer's index only if it has to.
    #[inline(always)]
    fn nothing_left(&mut self) -> bool {
        if self.head != self.tail_seen {
            return false;
        }
        self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        self.head == self.tail_seen
    }

    /// Values in the ring now; the producer may have added some meanwhile.
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Acquire).wrapping_sub(self.head)
    }

    /// Whether the ring is empty now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values it holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Producer({} of {})", self.len(), self.capacity())
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({} of {})", self.len(), self.capacity())
    }
}
