//! A peer's word that its host has a name, while the owner finds out whether it may be believed: the message waits, and is read
//! anew then. Nothing else is kept of it; who asked sees a slow answer.

use super::api::{CetpOutput, Claim, ConnId, Nanos, Owner};
use super::links::Links;
use crate::h2h::name_of;
use crate::limits::MS;
use crate::message::Message;
use crate::policy::canonical_name;
use crate::tlv::{Item, Layer};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Octets of messages that wait, in all and of one peer: some 500 a message as a rule, so that the hosts of a realm may begin
/// at once.
const MOST: usize = 8 << 20;
const MOST_OF_PEER: usize = 2 << 20;

#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    payload: Vec<u8>,
    until: Nanos,
}

impl Waiting {
    /// Octets that it takes.
    fn size(&self) -> usize {
        self.payload.len() + size_of::<Self>()
    }
}

/// What waits of a peer, by the name that it is about.
#[derive(Debug, Default)]
struct OfPeer {
    size: usize,
    by_source: BTreeMap<String, Vec<Waiting>>,
}

impl OfPeer {
    /// Forgets what waits for nothing any more.
    fn purge(&mut self, now: Nanos) {
        self.by_source.retain(|_, waiting| {
            waiting.retain(|one| one.until > now);
            !waiting.is_empty()
        });
        self.size = self.by_source.values().flatten().map(Waiting::size).sum();
    }
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Claims {
    peers: FxHashMap<Arc<str>, OfPeer>,
    /// Octets of all.
    size: usize,
    /// What waits no longer, and is read a piece at a time.
    told: VecDeque<Waiting>,
    /// When it was last looked for what nobody waits for any more.
    purged: Nanos,
}

impl Claims {
    /// Whether a message has to wait; then the owner is told what for.
    pub(super) fn keep(
        &mut self,
        links: &mut Links,
        realm: &dyn Owner,
        conn: ConnId,
        (message, payload): (&Message<'_>, &[u8]),
        now: Nanos,
    ) -> bool {
        let is_first = message.layer() == Some(Layer::H2h) && message.dst == 0 && message.sst != 0;
        let established = links.conns.get(conn).filter(|entry| is_first && entry.established);
        let ces_id = established.and_then(|entry| entry.peer).and_then(|peer| links.peers.name(peer));
        let names = name_of(message, Item::IdFqdn).zip(name_of(message, Item::ControlDstep));
        let Some((ces_id, (source, destination))) = ces_id.zip(names) else { return false };
        let (source, destination) = (canonical_name(source), canonical_name(destination));
        if realm.claim(&destination, &source, &ces_id) == Claim::Settled {
            return false;
        }
        // Who asked waits no longer than that.
        let until = now + u64::from(links.ground.limits().h2h_setup_ms) * MS;
        let waiting = Waiting { conn, payload: payload.to_vec(), until };
        if !self.has_room(&ces_id, waiting.size(), now) {
            return false;
        }
        links.ground.emit(CetpOutput::Claimed { ces_id: Arc::clone(&ces_id), name: source.as_str().into() });
        let of_peer = self.peers.entry(ces_id).or_default();
        (self.size, of_peer.size) = (self.size + waiting.size(), of_peer.size + waiting.size());
        of_peer.by_source.entry(source).or_default().push(waiting);
        true
    }

    /// Whether there is room for so much more, where nobody waits any more for what takes it.
    fn has_room(&mut self, ces_id: &str, size: usize, now: Nanos) -> bool {
        let has = |claims: &Self| {
            let of_peer = claims.peers.get(ces_id).map_or(0, |of_peer| of_peer.size);
            claims.size + size <= MOST && of_peer + size <= MOST_OF_PEER
        };
        if !has(self) && now.saturating_sub(self.purged) >= 100 * MS {
            self.purged = now;
            self.peers.retain(|_, of_peer| {
                of_peer.purge(now);
                of_peer.size > 0
            });
            self.size = self.peers.values().map(|of_peer| of_peer.size).sum();
        }
        has(self)
    }

    /// What waited for this waits no longer.
    pub(super) fn tell(&mut self, ces_id: &str, source: &str) {
        let Some(of_peer) = self.peers.get_mut(ces_id) else { return };
        let told = of_peer.by_source.remove(source).unwrap_or_default();
        let size: usize = told.iter().map(Waiting::size).sum();
        (self.size, of_peer.size) = (self.size - size, of_peer.size - size);
        if of_peer.size == 0 {
            self.peers.remove(ces_id);
        }
        self.told.extend(told);
    }

    /// Some of what waits no longer, as far as who asked still waits for an answer.
    pub(super) fn take_told(&mut self, most: usize, now: Nanos) -> Vec<(ConnId, Vec<u8>)> {
        let some = self.told.drain(..most.min(self.told.len()));
        let wanted = some.filter(|waiting| waiting.until > now);
        wanted.map(|waiting| (waiting.conn, waiting.payload)).collect()
    }

    /// Whether there is any.
    pub(super) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c17_what_waits_is_bounded_by_peer_and_in_all_and_is_forgotten_in_time() {
        let mut claims = Claims::default();
        let waiting = |until| Waiting { conn: ConnId(1), payload: vec![0; 4000], until };
        let mut kept = 0;
        while claims.has_room("gwa.", waiting(10).size(), 5) {
            let of_peer = claims.peers.entry("gwa.".into()).or_default();
            of_peer.by_source.entry(format!("h{kept}.a.")).or_default().push(waiting(10));
            (of_peer.size, kept) = (of_peer.size + waiting(10).size(), kept + 1);
            claims.size += waiting(10).size();
        }
        assert_eq!(kept, MOST_OF_PEER / waiting(10).size());
        assert!(claims.has_room("gwb.", waiting(10).size(), 5), "another peer has its own");
        claims.tell("gwa.", "h7.a.");
        assert_eq!((claims.take_told(9, 5).len(), claims.has_told()), (1, false));
        claims.tell("gwa.", "h8.a.");
        assert_eq!(claims.take_told(9, 10).len(), 0, "nobody waits any more");
        assert!(
            claims.has_room("gwa.", MOST_OF_PEER, 100 * MS) && claims.size == 0 && claims.peers.is_empty()
        );
    }
}
