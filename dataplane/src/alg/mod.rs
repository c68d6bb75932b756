//! Application layer gateways: protocols that name addresses and ports in what they say. Here is what needs no table: which
//! of them are on, and for whom ([`scope`]), how they are read, by lines ([`ftp`]) or by messages ([`talk`]), and what rewriting
//! does to a TCP stream ([`shift`]) or to a message ([`edits`], [`sip`], [`rtsp`]).

pub mod edits;
pub mod ftp;
pub mod media;
pub mod rtsp;
pub mod scope;
pub mod shift;
pub mod sip;
pub mod talk;

use scope::{AlgHosts, AlgMode, mode_for};

/// What is configured of FTP's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ftp {
    /// The TCP ports of servers on which FTP is spoken; none: it is left alone.
    pub ports: Vec<u16>,
    /// What is done about it.
    pub mode: AlgMode,
    /// Hosts for which that is otherwise: the first entry that fits.
    pub hosts: Vec<AlgHosts>,
    /// How long a data connection is awaited that was announced, in seconds.
    pub await_s: u16,
}

impl Default for Ftp {
    fn default() -> Self {
        Self { ports: vec![21], mode: AlgMode::On, hosts: Vec::new(), await_s: 60 }
    }
}

impl Ftp {
    /// What is done about the control channels of a host with servers at this port, its own or others.
    pub fn mode(&self, host: u32, port: u16) -> AlgMode {
        mode_for((self.mode, &self.ports), &self.hosts, host, &[port])
    }
}

/// What is configured of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alg {
    /// FTP.
    pub ftp: Ftp,
    /// SIP.
    pub sip: sip::Sip,
    /// RTSP.
    pub rtsp: rtsp::Rtsp,
}
