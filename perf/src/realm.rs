//! A realm with many bindings, as a worker sees it: its settings, the commands that fill its tables, and the packets
//! that belong to each binding.

use crate::packets::{Differences, PacketTemplate, SERVICE};
use crate::random::shuffled;
use ces_dataplane::Nanos;
use ces_dataplane::msg::{
    Binding, BindingLimits, Command, Encapsulation, Event, Far, HopId, Neighbour, Patience, PortId, Tunnel,
    TunnelId,
};
use ces_dataplane::seal::{KeyChange, KeyPart, MOST_PACKETS, OutboundKey, SealKey, slot_of};
use ces_dataplane::settings::{PortSettings, Side, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::tag::{Handle, Layout, TagCipher, worker_of};
use ces_dataplane::wire::ipv4;
use ces_dataplane::wire::psp::Cipher;
use std::net::Ipv4Addr;

/// The port towards the hosts.
pub const INSIDE: PortId = 0;
/// The port towards the peers.
pub const OUTSIDE: PortId = 1;

const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where all packets of hosts come from.
const HOST_MAC: [u8; 6] = [6, 0, 10, 1, 0, 0];
pub(crate) const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The router outside through which all peers are reached.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const INSIDE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const LOCATOR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Hosts count from here: 10.1.0.0.
const HOSTS: u32 = 0x0a01_0000;
/// Each host's proxy addresses count from here: 172.16.0.1.
const PROXIES: u32 = 0xac10_0001;
/// The peers' locators count from here: 203.0.0.1.
const PEERS: u32 = 0xcb00_0001;
/// Hosts at most; a realm with more bindings has more of them for each host. Each host is its own next hop.
const HOSTS_MAX: u32 = 16_000;
/// Bindings of a host while there are hosts left.
const BINDINGS_PER_HOST: u32 = 16;
/// The next hop towards the router; those of the hosts follow.
const ROUTER: HopId = HopId(0);

/// The peers' tags where they are unicast addresses: 16.0.0.0/6.
const UNICAST: u32 = 0x1000_0000;
const UNICAST_COUNT: u32 = 1 << 26;

/// The MAC address of the host with this address.
pub const fn host_mac(address: u32) -> [u8; 6] {
    let [a, b, c, d] = address.to_be_bytes();
    [6, 0, a, b, c, d]
}

/// Bindings, where nothing else is said.
pub const ENTRIES: u32 = 10_000;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanWay {
    /// From a host into a tunnel.
    Egress,
    /// From a tunnel to a host.
    Ingress,
    /// From a host to another one.
    Local,
}

/// How a realm is to be.
#[derive(Clone, Copy, Debug)]
pub struct RealmPlan {
    /// Which way packets go.
    pub way: PlanWay,
    /// Bindings.
    pub entries: u32,
    /// Peers, with a tunnel each.
    pub tunnels: u16,
    /// The header of all tunnels.
    pub encapsulation: Encapsulation,
    /// How many of the bindings are restricted: to UDP, to the packets' port, to a rate that they do not reach.
    pub limited: u16,
    /// Whether the hosts' MAC addresses are known, so that their packets must come from them.
    pub pinned: bool,
    /// Workers that share the hosts among them.
    pub workers: u32,
    /// Whether the peers' tags are unicast addresses. A gateway takes any 32 bits; others would not forward them all.
    pub unicast: bool,
}

/// The rate of restricted bindings, in bits per second: more than one core forwards.
const RATE_BPS: u64 = 1_000_000_000_000;

impl RealmPlan {
    /// So many bindings over VXLAN to a thousand peers, for one worker.
    pub const fn new(way: PlanWay, entries: u32) -> Self {
        Self {
            way,
            entries,
            tunnels: 1000,
            encapsulation: Encapsulation::Vxlan,
            limited: 0,
            pinned: false,
            workers: 1,
            unicast: false,
        }
    }

    pub(crate) fn hosts(self) -> u32 {
        self.entries.div_ceil(BINDINGS_PER_HOST).clamp(1, HOSTS_MAX)
    }

    fn tunnels(self) -> u32 {
        u32::from(self.tunnels).clamp(1, self.entries.max(1))
    }

    /// The worker that owns binding number `entry`.
    pub fn owner(self, entry: u32) -> u32 {
        worker_of(self.host(entry), self.workers)
    }

    /// Slots that each worker needs.
    fn slots(self) -> u32 {
        if self.workers == 1 {
            return self.entries;
        }
        let mut owned = vec![0; self.workers as usize];
        (0..self.entries).for_each(|entry| owned[self.owner(entry) as usize] += 1);
        owned.into_iter().max().unwrap_or(0)
    }

    /// The settings of its first worker; the others' differ by their number alone.
    pub fn settings(&self) -> WorkerSettings {
        let port = |side, mac, address, prefix, networks| PortSettings {
            side,
            mac,
            addresses: vec![(address, prefix)],
            networks,
            vlan: None,
            mtu: 1500,
        };
        let ports = vec![
            port(Side::Inside, INSIDE_MAC, INSIDE_ADDRESS, 8, vec![(Ipv4Addr::new(10, 0, 0, 0), 8)]),
            port(Side::Outside, OUTSIDE_MAC, LOCATOR, 24, Vec::new()),
        ];
        // At least two slots: a handle needs a bit to spare for the generation's width to be below 32.
        let slots = self.slots().max(2);
        let mut settings = WorkerSettings::new(ports, slots);
        settings.layout = Layout::new(self.workers, slots);
        settings.workers = self.workers;
        settings.limited = settings.limited.max(self.limited.into());
        settings.neighbours = settings.neighbours.max(self.hosts() + 1);
        settings.tunnels = settings.tunnels.max(self.tunnels() as u16);
        settings.proxy_networks = vec![(Ipv4Addr::new(172, 16, 0, 0), 12)];
        settings
    }

    /// The handle of a worker's slot in its `generation`-th life.
    pub fn handle(settings: &WorkerSettings, worker: u32, slot: u32, generation: u32) -> Handle {
        let cipher = TagCipher::new(settings.tag_key);
        let handle = settings.layout.handle(worker, slot, generation);
        // One handle in 2³² has the tag 0, which nobody may use.
        if cipher.usable(handle) { handle } else { settings.layout.handle(worker, slot, generation + 1) }
    }

    /// The handle of each binding: every worker gives its slots out one after the other.
    pub fn handles(&self, settings: &WorkerSettings) -> Vec<Handle> {
        let mut next = vec![0; self.workers as usize];
        let handle = |entry| {
            let owner = self.owner(entry);
            let slot = next[owner as usize];
            next[owner as usize] += 1;
            Self::handle(settings, owner, slot, 0)
        };
        (0..self.entries).map(handle).collect()
    }

    pub(crate) fn host(self, entry: u32) -> u32 {
        HOSTS + entry % self.hosts()
    }

    fn proxy(self, entry: u32) -> u32 {
        PROXIES + entry / self.hosts()
    }

    /// The tag that the peer chose for binding number `entry`. Consecutive ones look as random as real ones.
    fn remote_tag(self, entry: u32) -> u32 {
        if self.unicast {
            return UNICAST | (entry.wrapping_mul(0x9e37_79b1) % UNICAST_COUNT);
        }
        (entry + 1).wrapping_mul(0x9e37_79b1) | 1
    }

    fn tunnel(self, entry: u32) -> u32 {
        // Not in step with the hosts.
        (entry / 7).wrapping_mul(0x85eb_ca6b) % self.tunnels()
    }

    /// The commands that make next hops and tunnels.
    pub fn surroundings(&self) -> impl Iterator<Item = Command> + use<> {
        let (plan, hosts) = (*self, self.hosts());
        let router = Command::SetHop(ROUTER, Neighbour { port: OUTSIDE, mac: Some(ROUTER_MAC), pin: None });
        let hosts = (0..hosts).map(|host| {
            let neighbour = Neighbour { port: INSIDE, mac: Some(host_mac(HOSTS + host)), pin: None };
            Command::SetHop(HopId(1 + host), neighbour)
        });
        let tunnels = (0..self.tunnels())
            .map(move |tunnel| Command::SetTunnel(TunnelId(tunnel as u16), plan.peer(tunnel)));
        std::iter::once(router).chain(hosts).chain(tunnels)
    }

    /// The tunnel to a peer.
    pub fn peer(&self, number: u32) -> Tunnel {
        Tunnel {
            encapsulation: self.encapsulation,
            local: LOCATOR,
            remote: Ipv4Addr::from_bits(PEERS + number),
            id_in: 0x10_0000 + number,
            id_out: 0x20_0000 + number,
            neighbour: ROUTER,
            mtu: 1500,
        }
    }

    /// Binding number `entry`. It never ends by itself.
    pub fn binding(&self, entry: u32) -> Binding {
        let far = match self.way {
            PlanWay::Egress | PlanWay::Ingress => Far::Tunnel {
                tunnel: TunnelId(self.tunnel(entry) as u16),
                remote_tag: self.remote_tag(entry),
            },
            PlanWay::Local => Far::Local {
                source: Ipv4Addr::from_bits(self.proxy(entry)),
                destination: Ipv4Addr::from_bits(self.host(entry + 1)),
            },
        };
        let at = match self.way {
            PlanWay::Egress | PlanWay::Ingress => self.host(entry),
            PlanWay::Local => self.host(entry + 1),
        };
        Binding {
            host: Ipv4Addr::from_bits(self.host(entry)),
            proxy: Ipv4Addr::from_bits(self.proxy(entry)),
            far,
            neighbour: HopId(1 + at - HOSTS),
            mac: self.pinned.then_some(HOST_MAC),
            idle_s: 0,
            patience: Patience::None,
            hard_s: 0,
            limits: if entry < u32::from(self.limited) {
                BindingLimits {
                    protocol: Some(ipv4::UDP),
                    port: Some(SERVICE),
                    port_is_inside: self.way == PlanWay::Ingress,
                    rate_bps: Some(RATE_BPS),
                }
            } else {
                BindingLimits::default()
            },
        }
    }

    /// Where packets come from.
    pub const fn arrival(&self) -> PortId {
        match self.way {
            PlanWay::Egress | PlanWay::Local => INSIDE,
            PlanWay::Ingress => OUTSIDE,
        }
    }

    /// Where they must go.
    pub const fn departure(&self) -> PortId {
        match self.way {
            PlanWay::Egress => OUTSIDE,
            PlanWay::Ingress | PlanWay::Local => INSIDE,
        }
    }

    /// The packets' template.
    pub fn template(&self) -> PacketTemplate {
        match self.way {
            PlanWay::Egress | PlanWay::Local => PacketTemplate::plain(HOST_MAC, INSIDE_MAC),
            PlanWay::Ingress => {
                PacketTemplate::tunnelled(ROUTER_MAC, OUTSIDE_MAC, LOCATOR.to_bits(), self.encapsulation)
            }
        }
    }

    /// What differs in the packets of binding number `entry`, which has this handle.
    pub fn flow(&self, settings: &WorkerSettings, entry: u32, handle: Handle) -> Differences {
        let source_port = 1024 + (entry.wrapping_mul(0x9e37_79b1) >> 18) as u16;
        match self.way {
            PlanWay::Egress | PlanWay::Local => Differences {
                source: self.host(entry),
                destination: self.proxy(entry),
                source_port,
                destination_port: SERVICE,
                ..Differences::default()
            },
            PlanWay::Ingress => Differences {
                source: self.remote_tag(entry),
                destination: TagCipher::new(settings.tag_key).tag(handle).0,
                source_port,
                destination_port: SERVICE,
                outer_source: PEERS + self.tunnel(entry),
                id: 0x10_0000 + self.tunnel(entry),
            },
        }
    }

    /// What is sent to each peer is sealed under a key.
    fn give_keys(&self, state: &mut State) {
        for number in 0..self.tunnels() {
            let tunnel = self.peer(number);
            let mut secret = [0x5a; 32];
            secret[..4].copy_from_slice(&number.to_le_bytes());
            let key = SealKey::new(Cipher::Aes256Gcm, &secret);
            let outbound =
                key.map(|key| Box::new(OutboundKey::new(key, tunnel.id_out, 1, (0, 1), MOST_PACKETS)));
            state.change_key(&mut KeyChange { slot: slot_of(tunnel.id_in), part: KeyPart::Out(outbound) });
        }
    }

    /// The state of the worker with these settings, with all that it owns in place.
    pub fn state(&self, settings: &WorkerSettings, handles: &[Handle], now: Nanos) -> Result<State, String> {
        let mut state = State::new(settings).map_err(|error| format!("no state: {error}"))?;
        for command in self.surroundings() {
            give(&mut state, command, now)?;
        }
        if self.encapsulation == Encapsulation::Psp {
            self.give_keys(&mut state);
        }
        for entry in shuffled(self.entries, 1) {
            let handle = handles[entry as usize];
            if settings.layout.worker(handle) == settings.worker {
                give(&mut state, Command::InsertBinding(handle, self.binding(entry)), now)?;
            }
        }
        Ok(state)
    }
}

/// Gives a command, and wants no complaint.
fn give(state: &mut State, command: Command, now: Nanos) -> Result<(), String> {
    state.command(command, now);
    while let Some(event) = state.peek_event() {
        if let Event::InsertFailed(handle, error) = event {
            return Err(format!("binding {handle:?} was not inserted: {error:?}"));
        }
        state.pop_event();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_binding_has_its_own_key_and_flow() {
        for entries in [1, 17, 40_000] {
            let plan = RealmPlan::new(PlanWay::Egress, entries);
            let settings = plan.settings();
            settings.check().unwrap();
            let keys: HashSet<_> =
                (0..entries).map(|entry| (plan.binding(entry).host, plan.binding(entry).proxy)).collect();
            assert_eq!(keys.len(), entries as usize);
            let ingress = RealmPlan { way: PlanWay::Ingress, ..plan };
            let handles = ingress.handles(&settings);
            let flows: HashSet<_> = (0..entries)
                .map(|entry| ingress.flow(&settings, entry, handles[entry as usize]))
                .map(|flow| (flow.source, flow.destination))
                .collect();
            assert_eq!(flows.len(), entries as usize);
        }
    }
    #[test]
    fn workers_share_the_bindings_out_among_them() {
        let plan = RealmPlan { workers: 3, ..RealmPlan::new(PlanWay::Ingress, 2000) };
        let settings = plan.settings();
        let handles = plan.handles(&settings);
        let mut live = 0;
        for worker in 0..3 {
            let state = plan.state(&WorkerSettings { worker, ..settings.clone() }, &handles, 0).unwrap();
            assert!(state.counters.bindings_live > 400, "{}", state.counters.bindings_live);
            live += state.counters.bindings_live;
        }
        assert_eq!((live, handles.iter().collect::<HashSet<_>>().len()), (2000, 2000));
    }
}
