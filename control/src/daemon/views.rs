//! What `cesctl show` and the metrics page see of the whole house.

use super::house::House;
use super::shortage::Of;
use crate::admin::view::{
    AlgProtocolView, AlgView, DropView, MappingRow, NatView, NatWorkerView, NeighbourView, PeersView,
    PortView, QueueView, QueuesView, RingView, RouteView, SessionRow, WorkerView,
};
use crate::config::PortSection;
use crate::sources::netlink::table::NextHop;
use crate::trace::mac;
use ces_dataplane::alg::Alg;
use ces_dataplane::alg::scope::AlgHosts;
use ces_dataplane::counters::{ALG_EVENTS, Counters, FAMILIES, RTSP_EVENTS, SIP_EVENTS};
use ces_dataplane::msg::{MappingView, PortId, PuntClass, SessionView};
use ces_dataplane::nat::statics::{PortProtocol, Static};
use ces_dataplane::queue::{Class, Figure};
use ces_dataplane::reason::DropReason;
use ces_gateway::LearntRoute;
use ces_gateway::address::HopAddress;
use ces_rules::protocol_name;
use ipnet::Ipv4Net;
use std::net::SocketAddrV4;

/// The counters of all workers together.
pub(super) fn totals(house: &House) -> Counters {
    let mut totals = Counters::default();
    for worker in 0..house.fleet.len() {
        totals += &house.fleet.snapshot(worker);
    }
    totals
}

/// A port's name.
pub(super) fn port_name(house: &House, port: PortId) -> &str {
    house.config.port.get(usize::from(port)).map_or("?", |port| &port.name)
}

pub(super) fn ports(house: &House) -> Vec<PortView> {
    let totals = totals(house);
    let taps = house.sources.taps.all();
    let view =
        |((number, configured), tap): ((usize, &crate::config::PortSection), &crate::sources::tap::Tap)| {
            let link = house.devices.link(number);
            PortView {
                name: configured.name.clone(),
                device: configured.device.clone(),
                driver: house.devices.driver(number).to_owned(),
                side: configured.side,
                mac: mac(&house.devices.mac(number)),
                addresses: configured.addresses.iter().map(ToString::to_string).collect(),
                vlan: configured.vlan,
                mtu: configured.mtu,
                tap: tap.name().to_owned(),
                link: link.map(|(up, _)| up),
                mbps: link.and_then(|(_, mbps)| mbps),
                rx_packets: totals.rx_packets[number],
                rx_bytes: totals.rx_bytes[number],
                tx_packets: totals.tx_packets[number],
                tx_bytes: totals.tx_bytes[number],
                device_counters: house.devices.lost(number).unwrap_or_default(),
                tap_counters: tap.counters,
            }
        };
    house.config.port.iter().enumerate().zip(taps).map(view).collect()
}

/// The shaped ports.
pub(super) fn queues(house: &House) -> Vec<QueuesView> {
    let class = |port: usize, class: Class| {
        let of = |figure| queue_figure(house, port, class, figure);
        QueueView {
            class: class.label(),
            packets: of(Figure::Packets),
            bytes: of(Figure::Bytes),
            hosts: of(Figure::Hosts),
            delay_us: of(Figure::Delay) / 1000,
            sent: of(Figure::Sent),
            sent_bytes: of(Figure::SentBytes),
            marked: of(Figure::Marked),
            dropped_late: of(Figure::DroppedLate),
            dropped_full: of(Figure::DroppedFull),
        }
    };
    let port = |(number, port): (usize, &PortSection)| {
        let shape = port.shape()?;
        Some(QueuesView {
            port: port.name.clone(),
            bandwidth_bits: shape.bandwidth,
            urgent_bits: shape.urgent,
            classes: Class::ALL.into_iter().map(|of| class(number, of)).collect(),
        })
    };
    house.config.port.iter().enumerate().filter_map(port).collect()
}

/// A figure of a queue in all workers together; how long packets wait is that of the worker where it is longest.
pub(super) fn queue_figure(house: &House, port: usize, class: Class, figure: Figure) -> u64 {
    let told = (0..house.fleet.len()).map(|worker| house.fleet.queues(worker).told(port, class, figure));
    if figure == Figure::Delay { told.max().unwrap_or(0) } else { told.sum() }
}

