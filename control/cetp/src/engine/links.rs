//! Gateways and the connections to them: what is sent, and what becomes of C2C when connections end.
//!
//! Nothing here knows of hosts. What they have to hear of is [`News`], which whoever knows both takes from here.

use super::api::{
    CetpOutput, ConnId, EncryptionSnapshot, Nanos, PeerId, PeerSnapshot, Role, SealingSettings,
};
use super::attempt::Purpose;
use super::conns::{Conn, Conns, Gone, Origin};
use super::ground::Ground;
use super::peer::{C2c, Circumstances};
use super::peers::Peers;
use super::reason::{BlockReason, Failure, PeerDownReason};
use super::sealing::{INDICES, Sealing};
use super::timers::Timer;
use crate::c2c::{C2cSide, PeerTerms};
use crate::frame::FrameError;
use crate::limits::{MS, S};
use crate::message::MessageWriter;
use crate::negotiate::write_queries;
use crate::seal::{EPOCH, Encryption, SealOffer};
use crate::tlv::Item;
use rand::Rng;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

/// What happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// C2C stands: what waits for it can go on.
    Up(PeerId),
    /// Nobody knows what it has of before.
    Doubtful(PeerId),
    /// C2C of ours failed, and with it what waits for it.
    Failed(PeerId, Failure),
    /// One of several endpoints is not it.
    Missed(PeerId, Failure),
    /// It lost a connection and has others.
    LostOne(PeerId, ConnId),
    /// It lost its last connection, or C2C has ended. Who broke the rules is not to be sought again.
    Down { peer: PeerId, is_sought: bool },
}

#[derive(Debug)]
pub(super) struct Links {
    pub(super) ground: Ground,
    pub(super) conns: Conns,
    pub(super) peers: Peers,
    /// Connections too many, to be closed.
    surplus: Vec<ConnId>,
    /// Peers that are told what they have yet to be told.
    owed: VecDeque<PeerId>,
    news: VecDeque<News>,
}

impl Links {
    pub(super) fn new(mut ground: Ground) -> Self {
        let (conns, peers) = (Conns::new(ground.draw_key()), Peers::new(ground.draw_key()));
        Self { ground, conns, peers, surplus: Vec::new(), owed: VecDeque::new(), news: VecDeque::new() }
    }

    pub(super) fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    // --- peers

    pub(super) fn is_up(&self, peer: PeerId) -> bool {
        self.peers.get(peer).is_some_and(|entry| entry.c2c().is_some()) && self.conns.has_any(peer)
    }

    /// Whether C2C with a peer is to end as soon as its sessions have.
    pub(super) fn is_leaving(&self, peer: PeerId) -> bool {
        self.peers.get(peer).is_some_and(super::peer::Peer::is_leaving)
    }

    /// A peer is up: it is told what it has yet to be told. False if that is nothing.
    pub(super) fn begin_to_tell(&mut self, peer: PeerId) -> bool {
        let is_owed = self.peers.get(peer).is_some_and(super::peer::Peer::is_owed);
        if is_owed && !self.owed.contains(&peer) {
            self.owed.push_front(peer);
        }
        is_owed
    }

    /// The next one that is, if it is still up.
    pub(super) fn next_owed(&mut self) -> Option<PeerId> {
        loop {
            let peer = self.owed.pop_front()?;
            if self.is_up(peer) {
                return Some(peer);
            }
        }
    }

