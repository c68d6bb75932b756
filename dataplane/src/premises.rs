//! The gateway's premises: its ports and addresses, where it listens, and how much it lets come in and go out of itself.
//!
//! All of it follows from the settings and is built in one place; it changes only as a whole. What changes with packets are
//! the meters' levels, and those are the worker's own: [`Meters`].

use crate::Nanos;
use crate::alg::Alg;
use crate::filter::{Filter, Zone};
use crate::meter::{Level, Rate, SECOND};
use crate::msg::{PortId, PuntClass};
use crate::nat::Nat;
use crate::port::PathPort;
use crate::queue::Shape;
use crate::settings::{Side, WorkerSettings};
use crate::table::fib::Fib;
use crate::table::index::Hasher;
use crate::wire::ipv4;
use std::sync::Arc;

/// Where the DMZ is.
#[derive(Clone, Debug)]
struct Dmz {
    networks: Vec<(u32, u8)>,
    /// Networks on the links of outside ports, which may lie within those.
    outside: Vec<(u32, u8)>,
}

/// What is configured of the gateway itself.
#[derive(Clone, Debug)]
pub struct Premises {
    ports: Vec<PathPort>,
    /// How each is shaped.
    pub(crate) shapes: Vec<Option<Shape>>,
    /// The gateway's own addresses, by side, without those that a host has.
    own: [Vec<u32>; Side::COUNT],
    tcp_listen: Vec<(Side, u16)>,
    proxy_networks: Vec<(u32, u8)>,
    /// Networks that lie inside: those of the realm's ports, and the proxy addresses.
    realm: Vec<(u32, u8)>,
    /// Networks on the links of other ports.
    links: Vec<(u32, u8)>,
    dmz: Box<Dmz>,
    punt_rates: [Rate; PuntClass::COUNT],
    /// What one host has of them at most.
    host_punt_rates: [Rate; PuntClass::COUNT],
    icmp_rate: Rate,
    /// What one address is told of it at most.
    told_icmp_rate: Rate,
    /// Addresses and ports of the resolvers that are asked.
    resolvers: Vec<(u32, u16)>,
    /// Whether hosts get addresses from the gateway.
    dhcp: bool,
    /// NAT44.
    pub nat: Nat,
    /// Which ALGs are on, and where.
    pub alg: Alg,
    /// How many other static mappings there were before those.
    translations: u16,
    /// The addresses of the circular pool.
    pub(crate) pool: Vec<u32>,
    /// Where addresses lead.
    fib: Arc<Fib>,
    /// Which sessions may be opened; without rules, those that NAT44 lets.
    filter: Option<Arc<Filter>>,
    /// How many filters there were before this one.
    filters: u16,
    /// The worker whose copy this is.
    worker: usize,
}

