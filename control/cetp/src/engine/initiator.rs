//! C2C as we start it: connections to a peer's endpoints, the negotiation on the first that is up, its renewal.
//!
//! C2C is renewed before its time is over, on a connection that stands, so that nothing rests on an agreement that ends. What
//! is agreed anew holds for sessions made from then on; a session keeps the tunnel ids that it was made under. If the peer
//! does not answer, it is asked again until the end.

use super::api::{CetpOutput, ConnId, Endpoint, Nanos, PeerId, PeerIdentity, Proto, Role};
use super::attempt::{Attempt, Purpose};
use super::conns::{Origin, Wish};
use super::links::Links;
use super::peer::C2c;
use super::reason::{BlockReason, Failure};
use super::timers::Timer;
use crate::c2c::{C2cSide, PeerTerms};
use crate::limits::MS;
use crate::message::{Message, MessageWriter, Tlv};
use crate::negotiate::{unanswerable, verify, write_answers, write_queries};
use crate::policy::same_name;
use crate::tlv::{Item, Layer};
use crate::value::Value;
use rustc_hash::FxHashSet;
use std::net::SocketAddr;

// --- connections

/// Connections that are opened to one peer for one host of ours at once, in times of those for one name.
const ASKER_SHARE: usize = 8;

/// Opens connections to where a name says that a peer is, for C2C on the first that is up, beside those that others have opened:
/// what one name says keeps nobody from what another says. Those under way are joined.
pub(super) fn start(
    links: &mut Links,
    peer: PeerId,
    wish: &Wish,
    endpoints: &[Endpoint],
    now: Nanos,
) -> Result<(), Failure> {
    let usable = usable(links, peer, endpoints)?;
    let mut fresh = Vec::new();
    let mut joined = 0;
    for endpoint in usable {
        if let Some(conn) = links.conns.opening_to(peer, &endpoint) {
            links.conns.wish_for(conn, wish);
            joined += 1;
        } else {
            fresh.push(endpoint);
        }
    }
    let why = narrow(links, peer, &mut fresh, now);
    let limits = links.ground.limits();
    let each = usize::from(limits.connections_per_peer);
    let room = (limits.connections as usize).saturating_sub(links.conns.len());
    fresh.truncate(each.saturating_sub(joined).min(room));
    let is_running =
        links.peers.get(peer).and_then(|entry| entry.attempt()).is_some_and(|attempt| attempt.conn.is_some());
    if fresh.is_empty() && joined == 0 && !is_running {
        return Err(why.unwrap_or(Failure::Overload));
    }
    if let Some(attempt) = links.peers.get_mut(peer).and_then(|entry| entry.attempt_mut())
        && attempt.purpose == Purpose::Revival
    {
        attempt.purpose = Purpose::Name;
    }
    open(links, peer, Some(wish), fresh, Purpose::Name, now);
    give_up(links, peer, &wish.asker, ASKER_SHARE * each, now);
    Ok(())
}

/// Who asks for much gives up its own first: the oldest, but for those to where the peer was found and the one on which C2C runs.
fn give_up(links: &mut Links, peer: PeerId, asker: &str, share: usize, now: Nanos) {
    let mut own = links.conns.opening_for(peer, asker);
    let beyond = own.len().saturating_sub(share);
    let Some(entry) = links.peers.get(peer) else { return };
    let running = entry.attempt().and_then(|attempt| attempt.conn);
    own.retain(|id| {
        let origin = links.conns.get(*id).map(|conn| &conn.origin);
        Some(*id) != running && !matches!(origin, Some(Origin::Ours(at)) if entry.is_known(at))
    });
    for conn in own.into_iter().take(beyond) {
        links.close(conn, Failure::Overload, now);
    }
}

/// Opens connections, and begins C2C of ours if there is none.
fn open(
    links: &mut Links,
    peer: PeerId,
    wish: Option<&Wish>,
    endpoints: Vec<Endpoint>,
    purpose: Purpose,
    now: Nanos,
) {
    let Some(ces_id) = links.peers.name(peer) else { return };
    for endpoint in endpoints {
        let limits = links.ground.limits();
        let until = now + u64::from(limits.connect_ms) * MS;
        let conn = links.conns.open(peer, endpoint.clone(), wish, limits, now);
        links.conns.set_deadline(conn, until, &mut links.ground.timers);
        links.ground.emit(CetpOutput::Connect { conn, endpoint, ces_id: ces_id.clone() });
    }
    if links.peers.get(peer).is_some_and(|entry| entry.attempt().is_none()) {
        let attempt = Attempt::opening(links.draw_c2c_tag(), purpose);
        if let Some(entry) = links.peers.get_mut(peer) {
            entry.begin(attempt, now);
        }
    }
}

