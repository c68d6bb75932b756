//! Names that are never asked of the upstream resolver.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::reverse;

/// Top-level names that the Internet's DNS does not have by agreement: `localhost` and `invalid` (RFC 6761 §6.3,
/// §6.4), `onion` (RFC 7686 §2), `local` (RFC 6762 §22.1), `alt` (RFC 9476 §2).
const RESERVED: [&[u8]; 5] = [b"localhost", b"invalid", b"onion", b"local", b"alt"];

/// Whether a name means nothing outside of this realm: asked for, it is NXDOMAIN. That covers the reserved top-level
/// names and the reverse names of private, loopback and link-local addresses (RFC 6303 §4).
pub fn is_local(name: &Name) -> bool {
    let Some(top) = name.iter().next_back() else { return false };
    if RESERVED.iter().any(|reserved| top.eq_ignore_ascii_case(reserved)) {
        return true;
    }
    match reverse::address(name) {
        Some(IpAddr::V4(ip)) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.octets()[0] == 0
                || ip.is_broadcast()
        }
        Some(IpAddr::V6(ip)) => {
            ip.is_unspecified() || ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_meaning_outside_stay_here() {
        for text in
            ["localhost.", "a.Localhost.", "x.onion.", "1.0.0.10.in-addr.arpa.", "1.0.168.192.in-addr.arpa."]
        {
            assert!(is_local(&crate::name(text).unwrap()), "{text}");
        }
        for text in [".", "www.b.demo.", "localhost.b.demo.", "8.8.8.8.in-addr.arpa.", "in-addr.arpa."] {
            assert!(!is_local(&crate::name(text).unwrap()), "{text}");
        }
    }
}