    /// Whether any is.
    pub(super) fn is_telling(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The tags, ours first, of C2C with a peer.
    pub(super) fn tags(&self, peer: PeerId) -> Option<(u32, u32)> {
        self.peers.get(peer)?.c2c().map(C2c::tags)
    }

    /// The peer of that name, made if there is room or one that has neither C2C nor, as `is_used` says, hosts.
    pub(super) fn peer(&mut self, ces_id: &Arc<str>, is_used: impl Fn(PeerId) -> bool) -> Option<PeerId> {
        let conns = &self.conns;
        let limit = self.ground.limits().peers;
        let made = self.peers.make(ces_id, limit, |id, peer| {
            let is_away = !conns.has_any(id) && peer.attempt().is_none() && peer.c2c().is_none();
            is_away && !peer.is_owed() && !is_used(id)
        });
        while let Some(ces_id) = self.peers.take_gone() {
            self.ground.emit(CetpOutput::Keys { ces_id, keys: None });
        }
        made
    }

    // --- keys

    /// The peer at whose tunnels an index with these lowest bits stands.
    pub(super) fn sealed_in(&self, slot: u16) -> Option<PeerId> {
        let is_it = |(_, peer): &(PeerId, &super::peer::Peer)| {
            peer.sealing().is_some_and(|sealing| sealing.id() % INDICES == u32::from(slot))
        };
        self.peers.iter().find(is_it).map(|(id, _)| id)
    }

    /// Whether an index can be drawn for a peer: the lowest bits of no other are the same.
    pub(super) fn is_free(&self, id: u32) -> bool {
        id != 0 && self.sealed_in((id % INDICES) as u16).is_none()
    }

    /// What a peer is told of encryption on a connection; `None` where tunnels to it are not encrypted, or its name is not
    /// proven.
    pub(super) fn offer(&mut self, peer: PeerId, conn: ConnId, now: Nanos) -> Option<SealOffer> {
        let about = self.seals_with(peer, conn)?;
        if self.peers.get(peer)?.sealing().is_none() {
            let id = self.draw_index()?;
            let sealing = Sealing::new(id, self.ground.rng(), now);
            self.peers.get_mut(peer)?.set_sealing(Some(sealing));
        }
        let sealing = self.peers.get_mut(peer)?.sealing_mut()?;
        let (offer, is_new) = sealing.offer(about, conn, self.ground.rng(), now);
        if is_new {
            // Before the peer can use it.
            self.tell_keys(peer);
        }
        Some(offer)
    }

    /// What a peer was told of encryption last, once more.
    pub(super) fn offer_again(&self, peer: PeerId, conn: ConnId) -> Option<SealOffer> {
        let about = self.seals_with(peer, conn)?;
        Some(self.peers.get(peer)?.sealing()?.again(about))
    }

    /// What a peer is answered that has told this, if both are to encrypt; its keys hold from now on.
    pub(super) fn answer_offer(
        &mut self,
        peer: PeerId,
        conn: ConnId,
        theirs: &SealOffer,
        now: Nanos,
    ) -> Option<SealOffer> {
        self.seals_with(peer, conn)?;
        self.hear_keys(peer, theirs);
        let ours = self.offer(peer, conn, now)?;
        self.agree_keys(peer, &ours, theirs, now);
        self.offer_again(peer, conn)
    }

    /// What the peer says of the keys that it was told, once for each time that it says so.
    pub(super) fn hear_keys(&mut self, peer: PeerId, theirs: &SealOffer) {
        if let Some(sealing) = self.peers.get_mut(peer).and_then(super::peer::Peer::sealing_mut) {
            sealing.heard(theirs);
        }
    }

    /// Both have told: the keys hold from now on.
    pub(super) fn agree_keys(&mut self, peer: PeerId, ours: &SealOffer, theirs: &SealOffer, now: Nanos) {
        if let Some(sealing) = self.peers.get_mut(peer).and_then(super::peer::Peer::sealing_mut) {
            sealing.agree(ours, theirs, now);
            self.tell_keys(peer);
        }
    }

    /// What we have and how many we are, where tunnels to a peer are to be encrypted and its transport proves who it is.
    fn seals_with(&self, peer: PeerId, conn: ConnId) -> Option<(bool, u8)> {
        let (entry, line) = (self.peers.get(peer)?, self.conns.get(conn)?);
        let SealingSettings { has_aes, workers, .. } = self.ground.settings().sealing;
        let is_wanted = self.ground.settings().sealing.with(entry.ces_id()) != Encryption::Off;
        (is_wanted && line.identity.is_some() && workers > 0).then_some((has_aes, workers))
    }

    fn draw_index(&mut self) -> Option<u32> {
        let is_full =
            self.peers.iter().filter(|(_, peer)| peer.sealing().is_some()).count() >= INDICES as usize;
        if is_full {
            return None;
        }
        loop {
            let id = self.ground.rng().next_u32() & !EPOCH;
            if self.is_free(id) {
                return Some(id);
            }
        }
    }

    fn tell_keys(&mut self, peer: PeerId) {
        let Some(entry) = self.peers.get(peer) else { return };
        if let Some(keys) = entry.sealing().and_then(Sealing::keys) {
            let ces_id = entry.ces_id().clone();
            self.ground.emit(CetpOutput::Keys { ces_id, keys: Some(Box::new(keys)) });
        }
    }

    pub(super) fn draw_c2c_tag(&mut self) -> u32 {
        loop {
            let tag = self.ground.rng().next_u32();
            if tag != 0 && !self.peers.iter().any(|(_, peer)| peer.uses_tag(tag)) {
                return tag;
            }
        }
    }

    /// A peer as the operator sees it; its sessions and negotiations are told by who knows them.
    pub(super) fn snapshot(
        &self,
        id: PeerId,
        sessions: usize,
        pending: usize,
        now: Nanos,
    ) -> Option<PeerSnapshot> {
        let peer = self.peers.get(id)?;
        let c2c = peer.c2c();
        // While C2C is away, what was agreed stands.
        let is_sealed = c2c.is_none() || peer.is_sealed();
        let remotes = self.conns.of(id).iter().filter_map(|id| Some(self.conns.get(*id)?.remote));
        Some(PeerSnapshot {
            ces_id: peer.ces_id().clone(),
            up: c2c.is_some(),
            doubted: peer.is_looked_at(),
            role: c2c.map(|c2c| c2c.role),
            tags: c2c.map(C2c::tags),
            connections: remotes.collect(),
            sessions,
            session_limit: c2c.map_or(0, |c2c| c2c.session_limit),
            pending,
            ttl_left_s: c2c.map_or(0, |c2c| c2c.until.saturating_sub(now) / S),
            tunnel_out: c2c.map(|c2c| c2c.tunnel_out.clone()),
            tunnel_in: c2c.map(|c2c| c2c.tunnel_in.clone()),
            encryption: peer.sealing().filter(|_| is_sealed).and_then(Sealing::shown).map(
                |(cipher, epoch, since)| EncryptionSnapshot {
                    cipher,
                    epoch,
                    since_s: now.saturating_sub(since) / S,
                },
            ),
        })
    }

    /// The peer at the other end of a connection, where its transport proves that.
    pub(super) fn proven(&self, conn: ConnId) -> Option<PeerId> {
        let entry = self.conns.get(conn)?;
        let identity = entry.identity.as_ref()?;
        entry.peer.or_else(|| self.peers.find(identity))
    }

    /// Whether a connection is from a peer, known by its transport, that we seek or sought a moment ago as well. When both
    /// begin at once, what one of them sees is not what the other did: nobody is to blame.
    pub(super) fn is_mutual(&self, conn: ConnId, now: Nanos) -> bool {
        let limits = self.ground.limits();
        let within = (u64::from(limits.connect_ms) + 2 * u64::from(limits.c2c_setup_ms)) * MS;
        self.proven(conn).is_some_and(|peer| {
            self.is_up(peer) || self.peers.get(peer).is_some_and(|entry| entry.is_sought(within, now))
        })
    }

    // --- messages

    /// Sends one message.
    pub(super) fn send(&mut self, conn: ConnId, frame: Result<Vec<u8>, FrameError>) -> bool {
        match frame {
            Ok(bytes) if self.conns.get(conn).is_some_and(|entry| entry.up) => {
                self.ground.counters.messages_out += 1;
                self.ground.emit(CetpOutput::Send { conn, bytes });
                true
            }
            _ => false,
        }
    }

    /// Sends the first message of C2C of ours.
    pub(super) fn run(&mut self, peer: PeerId, conn: ConnId, now: Nanos) {
        let setup = u64::from(self.ground.limits().c2c_setup_ms) * MS;
        let (Some(entry), Some(line)) = (self.peers.get_mut(peer), self.conns.get(conn)) else { return };
        let ces_id = entry.ces_id().clone();
        let Some(attempt) = entry.attempt_mut() else { return };
        if let Some(at) = attempt.run_on(conn, line.wish.as_ref(), setup, now) {
            self.ground.timers.set(at, Timer::Attempt(peer));
        }
        let (tag, remote) = (attempt.tag, line.remote);
        let seal = self.offer(peer, conn, now);
        let mut out = MessageWriter::new(tag, 0);
        let side = C2cSide { seal, ..self.ground.side(&ces_id, remote, now) };
        side.write_offers(&mut out);
        side.write_seal(&mut out);
        write_queries(&side, &mut out);
        if !self.send(conn, out.finish()) {
            self.fail(peer, Failure::Malformed, now);
        }
    }

    // --- C2C stands

    /// Makes a connection one of its peer's for everything.
    pub(super) fn attach(&mut self, peer: PeerId, conn: ConnId) {
        if !self.conns.attach(peer, conn) {
            return;
        }
        // Both ends may have opened as many; beyond that the oldest that the peer opened is most likely dead.
        let all = self.conns.of(peer);
        if all.len() > 2 * usize::from(self.ground.limits().connections_per_peer) {
            let is_theirs = |id: &&ConnId| self.conns.get(**id).is_some_and(|conn| !conn.is_ours());
            let surplus = all.iter().find(is_theirs).copied();
            self.surplus.extend(surplus.filter(|surplus| *surplus != conn));
        }
    }

    /// Makes a connection of ours one of the peer's. Without TLS the peer has to be told whose it is.
    pub(super) fn join(&mut self, peer: PeerId, conn: ConnId) {
        self.attach(peer, conn);
        if self.is_right(peer, conn) {
            self.conns.vouch(conn);
        }
        let is_last = self.conns.opening(peer).is_empty();
        let Some(entry) = self.peers.get_mut(peer) else { return };
        if is_last && entry.attempt().is_some_and(|attempt| attempt.conn.is_none()) {
            // The peer was faster; nothing was sent, and nothing waits.
            entry.take_attempt();
        }
        let is_anonymous = self.conns.get(conn).is_some_and(|line| line.identity.is_none());
        if is_anonymous && let Some((local, remote)) = entry.c2c().map(C2c::tags) {
            let mut out = MessageWriter::new(local, remote);
            out.text(Item::CesCesid, &self.ground.settings().ces_id);
            self.send(conn, out.finish());
        }
    }

    /// Closes what [`Links::attach`] found to be too many; whether there was any.
    pub(super) fn close_surplus(&mut self, now: Nanos) -> bool {
        let surplus = self.surplus.pop();
        if let Some(conn) = surplus {
            self.close(conn, Failure::Overload, now);
        }
        surplus.is_some()
    }

    /// C2C is agreed.
    pub(super) fn install(&mut self, peer: PeerId, new: C2c, terms: &PeerTerms, now: Nanos) {
        let overlap = u64::from(self.ground.limits().c2c_setup_ms) * MS;
        let (conn, until, role) = (new.conn, new.until, new.role);
        let line = self.conns.get(conn);
        let opened = line.map_or(now, |line| line.opened);
        let Some(entry) = self.peers.get_mut(peer) else { return };
        let ces_id = entry.ces_id().clone();
        let how = Circumstances {
            is_renewal: line.is_some_and(|line| line.established && line.opened + overlap < now),
            has_identity: line.is_some_and(|line| line.identity.is_some()),
            own_first: *self.ground.settings().ces_id < *ces_id,
            overlap,
        };
        let meaning = entry.agree(new, terms, how, now);
        if meaning.is_doubtful {
            entry.begin_doubt(self.ground.limits(), overlap, now);
        }
        self.ground.refused.agree(peer);
        self.ground.timers.set(until, Timer::C2c(peer));
        if let Some(at) = entry.plan_renewal(u64::from(self.ground.limits().rekey_s) * S, now) {
            self.ground.timers.set(at, Timer::Renewal(peer));
        }
        self.attach(peer, conn);
        for id in self.conns.named(&ces_id) {
            self.attach(peer, id);
        }
        self.sift(peer, conn, now);
        self.ground.emit(CetpOutput::PeerUp { ces_id, role });
        if meaning.is_doubtful {
            self.news.push_back(News::Doubtful(peer));
        }
        if meaning.begins_anew {
            self.close_older(peer, opened, now);
        }
    }

    /// Has the connections that are being opened for a peer join it, even the one on which C2C of ours still runs: the peer may
    /// use any of them from now on. Those to where other names say that it is are closed.
    fn sift(&mut self, peer: PeerId, agreed_on: ConnId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        let running = entry.attempt().and_then(|attempt| attempt.conn);
        let found = self.conns.get(agreed_on).filter(|conn| conn.is_ours());
        if let Some(Origin::Ours(endpoint)) = found.map(|conn| &conn.origin) {
            entry.found_at(endpoint);
        }
        entry.was_right(found.and_then(Conn::said_by).cloned());
        entry.may_be_right(running.and_then(|id| self.conns.get(id)?.said_by()).cloned());
        for id in self.conns.opening(peer).to_vec() {
            let is_up = self.conns.get(id).is_some_and(|conn| conn.up);
            if !self.is_worth(peer, id) {
                self.close(id, Failure::Cancelled, now);
            } else if is_up {
                self.join(peer, id);
            }
        }
    }

    /// Whether a connection that is opened for a peer is worth having while others stand.
    pub(super) fn is_worth(&self, peer: PeerId, conn: ConnId) -> bool {
        let Some((entry, line)) = self.peers.get(peer).zip(self.conns.get(conn)) else { return false };
        self.is_right(peer, conn) || entry.is_perhaps(line.said_by())
    }

    /// Whether one leads where the peer was found.
    fn is_right(&self, peer: PeerId, conn: ConnId) -> bool {
        let Some((entry, line)) = self.peers.get(peer).zip(self.conns.get(conn)) else { return false };
        matches!(&line.origin, Origin::Ours(endpoint) if entry.is_right(endpoint, line.said_by()))
    }

    /// Closes what was open long before: it leads nowhere, and the transport may take minutes to notice.
    fn close_older(&mut self, peer: PeerId, opened: Nanos, now: Nanos) {
        let margin = u64::from(self.ground.limits().connect_ms) * MS;
        let is_old = |id: &ConnId| self.conns.get(*id).is_some_and(|conn| conn.opened + margin < opened);
        let old: Vec<ConnId> = self.conns.of(peer).iter().copied().filter(is_old).collect();
        for id in old {
            self.close(id, Failure::Lost, now);
        }
    }

    /// Says that C2C stands, once everything of it has been sent.
    pub(super) fn announce(&mut self, peer: PeerId) {
        self.news.push_back(News::Up(peer));
    }

    // --- what ends

    /// Closes a connection from our side.
    pub(super) fn close(&mut self, conn: ConnId, why: Failure, now: Nanos) {
        if self.conns.get(conn).is_some() {
            self.ground.emit(CetpOutput::Close { conn });
            self.forget(conn, why, now);
        }
    }

    /// A connection is gone; `why` is what a C2C that ran on it failed with.
    pub(super) fn forget(&mut self, conn: ConnId, why: Failure, now: Nanos) {
        let Some(Gone { conn: gone, was_ready }) = self.conns.remove(conn) else { return };
        let is_only_revival = |peer| self.peers.get(peer).is_some_and(super::peer::Peer::is_only_revival);
        let Some(peer) = gone.peer else { return };
        if let Origin::Ours(endpoint) = &gone.origin
            && !gone.established
        {
            if why.is_missed() && !is_only_revival(peer) {
                let until = gone.opened + u64::from(self.ground.limits().unreachable_s) * S;
                self.ground.refused.leave_alone(peer, endpoint, until, now);
            }
            self.news.push_back(News::Missed(peer, why));
        }
        self.lose_for_attempt(peer, conn, why, now);
        if was_ready {
            self.lose(peer, conn);
        }
    }

    /// What a lost connection means for C2C of ours that is negotiated.
    fn lose_for_attempt(&mut self, peer: PeerId, conn: ConnId, why: Failure, now: Nanos) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        entry.prefer_living(|id| self.conns.of(peer).contains(&id));
        let Some(attempt) = entry.attempt_mut() else { return };
        let ran_here = attempt.lose(conn, why);
        let last = attempt.last;
        if self.conns.opening(peer).is_empty() && (ran_here || attempt.conn.is_none()) {
            self.fail(peer, last, now);
        } else if ran_here {
            // C2C starts anew on another connection that is up.
            if let Some(next) = self.next_up(peer) {
                self.run(peer, next, now);
            }
        }
    }

