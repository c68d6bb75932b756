//! All sessions, the pools they take from, and what is refused for a while, under one mutator.

use super::change::{Change, Endpoint, Freed};
use super::proxies::{ProxyLimits, ProxyPool};
use super::session::{CesSession, PairNames, Phase, Reach, Terms, TunnelKey};
use super::slots::BindingSlots;
use super::tunnels::{TunnelInUse, TunnelsInUse};
use crate::address::{HostAddress, ProxyAddress};
use crate::{Mac, Nanos};
use ces_cetp::engine::{BlockReason, ReserveError};
use ces_cetp::seal::PeerKeys;
use ces_dataplane::msg::TunnelId;
use ces_dataplane::tag::{Handle, Layout, TagCipher};
use ipnet::Ipv4Net;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Refusals and peers of a kind that are kept, at most: what ended goes first, then nothing more is kept.
const MAX_KEPT: usize = 65_536;
/// Entries of a list in one change of a snapshot.
const LIST: usize = 1_000;

/// What must be the same for a run of changes to mean the same.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How handles are cut.
    pub layout: Layout,
    /// The key of the session tags.
    pub tag_key: [u32; 4],
    /// How many workers there are.
    pub workers: u32,
    /// Slots for bindings of each worker.
    pub per_worker: u32,
    /// Slots for tunnels.
    pub tunnels: u16,
    /// Where proxy addresses come from.
    pub pool: Ipv4Net,
    /// Bindings that one host may have.
    pub per_host: u32,
}

/// A change that does not fit what is there. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// Its slot is taken or not there.
    #[error("its slot is taken or not there")]
    Slot,
    /// Its proxy address is taken or not of the pool.
    #[error("its proxy address is taken or not of the pool")]
    Proxy,
    /// There is no such session, or it is not as far.
    #[error("there is no such session, or it is not as far")]
    Session,
    /// There is no room for its tunnel.
    #[error("there is no room for its tunnel")]
    Tunnel,
}

/// What a change means for the tunnels that the workers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing.
    Plain,
    /// One is new.
    TunnelMade(TunnelId),
    /// One has lost its last session.
    TunnelGone(TunnelId),
}

/// A host's proxy addresses, and what is found by them and by far names.
#[derive(Clone, Debug, Default, PartialEq)]
struct Host {
    proxies: ProxyPool,
    by_proxy: FxHashMap<ProxyAddress, Handle>,
    /// Far names come from outside: no hash that a stranger can make collide.
    by_name: BTreeMap<Arc<str>, Handle>,
    /// Sessions that far hosts of these names asked for, and that serve both.
    by_asker: BTreeMap<Arc<str>, Handle>,
    /// Sessions that the worker has yet to let go of: their proxy addresses are free for the far names that had them.
    leaving: BTreeMap<(Arc<str>, ProxyAddress), Handle>,
}

