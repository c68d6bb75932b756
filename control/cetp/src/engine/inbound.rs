//! H2H messages as they come in: to whom they go, and the negotiations that peers start.

use super::api::{CetpOutput, ConnId, Direction, Nanos, NegotiationId, Owner, PeerId, Role};
use super::hosts::Hosts;
use super::links::Links;
use super::pair::{Pair, PairRef};
use super::reason::{BlockReason, Failure};
use super::{asking, doubts, ends, sessions};
use crate::h2h::{H2hSide, name_of};
use crate::message::{Message, MessageWriter, Tlv};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::canonical_name;
use crate::tlv::{Item, Layer};
use std::sync::Arc;

/// A message of a group of H2H.
pub(super) fn message(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    conn: ConnId,
    message: &Message<'_>,
    now: Nanos,
) {
    let Some(entry) = links.conns.get(conn) else { return };
    let Some(peer) = entry.peer.filter(|_| entry.established) else {
        return too_early(links, conn, now);
    };
    if message.dst == 0 {
        return request(hosts, links, realm, (peer, conn), message, now);
    }
    let is_end = message.info(Item::ControlTerminate).is_some();
    if let Some(id) = negotiation(hosts, peer, message.dst) {
        // cetp.md: who refuses keeps no state and answers with SST 0. An end with a tag is a session's that had our tag
        // before, in an earlier life of ours.
        if is_end && message.sst != 0 {
            links.ground.counters.unknown_session += 1;
            return;
        }
        return asking::reply(hosts, links, realm, id, conn, message, now);
    }
    let known = hosts.get(message.dst);
    if known.is_some_and(|known| known.peer == peer && known.session.remote_tag == message.sst) {
        if is_end {
            if doubts::is_doubted(hosts, links, message.dst) {
                doubts::stands(links, peer);
            }
            hosts.end_named(peer, (message.dst, message.sst));
        }
        return;
    }
    links.ground.counters.unknown_session += 1;
    if !is_end && message.sst != 0 && message.info(Item::IdFqdn).is_some() {
        // An answer that comes too late: the peer keeps state for a session that will not be.
        let mut out = MessageWriter::new(message.dst, message.sst);
        out.terminate(Layer::H2h, None);
        links.send(conn, out.finish());
    }
}

/// The negotiation of ours with that peer that a tag is set aside for.
fn negotiation(hosts: &Hosts, peer: PeerId, tag: u32) -> Option<NegotiationId> {
    let id = hosts.waiting_for(tag)?;
    hosts.negotiation(id).filter(|entry| entry.pair.peer == peer).map(|_| id)
}

/// H2H before C2C is done.
fn too_early(links: &mut Links, conn: ConnId, now: Nanos) {
    links.ground.counters.unknown_session += 1;
    let is_beyond = links.conns.count_c2c(conn) > links.ground.limits().c2c_messages;
    // On a connection of ours the peer may think C2C done that is not: its answer was lost with another.
    if is_beyond && links.conns.get(conn).is_some_and(|entry| !entry.is_ours()) {
        links.blame(conn, BlockReason::C2cRounds, now);
    }
}

/// Who asks for whom, from where.
struct Names {
    source: String,
    destination: String,
    ces_id: Arc<str>,
}

type Offence<'m, 'a> = (Failure, Option<&'m Tlv<'a>>);

/// A peer's host wants to reach a name here. Nothing is kept until all requirements hold.
fn request(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    (peer, conn): (PeerId, ConnId),
    message: &Message<'_>,
    now: Nanos,
) {
    let names = name_of(message, Item::IdFqdn).zip(name_of(message, Item::ControlDstep));
    let Some((source, destination)) = names.filter(|_| message.sst != 0) else {
        // Nobody to refuse by name; silence is what the reference does, too.
        links.ground.counters.h2h_received.count(Err(Failure::Malformed));
        return;
    };
    if links.is_leaving(peer) {
        // C2C ends in a moment, and with it what the peer waits for: it asks anew.
        links.ground.counters.h2h_received.count(Err(Failure::Cancelled));
        return;
    }
    let (source, destination) = (canonical_name(source), canonical_name(destination));
    let Some(ces_id) = links.peers.name(peer) else { return };
    let names = Names { source, destination, ces_id };
    if let Err((why, offending)) = try_request(hosts, links, realm, (peer, conn), &names, message, now) {
        links.ground.counters.h2h_received.count(Err(why));
        let mut out = MessageWriter::new(0, message.sst);
        out.terminate(Layer::H2h, offending);
        links.send(conn, out.finish());
        let Names { source, destination, ces_id } = names;
        let (source, destination) = (source.into(), destination.into());
        links.ground.emit(CetpOutput::Refused { ces_id, source, destination, why });
    }
}

