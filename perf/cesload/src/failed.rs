//! What ends a command without its result, and what is printed.

use std::io::{Write, stdout};

/// Why there is no measurement.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The command line or the profile; each problem in a line.
    Usage(Vec<String>),
    /// Anything else.
    Broken(String),
}

/// Prints to the output, which may be a full disk.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failed::Broken(format!("the output cannot be written: {error}")))
}
