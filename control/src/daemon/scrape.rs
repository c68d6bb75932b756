//! The metrics of the running gateway: a snapshot of everything, as families.

mod dhcp;
mod own;
mod queues;

use super::house::House;
use super::shortage::Of;
use super::views::{ring_overflows, totals};
use crate::datagram::NotDns;
use crate::families::{Families, MetricsPage};
use crate::records::KeptRecords;
use ces_cetp::engine::{BlockReason, Outcomes, PeerSnapshot};
use ces_dataplane::counters::{Counters, FAMILIES};
use ces_dataplane::msg::{EndReason, PuntClass};
use ces_dataplane::reason::DropReason;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_gateway::counters::{MacEvent, NegotiationOutcome, TIME_BOUNDS_US};
use ces_gateway::inbound::Fate;

/// Upper bounds of the burst histogram's buckets, in packets: those of `Counters::bursts` but the first, which counts polls that
/// found nothing.
const BURST_BOUNDS: [f64; 6] = [1.0, 3.0, 7.0, 15.0, 31.0, 63.0];
/// The most peers that are told one by one: each is a label.
const PEERS: usize = 256;

/// The page that scrapers read.
pub(super) struct Scrape(MetricsPage);

impl Scrape {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        MetricsPage::new().map(Self)
    }

    /// The page.
    pub(super) fn page(&self, house: &House, age: u64, now: u64) -> Vec<u8> {
        let mut families = Families::default();
        packets(house, &mut families);
        queues::tell(house, &mut families);
        workers(house, &mut families);
        pools(house, &mut families);
        names(house, &mut families, now);
        cetp(house, &mut families, now);
        rules(house, &mut families);
        shortage(house, &mut families);
        records(house, &mut families);
        inbound(house, &mut families);
        added(house, &mut families);
        dhcp::tell(house, &mut families);
        own::tell(house, &mut families, age);
        self.0.text(families).unwrap_or_else(|error| {
            tracing::error!(kind = "metrics", "metrics page: {error}");
            Vec::new()
        })
    }
}

/// Records of NAT44, by who gets them.
fn records(house: &House, families: &mut Families) {
    let Some(recorder) = &house.recorder else { return };
    let mut kept = families.counters(
        "ces_records_total",
        "Records of NAT44, by who gets them: those that were kept or sent, and those that were lost.",
    );
    for KeptRecords { by, kept: taken, lost } in recorder.kept() {
        kept.count(&[("by", &by), ("outcome", "kept")], taken);
        kept.count(&[("by", &by), ("outcome", "lost")], lost);
    }
}

/// Of what NAT44 gives to hosts, what there is little left of.
fn shortage(house: &House, families: &mut Families) {
    let mut short = families.gauges(
        "ces_nat_short",
        "Whether 80 % of NAT44's sessions of a worker, or ports of an address, are taken.",
    );
    for of in Of::ALL {
        short.level(&[("of", of.label())], f64::from(u8::from(house.shortage.is_of(of))));
    }
}

