//! The sessions of the last process, taken up again: what its journal says, as far as it still holds.
//!
//! Whatever is not allowed any more, or does not fit this configuration, ends, and its peer is told. The workers get the same
//! bindings as before with what is left of their lifetimes; the CETP engine goes on as if it had negotiated them.

use super::Gateway;
use crate::Nanos;
use crate::log::{LogLine, Severity};
use crate::sessions::{CesSession, CesSessions, Change, Endpoint, Reach};
use crate::snapshot::SessionOrigin;
use ces_cetp::engine::{self as cetp, Carry, H2hSession, LocatorAddress, PeerMemory, TunnelChoice};
use ces_cetp::seal::PeerKeys;
use ces_dataplane::msg::Encapsulation;
use ces_dataplane::tag::worker_of;
use rand::RngExt;
use serde::Serialize;
use std::sync::Arc;

/// What was taken up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Bindings that stand again.
    pub kept: usize,
    /// Bindings that ended: their time is over, or they are not allowed any more.
    pub ended: usize,
}

impl Gateway {
    /// Goes on with what a replay made. Call it once, before anything else.
    pub fn restore(&mut self, sessions: CesSessions, now: Nanos) -> Restored {
        self.core.adopt(sessions);
        // What the last process decided in its last moments may not be written down: some decisions of each host.
        self.core.restart(1, 1, now);
        self.core.recall_pins(now);
        let memories: Vec<PeerMemory> = self
            .core
            .sessions()
            .peers()
            .map(|(ces_id, peer)| PeerMemory {
                keys: self.core.sessions().keys().get(ces_id).map(|keys| self.still_held(keys)),
                ces_id: Arc::clone(ces_id),
                tunnel_ids: peer.tunnel_ids,
                draws_others: peer.draws_others,
                endpoints: peer.endpoints.iter().map(told).collect(),
            })
            .collect();
        for memory in memories {
            if let Some(keys) = &memory.keys {
                self.core.tell_keys(&memory.ces_id, Some(keys));
            }
            self.engine.adopt_peer(memory);
        }
        for (ces_id, tags) in self.core.sessions().owed() {
            self.engine.adopt_owed(ces_id, tags);
        }
        let mut restored = Restored::default();
        let all: Vec<(u32, bool)> = self
            .core
            .sessions()
            .iter()
            .map(|session| (session.tag(), self.still_stands(session, now)))
            .collect();
        for (tag, stands) in all {
            if !stands || !self.adopt(tag, now) {
                restored.ended += self.give_up(tag, now);
            }
        }
        for tag in self.core.tell_all(now) {
            let handle = self.core.sessions().handle(tag);
            restored.ended += 1;
            self.terminate(handle, now);
        }
        self.adopt_refusals(now);
        restored.kept = self.core.sessions().iter().count();
        if restored != Restored::default() {
            let line = LogLine::new(Severity::Info, "sessions taken up again");
            self.core.log(line.reason(format!("{} bindings stand, {} ended", restored.kept, restored.ended)));
        }
        self.settle(now);
        restored
    }

    /// Begins with nothing after a process whose sessions are lost: no address and no tag that it may have given out is given
    /// out again while somebody may remember it. Call it once, before anything else.
    pub fn begin_anew(&mut self, now: Nanos) {
        let words = (1u64 << (32 - self.core.settings().realm.proxy_pool.prefix_len())) / 64;
        let beyond = self.rng.random_range(words / 4..=words / 2) as u32;
        self.core.restart(beyond, self.rng.random(), now);
        self.settle(now);
    }

    /// What of the last process's keys can go on: all, or where this process has no number of its own what comes alone.
    fn still_held(&self, keys: &PeerKeys) -> PeerKeys {
        let outbound = keys.outbound.clone().filter(|_| self.platform.start.is_some());
        PeerKeys { outbound, ..keys.clone() }
    }

    /// Whether a session of the last process can go on under this one's configuration.
    fn still_stands(&self, session: &CesSession, now: Nanos) -> bool {
        let core = &self.core;
        let worker = worker_of(session.host().v4().into(), self.platform.workers);
        let is_over = session.terms().is_none_or(|terms| {
            terms.hard_s > 0 && session.since() + u64::from(terms.hard_s) * crate::SECOND <= now
        });
        let cetp = &core.settings().cetp;
        let is_trusted = core.configuration().is_trusted(session.peer());
        let can_reach = match session.reach() {
            None => false,
            Some(Reach::Tunnel { tunnel, .. }) => {
                is_trusted && cetp.locators.iter().any(|locator| tunnel.local == locator.address)
            }
            Some(Reach::Local { partner, destination, .. }) => core
                .sessions()
                .get(core.sessions().handle(*partner))
                .is_some_and(|other| other.host() == *destination),
        };
        !is_over
            && can_reach
            && worker == core.sessions().worker(session.handle())
            && self.is_still_allowed(session, now)
    }

