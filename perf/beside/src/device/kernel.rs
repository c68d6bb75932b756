//! The Linux kernel between two veth interfaces: forwarding, nftables NAT, and VXLAN with nftables rewriting.

use super::veth::{DEVICE, Veth, shell};
use super::{Device, Own, Reach, Setting, Wire};
use crate::process::{Line, Place, Process};
use crate::realm::{Realm, mac};
use crate::soaker::{Shares, Soaker, Spent};
use serde::Serialize;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

/// What it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// Routing.
    Forward,
    /// Source NAT.
    Nat,
    /// Source NAT, and a flow table for what is known.
    NatFlowtable,
    /// Addresses by maps, VXLAN by routes.
    Vxlan,
}

const WAIT: Duration = Duration::from_mins(1);
/// The next hop inside the tunnel interface: never seen outside of it.
const TUNNEL_HOP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

struct Kernel {
    veth: Veth,
    reach: Reach,
    soaker: Soaker,
    /// Whose the core was at the last look.
    spent: Spent,
    /// And from the first look to the last.
    core: Shares,
}

/// Sets it up with these rules for the realm.
pub fn start(rules: Rules, setting: Setting) -> Result<impl Device + use<>, String> {
    if setting.wire != Wire::Veth {
        return Err("the kernel runs over veth only".to_owned());
    }
    let veth = Veth::new(&setting)?;
    let namespace = veth.device_namespace();
    shell(&namespace, SYSCTLS)?;
    let place = Place { core: None, namespace: Some(namespace) };
    let batch = |text: &str| Line::new(&place, "ip").args(["-batch", "-"]).feed(text, WAIT).map(drop);
    batch(&roads(setting.realm))?;
    if rules == Rules::Vxlan {
        batch(&tunnels(setting.realm))?;
    }
    let nft = match rules {
        Rules::Forward => String::new(),
        Rules::Nat => nat(setting.realm, false),
        Rules::NatFlowtable => nat(setting.realm, true),
        Rules::Vxlan => rewriting(setting.realm),
    };
    Line::new(&place, "nft").args(["-f", "-"]).feed(&nft, WAIT)?;
    let soaker = Soaker::start(setting.core)?;
    let (reach, spent) = (Reach::veth(&setting, &veth), soaker.spent()?);
    Ok(Kernel { veth, reach, soaker, spent, core: Shares::default() })
}

