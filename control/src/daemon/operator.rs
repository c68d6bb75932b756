//! What `cesctl` asks of the running gateway.

use super::Daemon;
use crate::admin::protocol::{Request, Response, TRACE_MAX, Topic};
use crate::admin::view::{
    DeviceView, DropView, NeighbourView, NeighboursView, PeersView, PortView, RingView, RouteView, WorkerView,
};
use crate::slots::Key;
use crate::trace::mac;
use ces_dataplane::counters::Counters;
use ces_dataplane::msg::{PuntClass, TraceFilter};
use ces_dataplane::reason::DropReason;
use ces_gateway::AdminToken;
use ces_gateway::snapshot::BindingSnapshot;
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::{Value, json};

/// Bindings whose counters are read for one `show bindings`; the others are shown without.
const COUNTED_BINDINGS: usize = 1024;
/// How long workers may take to tell counters, in nanoseconds; then the list is shown without them.
const READ_NS: u64 = 1_000_000_000;
/// The longest block by hand, in seconds: a year.
const BLOCK_SECONDS: u64 = 366 * 86_400;

/// A trace that runs.
pub(super) struct Trace {
    pub(super) client: Key,
    pub(super) left: u32,
    /// Names of bindings, by tag.
    pub(super) names: FxHashMap<u32, (String, String)>,
    pub(super) names_read: Option<u64>,
}

/// A list of bindings that waits for counters.
struct Listing {
    client: Key,
    bindings: Vec<BindingSnapshot>,
    outstanding: usize,
    deadline: u64,
}

/// What is under way for operators.
#[derive(Default)]
pub(super) struct Operator {
    pub(super) trace: Option<Trace>,
    listings: FxHashMap<u64, Listing>,
    next: u64,
    /// Cycles, busy and idle, of each worker at the last look.
    seen: Vec<(u64, u64)>,
}

/// Bits of a token for the place in a list; the rest name the list.
const PLACE_BITS: u32 = 20;

fn ok(value: &impl Serialize) -> Response {
    match serde_json::to_value(value) {
        Ok(value) => Response::Ok(value),
        Err(error) => Response::Error(format!("cannot be said in JSON: {error}")),
    }
}

fn done(is_done: bool, said: String, refused: String) -> Response {
    if is_done { Response::Ok(Value::String(said)) } else { Response::Error(refused) }
}

impl Daemon {
    /// Answers the requests of a client, as far as they are complete.
    pub(super) fn serve(&mut self, client: Key, now: u64) {
        while let Some(request) = self.admin.handle(client) {
            let response = match request {
                Request::Show { topic: Topic::Bindings } => {
                    self.list_bindings(client, now);
                    return;
                }
                Request::Trace { address, port, protocol, dropped, count } => {
                    let port = match port
                        .map(|name| (self.config.port.iter().position(|port| port.name == name), name))
                    {
                        None => None,
                        Some((Some(number), _)) => Some(number as u8),
                        Some((None, name)) => {
                            let names: Vec<_> =
                                self.config.port.iter().map(|port| port.name.as_str()).collect();
                            let text = format!("no port {name:?}; there are {}", names.join(", "));
                            self.admin.respond(client, &Response::Error(text));
                            continue;
                        }
                    };
                    if !(1..=TRACE_MAX).contains(&count) {
                        self.admin.respond(
                            client,
                            &Response::Error(format!("count: 1 to {TRACE_MAX} was expected")),
                        );
                        continue;
                    }
                    self.start_trace(
                        client,
                        TraceFilter { port, address, protocol, dropped_only: dropped },
                        count,
                    );
                    return;
                }
                other => self.respond(other, now),
            };
            self.pump(now);
            self.admin.respond(client, &response);
        }
    }

