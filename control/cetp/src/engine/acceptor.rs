//! C2C messages as they come in: to whom they go, and the negotiations that peers start.

use super::api::{AcceptError, CetpOutput, ConnId, Nanos, PeerId, PeerIdentity, Role};
use super::initiator;
use super::links::Links;
use super::peer::C2c;
use super::reason::{BlockReason, Failure};
use crate::c2c::C2cSide;
use crate::limits::MS;
use crate::message::{Message, MessageWriter, Ope, Tlv};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::{canonical_name, same_name};
use crate::tlv::{Item, Layer};
use crate::value::Value;
use std::net::SocketAddr;
use std::sync::Arc;

/// A peer connected to us.
pub(super) fn accept(
    links: &mut Links,
    identity: PeerIdentity,
    remote: SocketAddr,
    now: Nanos,
) -> Result<ConnId, AcceptError> {
    let ground = &links.ground;
    if ground.refused.is_blocked(remote.ip(), now) {
        return Err(AcceptError::Blocked);
    }
    let identity = identity.ces_id.map(|id| Arc::<str>::from(canonical_name(&id)));
    match &identity {
        None if !ground.settings().believe_unauthenticated => return Err(AcceptError::Identity),
        Some(id) if ground.is_us(id) || !ground.is_trusted(id) => return Err(AcceptError::Identity),
        _ => {}
    }
    let limits = ground.limits();
    if links.conns.len() >= limits.connections as usize
        || links.conns.strangers(remote.ip()) >= limits.unidentified_per_address
    {
        return Err(AcceptError::Overload);
    }
    let setup = u64::from(limits.c2c_setup_ms) * MS;
    let known = identity.as_ref().and_then(|id| links.peers.find(id));
    let conn = links.conns.accept(identity, remote, limits, now);
    // A further connection of a peer that is up belongs to it at once.
    match known.filter(|peer| links.is_up(*peer)) {
        Some(peer) => links.attach(peer, conn),
        None => links.conns.set_deadline(conn, now + setup, &mut links.ground.timers),
    }
    Ok(conn)
}

/// A message of a group of C2C. The peer, if the message is one within C2C that stands.
pub(super) fn message(
    links: &mut Links,
    is_used: impl Fn(PeerId) -> bool,
    conn: ConnId,
    message: &Message<'_>,
    now: Nanos,
) -> Option<PeerId> {
    let entry = links.conns.get(conn)?;
    let (peer, established) = (entry.peer, entry.established);
    if message.dst != 0
        && let Some(peer) = peer
        && let Some(known) = links.peers.get(peer)
    {
        let is_it = |attempt: &&_| is_reply(attempt, conn, message);
        if known.attempt().as_ref().is_some_and(is_it) {
            initiator::reply(links, peer, conn, message, now);
            return None;
        }
        if established && known.has_tags((message.dst, message.sst)) {
            return Some(peer);
        }
    }
    if message.dst != 0 && !established && claim(links, conn, message) {
        return None;
    }
    if message.dst != 0 && established {
        // A late answer, or the end of what has ended here already.
        links.ground.counters.unknown_session += 1;
        return None;
    }
    if links.conns.count_c2c(conn) > links.ground.limits().c2c_messages {
        refused(links, conn, Failure::Rounds);
        links.blame(conn, BlockReason::C2cRounds, now);
    } else if message.dst != 0 || is_end(links, conn, message) {
        links.ground.counters.unknown_session += 1;
    } else {
        request(links, is_used, conn, message, now);
    }
    None
}

/// Whether a message of a peer that its transport names is no request: the end of what has no tag here.
fn is_end(links: &Links, conn: ConnId, message: &Message<'_>) -> bool {
    let is_known = links.conns.get(conn).is_some_and(|entry| entry.identity.is_some());
    is_known && message.info(Item::CesTerminate).is_some()
}

fn is_reply(attempt: &super::attempt::Attempt, conn: ConnId, message: &Message<'_>) -> bool {
    attempt.conn == Some(conn) && attempt.tag == message.dst
}

/// A further connection without TLS: the peer says by its tags which C2C it belongs to.
fn claim(links: &mut Links, conn: ConnId, message: &Message<'_>) -> bool {
    let is_anonymous =
        links.conns.get(conn).is_some_and(|entry| !entry.is_ours() && entry.identity.is_none());
    let claim = message.info(Item::CesCesid).and_then(|info| info.value.as_ref()).and_then(Value::as_str);
    let Some(id) = claim.filter(|_| is_anonymous) else { return false };
    let Some(peer) = links.peers.find(canonical_name(id).as_str()) else { return false };
    let is_it = links
        .peers
        .get(peer)
        .is_some_and(|known| !known.is_authenticated() && known.has_tags((message.dst, message.sst)));
    if is_it {
        links.attach(peer, conn);
    }
    is_it
}

fn refused(links: &mut Links, conn: ConnId, why: Failure) {
    links.ground.counters.c2c_received.count(Err(why));
    let ces_id = links.conns.get(conn).and_then(|entry| entry.identity.clone());
    links.ground.emit(CetpOutput::PeerFailed { ces_id, role: Role::Responder, why });
}

