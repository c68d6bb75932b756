//! The realm that all devices under test serve: who the hosts and peers are, and what each binding translates to.
//!
//! It is the plan of `ces-perf`, so that the same bindings are measured in process, over ports, and beside the others; but
//! the peers' tags are ordinary unicast addresses. A gateway takes any 32 bits there. A kernel that shall route by them does
//! not.

use ces_dataplane::msg::{Binding, Command, Encapsulation, Far, Tunnel};
use ces_dataplane::settings::WorkerSettings;
use ces_dataplane::tag::{Handle, TagCipher};
use ces_perf::random::shuffled;
use ces_perf::realm::{PlanWay, RealmPlan, host_mac};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Hosts, peers and bindings.
#[derive(Debug)]
pub(crate) struct Realm {
    pub plan: RealmPlan,
    pub settings: WorkerSettings,
    cipher: TagCipher,
}

/// What a binding is for a device under test. Without a tunnel the tags are the addresses that it translates to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub host: Ipv4Addr,
    pub proxy: Ipv4Addr,
    /// Of the host, or without a tunnel of the other one.
    pub host_mac: [u8; 6],
    pub tag: Ipv4Addr,
    pub remote_tag: Ipv4Addr,
    pub tunnel: Option<Tunnel>,
}

impl Realm {
    /// So many bindings; `local`: from host to host.
    pub(crate) fn new(
        bindings: u32,
        peers: u16,
        encapsulation: Encapsulation,
        local: bool,
    ) -> Result<Self, String> {
        let way = if local { PlanWay::Local } else { PlanWay::Egress };
        let plan =
            RealmPlan { tunnels: peers, encapsulation, unicast: true, ..RealmPlan::new(way, bindings) };
        let settings = plan.settings();
        settings.check().map_err(|error| error.to_string())?;
        let cipher = TagCipher::new(settings.tag_key);
        Ok(Self { plan, settings, cipher })
    }

    /// How many bindings there are.
    pub(crate) fn len(&self) -> u32 {
        self.plan.entries
    }

    /// All that a worker is told, bindings in random order.
    pub(crate) fn commands(&self) -> impl Iterator<Item = Command> + use<'_> {
        let insert = |entry| Command::InsertBinding(self.handle(entry), self.plan.binding(entry));
        self.plan.surroundings().chain(shuffled(self.len(), 1).into_iter().map(insert))
    }

    /// The handle of a binding.
    pub(crate) fn handle(&self, entry: u32) -> Handle {
        RealmPlan::handle(&self.settings, 0, entry, 0)
    }

    /// A binding.
    pub(crate) fn pair(&self, entry: u32) -> Pair {
        let Binding { host, proxy, far, .. } = self.plan.binding(entry);
        let pair = |at: Ipv4Addr, tag, remote_tag, tunnel| {
            let host_mac = host_mac(at.to_bits());
            Pair { host, proxy, host_mac, tag: Ipv4Addr::from_bits(tag), remote_tag, tunnel }
        };
        match far {
            Far::Tunnel { tunnel, remote_tag } => {
                let tunnel = Some(self.plan.peer(u32::from(tunnel.0)));
                pair(host, self.cipher.tag(self.handle(entry)).0, Ipv4Addr::from_bits(remote_tag), tunnel)
            }
            Far::Local { source, destination } => pair(destination, source.to_bits(), destination, None),
        }
    }

    /// The bindings as `cesctl --json show bindings` prints what a generator reads of them, and the hosts' MAC addresses.
    pub(crate) fn exported(&self) -> impl Iterator<Item = Value> + use<'_> {
        (0..self.len()).map(|entry| {
            let Pair { host, proxy, host_mac, tag, remote_tag, tunnel } = self.pair(entry);
            let host_mac = host_mac.map(|byte| format!("{byte:02x}")).join(":");
            let tunnel = tunnel.map(|tunnel| {
                let Tunnel { encapsulation, local, remote, id_in, id_out, mtu, .. } = tunnel;
                json!({ "encapsulation": encapsulation, "local": local, "remote": remote, "id_in": id_in,
                        "id_out": id_out, "mtu": mtu })
            });
            json!({ "host": host, "proxy": proxy, "tag": tag.to_bits(), "remote_tag": remote_tag.to_bits(),
                    "tunnel": tunnel, "host_mac": host_mac })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_is_exported_names_addresses_tags_and_tunnel() {
        let realm = Realm::new(20, 3, Encapsulation::Vxlan, false).unwrap();
        let all: Vec<Value> = realm.exported().collect();
        let (first, pair) = (&all[0], realm.pair(0));
        assert_eq!(all.len(), 20);
        assert_eq!(first["host"], pair.host.to_string());
        assert_eq!(first["proxy"], pair.proxy.to_string());
        assert_eq!(first["tag"], pair.tag.to_bits());
        assert_eq!(first["remote_tag"], pair.remote_tag.to_bits());
        assert_eq!(first["tunnel"]["encapsulation"], "vxlan");
        assert_eq!(first["tunnel"]["remote"], pair.tunnel.unwrap().remote.to_string());
        let peers: HashSet<String> = (0..3).map(|peer| realm.plan.peer(peer).remote.to_string()).collect();
        let remotes = all.iter().filter_map(|binding| binding["tunnel"]["remote"].as_str());
        assert!(remotes.clone().count() == 20 && remotes.clone().all(|remote| peers.contains(remote)));
    }

    #[test]
    fn peers_tags_are_unicast_addresses_of_their_own() {
        let realm = Realm::new(5000, 16, Encapsulation::Vxlan, false).unwrap();
        let tags: HashSet<Ipv4Addr> = (0..5000).map(|entry| realm.pair(entry).remote_tag).collect();
        assert_eq!(tags.len(), 5000);
        assert!(tags.iter().all(|tag| (16..20).contains(&tag.octets()[0])), "{tags:?}");
        let local = Realm::new(20, 3, Encapsulation::Vxlan, true).unwrap();
        assert!(local.pair(3).tunnel.is_none() && local.pair(3).tag == local.pair(3).proxy);
    }
}
