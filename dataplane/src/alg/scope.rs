//! For whom an ALG is on, and whether it does what it would do.

use crate::nat::network::networks;
use crate::wire::ipv4::within;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What is done about a protocol; of two, who wants less of it has his way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlgMode {
    /// What works outside is written instead of what does not, and what is announced is let in.
    #[default]
    On,
    /// That is shown and counted, and not done: every packet goes as it came.
    DryRun,
    /// Nobody looks.
    Off,
}

/// Hosts for which an ALG does something else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlgHosts {
    /// The hosts: their addresses, or networks.
    #[serde(deserialize_with = "networks")]
    pub networks: Vec<Ipv4Net>,
    /// What is done about theirs; as elsewhere, if that is not said.
    #[serde(default)]
    pub mode: Option<AlgMode>,
    /// And on which ports; as elsewhere, if that is not said.
    #[serde(default)]
    pub ports: Option<Vec<u16>>,
}

impl AlgHosts {
    fn has(&self, host: u32) -> bool {
        self.networks.iter().any(|net| within(host, net.network().to_bits(), net.prefix_len()))
    }
}

/// What is done about a protocol for a host, of which one speaks it on one of these ports.
pub(super) fn mode_for(
    (mode, ports): (AlgMode, &[u16]),
    hosts: &[AlgHosts],
    host: u32,
    spoken: &[u16],
) -> AlgMode {
    let own = hosts.iter().find(|hosts| hosts.has(host));
    let ports = own.and_then(|own| own.ports.as_deref()).unwrap_or(ports);
    if !spoken.iter().any(|port| ports.contains(port)) {
        return AlgMode::Off;
    }
    own.and_then(|own| own.mode).unwrap_or(mode)
}

/// A place that an ALG wrote anew, or would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The protocol.
    pub protocol: &'static str,
    /// The inside host.
    pub host: Ipv4Addr,
    /// The other end of the channel.
    pub remote: Ipv4Addr,
    /// What was said.
    pub from: (Ipv4Addr, u16),
    /// What is said instead.
    pub to: (Ipv4Addr, u16),
    /// It was only shown.
    pub is_dry: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_fits_a_host_says_what_is_done() {
        let entry = |net: &str, mode, ports: Option<&[u16]>| AlgHosts {
            networks: vec![net.parse().unwrap()],
            mode,
            ports: ports.map(<[u16]>::to_vec),
        };
        let hosts = [
            entry("10.0.0.9/32", Some(AlgMode::Off), None),
            entry("10.0.0.0/24", Some(AlgMode::DryRun), Some(&[21, 2121])),
            entry("10.0.0.0/8", None, Some(&[2121])),
        ];
        let asked = |host: u32, port| mode_for((AlgMode::On, &[21]), &hosts, host, &[port]);
        assert_eq!([21, 2121].map(|port| asked(0x0a00_0009, port)), [AlgMode::Off; 2]);
        assert_eq!([21, 2121].map(|port| asked(0x0a00_0008, port)), [AlgMode::DryRun; 2]);
        assert_eq!([21, 2121].map(|port| asked(0x0a01_0008, port)), [AlgMode::Off, AlgMode::On]);
        assert_eq!([21, 2121].map(|port| asked(0x0b00_0008, port)), [AlgMode::On, AlgMode::Off]);
    }
}
