//! A peer that was lost and is back with other tunnel ids: who draws others for each C2C has lost nothing, who has restarted has
//! lost all.
//!
//! Until one of the two has shown, its sessions stand, and none answers for its names without being asked for anew. What shows
//! that nothing is lost: a packet on one of them (the owner looks, [`CetpOutput::Doubted`]), its refusal of a pair that it has
//! already, an end that it tells. A few pairs of ours are asked for to find out. If nothing has shown in time, they end; but not
//! with a peer that is known to draw other ids while it is there: of its sessions each stands until its pair is asked for.

use super::api::{CetpOutput, PeerId, Role};
use super::hosts::Hosts;
use super::links::Links;
use super::pair::{Pair, PairRef};
use super::reason::DownReason;
use super::sessions;

/// A sign: the peer has what it had.
pub(super) fn stands(links: &mut Links, peer: PeerId) {
    let Some(entry) = links.peers.get_mut(peer).filter(|entry| entry.is_doubted()) else { return };
    entry.has_lost_nothing();
    let ces_id = entry.ces_id().clone();
    links.ground.counters.peers_proven += 1;
    links.ground.emit(CetpOutput::DoubtOver { ces_id, stands: true });
}

/// Whether nobody knows if the peer still has a session.
pub(super) fn is_doubted(hosts: &Hosts, links: &Links, tag: u32) -> bool {
    hosts.get(tag).is_some_and(|session| {
        links.peers.get(session.peer).is_some_and(|peer| peer.is_doubtful_of(session.epoch))
    })
}

/// Whether a peer has lost a session, as far as can be known.
pub(super) fn is_lost(hosts: &Hosts, links: &Links, tag: u32) -> bool {
    hosts
        .get(tag)
        .is_some_and(|session| links.peers.get(session.peer).is_some_and(|peer| peer.has_lost(session.epoch)))
}

/// Ends a session that the peer has lost. Some are told to the peer all the same, in case it would refuse the same pairs as
/// duplicates.
pub(super) fn end_lost(hosts: &mut Hosts, links: &mut Links, tag: u32) {
    let peer = hosts.get(tag).map(|session| session.peer);
    if peer.and_then(|peer| links.peers.get_mut(peer)).is_some_and(super::peer::Peer::may_be_told) {
        sessions::end(hosts, links, tag, DownReason::Replaced);
    } else {
        sessions::down(hosts, links, tag, DownReason::Replaced);
    }
}

/// Whether the peer's refusal of a pair that we asked for anew says that it still has the session that stands here, or only
/// that it has made one since, for which its own host asked.
pub(super) fn is_sign(hosts: &Hosts, links: &Links, pair: &Pair) -> bool {
    let (source, destination) = (&*pair.destination, &*pair.source);
    let other: &dyn PairRef = &(pair.peer, Role::Responder, source, destination);
    hosts.of(other).is_none_or(|other| is_doubted(hosts, links, other.session.local_tag))
}
