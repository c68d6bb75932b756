//! H2H negotiations of ours, from the wish to the session.

use super::api::{
    CetpOutput, ConnId, Direction, H2hRequest, Nanos, Negotiating, NegotiationId, Owner, PeerId, Role,
    SetAside,
};
use super::conns::Wish;
use super::hosts::{Due, Hosts, Negotiation};
use super::links::Links;
use super::pair::{Pair, PairRef};
use super::reason::Failure;
use super::timers::Timer;
use super::{doubts, ends, initiator, sessions};
use crate::h2h::{Agreed, H2hSide};
use crate::limits::{CetpLimits, MS};
use crate::message::{Message, MessageWriter, Tlv};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::{canonical_name, same_name};
use crate::tlv::{Item, Layer};
use crate::value::Value;
use std::sync::Arc;

/// The one form of a name, without a copy where it has that already.
fn canonical(name: &Arc<str>) -> Arc<str> {
    if name.ends_with('.') && !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.clone()
    } else {
        canonical_name(name).into()
    }
}

/// Who wants to reach whom, and through which gateway.
struct Names {
    source: Arc<str>,
    destination: Arc<str>,
    ces_id: Arc<str>,
}

/// A local host wants to reach a remote name. Joins what is under way.
pub(super) fn ask(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    request: H2hRequest,
    now: Nanos,
) -> Negotiating {
    let names = Names {
        source: canonical(&request.source),
        destination: canonical(&request.destination),
        ces_id: canonical(&request.ces_id),
    };
    let Some(peer) = links.peer(&names.ces_id, |peer| hosts.use_peer(peer)) else {
        return refuse(hosts, links, names, Failure::Overload);
    };
    ends::make_way(hosts, links, peer, Role::Initiator, (&names.source, &names.destination));
    let key: &dyn PairRef = &(peer, Role::Initiator, &*names.source, &*names.destination);
    if let Some(id) = hosts.negotiation_of(key) {
        links.ground.counters.joined += 1;
        return Negotiating::Pending(id);
    }
    if let Some(session) = hosts.of(key)
        && links.is_up(peer)
        && !doubts::is_doubted(hosts, links, session.session.local_tag)
    {
        links.ground.counters.connected += 1;
        let (local_tag, proxy) = (session.session.local_tag, session.session.proxy);
        return Negotiating::Connected { local_tag, proxy };
    }
    let policy = realm.host_policy(&names.source, Direction::Outbound, &names.destination, &names.ces_id);
    let Some(policy) = policy else {
        return refuse(hosts, links, names, Failure::Denied);
    };
    if let Some(why) = obstacle(hosts, links, peer, &names, now) {
        return refuse(hosts, links, names, why);
    }
    let Names { source, destination, .. } = names;
    let pair = Pair { peer, role: Role::Initiator, source, destination };
    let id = hosts.begin(pair, policy, request.endpoints, now);
    start_or_wait(hosts, links, realm, id, now);
    Negotiating::Pending(id)
}

/// Asks for a pair anew that has a session, to find out whether the peer still has it.
pub(super) fn again(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, pair: Pair, now: Nanos) {
    let Some(entry) = links.peers.get(pair.peer) else { return };
    let (ces_id, endpoints) = (entry.ces_id().clone(), entry.known().to_vec());
    let policy = realm.host_policy(&pair.source, Direction::Outbound, &pair.destination, &ces_id);
    if let Some(policy) = policy {
        links.ground.counters.asked_again += 1;
        let id = hosts.begin(pair, policy, endpoints, now);
        start_or_wait(hosts, links, realm, id, now);
    }
}

/// Why a wish that policy allows is not begun.
fn obstacle(hosts: &Hosts, links: &Links, peer: PeerId, names: &Names, now: Nanos) -> Option<Failure> {
    let (ground, limits) = (&links.ground, links.ground.limits());
    if ground.is_us(&names.ces_id) || !ground.is_trusted(&names.ces_id) {
        Some(Failure::Identity)
    } else if let Some(why) = ground.refused.is_at_odds(peer, now).filter(|_| !links.is_up(peer)) {
        Some(why)
    } else if ground.refused.is_filtered(&names.source, &names.destination, &names.ces_id, now) {
        Some(Failure::Filtered)
    } else if hosts.pending() >= limits.pending as usize
        || hosts.pending_of(peer) >= limits.pending_per_peer as usize
    {
        Some(Failure::Overload)
    } else {
        None
    }
}