/// Endpoints that can be those of a peer, each once, the first first.
fn usable(links: &Links, peer: PeerId, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>, Failure> {
    let Some(entry) = links.peers.get(peer) else { return Err(Failure::Cancelled) };
    // Who once proved its name is not believed less.
    let believe = links.ground.settings().believe_unauthenticated && !entry.is_authenticated();
    let usable = |endpoint: &&Endpoint| endpoint.port != 0 && (endpoint.proto == Proto::Tls || believe);
    let mut endpoints: Vec<_> = endpoints.iter().filter(usable).cloned().collect();
    // Order, then preference; lower is better (RFC 3403 §4.1).
    endpoints.sort_by_key(|endpoint| (endpoint.order, endpoint.preference));
    let mut seen = FxHashSet::default();
    endpoints.retain(|endpoint| seen.insert((endpoint.addr, endpoint.port)));
    if endpoints.is_empty() { Err(Failure::Unreachable) } else { Ok(endpoints) }
}

/// Leaves those out that are not to be tried now; why, if none is left.
fn narrow(links: &Links, peer: PeerId, endpoints: &mut Vec<Endpoint>, now: Nanos) -> Option<Failure> {
    let refused = &links.ground.refused;
    endpoints.retain(|endpoint| !refused.is_unreachable(peer, endpoint, now));
    if endpoints.is_empty() {
        return Some(Failure::Unreachable);
    }
    endpoints.retain(|endpoint| !refused.is_blocked(endpoint.addr, now));
    endpoints.is_empty().then_some(Failure::Blocked)
}

/// A connection of ours is up. Its end must be who it should be.
pub(super) fn connected(
    links: &mut Links,
    conn: ConnId,
    identity: PeerIdentity,
    remote: SocketAddr,
    now: Nanos,
) {
    let Some(entry) = links.conns.connected(conn, identity.ces_id, remote, now) else { return };
    let Some(peer) = entry.peer else { return };
    let Some(known) = links.peers.get(peer) else {
        return links.close(conn, Failure::Cancelled, now);
    };
    let is_tls = matches!(&entry.origin, Origin::Ours(endpoint) if endpoint.proto == Proto::Tls);
    let is_it = match &entry.identity {
        Some(identity) => same_name(identity, known.ces_id()),
        None => !is_tls && links.ground.settings().believe_unauthenticated,
    };
    if is_it {
        ready(links, peer, conn, now);
    } else {
        links.close(conn, Failure::Identity, now);
    }
}

/// A connection of ours is up and its end is who it should be.
fn ready(links: &mut Links, peer: PeerId, conn: ConnId, now: Nanos) {
    if links.is_up(peer) {
        if !links.is_worth(peer, conn) {
            return links.close(conn, Failure::Cancelled, now);
        }
        return links.join(peer, conn);
    }
    match links.peers.get(peer).and_then(|entry| entry.attempt()) {
        // Where C2C runs on another already, this one waits for it.
        Some(attempt) if attempt.conn.is_some() => {}
        Some(_) => links.run(peer, conn, now),
        None => links.close(conn, Failure::Cancelled, now),
    }
}

// --- negotiation

/// What becomes of an answer.
enum Next {
    Fail(Failure),
    /// A second round, with this message.
    Again(MessageWriter),
    Agreed(Box<PeerTerms>, C2c),
}

/// The answer to a message of ours.
pub(super) fn reply(links: &mut Links, peer: PeerId, conn: ConnId, message: &Message<'_>, now: Nanos) {
    if message.info(Item::CesTerminate).is_some() {
        return disagree(links, peer, conn, Failure::Refused, now);
    }
    let (Some(entry), Some(line)) = (links.peers.get(peer), links.conns.get(conn)) else { return };
    let Some(attempt) = entry.attempt() else { return };
    let tag = attempt.tag;
    let seal = links.offer_again(peer, conn);
    let side = C2cSide { seal: seal.clone(), ..links.ground.side(entry.ces_id(), line.remote, now) };
    let next = if message.queries().next().is_some() {
        asked(&side, attempt, message).map(Next::Again)
    } else {
        told(&side, message).map(|(terms, tunnels)| {
            let (limits, tags) = (links.ground.limits(), (tag, message.sst));
            let c2c = C2c::agreed(limits, tags, Role::Initiator, conn, &terms, tunnels, now);
            Next::Agreed(Box::new(terms), c2c)
        })
    };
    let next = next.unwrap_or_else(|(why, offending)| {
        if message.sst != 0 {
            // It keeps state already: tell it to drop that.
            let mut out = MessageWriter::new(tag, message.sst);
            out.terminate(Layer::C2c, offending);
            links.send(conn, out.finish());
        }
        Next::Fail(why)
    });
    match next {
        Next::Fail(why) => disagree(links, peer, conn, why, now),
        Next::Again(out) => {
            links.ground.counters.second_rounds += 1;
            if let Some(attempt) = links.peers.get_mut(peer).and_then(|entry| entry.attempt_mut()) {
                attempt.round += 1;
            }
            if !links.send(conn, out.finish()) {
                links.fail(peer, Failure::Malformed, now);
            }
        }
        Next::Agreed(terms, c2c) => {
            if let Some((ours, theirs)) = seal.zip(terms.seal.as_ref()) {
                links.hear_keys(peer, theirs);
                links.agree_keys(peer, &ours, theirs, now);
            }
            agreed(links, peer, c2c, &terms, now);
        }
    }
}

/// C2C of ours is not to be, by the word of one side or the other. Where that is the peer's word beyond doubt, and not because
/// both of us began at once, it is remembered.
fn disagree(links: &mut Links, peer: PeerId, conn: ConnId, why: Failure, now: Nanos) {
    let is_proven = links.conns.get(conn).is_some_and(|line| line.identity.is_some());
    let is_alone = links.peers.name(peer).is_some_and(|ces_id| links.conns.named(&ces_id).is_empty());
    let is_refusal = why.is_policy() || matches!(why, Failure::ProofOfWork | Failure::Rounds);
    if is_proven && is_alone && is_refusal && !links.is_up(peer) {
        links.ground.refused.be_at_odds(peer, why, now);
    }
    links.fail(peer, why, now);
}

type Offence<'m, 'a> = (Failure, Option<&'m Tlv<'a>>);

/// The peer asks back: all of it is answered, and our own queries are repeated.
fn asked<'m, 'a>(
    side: &C2cSide<'_>,
    attempt: &Attempt,
    message: &'m Message<'a>,
) -> Result<MessageWriter, Offence<'m, 'a>> {
    if message.sst != 0 {
        return Err((Failure::Malformed, None));
    }
    if attempt.round >= side.settings.limits.rounds {
        return Err((Failure::Rounds, None));
    }
    if let Some(query) = unanswerable(side, message) {
        let too_hard = query.item() == Some(Item::CesPow);
        return Err((if too_hard { Failure::ProofOfWork } else { Failure::Unavailable }, Some(query)));
    }
    let mut out = MessageWriter::new(attempt.tag, 0);
    if message.query(Item::CesCesid).is_none() {
        out.text(Item::CesCesid, &side.settings.ces_id);
    }
    write_answers(side, message, &mut out);
    side.write_seal(&mut out);
    write_queries(side, &mut out);
    Ok(out)
}

/// The peer has only told: that has to be enough.
fn told<'m, 'a>(
    side: &C2cSide<'_>,
    message: &'m Message<'a>,
) -> Result<(PeerTerms, Tunnels), Offence<'m, 'a>> {
    let claim = message.info(Item::CesCesid);
    let is_other = |info: &&Tlv<'_>| {
        !info.value.as_ref().and_then(Value::as_str).is_some_and(|id| same_name(id, side.peer))
    };
    if let Some(info) = claim.filter(is_other) {
        return Err((Failure::Identity, Some(info)));
    }
    match verify(side, message) {
        Err(info) if info.item() == Some(Item::CesPow) => Err((Failure::ProofOfWork, Some(info))),
        Err(info) => Err((Failure::Unmet, Some(info))),
        Ok(met) if !met.mandatory => Err((Failure::Unmet, None)),
        _ if message.sst == 0 => Err((Failure::Malformed, None)),
        _ => {
            let terms = side.terms(message);
            side.may_be_clear(&terms).map_err(|why| (why, None))?;
            side.choose(&terms).map(|tunnels| (terms, tunnels)).ok_or((Failure::NoTunnel, None))
        }
    }
}

