//! The owners side by side: workers, ports, sources, the gateway's core, who waits for answers. Each is a value of its own;
//! what crosses between them is here.

use super::added::AddedHosts;
use super::askers::{Askers, Origin};
use super::devices::Devices;
use super::dhcp::Dhcp;
use super::last_reload::LastReload;
use super::load::Load;
use super::outside;
use super::rewrites::Rewrites;
use super::rules::Rules;
use super::shortage::Shortage;
use super::sources::Sources;
use super::world::{World, dns_side};
use crate::clock::WallClock;
use crate::config::Config;
use crate::datagram;
use crate::fleet::Fleet;
use crate::inward::{Blocked, GatewayAccess};
use crate::log::Log;
use crate::records::Recorder;
use crate::sources::netlink::table::NextHop;
use crate::sources::peering::Upper;
use crate::state::Journal;
use crate::{echo, sender};
use ces_dataplane::msg::{Event, PuntClass, SLOT_BYTES};
use ces_dataplane::premises::Premises;
use ces_dataplane::settings::{Side, WorkerSettings};
use ces_dataplane::table::fib::Fib;
use ces_dns::message::Transport;
use ces_gateway::output::{AdminToken, Output, QueryToken};
use ces_gateway::snapshot::BindingSnapshot;
use ces_gateway::{Evidence, Gateway, Severity};
use mio::Token;
use std::sync::Arc;

/// The owners. They are dropped in this order: first the workers, which hold queues, then ports and TAPs.
pub(super) struct House {
    pub(super) fleet: Fleet,
    pub(super) devices: Devices,
    pub(super) sources: Sources,
    pub(super) gateway: Gateway,
    pub(super) blocked: Blocked,
    pub(super) askers: Askers,
    pub(super) config: Config,
    /// What the workers were told last.
    pub(super) settings: WorkerSettings,
    /// And what they forward by.
    pub(super) fib: Arc<Fib>,
    /// And which sessions they let be opened.
    pub(super) rules: Rules,
    /// What ALGs wrote anew last.
    pub(super) rewrites: Rewrites,
    /// Where records of NAT44 go, if any are made.
    pub(super) recorder: Option<Recorder>,
    /// What of NAT44 there is little left of.
    pub(super) shortage: Shortage,
    pub(super) last_reload: LastReload,
    pub(super) load: Load,
    pub(super) log: Log,
    /// Where changes of sessions are written down.
    pub(super) journal: Option<Journal>,
    /// What came at run time.
    pub(super) added: AddedHosts,
    /// Who gives hosts their addresses.
    pub(super) dhcp: Dhcp,
    /// Counters of bindings that the workers told, for who asked.
    pub(super) told: Vec<(AdminToken, Option<BindingSnapshot>)>,
    /// Rows of tables of NAT44 that the workers told, for who asked.
    pub(super) rows_told: Vec<Event>,
}

impl House {
    /// The sources, and beside them whom they tell.
    fn split(&mut self, now: u64) -> (&mut Sources, World<'_>, &mut Load) {
        let core = GatewayAccess { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
        let world = World { core, askers: &mut self.askers, fleet: &mut self.fleet };
        (&mut self.sources, world, &mut self.load)
    }

    /// Something happened to a socket: whose it is.
    pub(super) fn handle(&mut self, token: Token, now: u64) -> Option<&'static str> {
        let (sources, mut world, _) = self.split(now);
        let whose = sources.handle(token, &mut world, now);
        self.pump(now);
        whose
    }

    /// Goes on with what was not read to its end.
    pub(super) fn handle_unread(&mut self, clock: &WallClock) {
        let mut began = clock.now();
        let (sources, mut world, load) = self.split(began);
        sources.handle_unread(&mut world, began, |whose| began = load.lap(whose, began, clock.now()));
    }

    /// Looks for what has taken too long.
    pub(super) fn handle_timeout(&mut self, clock: &WallClock) {
        let mut began = clock.now();
        let (sources, mut world, load) = self.split(began);
        sources.handle_timeout(&mut world, began, |whose| began = load.lap(whose, began, clock.now()));
    }

    /// Takes a frame that a worker punted; false if there is none.
    pub(super) fn take_punt(&mut self, worker: usize, now: u64) -> bool {
        let (gateway, askers, ports) = (&mut self.gateway, &mut self.askers, &self.config.port);
        let dhcp = &mut self.dhcp;
        let Sources { taps, kernel, upstream, .. } = &mut self.sources;
        let mut sought = None;
        let taken = self.fleet.punted(worker, |slot| {
            let port = slot.port;
            let length = usize::from(slot.length).min(SLOT_BYTES);
            let frame = &mut slot.data[..length];
            let is_inside = ports.get(usize::from(port)).is_some_and(|port| port.side == Side::Inside);
            if is_inside && let Some((address, mac, by)) = sender::of(frame) {
                if by == Evidence::Arp {
                    dhcp.seen(address, mac, now);
                }
                if !gateway.handle_sender(address.into(), mac, by, now) {
                    return;
                }
            }
            if slot.class == PuntClass::Dhcp {
                return dhcp.handle(port, frame, now);
            }
            if slot.class == PuntClass::Udp
                && !datagram::parse(frame).is_ok_and(|(path, _)| upstream.expects(path.local.port()))
            {
                return;
            }
            if !is_inside
                && slot.class == PuntClass::Icmp
                && let Some((from, token)) = echo::answer(frame)
                && gateway.handle_echo(from.into(), token, now)
            {
                return;
            }
            if slot.class != PuntClass::Dns {
                taps.write(port, frame, now);
                return;
            }
            let Some(configured) = ports.get(usize::from(port)) else { return };
            let Some((path, message)) = askers.parse(frame) else { return };
            let hop = NextHop { port, address: *path.remote.ip() };
            sought = askers.is_sought(hop, configured, kernel.table(), now).then_some(hop);
            let token = askers.add(Origin::Udp { worker, port, path });
            gateway.handle_dns(dns_side(configured.side), Transport::Udp, path.client(), message, token, now);
        });
        if let Some(hop) = sought {
            self.sources.kernel.resolve(hop);
        }
        if taken.is_some() {
            self.pump(now);
        }
        taken.is_some()
    }