fn refuse(hosts: &mut Hosts, links: &mut Links, names: Names, why: Failure) -> Negotiating {
    let id = hosts.draw();
    links.ground.counters.h2h_initiated.count(Err(why));
    let Names { source, destination, ces_id } = names;
    let result = Err(why);
    links.ground.emit(CetpOutput::NegotiationDone { id, source, destination, ces_id, result, took_ns: 0 });
    Negotiating::Pending(id)
}

fn start_or_wait(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, id: NegotiationId, now: Nanos) {
    let Some(entry) = hosts.negotiation(id) else { return };
    let peer = entry.pair.peer;
    if links.is_leaving(peer) {
        return wait(hosts, links, id, now);
    }
    if links.is_up(peer) {
        return start(hosts, links, realm, id, now);
    }
    let wish = Wish { asker: entry.pair.source.clone(), name: entry.pair.destination.clone() };
    match initiator::start(links, peer, &wish, &entry.endpoints, now) {
        Ok(()) => wait(hosts, links, id, now),
        Err(why) => finish(hosts, links, realm, id, Err(why), now),
    }
}

/// A negotiation waits for C2C.
fn wait(hosts: &mut Hosts, links: &mut Links, id: NegotiationId, now: Nanos) {
    let limits = links.ground.limits();
    let deadline = now + (u64::from(limits.connect_ms) + u64::from(limits.c2c_setup_ms)) * MS;
    hosts.wait(id, deadline);
    links.ground.timers.set(deadline, Timer::Negotiation(id));
}

/// C2C stands: tells the peer what it has yet to be told, and has the negotiations start that waited.
pub(super) fn flush(hosts: &mut Hosts, links: &mut Links, peer: PeerId) {
    if links.is_up(peer) && links.begin_to_tell(peer) {
        hosts.has_more();
    }
    hosts.owe(hosts.waiting_of(peer), Due::Start);
}

/// C2C of ours failed: so does what waits for it, unless the peer's own made it or another try is under way.
pub(super) fn fail_waiting(hosts: &mut Hosts, links: &Links, peer: PeerId, why: Failure) {
    if !links.is_up(peer) && links.peers.get(peer).is_some_and(|entry| entry.attempt().is_none()) {
        hosts.owe(hosts.waiting_of(peer), Due::Fail(why));
    }
}

/// Does what is due next; whether that was to start, or start again, something. `None` if nothing is due.
pub(super) fn go_on(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, now: Nanos) -> Option<bool> {
    let (id, due) = hosts.next_due()?;
    let peer = hosts.negotiation(id).map(|entry| entry.pair.peer);
    match due {
        Due::Start => start_or_wait(hosts, links, realm, id, now),
        // If C2C stands by now, it is due to start as well.
        Due::Fail(_) if peer.is_some_and(|peer| links.is_up(peer)) => {}
        Due::Fail(why) => finish(hosts, links, realm, id, Err(why), now),
        Due::Resume => resume_one(hosts, links, realm, id, now),
    }
    Some(!matches!(due, Due::Fail(_)))
}

/// An endpoint is not the peer's: what has no other one to hope for fails, unless C2C runs already.
pub(super) fn fail_missed(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    peer: PeerId,
    why: Failure,
    now: Nanos,
) {
    let attempt = links.peers.get(peer).and_then(|entry| entry.attempt());
    if links.is_up(peer) || attempt.is_none_or(|attempt| attempt.conn.is_some()) {
        return;
    }
    for id in hosts.waiting_of(peer) {
        let Some(entry) = hosts.negotiation(id) else { continue };
        if !entry.endpoints.iter().any(|endpoint| links.conns.opening_to(peer, endpoint).is_some()) {
            finish(hosts, links, realm, id, Err(why), now);
        }
    }
}

