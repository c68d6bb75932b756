//! Messages in C2C that stands: terminate, host filtering, evidence, and their acknowledgements.

use super::actions::Actions;
use super::api::{ConnId, Nanos, PeerId};
use super::hosts::Hosts;
use super::links::Links;
use super::{ends, evidence, filters};
use crate::message::{Cmp, Message, MessageWriter, Ope, Tlv};
use crate::tlv::Item;
use crate::value::Value;

/// A message in an established C2C session.
pub(super) fn message(
    hosts: &mut Hosts,
    links: &mut Links,
    actions: &mut Actions,
    (peer, conn): (PeerId, ConnId),
    message: &Message<'_>,
    now: Nanos,
) {
    if let Some(info) = message.info(Item::CesTerminate) {
        return ends::by_peer(hosts, links, peer, info.value.as_ref(), now);
    }
    let number = |tlv: Option<&Tlv<'_>>| tlv.and_then(|tlv| tlv.value.as_ref()).and_then(Value::as_u32);
    if let Some(ack) = number(message.query(Item::CesAck)) {
        let mut out = MessageWriter::new(message.dst, message.sst);
        if wishes(hosts, links, peer, message, &mut out, now) {
            out.item(Ope::Info, Cmp::Mandatory, Item::CesAck, Value::Number(ack.into()));
            links.send(conn, out.finish());
            return;
        }
    }
    if let Some(ack) = number(message.info(Item::CesAck)) {
        actions.acknowledged(links, peer, ack);
    }
    // Queries that nobody here understands are answered, the rest is ignored.
    let mut out = MessageWriter::new(message.dst, message.sst);
    let mut queries = message.queries().filter(|query| query.item() != Some(Item::CesAck)).peekable();
    if queries.peek().is_some() {
        queries.for_each(|query| out.not_available(&query.name));
        links.send(conn, out.finish());
    }
}

/// Does what the peer asks for; whether there was anything to acknowledge.
fn wishes(
    hosts: &mut Hosts,
    links: &mut Links,
    peer: PeerId,
    message: &Message<'_>,
    out: &mut MessageWriter,
    now: Nanos,
) -> bool {
    let value = |item| message.query(item).and_then(|query| query.value.as_ref());
    let mut done = false;
    if let Some(value) = value(Item::CesHostFiltering) {
        done |= filters::put_for(hosts, links, peer, value, now);
    }
    if let Some(value) = value(Item::CesEvidence) {
        evidence::received(hosts, links, peer, value);
        out.text(Item::CesEvidence, "ACKED");
        done = true;
    }
    done
}