fn try_request<'m, 'a>(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    (peer, conn): (PeerId, ConnId),
    Names { source, destination, ces_id }: &Names,
    message: &'m Message<'a>,
    now: Nanos,
) -> Result<(), Offence<'m, 'a>> {
    // A refusal that says nothing is one of a duplicate: every other one says what it is about.
    let destined = || message.info(Item::ControlDstep);
    if !realm.is_service(destination) {
        return Err((Failure::NotServed, destined()));
    }
    if links.ground.refused.is_filtered(destination, source, ces_id, now) {
        return Err((Failure::Filtered, destined()));
    }
    let policy = realm.host_policy(destination, Direction::Inbound, source, ces_id);
    let policy = policy.ok_or_else(|| (Failure::Denied, message.info(Item::IdFqdn)))?;
    let about = (peer, source.as_str(), destination.as_str(), message.sst);
    let (ack, ack_before) = links.ground.secrets().acks(about, now);
    let side = H2hSide { policy: &policy, name: destination, peer_name: source, ack, ack_before };
    ends::make_way(hosts, links, peer, Role::Responder, (source, destination));
    let key: &dyn PairRef = &(peer, Role::Responder, &**source, &**destination);
    let epoch = links.peers.get(peer).map_or(0, super::peer::Peer::epoch);
    let old = hosts.of(key);
    if let Some(old) = old {
        if old.session.remote_tag == message.sst {
            // The same message again: the answer was lost with its connection.
            let mut out = MessageWriter::new(old.session.local_tag, message.sst);
            write_answers(&side, message, &mut out);
            links.send(conn, out.finish());
            return Ok(());
        }
        if old.epoch == epoch {
            // One session per pair of names: the reference answers with an empty terminate, too. But who asks twice has none.
            let tag = old.session.local_tag;
            hosts.doubt(tag);
            return Err((Failure::Duplicate, None));
        }
    }
    if let Some(query) = unanswerable(&side, message) {
        return Err((Failure::Unavailable, Some(query)));
    }
    let unmet = |info| (Failure::Unmet, Some(info));
    if !verify(&side, message).map_err(unmet)?.all {
        let mut out = MessageWriter::new(0, message.sst);
        write_queries(&side, &mut out);
        links.ground.counters.asked += 1;
        links.send(conn, out.finish());
        return Ok(());
    }
    let terms = side.terms(message, links.ground.limits()).map_err(unmet)?;
    if old.is_none() && !sessions::has_room(hosts, links, peer) {
        return Err((Failure::SessionLimit, destined()));
    }
    let reserved = realm.reserve(destination, source, ces_id);
    let reservation = reserved.map_err(|_| (Failure::Exhausted, destined()))?;
    let is_sound = reservation.tag != 0 && !hosts.is_taken(reservation.tag);
    let mut out = MessageWriter::new(reservation.tag, message.sst);
    write_answers(&side, message, &mut out);
    let frame = out.finish();
    if !is_sound || frame.is_err() {
        realm.release(reservation.tag);
        return Err((Failure::Exhausted, destined()));
    }
    let (source, destination) = (source.as_str().into(), destination.as_str().into());
    let pair = Pair { peer, role: Role::Responder, source, destination };
    // The binding stands before the answer leaves.
    if !sessions::up(hosts, links, &pair, reservation, message.sst, &terms, now) {
        realm.release(reservation.tag);
        return Err((Failure::NoTunnel, destined()));
    }
    links.ground.counters.h2h_received.count(Ok(()));
    links.send(conn, frame);
    Ok(())
}