    /// A connection that is being opened for a peer, is up, and not the one on which C2C runs. What stands there may be a relay
    /// that stalls: so to where the peer was found before, if there is one, or for each host and each name in its turn.
    pub(super) fn next_up(&self, peer: PeerId) -> Option<ConnId> {
        let entry = self.peers.get(peer)?;
        let attempt = entry.attempt()?;
        let running = attempt.conn;
        let up = |id: &ConnId| self.conns.get(*id).filter(|conn| conn.up && Some(*id) != running);
        let all = self.conns.opening(peer).iter().copied().filter_map(|id| Some((id, up(&id)?)));
        let turns = |conn: &Conn| conn.wish.as_ref().map(|wish| attempt.turns(wish));
        let is_known = |conn: &Conn| matches!(&conn.origin, Origin::Ours(at) if entry.is_known(at));
        all.max_by_key(|(id, conn)| (is_known(conn), Reverse(turns(conn)), Reverse(*id))).map(|(id, _)| id)
    }

    /// What was under way on a lost connection goes on another; with the last one the peer is down.
    fn lose(&mut self, peer: PeerId, conn: ConnId) {
        if self.conns.has_any(peer) {
            return self.news.push_back(News::LostOne(peer, conn));
        }
        let Some(entry) = self.peers.get_mut(peer) else { return };
        if entry.end_c2c() {
            let ces_id = entry.ces_id().clone();
            self.ground.emit(CetpOutput::PeerDown { ces_id, why: PeerDownReason::ConnectionsLost });
        }
        entry.renews_no_longer();
        self.news.push_back(News::Down { peer, is_sought: true });
    }

