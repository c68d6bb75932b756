//! Application layer gateways: protocols that name addresses and ports in what they say. Here is what needs no table: which
//! of them are on, how they are read, and what rewriting does to a TCP stream ([`shift`]).

pub mod ftp;
pub mod shift;

/// What is configured of FTP's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ftp {
    /// The TCP ports of servers on which FTP is spoken; none: it is left alone.
    pub ports: Vec<u16>,
    /// How long a data connection is awaited that was announced, in seconds.
    pub await_s: u16,
}

impl Default for Ftp {
    fn default() -> Self {
        Self { ports: vec![21], await_s: 60 }
    }
}

/// What is configured of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alg {
    /// FTP.
    pub ftp: Ftp,
}
