//! Sessions of two hosts, from both sides' agreement to their end.

use super::table::{Pair, PeerId, Session};
use super::{DownReason, Engine, H2hSession, Nanos, Output, Reservation, Role};
use crate::h2h::Terms;
use crate::limits::S;
use crate::message::Writer;
use crate::tlv::Layer;

/// Sessions of one peer that ended while it was away, and that it is told of when it is back, at most.
const MAX_OWED: usize = 1_024;

impl Engine {
    pub(super) fn has_session_room(&self, peer: PeerId) -> bool {
        let c2c = self.peers.get(&peer).and_then(|peer| peer.c2c.as_ref());
        c2c.is_some_and(|c2c| self.table.count_of(peer) < c2c.session_limit as usize)
            && self.table.len() < self.settings.limits.sessions as usize
    }

    /// What stands for a pair: its session, whether or not C2C with the peer does.
    pub(super) fn session_of(&self, pair: &Pair) -> Option<Reservation> {
        let session = &self.table.of(pair)?.session;
        Some(Reservation { tag: session.local_tag, proxy: session.proxy })
    }

    /// Puts a session up, in the place of an older one for the same pair. False if the peer is not up.
    pub(super) fn session_up(
        &mut self,
        pair: &Pair,
        reservation: Reservation,
        remote_tag: u32,
        terms: &Terms,
        now: Nanos,
    ) -> bool {
        let Some(peer) = self.peers.get(&pair.peer) else { return false };
        let Some(c2c) = &peer.c2c else { return false };
        let (local, remote, tunnel) = match pair.role {
            Role::Initiator => (&pair.source, &pair.destination, &c2c.tunnel_out),
            Role::Responder => (&pair.destination, &pair.source, &c2c.tunnel_in),
        };
        let lifetime = if terms.peer_told_ttl { terms.hard_ttl_s } else { self.settings.limits.dp_ttl_max_s };
        let session = H2hSession {
            local_tag: reservation.tag,
            remote_tag,
            local_fqdn: local.clone(),
            remote_fqdn: remote.clone(),
            ces_id: peer.ces_id.clone(),
            proxy: reservation.proxy,
            tunnel: tunnel.clone(),
            hard_ttl_s: terms.hard_ttl_s,
            idle_ttl_s: terms.idle_ttl_s,
            carry: terms.carry,
            role: pair.role,
            peer_until: now + u64::from(lifetime) * S,
        };
        let epoch = peer.epoch;
        if let Some(old) = self.table.of(pair).map(|old| old.session.local_tag) {
            self.session_down(old, DownReason::Replaced);
        }
        self.outputs.push_back(Output::H2hUp { session: session.clone() });
        self.table.insert(Session { session, peer: pair.peer, epoch });
        true
    }

    /// Ends a session at our side.
    pub(super) fn session_down(&mut self, tag: u32, why: DownReason) -> Option<Session> {
        let session = self.table.remove(tag)?;
        self.counters.sessions_ended += 1;
        self.outputs.push_back(Output::H2hDown { local_tag: tag, why });
        Some(session)
    }

    /// Ends a session at our side and tells the peer.
    pub(super) fn end_session(&mut self, tag: u32, why: DownReason) -> bool {
        let Some(session) = self.session_down(tag, why) else { return false };
        self.tell_end(session.peer, (tag, session.session.remote_tag));
        true
    }

    /// Terminates a session at the peer, now or when it is up again.
    pub(super) fn tell_end(&mut self, peer: PeerId, (local_tag, remote_tag): (u32, u32)) {
        let Some(conn) = self.pick_conn(peer) else {
            return self.owe_end(peer, (local_tag, remote_tag));
        };
        let mut out = Writer::new(local_tag, remote_tag);
        out.terminate(Layer::H2h, None);
        self.send(conn, out.finish());
    }

    /// Remembers to tell the peer of an ended session once C2C with it is up.
    pub(super) fn owe_end(&mut self, peer: PeerId, tags: (u32, u32)) {
        if let Some(peer) = self.peers.get_mut(&peer).filter(|peer| peer.owed.len() < MAX_OWED) {
            peer.owed.push(tags);
        }
    }

    /// The owner's binding ended by itself. If the peer's may live on, it is told: its host would send into nothing, and the
    /// same pair would be refused as a duplicate.
    pub(super) fn binding_ended(&mut self, tag: u32, now: Nanos) {
        let Some(session) = self.table.remove(tag) else { return };
        self.counters.sessions_ended += 1;
        if now < session.session.peer_until {
            self.tell_end(session.peer, (tag, session.session.remote_tag));
        }
    }
}