fn packets(house: &House, families: &mut Families) {
    let totals = totals(house);
    let ports = || house.config.port.iter().map(|port| port.name.as_str()).enumerate();
    let mut packets =
        families.counters("ces_packets_total", "Packets that workers received and sent, by port.");
    for (number, port) in ports() {
        packets.count(&[("port", port), ("direction", "rx")], totals.rx_packets[number]);
        packets.count(&[("port", port), ("direction", "tx")], totals.tx_packets[number]);
    }
    let mut bytes =
        families.counters("ces_bytes_total", "Bytes of frames that workers received and sent, by port.");
    for (number, port) in ports() {
        bytes.count(&[("port", port), ("direction", "rx")], totals.rx_bytes[number]);
        bytes.count(&[("port", port), ("direction", "tx")], totals.tx_bytes[number]);
    }
    let mut drops = families.counters("ces_drops_total", "Packets dropped; each under exactly one reason.");
    for reason in DropReason::ALL {
        drops.count(&[("reason", reason.label())], totals.drops[*reason as usize]);
    }
    let mut punts = families.counters("ces_punts_total", "Packets given to the control thread, by class.");
    for class in PuntClass::ALL {
        punts.count(&[("class", class.label())], totals.punts[class as usize]);
    }
    let mut lost = families.counters(
        "ces_device_drops_total",
        "Packets that a device lost before a worker saw them, or on sending.",
    );
    for (number, port) in ports() {
        let Some(stats) = house.devices.lost(number) else { continue };
        for (reason, count) in [
            ("rx_missed", stats.rx_missed),
            ("rx_errors", stats.rx_errors),
            ("tx_errors", stats.tx_errors),
            ("rx_no_buffer", stats.rx_no_buffer),
        ] {
            lost.count(&[("port", port), ("reason", reason)], count);
        }
    }
    let links: Vec<_> =
        ports().filter_map(|(number, port)| Some((port, house.devices.link(number)?))).collect();
    let mut up = families.gauges("ces_port_up", "Whether the port has a link.");
    for (port, (is_up, _)) in &links {
        up.level(&[("port", port)], f64::from(u8::from(*is_up)));
    }
    let mut speed = families.gauges("ces_port_speed_bytes", "Bytes a second that the port's link carries.");
    for (port, (is_up, mbps)) in &links {
        if let (true, Some(mbps)) = (is_up, mbps) {
            speed.level(&[("port", port)], f64::from(*mbps) * 1e6 / 8.0);
        }
    }
    let mut tap =
        families.counters("ces_tap_frames_total", "Frames to and from the kernel on the shadow TAPs.");
    for ((_, port), shadow) in ports().zip(house.sources.taps.all()) {
        let counters = shadow.counters;
        for (what, count) in [
            ("to_kernel", counters.to_kernel),
            ("from_kernel", counters.from_kernel),
            ("refused", counters.refused),
            ("wrong_vlan", counters.wrong_vlan),
            ("unasked", counters.unasked),
        ] {
            tap.count(&[("port", port), ("event", what)], count);
        }
    }
    families.counter(
        "ces_xdp_restored_total",
        "XDP programs that somebody took off a port's interface, and that were put back.",
        house.devices.programs_restored(),
    );
}

fn workers(house: &House, families: &mut Families) {
    let workers: Vec<_> = (0..house.fleet.len())
        .map(|worker| (worker, worker.to_string(), house.fleet.snapshot(worker)))
        .collect();
    let mut bursts = families.histograms("ces_burst_packets", "Packets in a receive burst that had any.");
    for (_, name, counters) in &workers {
        let packets: u64 = counters.rx_packets.iter().sum();
        bursts.distribution(&[("worker", name)], &BURST_BOUNDS, &counters.bursts[1..], packets as f64);
    }
    let mut depth =
        families.gauges("ces_ring_depth", "Entries in a ring between a worker and the control thread.");
    for (worker, name, _) in &workers {
        for (ring, entries, _) in house.fleet.rings(*worker) {
            depth.level(&[("worker", name), ("ring", ring)], entries as f64);
        }
    }
    let mut capacity = families.gauges("ces_ring_capacity", "Entries that such a ring holds at most.");
    for (worker, name, _) in &workers {
        for (ring, _, entries) in house.fleet.rings(*worker) {
            capacity.level(&[("worker", name), ("ring", ring)], entries as f64);
        }
    }
    let mut overflows = families.counters("ces_ring_overflows_total", "Times that such a ring was full.");
    for (worker, name, counters) in &workers {
        for (ring, count) in ring_overflows(house, *worker, counters) {
            overflows.count(&[("worker", name), ("ring", ring)], count);
        }
    }
    let totals = totals(house);
    for family in FAMILIES {
        let (name, help) = (family.name, family.help);
        let mut told = if family.grows { families.counters(name, help) } else { families.gauges(name, help) };
        let mut tell = |of: &[(&str, &str)], counters: &Counters| {
            for (value, count) in family.members {
                let mut labels = of.to_vec();
                if !family.label.is_empty() {
                    labels.push((family.label, value));
                }
                let count = count(counters);
                if family.grows {
                    told.count(&labels, count)
                } else {
                    told.level(&labels, count as f64)
                };
            }
        };
        if family.by_worker {
            for (_, name, counters) in &workers {
                tell(&[("worker", name)], counters);
            }
        } else {
            tell(&[], &totals);
        }
    }
}

