//! Events on their way to the control thread, until there is room for them in the ring.

use crate::msg::Event;
use std::collections::VecDeque;

/// Events that wait for room in the ring to the control thread.
const EVENTS: usize = 1024;
/// Events that may be lost (wishes for next hops, path MTUs, which all come again) leave this much room for
/// those that may not.
const EVENTS_RESERVED: usize = 256;

/// The queue. It never grows beyond what it was allocated for.
#[derive(Debug)]
pub struct Events {
    waiting: VecDeque<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(EVENTS) }
    }
}

impl Events {
    /// Whether there is room for one more.
    pub fn ready(&self) -> bool {
        self.waiting.len() < EVENTS
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one. It leaves the queue with [`Events::pop`], once it stands in the ring, so that none is lost when the
    /// ring is full.
    pub fn peek(&self) -> Option<&Event> {
        self.waiting.front()
    }

    /// Removes what [`Events::peek`] showed.
    pub fn pop(&mut self) {
        self.waiting.pop_front();
    }

    /// Queues an event for which there is room: see [`Events::ready`].
    pub fn push(&mut self, event: Event) {
        if self.ready() {
            self.waiting.push_back(event);
        }
    }

    /// Queues an event that may be lost; whether it was not.
    pub fn offer(&mut self, event: Event) -> bool {
        let room = self.waiting.len() < EVENTS - EVENTS_RESERVED;
        if room {
            self.waiting.push_back(event);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::HopId;

    #[test]
    fn what_may_be_lost_leaves_room_for_what_may_not() {
        let mut events = Events::default();
        let offered =
            (0..2 * EVENTS as u32).take_while(|&id| events.offer(Event::HopWanted(HopId(id)))).count();
        assert_eq!(offered, EVENTS - EVENTS_RESERVED);
        while events.ready() {
            events.push(Event::HopWanted(HopId(7)));
        }
        let capacity = events.waiting.capacity();
        events.push(Event::HopWanted(HopId(8)));
        assert_eq!((events.len(), events.waiting.capacity()), (EVENTS, capacity), "nothing is allocated");
        assert_eq!(events.peek(), Some(&Event::HopWanted(HopId(0))));
        events.pop();
        assert_eq!(events.peek(), Some(&Event::HopWanted(HopId(1))));
    }
}
