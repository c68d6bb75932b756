//! After the negotiation: terminate, host filtering, evidence.

use super::peers::PeerId;
use super::{
    ActionId, ActionResult, ConnId, DownReason, Engine, Filter, FilterSnapshot, Nanos, Output,
    PeerDownReason, Realm, Timer,
};
use crate::limits::{MS, S};
use crate::message::{Cmp, Message, Ope, Writer};
use crate::policy::canonical_name;
use crate::tlv::{Item, Layer};
use crate::value::Value;
use rand::Rng;
use std::borrow::Cow;
use std::sync::Arc;

/// Actions of ours that wait for an acknowledgement, at most.
const MAX_ACTIONS: usize = 1_024;

/// What is kept of a complaint, in bytes.
const MAX_EVIDENCE: usize = 256;

/// One of ours.
#[derive(Debug)]
pub(super) struct Action {
    peer: PeerId,
    ack: u32,
    deadline: Nanos,
}

/// What a filter holds for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FilterKey {
    pub(super) name: Arc<str>,
    /// Which end of a session the name is.
    pub(super) local: bool,
    /// Only with this peer.
    pub(super) ces_id: Option<Arc<str>>,
}

fn name_in(value: &Value<'_>, key: &str) -> Option<Arc<str>> {
    let name = value.field(key)?.as_str()?;
    (1..=255).contains(&name.len()).then(|| canonical_name(name).into())
}

impl Engine {
    /// Whether a filter stops new sessions of these two.
    pub(super) fn is_filtered(&self, local: &str, remote: &str, ces_id: &Arc<str>, now: Nanos) -> bool {
        if self.filters.is_empty() {
            return false;
        }
        let ends = [(local, true), (remote, false)];
        ends.into_iter().any(|(name, local)| {
            let mut key = FilterKey { name: name.into(), local, ces_id: None };
            let everywhere = self.filters.contains(&key, now);
            key.ces_id = Some(ces_id.clone());
            everywhere || self.filters.contains(&key, now)
        })
    }

    /// Puts a filter up and ends what it stops; false if there is no room.
    pub(super) fn put_filter(
        &mut self,
        name: Arc<str>,
        local: bool,
        ces_id: Option<Arc<str>>,
        for_ns: u64,
        now: Nanos,
    ) -> bool {
        let key = FilterKey { name, local, ces_id };
        if !self.filters.contains(&key, now) && !self.filters.has_room(now) {
            return false;
        }
        self.filters.insert(key.clone(), (), now + for_ns, now);
        let (name, ces_id) = (key.name.clone(), key.ces_id.clone());
        self.outputs.push_back(Output::Filtered { name, local, ces_id, until: now + for_ns });
        let tags: Vec<u32> = match key.ces_id.as_ref().map(|id| self.peer_ids.get(id)) {
            None => self.table.tags(),
            Some(peer) => peer.map(|peer| self.table.tags_of(*peer)).unwrap_or_default(),
        };
        for tag in tags {
            let is_hit = self.table.get(tag).is_some_and(|entry| {
                let session = &entry.session;
                key.name == if local { session.local_fqdn.clone() } else { session.remote_fqdn.clone() }
            });
            if is_hit {
                self.end_session(tag, DownReason::Filtered);
            }
        }
        true
    }

    pub(super) fn filter_snapshots(&self, now: Nanos) -> Vec<FilterSnapshot> {
        let snapshot = |(key, (), until): (&FilterKey, &(), Nanos)| FilterSnapshot {
            name: key.name.clone(),
            local: key.local,
            ces_id: key.ces_id.clone(),
            left_s: until.saturating_sub(now).div_ceil(S),
        };
        self.filters.iter(now).map(snapshot).collect()
    }