impl Premises {
    /// The premises of these settings.
    pub fn new(settings: &WorkerSettings) -> Self {
        let own = |side: Side| {
            let ports = settings.ports.iter().filter(|port| port.side == side);
            let all = ports.flat_map(|port| &port.addresses).map(|(address, _)| address.to_bits());
            all.filter(|address| settings.nat.statics.whole(*address).is_none()).collect()
        };
        let network = |&(network, prefix): &(std::net::Ipv4Addr, u8)| (network.to_bits(), prefix);
        let of = |side: Side| settings.ports.iter().filter(move |port| port.side == side);
        let proxy_networks: Vec<_> = settings.proxy_networks.iter().map(network).collect();
        let inside = of(Side::Inside).flat_map(|port| port.networks.iter().chain(&port.addresses));
        // Bursts of a tenth of a second.
        let rate = |packets: u32| Rate::new(packets.into(), SECOND, (u64::from(packets) / 10).max(1));
        Self {
            ports: settings
                .ports
                .iter()
                .map(|port| PathPort::new(port).reading(settings.alg.sip.spoken()))
                .collect(),
            shapes: settings.shapes.clone(),
            own: Side::ALL.map(own),
            tcp_listen: settings.tcp_listen.clone(),
            realm: inside.map(network).chain(proxy_networks.iter().copied()).collect(),
            links: of(Side::Outside)
                .chain(of(Side::Dmz))
                .flat_map(|port| &port.addresses)
                .map(network)
                .collect(),
            dmz: Box::new(Dmz {
                networks: of(Side::Dmz).flat_map(|port| &port.networks).map(network).collect(),
                outside: of(Side::Outside).flat_map(|port| &port.addresses).map(network).collect(),
            }),
            proxy_networks,
            punt_rates: settings.punt_rates.map(rate),
            host_punt_rates: settings.punt_rates.map(|packets| rate(packets.div_ceil(HOST_PART))),
            icmp_rate: rate(settings.icmp_error_rate),
            told_icmp_rate: rate(settings.icmp_error_rate.div_ceil(HOST_PART)),
            resolvers: settings.resolvers.iter().map(|(address, port)| (address.to_bits(), *port)).collect(),
            dhcp: settings.dhcp,
            nat: settings.nat.clone(),
            alg: settings.alg.clone(),
            translations: settings.translations,
            pool: settings.pool.iter().map(|address| address.to_bits()).collect(),
            fib: Arc::default(),
            filter: None,
            filters: 0,
            worker: 0,
        }
    }

    /// The same with these routes.
    pub fn with_routes(self, fib: Arc<Fib>) -> Self {
        Self { fib, ..self }
    }

    /// The same with these rules, after so many others.
    pub fn with_filter(self, filter: Option<Arc<Filter>>, filters: u16) -> Self {
        Self { filter, filters, ..self }
    }

    /// The same for this worker, which counts in its own place.
    pub fn of_worker(self, worker: usize) -> Self {
        Self { worker, ..self }
    }

    /// Differs from that of all premises with other static mappings.
    pub const fn translations(&self) -> u16 {
        self.translations
    }

    /// Differs from that of all premises with other routes, rules or static mappings: what a session was told by others it
    /// asks for anew.
    #[inline(always)]
    pub fn generation(&self) -> u16 {
        // All only ever grow.
        self.fib.generation().wrapping_add(self.filters).wrapping_add(self.translations)
    }

    /// The rules, and the place where this worker counts.
    pub fn filter(&self) -> Option<(&Filter, usize)> {
        self.filter.as_deref().map(|filter| (filter, self.worker))
    }

    /// Which filter that is, of all there were.
    pub const fn filter_number(&self) -> u16 {
        self.filters
    }

    /// Where addresses lead.
    #[inline(always)]
    pub fn fib(&self) -> &Fib {
        &self.fib
    }

    /// A port, if there is one with this number.
    #[inline(always)]
    pub fn port(&self, id: PortId) -> Option<&PathPort> {
        self.ports.get(usize::from(id))
    }

    /// Whether the address is the gateway's own on that side.
    pub fn is_own(&self, side: Side, address: u32) -> bool {
        self.own[side as usize].contains(&address)
    }

    /// Whether the address is the gateway's own on any side.
    pub fn is_ours(&self, address: u32) -> bool {
        self.own.iter().any(|own| own.contains(&address))
    }

    /// Whether the address lies in a network of the DMZ.
    pub fn is_dmz(&self, address: u32) -> bool {
        self.dmz.networks.iter().any(|&(network, prefix)| ipv4::within(address, network, prefix))
    }

    /// The zone of an address.
    pub fn zone(&self, address: u32) -> Zone {
        if self.belongs_inside(address) {
            Zone::Inside
        } else if self.is_dmz(address) {
            Zone::Dmz
        } else {
            Zone::Outside
        }
    }

    /// Whether hosts are seen outside under the address.
    pub fn is_seen(&self, address: u32) -> bool {
        self.pool.contains(&address) || self.nat.addresses.contains(&address.into())
    }

    /// An own address to speak from on a port: one of its own, or any of its side.
    pub fn own_address(&self, port: &PathPort) -> Option<u32> {
        port.address.or_else(|| self.own[port.side as usize].first().copied())
    }

