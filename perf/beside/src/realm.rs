//! The realm that all devices under test serve: who the hosts and peers are, and what each binding translates to.
//!
//! It is the plan of `ces-perf`, so that the same bindings are measured in process, over ports, and beside the others; but
//! the peers' tags are ordinary unicast addresses. A gateway takes any 32 bits there. A kernel that shall route by them does
//! not: it drops what goes to 0/8, 127/8 and 224/3 (one tag of seven).

use ces_dataplane::msg::{Binding, Command, Encapsulation, Far, Tunnel};
use ces_dataplane::settings::Settings;
use ces_dataplane::tag::{Handle, TagCipher};
use ces_perf::realm::{INSIDE, OUTSIDE, Plan, Way};
use std::net::Ipv4Addr;

/// A realm.
#[derive(Debug)]
pub struct Realm {
    /// How many bindings over how many peers.
    plan: Plan,
    /// The worker's settings for it.
    pub settings: Settings,
    tunnels: Vec<Tunnel>,
    /// Next hops by number.
    neighbours: Vec<[u8; 6]>,
    cipher: TagCipher,
}

/// A binding as every device has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The host inside.
    pub host: Ipv4Addr,
    /// The MAC address of the host that gets what arrives: it, or the other one of a local binding.
    pub host_mac: [u8; 6],
    /// The address that stands for the far host.
    pub proxy: Ipv4Addr,
    /// Our session tag: inner source of what is sent, inner destination of what arrives. Of a local binding: the new source.
    pub tag: Ipv4Addr,
    /// The peer's session tag: inner destination of what is sent, inner source of what arrives. Of a local binding: the new
    /// destination.
    pub remote_tag: Ipv4Addr,
    /// The number of its tunnel.
    pub tunnel: u16,
}

impl Realm {
    /// A realm with so many bindings over so many peers, or with `local` between hosts of its own.
    pub fn new(bindings: u32, peers: u16, encapsulation: Encapsulation, local: bool) -> Result<Self, String> {
        let way = if local { Way::Local } else { Way::Egress };
        let plan = Plan { tunnels: peers, encapsulation, ..Plan::new(way, bindings) };
        let settings = plan.settings();
        settings.check().map_err(|error| error.to_string())?;
        let (mut tunnels, mut neighbours) = (Vec::new(), Vec::new());
        for command in plan.surroundings() {
            match command {
                Command::SetTunnel(_, tunnel) => tunnels.push(tunnel),
                Command::SetNeighbour(_, neighbour) => neighbours.push(neighbour.mac.unwrap_or_default()),
                _ => {}
            }
        }
        let cipher = TagCipher::new(settings.tag_key);
        Ok(Self { plan, settings, tunnels, neighbours, cipher })
    }

    /// How many bindings there are.
    pub fn len(&self) -> u32 {
        self.plan.entries
    }

    /// Whether its bindings are between hosts of its own.
    pub fn is_local(&self) -> bool {
        self.plan.way == Way::Local
    }

    /// Never: a realm is for measuring.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The commands that fill a worker's tables.
    pub fn commands(&self) -> impl Iterator<Item = Command> + use<'_> {
        let bindings = ces_perf::realm::shuffled(self.len(), 1)
            .into_iter()
            .map(|entry| Command::InsertBinding(self.handle(entry), self.binding(entry)));
        self.plan.surroundings().chain(bindings)
    }

    fn handle(&self, entry: u32) -> Handle {
        Plan::handle(&self.settings, 0, entry, 0)
    }

    /// Binding number `entry` as the worker has it.
    pub fn binding(&self, entry: u32) -> Binding {
        let mut binding = self.plan.binding(entry);
        if let Far::Tunnel { remote_tag, .. } = &mut binding.far {
            *remote_tag = self::remote_tag(entry);
        }
        binding
    }

    /// Binding number `entry` as everybody has it.
    pub fn pair(&self, entry: u32) -> Pair {
        let Binding { host, proxy, far, neighbour, .. } = self.binding(entry);
        let host_mac = self.neighbours[neighbour.0 as usize];
        match far {
            Far::Tunnel { tunnel, remote_tag } => Pair {
                host,
                host_mac,
                proxy,
                tag: Ipv4Addr::from_bits(self.cipher.tag(self.handle(entry)).0),
                remote_tag: Ipv4Addr::from_bits(remote_tag),
                tunnel: tunnel.0,
            },
            Far::Local { source, destination } => {
                Pair { host, host_mac, proxy, tag: source, remote_tag: destination, tunnel: 0 }
            }
        }
    }

    /// All bindings.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> + use<'_> {
        (0..self.len()).map(|entry| self.pair(entry))
    }

    /// The tunnels, one for each peer.
    pub fn tunnels(&self) -> &[Tunnel] {
        &self.tunnels
    }

    /// The router outside, through which all peers are reached.
    pub fn router_mac(&self) -> [u8; 6] {
        self.neighbours[0]
    }

    /// The gateway's MAC address inside.
    pub fn inside_mac(&self) -> [u8; 6] {
        self.settings.ports[usize::from(INSIDE)].mac
    }

    /// The gateway's MAC address outside.
    pub fn outside_mac(&self) -> [u8; 6] {
        self.settings.ports[usize::from(OUTSIDE)].mac
    }

    /// The gateway's address inside and its prefix length.
    pub fn inside_address(&self) -> (Ipv4Addr, u8) {
        self.settings.ports[usize::from(INSIDE)].addresses[0]
    }

    /// The gateway's locator and its prefix length.
    pub fn locator(&self) -> (Ipv4Addr, u8) {
        self.settings.ports[usize::from(OUTSIDE)].addresses[0]
    }
}

/// Where the peers' tags are: 16.0.0.0/6.
const REMOTE_TAGS: u32 = 0x1000_0000;
/// How many there are; more than a plan has bindings (16 million).
const REMOTE_TAGS_COUNT: u32 = 1 << 26;

/// The tag that the peer chose for binding number `entry`. Consecutive ones look random; an odd factor keeps them apart.
fn remote_tag(entry: u32) -> u32 {
    REMOTE_TAGS | (entry.wrapping_mul(0x9e37_79b1) % REMOTE_TAGS_COUNT)
}

/// A MAC address as programs write it.
pub fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_binding_has_its_own_tags_and_a_tunnel_that_is_there() {
        let realm = Realm::new(1000, 16, Encapsulation::Vxlan, false).unwrap();
        let (mut tags, mut keys) = (HashSet::new(), HashSet::new());
        for pair in realm.pairs() {
            assert!(usize::from(pair.tunnel) < realm.tunnels().len());
            assert!(tags.insert((pair.remote_tag, pair.tag)) && keys.insert((pair.host, pair.proxy)));
            assert_ne!(pair.host_mac, realm.router_mac());
        }
        assert_eq!(realm.tunnels().len(), 16);
        assert_eq!(realm.commands().count(), 16 + 63 + 1 + 1000);
        assert_eq!(mac(realm.inside_mac()).len(), 17);
    }
}