    /// Does what the gateway wants done, until it wants nothing more.
    pub(super) fn pump(&mut self, now: u64) {
        loop {
            self.do_all(now);
            let leased = self.dhcp.pump(&mut self.fleet, &mut self.gateway, &self.settings, now);
            let admin = &mut self.sources.admin;
            let written = self
                .added
                .take_written(&mut self.gateway, |client, response| _ = admin.respond(client, response));
            if !leased && !written {
                return;
            }
        }
    }

    /// What the gateway's core wants done.
    fn do_all(&mut self, now: u64) {
        while let Some(output) = self.gateway.poll_output() {
            let mut core = GatewayAccess { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
            let Sources { kernel, learnt, peering, upstream, .. } = &mut self.sources;
            match output {
                Output::Answer { token, bytes } => self.answer(token, Some(&bytes), now),
                Output::NoAnswer { token } => self.answer(token, None, now),
                Output::Dataplane { worker, command } => self.fleet.command(worker as usize, command),
                Output::Key { worker, change } => self.fleet.key(worker as usize, change),
                Output::Routes(fib) => {
                    self.fib = fib;
                    self.publish();
                }
                Output::Upstream(transmit) => upstream.send(&transmit, &mut core, now),
                Output::UpstreamClose(socket) => upstream.close_socket(socket),
                Output::CetpConnect { conn, endpoint, ces_id } => {
                    match outside::leads_there(endpoint.addr, &self.config, learnt.routes()) {
                        Ok(()) => peering.connect(conn, &endpoint, &ces_id, &mut core, now),
                        Err(why) => {
                            let address = endpoint.addr;
                            tracing::warn!(kind = "cetp_endpoint", peer = %ces_id, %address, "no peer is there: {why}");
                            core.closed(conn);
                        }
                    }
                }
                Output::CetpSend { conn, bytes } => peering.send(conn, &bytes, &mut core, now),
                Output::CetpClose { conn } => peering.close(conn, now),
                Output::ResolveNeighbour { port, address } => {
                    kernel.resolve(NextHop { port, address: address.v4() });
                }
                Output::Echo { port, mac, from, to, size, token } => {
                    if let Some(settings) = self.settings.ports.get(usize::from(port)) {
                        let ends = (from.v4(), to.v4());
                        self.fleet
                            .inject(0, port, |frame| echo::request(settings, mac, ends, size, token, frame));
                    }
                }
                Output::AskOwner { port, address, mac } => {
                    if let Some(settings) = self.settings.ports.get(usize::from(port)) {
                        self.fleet.inject(0, port, |frame| sender::ask(settings, address.v4(), mac, frame));
                    }
                }
                Output::Binding { token, binding } => self.told.push((token, binding)),
                Output::Changed { at, change } => {
                    if let Some(journal) = &mut self.journal {
                        journal.record(at, change);
                    }
                }
                Output::Added { number, records } => self.added.keep_names(number, records),
                Output::Log(entry) => log(&entry),
            }
        }
    }

    /// Goes on with what the DHCP server waited for. True if there was anything.
    pub(super) fn lease(&mut self, now: u64) -> bool {
        let is_due = self.dhcp.poll_timeout().is_some_and(|at| at <= now);
        if is_due {
            self.dhcp.handle_timeout(now);
        }
        let work = self.dhcp.take_written() || is_due;
        if work {
            self.pump(now);
        }
        work
    }

    /// Tells the workers all that holds for them.
    pub(super) fn publish(&mut self) {
        let premises = Premises::new(&self.settings).with_routes(Arc::clone(&self.fib));
        self.fleet.publish(&self.rules.put_into(premises));
    }

    /// As [`House::pump`], and then sends what the peers are to have: once for many messages.
    pub(super) fn settle(&mut self, now: u64) {
        loop {
            self.pump(now);
            let mut core = GatewayAccess { gateway: &mut self.gateway, blocked: &mut self.blocked, now };
            if !self.sources.peering.flush(&mut core, now) {
                return;
            }
        }
    }

    fn answer(&mut self, token: QueryToken, bytes: Option<&[u8]>, now: u64) {
        match (self.askers.take(token), bytes) {
            (Some(Origin::Tcp { client, number }), bytes) => {
                self.sources.dns_tcp.answer(client, number, bytes, now);
            }
            (Some(Origin::Udp { worker, port, path }), Some(bytes)) => {
                let mtu = self.config.port[usize::from(port)].mtu;
                if self.askers.fits(bytes, mtu) {
                    self.fleet.inject(worker, port, |frame| {
                        datagram::emit_answer(&path, bytes, mtu, frame).unwrap_or(0)
                    });
                }
            }
            (Some(Origin::Udp { .. }) | None, _) => {}
        }
    }
}

/// Writes a line of the gateway's core.
fn log(entry: &ces_gateway::LogLine) {
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
        Severity::Debug => line!(debug),
        Severity::Info => line!(info),
        Severity::Warn => line!(warn),
    }
}
