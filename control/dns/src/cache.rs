//! Upstream answers, positive and negative, for as long as their TTLs say.

use serde::Deserialize;

/// What the cache may hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Questions.
    pub entries: u32,
    /// Octets, keys and bookkeeping included.
    pub bytes: u64,
    /// Shorter TTLs are kept this long, seconds.
    pub min_ttl_s: u32,
    /// Longer TTLs are cut to this, seconds.
    pub max_ttl_s: u32,
    /// Longer negative TTLs are cut to this, seconds (RFC 2308 §5 suggests one to three hours).
    pub max_negative_ttl_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 << 20, min_ttl_s: 0, max_ttl_s: 86_400, max_negative_ttl_s: 3_600 }
    }
}
