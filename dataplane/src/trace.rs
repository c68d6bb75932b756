//! Tracing: the next packets that match a filter, as they came and as they left, with what became of them.
//!
//! Unarmed it costs one branch per burst.

use crate::frame::Frame;
use crate::msg::{Fate, PortId, TRACE_BYTES, TraceFilter, TraceRecord};
use crate::packet::{BURST, Packet, SETTLED};
use crate::table::bindings::Bindings;
use crate::verdict::Verdict;
use crate::wire::{Wire, ethernet, ipv4, read16};
use std::collections::VecDeque;

/// Records that wait for room in the ring to the control thread: four bursts of which every packet matches.
const WAITING: usize = 4 * BURST;

/// Where an inner packet can stand behind the outer IPv4 header: GRE 8 or 12, or 16 as UDP 8 with VXLAN or GENEVE 8, and
/// Ethernet 14.
const INNER: [usize; 3] = [22, 26, 30];

/// What is traced, and the frames of the burst as they came.
#[derive(Debug)]
pub(crate) struct Trace {
    filter: TraceFilter,
    remaining: u32,
    before: [[u8; TRACE_BYTES]; BURST],
    lengths: [u16; BURST],
    /// What was recorded and is not told yet.
    waiting: VecDeque<TraceRecord>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            filter: TraceFilter::default(),
            remaining: 0,
            before: [[0; TRACE_BYTES]; BURST],
            lengths: [0; BURST],
            waiting: VecDeque::with_capacity(WAITING),
        }
    }
}

impl Trace {
    /// Records the next `count` packets that match; 0 stops.
    pub(crate) fn arm(&mut self, filter: TraceFilter, count: u32) {
        self.filter = filter;
        self.remaining = count;
    }

    #[inline(always)]
    pub(crate) fn armed(&self) -> bool {
        self.remaining > 0
    }

    /// The next record for the control thread, if any.
    pub(crate) fn peek(&self) -> Option<&TraceRecord> {
        self.waiting.front()
    }

    /// Removes what [`Trace::peek`] showed.
    pub(crate) fn pop(&mut self) {
        self.waiting.pop_front();
    }

    /// Keeps a burst as it came.
    #[cold]
    pub(crate) fn before<F: Frame>(&mut self, frames: &[F]) {
        for (frame, (before, length)) in frames.iter().zip(self.before.iter_mut().zip(&mut self.lengths)) {
            (*before, *length) = head(frame.data());
        }
    }

    /// Records what became of the burst; how many records were lost because there was no room for them.
    #[cold]
    pub(crate) fn after<F: Frame>(
        &mut self,
        port: PortId,
        frames: &[F],
        packets: &[Packet],
        verdicts: &[Verdict],
        bindings: &Bindings,
    ) -> u64 {
        let mut lost = 0;
        for (number, (frame, &verdict)) in frames.iter().zip(verdicts).enumerate().take(BURST) {
            let dropped = matches!(verdict, Verdict::Drop(_) | Verdict::Reply(..));
            let (before, length) = (self.before[number], self.lengths[number]);
            let kept = usize::from(length).min(TRACE_BYTES);
            if self.remaining == 0
                || self.filter.dropped_only && !dropped
                || !matches(&self.filter, port, &before[..kept])
            {
                continue;
            }
            let (after, length_after) = match verdict {
                Verdict::Forward(_) | Verdict::Reply(..) => head(frame.data()),
                _ => (before, length),
            };
            let packet = &packets[number];
            let binding = if packet.flags & SETTLED == 0 { bindings.handle(packet.slot) } else { None };
            let fate = Fate::from(verdict);
            self.remaining -= 1;
            if self.waiting.len() == WAITING {
                lost += 1;
                continue;
            }
            self.waiting.push_back(TraceRecord { port, length, before, length_after, after, binding, fate });
        }
        lost
    }
}

/// The beginning of a frame and its length.
fn head(frame: &[u8]) -> ([u8; TRACE_BYTES], u16) {
    let mut head = [0; TRACE_BYTES];
    let kept = frame.len().min(TRACE_BYTES);
    head[..kept].copy_from_slice(&frame[..kept]);
    (head, frame.len() as u16)
}

fn matches(filter: &TraceFilter, port: PortId, frame: &[u8]) -> bool {
    if filter.port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if filter.address.is_none() && filter.protocol.is_none() {
        return true;
    }
    let Ok(link) = ethernet::Header::parse(frame) else {
        return false;
    };
    let Some(outer) = frame.get(link.length()..).and_then(|ip| ipv4::Header::parse_quoted(ip).ok()) else {
        return false;
    };
    let l4 = link.length() + outer.length();
    let inner = INNER.into_iter().map(|offset| l4 + offset).find_map(|at| {
        let tunnel =
            matches!(outer.protocol, ipv4::GRE | ipv4::UDP) && read16(frame, at - 2) == ethernet::IPV4;
        frame.get(at..).filter(|_| tunnel).and_then(|ip| ipv4::Header::parse_quoted(ip).ok())
    });
    let has = |header: &ipv4::Header, address: u32| header.source == address || header.destination == address;
    let innermost = inner.as_ref().unwrap_or(&outer);
    filter.protocol.is_none_or(|protocol| innermost.protocol == protocol)
        && filter.address.is_none_or(|address| {
            let address = address.to_bits();
            has(&outer, address) || has(innermost, address)
        })
}
