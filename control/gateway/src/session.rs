//! One binding as the control thread knows it.

use crate::Nanos;
use crate::hosts::HostId;
use crate::snapshot::Role;
use ces_dataplane::msg::{Binding, Far, Limits, NeighbourId, TunnelId};
use ces_dataplane::tag::{Handle, Tag};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How far a binding's life has come. Its slot and its proxy address are taken in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Set aside for a negotiation; the worker knows nothing of it.
    Reserved,
    /// The worker has it.
    Up,
    /// A half of a local pair that fell idle, while the other half is asked whether it is idle too.
    Dormant,
    /// The worker was told to remove it, and has not answered yet.
    Ending,
}

/// Where its packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Not decided: still reserved.
    Nowhere,
    /// To a peer.
    Tunnel { tunnel: TunnelId, remote_tag: u32 },
    /// To another inside host, whose half of the pair is `partner`.
    Local { source: Ipv4Addr, destination: Ipv4Addr, partner: Handle },
}

/// One binding.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) handle: Handle,
    pub(crate) tag: u32,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
    pub(crate) host: HostId,
    /// The host's address when the binding was made.
    pub(crate) address: Ipv4Addr,
    pub(crate) proxy: Ipv4Addr,
    /// Our host's name, or the name of its service that was asked for.
    pub(crate) local: Arc<str>,
    pub(crate) remote: Arc<str>,
    /// The peer's CES id; our own for a local pair.
    pub(crate) peer: Arc<str>,
    pub(crate) reach: Reach,
    /// The next hop for what leaves into the realm.
    pub(crate) neighbour: NeighbourId,
    pub(crate) idle_s: u16,
    pub(crate) hard_s: u32,
    pub(crate) since: Nanos,
    pub(crate) limits: Limits,
}

impl Session {
    /// A reservation.
    pub(crate) fn reserved(
        handle: Handle,
        tag: Tag,
        host: HostId,
        address: Ipv4Addr,
        proxy: Ipv4Addr,
        names: (Arc<str>, Arc<str>, Arc<str>),
        now: Nanos,
    ) -> Self {
        let (local, remote, peer) = names;
        Self {
            handle,
            tag: tag.0,
            phase: Phase::Reserved,
            role: Role::Initiator,
            host,
            address,
            proxy,
            local,
            remote,
            peer,
            reach: Reach::Nowhere,
            neighbour: NeighbourId(0),
            idle_s: 0,
            hard_s: 0,
            since: now,
            limits: Limits::default(),
        }
    }

    /// As the worker is told; `None` while it is only reserved.
    pub(crate) fn binding(&self, now: Nanos) -> Option<Binding> {
        let far = match self.reach {
            Reach::Nowhere => return None,
            Reach::Tunnel { tunnel, remote_tag } => Far::Tunnel { tunnel, remote_tag },
            Reach::Local { source, destination, .. } => Far::Local { source, destination },
        };
        Some(Binding {
            host: self.address,
            proxy: self.proxy,
            far,
            neighbour: self.neighbour,
            idle_s: self.idle_s,
            hard_s: self.hard_left_s(now).unwrap_or(0),
            limits: self.limits,
        })
    }

    /// Seconds of its hard lifetime that are left, at least 1; `None` = no hard lifetime.
    pub(crate) fn hard_left_s(&self, now: Nanos) -> Option<u32> {
        (self.hard_s > 0).then(|| {
            let age = (now.saturating_sub(self.since) / crate::SECOND).min(u64::from(u32::MAX)) as u32;
            self.hard_s.saturating_sub(age).max(1)
        })
    }

    /// For how long an answer with its proxy address may be kept: not beyond what is left of the binding.
    pub(crate) fn answer_ttl(&self, wanted_s: u32, now: Nanos) -> u32 {
        let idle = if self.idle_s == 0 { u32::MAX } else { u32::from(self.idle_s) };
        wanted_s.min(idle).min(self.hard_left_s(now).unwrap_or(u32::MAX))
    }

    #[cfg(test)]
    pub(crate) fn reserved_for_test(handle: Handle, tag: Tag) -> Self {
        let nothing: Arc<str> = "".into();
        let names = (Arc::clone(&nothing), Arc::clone(&nothing), nothing);
        Self::reserved(handle, tag, HostId(0), Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, names, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_never_outlives_the_binding() {
        let mut session = Session::reserved_for_test(Handle(0), Tag(1));
        assert_eq!(session.answer_ttl(120, 0), 120);
        session.idle_s = 60;
        assert_eq!(session.answer_ttl(120, 0), 60);
        session.hard_s = 100;
        assert_eq!(session.answer_ttl(120, 70 * crate::SECOND), 30);
        assert_eq!(session.answer_ttl(120, 700 * crate::SECOND), 1);
    }
}