/// Sends the first message, the peer being up.
fn start(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, id: NegotiationId, now: Nanos) {
    let Some(entry) = hosts.negotiation(id) else { return };
    let pair = entry.pair.clone();
    ends::make_way(hosts, links, pair.peer, pair.role, (&pair.source, &pair.destination));
    let kept = hosts.kept(&pair).filter(|kept| !doubts::is_doubted(hosts, links, kept.tag));
    if let Some(kept) = kept {
        // The peer was away and has not lost its state: what there was still stands.
        return finish(hosts, links, realm, id, Ok(kept), now);
    }
    if hosts.of(&pair).is_none() && !sessions::has_room(hosts, links, pair.peer) {
        return finish(hosts, links, realm, id, Err(Failure::SessionLimit), now);
    }
    let Some(ces_id) = links.peers.name(pair.peer) else { return };
    let Ok(reservation) = realm.reserve(&pair.source, &pair.destination, &ces_id) else {
        return finish(hosts, links, realm, id, Err(Failure::Exhausted), now);
    };
    // The owner's tags are not 0 and unique; anything else would mix two sessions up.
    if reservation.tag == 0 || hosts.is_taken(reservation.tag) {
        realm.release(reservation.tag);
        return finish(hosts, links, realm, id, Err(Failure::Exhausted), now);
    }
    let deadline = now + u64::from(links.ground.limits().h2h_setup_ms) * MS;
    hosts.set_aside(id, reservation, deadline);
    links.ground.timers.set(deadline, Timer::Negotiation(id));
    send_first(hosts, links, realm, id, now);
}

fn send_first(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, id: NegotiationId, now: Nanos) {
    let Some(peer) = hosts.negotiation(id).map(|entry| entry.pair.peer) else { return };
    let Some(conn) = links.conns.pick(peer) else { return };
    send_first_on(hosts, links, realm, id, conn, now);
}

fn send_first_on(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    id: NegotiationId,
    conn: ConnId,
    now: Nanos,
) {
    hosts.run_on(id, conn, 1);
    let Some(entry) = hosts.negotiation(id) else { return };
    let Some(tag) = entry.reservation.map(|reservation| reservation.tag) else { return };
    let side = side(entry, links.ground.secrets().current().digest(("ours", id.0)) as u32);
    let mut out = MessageWriter::new(tag, 0);
    side.write_offers(&mut out);
    write_queries(&side, &mut out);
    if !links.send(conn, out.finish()) {
        finish(hosts, links, realm, id, Err(Failure::Malformed), now);
    }
}

fn side(entry: &Negotiation, ack: u32) -> H2hSide<'_> {
    let Pair { source, destination, .. } = &entry.pair;
    H2hSide { policy: &entry.policy, name: source, peer_name: destination, ack, ack_before: None }
}

type Offence<'m, 'a> = (Failure, Option<&'m Tlv<'a>>);

/// The answer to a message of ours.
pub(super) fn reply(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    id: NegotiationId,
    conn: ConnId,
    message: &Message<'_>,
    now: Nanos,
) {
    let Some(entry) = hosts.negotiation(id) else { return };
    let Some(reservation) = entry.reservation else { return };
    if let Some(info) = message.info(Item::ControlTerminate) {
        return terminated(hosts, links, realm, id, conn, info, now);
    }
    let (ack, ack_before) = links.ground.secrets().acks(("ours", id.0), now);
    let side = H2hSide { ack_before, ..side(entry, ack) };
    let outcome = if message.queries().next().is_some() {
        asked(&side, entry.round, reservation.tag, message, links.ground.limits()).map(Err)
    } else {
        told(&side, message, links.ground.limits()).map(Ok)
    };
    match outcome {
        Err((why, offending)) => {
            if message.sst != 0 {
                let mut out = MessageWriter::new(reservation.tag, message.sst);
                out.terminate(Layer::H2h, offending);
                links.send(conn, out.finish());
            }
            finish(hosts, links, realm, id, Err(why), now);
        }
        Ok(Err(out)) => {
            links.ground.counters.second_rounds += 1;
            let round = entry.round + 1;
            hosts.run_on(id, conn, round);
            if !links.send(conn, out.finish()) {
                finish(hosts, links, realm, id, Err(Failure::Malformed), now);
            }
        }
        Ok(Ok(terms)) => {
            let pair = entry.pair.clone();
            // C2C may be down by now while the answer was on its way; then there is no tunnel.
            let is_up = sessions::up(hosts, links, &pair, reservation, message.sst, &terms, now);
            if is_up {
                learn(hosts, links, id);
            }
            let result = if is_up { Ok(reservation) } else { Err(Failure::Lost) };
            finish(hosts, links, realm, id, result, now);
        }
    }
}