    /// A message in an established C2C session.
    pub(super) fn c2c_after(
        &mut self,
        realm: &mut dyn Realm,
        peer: PeerId,
        conn: ConnId,
        message: &Message<'_>,
        now: Nanos,
    ) {
        if let Some(info) = message.info(Item::CesTerminate) {
            return self.terminated(realm, peer, info.value.as_ref(), now);
        }
        let value_of = |tlv: Option<&crate::message::Tlv<'_>>| {
            tlv.and_then(|tlv| tlv.value.as_ref()).and_then(Value::as_u32)
        };
        if let Some(ack) = value_of(message.query(Item::CesAck)) {
            let mut out = Writer::new(message.dst, message.sst);
            let mut done = false;
            if let Some(value) = message.query(Item::CesHostFiltering).and_then(|query| query.value.as_ref())
            {
                done |= self.filter_for(peer, value, now);
            }
            if let Some(value) = message.query(Item::CesEvidence).and_then(|query| query.value.as_ref()) {
                self.evidence(peer, value);
                out.text(Item::CesEvidence, "ACKED");
                done = true;
            }
            if done {
                out.item(Ope::Info, Cmp::Mandatory, Item::CesAck, Value::Number(ack.into()));
                self.send(conn, out.finish());
                return;
            }
        }
        if let Some(ack) = value_of(message.info(Item::CesAck)) {
            self.acknowledged(peer, ack);
        }
        // Queries that nobody here understands are answered, the rest is ignored.
        let mut out = Writer::new(message.dst, message.sst);
        let mut queries = message.queries().filter(|query| query.item() != Some(Item::CesAck)).peekable();
        if queries.peek().is_some() {
            queries.for_each(|query| out.not_available(&query.name));
            self.send(conn, out.finish());
        }
    }

    /// A peer ends sessions, or everything.
    fn terminated(&mut self, realm: &mut dyn Realm, peer: PeerId, value: Option<&Value<'_>>, now: Nanos) {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return self.peer_down(realm, peer, PeerDownReason::ByPeer, now);
        };
        match value.field("sessions") {
            Some(Value::Text(all)) if all == "*" => {
                for tag in self.table.tags_of(peer) {
                    self.session_down(tag, DownReason::ByPeer);
                }
            }
            Some(Value::List(pairs)) => {
                for pair in pairs {
                    let Value::List(tags) = pair else { continue };
                    let [first, second] = tags.as_slice() else { continue };
                    let (Some(first), Some(second)) = (first.as_u32(), second.as_u32()) else { continue };
                    // The sender's tag comes first; the other order can only name the same session.
                    for (theirs, ours) in [(first, second), (second, first)] {
                        let is_it = self.table.get(ours).is_some_and(|session| {
                            session.peer == peer && session.session.remote_tag == theirs
                        });
                        if is_it {
                            self.session_down(ours, DownReason::ByPeer);
                        }
                    }
                }
            }
            // A terminate with an offending TLV in an established C2C: the peer does not want it after all.
            _ => self.peer_down(realm, peer, PeerDownReason::ByPeer, now),
        }
    }

    /// Filters for a peer: `remote_host` is a host here that must not send there, `local_domain` a name there that
    /// nothing here may be sent to. Whether that was understood and there was room.
    fn filter_for(&mut self, peer: PeerId, value: &Value<'_>, now: Nanos) -> bool {
        let Some(ces_id) = self.peers.get(&peer).map(|peer| peer.ces_id.clone()) else { return false };
        let for_ns = u64::from(self.settings.limits.filter_s) * S;
        let mut done = false;
        for (field, local) in [("remote_host", true), ("local_domain", false)] {
            let Some(name) = name_in(value, field) else { continue };
            if self.put_filter(name.clone(), local, Some(ces_id.clone()), for_ns, now) {
                self.counters.filters_accepted += 1;
                let filter = if local { Filter::RemoteHost(name) } else { Filter::LocalDomain(name) };
                self.outputs.push_back(Output::Filtering { ces_id: ces_id.clone(), filter, for_ns });
                done = true;
            }
        }
        done
    }

    /// A complaint: JSON in a string, or the object itself.
    fn evidence(&mut self, peer: PeerId, value: &Value<'_>) {
        self.counters.evidence_received += 1;
        let Some(ces_id) = self.peers.get(&peer).map(|peer| peer.ces_id.clone()) else { return };
        let inner = value.as_str().and_then(|text| serde_json::from_str::<Value<'_>>(text).ok());
        let value = inner.as_ref().unwrap_or(value);
        let local_tag = match value.field("h2h_session") {
            Some(Value::List(tags)) => tags.iter().filter_map(Value::as_u32).find(|tag| {
                self.table.get(*tag).is_some_and(|session| {
                    let remote = Some(session.session.remote_tag);
                    session.peer == peer && tags.iter().any(|other| other.as_u32() == remote)
                })
            }),
            _ => None,
        };
        let mut misbehavior = match value.field("misbehavior") {
            Some(text) => text.as_str().map_or_else(
                || {
                    let mut out = Vec::new();
                    text.write_json(&mut out);
                    String::from_utf8_lossy(&out).into_owned()
                },
                str::to_owned,
            ),
            None => value.as_str().unwrap_or_default().to_owned(),
        };
        while misbehavior.len() > MAX_EVIDENCE {
            misbehavior.pop();
        }
        self.outputs.push_back(Output::Evidence { ces_id, local_tag, misbehavior });
    }

    /// Sends a query in C2C and waits for its acknowledgement.
    fn act(&mut self, peer: PeerId, item: Item, value: Value<'_>, now: Nanos) -> Option<ActionId> {
        if self.actions.len() >= MAX_ACTIONS {
            return None;
        }
        let c2c = self.peers.get(&peer)?.c2c.as_ref()?;
        let mut out = Writer::new(c2c.local_tag, c2c.remote_tag);
        let conn = self.pick_conn(peer)?;
        let ack = self.rng.next_u32();
        out.item(Ope::Query, Cmp::Mandatory, item, value);
        out.item(Ope::Query, Cmp::Mandatory, Item::CesAck, Value::Number(ack.into()));
        if !self.send(conn, out.finish()) {
            return None;
        }
        let deadline = now + u64::from(self.settings.limits.action_ms) * MS;
        self.next_action += 1;
        let id = self.next_action;
        self.actions.insert(id, Action { peer, ack, deadline });
        self.timer(deadline, Timer::Action(id));
        Some(ActionId(id))
    }

    fn acknowledged(&mut self, peer: PeerId, ack: u32) {
        let found = self.actions.iter().find(|(_, action)| action.peer == peer && action.ack == ack);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.action_done(id, ActionResult::Acknowledged);
        }
    }

    pub(super) fn action_done(&mut self, id: u64, result: ActionResult) {
        if self.actions.remove(&id).is_some() {
            self.outputs.push_back(Output::ActionDone { id: ActionId(id), result });
        }
    }

    pub(super) fn action_due(&self, id: u64, at: Nanos) -> bool {
        self.actions.get(&id).is_some_and(|action| action.deadline == at)
    }

    pub(super) fn actions_failed(&mut self, peer: PeerId, result: ActionResult) {
        let mut ids: Vec<u64> =
            self.actions.iter().filter(|(_, action)| action.peer == peer).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids {
            self.action_done(id, result);
        }
    }

    pub(super) fn ask_to_filter(&mut self, ces_id: &str, filter: Filter, now: Nanos) -> Option<ActionId> {
        let peer = *self.peer_ids.get(canonical_name(ces_id).as_str())?;
        let (field, name, local) = match &filter {
            Filter::RemoteHost(name) => ("remote_host", name, false),
            Filter::LocalDomain(name) => ("local_domain", name, true),
        };
        let name: Arc<str> = canonical_name(name).into();
        let value = Value::Map(vec![(Cow::Borrowed(field), Value::Text(Cow::Borrowed(&*name)))]);
        let id = self.act(peer, Item::CesHostFiltering, value, now)?;
        let for_ns = u64::from(self.settings.limits.filter_s) * S;
        let ces_id = self.peers.get(&peer).map(|peer| peer.ces_id.clone());
        self.put_filter(name, local, ces_id, for_ns, now);
        Some(id)
    }

    pub(super) fn complain(&mut self, local_tag: u32, misbehavior: &str, now: Nanos) -> Option<ActionId> {
        let session = self.table.get(local_tag)?;
        let (peer, remote_tag) = (session.peer, session.session.remote_tag);
        let tags = vec![Value::Number(local_tag.into()), Value::Number(remote_tag.into())];
        let evidence = Value::Map(vec![
            (Cow::Borrowed("h2h_session"), Value::List(tags)),
            (Cow::Borrowed("misbehavior"), Value::Text(Cow::Borrowed(misbehavior))),
        ]);
        let mut text = Vec::new();
        evidence.write_json(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        self.act(peer, Item::CesEvidence, Value::Text(Cow::Owned(text)), now)
    }

    /// Ends all sessions with a peer by one message.
    pub(super) fn end_sessions(&mut self, ces_id: &str) -> usize {
        let Some(peer) = self.peer_ids.get(canonical_name(ces_id).as_str()).copied() else { return 0 };
        let Some(entry) = self.peers.get(&peer) else { return 0 };
        let tags = self.table.tags_of(peer);
        let c2c = entry.c2c.as_ref().map(|c2c| (c2c.local_tag, c2c.remote_tag));
        let count = tags.len();
        let Some(((local, remote), conn)) = c2c.zip(self.pick_conn(peer)) else {
            for tag in tags {
                self.end_session(tag, DownReason::ByUs);
            }
            return count;
        };
        for tag in tags {
            self.session_down(tag, DownReason::ByUs);
        }
        let all = Value::Map(vec![(Cow::Borrowed("sessions"), Value::Text(Cow::Borrowed("*")))]);
        let mut out = Writer::new(local, remote);
        out.item(Ope::Info, Cmp::Mandatory, Item::CesTerminate, all);
        self.send(conn, out.finish());
        count
    }

    /// Ends C2C with a peer, and all sessions: each is told, since they would outlive C2C at the other end.
    pub(super) fn end_peer(&mut self, realm: &mut dyn Realm, peer: PeerId, now: Nanos) -> bool {
        let Some(c2c) = self.peers.get(&peer).and_then(|peer| peer.c2c.clone()) else { return false };
        for tag in self.table.tags_of(peer) {
            self.end_session(tag, DownReason::ByUs);
        }
        if let Some(conn) = self.pick_conn(peer) {
            let mut out = Writer::new(c2c.local_tag, c2c.remote_tag);
            out.terminate(Layer::C2c, None);
            self.send(conn, out.finish());
        }
        self.peer_down(realm, peer, PeerDownReason::ByUs, now);
        true
    }
}
