//! The gateway: one value that owns hosts, policy, pools, resolver and CETP engine, and joins them.
//!
//! This file is the border: what comes in, and the two loops that carry what the engines say to where it belongs. Its parts,
//! which alone see its owners: the life of a name in `inside`, `outside`, `local`, `leases` and `reverse`, the life of a binding
//! in `bindings`, other settings in `reload` and `reloading`, another process in `restore`, the operator in `admin`, what is
//! done a piece at a time in `pieces` and `probing`.

mod admin;
mod bindings;
mod inside;
mod leases;
mod local;
mod outside;
mod pieces;
mod probing;
mod reload;
mod reloading;
mod restore;
mod reverse;
mod update_waits;
mod updates;

use reloading::Reload;
pub use reloading::{Discarded, PIECE, Reloaded};
pub use restore::Restored;
use update_waits::Waits;

use crate::Nanos;
use crate::added::AddedNames;
use crate::address::{HopAddress, HostAddress};
use crate::asking::Waiting;
use crate::core::Core;
use crate::hosts::HostId;
use crate::inbound::InboundState;
use crate::known::Known;
use crate::network;
use crate::output::{Output, QueryToken};
use crate::platform::Platform;
use crate::rates::QueryRates;
use crate::registry::{PolicySet, Registry};
use crate::routes::Routes;
use crate::settings::{CoreSettings, keyring};
use crate::shares::Negotiations;
use crate::signs::Signs;
use crate::{Evidence, Mac};
use ces_cetp::Engine;
use ces_cetp::engine::{AcceptError, ConnId, PeerIdentity};
use ces_dataplane::msg::PortId;
use ces_dataplane::tag::Handle;
use ces_dns::answer;
use ces_dns::message::{self, Query, Transport};
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::resolver::{Resolver, SocketKey};
use ces_dns::tsig::Keyring;
use ces_dns::zone::Zones;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;

/// How a host stands to a far name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Somebody asked; the pending entry knows how far it is.
    Asking(u64),
    /// Connected.
    Up(Handle),
}

/// The gateway's core.
pub struct Gateway {
    core: Core,
    engine: Engine,
    resolver: Resolver,
    zones: Zones,
    platform: Platform,
    rng: StdRng,
    waiting: Waiting,
    known: Known,
    negotiations: Negotiations,
    rates: QueryRates,
    signs: Signs,
    inbound: InboundState,
    /// The keys of those who sign.
    keys: Keyring,
    added: AddedNames,
    updates: Waits,
    reload: Option<Reload>,
    discarded: Vec<Discarded>,
    /// The name that is being asked for, as text: kept, so that no query allocates it.
    text: String,
}

impl Gateway {
    /// A gateway with nothing under way. Settings, registry and policies have been checked; an error is about figures
    /// that do not fit together or the platform.
    pub fn new(
        settings: CoreSettings,
        registry: Registry,
        policies: PolicySet,
        platform: Platform,
        now: Nanos,
    ) -> Result<Self, String> {
        if platform.workers == 0 || platform.workers > 1 << platform.layout.worker_bits {
            return Err(format!("{} workers do not fit the layout of handles", platform.workers));
        }
        // Two slots at least: a handle needs a bit that is not generation.
        if platform.bindings_per_worker < 2
            || platform.layout.worker_bits + platform.layout.slot_bits == 0
            || u64::from(platform.bindings_per_worker) > 1 << platform.layout.slot_bits
        {
            return Err(format!(
                "{} bindings do not fit the layout of handles",
                platform.bindings_per_worker
            ));
        }
        let mut rng = StdRng::from_seed(platform.seed);
        let engine_settings = network::engine_settings(&settings, &policies, &platform)?;
        let mut engine = Engine::new(engine_settings, rng.random(), now)?;
        engine.draw_tunnel_ids_by(platform.tunnel_key);
        let resolver_settings =
            network::resolver_settings(&settings, platform.upstream_sockets, &platform.addresses);
        let resolver = Resolver::new(resolver_settings, rng.random());
        let zones = network::zones(&settings)?;
        let rates = QueryRates::new(&settings.dns, &mut rng);
        let known = Known::new(rng.random());
        let seed: u64 = rng.random();
        let (pool, room) = (settings.realm_gateway.clone(), platform.reservations_per_worker);
        let inbound = InboundState::new(pool, platform.workers, room, rng.random(), rng.random());
        let keys = keyring(&settings.dns.keys);
        let core = Core::new(settings, registry, policies, &platform, seed);
        Ok(Self {
            core,
            engine,
            resolver,
            zones,
            platform,
            rng,
            waiting: Waiting::new(seed),
            known,
            negotiations: Negotiations::default(),
            rates,
            signs: Signs::default(),
            inbound,
            keys,
            added: AddedNames::default(),
            updates: Waits::default(),
            reload: None,
            discarded: Vec::new(),
            text: String::new(),
        })
    }

