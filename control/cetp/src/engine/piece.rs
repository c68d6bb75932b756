//! What is to end, and what is due about many negotiations at once, is worked off: so much at a moment.

use super::api::{Nanos, Owner, PeerId};
use super::batches::{Cause, Step};
use super::hosts::Hosts;
use super::links::Links;
use super::reason::{DownReason, PeerDownReason};
use super::{asking, filters, sessions};
use crate::message::MessageWriter;
use crate::tlv::Layer;

/// What one piece may cost: some milliseconds at some microseconds for each end, all that its owner does about it included.
const PIECE: u32 = 1_000;
/// What a look at a session costs.
const LOOK: u32 = 1;
/// What an end costs.
const END: u32 = 8;
/// What a negotiation costs that starts, and one that fails.
const START: u32 = 10;
const FAIL: u32 = 4;
/// What the end of C2C costs, with its connections.
const LEAVE: u32 = 200;

/// How much may still be done at a moment.
#[derive(Debug, Default)]
pub(super) struct Pace {
    at: Nanos,
    left: u32,
}

impl Pace {
    /// What is left of this moment's piece.
    fn left(&mut self, now: Nanos) -> u32 {
        if self.at != now {
            (self.at, self.left) = (now, PIECE);
        }
        self.left
    }
}

/// Does a piece of it.
pub(super) fn go_on(
    hosts: &mut Hosts,
    links: &mut Links,
    realm: &mut dyn Owner,
    pace: &mut Pace,
    now: Nanos,
) {
    let mut left = pace.left(now);
    while left > 0
        && let Some(cost) = step(hosts, links, realm, now)
    {
        left = left.saturating_sub(cost);
    }
    pace.left = left;
}

/// Does all of it.
pub(super) fn finish(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, now: Nanos) {
    while step(hosts, links, realm, now).is_some() {}
}

/// Goes on with one negotiation, ends one session, or says that all are ended; what that cost. `None` if nothing is left.
fn step(hosts: &mut Hosts, links: &mut Links, realm: &mut dyn Owner, now: Nanos) -> Option<u32> {
    // What has ended, before the same names are negotiated anew.
    if sessions::tell_owed(links) {
        return Some(LOOK);
    }
    if let Some(is_start) = asking::go_on(hosts, links, realm, now) {
        return Some(if is_start { START } else { FAIL });
    }
    if let Some(tag) = hosts.next_named() {
        sessions::down(hosts, links, tag, DownReason::ByPeer);
        return Some(END);
    }
    let Some((peer, step)) = hosts.next_end() else {
        return filters::go_on(hosts, links, now).map(|is_ended| if is_ended { END } else { LOOK });
    };
    Some(match step {
        Step::End(tag, cause, batch) if hosts.is_of(tag, peer, batch) => {
            match cause {
                Cause::Each | Cause::Leaving => _ = sessions::end(hosts, links, tag, cause.why()),
                Cause::Told | Cause::ByPeer => {
                    _ = sessions::down(hosts, links, tag, cause.why());
                }
            }
            END
        }
        Step::Done(Cause::Leaving) => {
            leave(hosts, links, peer, now);
            LEAVE
        }
        Step::End(..) | Step::Done(_) => LOOK,
    })
}

/// All sessions with a peer are ended and told: so is C2C. Who waited for that asks anew.
fn leave(hosts: &mut Hosts, links: &mut Links, peer: PeerId, now: Nanos) {
    if let Some(entry) = links.peers.get_mut(peer) {
        entry.has_left();
    }
    if let Some(((local, remote), conn)) = links.tags(peer).zip(links.conns.pick(peer)) {
        let mut out = MessageWriter::new(local, remote);
        out.terminate(Layer::C2c, None);
        links.send(conn, out.finish());
    }
    links.peer_down(peer, PeerDownReason::ByUs, now);
    asking::flush(hosts, links, peer);
}