    /// Whether the address means everybody on the link of some port.
    pub fn is_broadcast(&self, address: u32) -> bool {
        self.ports.iter().any(|port| port.is_broadcast(address))
    }

    /// Whether the address lies in a network of proxy addresses.
    pub fn is_proxy(&self, address: u32) -> bool {
        self.proxy_networks.iter().any(|&(network, prefix)| ipv4::within(address, network, prefix))
    }

    /// Whether the address belongs inside: to a network of the realm or to the proxy addresses, and not to a narrower
    /// network on the link of another port. A realm of all addresses says nothing about any.
    pub fn belongs_inside(&self, address: u32) -> bool {
        let narrowest = |networks: &[(u32, u8)]| {
            let around =
                |&&(network, prefix): &&(u32, u8)| prefix > 0 && ipv4::within(address, network, prefix);
            networks.iter().filter(around).map(|&(_, prefix)| prefix).max()
        };
        narrowest(&self.realm) > narrowest(&self.links)
    }

    /// Whether nothing with that source comes from the world, since it is the DMZ's: but for a narrower network on a link
    /// outside. RFC 2827: what the gateway answered would go in there.
    #[cold]
    #[inline(never)]
    pub fn belongs_to_dmz(&self, source: u32) -> bool {
        let narrowest = |networks: &[(u32, u8)]| {
            let around =
                |&&(network, prefix): &&(u32, u8)| prefix > 0 && ipv4::within(source, network, prefix);
            networks.iter().filter(around).map(|&(_, prefix)| prefix).max()
        };
        narrowest(&self.dmz.networks) > narrowest(&self.dmz.outside)
    }

    /// Whether what comes from there may answer a question of ours. RFC 5452 §9.1: nobody else is asked.
    pub fn is_resolver(&self, address: u32, port: u16) -> bool {
        self.resolvers.contains(&(address, port))
    }

    /// Whether hosts get addresses from the gateway (DHCP).
    pub const fn serves_dhcp(&self) -> bool {
        self.dhcp
    }

    /// Whether one of the gateway's TCP servers listens on this port.
    pub fn listens(&self, side: Side, port: u16) -> bool {
        self.tcp_listen.contains(&(side, port))
    }
}

/// One inside host has at most such a part of what its side gives to the control thread, and one address of the ICMP errors that
/// its side is told, so that none takes it from all.
const HOST_PART: u32 = 8;
/// Levels of hosts: those whose addresses have the same hash share one.
const HOST_LEVELS: usize = 256;

/// Of which classes a host has its part: ARP, without which nobody reaches the gateway, and its own services. DHCP has its own
/// bounds, by client.
const fn has_host_part(side: Side, class: PuntClass) -> bool {
    matches!(side, Side::Inside) && matches!(class, PuntClass::Arp | PuntClass::Dns | PuntClass::Tcp)
}

/// How the meters of the premises stand. A worker has its own, and keeps them when the premises change.
#[derive(Debug)]
pub struct Meters {
    /// By side and class: what comes from outside takes nothing from inside.
    punt: [[Level; PuntClass::COUNT]; Side::COUNT],
    /// By class, of inside hosts.
    host_punt: Box<[[Level; PuntClass::COUNT]]>,
    hasher: Hasher,
    /// ICMP errors, by the side that they are about.
    icmp: [Level; Side::COUNT],
    /// By side and whom they tell: who makes up sources outside takes none from inside.
    told_icmp: [Box<[Level]>; Side::COUNT],
    decisions: Level,
    rewrites: Level,
}

/// Decisions of rules a second that a worker tells the control thread, which makes a line of each.
const DECISIONS: Rate = Rate::new(1000, SECOND, 100);
/// Places that ALGs wrote anew a second that a worker tells the control thread, which remembers the last of them.
const REWRITES: Rate = Rate::new(1000, SECOND, 100);