    /// A DNS message came from a client. The token comes back in an [`Output::Answer`] or [`Output::NoAnswer`].
    pub fn handle_dns(
        &mut self,
        side: QuerySide,
        transport: Transport,
        client: SocketAddr,
        query: &[u8],
        token: QueryToken,
        now: Nanos,
    ) {
        if side == QuerySide::Outside && !self.rates.outside(client.ip(), now) {
            return self.no_answer(side, token, QueryOutcome::RateTotal);
        }
        // RFC 2136 from inside alone: what is for the outside would be for anybody.
        if side == QuerySide::Inside && !self.keys.is_empty() && message::is_update(query) {
            self.update(client.ip(), query, token, now);
            return self.settle(now);
        }
        let query = match message::parse_signed(query, transport, &self.keys, now / crate::SECOND) {
            Ok(query) => query,
            Err(rejection) => {
                return match rejection.reply {
                    Some(bytes) => self.answer(side, token, bytes, rejection.outcome),
                    None => self.no_answer(side, token, rejection.outcome),
                };
            }
        };
        let mut text = std::mem::take(&mut self.text);
        let is_host_name = host_name(&query, &mut text);
        let name = is_host_name.then_some(text.as_str());
        match side {
            QuerySide::Inside => self.inside(client.ip(), name, query, token, now),
            QuerySide::Outside => self.outside(client, name, query, token, now),
        }
        self.text = text;
        self.settle(now);
    }

    /// The client of a query over TCP went away: no answer is wanted, the token does not come back.
    pub fn handle_dns_gone(&mut self, token: QueryToken) {
        if self.updates.gone(token) || self.waiting.gone(token) {
            self.core.counters_mut().dns.count(QuerySide::Inside, QueryOutcome::Abandoned);
        } else if self.inbound.gone(token) {
            self.core.counters_mut().dns.count(QuerySide::Outside, QueryOutcome::Abandoned);
        }
    }

    /// A message came from a resolver.
    pub fn handle_upstream(&mut self, server: SocketAddr, socket: SocketKey, bytes: &[u8], now: Nanos) {
        self.resolver.handle_response(server, socket, bytes, now);
        self.settle(now);
    }

    /// A resolver cannot be reached by that socket (ICMP, or a TCP connection refused or closed).
    pub fn handle_upstream_unreachable(&mut self, server: SocketAddr, socket: SocketKey, now: Nanos) {
        self.resolver.handle_unreachable(server, socket, now);
        self.settle(now);
    }

    /// A connection of ours ([`Output::CetpConnect`]) is up.
    pub fn handle_cetp_connected(
        &mut self,
        conn: ConnId,
        identity: PeerIdentity,
        remote: SocketAddr,
        now: Nanos,
    ) {
        self.engine.handle_connected(&mut self.core.at(now), conn, identity, remote, now);
        self.settle(now);
    }

    /// A peer connected to us. An error means: close it, it has no id.
    pub fn handle_cetp_accepted(
        &mut self,
        identity: PeerIdentity,
        remote: SocketAddr,
        now: Nanos,
    ) -> Result<ConnId, AcceptError> {
        let accepted = self.engine.handle_accepted(identity, remote, now);
        self.settle(now);
        accepted
    }

    /// Bytes came on a CETP connection; any cut of the stream will do.
    pub fn handle_cetp_received(&mut self, conn: ConnId, bytes: &[u8], now: Nanos) {
        self.engine.handle_received(&mut self.core.at(now), conn, bytes, now);
        self.settle(now);
    }

