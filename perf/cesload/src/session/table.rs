//! The client's sessions: 32 bytes each, found by arithmetic, and in order of what they wait for.
//!
//! A session belongs to a client address and a client port, and their numbers are its place. So a reply is found without
//! hashing, and the table needs no more than the profile's addresses and ports. Whoever waits stands in a list, oldest
//! first: all of a list wait equally long, so that the next one due is its head.

use crate::session::stamp::Stamp;
use ces_dataplane::Nanos;
use machine::table::HugeSlice;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// There is none.
    #[default]
    Free,
    /// It waits for the DNS answer.
    Asking,
    /// It waits for the SYN-ACK, or over UDP for the first response.
    Opening,
    /// It waits for a response.
    Requesting,
    /// It thinks until the next request.
    Thinking,
    /// It is kept open, and waits for nothing.
    Idle,
    /// It waits for the server's FIN.
    Closing,
}

/// What a session can wait for in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Something from the other side.
    Reply = 0,
    /// Its own next request.
    Thought = 1,
}

impl State {
    const fn wait(self) -> Option<Wait> {
        match self {
            Self::Free | Self::Idle => None,
            Self::Asking | Self::Opening | Self::Requesting | Self::Closing => Some(Wait::Reply),
            Self::Thinking => Some(Wait::Thought),
        }
    }
}

/// One session.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionSlot {
    /// When it began.
    pub begun: Stamp,
    /// Until it is set up: when its first packet (not its DNS query) was sent. After that, over TCP: the first sequence
    /// number that is not acknowledged.
    pub mark: u32,
    /// When it last entered its state or sent again.
    touched: Stamp,
    /// The other side's address; while it asks, the name's number.
    pub peer: u32,
    /// Over TCP, the next sequence number from the other side.
    pub expected: u32,
    next: u32,
    previous: u32,
    /// Requests that were answered, modulo 2¹⁶.
    pub answered: u16,
    state: State,
    /// How often it has sent again in its state.
    pub again: u8,
}

const _: () = assert!(size_of::<SessionSlot>() == 32, "two sessions to a cache line");

impl SessionSlot {
    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Nanoseconds since it entered its state or sent again.
    pub fn waited(&self, now: Nanos) -> Option<Nanos> {
        Stamp::at(now).since(self.touched)
    }
}

/// No slot.
const NONE: u32 = u32::MAX;

/// Those who wait for the same.
#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
}

/// All sessions of one profile.
pub struct Table {
    slots: HugeSlice<SessionSlot>,
    lists: [List; 2],
    /// Slots that are not free.
    open: u32,
    /// Slots that are idle.
    idle: u32,
    /// All slots from here on are free.
    used: u32,
    /// Where the search for a free slot goes on.
    cursor: u32,
}

/// So many slots are looked at for a free one. They become free in about the order in which they were taken, so the first
/// mostly is.
const LOOK: u32 = 16;

impl Table {
    /// A table of free slots.
    ///
    /// # Errors
    /// If the system has not that much memory available.
    pub fn new(slots: u32) -> std::io::Result<Self> {
        let list = List { oldest: NONE, newest: NONE };
        Ok(Self {
            slots: HugeSlice::new(slots as usize)?,
            lists: [list; 2],
            open: 0,
            idle: 0,
            used: 0,
            cursor: 0,
        })
    }

    /// Sessions that it has room for.
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Sessions that are not at their end.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Sessions that are idle.
    pub fn idle(&self) -> u32 {
        self.idle
    }

    /// All sessions are in slots below this.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Before a trial. `from_first`: slots are taken from the first one on.
    pub fn reset(&mut self, from_first: bool) {
        if self.open == 0 {
            self.used = 0;
        }
        if from_first {
            self.cursor = 0;
        }
    }

    /// A session.
    pub fn slot(&self, index: u32) -> &SessionSlot {
        &self.slots[index as usize]
    }

    /// A session, to be changed.
    pub fn slot_mut(&mut self, index: u32) -> &mut SessionSlot {
        &mut self.slots[index as usize]
    }

    /// Asks for a session's memory, which is needed soon.
    pub fn prefetch(&self, index: u32) {
        machine::prefetch_write(self.slot(index));
    }

