//! Looks for a sign of what a peer still has that is in doubt ([`super::doubts`]), and gives up when none has come in time.

use super::api::{CetpOutput, Nanos, Owner, PeerId, Role};
use super::asking;
use super::doubts::is_doubted;
use super::hosts::{Hosts, Session};
use super::links::Links;
use super::pair::PairRef;
use super::timers::Timer;
use crate::limits::S;

/// How often is looked for a sign.
const EVERY: Nanos = 3 * S;

/// Pairs that are asked for, one at each look: more would only make sessions anew that nobody may need.
const ASKED: u32 = 3;

/// Sessions that are gone through for one to ask for.
const TRIED: usize = 64;

/// C2C is agreed with a peer of which it is not known what it still has.
pub(super) fn begin(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, peer: PeerId, now: Nanos) {
    if hosts.count_of(peer) == 0 {
        return end(links, peer);
    }
    links.ground.counters.peers_doubted += 1;
    look(hosts, links, realm, peer, now);
}

/// Looks for a sign once more; or the time for one is over.
pub(super) fn look(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, peer: PeerId, now: Nanos) {
    if !links.is_up(peer) {
        // When it is back, nothing is known either, and the time begins anew.
        return;
    }
    let Some(entry) = links.peers.get_mut(peer) else { return };
    let ces_id = entry.ces_id().clone();
    if entry.is_doubt_over(links.ground.limits(), now) {
        if entry.give_up() {
            links.ground.counters.peers_restarted += 1;
            hosts.look_through(peer);
        }
        links.ground.emit(CetpOutput::DoubtOver { ces_id, stands: false });
        return;
    }
    let looks = entry.look_again(now + EVERY);
    links.ground.timers.set(now + EVERY, Timer::Doubt(peer));
    links.ground.emit(CetpOutput::Doubted { ces_id, is_first: looks == 1 });
    if looks > ASKED {
        return;
    }
    let askable = |tag: u32| {
        let entry = hosts.get(tag).filter(|_| is_doubted(hosts, links, tag));
        let pair = entry.filter(|entry| entry.session.role == Role::Initiator).map(Session::pair);
        pair.filter(|pair| hosts.negotiation_of(pair as &dyn PairRef).is_none())
    };
    let asked = hosts.tags_of(peer).take(TRIED).find_map(askable);
    if let Some(pair) = asked {
        asking::again(hosts, links, realm, pair, now);
    }
}

/// Nothing is left that it could have lost.
fn end(links: &mut Links, peer: PeerId) {
    let Some(entry) = links.peers.get_mut(peer) else { return };
    entry.end_doubt();
    let ces_id = entry.ces_id().clone();
    links.ground.emit(CetpOutput::DoubtOver { ces_id, stands: false });
}