    /// Has the CETP engine go on with a session. False if it cannot.
    fn adopt(&mut self, tag: u32, now: Nanos) -> bool {
        let handle = self.core.sessions().handle(tag);
        // It may have gone with its other half.
        let Some(session) = self.core.sessions().get(handle) else { return true };
        match agreed(session) {
            Some(agreed) => self.engine.adopt(agreed, now),
            None => true,
        }
    }

    /// Ends a session of which no worker knows yet, with its other half; how many bindings that were.
    fn give_up(&mut self, tag: u32, now: Nanos) -> usize {
        let handle = self.core.sessions().handle(tag);
        let Some(session) = self.core.sessions().get(handle) else { return 0 };
        let line = LogLine::new(Severity::Info, "session not taken up again")
            .host(session.local())
            .remote(session.remote())
            .tag(tag);
        let partner = session.partner();
        let told = session.tunnel().map(|(tunnel, remote_tag)| (Arc::clone(&tunnel.peer), remote_tag));
        self.core.log(line);
        if let Some((peer, remote_tag)) = told {
            self.engine.tell_ended(&peer, (tag, remote_tag));
        }
        self.core.drop_session(tag, now);
        1 + partner.map_or(0, |partner| self.give_up(partner, now))
    }

    fn adopt_refusals(&mut self, now: Nanos) {
        for (address, why, until) in self.core.sessions().blocked_addresses() {
            self.engine.adopt_block(address, why, until, now);
        }
        for ((name, local, ces_id), until) in self.core.sessions().filters() {
            self.engine.adopt_filter(name, *local, ces_id.clone(), until, now);
        }
    }

    /// Keeps what is worth keeping of a peer that is up.
    pub(crate) fn remember_peer(&mut self, ces_id: &str, now: Nanos) {
        let Some(PeerMemory { ces_id, tunnel_ids, draws_others, endpoints, .. }) =
            self.engine.peer_memory(ces_id)
        else {
            return;
        };
        let endpoints: Vec<Endpoint> = endpoints.iter().map(kept).collect();
        let known = self.core.sessions().peers().any(|(id, peer)| {
            *id == ces_id
                && (peer.tunnel_ids, peer.draws_others) == (tunnel_ids, draws_others)
                && peer.endpoints == endpoints
        });
        if !known {
            let _ = self.core.change(Change::Peer { ces_id, tunnel_ids, draws_others, endpoints }, now);
        }
    }
}

/// A session with a peer as it was agreed on; `None` for a local one.
fn agreed(session: &CesSession) -> Option<H2hSession> {
    let terms = session.terms()?;
    let Reach::Tunnel { tunnel, remote_tag, peer_until } = &terms.reach else { return None };
    Some(H2hSession {
        local_tag: session.tag(),
        remote_tag: *remote_tag,
        local_fqdn: Arc::clone(session.local()),
        remote_fqdn: Arc::clone(session.remote()),
        ces_id: Arc::clone(session.peer()),
        proxy: session.proxy().ip(),
        tunnel: TunnelChoice {
            encapsulation: match tunnel.encapsulation {
                Encapsulation::Vxlan => cetp::Encapsulation::Vxlan,
                Encapsulation::Gre => cetp::Encapsulation::Gre,
                // What else was agreed is of no account to it.
                Encapsulation::Geneve | Encapsulation::Psp => cetp::Encapsulation::Geneve,
            },
            local: LocatorAddress::Ip(tunnel.local.ip()),
            remote: LocatorAddress::Ip(tunnel.remote.ip()),
            id_in: tunnel.id_in,
            id_out: tunnel.id_out,
            sealed: tunnel.encapsulation == Encapsulation::Psp,
        },
        hard_ttl_s: terms.hard_s,
        idle_ttl_s: (terms.idle_s > 0).then(|| u32::from(terms.idle_s)),
        carry: Carry {
            protocol: terms.carries.protocol,
            port: terms.carries.port,
            rate_bps: terms.carries.rate_bps,
        },
        role: if terms.role == SessionOrigin::Responder {
            cetp::Role::Responder
        } else {
            cetp::Role::Initiator
        },
        peer_until: *peer_until,
    })
}

fn told(kept: &Endpoint) -> cetp::Endpoint {
    cetp::Endpoint {
        addr: kept.address,
        port: kept.port,
        proto: kept.proto,
        order: kept.rank.0,
        preference: kept.rank.1,
        alias: kept.alias.clone(),
    }
}

fn kept(told: &cetp::Endpoint) -> Endpoint {
    Endpoint {
        address: told.addr,
        port: told.port,
        proto: told.proto,
        rank: (told.order, told.preference),
        alias: told.alias.clone(),
    }
}
