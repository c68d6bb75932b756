//! The side that answers: without any state, so that it is never what a test of sessions finds the limit of.
//!
//! It answers what arrives at its port, from whatever address: between it and the client there may be a proxy address or a
//! NAT. Its first sequence number is a hash of the ends (a cookie), so that a repeated SYN gets the same answer, and what
//! else it must know stands in the segment itself: its next sequence number is what the client acknowledges.

use crate::frame::ends::Ends;
use crate::frame::signature::Signature;
use crate::session::client::mix;
use crate::session::frames::{Fields, Outlet, SessionTemplate, signature_of};
use crate::session::packet::{Packet, Segment};
use crate::session::plan::{Plan, Transport};
use crate::session::stamp::Stamp;
use crate::sums::sums;
use ces_dataplane::Nanos;
use ces_dataplane::wire::ethernet;
use ces_dataplane::wire::tcp::{ACK, FIN, PSH, RST, SYN};

sums! {
    /// What a server counted.
    Served {
        /// SYNs answered.
        syns,
        /// Requests answered.
        requests,
        /// FINs answered.
        fins,
        /// Resets seen.
        resets,
        /// Segments that acknowledge what was never sent to these ends; answered with a reset.
        wrong_acknowledgements,
        /// Requests of another length than they should have, or without a signature; not answered.
        misplaced,
        /// Requests of an earlier trial; not answered.
        late,
        /// Answers for which there was no buffer or no room in the port's queue.
        unsent,
    }
}

/// The server of one profile.
pub struct Server {
    transport: Transport,
    server_port: u16,
    request_bytes: usize,
    response_bytes: u32,
    /// Requests of a session at most, and whether sessions go on for ever instead.
    requests: u16,
    keep: bool,
    port: usize,
    syn: SessionTemplate,
    plain: SessionTemplate,
    response: SessionTemplate,
    trial: u16,
    secret: u64,
    served: Served,
}

impl Server {
    /// A server at `port`, whose frames have `link` as their header; they go where the request's frame came from. Servers of
    /// several threads answer for each other if they have the same `secret`.
    pub fn new(plan: &Plan, port: usize, link: ethernet::Header, secret: u64) -> Self {
        let response = match plan.transport {
            Transport::Tcp => SessionTemplate::data(&link, plan.response_bytes),
            Transport::Udp => SessionTemplate::datagram(&link, plan.response_bytes),
        };
        Self {
            transport: plan.transport,
            server_port: plan.server_port,
            request_bytes: plan.request_bytes,
            response_bytes: plan.response_bytes as u32,
            requests: plan.requests,
            keep: false,
            port,
            syn: SessionTemplate::syn(&link),
            plain: SessionTemplate::data(&link, 0),
            response,
            trial: 0,
            secret,
            served: Served::default(),
        }
    }

    /// Begins a trial: counts from 0, with a new trial's number. `keep`: whether sessions may go on for ever.
    pub fn reset(&mut self, trial: u16, keep: bool) {
        (self.trial, self.keep) = (trial, keep);
        self.served = Served::default();
    }

    /// What it counted.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// What it counted since the last time; counts from 0 again.
    pub fn take_served(&mut self) -> Served {
        std::mem::take(&mut self.served)
    }

    /// The port that it is at.
    pub fn port(&self) -> usize {
        self.port
    }

    /// Takes a packet, if it is for this server, and answers to `from`, the station that it came from.
    pub fn receive(&mut self, packet: &Packet<'_>, from: [u8; 6], now: Nanos, out: &mut impl Outlet) -> bool {
        match *packet {
            Packet::Udp(ends, payload)
                if self.transport == Transport::Udp && ends.destination_port == self.server_port =>
            {
                self.datagram(ends, payload, from, now, out);
            }
            Packet::Tcp(ends, segment)
                if self.transport == Transport::Tcp && ends.destination_port == self.server_port =>
            {
                self.segment(ends, &segment, from, now, out);
            }
            _ => return false,
        }
        true
    }

    fn datagram(&mut self, ends: Ends, payload: &[u8], from: [u8; 6], now: Nanos, out: &mut impl Outlet) {
        match signature_of(payload) {
            Some(signature) if payload.len() == self.request_bytes => {
                if signature.trial != self.trial {
                    self.served.late += 1;
                    return;
                }
                let signature = Signature { time_ns: now, ..signature };
                let sent = self.response.emit_udp(out, self.port, Some(from), ends.swapped(), &signature);
                self.served.requests += 1;
                self.served.unsent += u64::from(!sent);
            }
            _ => self.served.misplaced += 1,
        }
    }

    /// Our first sequence number towards a client.
    fn cookie(&self, ends: Ends) -> u32 {
        let addresses = u64::from(ends.source) << 32 | u64::from(ends.destination);
        let ports = u64::from(ends.source_port) << 16 | u64::from(ends.destination_port);
        mix(mix(addresses ^ self.secret) ^ ports) as u32
    }

    /// Whether the client acknowledges what we may have sent: the SYN, and so many responses at most, and the FIN.
    fn acceptable(&self, ends: Ends, acknowledgement: u32) -> bool {
        let acknowledged = acknowledgement.wrapping_sub(self.cookie(ends).wrapping_add(1));
        let all = u32::from(self.requests).wrapping_mul(self.response_bytes).wrapping_add(1);
        let most = if self.keep { u32::MAX / 2 } else { all };
        acknowledged <= most
    }

    fn segment(
        &mut self,
        ends: Ends,
        segment: &Segment<'_>,
        from: [u8; 6],
        now: Nanos,
        out: &mut impl Outlet,
    ) {
        let mut fields = Fields {
            sequence: segment.acknowledgement,
            acknowledgement: 0,
            flags: ACK,
            now: Stamp::at(now),
            echo: segment.timestamp.unwrap_or(0),
        };
        let length = segment.payload.len() as u32;
        let template = if segment.flags & RST != 0 {
            self.served.resets += 1;
            return;
        } else if segment.flags & (SYN | ACK) == SYN {
            self.served.syns += 1;
            fields.sequence = self.cookie(ends);
            fields.acknowledgement = segment.sequence.wrapping_add(1);
            fields.flags |= SYN;
            &self.syn
        } else if segment.flags & ACK == 0 || !self.acceptable(ends, segment.acknowledgement) {
            // RFC 9293 §3.10.7.4: in SYN-RECEIVED an unacceptable acknowledgement is answered with
            // <SEQ=SEG.ACK><CTL=RST>. A NAT that gave the session another address in its midst ends here, too.
            self.served.wrong_acknowledgements += 1;
            fields.flags = RST;
            &self.plain
        } else if length > 0 {
            if segment.payload.len() != self.request_bytes {
                self.served.misplaced += 1;
                return;
            }
            self.served.requests += 1;
            fields.acknowledgement = segment.sequence.wrapping_add(length);
            fields.flags |= PSH;
            &self.response
        } else if segment.flags & FIN != 0 {
            self.served.fins += 1;
            fields.acknowledgement = segment.sequence.wrapping_add(1);
            fields.flags |= FIN;
            &self.plain
        } else {
            return; // an acknowledgement alone
        };
        let sent = template.emit_tcp(out, self.port, Some(from), ends.swapped(), &fields);
        self.served.unsent += u64::from(!sent);
    }
}
