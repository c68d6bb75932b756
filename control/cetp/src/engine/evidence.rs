//! Complaints about sessions: a peer's, and ours.

use super::actions::Actions;
use super::api::{ActionId, CetpOutput, Nanos, PeerId};
use super::hosts::Hosts;
use super::links::Links;
use crate::tlv::Item;
use crate::value::Value;
use std::borrow::Cow;

/// What is kept of a complaint, in bytes.
const MAX_EVIDENCE: usize = 256;

/// A peer's complaint: JSON in a string, or the object itself.
pub(super) fn received(hosts: &Hosts, links: &mut Links, peer: PeerId, value: &Value<'_>) {
    links.ground.counters.evidence_received += 1;
    let Some(ces_id) = links.peers.name(peer) else { return };
    let inner = value.as_str().and_then(|text| serde_json::from_str::<Value<'_>>(text).ok());
    let value = inner.as_ref().unwrap_or(value);
    let local_tag = match value.field("h2h_session") {
        Some(Value::List(tags)) => tags.iter().filter_map(Value::as_u32).find(|tag| {
            hosts.get(*tag).is_some_and(|session| {
                let remote = Some(session.session.remote_tag);
                session.peer == peer && tags.iter().any(|other| other.as_u32() == remote)
            })
        }),
        _ => None,
    };
    let mut misbehavior = match value.field("misbehavior") {
        Some(text) => text.as_str().map_or_else(|| json(text), str::to_owned),
        None => value.as_str().unwrap_or_default().to_owned(),
    };
    while misbehavior.len() > MAX_EVIDENCE {
        misbehavior.pop();
    }
    links.ground.emit(CetpOutput::Evidence { ces_id, local_tag, misbehavior });
}

fn json(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    value.write_json(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Tells a peer about misbehaviour in a session.
pub(super) fn send(
    hosts: &Hosts,
    links: &mut Links,
    actions: &mut Actions,
    local_tag: u32,
    misbehavior: &str,
    now: Nanos,
) -> Option<ActionId> {
    let session = hosts.get(local_tag)?;
    let (peer, remote_tag) = (session.peer, session.session.remote_tag);
    let tags = vec![Value::Number(local_tag.into()), Value::Number(remote_tag.into())];
    let evidence = Value::Map(vec![
        (Cow::Borrowed("h2h_session"), Value::List(tags)),
        (Cow::Borrowed("misbehavior"), Value::Text(Cow::Borrowed(misbehavior))),
    ]);
    actions.begin(links, peer, Item::CesEvidence, Value::Text(Cow::Owned(json(&evidence))), now)
}
