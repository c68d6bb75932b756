//! What comes to a client.

use super::Client;
use crate::frame::ends::Ends;
use crate::session::dns::{self, Answer};
use crate::session::frames::{Fields, Outlet, signature_of};
use crate::session::packet::Segment;
use crate::session::stamp::Stamp;
use crate::session::table::State;
use crate::session::tally::Cause;
use ces_dataplane::Nanos;
use ces_dataplane::wire::tcp::{ACK, FIN, RST, SYN};

/// Of two sequence numbers, whether the first is before the second (RFC 9293 §3.4).
const fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

impl Client {
    pub(super) fn answer(&mut self, slot: u32, payload: &[u8], now: Nanos, out: &mut impl Outlet) {
        if self.table.slot(slot).state() != State::Asking {
            return self.stray(slot);
        }
        let Some((query, length)) = self.query(slot) else { return };
        let cause = match dns::answer(payload, &query[..length]) {
            Answer::NotOurs => {
                self.tally.late += 1;
                return;
            }
            Answer::Address(address) => {
                self.tally.resolved += 1;
                if let Some(taken) = Stamp::at(now).since(self.table.slot(slot).begun) {
                    self.tally.dns_ns.saturating_record(taken);
                }
                self.table.slot_mut(slot).peer = address;
                if self.plan.only_asks() {
                    return self.complete(slot, now);
                }
                return self.open_transport(slot, now, out);
            }
            Answer::Error(dns::REFUSED) => Cause::DnsRefused,
            Answer::Error(dns::SERVER_FAILURE) => Cause::DnsServerFailure,
            Answer::Error(dns::NO_SUCH_NAME) => Cause::DnsNoSuchName,
            Answer::NoAddress => Cause::DnsNoAddress,
            Answer::Error(_) | Answer::Truncated | Answer::Malformed => Cause::DnsUnusable,
        };
        self.fail(slot, cause, now);
    }

    fn responded(&mut self, slot: u32, now: Nanos) {
        self.tally.responses += 1;
        let entry = self.table.slot(slot);
        // Of a request that was sent more than once it is not known which was answered (Karn's algorithm, RFC 6298 §3).
        if let Some(taken) = entry.waited(now).filter(|_| entry.again == 0) {
            self.tally.response_ns.saturating_record(taken);
        }
    }

    /// Something that was due once, and is not now.
    fn stray(&mut self, slot: u32) {
        if self.table.slot(slot).state() == State::Free {
            self.tally.late += 1;
        } else {
            self.tally.duplicated += 1;
        }
    }

    pub(super) fn datagram(
        &mut self,
        slot: u32,
        ends: Ends,
        payload: &[u8],
        now: Nanos,
        out: &mut impl Outlet,
    ) {
        let entry = *self.table.slot(slot);
        let signature =
            signature_of(payload).filter(|it| it.trial == self.trial && it.flow == self.flow(slot));
        let Some(signature) = signature else {
            self.tally.late += 1;
            return;
        };
        if entry.state() == State::Free || signature.sequence >> 16 != entry.begun.0 & 0xffff {
            self.tally.late += 1;
            return;
        }
        let expected = entry.answered;
        if signature.sequence as u16 != expected
            || !matches!(entry.state(), State::Opening | State::Requesting)
        {
            self.tally.duplicated += 1;
            return;
        }
        if ends.source != entry.peer || payload.len() != self.plan.response_bytes {
            self.tally.misplaced += 1;
            return;
        }
        if entry.state() == State::Opening {
            self.set_up(slot, Some(Stamp::at(signature.time_ns)), now);
        }
        self.responded(slot, now);
        self.table.slot_mut(slot).answered = expected.wrapping_add(1);
        self.go_on(slot, now, out);
    }

