//! The bindings of a realm as `cesctl --json show bindings` prints them, for a generator that makes their packets.

use crate::frame;
use crate::realm::Realm;
use ces_dataplane::io::pcap::Writer;
use ces_gateway::snapshot::{BindingSnapshot, Role, TunnelSnapshot};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// All bindings of a realm. Peers are named by their number, hosts by their address.
pub fn bindings(realm: &Realm) -> Vec<BindingSnapshot> {
    let mut of_tunnel = vec![0; realm.tunnels().len()];
    for pair in realm.pairs() {
        of_tunnel[usize::from(pair.tunnel)] += 1;
    }
    let tunnels: Vec<TunnelSnapshot> = realm
        .tunnels()
        .iter()
        .zip(of_tunnel)
        .enumerate()
        .map(|(number, (tunnel, bindings))| TunnelSnapshot {
            peer: Arc::from(format!("peer{number}")),
            encapsulation: tunnel.encapsulation,
            local: tunnel.local,
            remote: tunnel.remote,
            id_in: tunnel.id_in,
            id_out: tunnel.id_out,
            mtu: tunnel.mtu,
            bindings,
        })
        .collect();
    realm
        .pairs()
        .map(|pair| {
            let tunnel = (!realm.is_local()).then(|| &tunnels[usize::from(pair.tunnel)]);
            BindingSnapshot {
                tag: pair.tag.to_bits(),
                remote_tag: if realm.is_local() { 0 } else { pair.remote_tag.to_bits() },
                role: if realm.is_local() { Role::Local } else { Role::Initiator },
                local: Arc::from(pair.host.to_string()),
                remote: Arc::from(pair.remote_tag.to_string()),
                host: pair.host,
                proxy: pair.proxy,
                peer: tunnel.map(|tunnel| Arc::clone(&tunnel.peer)),
                tunnel: tunnel.cloned(),
                idle_s: 0,
                hard_s: 0,
                age_s: 0,
                protocol: None,
                port: None,
                rate_bps: None,
                worker: 0,
                stats: None,
            }
        })
        .collect()
}

/// Writes them to a file.
pub fn write(realm: &Realm, file: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", file.display());
    let mut out = BufWriter::new(std::fs::File::create(file).map_err(|error| failed(&error))?);
    serde_json::to_writer(&mut out, &bindings(realm)).map_err(|error| failed(&error))?;
    out.flush().map_err(|error| failed(&error))
}

/// Writes a capture with one packet of each binding's host, in frames of this size: the flows for devices that make no
/// tunnel packets of them.
pub fn write_capture(realm: &Realm, size: u16, file: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let out = BufWriter::new(std::fs::File::create(file).map_err(failed)?);
    let mut capture = Writer::new(out).map_err(failed)?;
    for entry in 0..realm.len() {
        capture.write(0, &frame::sized(realm, entry, size)).map_err(failed)?;
    }
    capture.finish().and_then(|mut out| out.flush()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::msg::Encapsulation;

    #[test]
    fn what_is_exported_names_addresses_tags_and_tunnel() {
        let realm = Realm::new(20, 3, Encapsulation::Vxlan, false).unwrap();
        let value = serde_json::to_value(bindings(&realm)).unwrap();
        let first = &value[0];
        let pair = realm.pair(0);
        assert_eq!(value.as_array().unwrap().len(), 20);
        assert_eq!(first["host"], pair.host.to_string());
        assert_eq!(first["proxy"], pair.proxy.to_string());
        assert_eq!(first["tag"], pair.tag.to_bits());
        assert_eq!(first["remote_tag"], pair.remote_tag.to_bits());
        assert_eq!(first["tunnel"]["encapsulation"], "vxlan");
        assert_eq!(first["tunnel"]["remote"], realm.tunnels()[usize::from(pair.tunnel)].remote.to_string());
        let all: u64 = (0..3).map(|peer| format!("peer{peer}")).fold(0, |sum, peer| {
            let of = value.as_array().unwrap().iter().find(|binding| binding["peer"] == *peer);
            sum + of.map_or(0, |binding| binding["tunnel"]["bindings"].as_u64().unwrap())
        });
        assert_eq!(all, 20);
    }
}