type Tunnels = (super::api::TunnelChoice, super::api::TunnelChoice);

fn agreed(links: &mut Links, peer: PeerId, c2c: C2c, terms: &PeerTerms, now: Nanos) {
    links.ground.counters.c2c_initiated.count(Ok(()));
    // What of it is not up yet joins the peer when it is.
    if let Some(entry) = links.peers.get_mut(peer) {
        entry.take_attempt();
    }
    links.install(peer, c2c, terms, now);
    links.announce(peer);
}

/// A connection of ours is not up in time, or the peer's own has brought no C2C in time. A peer that its transport names may
/// think C2C done: with a process that was here before, or on a connection that is gone. It hears of the end, and begins anew.
pub(super) fn conn_timeout(links: &mut Links, conn: ConnId, now: Nanos) {
    let Some(entry) = links.conns.get(conn) else { return };
    if entry.is_ours() {
        links.close(conn, Failure::Unreachable, now);
    } else if entry.identity.is_some() {
        links.close(conn, Failure::Silent, now);
    } else {
        links.blame(conn, BlockReason::C2cSilent, now);
    }
}

/// No answer to a message of C2C. Another connection that is up may be better; if the peer's own C2C stands meanwhile, this one
/// is for everything already and stays.
pub(super) fn silent(links: &mut Links, peer: PeerId, now: Nanos) {
    let has_other = links.next_up(peer).is_some();
    let Some(entry) = links.peers.get_mut(peer) else { return };
    let Some(attempt) = entry.attempt_mut() else { return };
    if !has_other && let Some(at) = attempt.prolong(now) {
        return links.ground.timers.set(at, Timer::Attempt(peer));
    }
    match attempt.conn.filter(|conn| links.conns.get(*conn).is_some_and(|entry| !entry.established)) {
        Some(conn) => links.close(conn, Failure::Silent, now),
        None => links.fail(peer, Failure::Silent, now),
    }
}

