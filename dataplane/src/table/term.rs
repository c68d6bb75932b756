//! How long a binding lasts. It stands beside the bindings' lines, since no packet asks for it.

use super::entry::BindingEntry;
use crate::msg::{Binding, EndReason, Patience, TCP_IDLE_S};
use crate::packet::Packet;
use crate::tag::Handle;

/// The term of a slot that is not free, and by which handle it is known. Times are in whole seconds of the worker's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term {
    pub(super) handle: Handle,
    /// When it ends at the latest; 0 = never.
    deadline_s: u32,
    /// After how many seconds without a packet it ends; 0 = never.
    idle_s: u16,
}

impl Term {
    /// The term of a binding that begins now.
    #[inline]
    pub(super) fn new(handle: Handle, binding: &Binding, now_s: u32) -> Self {
        let &Binding { idle_s, hard_s, patience, .. } = binding;
        // 0 means never, so a deadline is at least 1.
        let deadline_s = if hard_s == 0 { 0 } else { now_s.saturating_add(hard_s).max(1) };
        let mut term = Self { handle, deadline_s, idle_s };
        if patience == Patience::Now {
            term.outlast_tcp();
        }
        term
    }

    /// Notes a packet that opens a TCP connection: the answer to the first one; within the realm the first one, too, since each
    /// half of a pair sees what its own host sends alone.
    #[inline]
    pub(super) fn opened(&mut self, entry: &BindingEntry, packet: &Packet) {
        if entry.is_patient() && packet.opens_tcp(!entry.is_tunnel()) {
            self.outlast_tcp();
        }
    }

    fn outlast_tcp(&mut self) {
        if self.idle_s != 0 {
            self.idle_s = self.idle_s.max(TCP_IDLE_S);
        }
    }

    /// Why it is over by now, if it is.
    #[inline]
    pub(super) fn over(&self, last_seen_s: u32, now_s: u32) -> Option<EndReason> {
        let idle_s = u32::from(self.idle_s);
        if self.deadline_s != 0 && now_s >= self.deadline_s {
            Some(EndReason::Hard)
        } else if idle_s != 0 && now_s.saturating_sub(last_seen_s) >= idle_s {
            Some(EndReason::Idle)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{BindingLimits, Far, HopId, TunnelId};
    use crate::way::Way;
    use crate::wire::{Pair, tcp};

    fn binding(idle_s: u16, hard_s: u32, patience: Patience) -> Binding {
        Binding {
            host: 1.into(),
            proxy: 2.into(),
            far: Far::Tunnel { tunnel: TunnelId(1), remote_tag: 1 },
            neighbour: HopId(1),
            mac: None,
            idle_s,
            patience,
            hard_s,
            limits: BindingLimits::default(),
        }
    }

    #[test]
    fn deadlines_come_before_idleness_and_zero_is_never() {
        let over = |idle_s, hard_s, from, now_s| {
            Term::new(Handle(0), &binding(idle_s, hard_s, Patience::None), from).over(from, now_s)
        };
        assert_eq!(over(0, 0, 10, 1_000_000), None);
        assert_eq!((over(5, 0, 10, 14), over(5, 0, 10, 15)), (None, Some(EndReason::Idle)));
        assert_eq!(over(5, 5, 10, 15), Some(EndReason::Hard));
        assert_eq!(over(0, 1, u32::MAX, u32::MAX), Some(EndReason::Hard));
    }

    #[test]
    fn p1_an_established_connection_makes_a_binding_last() {
        let opening = Packet { tcp_flags: tcp::SYN, ..Packet::NOTHING };
        let answer = Packet { tcp_flags: tcp::SYN | tcp::ACK, ..Packet::NOTHING };
        for (way, patience, packet, idle_s) in [
            (Way::Tunnel(1), Patience::WithTcp, answer, TCP_IDLE_S),
            (Way::Tunnel(1), Patience::WithTcp, opening, 300),
            (Way::Realm(1), Patience::WithTcp, opening, TCP_IDLE_S),
            (Way::Tunnel(1), Patience::None, answer, 300),
            (Way::Tunnel(1), Patience::Now, Packet::NOTHING, TCP_IDLE_S),
            (Way::Tunnel(1), Patience::WithTcp, Packet::NOTHING, 300),
        ] {
            let entry = BindingEntry::new(Pair::of(1), Pair::of(2), way, 1);
            let entry = if patience == Patience::None { entry } else { entry.patient() };
            assert!(entry.is_live());
            let mut term = Term::new(Handle(0), &binding(300, 0, patience), 10);
            term.opened(&entry, &packet);
            let end = 10 + u32::from(idle_s);
            let said = (term.over(10, end - 1), term.over(10, end));
            assert_eq!(said, (None, Some(EndReason::Idle)), "{way:?} {patience:?}");
        }
        let never = Term::new(Handle(0), &binding(0, 0, Patience::Now), 10);
        assert_eq!(never.over(10, u32::MAX), None);
    }
}
