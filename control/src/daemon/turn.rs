//! The control loop.
//!
//! One mio poll, the workers' rings beside it. While there is work the rings are looked at in every turn and epoll is asked
//! without waiting. When there is none, the loop announces its sleep to the workers' bell, looks once more, and sleeps
//! until a socket, a timer or the bell; so an idle gateway costs nothing, the first query of a quiet hour waits for one
//! wake-up, and the workers make no system call for a loop that is awake.

use super::{Daemon, Origin, start};
use crate::datagram;
use crate::inward::Core;
use crate::netlink::table::{Change, NextHop};
use crate::slots::Key;
use crate::tokens::Owner;
use ces_dataplane::msg::{Event, PuntClass, SLOT_BYTES};
use ces_dataplane::settings::Side;
use ces_dns::message::Transport;
use ces_gateway::output::{Output, QueryToken};
use ces_gateway::{Level, Route};
use ipnet::Ipv4Net;
use mio::Events;
use std::io::Read;
use std::time::Duration;

/// Punted frames taken from one worker in a turn.
const PUNTS_A_TURN: usize = 256;
/// Events taken from one worker in a turn.
const EVENTS_A_TURN: usize = 1024;
/// Frames read from one TAP in a turn.
const TAP_FRAMES_A_TURN: usize = 256;
/// How often timeouts of connections are looked at, in nanoseconds.
const SWEEP_NS: u64 = 100_000_000;
/// How long the loop stays awake after work, in nanoseconds: answers of resolvers and peers on the same link come within.
const LINGER_NS: u64 = 20_000;
/// How long saying goodbye may take, in nanoseconds.
const GOODBYE_NS: u64 = 1_500_000_000;
/// How long the kernel must be silent for its last segments to be through, in nanoseconds: some round trips, some of them
/// with a delayed acknowledgement (40 ms).
const SILENCE_NS: u64 = 60_000_000;
/// How long what waits for a full ring waits before the next try.
const RETRY: Duration = Duration::from_micros(100);

/// Why the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// A worker is gone: nothing goes on.
    Broken,
}

fn dns_side(side: Side) -> ces_dns::outcome::Side {
    match side {
        Side::Inside => ces_dns::outcome::Side::Inside,
        Side::Outside => ces_dns::outcome::Side::Outside,
    }
}

impl Daemon {
    /// Runs until it is asked to stop, then stops everything. The error is the kernel's, about epoll.
    pub fn run(mut self) -> std::io::Result<End> {
        let mut events = Events::with_capacity(1024);
        let (mut last_work, mut last_sweep, mut last_report) = (0, 0, 0);
        let mut end = None;
        let mut deadline = u64::MAX;
        loop {
            self.counters.turns += 1;
            let now = self.clock.now();
            let mut work = self.take_rings(now);
            work |= self.continue_reading(now);
            if self.gateway.poll_timeout().is_some_and(|at| at <= now) {
                self.gateway.handle_timeout(now);
                work = true;
            }
            self.settle(now);
            if work && self.has_listings() {
                self.finish_listings(now);
            }
            if now.saturating_sub(last_sweep) >= SWEEP_NS {
                last_sweep = now;
                self.sweep(now);
                if now.saturating_sub(last_report) >= crate::log::REPORT_EVERY.as_nanos() as u64 {
                    last_report = now;
                    self.limiter.report();
                }
                if self.fleet.is_broken() {
                    return Ok(End::Broken);
                }
            }
            // What was said last is in the kernel's sockets: the TAPs and workers carry it until the kernel is silent.
            if let Some(end) = end
                && (now >= deadline
                    || (self.peering.is_empty() && now.saturating_sub(last_work) >= SILENCE_NS))
                && self.fleet.drain()
            {
                self.finish();
                return Ok(end);
            }
            if work {
                last_work = now;
            }
            let timeout = self.timeout(now, last_work, last_sweep);
            self.poll.poll(&mut events, Some(timeout)).or_else(|error| {
                // A signal: its pipe is readable in the next turn.
                if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
            })?;
            if !timeout.is_zero() {
                self.fleet.awake();
                self.counters.sleeps += 1;
            }
            let now = self.clock.now();
            for event in &events {
                let Some((owner, number)) = Owner::of(event.token()) else { continue };
                last_work = now;
                match (owner, number) {
                    (Owner::Signals, 0) => {
                        self.drain_signal(0);
                        if end.is_none() {
                            tracing::info!("stopping");
                            self.gateway.shutdown(now);
                            deadline = now + GOODBYE_NS;
                        } else {
                            // Asked twice: no goodbyes.
                            deadline = now;
                        }
                        end = Some(End::Asked);
                    }
                    (Owner::Signals, _) => {
                        self.drain_signal(1);
                        let _ = self.reload(now);
                    }
                    _ => self.dispatch(owner, number, now),
                }
                self.pump(now);
            }
            self.settle(now);
        }
    }