    fn respond(&mut self, request: Request, now: u64) -> Response {
        let seconds_fit = |seconds: u64| (1..=BLOCK_SECONDS).contains(&seconds);
        let wrong_seconds = || Response::Error(format!("seconds: 1 to {BLOCK_SECONDS} was expected"));
        match request {
            Request::Show { topic } => self.show(topic, now),
            // Answered by the caller, since they take time.
            Request::Trace { .. } => Response::Ok(Value::Null),
            Request::Reload => match self.reload(now) {
                Ok(lines) => ok(&lines),
                Err(lines) => Response::Error(lines.join("\n")),
            },
            Request::TerminateSession { tag } => done(
                self.gateway.terminate_session(tag, now),
                format!("session {tag:08x} ended"),
                format!("there is no session {tag:08x}"),
            ),
            Request::TerminateSessions { peer } => {
                let count = self.gateway.terminate_sessions(&with_dot(peer), now);
                Response::Ok(json!(format!("{count} sessions ended")))
            }
            Request::TerminatePeer { peer } => {
                let peer = with_dot(peer);
                let ended = self.gateway.terminate_peer(&peer, now);
                done(ended, format!("{peer} ended"), format!("{peer} is not up"))
            }
            Request::BlockHost { seconds, .. } | Request::BlockAddress { seconds, .. }
                if !seconds_fit(seconds) =>
            {
                wrong_seconds()
            }
            Request::BlockHost { host, seconds } => {
                let blocked = self.gateway.block_host(&with_dot(host.clone()), seconds, now);
                done(
                    blocked,
                    format!("{host} is blocked for {seconds} s"),
                    format!("there is no host {host}"),
                )
            }
            Request::UnblockHost { host } => {
                let unblocked = self.gateway.unblock_host(&with_dot(host.clone()), now);
                done(unblocked, format!("{host} may act again"), format!("{host} was not blocked"))
            }
            Request::BlockAddress { address, seconds } => {
                self.gateway.block_address(address, seconds, now);
                self.blocked.look_again();
                Response::Ok(json!(format!("{address} is blocked for {seconds} s")))
            }
            Request::UnblockAddress { address } => {
                self.blocked.look_again();
                let unblocked = self.gateway.unblock_address(address);
                done(unblocked, format!("{address} may connect again"), format!("{address} was not blocked"))
            }
            Request::Flush => {
                self.gateway.flush_cache();
                Response::Ok(json!("the cache is empty"))
            }
        }
    }

    fn show(&mut self, topic: Topic, now: u64) -> Response {
        match topic {
            Topic::Ports => ok(&self.port_views()),
            Topic::Workers => ok(&self.worker_views()),
            Topic::Bindings => ok(&self.gateway.bindings(now)),
            Topic::Peers => ok(&PeersView {
                peers: self.gateway.peers(now),
                blocks: self.gateway.blocks(now),
                filters: self.gateway.filters(now),
                transport: self.peering.counters.iter().collect(),
            }),
            Topic::Hosts => ok(&self.gateway.hosts(now)),
            Topic::Dns => ok(&self.gateway.dns(now)),
            Topic::Drops => {
                let drops = self.totals().drops;
                let view = |reason: &DropReason| DropView {
                    reason: reason.label(),
                    packets: drops[*reason as usize],
                    text: reason.text().trim(),
                };
                ok(&DropReason::ALL.iter().map(view).collect::<Vec<_>>())
            }
            Topic::Tunnels => ok(&self.gateway.tunnels()),
            Topic::Neighbours => ok(&self.neighbours_view()),
            Topic::Pools => ok(&self.gateway.pools()),
        }
    }

    /// The counters of all workers together.
    pub(super) fn totals(&self) -> Counters {
        let mut totals = Counters::default();
        for worker in 0..self.fleet.len() {
            totals += &self.fleet.snapshot(worker);
        }
        totals
    }

    fn port_views(&self) -> Vec<PortView> {
        let totals = self.totals();
        let view = |number: usize| {
            let (configured, port) = (&self.config.port[number], &self.ports[number]);
            let link = port.link().ok();
            let stats = port.stats().ok().map_or_else(DeviceView::default, |stats| DeviceView {
                rx_missed: stats.rx_missed,
                rx_errors: stats.rx_errors,
                tx_errors: stats.tx_errors,
                rx_no_buffer: stats.rx_no_buffer,
            });
            PortView {
                name: configured.name.clone(),
                device: configured.device.clone(),
                driver: self.drivers[number].clone(),
                side: configured.side,
                mac: mac(&self.macs[number]),
                addresses: configured.addresses.iter().map(ToString::to_string).collect(),
                vlan: configured.vlan,
                mtu: configured.mtu,
                tap: self.taps[number].name().to_owned(),
                link: link.map(|link| link.up),
                mbps: link.and_then(|link| link.speed_mbps),
                rx_packets: totals.rx_packets[number],
                rx_bytes: totals.rx_bytes[number],
                tx_packets: totals.tx_packets[number],
                tx_bytes: totals.tx_bytes[number],
                device_counters: stats,
                tap_counters: self.taps[number].counters,
            }
        };
        (0..self.config.port.len()).map(view).collect()
    }

