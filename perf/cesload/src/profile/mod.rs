//! The one TOML file that says what is sent.
//!
//! It is read and checked whole, with the files it names, before anything starts. serde finds wrong keys and types;
//! [`check`] finds what does not fit together. Every complaint names the file, the line, the key and what was expected.

pub mod bindings;
pub mod capture;
mod check;
pub mod model;
pub mod range;
pub mod rate;
pub mod session;
pub mod size;
pub mod traffic;

#[cfg(test)]
mod tests;

use ces_settings::{FileError, Problem};
pub use model::{Ces, Direction, Generator, Mac, Memory, Order, Port, Protocol, Stream};
use serde::Deserialize;
use std::path::Path;
use traffic::Traffic;

/// A profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Memory for packets.
    #[serde(default)]
    pub memory: Memory,
    /// The generator's threads and manners.
    #[serde(default)]
    pub generator: Generator,
    /// The ports.
    pub port: Vec<Port>,
    /// The streams.
    #[serde(default)]
    pub stream: Vec<Stream>,
    /// The sessions.
    #[serde(default)]
    pub session: Option<session::Session>,
    /// What the sessions come to. Filled by [`load`].
    #[serde(skip)]
    pub sessions: Option<session::Placed>,
    /// What the streams come to, file contents included. Filled by [`load`].
    #[serde(skip)]
    pub traffic: Vec<Traffic>,
}

/// Reads the profile in `path` and the files that it names, with other devices for some ports, by their names, and checks all of
/// it. Problems are found together.
pub fn load(path: &Path, devices: &[(String, String)]) -> Result<Profile, Vec<FileError>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| vec![FileError::unreadable(&name, &error)])?;
    parse(&name, &text, path.parent().unwrap_or(Path::new("")), devices)
}

/// Reads a text as the profile `name`, whose files are in `directory`.
pub fn parse(
    name: &str,
    text: &str,
    directory: &Path,
    devices: &[(String, String)],
) -> Result<Profile, Vec<FileError>> {
    let mut profile: Profile = ces_settings::parse(name, text).map_err(|error| vec![error])?;
    let mut problems = Vec::new();
    for (port, device) in devices {
        match profile.port.iter_mut().find(|known| known.name == *port) {
            Some(known) => known.device.clone_from(device),
            None => problems.push(Problem::new(
                "port",
                format!("there is no port \"{port}\" whose device could be {device}"),
            )),
        }
    }
    problems.extend(check::problems(&profile.memory, &profile.generator, &profile.port, &profile.stream));
    if profile.stream.is_empty() && profile.session.is_none() {
        let message = "expected at least one [[stream]], or a [session]: nothing would be sent";
        problems.push(Problem::new("stream", message));
    }
    if problems.is_empty() {
        match traffic::all(&profile.generator, &profile.port, &profile.stream, directory) {
            Ok(traffic) => profile.traffic = traffic,
            Err(found) => problems = found,
        }
    }
    if problems.is_empty()
        && let Some(session) = &profile.session
    {
        match session::place(&profile.port, session) {
            Ok(sessions) => profile.sessions = Some(sessions),
            Err(found) => problems = found,
        }
    }
    if problems.is_empty() {
        return Ok(profile);
    }
    Err(ces_settings::place(name, text, &problems))
}
