//! The Realm Gateway as a person reads it.

use crate::admin::table::{TextTable, count, time};
use crate::admin::value::{list, number, or_none, text};
use ces_rules::protocol_name;
use serde_json::Value;
use std::fmt::Write as _;

/// What becomes of reservations, in the order of columns.
const FATES: [&str; 5] = ["used", "expired", "refused", "replaced", "withdrawn"];

fn fates(value: &Value) -> Vec<String> {
    FATES.iter().map(|fate| count(number(value, fate))).collect()
}

/// Port and protocol, either of which may be any.
fn tuple(value: &Value) -> String {
    let protocol = match number(value, "protocol") {
        0 => "any".to_owned(),
        protocol => protocol_name(protocol as u8),
    };
    match number(value, "port") {
        0 => protocol,
        port => format!("{protocol} {port}"),
    }
}

/// The answer to `show reputation`.
pub(super) fn reputation(answer: &Value) -> String {
    let of = |value: &Value, at: usize| count(value[at].as_u64().unwrap_or(0));
    let mut shown = format!(
        "{} who ask and {} who come are remembered; {} times a reputation did not suffice, {} times a share was held already\n",
        of(&answer["remembered"], 0),
        of(&answer["remembered"], 1),
        of(&answer["refused"], 0),
        of(&answer["refused"], 1)
    );
    for (heading, key) in [("WHO ASKS", "askers"), ("WHO COMES", "comers")] {
        let mut table = TextTable::new(&[heading, "REPUTATION", "USED", "EXPIRED", "PENDING"]);
        for row in list(&answer[key]) {
            let value = format!("{:.2}", row["reputation"].as_f64().unwrap_or(0.0));
            let figures = ["used", "expired", "pending"].map(|figure| count(number(row, figure)));
            table.row([text(row, "network"), value].into_iter().chain(figures).collect());
        }
        if !table.is_empty() {
            let _ = write!(shown, "\n{}", table.text());
        }
    }
    shown
}

/// The answer to `show names`.
pub(super) fn names(answer: &Value) -> String {
    let mut table = TextTable::new(&["NAME", "LEADS TO", "NOTES", "KEY", "SINCE"]);
    for name in list(answer) {
        let to = if name["address"].is_string() { text(name, "address") } else { text(name, "pointer") };
        let since = time(number(name, "since_s") * 1000);
        table.row(vec![text(name, "name"), to, count(number(name, "notes")), text(name, "key"), since]);
    }
    table.text()
}

/// The answer to `show inbound`.
pub(super) fn pool(answer: &Value) -> String {
    let mut shown = format!(
        "{} pending reservations, {} queries waiting\n",
        number(answer, "pending"),
        number(answer, "waiting")
    );
    let mut table = TextTable::new(&["ADDRESS", "WORKER", "PENDING", "GIVEN"]);
    for address in list(&answer["addresses"]) {
        let pending = match (&address["exclusive"], &address["offered"]) {
            (Value::Bool(true), _) => "alone".to_owned(),
            (_, Value::Bool(false)) => format!("{}, no longer given out", number(address, "pending")),
            _ => count(number(address, "pending")),
        };
        let given = count(number(address, "given"));
        table.row(vec![text(address, "address"), text(address, "worker"), pending, given]);
    }
    shown += &or_none(&table, "no addresses");
    for (what, key) in [("RESOLVER", "resolvers"), ("CLIENTS OF", "clients")] {
        let mut table = TextTable::new(&[what, "USED", "EXPIRED", "REFUSED", "REPLACED", "WITHDRAWN"]);
        let all = [Value::String("all".to_owned()), answer["fates"].clone()].into();
        let rows = list(&answer[key]).iter().cloned();
        for row in rows.chain((key == "resolvers").then_some(Value::Array(all))) {
            let who = row[0].as_str().unwrap_or("-").to_owned();
            table.row(std::iter::once(who).chain(fates(&row[1])).collect());
        }
        if !table.is_empty() {
            let _ = write!(shown, "\n{}", table.text());
        }
    }
    shown
}

/// The answer to `show services`.
pub(super) fn services(answer: &Value) -> String {
    let header = ["NAME", "HOST", "TAKES", "USED", "EXPIRED", "REFUSED", "REPLACED", "WITHDRAWN"];
    let mut table = TextTable::new(&header);
    for service in list(answer) {
        let row = [text(service, "name"), text(service, "host"), tuple(service)];
        table.row(row.into_iter().chain(fates(&service["fates"])).collect());
    }
    or_none(&table, "no host has a service for the plain Internet (`inbound`)")
}

/// The answer to `show reservations`.
pub(super) fn reservations(answer: &Value) -> String {
    let mut table = TextTable::new(&["NAME", "HOST", "ADDRESS", "TAKES", "RESOLVER", "AGE"]);
    for reservation in list(answer) {
        table.row(vec![
            text(reservation, "name"),
            text(reservation, "host"),
            text(reservation, "address"),
            tuple(reservation),
            text(reservation, "resolver"),
            format!("{} ms", number(reservation, "age_ms")),
        ]);
    }
    or_none(&table, "no reservations")
}