    /// A free slot, the one that was free longest if all sessions take equally long.
    pub fn free(&mut self) -> Option<u32> {
        for _ in 0..LOOK.min(self.capacity()) {
            let index = self.cursor;
            self.cursor = if index + 1 == self.capacity() { 0 } else { index + 1 };
            if self.slot(index).state == State::Free {
                return Some(index);
            }
        }
        None
    }

    /// Brings a session into a state, to wait there from now on.
    pub fn enter(&mut self, index: u32, state: State, now: Nanos) {
        let before = self.slot(index).state;
        if let Some(wait) = before.wait() {
            self.unlink(index, wait);
        }
        self.open += u32::from(before == State::Free);
        self.open -= u32::from(state == State::Free);
        self.idle += u32::from(state == State::Idle);
        self.idle -= u32::from(before == State::Idle);
        self.used = self.used.max(index + 1);
        let slot = self.slot_mut(index);
        slot.state = state;
        slot.touched = Stamp::at(now);
        slot.again = 0;
        if let Some(wait) = state.wait() {
            self.link(index, wait);
        }
    }

    /// Lets a session wait anew in its state, because it has sent again.
    pub fn wait_again(&mut self, index: u32, now: Nanos) {
        let Some(wait) = self.slot(index).state.wait() else { return };
        self.unlink(index, wait);
        let slot = self.slot_mut(index);
        slot.touched = Stamp::at(now);
        slot.again += 1;
        self.link(index, wait);
    }

    /// The session that waits longest, if that is so long.
    pub fn due(&self, wait: Wait, patience: Nanos, now: Nanos) -> Option<u32> {
        let oldest = self.lists[wait as usize].oldest;
        if oldest == NONE {
            return None;
        }
        let waited = self.slot(oldest).waited(now)?;
        (waited >= patience).then_some(oldest)
    }

    fn link(&mut self, index: u32, wait: Wait) {
        let newest = std::mem::replace(&mut self.lists[wait as usize].newest, index);
        if newest == NONE {
            self.lists[wait as usize].oldest = index;
        } else {
            self.slot_mut(newest).next = index;
        }
        let slot = self.slot_mut(index);
        (slot.previous, slot.next) = (newest, NONE);
    }

    fn unlink(&mut self, index: u32, wait: Wait) {
        let SessionSlot { previous, next, .. } = *self.slot(index);
        if previous == NONE {
            self.lists[wait as usize].oldest = next;
        } else {
            self.slot_mut(previous).next = next;
        }
        if next == NONE {
            self.lists[wait as usize].newest = previous;
        } else {
            self.slot_mut(next).previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const STATES: [State; 7] = [
        State::Free,
        State::Asking,
        State::Opening,
        State::Requesting,
        State::Thinking,
        State::Idle,
        State::Closing,
    ];

    proptest! {
        /// Against two queues of the standard library.
        #[test]
        fn the_longest_waiting_is_found(
            operations in proptest::collection::vec((0u32..8, 0usize..8, 0u64..3), 0..200),
        ) {
            let mut table = Table::new(8).unwrap();
            let mut model = [VecDeque::new(), VecDeque::new()];
            let mut now = 1 << 20;
            for (index, what, units) in operations {
                now += units << 8;
                let before = table.slot(index).state();
                for queue in &mut model {
                    queue.retain(|&(one, _)| one != index || what == 7 && before.wait().is_none());
                }
                if what == 7 {
                    table.wait_again(index, now);
                } else {
                    table.enter(index, STATES[what], now);
                }
                if let Some(wait) = table.slot(index).state().wait() {
                    model[wait as usize].push_back((index, now));
                }
                for wait in [Wait::Reply, Wait::Thought] {
                    for patience in [0, 256, 1024] {
                        let expected = model[wait as usize].front().filter(|(_, since)| now - since >= patience);
                        prop_assert_eq!(table.due(wait, patience, now), expected.map(|&(index, _)| index));
                    }
                }
                let open = (0..8).filter(|&one| table.slot(one).state() != State::Free).count();
                prop_assert_eq!(table.open() as usize, open);
            }
        }
    }

    #[test]
    fn slots_are_taken_in_turn() {
        let mut table = Table::new(3).unwrap();
        for expected in [0, 1, 2] {
            assert_eq!(table.free(), Some(expected));
            table.enter(expected, State::Idle, 0);
        }
        assert_eq!(table.free(), None);
        table.enter(1, State::Free, 0);
        assert_eq!(table.free(), Some(1));
    }
}