impl Meters {
    /// Nothing was taken yet.
    pub fn new(hasher: Hasher) -> Self {
        Self {
            punt: Default::default(),
            host_punt: vec![[Level::default(); PuntClass::COUNT]; HOST_LEVELS].into(),
            hasher,
            icmp: Default::default(),
            told_icmp: [(); Side::COUNT].map(|()| vec![Level::default(); HOST_LEVELS].into()),
            decisions: Level::default(),
            rewrites: Level::default(),
        }
    }

    /// Whether one more packet of this class may go from this address on that side to the control thread; then it is counted.
    pub fn punt(
        &mut self,
        premises: &Premises,
        (side, source): (Side, u32),
        class: PuntClass,
        now: Nanos,
    ) -> bool {
        let (nth, is_parted) = (class as usize, has_host_part(side, class));
        let place = self.place(source);
        let own = &mut self.host_punt[place][nth];
        (!is_parted || own.take(premises.host_punt_rates[nth], now))
            && self.punt[side as usize][nth].take(premises.punt_rates[nth], now)
    }

    /// Where the levels of an address are.
    fn place(&self, address: u32) -> usize {
        self.hasher.hash(address.into()) as usize % HOST_LEVELS
    }

    /// Whether the gateway may tell this address one more ICMP error, of a packet from that side; then it is counted.
    pub fn icmp_error(&mut self, premises: &Premises, (side, told): (Side, u32), now: Nanos) -> bool {
        let place = self.place(told);
        self.told_icmp[side as usize][place].take(premises.told_icmp_rate, now)
            && self.icmp[side as usize].take(premises.icmp_rate, now)
    }

    /// Whether one more place that an ALG wrote anew may be told; then it is counted.
    pub fn rewrite(&mut self, now: Nanos) -> bool {
        self.rewrites.take(REWRITES, now)
    }