/// A router that takes packets from anywhere and complains to nobody.
const SYSCTLS: &str = "cd /proc/sys/net/ipv4; echo 1 > ip_forward
for i in conf/*; do echo 0 > $i/rp_filter; echo 0 > $i/send_redirects; echo 1 > $i/accept_local; done";

/// Addresses and routes: hosts on the link, everything else behind the router. All neighbours are known.
fn roads(realm: &Realm) -> String {
    let ((inside, inside_prefix), (outside, outside_prefix)) = (realm.inside_address(), realm.locator());
    let [inside_port, outside_port] = DEVICE;
    let router = Ipv4Addr::from_bits(outside.to_bits() + 1);
    let mut text = format!(
        "addr add {inside}/{inside_prefix} dev {inside_port}\naddr add {outside}/{outside_prefix} dev {outside_port}\n\
         neigh replace {router} lladdr {} dev {outside_port} nud permanent\n\
         route add default via {router} dev {outside_port}\n",
        mac(realm.router_mac())
    );
    let hosts: std::collections::BTreeMap<_, _> =
        realm.pairs().map(|pair| (pair.host, pair.host_mac)).collect();
    for (host, address) in hosts {
        let _ =
            writeln!(text, "neigh replace {host} lladdr {} dev {inside_port} nud permanent", mac(address));
    }
    text
}

/// One tunnel interface for all peers; a route for each binding says to which peer and with which id.
fn tunnels(realm: &Realm) -> String {
    let mut text =
        "link add tunnels type vxlan external dstport 4789 nolearning\nlink set tunnels up\n".to_owned();
    // No matter which: the far gateway takes everything.
    let _ = writeln!(text, "neigh replace {TUNNEL_HOP} lladdr 02:00:00:00:02:02 dev tunnels nud permanent");
    for pair in realm.pairs() {
        let tunnel = realm.tunnels()[usize::from(pair.tunnel)];
        let _ = writeln!(
            text,
            "route add {}/32 encap ip id {} src {} dst {} ttl 64 via {TUNNEL_HOP} dev tunnels onlink",
            pair.remote_tag, tunnel.id_out, tunnel.local, tunnel.remote
        );
    }
    text
}

/// Addresses by maps, without connection tracking. Outward, the destination is replaced before routing, which goes by it, and
/// the source afterwards, since the kernel would not route every 32 bits as a source. Inward, both before.
pub fn rewriting(realm: &Realm) -> String {
    let [inside, _] = DEVICE;
    let (mut remote, mut tag, mut proxy, mut host) =
        (String::new(), String::new(), String::new(), String::new());
    for pair in realm.pairs() {
        let _ = write!(remote, "{} . {} : {}, ", pair.host, pair.proxy, pair.remote_tag);
        let _ = write!(tag, "{} : {}, ", pair.remote_tag, pair.tag);
        let _ = write!(proxy, "{} . {} : {}, ", pair.remote_tag, pair.tag, pair.proxy);
        let _ = write!(host, "{} : {}, ", pair.tag, pair.host);
    }
    format!(
        "table ip ces {{
    map remote {{ type ipv4_addr . ipv4_addr : ipv4_addr; elements = {{ {remote} }}; }}
    map tag {{ type ipv4_addr : ipv4_addr; elements = {{ {tag} }}; }}
    map proxy {{ type ipv4_addr . ipv4_addr : ipv4_addr; elements = {{ {proxy} }}; }}
    map host {{ type ipv4_addr : ipv4_addr; elements = {{ {host} }}; }}
    chain before {{
        type filter hook prerouting priority raw;
        iifname {inside} ip daddr set ip saddr . ip daddr map @remote
        iifname tunnels ip saddr set ip saddr . ip daddr map @proxy
        iifname tunnels ip daddr set ip daddr map @host
    }}
    chain after {{
        type filter hook postrouting priority 300;
        oifname tunnels ip saddr set ip daddr map @tag
    }}
}}
table netdev ces {{
    # The inner Ethernet header carries no addresses; without this the kernel takes the packets for another station's.
    chain arrival {{
        type filter hook ingress device tunnels priority 0;
        meta pkttype set host
    }}
}}
"
    )
}

/// Source NAT to the locator.
pub fn nat(realm: &Realm, flowtable: bool) -> String {
    let [inside, outside] = DEVICE;
    let (locator, _) = realm.locator();
    let mut text = format!(
        "table ip ces {{
    chain after {{
        type nat hook postrouting priority srcnat;
        oifname {outside} snat to {locator}
    }}
"
    );
    if flowtable {
        let _ = write!(
            text,
            "    flowtable known {{ hook ingress priority 0; devices = {{ {inside}, {outside} }}; }}
    chain between {{
        type filter hook forward priority 0;
        ip protocol udp flow add @known
    }}
"
        );
    }
    text + "}\n"
}

impl Device for Kernel {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn process(&mut self) -> Option<&mut Process> {
        None
    }

    /// What the kernel took of the core, for the packets that reached the interfaces.
    fn own(&mut self) -> Result<Own, String> {
        let script = DEVICE.map(|name| format!("cat /sys/class/net/{name}/statistics/rx_packets")).join("; ");
        let text = shell(&self.veth.device_namespace(), &script)?;
        let packets = text.lines().filter_map(|line| line.trim().parse::<u64>().ok()).sum::<u64>();
        let spent = self.soaker.spent()?;
        self.core += self.soaker.between(&self.spent, &spent);
        self.spent = spent;
        Ok(Own { cycles: self.core.kernel, packets: packets as f64, core: Some(self.core) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::msg::Encapsulation;

    #[test]
    fn every_binding_is_in_every_map() {
        let realm = Realm::new(50, 4, Encapsulation::Vxlan, false).unwrap();
        let text = rewriting(&realm);
        let pair = realm.pair(33);
        for element in [
            format!("{} . {} : {},", pair.host, pair.proxy, pair.remote_tag),
            format!("{} : {},", pair.remote_tag, pair.tag),
            format!("{} . {} : {},", pair.remote_tag, pair.tag, pair.proxy),
            format!("{} : {},", pair.tag, pair.host),
        ] {
            assert_eq!(text.matches(&element).count(), 1, "{element}");
        }
        assert_eq!(tunnels(&realm).lines().filter(|line| line.starts_with("route")).count(), 50);
        assert!(nat(&realm, true).contains("flow add") && !nat(&realm, false).contains("flow"));
        assert_eq!(roads(&realm).matches("nud permanent").count(), 1 + 4); // 16 bindings a host
    }
}