    /// C2C of ours is not to be. What waits for it fails, unless the peer's own made it.
    pub(super) fn fail(&mut self, peer: PeerId, why: Failure, now: Nanos) {
        let Some(attempt) = self.peers.get_mut(peer).and_then(super::peer::Peer::take_attempt) else {
            return;
        };
        for conn in self.conns.opening(peer).to_vec() {
            self.close(conn, Failure::Cancelled, now);
        }
        self.ground.counters.c2c_initiated.count(Err(why));
        if self.is_up(peer) {
            return self.announce(peer);
        }
        if attempt.purpose == Purpose::Renewal {
            return;
        }
        let ces_id = self.peers.name(peer);
        self.ground.emit(CetpOutput::PeerFailed { ces_id, role: Role::Initiator, why });
        self.news.push_back(News::Failed(peer, why));
    }

    /// C2C with a peer ends: its connections are closed. Sessions outlive it; where they are to end, both sides say so.
    pub(super) fn peer_down(&mut self, peer: PeerId, why: PeerDownReason, now: Nanos) {
        let Some(entry) = self.peers.get_mut(peer) else { return };
        let conns = self.conns.detach(peer);
        if !conns.is_empty() {
            entry.was_alive_at(why);
        }
        if entry.end_c2c() {
            let ces_id = entry.ces_id().clone();
            self.ground.emit(CetpOutput::PeerDown { ces_id, why });
        }
        for conn in conns {
            self.close(conn, Failure::Lost, now);
        }
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.renews_no_longer();
        }
        self.news.push_back(News::Down { peer, is_sought: why != PeerDownReason::Abuse });
    }

    /// Closes a connection on which C2C goes wrong, and refuses its address for a while unless both of us began at once.
    pub(super) fn blame(&mut self, conn: ConnId, why: BlockReason, now: Nanos) {
        if self.is_mutual(conn, now) {
            self.close(conn, Failure::Lost, now);
        } else {
            self.abuse(conn, why, now);
        }
    }

    /// Closes a connection whose peer breaks the rules and refuses its address for a while. A peer that was up is
    /// down with all its connections.
    pub(super) fn abuse(&mut self, conn: ConnId, why: BlockReason, now: Nanos) {
        let Some(entry) = self.conns.get(conn) else { return };
        let (addr, peer) = (entry.remote.ip(), entry.peer.filter(|_| entry.established));
        self.ground.block_for_abuse(addr, why, now);
        if let Some(peer) = peer {
            self.peer_down(peer, PeerDownReason::Abuse, now);
        }
        self.close(conn, Failure::Lost, now);
    }
}
