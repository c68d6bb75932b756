//! A peer's word that its host has a name, while the owner finds out whether it may be believed: the message waits, and is read
//! anew then. Nothing else is kept of it; who asked sees a slow answer.

use super::api::{Claim, ConnId, Nanos, Output, Realm};
use super::links::Links;
use crate::h2h::name_of;
use crate::limits::MS;
use crate::message::Message;
use crate::policy::canonical_name;
use crate::tlv::{Item, Layer};
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages that wait, in all: of 64 KiB each at the most, and some 500 octets as a rule.
const MOST: usize = 256;
/// The same of one peer.
const MOST_OF_PEER: usize = 32;

#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    ces_id: Arc<str>,
    source: String,
    payload: Vec<u8>,
    until: Nanos,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Claims {
    waiting: VecDeque<Waiting>,
}

impl Claims {
    /// Whether a message has to wait; then the owner is told what for.
    pub(super) fn keep(
        &mut self,
        links: &mut Links,
        realm: &dyn Realm,
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
        self.waiting.retain(|waiting| waiting.until > now);
        let of_peer = self.waiting.iter().filter(|waiting| waiting.ces_id == ces_id).count();
        let has_room = self.waiting.len() < MOST && of_peer < MOST_OF_PEER;
        if has_room {
            // Who asked waits no longer than that.
            let until = now + u64::from(links.ground.limits().h2h_setup_ms) * MS;
            let payload = payload.to_vec();
            links.ground.emit(Output::Claimed { ces_id: Arc::clone(&ces_id), name: source.as_str().into() });
            self.waiting.push_back(Waiting { conn, ces_id, source, payload, until });
        }
        has_room
    }

    /// What waited for this, and for what somebody may still wait.
    pub(super) fn take(&mut self, ces_id: &str, source: &str, now: Nanos) -> Vec<(ConnId, Vec<u8>)> {
        let (told, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|waiting| waiting.until > now)
            .partition(|waiting| &*waiting.ces_id == ces_id && waiting.source == source);
        self.waiting = rest;
        told.into_iter().map(|waiting| (waiting.conn, waiting.payload)).collect()
    }
}
