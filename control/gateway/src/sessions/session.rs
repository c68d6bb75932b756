//! One session as the control thread knows it: plain data that means the same on every node and after every restart.

use crate::Nanos;
use crate::address::{HostAddress, ProxyAddress, TunnelEnd};
use crate::snapshot::SessionOrigin;
use ces_dataplane::msg::{BindingLimits, Encapsulation};
use ces_dataplane::tag::Handle;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far a session's life has come. Its slot and its proxy address are taken in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Set aside for a negotiation; the worker knows nothing of it.
    Reserved,
    /// The worker has it.
    Up,
    /// A half of a local pair that fell idle, while the other half is asked whether it is idle too.
    Dormant,
    /// The worker was told to remove it, and has not answered yet.
    Ending,
}

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairNames {
    /// Our host's name, or the name of its service that was asked for.
    pub local: Arc<str>,
    /// The far name.
    pub remote: Arc<str>,
    /// The peer's CES id; our own for a local pair.
    pub peer: Arc<str>,
}

/// What makes a tunnel another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TunnelKey {
    /// The peer's CES id.
    pub peer: Arc<str>,
    /// The header in use.
    pub encapsulation: Encapsulation,
    /// Our locator.
    pub local: TunnelEnd,
    /// The peer's locator.
    pub remote: TunnelEnd,
    /// The id on what arrives.
    pub id_in: u32,
    /// The id on what we send.
    pub id_out: u32,
}

/// Where a session's packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// To a peer.
    Tunnel {
        /// The tunnel that was agreed on with it: it belongs to the session, whatever the peer draws later.
        tunnel: TunnelKey,
        /// The peer's session tag.
        remote_tag: u32,
        /// When the peer's side has ended at the latest.
        peer_until: Nanos,
    },
    /// To another inside host, whose half of the pair is `partner`.
    Local {
        /// The proxy address under which the destination knows this host.
        source: ProxyAddress,
        /// The destination host.
        destination: HostAddress,
        /// The other half's tag.
        partner: u32,
        /// Whether this half's host asked.
        asked: bool,
    },
}

/// What a session may carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carries {
    /// The only IP protocol.
    pub protocol: Option<u8>,
    /// The only port on the serving side.
    pub port: Option<u16>,
    /// Whether our host is the serving side.
    pub is_served_here: bool,
    /// Bits a second in each direction.
    pub rate_bps: Option<u64>,
}

impl Carries {
    /// Whether there is anything that it does not carry, or not as fast as it comes.
    pub fn is_limited(&self) -> bool {
        self.protocol.is_some() || self.port.is_some() || self.rate_bps.is_some()
    }

    /// As the worker enforces it.
    pub(crate) fn limits(self) -> BindingLimits {
        BindingLimits {
            protocol: self.protocol,
            port: self.port,
            port_is_inside: self.is_served_here,
            rate_bps: self.rate_bps,
        }
    }
}

/// What was agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How it came about.
    pub role: SessionOrigin,
    /// Where its packets go.
    pub reach: Reach,
    /// Ends after so many seconds without a packet; 0 = never.
    pub idle_s: u16,
    /// Whether nobody has said that on purpose, so that TCP may make it longer.
    #[serde(default)]
    pub is_patient: bool,
    /// Ends so many seconds after its beginning; 0 = never.
    pub hard_s: u32,
    /// What it may carry.
    pub carries: Carries,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CesSession {
    handle: Handle,
    tag: u32,
    phase: Phase,
    host: HostAddress,
    proxy: ProxyAddress,
    /// Whether another session for the same name has its proxy address already, while the worker has yet to let go of it.
    is_succeeded: bool,
    names: PairNames,
    since: Nanos,
    terms: Option<Terms>,
}

impl CesSession {
    /// A reservation.
    pub(super) fn reserved(
        handle: Handle,
        tag: u32,
        host: HostAddress,
        proxy: ProxyAddress,
        names: PairNames,
        now: Nanos,
    ) -> Self {
        let phase = Phase::Reserved;
        Self { handle, tag, phase, host, proxy, is_succeeded: false, names, since: now, terms: None }
    }

    /// Both sides have agreed. False if it was not merely reserved.
    pub(super) fn establish(&mut self, terms: Terms, now: Nanos) -> bool {
        let is_reserved = self.phase == Phase::Reserved;
        if is_reserved {
            self.phase = Phase::Up;
            self.terms = Some(terms);
            self.since = now;
        }
        is_reserved
    }

    /// Goes from one of these phases to another; false if it is in none of them.
    pub(super) fn enter(&mut self, phase: Phase, from: &[Phase]) -> bool {
        let may = from.contains(&self.phase);
        if may {
            self.phase = phase;
        }
        may
    }

    /// Takes this address in place of the one that was set aside.
    pub(super) fn move_to(&mut self, proxy: ProxyAddress) {
        self.proxy = proxy;
    }

