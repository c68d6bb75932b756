//! What `cesctl` asks and `cesd` answers.
//!
//! A request is one line. Its answer is one line, [`Response::Ok`] or [`Response::Error`]; a trace sends lines of
//! [`Response::Item`] before.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// Longest request in bytes.
pub const REQUEST_BYTES: usize = 4096;
/// The most packets that one trace records.
pub const TRACE_MAX: u32 = 100_000;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Interfaces: addresses, link, packets and bytes by direction
    Ports,
    /// Worker threads: load, bursts, rings
    Workers,
    /// Bindings between hosts and far hosts, with their counters
    Bindings,
    /// Other gateways, blocked addresses, filters
    Peers,
    /// The realm's hosts
    Hosts,
    /// The name service: queries and negotiations by outcome
    Dns,
    /// Dropped packets by reason
    Drops,
    /// Tunnels to other gateways
    Tunnels,
    /// Next hops and routes, as the kernel tells them
    Neighbours,
    /// How full the pools are
    Pools,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Show something.
    Show {
        /// What.
        topic: Topic,
    },
    /// Record the next packets that match.
    Trace {
        /// Source or destination, outer or inner.
        #[serde(default)]
        address: Option<Ipv4Addr>,
        /// Name of the port of arrival.
        #[serde(default)]
        port: Option<String>,
        /// The innermost IP protocol.
        #[serde(default)]
        protocol: Option<u8>,
        /// Only what is dropped.
        #[serde(default)]
        dropped: bool,
        /// How many.
        count: u32,
    },
    /// Read the configuration, hosts, policies and certificates again.
    Reload,
    /// End a session by our tag.
    TerminateSession {
        /// Our session tag.
        tag: u32,
    },
    /// End all sessions with a peer.
    TerminateSessions {
        /// Its CES id.
        peer: String,
    },
    /// End signalling with a peer and all sessions.
    TerminatePeer {
        /// Its CES id.
        peer: String,
    },
    /// Refuse a host for a while.
    BlockHost {
        /// Its name.
        host: String,
        /// Seconds.
        seconds: u64,
    },
    /// Let a host act again.
    UnblockHost {
        /// Its name.
        host: String,
    },
    /// Refuse an address as a sender of CETP for a while.
    BlockAddress {
        /// The address.
        address: IpAddr,
        /// Seconds.
        seconds: u64,
    },
    /// Let an address in again.
    UnblockAddress {
        /// The address.
        address: IpAddr,
    },
    /// Forget what the resolver's cache knows.
    Flush,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// One of several; more follow.
    Item(serde_json::Value),
    /// Done.
    Ok(serde_json::Value),
    /// Not done, and why.
    Error(String),
}

impl Response {
    /// The line that goes over the socket.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| br#"{"error":"no JSON"}"#.to_vec());
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back_and_unknown_ones_are_explained() {
        for request in [
            Request::Show { topic: Topic::Drops },
            Request::Trace {
                address: Some(Ipv4Addr::LOCALHOST),
                port: None,
                protocol: Some(1),
                dropped: true,
                count: 3,
            },
            Request::Reload,
            Request::BlockAddress { address: IpAddr::V4(Ipv4Addr::LOCALHOST), seconds: 9 },
        ] {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
        }
        assert_eq!(
            serde_json::from_str::<Request>(r#"{"do":"show","topic":"ports"}"#).unwrap(),
            Request::Show { topic: Topic::Ports }
        );
        let error = serde_json::from_str::<Request>(r#"{"do":"dance"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown variant `dance`"), "{error}");
        let error =
            serde_json::from_str::<Request>(r#"{"do":"show","topic":"moods"}"#).unwrap_err().to_string();
        assert!(error.contains("expected one of"), "{error}");
    }
}