    /// What could not enter a ring, by ring.
    pub(super) fn ring_overflows(&self, worker: usize, counters: &Counters) -> [(&'static str, u64); 4] {
        let own = self.fleet.counters[worker];
        [
            ("command", own.commands_delayed),
            ("inject", own.frames_delayed + own.frames_lost),
            ("event", counters.event_ring_full),
            ("punt", counters.drops[DropReason::PuntRingFull as usize]),
        ]
    }

    fn worker_views(&mut self) -> Vec<WorkerView> {
        self.operator.seen.resize(self.fleet.len(), (0, 0));
        let mut views = Vec::with_capacity(self.fleet.len());
        for worker in 0..self.fleet.len() {
            let counters = self.fleet.snapshot(worker);
            let (busy, idle) = (counters.busy_cycles, counters.idle_cycles);
            let (busy_before, idle_before) = std::mem::replace(&mut self.operator.seen[worker], (busy, idle));
            let (busy_now, all_now) = (busy - busy_before, busy + idle - busy_before - idle_before);
            let packets: u64 = counters.rx_packets.iter().sum();
            let overflows = self.ring_overflows(worker, &counters);
            let rings = self
                .fleet
                .rings(worker)
                .into_iter()
                .zip(overflows)
                .map(|((ring, depth, capacity), (_, overflows))| RingView {
                    ring,
                    depth: depth as u64,
                    capacity: capacity as u64,
                    overflows,
                })
                .collect();
            views.push(WorkerView {
                worker,
                core: self.fleet.cores()[worker],
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
                rings,
            });
        }
        views
    }

    fn neighbours_view(&self) -> NeighboursView {
        let table = self.kernel.table();
        let name = |port: u8| {
            self.config.port.get(usize::from(port)).map_or_else(String::new, |port| port.name.clone())
        };
        let mut neighbours: Vec<_> = table
            .neighbours()
            .map(|(hop, address)| NeighbourView {
                port: name(hop.port),
                address: hop.address,
                mac: mac(&address),
            })
            .collect();
        neighbours.sort_by_key(|hop| hop.address);
        let routes = table
            .routes()
            .map(|(route, port)| RouteView {
                network: format!("{}/{}", route.network, route.prefix),
                via: route.gateway,
                port: name(port),
            })
            .collect();
        NeighboursView { neighbours, routes }
    }

    /// Lists bindings once the workers have told their counters.
    fn list_bindings(&mut self, client: Key, now: u64) {
        let bindings = self.gateway.bindings(now);
        let counted = bindings.len().min(COUNTED_BINDINGS);
        let number = self.operator.next;
        self.operator.next += 1;
        for (place, binding) in bindings.iter().take(counted).enumerate() {
            let token = AdminToken(number << PLACE_BITS | place as u64);
            self.gateway.read_binding(binding.tag, token, now);
        }
        let listing = Listing { client, bindings, outstanding: counted, deadline: now + READ_NS };
        self.operator.listings.insert(number, listing);
        self.pump(now);
        self.finish_listings(now);
    }

    /// A worker told the counters of a binding.
    pub(super) fn binding_read(&mut self, token: AdminToken, binding: Option<BindingSnapshot>) {
        let (number, place) = (token.0 >> PLACE_BITS, (token.0 & ((1 << PLACE_BITS) - 1)) as usize);
        let Some(listing) = self.operator.listings.get_mut(&number) else { return };
        listing.outstanding = listing.outstanding.saturating_sub(1);
        if let (Some(read), Some(own)) = (binding, listing.bindings.get_mut(place)) {
            own.stats = read.stats;
        }
        if listing.outstanding == 0 {
            // Not from here: whoever pumps goes on with the gateway's outputs.
            listing.deadline = 0;
        }
    }

    /// Sends the lists that are complete, or that waited long enough.
    pub(super) fn finish_listings(&mut self, now: u64) {
        let done: Vec<u64> = self
            .operator
            .listings
            .iter()
            .filter(|(_, listing)| listing.outstanding == 0 || listing.deadline <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            if let Some(listing) = self.operator.listings.remove(&number) {
                self.admin.respond(listing.client, &ok(&listing.bindings));
                self.serve(listing.client, now);
            }
        }
    }

    /// Whether some list may be complete.
    pub(super) fn has_listings(&self) -> bool {
        !self.operator.listings.is_empty()
    }

    /// What has to be looked at now and then.
    pub(super) fn sweep_operator(&mut self, now: u64) {
        self.finish_listings(now);
        let gone =
            self.operator.trace.as_ref().is_some_and(|trace| self.admin.backlog(trace.client).is_none());
        if gone && let Some(trace) = self.stop_trace() {
            // Its connection is half closed: this closes it.
            self.admin.respond(trace.client, &Response::Ok(Value::Null));
        }
    }
}

/// CES ids and host names end with a dot; people leave it out.
fn with_dot(mut name: String) -> String {
    name.make_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}
