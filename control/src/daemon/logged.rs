//! What rules that say `log` have decided: a line of the log each, and the last of them for `cesctl`.
//!
//! Workers tell a bounded number a second, each line is limited by its rule as all lines are by their kind, and as many are
//! remembered as one reads.

use crate::admin::view::LoggedRow;
use ces_dataplane::filter::{Asked, Ruling};
use ces_dataplane::wire::ipv4;
use ces_rules::protocol_name;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Decisions that are remembered.
const LAST: usize = 256;
/// What stands for a rule that is in force no more.
const GONE: &str = "a rule of before";

/// The last decisions.
#[derive(Debug, Default)]
pub(super) struct Logged(VecDeque<(u64, LoggedRow)>);

/// An address, with a port where there is one.
fn end(address: u32, port: u16) -> String {
    let address = Ipv4Addr::from_bits(address);
    if port == 0 { address.to_string() } else { format!("{address}:{port}") }
}

impl Logged {
    /// One more, by a rule with this place and name.
    pub(super) fn add(
        &mut self,
        rule: Option<(String, Option<String>)>,
        fate: Ruling,
        asked: Asked,
        now: u64,
    ) {
        let is_icmp = asked.protocol == ipv4::ICMP;
        let (place, name) = rule.unwrap_or_else(|| (GONE.to_owned(), None));
        let row = LoggedRow {
            ago_s: 0,
            fate: fate.label(),
            protocol: protocol_name(asked.protocol),
            icmp_type: is_icmp.then_some(asked.seen.mark),
            from: asked.from.label(),
            source: end(asked.source, asked.source_port),
            to: asked.to.label(),
            destination: end(asked.destination, if is_icmp { 0 } else { asked.destination_port }),
            length: asked.seen.length,
            rule: place,
            name,
        };
        write(&row);
        if self.0.len() == LAST {
            self.0.pop_back();
        }
        self.0.push_front((now, row));
    }

    /// All of them, the latest first.
    pub(super) fn rows(&self, now: u64) -> Vec<LoggedRow> {
        let row = |(at, row): &(u64, LoggedRow)| LoggedRow {
            ago_s: now.saturating_sub(*at) / 1_000_000_000,
            ..row.clone()
        };
        self.0.iter().map(row).collect()
    }
}

fn write(row: &LoggedRow) {
    let LoggedRow { fate, protocol, from, source, to, destination, length, rule, .. } = row;
    let kind = format!("filter {rule}");
    let name = row.name.as_deref().unwrap_or_default();
    tracing::info!(
        kind = kind.as_str(),
        rule,
        name,
        protocol,
        icmp_type = row.icmp_type,
        from,
        source,
        to,
        destination,
        length,
        "filter: {fate}"
    );
}
