//! What is not translated: traffic between inside networks and networks of the world that know the way back (RFC 6888 §3,
//! REQ-6). It has sessions as all other, whose host is seen under its own address, and the filter judges it.

use super::network::network;
use crate::wire::ipv4::within;
use ipnet::Ipv4Net;
use serde::Deserialize;

/// A pair of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The hosts.
    #[serde(deserialize_with = "network")]
    pub inside: Ipv4Net,
    /// Whom they reach, and who may reach them where a rule of the filter allows it, as they are.
    #[serde(deserialize_with = "network")]
    pub outside: Ipv4Net,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Exceptions(Vec<Exception>);

impl From<Vec<Exception>> for Exceptions {
    fn from(pairs: Vec<Exception>) -> Self {
        Self(pairs)
    }
}

fn has(net: Ipv4Net, address: u32) -> bool {
    within(address, net.network().to_bits(), net.prefix_len())
}

impl Exceptions {
    /// As they are configured.
    pub fn pairs(&self) -> &[Exception] {
        &self.0
    }

    /// Whether what these two send each other is left as it is.
    pub fn are_between(&self, host: u32, remote: u32) -> bool {
        self.0.iter().any(|pair| has(pair.inside, host) && has(pair.outside, remote))
    }

    /// Whether the host is seen under its own address by anybody.
    #[inline(always)]
    pub fn are_of(&self, host: u32) -> bool {
        self.0.iter().any(|pair| has(pair.inside, host))
    }
}
