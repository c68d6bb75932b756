//! From what arrives on a connection to messages, and what a sender may send.

use super::api::{ConnId, Nanos};
use super::conns::Conn;
use super::links::Links;
use super::reason::BlockReason;
use crate::frame::Deframer;
use crate::message::{Message, MessageError};
use crate::tlv::Layer;

/// The message of a frame, if it is one and the sender keeps within what it may send.
pub(super) fn read<'p>(
    links: &mut Links,
    conn: ConnId,
    payload: &'p [u8],
    now: Nanos,
) -> Option<Message<'p>> {
    links.ground.counters.messages_in += 1;
    let per_s = links.ground.limits().messages_per_s;
    if !links.conns.meter(conn, per_s, now) {
        links.abuse(conn, BlockReason::Flood, now);
        return None;
    }
    match Message::parse(payload, usize::from(links.ground.limits().tlvs)) {
        Ok(message) if message.layer().is_some() => {
            let unknown = message.tlvs.iter().filter(|tlv| tlv.item().is_none()).count();
            links.ground.counters.unknown_tlvs += unknown as u64;
            links.conns.vouch(conn);
            Some(message)
        }
        other => {
            malformed(links, conn, matches!(other, Err(MessageError::NoTags)), now);
            None
        }
    }
}

/// What is no message is a stranger's last, and one of few of a peer's. The reference sends messages without any tag when both
/// begin at once: from whom the transport names, such a one is only passed over.
fn malformed(links: &mut Links, conn: ConnId, has_no_tags: bool, now: Nanos) {
    links.ground.counters.malformed += 1;
    let count = links.conns.count_malformed(conn, now);
    let is_harmless = |entry: &Conn| entry.established || (has_no_tags && entry.identity.is_some());
    let is_stranger = links.conns.get(conn).is_some_and(|entry| !is_harmless(entry));
    if is_stranger || count > links.ground.limits().malformed {
        links.abuse(conn, BlockReason::Garbage, now);
    }
}

/// Keeps a message of H2H for when C2C is done, if it is done at the other end alone: the answer is on its way on another
/// connection.
pub(super) fn keep(links: &mut Links, conn: ConnId, payload: &[u8], message: &Message<'_>) -> bool {
    message.layer() == Some(Layer::H2h) && is_early(links, conn) && links.conns.keep_early(conn, payload)
}

/// Whether C2C with who is at the other end, as the transport says, runs here.
fn is_early(links: &Links, conn: ConnId) -> bool {
    let peer = links.proven(conn).and_then(|peer| links.peers.get(peer));
    links.conns.get(conn).is_some_and(|entry| !entry.established)
        && peer.and_then(|peer| peer.attempt()).is_some_and(|attempt| attempt.conn.is_some())
}

/// A message that was kept.
pub(super) fn again<'p>(links: &Links, payload: &'p [u8]) -> Option<Message<'p>> {
    Message::parse(payload, usize::from(links.ground.limits().tlvs)).ok()
}

/// What came is no frame: nothing after it can be read.
pub(super) fn garbage(links: &mut Links, conn: ConnId, now: Nanos) {
    links.ground.counters.malformed += 1;
    links.abuse(conn, BlockReason::Garbage, now);
}

/// All that came has been read but for the beginning of a frame.
pub(super) fn rest(links: &mut Links, conn: ConnId, stream: Deframer, ended_one: bool, now: Nanos) {
    let frame_ms = links.ground.limits().frame_ms;
    links.conns.put_stream(conn, stream, ended_one, frame_ms, now, &mut links.ground.timers);
}