fn pools(house: &House, families: &mut Families) {
    let pools = house.gateway.pools();
    let slots: u64 = pools.slots_used.iter().map(|used| u64::from(*used)).sum();
    let slots_max = u64::from(pools.slots_per_worker) * pools.slots_used.len() as u64;
    let hosts_max = u64::from(pools.proxies_per_host);
    let all = [
        ("bindings", slots, Some(slots_max)),
        ("tunnels", u64::from(pools.tunnels_used), Some(u64::from(pools.tunnels_max))),
        ("neighbours", u64::from(pools.neighbours_used), Some(u64::from(pools.neighbours_max))),
        ("routes", house.sources.learnt.standing().kept, Some(u64::from(house.config.capacity.routes))),
        ("proxies", pools.proxies_used, None),
        ("proxies_fullest_host", u64::from(pools.proxies_used_max), Some(hosts_max)),
        ("waiting_queries", u64::from(pools.waiting), Some(u64::from(pools.waiting_max))),
    ];
    let mut used = families.gauges("ces_pool_used", "What is taken of a pool.");
    for (pool, taken, _) in all {
        used.level(&[("pool", pool)], taken as f64);
    }
    let mut size = families.gauges("ces_pool_size", "What a pool has in all.");
    for (pool, _, of) in all {
        if let Some(of) = of {
            size.level(&[("pool", pool)], of as f64);
        }
    }
}

fn names(house: &House, families: &mut Families, now: u64) {
    let counters = house.gateway.counters();
    let mut queries =
        families.counters("ces_dns_queries_total", "DNS queries; each ends in exactly one outcome.");
    for (side, name) in [(QuerySide::Inside, "inside"), (QuerySide::Outside, "outside")] {
        for outcome in QueryOutcome::ALL {
            queries
                .count(&[("side", name), ("outcome", outcome.label())], counters.dns.value(side, *outcome));
        }
    }
    let mut malformed =
        families.counters("ces_dns_datagrams_malformed_total", "Punted DNS frames that are no datagrams.");
    for why in NotDns::ALL {
        malformed.count(&[("reason", why.label())], house.askers.counters().malformed[why as usize]);
    }
    let mut negotiations = families
        .counters("ces_negotiations_total", "Negotiations between hosts; each ends in exactly one outcome.");
    for outcome in NegotiationOutcome::ALL {
        negotiations.count(&[("outcome", outcome.label())], counters.negotiation_count(*outcome));
    }
    let bounds: Vec<f64> = TIME_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect();
    let time = &counters.negotiation_time;
    families
        .histograms(
            "ces_negotiation_seconds",
            "Time from the query that starts a negotiation to its answer, whatever it is.",
        )
        .distribution(&[], &bounds, &time.buckets, time.sum_ns as f64 / 1e9);
    let mut ended = families.counters("ces_bindings_ended_total", "Bindings that ended.");
    for why in EndReason::ALL {
        ended.count(&[("why", why.label())], counters.ended[why as usize]);
    }
    let mut resolver = families.counters(
        "ces_dns_resolver_total",
        "What happened to questions that the gateway asks upstream, rebinding_filtered among it.",
    );
    for (event, count) in house.gateway.resolver_counters().iter() {
        resolver.count(&[("event", event)], count);
    }
    let mut naptr = families.counters(
        "ces_naptr_faults_total",
        "NAPTR records of far names with something wrong, by what it is.",
    );
    for (reason, count) in counters.naptr.iter() {
        naptr.count(&[("reason", reason)], count);
    }
    let mut macs = families.counters(
        "ces_host_macs_total",
        "What became of the MAC addresses that hosts' addresses were seen with: refused is another station's.",
    );
    for &event in MacEvent::ALL {
        macs.count(&[("event", event.label())], counters.macs[event as usize]);
    }
    families.counter(
        "ces_claims_refused_total",
        "Sessions refused because the peer may not speak for the name that it gave its host.",
        counters.claims_refused,
    );
    families.counter(
        "ces_tunnel_rekeys_total",
        "Keys that were agreed for what is sent to peers through encrypted tunnels, the first of each included.",
        counters.rekeys,
    );
    families.counter(
        "ces_claims_looked_up_total",
        "Names of peers' hosts that were looked up because the peer's zones are not listed.",
        counters.claims_looked_up,
    );
    let dns = house.gateway.dns(now);
    families.gauge("ces_dns_cache_entries", "Entries of the resolver's cache.", dns.cache_entries as f64);
    families.counter(
        "ces_dns_joined_total",
        "Queries that joined a negotiation or lookup under way.",
        counters.joined,
    );
    families.counter(
        "ces_dns_too_long_total",
        "Answers over UDP beyond the port's MTU.",
        house.askers.counters().too_long,
    );
    let tcp = &house.sources.dns_tcp.counters;
    let mut events = families.counters("ces_dns_tcp_total", "What happened on DNS over TCP.");
    for (event, count) in [
        ("accepted", tcp.accepted),
        ("refused", tcp.refused),
        ("query", tcp.queries),
        ("idle", tcp.idle),
        ("congested", tcp.congested),
    ] {
        events.count(&[("event", event)], count);
    }
    families.gauge("ces_dns_tcp_connections", "Clients of DNS over TCP.", house.sources.dns_tcp.len() as f64);
    let upstream = &house.sources.upstream.counters;
    let mut events = families.counters("ces_upstream_total", "Messages to and from the resolvers.");
    for (event, count) in [
        ("udp_sent", upstream.udp_sent),
        ("udp_received", upstream.udp_received),
        ("udp_failed", upstream.udp_failed),
        ("udp_unexpected", upstream.udp_unexpected),
        ("tcp_opened", upstream.tcp_opened),
        ("tcp_failed", upstream.tcp_failed),
    ] {
        events.count(&[("event", event)], count);
    }
}

