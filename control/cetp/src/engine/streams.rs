//! From what arrives on a connection to messages, and what a sender may send.

use super::api::{ConnId, Nanos};
use super::links::Links;
use super::reason::BlockReason;
use crate::frame::Deframer;
use crate::message::Message;

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
            Some(message)
        }
        _ => {
            malformed(links, conn, now);
            None
        }
    }
}

fn malformed(links: &mut Links, conn: ConnId, now: Nanos) {
    links.ground.counters.malformed += 1;
    let count = links.conns.count_malformed(conn, now);
    let is_stranger = links.conns.get(conn).is_some_and(|entry| !entry.established);
    if is_stranger || count > links.ground.limits().malformed {
        links.abuse(conn, BlockReason::Garbage, now);
    }
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