// --- what nobody asks for

/// Plans the next try to find a peer that was lost, if it has sessions.
pub(super) fn plan_revival(links: &mut Links, peer: PeerId, has_sessions: bool, now: Nanos) {
    let Some(entry) = links.peers.get_mut(peer).filter(|_| has_sessions) else { return };
    let settings = links.ground.settings().clone();
    if let Some(at) = entry.plan_revival(&settings.limits, links.ground.rng(), now) {
        links.ground.timers.set(at, Timer::Revival(peer));
    }
}

/// The time for such a try has come.
pub(super) fn revive(links: &mut Links, peer: PeerId, has_sessions: bool, now: Nanos) {
    let Some(entry) = links.peers.get_mut(peer) else { return };
    if !entry.begin_revival(has_sessions) || entry.attempt().is_some() {
        return;
    }
    let count = usize::from(links.ground.limits().connections_per_peer);
    let known = entry.sought_at(count);
    let refused = &links.ground.refused;
    let mut endpoints = usable(links, peer, &known).unwrap_or_default();
    endpoints.retain(|endpoint| !refused.is_blocked(endpoint.addr, now));
    let room = (links.ground.limits().connections as usize).saturating_sub(links.conns.len());
    endpoints.truncate(room);
    if endpoints.is_empty() {
        plan_revival(links, peer, has_sessions, now);
    } else {
        open(links, peer, None, endpoints, Purpose::Revival, now);
    }
}

/// The time for a renewal has come, or for the next try.
pub(super) fn renew(links: &mut Links, peer: PeerId, now: Nanos) {
    let Some(entry) = links.peers.get(peer).filter(|entry| entry.c2c().is_some()) else { return };
    match entry.attempt().map(|attempt| attempt.purpose) {
        // The last try was not answered.
        Some(Purpose::Renewal) => links.fail(peer, Failure::Silent, now),
        Some(_) => return,
        None => {}
    }
    let Some(conn) = links.conns.pick(peer) else { return };
    let tag = links.draw_c2c_tag();
    let Some(entry) = links.peers.get_mut(peer) else { return };
    entry.begin(Attempt::renewal(tag, conn), now);
    if let Some(next) = entry.plan_next_renewal(now) {
        links.ground.timers.set(next, Timer::Renewal(peer));
    }
    links.run(peer, conn, now);
}
