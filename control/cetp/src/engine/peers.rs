//! Peer gateways: what is known of each, C2C while it is up, and what becomes of it when connections are lost.

use super::attempts::Attempt;
use super::revival::Revival;
use super::{
    ActionResult, ConnId, DownReason, Encapsulation, Endpoint, Engine, Failure, Nanos, NegotiationId, Output,
    PeerDownReason, PeerSnapshot, Realm, Role, Timer, TunnelChoice,
};
use crate::c2c::{C2cSide, PeerTerms, TUNNEL_ID_MAX};
use crate::limits::{MS, S};
use rand::Rng;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) use super::table::PeerId;

/// A C2C session.
#[derive(Clone, Debug)]
pub(super) struct C2c {
    pub(super) local_tag: u32,
    pub(super) remote_tag: u32,
    pub(super) role: Role,
    /// Where it was negotiated.
    pub(super) conn: ConnId,
    pub(super) since: Nanos,
    pub(super) until: Nanos,
    pub(super) session_limit: u32,
    /// For sessions that we start.
    pub(super) tunnel_out: TunnelChoice,
    /// For sessions that the peer starts.
    pub(super) tunnel_in: TunnelChoice,
}

/// A peer gateway.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) ces_id: Arc<str>,
    /// Whether its transport proved who it is; then nothing less will do.
    pub(super) authenticated: bool,
    pub(super) conns: Vec<ConnId>,
    pub(super) turn: usize,
    /// C2C, while the peer is up.
    pub(super) c2c: Option<C2c>,
    /// The other one, when both sides started at once: its tags are understood, too.
    pub(super) other: Option<C2c>,
    pub(super) attempt: Option<Attempt>,
    pub(super) endpoints: Vec<Endpoint>,
    /// Negotiations that wait for C2C.
    pub(super) waiting: Vec<NegotiationId>,
    /// Negotiations of ours, waiting or not.
    pub(super) pending: u32,
    /// Tags, ours first, of sessions that ended here while the peer was away: it has yet to be told.
    pub(super) owed: Vec<(u32, u32)>,
    /// Rises with each C2C: a session of an older one may be asked for again.
    pub(super) epoch: u32,
    /// The tunnel ids that it last told, by encapsulation.
    pub(super) tunnel_ids: [Option<u32>; 3],
    /// What is planned if it was lost.
    pub(super) revival: Revival,
    /// When C2C is renewed next.
    pub(super) renewal: Option<Nanos>,
    /// How its tunnel ids are to be read.
    pub(super) draws: Draws,
}

/// What other tunnel ids than before say about a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Draws {
    /// That it has restarted, as far as we know.
    #[default]
    Once,
    /// Nothing this time: it was there until our side ended C2C because its time was over.
    WasAlive,
    /// Nothing ever: it has drawn others while its connections were alive.
    ForEachC2c,
}

impl Peer {
    /// Whether these are the tags, ours first, of C2C with it.
    pub(super) fn has_tags(&self, tags: (u32, u32)) -> bool {
        [&self.c2c, &self.other].into_iter().flatten().any(|c2c| (c2c.local_tag, c2c.remote_tag) == tags)
    }

    /// Whether it has nothing, but for sessions.
    pub(super) fn is_idle(&self) -> bool {
        self.conns.is_empty() && self.attempt.is_none() && self.pending == 0 && self.c2c.is_none()
    }
}

