//! A line for the log, as data: the driver formats, limits and writes it.

use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For who looks closely.
    Debug,
    /// What happens in the ordinary course: a session begins, ends, is refused.
    Info,
    /// What an operator should look at: a table is full, a peer misbehaves.
    Warn,
}

/// One line. Absent fields are not printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: Severity,
    /// What happened, the same words each time: what a person searches for.
    pub event: &'static str,
    /// The local host or service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The far host or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Arc<str>>,
    /// The peer's CES id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Arc<str>>,
    /// The address concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Our session tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
}

impl LogLine {
    /// A line with nothing but its event.
    pub fn new(level: Severity, event: &'static str) -> Self {
        Self { level, event, host: None, remote: None, peer: None, address: None, tag: None, reason: None }
    }

    /// With the local host or service.
    pub fn host(mut self, host: &Arc<str>) -> Self {
        self.host = Some(Arc::clone(host));
        self
    }

    /// With the far name.
    pub fn remote(mut self, remote: &Arc<str>) -> Self {
        self.remote = Some(Arc::clone(remote));
        self
    }

    /// With the peer.
    pub fn peer(mut self, peer: &Arc<str>) -> Self {
        self.peer = Some(Arc::clone(peer));
        self
    }

    /// With an address.
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// With our session tag.
    pub fn tag(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// With the reason.
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl std::fmt::Display for LogLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.event)?;
        if let Some(host) = &self.host {
            write!(f, " host={host}")?;
        }
        if let Some(remote) = &self.remote {
            write!(f, " remote={remote}")?;
        }
        if let Some(peer) = &self.peer {
            write!(f, " peer={peer}")?;
        }
        if let Some(address) = &self.address {
            write!(f, " address={address}")?;
        }
        if let Some(tag) = &self.tag {
            write!(f, " tag={tag:08x}")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, " reason={reason:?}")?;
        }
        Ok(())
    }
}
