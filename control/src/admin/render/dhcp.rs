//! DHCP as a person reads it.

use super::super::table::{TextTable, bytes, count, duration};
use super::super::value::{list, number, text};
use serde_json::Value;

/// The server: subnets, messages, its file, other servers.
pub(super) fn server(answer: &Value) -> String {
    let mut subnets = TextTable::new(&["SUBNET", "LEASED", "OFFERED", "DECLINED", "FREE"]);
    for subnet in list(&answer["subnets"]) {
        let free = number(subnet, "fresh") + number(subnet, "past");
        subnets.row(vec![
            text(subnet, "network"),
            count(number(subnet, "leased")),
            count(number(subnet, "offered")),
            count(number(subnet, "declined")),
            count(free),
        ]);
    }
    let mut messages = TextTable::new(&["MESSAGES", ""]);
    for (outcome, times) in answer["outcomes"].as_object().into_iter().flatten() {
        messages.row(vec![outcome.clone(), count(times.as_u64().unwrap_or(0))]);
    }
    let mut rest = TextTable::new(&["SERVER", ""]);
    for (name, key) in [
        ("addresses probed", "probes"),
        ("addresses in use without a lease", "conflicts"),
        ("leases that ran out", "expired"),
        ("leases whose client moved to another MAC", "moved"),
    ] {
        rest.row(vec![name.to_owned(), count(number(answer, key))]);
    }
    let file = &answer["file"];
    if file.is_object() {
        let health = if file["is_whole"] == true { "whole" } else { "failing" };
        rest.row(vec!["file of leases".to_owned(), health.to_owned()]);
        rest.row(vec!["its size".to_owned(), bytes(number(file, "size"))]);
        rest.row(vec!["changes written".to_owned(), count(number(file, "written"))]);
        rest.row(vec!["changes not written".to_owned(), count(number(file, "failed"))]);
    }
    let mut foreign = TextTable::new(&["OTHER SERVER", "MAC", "ANSWERS"]);
    for server in list(&answer["foreign"]) {
        foreign.row(vec![text(server, "server"), text(server, "mac"), count(number(server, "answers"))]);
    }
    let tables = [subnets, messages, rest, foreign];
    let filled = tables.iter().filter(|table| !table.is_empty());
    filled.map(TextTable::text).collect::<Vec<_>>().join("\n")
}

/// Addresses that were leased.
pub(super) fn leases(answer: &Value) -> String {
    let mut table = TextTable::new(&["ADDRESS", "STATE", "ENDS", "MAC", "NAME", "CLIENT ID"]);
    for lease in list(answer) {
        let seconds = lease["seconds"].as_i64().unwrap_or(0);
        let ends = match u64::try_from(seconds) {
            Ok(left) => format!("in {}", duration(left)),
            Err(_) => format!("{} ago", duration(seconds.unsigned_abs())),
        };
        table.row(vec![
            text(lease, "address"),
            text(lease, "state"),
            ends,
            text(lease, "mac"),
            text(lease, "name"),
            text(lease, "client_id"),
        ]);
    }
    table.text()
}
