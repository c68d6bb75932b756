//! Traced packets on their way to the `cesctl` that asked for them.

use super::Daemon;
use super::operator::Trace;
use crate::admin::protocol::Response;
use crate::admin::server::TRACE_BACKLOG_BYTES;
use crate::slots::Key;
use crate::trace::describe;
use ces_dataplane::msg::{Command, Fate, TRACE_BYTES, TraceFilter, TraceRecord};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How often a trace looks for the names of bindings that it does not know, in nanoseconds.
const NAMES_NS: u64 = 100_000_000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Daemon {
    /// Begins a trace for this client; one that runs ends.
    pub(super) fn start_trace(&mut self, client: Key, filter: TraceFilter, count: u32) {
        if let Some(earlier) = self.operator.trace.take() {
            let ended = format!("{} packets were left when another trace began", earlier.left);
            self.admin.respond(earlier.client, &Response::Error(ended));
        }
        for worker in 0..self.fleet.len() {
            self.fleet.command(worker, Command::Trace(filter, count));
        }
        self.operator.trace =
            Some(Trace { client, left: count, names: FxHashMap::default(), names_read: None });
    }

    /// Ends the trace, here and at the workers.
    pub(super) fn stop_trace(&mut self) -> Option<Trace> {
        let trace = self.operator.trace.take()?;
        for worker in 0..self.fleet.len() {
            self.fleet.command(worker, Command::Trace(TraceFilter::default(), 0));
        }
        Some(trace)
    }

    /// A worker recorded a packet.
    pub(super) fn traced(&mut self, worker: usize, record: &TraceRecord, now: u64) {
        let Some(trace) = &self.operator.trace else { return };
        let client = trace.client;
        let Some(backlog) = self.admin.backlog(client) else {
            self.stop_trace();
            return;
        };
        // A `cesctl` that prints more slowly than packets come misses some rather than costing memory.
        if backlog < TRACE_BACKLOG_BYTES {
            let item = self.trace_item(worker, record, now);
            self.admin.respond(client, &Response::Item(item));
        }
        let Some(trace) = &mut self.operator.trace else { return };
        trace.left -= 1;
        if trace.left == 0
            && let Some(trace) = self.stop_trace()
        {
            self.admin.respond(trace.client, &Response::Ok(Value::Null));
            self.serve(trace.client, now);
        }
    }

    fn trace_item(&mut self, worker: usize, record: &TraceRecord, now: u64) -> Value {
        let name = |port: u8| self.config.port.get(usize::from(port)).map_or("?", |port| &port.name);
        let kept = |length: u16| usize::from(length).min(TRACE_BYTES);
        let (before, after) =
            (&record.before[..kept(record.length)], &record.after[..kept(record.length_after)]);
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
            Fate::Drop(why) => ("drop".to_owned(), Some(why.label()), Some(why.text())),
        };
        let fate = match record.fate {
            Fate::Forward(_) => "forward",
            Fate::Reply(..) => "reply",
            Fate::Punt(_) => "punt",
            Fate::HandOff(_) => "hand_off",
            Fate::Absorb => "absorb",
            Fate::Hold => "hold",
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
            let tag = self.cipher.tag(handle).0;
            let (local, remote) = self.binding_names(tag, now).unwrap_or_default();
            item["binding"] = json!({ "tag": tag, "local": local, "remote": remote });
        }
        item
    }

    fn binding_names(&mut self, tag: u32, now: u64) -> Option<(String, String)> {
        let trace = self.operator.trace.as_mut()?;
        let old = trace.names_read.is_none_or(|read| now.saturating_sub(read) >= NAMES_NS);
        if !trace.names.contains_key(&tag) && old {
            trace.names_read = Some(now);
            trace.names = self
                .gateway
                .bindings(now)
                .into_iter()
                .map(|binding| (binding.tag, (binding.local.to_string(), binding.remote.to_string())))
                .collect();
        }
        trace.names.get(&tag).cloned()
    }
}
