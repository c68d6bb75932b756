//! The metrics of the running gateway: a snapshot of everything, as families.

use super::house::House;
use super::shortage::Of;
use super::views::{ring_overflows, totals};
use crate::datagram::NotDns;
use crate::families::{Families, MetricsPage};
use crate::records::KeptRecords;
use crate::state::Journal;
use ces_cetp::engine::{BlockReason, Outcomes};
use ces_dataplane::counters::{Counters, FAMILIES};
use ces_dataplane::msg::{EndReason, PuntClass};
use ces_dataplane::reason::DropReason;
use ces_dhcp::Outcome;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_gateway::counters::{MacEvent, NegotiationOutcome, TIME_BOUNDS_US};
use ces_gateway::inbound::Fate;

/// Upper bounds of the burst histogram's buckets, in packets: those of `Counters::bursts`.
const BURST_BOUNDS: [f64; 7] = [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0];

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
        workers(house, &mut families);
        pools(house, &mut families);
        names(house, &mut families, now);
        cetp(house, &mut families, now);
        rules(house, &mut families);
        shortage(house, &mut families);
        records(house, &mut families);
        inbound(house, &mut families);
        dhcp(house, &mut families);
        own(house, &mut families, age);
        if let Some(kept) = &house.journal {
            journal(kept, &mut families);
        }
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
    let mut link = families.gauges("ces_port_up", "Whether the port has a link.");
    for (number, port) in ports() {
        if let Some((up, _)) = house.devices.link(number) {
            link.level(&[("port", port)], f64::from(u8::from(up)));
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
    let mut bursts = families.histograms("ces_burst_packets", "Packets in a receive burst.");
    for (_, name, counters) in &workers {
        let packets: u64 = counters.rx_packets.iter().sum();
        bursts.distribution(&[("worker", name)], &BURST_BOUNDS, &counters.bursts, packets as f64);
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
    let mut blocks = families.counters("ces_cetp_blocks_total", "Addresses that were blocked, by reason.");
    for why in BlockReason::ALL {
        blocks.count(&[("reason", why.label())], counters.blocks[why as usize]);
    }
    let mut connections = families.counters("ces_cetp_connections_total", "What became of CETP connections.");
    for (event, count) in house.sources.peering.counters.iter() {
        connections.count(&[("event", event)], count);
    }
    families.gauge("ces_cetp_connections", "CETP connections now.", house.sources.peering.len() as f64);
    let up = house.gateway.peers(now).iter().filter(|peer| peer.up).count();
    families.gauge("ces_cetp_peers_up", "Peers with which C2C stands.", up as f64);
}

fn own(house: &House, families: &mut Families, age: u64) {
    let (neighbours, overflows) = house.sources.kernel.table().sizes();
    let learnt = house.sources.learnt.standing();
    families.gauge("ces_routes", "Routes that are forwarded by.", house.sources.learnt.routes().len() as f64);
    families.counter("ces_route_tables_total", "Forwarding tables that were made of routes.", learnt.tables);
    families.gauge(
        "ces_route_table_seconds",
        "How long the last forwarding table took to make.",
        learnt.build_ns as f64 / 1e9,
    );
    families.gauge("ces_neighbours", "Neighbours learnt from the kernel.", neighbours as f64);
    families.counter(
        "ces_netlink_overflows_total",
        "Routes and neighbours that found no room.",
        overflows + learnt.refused,
    );
    families.counter(
        "ces_netlink_resyncs_total",
        "Times that the kernel's notices overflowed.",
        house.sources.kernel.resyncs() + learnt.resyncs,
    );
    families.counter(
        "ces_neighbours_full_total",
        "Neighbours that the gateway needed and the kernel's table had no room for.",
        house.sources.kernel.full(),
    );
    families.counter(
        "ces_shadow_macs_restored_total",
        "Times that a shadow interface got its port's MAC address back.",
        house.sources.kernel.restored(),
    );
    let (turns, sleeps) = house.load.turns();
    families.counter("ces_control_turns_total", "Turns of the control loop.", turns);
    families.counter("ces_control_sleeps_total", "Times that the control loop slept.", sleeps);
    let pieces = house.load.pieces();
    let mut longest = families.gauges(
        "ces_control_longest_seconds",
        "The longest piece of work of the control loop since the start, by cause.",
    );
    for piece in &pieces {
        longest.level(&[("by", piece.by)], piece.longest_ns as f64 / 1e9);
    }
    let mut worked = families.gauges(
        "ces_control_worked_seconds",
        "The most that a piece of work of the control loop worked, without what it waited for a core, by cause.",
    );
    for piece in &pieces {
        worked.level(&[("by", piece.by)], piece.worked_ns as f64 / 1e9);
    }
    let mut long = families.counters(
        "ces_control_long_total",
        "Pieces of work of the control loop that worked for more than 5 ms, by cause.",
    );
    for piece in &pieces {
        long.count(&[("by", piece.by)], piece.long);
    }
    families.counter(
        "ces_log_lines_lost_total",
        "Log lines that were lost because nobody read standard error in time.",
        house.log.lost(),
    );
    families.gauge("ces_uptime_seconds", "Seconds since the start.", age as f64 / 1e9);
    families
        .gauges("ces_build_info", "Version of cesd.")
        .level(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
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
}

fn dhcp(house: &House, families: &mut Families) {
    let (server, counters) = (house.dhcp.server(), house.dhcp.server().counters());
    let mut messages = families.counters("ces_dhcp_messages_total", "Messages of DHCP, by outcome.");
    for outcome in Outcome::ALL {
        messages.count(&[("outcome", outcome.label())], counters.value(*outcome));
    }
    for (name, help, value) in [
        ("ces_dhcp_probes_total", "Addresses that were probed before they were offered.", counters.probes),
        ("ces_dhcp_conflicts_total", "Addresses that somebody used without a lease.", counters.conflicts),
        ("ces_dhcp_expired_total", "Leases that ran out.", counters.expired),
    ] {
        families.counter(name, help, value);
    }
    let mut addresses = families.gauges("ces_dhcp_addresses", "Addresses of a subnet, by how they stand.");
    for (index, subnet) in server.book().settings().subnets.iter().enumerate() {
        let (stock, network) = (server.book().stock(index), subnet.network.to_string());
        for (state, count) in [
            ("leased", stock.bound),
            ("offered", stock.offered),
            ("declined", stock.declined),
            ("free", stock.fresh + stock.past),
        ] {
            addresses.level(&[("subnet", &network), ("state", state)], count as f64);
        }
    }
    let Some(file) = house.dhcp.file() else { return };
    families.gauge(
        "ces_dhcp_leases_whole",
        "Whether leases can be written down.",
        f64::from(u8::from(file.is_whole)),
    );
    families.gauge("ces_dhcp_leases_size_bytes", "Octets of the file of leases.", file.size as f64);
    families.counter("ces_dhcp_leases_written_total", "Changes of leases written.", file.written);
    families.counter(
        "ces_dhcp_leases_failed_total",
        "Changes of leases that could not be written.",
        file.failed,
    );
}

fn journal(journal: &Journal, families: &mut Families) {
    let view = journal.view();
    families.gauge(
        "ces_journal_whole",
        "Whether all that happened to sessions is in the journal.",
        f64::from(u8::from(journal.is_whole())),
    );
    families.gauge("ces_journal_size_bytes", "Octets of the journal's file.", view.size as f64);
    families.gauge("ces_journal_waiting", "Changes that wait to be written.", view.waiting as f64);
    families.gauge(
        "ces_journal_longest_seconds",
        "The longest that one write or sync of the journal took.",
        view.longest_us as f64 / 1e6,
    );
    for (name, help, value) in [
        ("ces_journal_changes_total", "Changes of sessions written.", view.changes),
        ("ces_journal_bytes_total", "Octets written to the journal.", view.bytes),
        ("ces_journal_syncs_total", "Times that the journal was synced.", view.syncs),
        ("ces_journal_snapshots_total", "Snapshots of the sessions written.", view.snapshots),
        ("ces_journal_failures_total", "Times that the journal could not be written.", view.failures),
        ("ces_journal_lost_total", "Changes that found no room to wait for the disk.", view.lost),
    ] {
        families.counter(name, help, value);
    }
    let mut restored =
        families.gauges("ces_journal_restored", "Bindings of the last process, by what became of them.");
    restored.level(&[("what", "kept")], view.kept as f64);
    restored.level(&[("what", "ended")], view.ended as f64);
}
