//! What is picked out of an answer of `cesd`: a missing value is no reason to show nothing of the others.

use super::table::TextTable;
use serde_json::Value;

pub(in crate::admin) fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

pub(in crate::admin) fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

pub(in crate::admin) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(in crate::admin) fn texts(value: &Value, key: &str) -> String {
    let all: Vec<_> = list(&value[key]).iter().filter_map(Value::as_str).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

pub(in crate::admin) fn or_none(table: &TextTable, none: &str) -> String {
    if table.is_empty() { format!("{none}\n") } else { table.text() }
}
