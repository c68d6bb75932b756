//! CES service in NAPTR records, in both forms that are in use: the tutorial's and the reference implementation's.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::NAPTR;
use serde::Deserialize;

/// How the connection to a far gateway is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// One place where a far gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub addr: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
    /// The network over which it is reached.
    pub alias: Option<Arc<str>>,
    /// NAPTR order, lower first.
    pub order: u16,
    /// NAPTR preference, lower first.
    pub preference: u16,
}

/// A far gateway as one NAPTR answer announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its CES identity, as written.
    pub ces_id: Arc<str>,
    /// Where it listens, best first.
    pub endpoints: Vec<Endpoint>,
}

/// What the tutorial's form leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// TCP port.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
}

/// What one NAPTR answer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Gateways, the one with the best record first. Empty: no CES.
    pub services: Vec<Service>,
}

/// The CES gateways among the records of an answer.
pub fn discover(_records: &[Record], _defaults: Defaults) -> Discovery {
    Discovery::default()
}

/// What the gateway says of itself, in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its own CES identity.
    pub ces_id: Arc<str>,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
}

impl Announcement {
    /// The records, those of the tutorial's form and those of the reference's.
    pub fn emit(&self) -> Vec<NAPTR> {
        Vec::new()
    }
}