    pub(super) fn segment(
        &mut self,
        slot: u32,
        ends: Ends,
        segment: &Segment<'_>,
        now: Nanos,
        out: &mut impl Outlet,
    ) {
        let entry = *self.table.slot(slot);
        if entry.state() == State::Free {
            self.tally.late += 1;
            return;
        }
        if ends.source != entry.peer || entry.state() == State::Asking {
            self.tally.misplaced += 1;
            return;
        }
        if entry.state() == State::Opening {
            return self.opening(slot, segment, now, out);
        }
        if segment.flags & RST != 0 {
            // RFC 9293 §3.5.3: a reset counts if its sequence number is the one that is due (RFC 5961 §3.2).
            return if segment.sequence == entry.expected {
                self.fail(slot, Cause::Reset, now);
            } else {
                self.tally.misplaced += 1;
            };
        }
        if segment.payload.is_empty() && segment.flags & (SYN | FIN) == 0 {
            return; // an acknowledgement alone: nothing waits for it
        }
        if before(segment.sequence, entry.expected) {
            self.tally.duplicated += 1;
            return;
        }
        if segment.sequence != entry.expected || segment.flags & SYN != 0 {
            self.tally.misplaced += 1;
            return;
        }
        let acknowledged = segment.acknowledgement.wrapping_sub(entry.mark) as usize;
        match entry.state() {
            State::Requesting
                if acknowledged == self.plan.request_bytes
                    && segment.payload.len() == self.plan.response_bytes
                    && segment.flags & FIN == 0 =>
            {
                self.responded(slot, now);
                let entry = self.table.slot_mut(slot);
                entry.mark = segment.acknowledgement;
                entry.expected = segment.sequence.wrapping_add(segment.payload.len() as u32);
                entry.answered = entry.answered.wrapping_add(1);
                self.go_on(slot, now, out);
            }
            // RFC 9293 §3.6: our FIN takes one number, and so does theirs.
            State::Closing
                if acknowledged == 1
                    && segment.payload.is_empty()
                    && segment.flags & (FIN | ACK) == FIN | ACK =>
            {
                let entry = self.table.slot_mut(slot);
                entry.mark = segment.acknowledgement;
                entry.expected = segment.sequence.wrapping_add(1);
                self.emit_plain(slot, ACK, now, out);
                self.complete(slot, now);
            }
            _ => self.tally.misplaced += 1,
        }
    }

    /// RFC 9293 §3.10.7.3: what comes in the state SYN-SENT.
    fn opening(&mut self, slot: u32, segment: &Segment<'_>, now: Nanos, out: &mut impl Outlet) {
        let due = self.nonce(slot).wrapping_add(1);
        let acknowledged = segment.flags & ACK != 0 && segment.acknowledgement == due;
        if segment.flags & RST != 0 {
            // "If the ACK was acceptable, then signal … connection reset", and otherwise drop it.
            return if acknowledged {
                self.fail(slot, Cause::Refused, now);
            } else {
                self.tally.misplaced += 1;
            };
        }
        if segment.flags & ACK != 0 && !acknowledged {
            // "If SEG.ACK =< ISS, or SEG.ACK > SND.NXT, send a reset … <SEQ=SEG.ACK><CTL=RST>".
            self.tally.misplaced += 1;
            let fields = Fields {
                sequence: segment.acknowledgement,
                acknowledgement: 0,
                flags: RST,
                now: Stamp::at(now),
                echo: 0,
            };
            let sent = self.plain.emit_tcp(out, self.port, None, self.ends(slot), &fields);
            return self.sent(sent, self.plain.size());
        }
        if segment.flags & (SYN | ACK) != SYN | ACK {
            self.tally.misplaced += 1;
            return;
        }
        self.set_up(slot, segment.timestamp.map(Stamp), now);
        let entry = self.table.slot_mut(slot);
        entry.mark = due;
        entry.expected = segment.sequence.wrapping_add(1);
        if !self.keep {
            self.emit_plain(slot, ACK, now, out);
        }
        self.go_on(slot, now, out);
    }
}
