//! Traced packets on their way to the `cesctl` that asked for them.

use super::house::House;
use super::views::port_name;
use crate::admin::protocol::Response;
use crate::slots::Key;
use crate::sources::admin::TRACE_BACKLOG_BYTES;
use crate::trace::describe;
use ces_dataplane::msg::{Command, Fate, TRACE_BYTES, TraceFilter, TraceRecord};
use ces_dataplane::tag::TagCipher;
use serde_json::{Value, json};
use std::fmt::Write as _;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A trace that runs.
struct Trace {
    client: Key,
    left: u32,
}

/// The trace that runs, if one does.
pub(super) struct Tracing {
    cipher: TagCipher,
    trace: Option<Trace>,
}

impl Tracing {
    pub(super) fn new(cipher: TagCipher) -> Self {
        Self { cipher, trace: None }
    }

    /// Begins a trace for this client; one that runs ends.
    pub(super) fn start(&mut self, house: &mut House, client: Key, filter: TraceFilter, count: u32) {
        if let Some(earlier) = self.trace.replace(Trace { client, left: count }) {
            let ended = format!("{} packets were left when another trace began", earlier.left);
            house.sources.admin.respond(earlier.client, &Response::Error(ended));
        }
        tell(house, filter, count);
    }

    /// Ends the trace, here and at the workers. Its client is told, and may ask for something else.
    fn stop(&mut self, house: &mut House) {
        if let Some(trace) = self.trace.take() {
            tell(house, TraceFilter::default(), 0);
            house.sources.admin.respond(trace.client, &Response::Ok(Value::Null));
        }
    }

    /// Ends a trace whose client went away.
    pub(super) fn handle_timeout(&mut self, house: &mut House) {
        if self.trace.as_ref().is_some_and(|trace| house.sources.admin.backlog(trace.client).is_none()) {
            self.stop(house);
        }
    }

    /// A worker recorded a packet.
    pub(super) fn record(&mut self, house: &mut House, worker: usize, record: &TraceRecord, now: u64) {
        let Some(trace) = &mut self.trace else { return };
        let Some(backlog) = house.sources.admin.backlog(trace.client) else {
            self.stop(house);
            return;
        };
        trace.left -= 1;
        // A `cesctl` that prints more slowly than packets come misses some rather than costing memory.
        if backlog < TRACE_BACKLOG_BYTES {
            let item = item(house, &self.cipher, worker, record, now);
            house.sources.admin.respond(trace.client, &Response::Item(item));
        }
        if trace.left == 0 {
            self.stop(house);
        }
    }
}

/// Has all workers record the packets that fit, so many; 0 ends it.
fn tell(house: &mut House, filter: TraceFilter, count: u32) {
    for worker in 0..house.fleet.len() {
        house.fleet.command(worker, Command::Trace(filter, count));
    }
}

fn item(house: &House, cipher: &TagCipher, worker: usize, record: &TraceRecord, now: u64) -> Value {
    let name = |port: u8| port_name(house, port);
    let kept = |length: u16| usize::from(length).min(TRACE_BYTES);
    let (before, after) = (&record.before[..kept(record.length)], &record.after[..kept(record.length_after)]);
    let changed = record.length_after > 0 && (before != after || record.length != record.length_after);
    let (decision, reason, why): (String, Option<&str>, Option<&str>) = match record.fate {
        Fate::Forward(port) => (format!("forward to {}", name(port)), None, None),
        Fate::Reply(port, why) => {
            (format!("answer with ICMP to {}:", name(port)), Some(why.label()), Some(why.text()))
        }
        Fate::Punt(class) => (format!("to the gateway itself as {}", class.label()), None, None),
        Fate::HandOff(other) => (format!("hand over to worker {other}"), None, None),
        Fate::Absorb => ("taken in: about one of the gateway's tunnels".to_owned(), None, None),
        Fate::Hold => ("keep until the next hop's MAC address is known".to_owned(), None, None),
        Fate::HoldLater => ("keep until the first fragment has come".to_owned(), None, None),
        Fate::HoldUnasked => ("keep for six seconds, in case a host asks for it".to_owned(), None, None),
        Fate::Drop(why) => ("drop".to_owned(), Some(why.label()), Some(why.text())),
    };
    let fate = match record.fate {
        Fate::Forward(_) => "forward",
        Fate::Reply(..) => "reply",
        Fate::Punt(_) => "punt",
        Fate::HandOff(_) => "hand_off",
        Fate::Absorb => "absorb",
        Fate::Hold => "hold",
        Fate::HoldLater => "hold_later",
        Fate::HoldUnasked => "hold_unasked",
        Fate::Drop(_) => "drop",
    };
    let mut item = json!({
        "worker": worker,
        "port": name(record.port),
        "length": record.length,
        "before": describe(before, usize::from(record.length)),
        "before_bytes": hex(before),
        "after": changed.then(|| describe(after, usize::from(record.length_after))),
        "after_bytes": changed.then(|| hex(after)),
        "fate": fate,
        "decision": decision,
        "reason": reason,
        "why": why.map(str::trim),
        "binding": Value::Null,
    });
    if let Some(handle) = record.binding {
        let tag = cipher.tag(handle).0;
        let named = house.gateway.binding(tag, now);
        let (local, remote) = named.map(|binding| (binding.local, binding.remote)).unwrap_or_default();
        item["binding"] = json!({ "tag": tag, "local": local, "remote": remote });
    }
    item
}