    fn drain_signal(&mut self, which: usize) {
        let mut buffer = [0; 64];
        while matches!(self.signals[which].read(&mut buffer), Ok(length) if length > 0) {}
    }

    /// How long the loop may sleep.
    fn timeout(&mut self, now: u64, last_work: u64, last_sweep: u64) -> Duration {
        let more = self.kernel_unread
            || !self.taps_unread.is_empty()
            || self.peering.has_unread()
            || self.dns_tcp.has_unread()
            || self.upstream.has_unread();
        if more || now.saturating_sub(last_work) < LINGER_NS {
            return Duration::ZERO;
        }
        let mut until = last_sweep + SWEEP_NS;
        if let Some(at) = self.gateway.poll_timeout() {
            until = until.min(at);
        }
        if until <= now {
            return Duration::ZERO;
        }
        if !self.fleet.doze() {
            return Duration::ZERO;
        }
        let sleep = Duration::from_nanos(until - now);
        if self.fleet.drain() { sleep } else { sleep.min(RETRY) }
    }

    fn dispatch(&mut self, owner: Owner, number: u64, now: u64) {
        let key = Key::unpack(number);
        let mut core = Core { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
        match owner {
            Owner::Signals => {}
            Owner::Netlink => self.read_kernel(now),
            Owner::Tap => self.read_tap(number as usize),
            Owner::CetpListener => self.peering.handle_listener(number as usize, &mut core, now),
            Owner::Cetp => self.peering.handle(key, &mut core),
            Owner::DnsListener => self.dns_tcp.handle_listener(number as usize, now),
            Owner::Dns => {
                let mut asked = Vec::new();
                self.dns_tcp.handle(key, &mut asked, now);
                self.ask(asked, now);
            }
            Owner::Upstream => self.upstream.handle_udp(number as usize, &mut core),
            Owner::UpstreamTcp => self.upstream.handle_tcp(key, &mut core),
            Owner::AdminListener => self.admin.handle_listener(),
            Owner::Admin => self.serve(key, now),
            Owner::MetricsListener => {
                if let Some(http) = &mut self.http {
                    http.handle_listener(now);
                }
            }
            Owner::Metrics => {
                // The page is made from the whole daemon, so the server steps out of it for the while.
                if let Some(mut http) = self.http.take() {
                    http.handle(key, || self.scrape(now), now);
                    self.http = Some(http);
                }
            }
        }
    }

    /// Takes what the workers have. True if there was anything.
    fn take_rings(&mut self, now: u64) -> bool {
        let mut work = false;
        for worker in 0..self.fleet.len() {
            for _ in 0..EVENTS_A_TURN {
                let Some(event) = self.fleet.event(worker) else { break };
                work = true;
                match event {
                    Event::Trace(record) => self.traced(worker, &record, now),
                    other => {
                        self.gateway.handle_event(worker as u32, other, now);
                        // A binding's end frees its slot: what follows must see it.
                        self.pump(now);
                    }
                }
            }
            for _ in 0..PUNTS_A_TURN {
                let (gateway, taps) = (&mut self.gateway, &mut self.taps);
                let (origins, counters, ports) = (&mut self.origins, &mut self.counters, &self.config.port);
                let kernel = &self.kernel;
                let (mut asker, mut unknown) = (None, false);
                let taken = self.fleet.punted(worker, |slot| {
                    let port = slot.port;
                    let length = usize::from(slot.length).min(SLOT_BYTES);
                    let frame = &mut slot.data[..length];
                    if slot.class != PuntClass::Dns {
                        if let Some(tap) = taps.get_mut(usize::from(port)) {
                            tap.write(frame);
                        }
                        return;
                    }
                    let Some(configured) = ports.get(usize::from(port)) else { return };
                    match datagram::parse(frame) {
                        Ok((path, message)) => {
                            let hop = NextHop { port, address: *path.remote.ip() };
                            unknown = configured.side == Side::Inside && kernel.table().mac(hop).is_none();
                            asker = Some(hop);
                            let key = origins.insert(Origin::Udp { worker, port, path });
                            let side = dns_side(configured.side);
                            let token = QueryToken(key.pack());
                            gateway.handle_dns(side, Transport::Udp, path.client(), message, token, now);
                        }
                        Err(why) => counters.malformed[why as usize] += 1,
                    }
                });
                if taken.is_none() {
                    break;
                }
                if unknown && let Some(hop) = asker {
                    self.look_up_asker(hop, now);
                }
                work = true;
                self.pump(now);
            }
        }
        work
    }

    /// A host asks for a name, and the kernel has not seen it yet: packets for it will come right after the answer, so it
    /// is looked up while the name is. Hosts on the link only, and so many a second that a flood of made-up addresses
    /// does no harm.
    fn look_up_asker(&mut self, hop: NextHop, now: u64) {
        let on_link = self.config.port.get(usize::from(hop.port)).is_some_and(|port| {
            port.addresses.iter().any(|net| net.contains(&hop.address) && net.addr() != hop.address)
        });
        if on_link && self.lookups.take(now) {
            self.kernel.resolve(hop);
        }
    }

    /// Goes on with what was not read to its end. True if there was anything.
    fn continue_reading(&mut self, now: u64) -> bool {
        let mut work = false;
        if self.kernel_unread {
            self.read_kernel(now);
            work = true;
        }
        for tap in std::mem::take(&mut self.taps_unread) {
            self.read_tap(tap);
            work = true;
        }
        let mut core = Core { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
        if self.peering.has_unread() {
            self.peering.handle_unread(&mut core);
            work = true;
        }
        if self.upstream.has_unread() {
            self.upstream.handle_unread(&mut core);
            work = true;
        }
        if self.dns_tcp.has_unread() {
            let mut asked = Vec::new();
            self.dns_tcp.handle_unread(&mut asked, now);
            self.ask(asked, now);
            work = true;
        }
        work
    }

    /// Gives questions that came over TCP to the gateway.
    fn ask(&mut self, asked: Vec<crate::dns_tcp::Question>, now: u64) {
        for question in asked {
            let Some(port) = self.dns_ports.get(question.listener).map(|port| usize::from(*port)) else {
                continue;
            };
            let side = dns_side(self.config.port[port].side);
            let key = self.origins.insert(Origin::Tcp { client: question.client, number: question.number });
            let token = QueryToken(key.pack());
            self.gateway.handle_dns(side, Transport::Tcp, question.remote, &question.message, token, now);
            self.pump(now);
        }
    }

    /// Does what the gateway wants done, until it wants nothing more.
    pub(super) fn pump(&mut self, now: u64) {
        while let Some(output) = self.gateway.poll_output() {
            let mut core = Core { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
            match output {
                Output::Answer { token, bytes } => self.answer(token, Some(&bytes), now),
                Output::NoAnswer { token } => self.answer(token, None, now),
                Output::Dataplane { worker, command } => self.fleet.command(worker as usize, command),
                Output::Upstream(transmit) => self.upstream.send(&transmit, &mut core, now),
                Output::CetpConnect { conn, endpoint, ces_id } => {
                    self.peering.connect(conn, &endpoint, &ces_id, &mut core, now);
                }
                Output::CetpSend { conn, bytes } => self.peering.send(conn, &bytes, &mut core),
                Output::CetpClose { conn } => self.peering.close(conn, now),
                Output::ResolveNeighbour { port, address } => self.kernel.resolve(NextHop { port, address }),
                Output::Binding { token, binding } => self.binding_read(token, binding),
                Output::Log(entry) => log(&entry),
            }
        }
    }

    /// As [`Daemon::pump`], and then sends what the peers are to have: once for many messages.
    pub(super) fn settle(&mut self, now: u64) {
        loop {
            self.pump(now);
            let mut core = Core { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
            if !self.peering.flush(&mut core) {
                return;
            }
        }
    }

    fn answer(&mut self, token: QueryToken, bytes: Option<&[u8]>, now: u64) {
        let Some(origin) = self.origins.remove(Key::unpack(token.0)) else { return };
        match origin {
            Origin::Tcp { client, number } => self.dns_tcp.answer(client, number, bytes, now),
            Origin::Udp { worker, port, path } => {
                let Some(bytes) = bytes else { return };
                let mtu = self.config.port[usize::from(port)].mtu;
                if !datagram::fits(bytes.len(), mtu) {
                    self.counters.too_long += 1;
                    return;
                }
                self.fleet.inject(worker, port, |frame| {
                    datagram::emit_answer(&path, bytes, mtu, frame).unwrap_or(0)
                });
            }
        }
    }

    /// Frames from the kernel go out of the port whose shadow the TAP is.
    fn read_tap(&mut self, number: usize) {
        let Some(tap) = self.taps.get_mut(number) else { return };
        let mut buffer = [0; SLOT_BYTES];
        for _ in 0..TAP_FRAMES_A_TURN {
            let Some(length) = tap.read(&mut buffer) else { return };
            // Any worker may send: TCP orders its segments itself, and the first worker's ring is as good as another.
            self.fleet.inject(0, number as u8, |frame| {
                frame[..length].copy_from_slice(&buffer[..length]);
                length
            });
        }
        self.taps_unread.push(number);
    }

    fn read_kernel(&mut self, now: u64) {
        let gateway = &mut self.gateway;
        let mut routes_changed = false;
        self.kernel_unread = self.kernel.read(|change| match change {
            Change::Neighbour(hop, mac) => gateway.set_neighbour(hop.port, hop.address, mac, now),
            Change::Routes => routes_changed = true,
        });
        self.routes_changed |= routes_changed;
        if self.routes_changed && !self.kernel_unread {
            self.routes_changed = false;
            let routes: Vec<Route> = self
                .kernel
                .table()
                .routes()
                .filter_map(|(route, port)| {
                    Some(Route {
                        network: Ipv4Net::new(route.network, route.prefix).ok()?,
                        via: route.gateway,
                        port,
                    })
                })
                .collect();
            self.gateway.set_routes(&routes, now);
        }
    }

    /// What has to be looked at now and then.
    fn sweep(&mut self, now: u64) {
        let mut core = Core { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
        self.peering.handle_timeout(&mut core, now);
        self.upstream.handle_timeout(&mut core, now);
        self.dns_tcp.handle_timeout(now);
        self.abandon();
        if let Some(http) = &mut self.http {
            http.handle_timeout(now);
        }
        self.sweep_operator(now);
        for line in dpdk::take_log().lines().filter(|line| !line.trim().is_empty()) {
            tracing::debug!(kind = "dpdk", "{}", line.trim());
        }
        self.settle(now);
    }

    /// Questions whose clients went away.
    fn abandon(&mut self) {
        let gone = self.dns_tcp.take_abandoned();
        if gone.is_empty() {
            return;
        }
        let lost = |origin: &Origin| matches!(origin, Origin::Tcp { number, .. } if gone.contains(number));
        for key in self.origins.keys_where(lost) {
            self.origins.remove(key);
            self.gateway.handle_dns_gone(QueryToken(key.pack()));
        }
    }

    /// Reads everything again and applies what can be applied; what it says is for the operator.
    pub(super) fn reload(&mut self, now: u64) -> Result<Vec<String>, Vec<String>> {
        let result = self.try_reload(now);
        match &result {
            Ok(lines) => lines.iter().for_each(|line| tracing::info!("{line}")),
            Err(lines) => lines.iter().for_each(|line| tracing::error!("reload: {line}")),
        }
        result
    }

    fn try_reload(&mut self, now: u64) -> Result<Vec<String>, Vec<String>> {
        let (mut loaded, credentials) = start::load(&self.path)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let fixed = self.config.fixed_differences(&loaded.config);
        // The workers and listeners go on as they are, so what is published about them does too.
        loaded.config.keep_fixed(&self.config);
        for warning in loaded.policies.warnings() {
            tracing::warn!("{warning}");
        }
        let reloaded = self
            .gateway
            .reload(loaded.config.settings(), loaded.registry, loaded.policies, now)
            .map_err(|error| vec![error])?;
        self.peering.set_credentials(credentials);
        self.config = loaded.config;
        self.pump(now);
        let mut lines = vec![format!(
            "reloaded: {} hosts added, {} removed, {} changed, {} sessions terminated",
            reloaded.hosts_added,
            reloaded.hosts_removed,
            reloaded.hosts_changed,
            reloaded.sessions_terminated
        )];
        if !fixed.is_empty() {
            lines.push(format!("changed, but only a restart applies it: {}", fixed.join(", ")));
        }
        Ok(lines)
    }

    /// The last steps: workers drained and gone, then everything else by being dropped.
    fn finish(mut self) {
        self.fleet.stop();
        self.limiter.report();
        tracing::info!("stopped");
    }
}

/// Writes a line of the gateway's core.
fn log(entry: &ces_gateway::Entry) {
    macro_rules! line {
        ($level:ident) => {
            // The kind is the event: what a stranger can repeat is limited by it.
            tracing::$level!(
                kind = entry.event,
                host = entry.host.as_deref(),
                remote = entry.remote.as_deref(),
                peer = entry.peer.as_deref(),
                address = entry.address.map(tracing::field::display),
                tag = entry.tag.map(|tag| tracing::field::display(format!("{tag:08x}"))),
                reason = entry.reason.as_deref(),
                "{}",
                entry.event
            )
        };
    }
    match entry.level {
        Level::Debug => line!(debug),
        Level::Info => line!(info),
        Level::Warn => line!(warn),
    }
}
