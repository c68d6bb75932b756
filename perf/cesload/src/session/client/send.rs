//! What a client sends.

use super::{Client, mix};
use crate::frame::ends::Ends;
use crate::frame::signature::Signature;
use crate::session::dns;
use crate::session::frames::{Fields, Outlet, datagram};
use crate::session::plan::{Destination, Transport};
use crate::session::stamp::Stamp;
use ces_dataplane::Nanos;
use ces_dataplane::wire::tcp::{ACK, PSH, SYN};

impl Client {
    pub(super) fn ends(&self, slot: u32) -> Ends {
        let (source, source_port) = self.plan.client_of(self.share.first() + slot);
        Ends {
            source,
            destination: self.table.slot(slot).peer,
            source_port,
            destination_port: self.plan.server_port,
        }
    }

    /// A number of the session that an earlier one of the slot does not have.
    pub(super) fn nonce(&self, slot: u32) -> u32 {
        let begun = u64::from(self.table.slot(slot).begun.0);
        mix(self.secret ^ begun << 32 ^ u64::from(self.share.first() + slot)) as u32
    }

    /// The number of its flow in signatures.
    pub(super) fn flow(&self, slot: u32) -> u32 {
        self.share.first() + slot
    }

    pub(super) fn sent(&mut self, sent: bool, bytes: usize) {
        self.tally.sent_bytes += if sent { bytes as u64 } else { 0 };
        self.tally.unsent += u64::from(!sent);
    }

    /// The query of a session, and its length.
    pub(super) fn query(&self, slot: u32) -> Option<([u8; dns::QUERY_MAX], usize)> {
        let Destination::Named { names, .. } = &self.plan.target else { return None };
        let mut query = [0; dns::QUERY_MAX];
        let length = dns::query(self.nonce(slot) as u16, names, self.table.slot(slot).peer, &mut query)?;
        Some((query, length))
    }

    pub(super) fn ask(&mut self, slot: u32, out: &mut impl Outlet) {
        let Destination::Named { server, .. } = self.plan.target else { return };
        let Some((query, length)) = self.query(slot) else { return };
        let ends = Ends { destination: server, destination_port: dns::PORT, ..self.ends(slot) };
        let sent = datagram(out, self.port, &self.link, ends, &query[..length]);
        self.sent(sent.is_some(), sent.unwrap_or(0));
    }

    pub(super) fn send_syn(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        let fields = Fields {
            sequence: self.nonce(slot),
            acknowledgement: 0,
            flags: SYN,
            now: Stamp::at(now),
            echo: 0,
        };
        let sent = self.syn.emit_tcp(out, self.port, None, self.ends(slot), &fields);
        self.sent(sent, self.syn.size());
    }

    fn fields(&self, slot: u32, flags: u8, now: Nanos) -> Fields {
        let entry = self.table.slot(slot);
        let (sequence, acknowledgement) = (entry.mark, entry.expected);
        Fields { sequence, acknowledgement, flags, now: Stamp::at(now), echo: 0 }
    }

    pub(super) fn emit_plain(&mut self, slot: u32, flags: u8, now: Nanos, out: &mut impl Outlet) {
        let fields = self.fields(slot, flags, now);
        let sent = self.plain.emit_tcp(out, self.port, None, self.ends(slot), &fields);
        self.sent(sent, self.plain.size());
    }

    pub(super) fn emit_request(&mut self, slot: u32, now: Nanos, out: &mut impl Outlet) {
        let ends = self.ends(slot);
        let sent = match self.plan.transport {
            Transport::Tcp => {
                let fields = self.fields(slot, PSH | ACK, now);
                self.request.emit_tcp(out, self.port, None, ends, &fields)
            }
            Transport::Udp => {
                let entry = self.table.slot(slot);
                let signature = Signature {
                    trial: self.trial,
                    flow: self.flow(slot),
                    sequence: entry.begun.0 << 16 | u32::from(entry.answered),
                    time_ns: now,
                };
                self.request.emit_udp(out, self.port, None, ends, &signature)
            }
        };
        self.sent(sent, self.request.size());
    }
}