/// What could not enter a ring, by ring.
pub(super) fn ring_overflows(house: &House, worker: usize, counters: &Counters) -> [(&'static str, u64); 4] {
    let own = house.fleet.counters[worker];
    [
        ("command", own.commands_delayed),
        ("inject", own.frames_delayed + own.frames_lost),
        ("event", counters.event_ring_full),
        ("punt", counters.drops[DropReason::PuntRingFull as usize]),
    ]
}

/// The workers. `seen` holds the cycles, busy and idle, of each at the last look.
pub(super) fn workers(house: &House, seen: &mut Vec<(u64, u64)>) -> Vec<WorkerView> {
    seen.resize(house.fleet.len(), (0, 0));
    let view = |(worker, seen): (usize, &mut (u64, u64))| {
        let counters = house.fleet.snapshot(worker);
        let (busy, idle) = (counters.busy_cycles, counters.idle_cycles);
        let (busy_before, idle_before) = std::mem::replace(seen, (busy, idle));
        let (busy_now, all_now) = (busy - busy_before, busy + idle - busy_before - idle_before);
        let packets: u64 = counters.rx_packets.iter().sum();
        let overflows = ring_overflows(house, worker, &counters);
        let ring =
            |((ring, depth, capacity), (_, overflows)): ((&'static str, usize, usize), (&str, u64))| {
                RingView { ring, depth: depth as u64, capacity: capacity as u64, overflows }
            };
        WorkerView {
            worker,
            core: house.fleet.cores()[worker],
            busy_percent: if all_now == 0 { 0.0 } else { busy_now as f64 * 100.0 / all_now as f64 },
            busy_cycles: busy,
            idle_cycles: idle,
            packets,
            cycles_per_packet: if packets == 0 { 0.0 } else { busy as f64 / packets as f64 },
            bursts: counters.bursts.to_vec(),
            bindings: counters.bindings_live,
            punts: PuntClass::ALL
                .iter()
                .map(|class| (class.label(), counters.punts[*class as usize]))
                .collect(),
            injected: counters.injected,
            handed_off: counters.handed_off,
            held: counters.held,
            held_sent: counters.held_sent,
            held_now: counters.held_now,
            rings: house.fleet.rings(worker).into_iter().zip(overflows).map(ring).collect(),
        }
    };
    seen.iter_mut().enumerate().map(view).collect()
}

pub(super) fn drops(house: &House) -> Vec<DropView> {
    let drops = totals(house).drops;
    let view = |reason: &DropReason| DropView {
        reason: reason.label(),
        packets: drops[*reason as usize],
        text: reason.text().trim(),
    };
    DropReason::ALL.iter().map(view).collect()
}

pub(super) fn nat(house: &House) -> Option<NatView> {
    let nat = house.config.nat.as_ref()?;
    let room = &house.settings.nat_room;
    let worker = |worker: usize| {
        let counters = house.fleet.snapshot(worker);
        NatWorkerView {
            sessions: (counters.sessions_live, room.sessions),
            mappings: (counters.mappings_live, room.mappings),
            hosts: (counters.nat_hosts, room.hosts),
            ports: counters.nat_ports,
            blocks: counters.nat_blocks,
            configured: counters.sessions_configured,
            opened: counters.sessions_opened,
            ended: counters.sessions_ended,
            displaced: counters.sessions_displaced,
            before: (counters.sessions_adopted, counters.sessions_forgotten),
        }
    };
    Some(NatView {
        addresses: nat.addresses.clone(),
        ports: nat.ports,
        block_ports: nat.block_ports,
        filtering: nat.filtering,
        statics: nat.statics.lines().len(),
        short_of: Of::ALL.into_iter().filter(|of| house.shortage.is_of(*of)).map(Of::label).collect(),
        workers: (0..house.fleet.len()).map(worker).collect(),
    })
}

pub(super) fn alg(house: &House) -> AlgView {
    let totals = totals(house);
    let Alg { ftp, sip, rtsp } = &house.config.alg;
    let events = |name| {
        let members =
            FAMILIES.iter().find(|family| family.name == name).map_or(&[][..], |family| family.members);
        members.iter().map(|(label, count)| (*label, count(&totals))).collect()
    };
    let networks = |hosts: &[AlgHosts]| hosts.iter().map(|hosts| hosts.networks.len()).sum();
    AlgView {
        protocols: vec![
            AlgProtocolView {
                name: "FTP",
                transport: "TCP",
                ports: ftp.ports.clone(),
                mode: ftp.mode,
                hosts: networks(&ftp.hosts),
            },
            AlgProtocolView {
                name: "SIP",
                transport: "UDP and TCP",
                ports: sip.ports.clone(),
                mode: sip.mode,
                hosts: networks(&sip.hosts),
            },
            AlgProtocolView {
                name: "RTSP",
                transport: "TCP",
                ports: rtsp.ports.clone(),
                mode: rtsp.mode,
                hosts: networks(&rtsp.hosts),
            },
        ],
        calls: totals.sip_live,
        streams: totals.rtsp_live,
        dialogs: u64::from(house.settings.dialogs) * house.fleet.len() as u64,
        channels: (totals.alg_channels, u64::from(house.settings.channels) * house.fleet.len() as u64),
        awaited: totals.alg_awaited,
        events: events(ALG_EVENTS),
        sip_events: events(SIP_EVENTS),
        rtsp_events: events(RTSP_EVENTS),
    }
}

pub(super) fn session(session: &SessionView) -> SessionRow {
    let address = |(address, port)| SocketAddrV4::new(address, port);
    SessionRow {
        protocol: session.protocol,
        stage: session.stage.label(),
        host: address(session.host),
        external: address(session.external),
        remote: address(session.remote),
        out_packets: session.packets[0],
        out_bytes: session.bytes[0],
        in_packets: session.packets[1],
        in_bytes: session.bytes[1],
        idle_s: session.idle_s,
    }
}

pub(super) fn mapping(mapping: &MappingView) -> MappingRow {
    let address = |(address, port)| SocketAddrV4::new(address, port).to_string();
    MappingRow {
        kind: "dynamic",
        protocol: protocol_name(mapping.protocol),
        inside: address(mapping.host),
        external: address(mapping.external),
        sessions: Some(mapping.sessions),
    }
}

/// The static mappings, as they are configured.
pub(super) fn statics(house: &House) -> Vec<MappingRow> {
    let lines = house.config.nat.iter().flat_map(|nat| nat.statics.lines());
    lines.map(statically).collect()
}

fn statically(line: &Static) -> MappingRow {
    let host = |net: Ipv4Net| if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() };
    let with = |net: Ipv4Net, first: u16, last: u16| {
        let to = if first == last { String::new() } else { format!("-{last}") };
        format!("{}:{first}{to}", net.addr())
    };
    let transports: Vec<_> = line.transports().into_iter().map(PortProtocol::label).collect();
    let (inside, external) = match line.range() {
        None => (host(line.inside), host(line.external)),
        Some((first, last)) => {
            let (from, to) = line.inside_range().unwrap_or((first, last));
            (with(line.inside, from, to), with(line.external, first, last))
        }
    };
    let protocol = if transports.is_empty() { "any".to_owned() } else { transports.join(", ") };
    MappingRow { kind: "static", protocol, inside, external, sessions: None }
}

pub(super) fn peers(house: &House, now: u64) -> PeersView {
    PeersView {
        peers: house.gateway.peers(now),
        blocks: house.gateway.blocks(now),
        filters: house.gateway.filters(now),
        transport: house.sources.peering.counters.iter().collect(),
    }
}

pub(super) fn neighbour(house: &House, hop: NextHop, address: [u8; 6]) -> NeighbourView {
    NeighbourView { port: port_name(house, hop.port).to_owned(), address: hop.address, mac: mac(&address) }
}

pub(super) fn route(house: &House, route: &LearntRoute) -> RouteView {
    RouteView {
        network: route.network.to_string(),
        via: route.via.map(HopAddress::v4),
        port: port_name(house, route.port).to_owned(),
    }
}