    /// Whether one more decision of a rule may be told; then it is counted.
    pub fn decision(&mut self, now: Nanos) -> bool {
        self.decisions.take(DECISIONS, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PortSettings;

    fn settings() -> WorkerSettings {
        let port = |side, address: [u8; 4]| PortSettings {
            side,
            mac: [2, 0, 0, 0, 0, 1],
            addresses: vec![(address.into(), 24)],
            networks: Vec::new(),
            vlan: None,
            mtu: 1500,
        };
        let mut settings = WorkerSettings::new(
            vec![port(Side::Inside, [10, 0, 0, 1]), port(Side::Outside, [192, 0, 2, 1])],
            1,
        );
        settings.tcp_listen = vec![(Side::Outside, 49_152)];
        settings.proxy_networks = vec![([172, 16, 0, 0].into(), 12)];
        settings
    }

    #[test]
    fn what_is_ours_is_ours_on_its_side() {
        let premises = Premises::new(&settings());
        assert!(premises.is_own(Side::Inside, 0x0a00_0001) && !premises.is_own(Side::Outside, 0x0a00_0001));
        assert!(premises.listens(Side::Outside, 49_152) && !premises.listens(Side::Inside, 49_152));
        assert!(premises.is_proxy(0xac1f_ffff) && !premises.is_proxy(0xac20_0000));
        assert!(premises.port(1).is_some() && premises.port(2).is_none());
    }

    #[test]
    fn p4_what_belongs_inside_is_told_by_the_narrowest_network() {
        let mut settings = settings();
        settings.ports[0].networks = vec![([10, 0, 0, 0].into(), 8), ([192, 0, 2, 64].into(), 26)];
        let premises = Premises::new(&settings);
        for (address, inside) in [
            ([10, 0, 0, 9], true),
            ([10, 200, 0, 9], true),
            ([172, 16, 0, 9], true),
            ([192, 0, 2, 65], true),
            ([192, 0, 2, 9], false),
            ([8, 8, 8, 8], false),
        ] {
            assert_eq!(premises.belongs_inside(u32::from_be_bytes(address)), inside, "{address:?}");
        }
        settings.ports[0].networks = vec![([0, 0, 0, 0].into(), 0)];
        assert!(!Premises::new(&settings).belongs_inside(0x0808_0808), "a realm of everything");
    }

    #[test]
    fn p4_what_belongs_to_the_dmz_is_told_by_the_narrowest_network() {
        let mut settings = settings();
        settings.ports.push(PortSettings {
            side: Side::Dmz,
            mac: [2, 0, 0, 0, 0, 3],
            addresses: vec![([192, 0, 2, 65].into(), 28)],
            networks: vec![([192, 0, 0, 0].into(), 16), ([192, 0, 2, 64].into(), 28)],
            vlan: None,
            mtu: 1500,
        });
        let premises = Premises::new(&settings);
        for (address, is_its) in [
            ([192, 0, 2, 66], true),
            ([192, 0, 7, 1], true),
            ([192, 0, 2, 9], false),
            ([10, 0, 0, 9], false),
            ([8, 8, 8, 8], false),
        ] {
            assert_eq!(premises.belongs_to_dmz(u32::from_be_bytes(address)), is_its, "{address:?}");
        }
    }

    #[test]
    fn meters_keep_their_levels_when_the_premises_change() {
        let mut settings = settings();
        settings.icmp_error_rate = 160; // bursts of 16, of one address two
        let mut meters = Meters::new(Hasher::new(settings.hash_seed));
        let (before, host) = (Premises::new(&settings), (Side::Inside, 1));
        assert_eq!([0; 3].map(|now| meters.icmp_error(&before, host, now)), [true, true, false]);
        settings.punt_rates = [10; PuntClass::COUNT];
        let after = Premises::new(&settings);
        assert!(!meters.icmp_error(&after, host, 0), "what was taken stays taken");
        assert_eq!(
            [0; 2].map(|now| meters.punt(&after, (Side::Inside, 1), PuntClass::Arp, now)),
            [true, false]
        );
        assert!(meters.punt(&after, (Side::Inside, 1), PuntClass::Dns, 0), "each class by itself");
        assert!(meters.punt(&after, (Side::Outside, 1), PuntClass::Arp, 0), "each side by itself");
        assert!(
            meters.icmp_error(&after, host, SECOND)
                && meters.punt(&after, (Side::Inside, 1), PuntClass::Arp, SECOND)
        );
    }
    #[test]
    fn p16_one_host_leaves_the_others_theirs() {
        let mut settings = settings();
        settings.punt_rates = [800; PuntClass::COUNT]; // bursts of 80, of one host 10
        let premises = Premises::new(&settings);
        let mut meters = Meters::new(Hasher::new(settings.hash_seed));
        let mut count = |side, source, class| {
            (0..100).filter(|_| meters.punt(&premises, (side, source), class, 0)).count()
        };
        for class in [PuntClass::Arp, PuntClass::Dns, PuntClass::Tcp] {
            assert_eq!([1, 2].map(|host| count(Side::Inside, host, class)), [10, 10], "{class:?}");
            assert_eq!(count(Side::Outside, 1, class), 80, "resolvers outside are few and ask for many");
        }
        assert_eq!(count(Side::Inside, 1, PuntClass::Udp), 80, "what our resolver answers is one's");
    }
    /// Neither a host that scans nor one source outside keeps the others from being told; nor do many of one side the other.
    #[test]
    fn p16_one_address_leaves_the_others_their_icmp_errors() {
        let mut settings = settings();
        settings.icmp_error_rate = 800; // bursts of 80, of one address 10
        let premises = Premises::new(&settings);
        let mut meters = Meters::new(Hasher::new(settings.hash_seed));
        let mut count =
            |side, told| (0..100).filter(|_| meters.icmp_error(&premises, (side, told), 0)).count();
        for side in [Side::Outside, Side::Inside] {
            assert_eq!([1, 2].map(|told| count(side, told)), [10, 10], "{side:?}");
            let rest: usize = (3..5000).map(|told| count(side, told)).sum();
            assert_eq!(rest, 60, "{side:?}: all of them have what there is");
        }
    }
}