fn cetp(house: &House, families: &mut Families, now: u64) {
    let counters = house.gateway.cetp_counters();
    let mut outcomes =
        families.counters("ces_cetp_total", "CETP negotiations between gateways (c2c) and hosts (h2h).");
    let mut add = |layer: &str, role: &str, counted: &Outcomes| {
        for (outcome, count) in counted.iter() {
            outcomes.count(&[("layer", layer), ("role", role), ("outcome", outcome)], count);
        }
    };
    add("c2c", "initiator", &counters.c2c_initiated);
    add("c2c", "responder", &counters.c2c_received);
    add("h2h", "initiator", &counters.h2h_initiated);
    add("h2h", "responder", &counters.h2h_received);
    let mut messages = families.counters("ces_cetp_messages_total", "CETP messages.");
    messages.count(&[("direction", "rx")], counters.messages_in);
    messages.count(&[("direction", "tx")], counters.messages_out);
    let mut strange = families.counters("ces_cetp_strange_total", "What peers said that could not be used.");
    for (what, count) in [
        ("malformed_message", counters.malformed),
        ("unknown_session", counters.unknown_session),
        ("unknown_tlv", counters.unknown_tlvs),
    ] {
        strange.count(&[("what", what)], count);
    }
    let mut doubts = families.counters(
        "ces_cetp_doubts_total",
        "Peers that came back with other tunnel ids, and whether they turned out to still have their sessions.",
    );
    for (event, count) in [
        ("begun", counters.peers_doubted),
        ("stood", counters.peers_proven),
        ("restarted", counters.peers_restarted),
    ] {
        doubts.count(&[("event", event)], count);
    }
    let mut blocks = families.counters("ces_cetp_blocks_total", "Addresses that were blocked, by reason.");
    for why in BlockReason::ALL {
        blocks.count(&[("reason", why.label())], counters.blocks[why as usize]);
    }
    let mut connections = families.counters("ces_cetp_connections_total", "What became of CETP connections.");
    for (event, count) in house.sources.peering.counters.iter() {
        connections.count(&[("event", event)], count);
    }
    families.gauge("ces_cetp_connections", "CETP connections now.", house.sources.peering.len() as f64);
    peers(&house.gateway.peers(now), families);
}