/// Refuses a peer's C2C: tells it what offends, closes, and blocks its address.
fn refuse(
    links: &mut Links,
    conn: ConnId,
    message: &Message<'_>,
    (why, offending): Offence<'_, '_>,
    now: Nanos,
) {
    let mut out = MessageWriter::new(0, message.sst);
    out.terminate(Layer::C2c, offending);
    links.send(conn, out.finish());
    refused(links, conn, why);
    // Our trouble, not its fault: no room, or what it asks for is not here, or more work than we do for anybody.
    let is_too_much = offending.is_some_and(|tlv| tlv.ope == Ope::Query);
    let is_ours = is_too_much
        || matches!(why, Failure::Overload | Failure::Unavailable | Failure::NoTunnel | Failure::Unencrypted);
    let is_blameless = is_ours || links.is_mutual(conn, now);
    if let Some(entry) = links.conns.get(conn).filter(|_| !is_blameless) {
        links.ground.block_for_abuse(entry.remote.ip(), BlockReason::C2cFailed, now);
    }
    links.close(conn, why, now);
}

type Offence<'m, 'a> = (Failure, Option<&'m Tlv<'a>>);

/// A peer wants C2C. Nothing is kept until all requirements hold.
fn request(
    links: &mut Links,
    is_used: impl Fn(PeerId) -> bool,
    conn: ConnId,
    message: &Message<'_>,
    now: Nanos,
) {
    if let Err(offence) = try_request(links, is_used, conn, message, now) {
        refuse(links, conn, message, offence, now);
    }
}

fn try_request<'m, 'a>(
    links: &mut Links,
    is_used: impl Fn(PeerId) -> bool,
    conn: ConnId,
    message: &'m Message<'a>,
    now: Nanos,
) -> Result<(), Offence<'m, 'a>> {
    let Some(remote) = links.conns.get(conn).map(|entry| entry.remote) else { return Ok(()) };
    let ces_id = identify(links, conn, message)?;
    let side = links.ground.side(&ces_id, remote, now);
    if let Some(query) = unanswerable(&side, message) {
        let too_hard = query.item() == Some(Item::CesPow);
        return Err((if too_hard { Failure::ProofOfWork } else { Failure::Unavailable }, Some(query)));
    }
    let met = verify(&side, message).map_err(|info| match info.item() {
        Some(Item::CesPow) => (Failure::ProofOfWork, Some(info)),
        Some(Item::CesCesid) => (Failure::Identity, Some(info)),
        _ => (Failure::Unmet, Some(info)),
    })?;
    if !met.all {
        let mut out = MessageWriter::new(0, message.sst);
        write_queries(&side, &mut out);
        links.ground.counters.asked += 1;
        links.send(conn, out.finish());
        return Ok(());
    }
    let terms = side.terms(message);
    side.choose(&terms).ok_or((Failure::NoTunnel, None))?;
    if terms.seal.is_none() {
        side.may_be_clear(&terms).map_err(|why| (why, None))?;
    }
    let peer = links.peer(&ces_id, is_used).ok_or((Failure::Overload, None))?;
    let seal = terms.seal.as_ref().and_then(|theirs| links.answer_offer(peer, conn, theirs, now));
    let tag = links.draw_c2c_tag();
    let mut answers = MessageWriter::new(tag, message.sst);
    let side = C2cSide { seal, ..links.ground.side(&ces_id, remote, now) };
    side.may_be_clear(&terms).map_err(|why| (why, None))?;
    let tunnels = side.choose(&terms).ok_or((Failure::NoTunnel, None))?;
    write_answers(&side, message, &mut answers);
    side.write_seal(&mut answers);
    let (limits, tags) = (links.ground.limits(), (tag, message.sst));
    let c2c = C2c::agreed(limits, tags, Role::Responder, conn, &terms, tunnels, now);
    links.ground.counters.c2c_received.count(Ok(()));
    links.install(peer, c2c, &terms, now);
    links.send(conn, answers.finish());
    links.announce(peer);
    Ok(())
}

/// Who the peer says that it is, where that is so and may be.
fn identify<'m, 'a>(
    links: &Links,
    conn: ConnId,
    message: &'m Message<'a>,
) -> Result<Arc<str>, Offence<'m, 'a>> {
    let claim = message.info(Item::CesCesid).filter(|_| message.sst != 0);
    let said = claim.and_then(|info| Some((info, info.value.as_ref()?.as_str()?)));
    let Some((claim, said)) = said else { return Err((Failure::Malformed, None)) };
    let ces_id: Arc<str> = canonical_name(said).into();
    let line = links.conns.get(conn);
    let identity = line.and_then(|line| line.identity.clone());
    let is_proven = identity.is_some();
    let expected = identity.or_else(|| links.peers.name(line?.peer?));
    let known = links.peers.find(&ces_id).and_then(|peer| links.peers.get(peer));
    let takes_a_proven_name = !is_proven && known.is_some_and(super::peer::Peer::is_authenticated);
    if expected.is_some_and(|expected| !same_name(&expected, &ces_id))
        || takes_a_proven_name
        || links.ground.is_us(&ces_id)
        || !links.ground.is_trusted(&ces_id)
        || ces_id.len() > 255
    {
        return Err((Failure::Identity, Some(claim)));
    }
    Ok(ces_id)
}
