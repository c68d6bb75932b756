//! How many neighbours the kernel keeps.
//!
//! It has one table for all interfaces and network namespaces of the machine. As delivered, above 512 entries it throws out
//! what is older than 5 s, and above 1,024 it takes no new one (arp(7), `gc_thresh2` and `gc_thresh3`): a gateway with a
//! thousand hosts would not learn some of their MAC addresses, and could not even answer the ARP requests of others.

use std::fs;
use std::path::Path;

/// The limits' directory; there only in the machine's first network namespace.
const LIMITS: &str = "/proc/sys/net/ipv4/neigh/default";

/// Room for as many next hops as the gateway may have: nothing is thrown out below that, and twice as many fit, so that
/// the machine's other networks find room too. Limits are only ever raised.
pub fn make_room(next_hops: u32) {
    for (limit, wanted) in [("gc_thresh3", 2 * u64::from(next_hops)), ("gc_thresh2", u64::from(next_hops))] {
        let path = Path::new(LIMITS).join(limit);
        match raise(&path, wanted) {
            Ok(None) => {}
            Ok(Some(before)) => {
                tracing::info!("net.ipv4.neigh.default.{limit} was {before}: raised to {wanted}");
            }
            // A network namespace of its own: what is full will be said when it is.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                "net.ipv4.neigh.default.{limit} cannot be raised to {wanted}, for as many neighbours: {error}"
            ),
        }
    }
}

/// Writes `wanted` where less stands; what stood there then.
fn raise(path: &Path, wanted: u64) -> std::io::Result<Option<u64>> {
    let now = fs::read_to_string(path)?.trim().parse().map_err(std::io::Error::other)?;
    if now >= wanted {
        return Ok(None);
    }
    fs::write(path, wanted.to_string())?;
    Ok(Some(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let path = std::env::temp_dir().join(format!("ces-neighbour-limit-{}", std::process::id()));
        fs::write(&path, "512\n").unwrap();
        assert_eq!(raise(&path, 2048).unwrap(), Some(512));
        assert_eq!(raise(&path, 1024).unwrap(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "2048");
        fs::write(&path, "many").unwrap();
        assert!(raise(&path, 1024).is_err());
        fs::remove_file(&path).unwrap();
        assert_eq!(raise(&path, 1024).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
