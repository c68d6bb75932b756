//! Actions of ours after the negotiation (host filtering, evidence), from the query to its acknowledgement.

use super::api::{ActionId, ActionResult, CetpOutput, Nanos, PeerId};
use super::links::Links;
use super::timers::Timer;
use crate::limits::MS;
use crate::message::{Cmp, MessageWriter, Ope};
use crate::tlv::Item;
use crate::value::Value;
use rand::Rng;
use rustc_hash::FxHashMap;

/// Actions of ours that wait for an acknowledgement, at most.
const MAX_ACTIONS: usize = 1_024;

/// One of ours.
#[derive(Debug)]
struct Action {
    peer: PeerId,
    ack: u32,
    deadline: Nanos,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Actions {
    actions: FxHashMap<ActionId, Action>,
    last: u64,
}

impl Actions {
    /// Sends a query in C2C and waits for its acknowledgement.
    pub(super) fn begin(
        &mut self,
        links: &mut Links,
        peer: PeerId,
        item: Item,
        value: Value<'_>,
        now: Nanos,
    ) -> Option<ActionId> {
        if self.actions.len() >= MAX_ACTIONS {
            return None;
        }
        let (local, remote) = links.tags(peer)?;
        let mut out = MessageWriter::new(local, remote);
        let conn = links.conns.pick(peer)?;
        let ack = links.ground.rng().next_u32();
        out.item(Ope::Query, Cmp::Mandatory, item, value);
        out.item(Ope::Query, Cmp::Mandatory, Item::CesAck, Value::Number(ack.into()));
        if !links.send(conn, out.finish()) {
            return None;
        }
        let deadline = now + u64::from(links.ground.limits().action_ms) * MS;
        self.last += 1;
        let id = ActionId(self.last);
        self.actions.insert(id, Action { peer, ack, deadline });
        links.ground.timers.set(deadline, Timer::Action(id));
        Some(id)
    }

    pub(super) fn is_due(&self, id: ActionId, at: Nanos) -> bool {
        self.actions.get(&id).is_some_and(|action| action.deadline == at)
    }

    pub(super) fn acknowledged(&mut self, links: &mut Links, peer: PeerId, ack: u32) {
        let found = self.actions.iter().find(|(_, action)| action.peer == peer && action.ack == ack);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.done(links, id, ActionResult::Acknowledged);
        }
    }

    pub(super) fn done(&mut self, links: &mut Links, id: ActionId, result: ActionResult) {
        if self.actions.remove(&id).is_some() {
            links.ground.emit(CetpOutput::ActionDone { id, result });
        }
    }

    /// A peer is down: nothing will be acknowledged.
    pub(super) fn fail(&mut self, links: &mut Links, peer: PeerId) {
        let of_peer = self.actions.iter().filter(|(_, action)| action.peer == peer);
        let mut ids: Vec<ActionId> = of_peer.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids {
            self.done(links, id, ActionResult::PeerDown);
        }
    }
}
