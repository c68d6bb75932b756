//! A gateway's bindings, as `cesctl --json show bindings` prints them: what their packets look like.

use ces_dataplane::msg::Encapsulation;
use serde::Deserialize;
use std::net::Ipv4Addr;
use std::path::Path;

/// As much of a tunnel as its packets need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Tunnel {
    /// Its encapsulation.
    pub encapsulation: Encapsulation,
    /// The gateway's locator.
    pub local: Ipv4Addr,
    /// The peer's locator.
    pub remote: Ipv4Addr,
    /// The tunnel id on what reaches the gateway.
    pub id_in: u32,
}

/// As much of a binding as its packets need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Binding {
    /// The gateway's session tag.
    pub tag: u32,
    /// The peer's session tag.
    pub remote_tag: u32,
    /// The host's address.
    pub host: Ipv4Addr,
    /// The address that stands for the far host.
    pub proxy: Ipv4Addr,
    /// The tunnel; none for a binding between two hosts inside.
    #[serde(default)]
    pub tunnel: Option<Tunnel>,
    /// The only IP protocol carried.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// The only port carried.
    #[serde(default)]
    pub port: Option<u16>,
}

/// Reads a list of bindings.
pub fn read(path: &Path) -> Result<Vec<Binding>, String> {
    // Whole, since serde_json reads slices much faster than files: a million bindings are some 350 MB.
    let text = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let bindings: Vec<Binding> = serde_json::from_slice(&text).map_err(|error| {
        format!("{} is not what `cesctl --json show bindings` prints: {error}", path.display())
    })?;
    if bindings.is_empty() {
        return Err(format!("{} has no bindings", path.display()));
    }
    Ok(bindings)
}