/// By peer: those with most sessions, and how many there are in all.
fn peers(all: &[PeerSnapshot], families: &mut Families) {
    let up = all.iter().filter(|peer| peer.up).count();
    families.gauge("ces_cetp_peers_up", "Peers with which C2C stands.", up as f64);
    let mut told: Vec<_> = all.iter().collect();
    told.sort_by_key(|peer| std::cmp::Reverse(peer.sessions));
    told.truncate(PEERS);
    let mut tell = |name: &str, help: &str, of: fn(&PeerSnapshot) -> usize| {
        let mut gauges = families.gauges(name, help);
        for peer in &told {
            gauges.level(&[("peer", &peer.ces_id)], of(peer) as f64);
        }
    };
    tell("ces_cetp_peer_up", "Whether C2C stands with the peer.", |peer| usize::from(peer.up));
    tell("ces_cetp_peer_encrypted", "Whether tunnels with the peer are encrypted.", |peer| {
        usize::from(peer.encryption.is_some())
    });
    tell("ces_cetp_peer_sessions", "Sessions with the peer.", |peer| peer.sessions);
    tell("ces_cetp_peer_negotiations", "Negotiations of ours with the peer that are under way.", |peer| {
        peer.pending
    });
}

/// Bounded by how many names rules may have.
fn rules(house: &House, families: &mut Families) {
    let mut decided = families.counters(
        "ces_filter_decisions_total",
        "Sessions about which a rule of the filter has decided, by the rule's name.",
    );
    for ((name, action), count) in house.rules.by_name() {
        decided.count(&[("rule", name), ("action", action)], count);
    }
}

/// What came at run time.
fn added(house: &House, families: &mut Families) {
    families.gauge("ces_added_names", "Names that were set by UPDATE.", house.gateway.added_names() as f64);
    families.gauge("ces_added_hosts", "Hosts that were added by cesctl.", house.added.len() as f64);
    let Some(file) = house.added.view() else { return };
    let whole = f64::from(u8::from(file.is_whole));
    families.gauge("ces_added_whole", "Whether names and hosts of run time can be written down.", whole);
    families.counter("ces_added_written_total", "Changes of names and hosts written.", file.written);
    families.counter(
        "ces_added_failed_total",
        "Changes of names and hosts that could not be written.",
        file.failed,
    );
}

/// The circular pool, where there is one.
fn inbound(house: &House, families: &mut Families) {
    let Some(figures) = house.gateway.inbound_figures() else { return };
    let mut fates = families.counters(
        "ces_inbound_reservations_total",
        "Reservations of the circular pool, by what became of them.",
    );
    for fate in Fate::ALL {
        fates.count(&[("fate", fate.label())], figures.fates[*fate as usize]);
    }
    for (name, help, value) in [
        ("ces_inbound_pending", "Reservations that nobody has used yet.", figures.pending),
        ("ces_inbound_addresses", "Addresses of the circular pool.", figures.offered),
        ("ces_inbound_addresses_taken", "Addresses of which something is reserved.", figures.taken),
    ] {
        families.gauge(name, help, value as f64);
    }
    let mut known = families.gauges("ces_inbound_reputations", "Networks whose reputation is remembered.");
    for (of, count) in ["askers", "comers"].into_iter().zip(figures.reputations) {
        known.level(&[("of", of)], count as f64);
    }
    let mut wanting = families
        .counters("ces_inbound_wanting_total", "Queries that got no address because of who asked, by why.");
    for (why, count) in ["reputation", "share"].into_iter().zip(figures.wanting) {
        wanting.count(&[("why", why)], count);
    }
}