/// The peer serves a name: it is where the name says.
fn learn(hosts: &Hosts, links: &mut Links, id: NegotiationId) {
    if let Some(entry) = hosts.negotiation(id)
        && let Some(peer) = links.peers.get_mut(entry.pair.peer)
    {
        peer.said_at(&entry.endpoints);
    }
}

/// The peer asks back: all of it is answered, and our own queries are repeated.
fn asked<'m, 'a>(
    side: &H2hSide<'_>,
    round: u8,
    tag: u32,
    message: &'m Message<'a>,
    limits: &CetpLimits,
) -> Result<MessageWriter, Offence<'m, 'a>> {
    if message.sst != 0 {
        return Err((Failure::Malformed, None));
    }
    if round >= limits.rounds {
        return Err((Failure::Rounds, None));
    }
    if let Some(query) = unanswerable(side, message) {
        return Err((Failure::Unavailable, Some(query)));
    }
    let mut out = MessageWriter::new(tag, 0);
    if message.query(Item::IdFqdn).is_none() {
        out.text(Item::IdFqdn, side.name);
    }
    write_answers(side, message, &mut out);
    write_queries(side, &mut out);
    out.text(Item::ControlDstep, side.peer_name);
    Ok(out)
}

/// The peer has only told: that has to be enough.
fn told<'m, 'a>(
    side: &H2hSide<'_>,
    message: &'m Message<'a>,
    limits: &CetpLimits,
) -> Result<Agreed, Offence<'m, 'a>> {
    let is_other = |info: &&Tlv<'_>| {
        !info.value.as_ref().and_then(Value::as_str).is_some_and(|name| same_name(name, side.peer_name))
    };
    if let Some(info) = message.info(Item::IdFqdn).filter(is_other) {
        return Err((Failure::Name, Some(info)));
    }
    let unmet = |info| (Failure::Unmet, Some(info));
    let met = verify(side, message).map_err(unmet)?;
    let terms = side.terms(message, limits).map_err(unmet)?;
    match met.mandatory {
        false => Err((Failure::Unmet, None)),
        _ if message.sst == 0 => Err((Failure::Malformed, None)),
        true => Ok(terms),
    }
}

/// The peer refuses. Where we only asked because we took it for restarted, an empty refusal says that it still has the
/// session; where we have none, that it may have one that has ended here.
fn terminated(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    id: NegotiationId,
    conn: ConnId,
    info: &Tlv<'_>,
    now: Nanos,
) {
    let is_empty = info.value.as_ref().is_none_or(Value::is_empty);
    let Some(entry) = hosts.negotiation(id) else { return };
    let (peer, is_sign) = (entry.pair.peer, is_empty && doubts::is_sign(hosts, links, &entry.pair));
    match hosts.kept(&entry.pair).filter(|kept| is_sign && !doubts::is_lost(hosts, links, kept.tag)) {
        Some(kept) => {
            if doubts::is_doubted(hosts, links, kept.tag) {
                doubts::stands(links, peer);
            }
            unreserve(hosts, realm, id);
            finish(hosts, links, realm, id, Ok(kept), now);
        }
        None if is_empty && !hosts.has_repeated(id) => {
            end_stale(hosts, links, id, conn);
            send_first_on(hosts, links, realm, id, conn, now);
        }
        None => finish(hosts, links, realm, id, Err(Failure::Refused), now),
    }
}

