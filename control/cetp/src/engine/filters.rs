//! Names that are filtered: by us, or for a peer that asks for it. What a filter stops is ended.

use super::actions::Actions;
use super::api::{ActionId, CetpOutput, FlowFilter, Nanos, PeerId};
use super::hosts::Hosts;
use super::links::Links;
use super::reason::DownReason;
use super::refused::FilterKey;
use super::{doubts, sessions};
use crate::limits::S;
use crate::policy::canonical_name;
use crate::tlv::Item;
use crate::value::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Puts a filter up and ends what it stops; false if there is no room.
pub(super) fn put(hosts: &mut Hosts, links: &mut Links, key: FilterKey, for_ns: u64, now: Nanos) -> bool {
    if !links.ground.refused.filter(key.clone(), now + for_ns, now) {
        return false;
    }
    match key.ces_id.as_ref().map(|id| links.peers.find(id)) {
        None => hosts.peers().into_iter().for_each(|peer| hosts.look_through(peer)),
        Some(peer) => peer.into_iter().for_each(|peer| hosts.look_through(peer)),
    }
    let FilterKey { name, local, ces_id } = key;
    links.ground.emit(CetpOutput::Filtered { name, local, ces_id, until: now + for_ns });
    true
}

/// Looks at one more session of those that a filter may stop, or that its peer may have lost; whether it ends by that. `None` if
/// none is left.
pub(super) fn go_on(hosts: &mut Hosts, links: &mut Links, now: Nanos) -> Option<bool> {
    let tag = hosts.next_look()?;
    if doubts::is_lost(hosts, links, tag) {
        doubts::end_lost(hosts, links, tag);
        return Some(true);
    }
    let is_hit = hosts.get(tag).is_some_and(|entry| {
        let session = &entry.session;
        let (local, remote, ces_id) = (&session.local_fqdn, &session.remote_fqdn, &session.ces_id);
        links.ground.refused.is_filtered(local, remote, ces_id, now)
    });
    if is_hit {
        sessions::end(hosts, links, tag, DownReason::Filtered);
    }
    Some(is_hit)
}

fn name_in(value: &Value<'_>, key: &str) -> Option<Arc<str>> {
    let name = value.field(key)?.as_str()?;
    (1..=255).contains(&name.len()).then(|| canonical_name(name).into())
}

/// Filters for a peer: `remote_host` is a host here that must not send there, `local_domain` a name there that nothing here may
/// be sent to. Whether that was understood and there was room.
pub(super) fn put_for(
    hosts: &mut Hosts,
    links: &mut Links,
    peer: PeerId,
    value: &Value<'_>,
    now: Nanos,
) -> bool {
    let Some(ces_id) = links.peers.name(peer) else { return false };
    let for_ns = u64::from(links.ground.limits().filter_s) * S;
    let mut done = false;
    for (field, local) in [("remote_host", true), ("local_domain", false)] {
        let Some(name) = name_in(value, field) else { continue };
        let key = FilterKey { name: name.clone(), local, ces_id: Some(ces_id.clone()) };
        if put(hosts, links, key, for_ns, now) {
            links.ground.counters.filters_accepted += 1;
            let filter = if local { FlowFilter::RemoteHost(name) } else { FlowFilter::LocalDomain(name) };
            links.ground.emit(CetpOutput::Filtering { ces_id: ces_id.clone(), filter, for_ns });
            done = true;
        }
    }
    done
}

/// Asks a peer to stop flows to us for a while, and refuses them here meanwhile.
pub(super) fn ask(
    hosts: &mut Hosts,
    links: &mut Links,
    actions: &mut Actions,
    ces_id: &str,
    filter: &FlowFilter,
    now: Nanos,
) -> Option<ActionId> {
    let peer = links.peers.find(&canonical_name(ces_id))?;
    let (field, name, local) = match filter {
        FlowFilter::RemoteHost(name) => ("remote_host", name, false),
        FlowFilter::LocalDomain(name) => ("local_domain", name, true),
    };
    let name: Arc<str> = canonical_name(name).into();
    let value = Value::Map(vec![(Cow::Borrowed(field), Value::Text(Cow::Borrowed(&*name)))]);
    let id = actions.begin(links, peer, Item::CesHostFiltering, value, now)?;
    let for_ns = u64::from(links.ground.limits().filter_s) * S;
    let ces_id = links.peers.name(peer);
    put(hosts, links, FilterKey { name, local, ces_id }, for_ns, now);
    Some(id)
}