    /// A CETP connection is gone, or one of ours could not be opened.
    pub fn handle_cetp_closed(&mut self, conn: ConnId, now: Nanos) {
        self.engine.handle_closed(&mut self.core.at(now), conn, now);
        self.settle(now);
    }

    /// The routes changed: these are all of them.
    pub fn set_routes(&mut self, routes: Arc<Routes>, now: Nanos) {
        self.core.set_routes(routes, now);
    }

    /// The MAC address of a next hop, or `None` when the kernel lost it. It may be told ahead of any use.
    pub fn set_neighbour(&mut self, port: PortId, address: HopAddress, mac: Option<[u8; 6]>) {
        self.core.set_neighbour(port, address, mac);
    }

    /// A frame came in by an inside port and says that it comes from this address. False: it does not come from whom it says,
    /// and is to be dropped, unread.
    pub fn handle_sender(&mut self, sender: HostAddress, mac: Mac, by: Evidence, now: Nanos) -> bool {
        self.core.is_from(sender, mac, by, now)
    }

    /// Time has come for what [`Gateway::poll_timeout`] announced.
    pub fn handle_timeout(&mut self, now: Nanos) {
        let (fabric, out) = self.core.fabric_mut();
        fabric.widen(out, now);
        self.core.silent_owners(now);
        self.probe_paths(now);
        self.answer_late(now);
        self.go_on_updating(now);
        self.resolver.handle_timeout(now);
        self.engine.handle_timeout(&mut self.core.at(now), now);
        self.settle(now);
    }

    /// When [`Gateway::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let timers = [
            self.resolver.poll_timeout(),
            self.engine.poll_timeout(),
            self.core.next_silence(),
            self.core.fabric().next_path(),
            self.inbound.next_late(),
            // What waited for other settings, which did not come into force.
            (self.reload.is_none() && self.updates.is_held()).then_some(0),
        ];
        timers.into_iter().flatten().min()
    }

    /// The next thing to do; ask until `None` after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.out().pop()
    }

    /// Carries on until neither engine has anything to say.
    fn settle(&mut self, now: Nanos) {
        loop {
            if let Some((token, resolution)) = self.resolver.poll_done() {
                self.resolved(token, resolution, now);
            } else if let Some(output) = self.engine.poll_output() {
                self.negotiated(output, now);
            } else {
                break;
            }
        }
        while let Some(socket) = self.resolver.poll_closed() {
            self.core.push(Output::UpstreamClose(socket));
        }
        while let Some(transmit) = self.resolver.poll_transmit() {
            self.core.push(Output::Upstream(transmit));
        }
    }

    /// How a host stands to a far name.
    fn link(&self, id: HostId, name: &str, now: Nanos) -> Option<Link> {
        let asking = self.waiting.asked(id, name).map(Link::Asking);
        asking.or_else(|| self.core.met(id, name, now).map(Link::Up))
    }

    fn answer(&mut self, side: QuerySide, token: QueryToken, bytes: Vec<u8>, outcome: QueryOutcome) {
        self.core.counters_mut().dns.count(side, outcome);
        self.core.push(Output::Answer { token, bytes });
    }

    fn no_answer(&mut self, side: QuerySide, token: QueryToken, outcome: QueryOutcome) {
        self.core.counters_mut().dns.count(side, outcome);
        self.core.push(Output::NoAnswer { token });
    }

    fn refuse(&mut self, token: QueryToken, query: &Query, outcome: QueryOutcome) {
        self.answer(QuerySide::Inside, token, answer::refused(query), outcome);
    }

    fn serv_fail(&mut self, token: QueryToken, query: &Query, outcome: QueryOutcome) {
        self.answer(QuerySide::Inside, token, answer::serv_fail(query), outcome);
    }
}

/// The name asked for, as hosts are called: lower case, with the final dot. False if no host can be called so.
fn host_name(query: &Query, text: &mut String) -> bool {
    text.clear();
    for label in &query.name {
        for byte in label {
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_') {
                return false;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
        text.push('.');
    }
    !text.is_empty()
}
