//! The Realm Gateway as an operator sees it.

use super::{Fate, Fates, InboundState, PoolAddress, ReputationRow};
use crate::Nanos;
use crate::address::HostAddress;
use crate::registry::{HostEntry, Service};
use crate::snapshot::Page;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Resolvers and networks of clients that are shown: those with the most reservations.
const SHOWN: usize = 20;

/// Reputations that are shown of those who ask, and of those who come.
const SHOWN_REPUTATIONS: usize = 50;

/// What became of reservations, by the labels of [`Fate`].
pub type Told = BTreeMap<&'static str, u64>;

fn told(fates: Fates) -> Told {
    Fate::ALL.iter().map(|fate| (fate.label(), fates[*fate as usize])).collect()
}

/// A pending reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReservationSnapshot {
    /// The name that was asked for.
    pub name: Arc<str>,
    /// Its host.
    pub host: HostAddress,
    /// The address of the pool.
    pub address: Ipv4Addr,
    /// The port; 0 = any.
    pub port: u16,
    /// The protocol; 0 = any.
    pub protocol: u8,
    /// Who asked.
    pub resolver: IpAddr,
    /// For how long it has stood, in milliseconds.
    pub age_ms: u64,
}

/// A name by which a host is reached from the plain Internet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceSnapshot {
    /// The name.
    pub name: Arc<str>,
    /// Its host.
    pub host: HostAddress,
    /// The port; 0 = any.
    pub port: u16,
    /// The protocol; 0 = any.
    pub protocol: u8,
    /// What became of its reservations.
    pub fates: Told,
}

/// The pool, and what became of what was reserved of it.
#[derive(Clone, Debug, Serialize)]
pub struct InboundSnapshot {
    /// Its addresses.
    pub addresses: Vec<PoolAddress>,
    /// Pending reservations.
    pub pending: usize,
    /// Queries over TCP that wait for an address.
    pub waiting: usize,
    /// What became of all of them.
    pub fates: Told,
    /// By who asked, those who asked most.
    pub resolvers: Vec<(IpAddr, Told)>,
    /// By the network of who came, those who came most.
    pub clients: Vec<(Ipv4Addr, Told)>,
}

/// How full the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundFigures {
    /// What became of all reservations.
    pub fates: Fates,
    /// Pending ones.
    pub pending: usize,
    /// Addresses of which something is reserved.
    pub taken: usize,
    /// Addresses that are given out.
    pub offered: usize,
    /// Networks whose reputation is remembered: of those who ask, and of those who come.
    pub reputations: [usize; 2],
    /// How often a reputation did not suffice, and how often somebody had his share already.
    pub wanting: [u64; 2],
}

/// What an operator sees of reputations.
#[derive(Clone, Debug, Serialize)]
pub struct ReputationSnapshot {
    /// Networks of those who ask, by which it is remembered: those whose reputation says most, the worst first.
    pub askers: Vec<ReputationRow>,
    /// Networks of those who come.
    pub comers: Vec<ReputationRow>,
    /// How many of each are remembered.
    pub remembered: [usize; 2],
    /// How often a reputation did not suffice, and how often somebody had his share already.
    pub refused: [u64; 2],
}

impl InboundState {
    /// Reputations as an operator sees them.
    pub(crate) fn reputations(&self, now: Nanos) -> ReputationSnapshot {
        ReputationSnapshot {
            askers: self.askers.rows(SHOWN_REPUTATIONS, now),
            comers: self.comers.rows(SHOWN_REPUTATIONS, now),
            remembered: [self.askers.len(), self.comers.len()],
            refused: self.wanting,
        }
    }

    pub(crate) fn figures(&self) -> InboundFigures {
        let (taken, offered) = self.pool.load();
        let pending = self.by_host.values().sum::<u32>() as usize;
        let reputations = [self.askers.len(), self.comers.len()];
        InboundFigures { fates: self.fates, pending, taken, offered, reputations, wanting: self.wanting }
    }

    pub(crate) fn snapshot(&self) -> InboundSnapshot {
        InboundSnapshot {
            addresses: self.pool.view(),
            pending: self.figures().pending,
            waiting: self.late.len(),
            fates: told(self.fates),
            resolvers: self.resolvers.top(SHOWN).into_iter().map(|(who, fates)| (who, told(fates))).collect(),
            clients: self.clients.top(SHOWN).into_iter().map(|(who, fates)| (who, told(fates))).collect(),
        }
    }

    /// Some of the pending reservations: at most as many as that, from this place on.
    pub(crate) fn page(&self, from: u64, most: usize, now: Nanos) -> Page<ReservationSnapshot> {
        let all = self.books.iter().flat_map(|book| &book.lines);
        let some = all.clone().skip(from as usize).take(most).flatten();
        let rows = some.map(|pending| ReservationSnapshot {
            name: Arc::clone(&pending.asked.name),
            host: pending.host,
            address: pending.address,
            port: pending.tuple.port,
            protocol: pending.tuple.protocol,
            resolver: pending.asked.asker.ip(),
            age_ms: now.saturating_sub(pending.since) / (crate::SECOND / 1000),
        });
        let next = from + most as u64;
        Page { rows: rows.collect(), next: (next < all.count() as u64).then_some(next) }
    }

    /// Services of some hosts: of at most as many as that, from this place on.
    pub(crate) fn services(&self, hosts: &[HostEntry], from: u64, most: usize) -> Page<ServiceSnapshot> {
        let until = (from as usize).saturating_add(most).min(hosts.len());
        let some = hosts.get(from as usize..until).unwrap_or_default();
        let row = |host: HostAddress, service: &Service| {
            let name = service.name.shared();
            let fates = told(self.services.of(&name));
            ServiceSnapshot { name, host, port: service.port, protocol: service.protocol, fates }
        };
        let rows = some.iter().flat_map(|host| host.inbound.iter().map(|service| row(host.address, service)));
        Page { rows: rows.collect(), next: (until < hosts.len()).then_some(until as u64) }
    }
}
