//! Media that a control channel announces, whatever its protocol.

/// Who may send media to what a host has announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaFrom {
    /// The other end of the control channel, and whom the host sends to itself.
    #[default]
    Peer,
    /// Whoever the other end says that media comes from, instead.
    Announced,
}

/// What is configured that media depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaRules {
    /// How long it is awaited, in seconds.
    pub await_s: u16,
    /// From whom.
    pub media_from: MediaFrom,
    /// Calls, or sessions of streams, that one host may have.
    pub host_calls: u16,
    /// How long one is known in which nothing is said, in seconds.
    pub dialog_s: u16,
}

/// A stream of media, as its receiver announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaStream {
    /// Its port; 0: it is not wanted.
    pub port: u16,
    /// The one of its RTCP, if there is any.
    pub rtcp: Option<u16>,
    /// RTCP may come by the same port (RFC 5761).
    pub is_muxed: bool,
}

impl MediaStream {
    /// None.
    pub const NONE: Self = Self { port: 0, rtcp: None, is_muxed: false };
}