    /// Its proxy address is another session's from here on.
    pub(super) fn succeed(&mut self) {
        self.is_succeeded = true;
    }

    /// Whether it is.
    pub(super) fn is_succeeded(&self) -> bool {
        self.is_succeeded
    }

    /// Its slot.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Our session tag.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// How far its life has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the worker has it, or has only let it rest.
    pub fn stands(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Dormant)
    }

    /// The inside host.
    pub fn host(&self) -> HostAddress {
        self.host
    }

    /// The address that stands for the far host.
    pub fn proxy(&self) -> ProxyAddress {
        self.proxy
    }

    /// Our host's name, or its service's.
    pub fn local(&self) -> &Arc<str> {
        &self.names.local
    }

    /// The far name.
    pub fn remote(&self) -> &Arc<str> {
        &self.names.remote
    }

    /// The peer's CES id; our own for a local pair.
    pub fn peer(&self) -> &Arc<str> {
        &self.names.peer
    }

    /// Who talks to whom.
    pub fn names(&self) -> &PairNames {
        &self.names
    }

    /// When it was agreed on, or set aside.
    pub fn since(&self) -> Nanos {
        self.since
    }

    /// What was agreed; `None` while it is only reserved.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Where its packets go; `None` while it is only reserved.
    pub fn reach(&self) -> Option<&Reach> {
        self.terms.as_ref().map(|terms| &terms.reach)
    }

    /// The tunnel and the peer's tag, if it is with a peer.
    pub fn tunnel(&self) -> Option<(&TunnelKey, u32)> {
        match self.reach()? {
            Reach::Tunnel { tunnel, remote_tag, .. } => Some((tunnel, *remote_tag)),
            Reach::Local { .. } => None,
        }
    }

    /// The other half's tag, if both hosts are inside.
    pub fn partner(&self) -> Option<u32> {
        match self.reach()? {
            Reach::Local { partner, .. } => Some(*partner),
            Reach::Tunnel { .. } => None,
        }
    }

    /// The inside host that its packets go to when they leave into the realm.
    pub(crate) fn next_inside(&self) -> HostAddress {
        match self.reach() {
            Some(Reach::Local { destination, .. }) => *destination,
            _ => self.host,
        }
    }

    /// Whether its host finds it by the far name.
    pub(super) fn answers_for_its_name(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| match (terms.role, &terms.reach) {
            (SessionOrigin::Local, Reach::Local { asked, .. }) => *asked,
            (role, _) => role == SessionOrigin::Initiator,
        })
    }

    /// Whether a far host asked for it and nothing restricts what it carries: then it serves our host as well.
    pub(super) fn serves_both(&self) -> bool {
        let is_open = |carries: Carries| carries.protocol.is_none() && carries.port.is_none();
        self.terms
            .as_ref()
            .is_some_and(|terms| terms.role == SessionOrigin::Responder && is_open(terms.carries))
    }

    /// Seconds without a packet after which it ends; 0 = never.
    pub fn idle_s(&self) -> u16 {
        self.terms.as_ref().map_or(0, |terms| terms.idle_s)
    }

    /// Seconds of its hard lifetime that are left, at least 1; `None` = no hard lifetime.
    pub fn hard_left_s(&self, now: Nanos) -> Option<u32> {
        let hard_s = self.terms.as_ref().map_or(0, |terms| terms.hard_s);
        (hard_s > 0).then(|| {
            let age = (now.saturating_sub(self.since) / crate::SECOND).min(u64::from(u32::MAX)) as u32;
            hard_s.saturating_sub(age).max(1)
        })
    }

    /// For how long an answer with its proxy address may be kept: not beyond what is left of the binding.
    pub fn answer_ttl(&self, wanted_s: u32, now: Nanos) -> u32 {
        let idle = if self.idle_s() == 0 { u32::MAX } else { u32::from(self.idle_s()) };
        wanted_s.min(idle).min(self.hard_left_s(now).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_never_outlives_the_binding() {
        let names = PairNames { local: "a.".into(), remote: "b.".into(), peer: "c.".into() };
        let mut session =
            CesSession::reserved(Handle(0), 1, [10, 0, 0, 1].into(), [10, 64, 0, 1].into(), names, 0);
        assert_eq!(session.answer_ttl(120, 0), 120);
        let reach = Reach::Local {
            source: [10, 64, 0, 2].into(),
            destination: [10, 0, 0, 2].into(),
            partner: 2,
            asked: true,
        };
        let terms = Terms {
            role: SessionOrigin::Local,
            reach,
            idle_s: 60,
            is_patient: false,
            hard_s: 100,
            carries: Carries::default(),
        };
        assert!(session.establish(terms.clone(), 0) && !session.establish(terms, 0));
        assert_eq!(session.answer_ttl(120, 0), 60);
        assert_eq!(session.answer_ttl(120, 70 * crate::SECOND), 30);
        assert_eq!(session.answer_ttl(120, 700 * crate::SECOND), 1);
    }
}