/// What a filter holds for: a name, whether it is the local one, and the peer if it is about one alone.
type FilterKey = (Arc<str>, bool, Option<Arc<str>>);

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Peer {
    pub(crate) tunnel_ids: [Option<u32>; 3],
    pub(crate) draws_others: bool,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// The owner of all sessions.
#[derive(Clone, Debug)]
pub struct CesSessions {
    slots: BindingSlots,
    tunnels: TunnelsInUse,
    limits: ProxyLimits,
    /// By worker.
    limited: Vec<u32>,
    hosts: FxHashMap<HostAddress, Host>,
    careful_until: Nanos,
    /// Where a host that is new begins meanwhile, in words of its pool.
    careful_floor: usize,
    blocked_hosts: BTreeMap<Arc<str>, Nanos>,
    blocked_addresses: BTreeMap<IpAddr, (BlockReason, Nanos)>,
    filters: BTreeMap<FilterKey, Nanos>,
    peers: BTreeMap<Arc<str>, Peer>,
    /// Tags, ours first, of sessions that have ended and of which their peers have yet to be told.
    owed: BTreeMap<Arc<str>, Vec<(u32, u32)>>,
    /// The keys of encrypted tunnels with peers.
    keys: BTreeMap<Arc<str>, PeerKeys>,
    /// Far names with CES records, and until when that is believed.
    far_names: BTreeMap<Arc<str>, Nanos>,
    /// MAC addresses of hosts as they were seen, and whether ARP has told them.
    pins: BTreeMap<HostAddress, (Mac, bool)>,
}

impl PartialEq for CesSessions {
    fn eq(&self, other: &Self) -> bool {
        (&self.slots, &self.tunnels, &self.hosts) == (&other.slots, &other.tunnels, &other.hosts)
            && self.limited == other.limited
            && (self.careful_until, self.careful_floor) == (other.careful_until, other.careful_floor)
            && (&self.blocked_hosts, &self.blocked_addresses)
                == (&other.blocked_hosts, &other.blocked_addresses)
            && (&self.filters, &self.peers, &self.owed) == (&other.filters, &other.peers, &other.owed)
            && self.keys == other.keys
            && (&self.far_names, &self.pins) == (&other.far_names, &other.pins)
    }
}

impl CesSessions {
    /// No session.
    pub fn new(figures: &Figures) -> Self {
        let cipher = TagCipher::new(figures.tag_key);
        Self {
            slots: BindingSlots::new(figures.layout, cipher, figures.workers, figures.per_worker),
            tunnels: TunnelsInUse::new(figures.tunnels),
            limits: ProxyLimits::new(figures.pool, figures.per_host),
            limited: vec![0; figures.workers as usize],
            hosts: FxHashMap::default(),
            careful_until: 0,
            careful_floor: 0,
            blocked_hosts: BTreeMap::new(),
            blocked_addresses: BTreeMap::new(),
            filters: BTreeMap::new(),
            peers: BTreeMap::new(),
            owed: BTreeMap::new(),
            keys: BTreeMap::new(),
            far_names: BTreeMap::new(),
            pins: BTreeMap::new(),
        }
    }

    // --- what is to be decided: which slot, which address

    /// Sessions on a worker that may not carry everything: each needs more than its slot there.
    pub fn limited(&self, worker: u32) -> u32 {
        self.limited.get(worker as usize).copied().unwrap_or(0)
    }

    fn count_limited(&mut self, handle: Handle, terms: Option<&Terms>, step: impl FnOnce(&mut u32)) {
        let worker = self.slots.worker(handle) as usize;
        if terms.is_some_and(|terms| terms.carries.is_limited())
            && let Some(count) = self.limited.get_mut(worker)
        {
            step(count);
        }
    }

    /// The reservation that a host of this worker would get now: nothing is taken until it is applied.
    pub fn reservation(
        &self,
        host: HostAddress,
        worker: u32,
        names: PairNames,
        now: Nanos,
    ) -> Result<Change, ReserveError> {
        let is_careful = now < self.careful_until;
        let empty = ProxyPool::beginning_at(self.careful_floor);
        let pool = self.hosts.get(&host).map_or(&empty, |host| &host.proxies);
        let proxy = pool.next(&self.limits, is_careful, now).ok_or(ReserveError::PoolEmpty)?;
        let handle = self.slots.next(worker).ok_or(ReserveError::TableFull)?;
        Ok(Change::Reserved { tag: self.slots.tag(handle), host, proxy, names })
    }

    // --- the mutator

    /// Makes a change.
    pub fn apply(&mut self, change: &Change, now: Nanos) -> Result<Applied, Inconsistent> {
        match change {
            Change::Reserved { tag, host, proxy, names } => self.reserve(*tag, *host, *proxy, names, now)?,
            Change::Released { tag } => self.unreserve(*tag)?,
            Change::Established { tag, terms, proxy } => return self.establish(*tag, terms, *proxy, now),
            Change::Slept { tag } => self.enter(*tag, Phase::Dormant, &[Phase::Up])?,
            Change::Woke { tag } => self.enter(*tag, Phase::Up, &[Phase::Dormant])?,
            Change::Ending { tag } => {
                self.enter(*tag, Phase::Ending, &[Phase::Up, Phase::Dormant])?;
                let handle = self.slots.handle(*tag);
                self.unlink(handle);
                self.leave(handle);
            }
            Change::Ended { tag, rest_until } => return self.end(*tag, *rest_until),
            Change::Restarted { careful_until, beyond, generations } => {
                self.restart(*careful_until, *beyond, *generations);
            }
            Change::HostBlocked { name, until } => {
                keep(&mut self.blocked_hosts, name, *until, |until| *until > now);
            }
            Change::AddressBlocked { address, until } => {
                keep(&mut self.blocked_addresses, address, *until, |(_, until)| *until > now);
            }
            Change::Filtered { name, local, ces_id, until } => {
                let key = (Arc::clone(name), *local, ces_id.clone());
                keep(&mut self.filters, &key, Some(*until), |until| *until > now);
            }
            Change::Peer { ces_id, tunnel_ids, draws_others, endpoints } => {
                let (tunnel_ids, draws_others) = (*tunnel_ids, *draws_others);
                let peer = Peer { tunnel_ids, draws_others, endpoints: endpoints.clone() };
                keep(&mut self.peers, ces_id, Some(peer), |_| true);
            }
            Change::Owed { ces_id, tags } => {
                let mut all = self.owed.remove(ces_id).unwrap_or_default();
                all.extend(tags.iter().take(MAX_KEPT.saturating_sub(all.len())));
                keep(&mut self.owed, ces_id, (!tags.is_empty()).then_some(all), |_| true);
            }
            Change::Keys { ces_id, keys } => keep(&mut self.keys, ces_id, keys.as_deref().cloned(), |_| true),
            Change::Far { name, until } => keep(&mut self.far_names, name, *until, |until| *until > now),
            Change::Pinned { host, mac } => keep(&mut self.pins, host, *mac, |_| true),
            Change::Slots { worker, fresh, first_generation, free } => {
                let fits = self.slots.set(*worker, *fresh, *first_generation, free);
                fits.then_some(()).ok_or(Inconsistent::Slot)?;
            }
            Change::Resting { host, proxies, names } => {
                let pool = &mut self.hosts.entry(*host).or_default().proxies;
                let nobody: Arc<str> = "".into();
                let names = names.iter().chain(std::iter::repeat(&nobody));
                let fits = proxies
                    .iter()
                    .zip(names)
                    .all(|((until, proxy), name)| pool.rest(&self.limits, *proxy, name, *until));
                fits.then_some(()).ok_or(Inconsistent::Proxy)?;
            }
        }
        Ok(Applied::Plain)
    }

    fn reserve(
        &mut self,
        tag: u32,
        address: HostAddress,
        proxy: ProxyAddress,
        names: &PairNames,
        now: Nanos,
    ) -> Result<(), Inconsistent> {
        let floor = if now < self.careful_until { self.careful_floor } else { 0 };
        let new = || Host { proxies: ProxyPool::beginning_at(floor), ..Host::default() };
        let handle = self.slots.handle(tag);
        if let Some(old) = self.leaving(address, &names.remote, proxy) {
            if !self.slots.take(CesSession::reserved(handle, tag, address, proxy, names.clone(), now)) {
                return Err(Inconsistent::Slot);
            }
            self.succeed(old);
            return Ok(());
        }
        let pool = &mut self.hosts.entry(address).or_insert_with(new).proxies;
        if !pool.take(&self.limits, proxy, now) {
            return Err(Inconsistent::Proxy);
        }
        if self.slots.take(CesSession::reserved(handle, tag, address, proxy, names.clone(), now)) {
            return Ok(());
        }
        pool.unallocate(&self.limits, proxy);
        Err(Inconsistent::Slot)
    }

    fn unreserve(&mut self, tag: u32) -> Result<(), Inconsistent> {
        let handle = self.slots.handle(tag);
        let is_reserved = self.get(handle).is_some_and(|session| session.phase() == Phase::Reserved);
        let session = is_reserved.then(|| self.slots.release(handle)).flatten();
        let session = session.ok_or(Inconsistent::Session)?;
        if let Some(host) = self.hosts.get_mut(&session.host()) {
            host.proxies.unallocate(&self.limits, session.proxy());
        }
        Ok(())
    }

    fn establish(
        &mut self,
        tag: u32,
        terms: &Terms,
        proxy: Option<ProxyAddress>,
        now: Nanos,
    ) -> Result<Applied, Inconsistent> {
        let handle = self.slots.handle(tag);
        let reserved = self.get(handle).filter(|session| session.phase() == Phase::Reserved);
        let session = reserved.ok_or(Inconsistent::Session)?;
        let is_its = |proxy| self.is_earlier(session.host(), session.remote(), proxy);
        if proxy.is_some_and(|proxy| !is_its(proxy)) {
            return Err(Inconsistent::Proxy);
        }
        let applied = match &terms.reach {
            Reach::Tunnel { tunnel, .. } => match self.tunnels.share(tunnel) {
                Some((id, true)) => Applied::TunnelMade(id),
                Some(_) => Applied::Plain,
                None => return Err(Inconsistent::Tunnel),
            },
            Reach::Local { .. } => Applied::Plain,
        };
        if let Some(proxy) = proxy {
            self.move_to(handle, proxy);
        }
        if let Some(session) = self.slots.get_mut(handle) {
            session.establish(terms.clone(), now);
        }
        self.count_limited(handle, Some(terms), |count| *count += 1);
        self.link(handle);
        Ok(applied)
    }

    fn enter(&mut self, tag: u32, phase: Phase, from: &[Phase]) -> Result<(), Inconsistent> {
        let session = self.slots.get_mut(self.slots.handle(tag)).ok_or(Inconsistent::Session)?;
        session.enter(phase, from).then_some(()).ok_or(Inconsistent::Session)
    }

    fn end(&mut self, tag: u32, rest_until: Nanos) -> Result<Applied, Inconsistent> {
        let handle = self.slots.handle(tag);
        if self.get(handle).is_none_or(|session| session.phase() == Phase::Reserved) {
            return Err(Inconsistent::Session);
        }
        self.unlink(handle);
        let session = self.slots.release(handle).ok_or(Inconsistent::Session)?;
        self.count_limited(handle, session.terms(), |count| *count -= 1);
        if let Some(host) = self.hosts.get_mut(&session.host())
            && !session.is_succeeded()
        {
            host.leaving.remove(&(Arc::clone(session.remote()), session.proxy()));
            host.proxies.release(&self.limits, session.proxy(), session.remote(), rest_until);
        }
        let gone = session.tunnel().and_then(|(tunnel, _)| self.tunnels.release(tunnel));
        Ok(gone.map_or(Applied::Plain, Applied::TunnelGone))
    }

    /// What was under way is not any more; what stood stands.
    fn restart(&mut self, careful_until: Nanos, beyond: u32, generations: u32) {
        let lost: Vec<(u32, Phase)> = self.iter().map(|session| (session.tag(), session.phase())).collect();
        for (tag, phase) in lost {
            // None of these can fail: the session was there just now, in that phase.
            let _ = match phase {
                Phase::Reserved => self.unreserve(tag),
                Phase::Dormant => self.enter(tag, Phase::Up, &[Phase::Dormant]),
                Phase::Ending => self.end(tag, careful_until).map(|_| ()),
                Phase::Up => Ok(()),
            };
        }
        self.slots.restart(generations);
        (self.careful_until, self.careful_floor) = (careful_until, beyond as usize);
        self.hosts.values_mut().for_each(|host| host.proxies.restart(beyond as usize));
    }

    /// Lets a session be found by its proxy address and by the far name.
    fn link(&mut self, handle: Handle) {
        let Some(session) = self.slots.get(handle) else { return };
        let host = self.hosts.entry(session.host()).or_default();
        host.by_proxy.insert(session.proxy(), handle);
        if session.answers_for_its_name() {
            host.by_name.insert(Arc::clone(session.remote()), handle);
        }
        if session.serves_both() {
            host.by_asker.insert(Arc::clone(session.remote()), handle);
        }
    }

    fn unlink(&mut self, handle: Handle) {
        let Some(session) = self.slots.get(handle) else { return };
        let Some(host) = self.hosts.get_mut(&session.host()) else { return };
        if host.by_proxy.get(&session.proxy()) == Some(&handle) {
            host.by_proxy.remove(&session.proxy());
        }
        if host.by_name.get(session.remote()) == Some(&handle) {
            host.by_name.remove(session.remote());
        }
        if host.by_asker.get(session.remote()) == Some(&handle) {
            host.by_asker.remove(session.remote());
        }
    }

    /// The proxy address of a session that is on its way out is free for the far name that it stands for.
    fn leave(&mut self, handle: Handle) {
        let Some(session) = self.slots.get(handle) else { return };
        let host = self.hosts.entry(session.host()).or_default();
        host.leaving.insert((Arc::clone(session.remote()), session.proxy()), handle);
    }

    /// The session of a host for a far name that is on its way out, and whose proxy address nobody else has.
    fn leaving(&self, host: HostAddress, remote: &Arc<str>, proxy: ProxyAddress) -> Option<Handle> {
        self.hosts.get(&host)?.leaving.get(&(Arc::clone(remote), proxy)).copied()
    }

    fn succeed(&mut self, old: Handle) {
        let Some(session) = self.slots.get_mut(old) else { return };
        session.succeed();
        let (address, key) = (session.host(), (Arc::clone(session.remote()), session.proxy()));
        if let Some(host) = self.hosts.get_mut(&address) {
            host.leaving.remove(&key);
        }
    }

    /// Gives a reservation the address that its far name had before.
    fn move_to(&mut self, handle: Handle, proxy: ProxyAddress) {
        let Some(session) = self.slots.get_mut(handle) else { return };
        let (address, remote, own) = (session.host(), Arc::clone(session.remote()), session.proxy());
        session.move_to(proxy);
        let old = self.leaving(address, &remote, proxy);
        let Some(host) = self.hosts.get_mut(&address) else { return };
        host.proxies.unallocate(&self.limits, own);
        match old {
            Some(old) => self.succeed(old),
            None => host.proxies.take_back(&self.limits, proxy, &remote),
        }
    }

    // --- what is asked

    /// The proxy address that a far name had before, if it is free for that name.
    pub(crate) fn earlier(&self, host: HostAddress, remote: &Arc<str>, now: Nanos) -> Option<ProxyAddress> {
        let host = self.hosts.get(&host)?;
        let from = (Arc::clone(remote), ProxyAddress::from([0; 4]));
        let leaving = host.leaving.range(from..).next().filter(|((name, _), _)| name == remote);
        let is_careful = now < self.careful_until;
        let resting = || host.proxies.had(&self.limits, remote, is_careful, now);
        leaving.map(|((_, proxy), _)| *proxy).or_else(resting)
    }

    /// Whether a far name had this address, and it is free for that name.
    fn is_earlier(&self, host: HostAddress, remote: &Arc<str>, proxy: ProxyAddress) -> bool {
        let pool = self.hosts.get(&host).map(|host| &host.proxies);
        self.leaving(host, remote, proxy).is_some()
            || pool.and_then(|pool| pool.had(&self.limits, remote, false, 0)) == Some(proxy)
    }

    /// A session by its handle.
    pub fn get(&self, handle: Handle) -> Option<&CesSession> {
        self.slots.get(handle)
    }

    /// The handle of one of our tags. Whether anything lives there is another question.
    pub fn handle(&self, tag: u32) -> Handle {
        self.slots.handle(tag)
    }

    /// The worker that a handle belongs to.
    pub fn worker(&self, handle: Handle) -> u32 {
        self.slots.worker(handle)
    }

    /// Everything that lives, worker by worker.
    pub fn iter(&self) -> impl Iterator<Item = &CesSession> {
        self.slots.iter()
    }

    /// A part of them: at most so many out of so many slots, from where the part before ended.
    pub(crate) fn page(&self, from: u64, most: usize, slots: usize) -> (Vec<&CesSession>, Option<u64>) {
        self.slots.page(from, most, slots)
    }

    /// What stands behind a proxy address of a host.
    pub fn behind(&self, host: HostAddress, proxy: ProxyAddress) -> Option<&CesSession> {
        self.hosts.get(&host)?.by_proxy.get(&proxy).and_then(|handle| self.get(*handle))
    }

    /// The sessions of a host.
    pub fn of(&self, host: HostAddress) -> impl Iterator<Item = &CesSession> {
        let handles = self.hosts.get(&host).into_iter().flat_map(|host| host.by_proxy.values());
        handles.filter_map(|handle| self.get(*handle))
    }

    /// The session that answers when a host asks for a far name.
    pub fn towards(&self, host: HostAddress, remote: &str) -> Option<&CesSession> {
        self.hosts.get(&host)?.by_name.get(remote).and_then(|handle| self.get(*handle))
    }

    /// The session that a far host of that name asked for, under this name of the host's, if it serves both.
    pub fn asked_by(&self, host: HostAddress, local: &str, remote: &str) -> Option<&CesSession> {
        let handle = self.hosts.get(&host)?.by_asker.get(remote)?;
        self.get(*handle).filter(|session| session.phase() == Phase::Up && **session.local() == *local)
    }

    /// Slots in use by worker, and how many each has.
    pub fn slots_used(&self) -> (Vec<u32>, u32) {
        (self.slots.used(), self.slots.per_worker())
    }

    /// Proxy addresses of a host's living sessions.
    pub fn proxies_used(&self, host: HostAddress) -> u32 {
        self.hosts.get(&host).map_or(0, |host| host.proxies.in_use())
    }

    /// Proxy addresses in use or resting, of all hosts and of the one that has most.
    pub(crate) fn proxies_occupied(&self) -> (u64, u32) {
        let each = self.hosts.values().map(|host| host.proxies.occupied());
        each.fold((0, 0), |(all, most), one| (all + u64::from(one), most.max(one)))
    }

    /// The tunnels in use.
    pub(crate) fn tunnels(&self) -> &TunnelsInUse {
        &self.tunnels
    }

    /// A tunnel in use.
    pub(crate) fn tunnel(&self, id: TunnelId) -> Option<&TunnelInUse> {
        self.tunnels.get(id)
    }

    /// The id of the tunnel that a session uses.
    pub(crate) fn tunnel_id(&self, key: &TunnelKey) -> Option<TunnelId> {
        self.tunnels.id(key)
    }

    /// Until when a host is refused.
    pub fn host_blocked_until(&self, name: &str, now: Nanos) -> Option<Nanos> {
        self.blocked_hosts.get(name).copied().filter(|until| *until > now)
    }

    /// The refused senders of CETP.
    pub fn blocked_addresses(&self) -> impl Iterator<Item = (IpAddr, BlockReason, Nanos)> {
        self.blocked_addresses.iter().map(|(address, (why, until))| (*address, *why, *until))
    }

    /// The filters: a name, whether it is the local one, the peer if it is about one alone, until when.
    pub fn filters(&self) -> impl Iterator<Item = (&FilterKey, Nanos)> {
        self.filters.iter().map(|(key, until)| (key, *until))
    }

    /// Until when a far name is believed to have CES records.
    pub fn has_records_until(&self, name: &str, now: Nanos) -> Option<Nanos> {
        self.far_names.get(name).copied().filter(|until| *until > now)
    }

    /// A host's MAC address as it was seen, and whether ARP has told it.
    pub fn pin(&self, host: HostAddress) -> Option<(Mac, bool)> {
        self.pins.get(&host).copied()
    }

    /// The MAC addresses of hosts that were seen, and whether ARP has told them.
    pub fn pins(&self) -> impl Iterator<Item = (HostAddress, (Mac, bool))> {
        self.pins.iter().map(|(host, pin)| (*host, *pin))
    }

    /// What is known of peers.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&Arc<str>, &Peer)> {
        self.peers.iter()
    }

    /// Tags, ours first, of sessions that have ended and of which their peers have yet to be told.
    pub(crate) fn owed(&self) -> impl Iterator<Item = (&Arc<str>, (u32, u32))> {
        self.owed.iter().flat_map(|(ces_id, all)| all.iter().map(move |tags| (ces_id, *tags)))
    }

    /// The keys of encrypted tunnels with peers.
    pub fn keys(&self) -> &BTreeMap<Arc<str>, PeerKeys> {
        &self.keys
    }

    /// Tells the changes that make all this again in an empty table, with their times where those matter.
    pub fn write_down(&self, mut each: impl FnMut(Nanos, Change)) {
        // What is on its way out first: another session may have its proxy address by now.
        let (last, first): (Vec<_>, Vec<_>) =
            self.iter().partition(|session| session.phase() != Phase::Ending);
        for session in first.into_iter().chain(last) {
            let (tag, since) = (session.tag(), session.since());
            let (host, proxy, names) = (session.host(), session.proxy(), session.names().clone());
            each(since, Change::Reserved { tag, host, proxy, names });
            if let Some(terms) = session.terms() {
                each(since, Change::Established { tag, terms: Box::new(terms.clone()), proxy: None });
            }
            match session.phase() {
                Phase::Reserved | Phase::Up => {}
                Phase::Dormant => each(0, Change::Slept { tag }),
                Phase::Ending => each(0, Change::Ending { tag }),
            }
        }
        let mut hosts: Vec<_> = self.hosts.iter().collect();
        hosts.sort_unstable_by_key(|(address, _)| **address);
        for (host, entry) in hosts {
            for part in entry.proxies.resting(&self.limits).chunks(LIST) {
                let proxies = part.iter().map(|(until, proxy, _)| (*until, *proxy)).collect();
                let names = part.iter().map(|(.., name)| Arc::clone(name)).collect();
                each(0, Change::Resting { host: *host, proxies, names });
            }
        }
        for (worker, fresh, first_generation, free) in self.slots.frees() {
            let slots =
                |free: &[Freed]| Change::Slots { worker, fresh, first_generation, free: free.to_vec() };
            free.chunks(LIST).for_each(|free| each(0, slots(free)));
            if free.is_empty() {
                each(0, slots(&[]));
            }
        }
        for (name, until) in &self.blocked_hosts {
            each(0, Change::HostBlocked { name: Arc::clone(name), until: Some(*until) });
        }
        for (address, until) in &self.blocked_addresses {
            each(0, Change::AddressBlocked { address: *address, until: Some(*until) });
        }
        for ((name, local, ces_id), until) in &self.filters {
            let (name, ces_id) = (Arc::clone(name), ces_id.clone());
            each(0, Change::Filtered { name, local: *local, ces_id, until: *until });
        }
        for (ces_id, peer) in &self.peers {
            let Peer { tunnel_ids, draws_others, endpoints } = peer.clone();
            each(0, Change::Peer { ces_id: Arc::clone(ces_id), tunnel_ids, draws_others, endpoints });
        }
        for (ces_id, all) in &self.owed {
            for tags in all.chunks(LIST) {
                each(0, Change::Owed { ces_id: Arc::clone(ces_id), tags: tags.to_vec() });
            }
        }
        for (ces_id, keys) in &self.keys {
            each(0, Change::Keys { ces_id: Arc::clone(ces_id), keys: Some(Box::new(keys.clone())) });
        }
        for (name, until) in &self.far_names {
            each(0, Change::Far { name: Arc::clone(name), until: Some(*until) });
        }
        for (host, mac) in &self.pins {
            each(0, Change::Pinned { host: *host, mac: Some(*mac) });
        }
    }
}

/// Puts an entry into a bounded map, or takes it out. A full map gives up first what counts no more.
fn keep<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>, counts: impl Fn(&V) -> bool) {
    let Some(value) = value else {
        map.remove(key);
        return;
    };
    if map.len() >= MAX_KEPT && !map.contains_key(key) {
        map.retain(|_, value| counts(value));
        if map.len() >= MAX_KEPT {
            return;
        }
    }
    map.insert(key.clone(), value);
}
