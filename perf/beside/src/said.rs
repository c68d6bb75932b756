//! Lines for whoever runs the program, at once.

use std::io::{Write, stdout};

/// Says a line.
pub(crate) fn say(line: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}