impl Engine {
    pub(super) fn is_up(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.c2c.is_some() && !peer.conns.is_empty())
    }

    /// The peer of that name, made if there is room.
    pub(super) fn peer(&mut self, ces_id: &Arc<str>) -> Option<PeerId> {
        if let Some(id) = self.peer_ids.get(ces_id) {
            return Some(*id);
        }
        if self.peers.len() >= self.settings.limits.peers as usize {
            let is_idle = |id: &PeerId, peer: &Peer| peer.is_idle() && self.table.count_of(*id) == 0;
            let idle = self.peers.iter().find(|(id, peer)| is_idle(id, peer)).map(|(id, _)| *id)?;
            if let Some(peer) = self.peers.remove(&idle) {
                self.peer_ids.remove(&peer.ces_id);
            }
        }
        self.next_peer = self.next_peer.wrapping_add(1);
        let peer = Peer {
            ces_id: ces_id.clone(),
            authenticated: false,
            conns: Vec::new(),
            turn: 0,
            c2c: None,
            other: None,
            attempt: None,
            endpoints: Vec::new(),
            waiting: Vec::new(),
            pending: 0,
            owed: Vec::new(),
            epoch: 0,
            tunnel_ids: [None; 3],
            revival: Revival::default(),
            renewal: None,
            draws: Draws::default(),
        };
        self.peers.insert(self.next_peer, peer);
        self.peer_ids.insert(ces_id.clone(), self.next_peer);
        Some(self.next_peer)
    }

    /// The ids that we draw for a peer: the same as long as we run, without keeping them.
    pub(super) fn tunnel_ids(&self, ces_id: &str) -> [u32; 3] {
        Encapsulation::ALL.map(|encapsulation| {
            let digest = self.tunnel_key.digest((ces_id, encapsulation as u8));
            (digest as u32 & TUNNEL_ID_MAX).max(1)
        })
    }

    pub(super) fn draw_c2c_tag(&mut self) -> u32 {
        loop {
            let tag = self.rng.next_u32();
            let is_ours = |peer: &Peer| {
                let sessions = [&peer.c2c, &peer.other];
                sessions.into_iter().flatten().any(|c2c| c2c.local_tag == tag)
                    || peer.attempt.as_ref().is_some_and(|attempt| attempt.tag == tag)
            };
            if tag != 0 && !self.peers.values().any(is_ours) {
                return tag;
            }
        }
    }

    /// A connection of the peer's to send on: each in its turn.
    pub(super) fn pick_conn(&mut self, peer: PeerId) -> Option<ConnId> {
        let peer = self.peers.get_mut(&peer)?;
        if peer.conns.is_empty() {
            return None;
        }
        peer.turn = (peer.turn + 1) % peer.conns.len();
        Some(peer.conns[peer.turn])
    }

    pub(super) fn c2c_side<'e>(&'e self, peer: &'e str, remote: SocketAddr, now: Nanos) -> C2cSide<'e> {
        C2cSide {
            settings: &self.settings,
            secrets: &self.secrets,
            peer,
            remote,
            tunnel_ids: self.tunnel_ids(peer),
            now,
        }
    }

    pub(super) fn c2c(
        settings: &super::Settings,
        (local_tag, remote_tag): (u32, u32),
        role: Role,
        conn: ConnId,
        terms: &PeerTerms,
        (tunnel_out, tunnel_in): (TunnelChoice, TunnelChoice),
        now: Nanos,
    ) -> C2c {
        let limits = &settings.limits;
        C2c {
            local_tag,
            remote_tag,
            role,
            conn,
            since: now,
            until: now + u64::from(terms.ttl_s) * S,
            session_limit: terms
                .session_limit
                .unwrap_or(limits.sessions_per_peer)
                .min(limits.sessions_per_peer_max),
            tunnel_out,
            tunnel_in,
        }
    }

    /// C2C is agreed. When both sides started at once there are two: the one that the smaller CES id started is used,
    /// and the tags of the other are understood as well. Otherwise the new one takes the old one's place.
    pub(super) fn install_c2c(
        &mut self,
        realm: &mut dyn Realm,
        peer: PeerId,
        new: C2c,
        terms: &PeerTerms,
        now: Nanos,
    ) {
        let overlap = u64::from(self.settings.limits.c2c_setup_ms) * MS;
        let own_first = *self.settings.ces_id < *self.peers.get(&peer).map_or("", |entry| &*entry.ces_id);
        let (conn, until, role) = (new.conn, new.until, new.role);
        let opened = self.conns.get(&conn.0).map_or(now, |entry| entry.opened);
        // On a connection that has been the peer's for longer than C2C may take, it is the same peer, whatever it draws.
        let is_renewal =
            self.conns.get(&conn.0).is_some_and(|entry| entry.established && entry.opened + overlap < now);
        let has_identity = self.conns.get(&conn.0).is_some_and(|entry| entry.identity.is_some());
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.authenticated |= has_identity;
        if !is_renewal {
            entry.epoch = entry.epoch.wrapping_add(1);
        }
        entry.revival = Revival::default();
        let has_changed = terms.changes(&entry.tunnel_ids);
        let restarted = has_changed && !is_renewal && entry.draws == Draws::Once;
        if is_renewal && has_changed {
            entry.draws = Draws::ForEachC2c;
        } else if entry.draws == Draws::WasAlive {
            entry.draws = Draws::Once;
        }
        let was_up = entry.c2c.is_some();
        for (encapsulation, id) in terms.tunnel_ids() {
            entry.tunnel_ids[encapsulation as usize] = Some(id);
        }
        match entry.c2c.take() {
            Some(old) if !restarted && old.role != role && now.saturating_sub(old.since) <= overlap => {
                let initiator_wins = if own_first { Role::Initiator } else { Role::Responder };
                let (used, other) = if role == initiator_wins { (new, old) } else { (old, new) };
                entry.c2c = Some(used);
                entry.other = Some(other);
            }
            _ => {
                entry.c2c = Some(new);
                entry.other = None;
            }
        }
        let is_glare = entry.other.is_some();
        let ces_id = entry.ces_id.clone();
        self.timer(until, Timer::C2c(peer));
        self.plan_renewal(peer, now);
        self.attach(peer, conn);
        // Connections that the peer opened before C2C was done, and that its transport names.
        let named = self.conns.iter().filter(|(_, conn)| !conn.is_ours() && !conn.established && conn.up);
        let named: Vec<u64> =
            named.filter(|(_, conn)| conn.identity.as_ref() == Some(&ces_id)).map(|(id, _)| *id).collect();
        for id in named {
            self.attach(peer, ConnId(id));
        }
        self.outputs.push_back(Output::PeerUp { ces_id, role });
        if restarted {
            self.end_lost_sessions(peer);
        }
        // A peer that begins anew elsewhere has lost what there was before.
        if restarted || (was_up && !is_renewal && !is_glare) {
            // What was open long before leads nowhere; the transport may take minutes to notice.
            let margin = u64::from(self.settings.limits.connect_ms) * MS;
            let open = self.peers.get(&peer).map(|entry| entry.conns.clone()).unwrap_or_default();
            let is_old =
                |id: &ConnId| self.conns.get(&id.0).is_some_and(|entry| entry.opened + margin < opened);
            let old: Vec<ConnId> = open.into_iter().filter(is_old).collect();
            for id in old {
                self.close(realm, id, Failure::Lost, now);
            }
        }
    }

    /// The peer has restarted: its side of every session is gone, and what our hosts send into them is lost. They are
    /// told to the peer all the same, in case it only drew other tunnel ids and would refuse the same pairs as duplicates.
    fn end_lost_sessions(&mut self, peer: PeerId) {
        for tag in self.table.tags_of(peer) {
            if let Some(session) = self.session_down(tag, DownReason::Replaced) {
                self.owe_end(peer, (tag, session.session.remote_tag));
            }
        }
    }

    /// Starts the negotiations that waited for C2C, after what the peer has yet to be told.
    pub(super) fn flush_waiting(&mut self, realm: &mut dyn Realm, peer: PeerId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let owed = std::mem::take(&mut entry.owed);
        for tags in owed {
            self.tell_end(peer, tags);
        }
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let waiting = std::mem::take(&mut entry.waiting);
        for id in waiting {
            self.start_h2h(realm, id, now);
        }
    }

    /// A connection of this peer's, or one that was to be, is gone.
    pub(super) fn peer_lost_conn(
        &mut self,
        realm: &mut dyn Realm,
        peer: PeerId,
        conn: ConnId,
        why: Failure,
        now: Nanos,
    ) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let was_established = entry.conns.contains(&conn);
        entry.conns.retain(|id| *id != conn);
        if let Some(other) = &entry.other {
            // Of two C2C the one whose connection lives is the better guess of what the peer still knows.
            let alive = |conn: &ConnId| entry.conns.contains(conn);
            if entry.c2c.as_ref().is_some_and(|c2c| !alive(&c2c.conn)) && alive(&other.conn) {
                std::mem::swap(&mut entry.c2c, &mut entry.other);
            }
        }
        if let Some(attempt) = entry.attempt.as_mut() {
            attempt.conns.retain(|id| *id != conn);
            let ran_here = attempt.conn == Some(conn);
            if ran_here {
                attempt.conn = None;
            }
            if why != Failure::Cancelled {
                attempt.last = why;
            }
            let (none_left, last) = (attempt.conns.is_empty(), attempt.last);
            if none_left {
                self.attempt_failed(realm, peer, last, now);
            } else if ran_here {
                self.run_on_next(realm, peer, now);
            }
        }
        if was_established {
            self.after_loss(realm, peer, conn, now);
        }
    }

    /// What was under way on a lost connection goes on another; with the last one the peer is down.
    pub(super) fn after_loss(&mut self, realm: &mut dyn Realm, peer: PeerId, conn: ConnId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let all_lost = entry.conns.is_empty();
        // Nothing of C2C is kept: the peer may come back as another, and H2H does not say which C2C it rests on.
        if all_lost && entry.c2c.take().is_some() {
            entry.other = None;
            entry.renewal = None;
            let ces_id = entry.ces_id.clone();
            self.outputs.push_back(Output::PeerDown { ces_id, why: PeerDownReason::ConnectionsLost });
        }
        if all_lost {
            self.actions_failed(peer, ActionResult::PeerDown);
        }
        self.resume(realm, peer, (!all_lost).then_some(conn), now);
        self.plan_revival(peer, now);
    }

    pub(super) fn c2c_due(&self, peer: PeerId, at: Nanos) -> bool {
        self.peers.get(&peer).and_then(|entry| entry.c2c.as_ref()).is_some_and(|c2c| c2c.until == at)
    }

    /// C2C with a peer ends: its connections are closed. Sessions outlive it; where they are to end, both sides say so.
    pub(super) fn peer_down(&mut self, realm: &mut dyn Realm, peer: PeerId, why: PeerDownReason, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let was_up = entry.c2c.take().is_some();
        entry.other = None;
        entry.renewal = None;
        // Who was there until its time was over has not restarted.
        if why == PeerDownReason::Expired && entry.draws == Draws::Once && !entry.conns.is_empty() {
            entry.draws = Draws::WasAlive;
        }
        let ces_id = entry.ces_id.clone();
        let conns = std::mem::take(&mut entry.conns);
        if was_up {
            self.outputs.push_back(Output::PeerDown { ces_id, why });
        }
        for conn in conns {
            self.close(realm, conn, Failure::Lost, now);
        }
        self.actions_failed(peer, ActionResult::PeerDown);
        self.resume(realm, peer, None, now);
        // Who broke the rules is not sought.
        if why != PeerDownReason::Abuse {
            self.plan_revival(peer, now);
        }
    }

    pub(super) fn peer_snapshot(&self, peer: &Peer, now: Nanos) -> PeerSnapshot {
        let c2c = peer.c2c.as_ref();
        let remotes = peer.conns.iter().filter_map(|id| Some(self.conns.get(&id.0)?.remote));
        PeerSnapshot {
            ces_id: peer.ces_id.clone(),
            up: c2c.is_some(),
            role: c2c.map(|c2c| c2c.role),
            tags: c2c.map(|c2c| (c2c.local_tag, c2c.remote_tag)),
            connections: remotes.collect(),
            sessions: self.peer_ids.get(&peer.ces_id).map_or(0, |id| self.table.count_of(*id)),
            session_limit: c2c.map_or(0, |c2c| c2c.session_limit),
            pending: peer.pending as usize,
            ttl_left_s: c2c.map_or(0, |c2c| c2c.until.saturating_sub(now) / S),
            tunnel_out: c2c.map(|c2c| c2c.tunnel_out.clone()),
            tunnel_in: c2c.map(|c2c| c2c.tunnel_in.clone()),
        }
    }
}