/// Tells a peer that a pair's session is over, as far as that can be said: by its tags where they are remembered; else, if
/// nothing stands or is under way with that peer, that all sessions are.
fn end_stale(hosts: &mut Hosts, links: &mut Links, id: NegotiationId, conn: ConnId) {
    let Some(pair) = hosts.negotiation(id).map(|entry| entry.pair.clone()) else { return };
    let ended = hosts.take_ended(&pair);
    let is_alone = hosts.count_of(pair.peer) == 0 && hosts.pending_of(pair.peer) == 1;
    if ended.is_empty() && is_alone {
        ends::tell_all(links, pair.peer, conn);
    }
    for tags in ended {
        sessions::tell_end_on(links, conn, tags);
    }
}

/// Gives the reservation of a negotiation back.
fn unreserve(hosts: &mut Hosts, realm: &mut dyn Owner, id: NegotiationId) {
    if let Some(reservation) = hosts.give_back(id) {
        realm.release(reservation.tag);
    }
}

/// A negotiation of ours is over. A session that came of it stands already.
pub(super) fn finish(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    id: NegotiationId,
    mut result: Result<SetAside, Failure>,
    now: Nanos,
) {
    if let Err(why) = result {
        unreserve(hosts, realm, id);
        // A peer that cannot be asked may still carry what there was: sessions outlive the control connections.
        let is_away =
            matches!(why, Failure::Unreachable | Failure::Silent | Failure::Lost | Failure::Blocked);
        let entry = hosts.negotiation(id).filter(|_| is_away);
        result = entry.and_then(|entry| hosts.kept(&entry.pair)).ok_or(why);
    }
    let Some(entry) = hosts.end(id) else { return };
    links.ground.counters.h2h_initiated.count(result.map(|_| ()));
    let Pair { source, destination, peer, .. } = entry.pair;
    let ces_id = links.peers.name(peer).unwrap_or_default();
    let result = result.map(|kept| (kept.tag, kept.proxy));
    let took_ns = now.saturating_sub(entry.asked);
    links.ground.emit(CetpOutput::NegotiationDone { id, source, destination, ces_id, result, took_ns });
}

/// No answer in time: the peer may refuse by silence, but a connection on which it has never said anything may lead nowhere.
pub(super) fn silent(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    id: NegotiationId,
    now: Nanos,
) {
    let conn = hosts.negotiation(id).and_then(|entry| entry.conn);
    finish(hosts, links, realm, id, Err(Failure::Silent), now);
    if let Some(conn) = conn.filter(|conn| links.conns.get(*conn).is_some_and(|conn| !conn.sound)) {
        links.close(conn, Failure::Silent, now);
    }
}

/// Gives all negotiations up.
pub(super) fn cancel_all(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, now: Nanos) {
    for id in hosts.all_pending() {
        finish(hosts, links, realm, id, Err(Failure::Cancelled), now);
    }
}

/// After a loss: negotiations that ran on that connection, or on any (`None`), start anew on another, or once wait for the
/// peer to come back.
pub(super) fn resume(hosts: &mut Hosts, peer: PeerId, lost: Option<ConnId>) {
    hosts.owe(hosts.running_of(peer, lost), Due::Resume);
}

fn resume_one(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, id: NegotiationId, now: Nanos) {
    let Some((peer, conn)) = hosts.negotiation(id).map(|entry| (entry.pair.peer, entry.conn)) else { return };
    if conn.is_some_and(|conn| links.conns.of(peer).contains(&conn)) {
        return;
    }
    if links.is_up(peer) {
        return send_first(hosts, links, realm, id, now);
    }
    unreserve(hosts, realm, id);
    if hosts.has_resumed(id) {
        finish(hosts, links, realm, id, Err(Failure::Lost), now);
    } else {
        start_or_wait(hosts, links, realm, id, now);
    }
}
