//! Sessions with all that carries them: next hops, tunnels and the widths of their paths, and the bindings that the workers are
//! told of.
//!
//! A session that stands holds a next hop; its tunnel holds one, and a path, as long as any session needs it. What a session
//! takes it gives back when its worker has said that the binding is gone. All of that agrees here, whoever decides.

use crate::address::{Destination, HopAddress, HostAddress, ProxyAddress, TunnelEnd};
use crate::forwarding::Forwarding;
use crate::log::{LogLine, Severity};
use crate::neighbours::Neighbours;
use crate::outbox::Outbox;
use crate::output::{AdminToken, Output};
use crate::paths::Paths;
use crate::platform::Platform;
use crate::routes::Routes;
use crate::sessions::{
    Applied, CesSession, CesSessions, Change, Figures, Inconsistent, Phase, Reach, Terms, TunnelKey,
};
use crate::settings::Cetp;
use crate::{Mac, Nanos};
use ces_dataplane::msg::{Binding, Command, Far, HopId, Patience, PortId, TunnelId};
use ces_dataplane::tag::Handle;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Why an agreed session does not become a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// It may not: what was agreed is no longer allowed, or cannot be carried.
    Refused(&'static str),
    /// Something has run out.
    Exhausted(&'static str),
}

/// Sessions, and what carries them.
pub(crate) struct Fabric {
    /// Changed by [`Fabric::change`] alone.
    sessions: CesSessions,
    /// Sessions of a worker that may have limits.
    limited_per_worker: u32,
    paths: Paths,
    neighbours: Neighbours,
    /// `None`: the workers forward by names alone.
    forwarding: Option<Forwarding>,
    /// Administrators who wait for a binding's counters.
    readers: FxHashMap<Handle, Vec<AdminToken>>,
}

impl Fabric {
    /// Without a session.
    pub(crate) fn new(figures: &Figures, platform: &Platform) -> Self {
        Self {
            sessions: CesSessions::new(figures),
            limited_per_worker: platform.limited_per_worker,
            paths: Paths::new(platform.outer_mtu),
            neighbours: Neighbours::new(platform.neighbours),
            forwarding: platform.forwards.then(|| Forwarding::new(platform.neighbours)),
            readers: FxHashMap::default(),
        }
    }

    // --- sessions

    pub(crate) fn sessions(&self) -> &CesSessions {
        &self.sessions
    }

    /// Takes the sessions that were replayed for its own: what is learnt anew by each process is not there yet.
    pub(crate) fn adopt(&mut self, sessions: CesSessions) {
        self.sessions = sessions;
    }

    /// Makes a change and tells it. One that does not fit what is there is a bug, which the log tells and which changes nothing.
    pub(crate) fn change(
        &mut self,
        change: Change,
        out: &mut Outbox,
        now: Nanos,
    ) -> Result<Applied, Inconsistent> {
        let applied = self.sessions.apply(&change, now);
        match &applied {
            Ok(_) => out.push(Output::Changed { at: now, change: Box::new(change) }),
            Err(why) => {
                let line = LogLine::new(Severity::Warn, "change that does not fit");
                out.log(line.reason(format!("{change:?}: {why}")));
            }
        }
        applied
    }

    /// Gives a reservation back: nobody heard of its proxy address.
    pub(crate) fn unreserve(&mut self, handle: Handle, out: &mut Outbox, now: Nanos) {
        let session = self.sessions.get(handle).filter(|session| session.phase() == Phase::Reserved);
        if let Some(tag) = session.map(CesSession::tag) {
            let _ = self.change(Change::Released { tag }, out, now);
        }
    }

    /// Makes a session of a reservation that is agreed on, and takes what carries it. The error says what was missing.
    pub(crate) fn establish(
        &mut self,
        handle: Handle,
        terms: Terms,
        cetp: &Cetp,
        out: &mut Outbox,
        now: Nanos,
    ) -> Result<(), GivenUp> {
        let session = self.sessions.get(handle).ok_or(GivenUp::Exhausted("no reservation"))?;
        let tag = session.tag();
        let (inside, tunnel) = match &terms.reach {
            Reach::Tunnel { tunnel, .. } => (session.host(), Some(tunnel.clone())),
            Reach::Local { destination, .. } => (*destination, None),
        };
        self.has_room(handle, &terms)?;
        // The peer's locator first: what is new is told to the workers in that order.
        let outer = tunnel.as_ref().map(|tunnel| self.neighbours.acquire(tunnel.remote, out));
        let inner = self.neighbours.acquire(inside, out);
        let (Some(outer), Some(_)) = (outer.map_or(Some(None), |id| id.map(Some)), inner) else {
            outer.flatten().into_iter().chain(inner).for_each(|id| self.neighbours.release(id));
            return Err(GivenUp::Exhausted("no slot for a next hop left"));
        };
        let proxy = self.sessions.get(handle).and_then(|session| self.earlier_proxy(session, now));
        let applied = self.change(Change::Established { tag, terms: Box::new(terms), proxy }, out, now);
        if applied.is_err() {
            outer.into_iter().chain(inner).for_each(|id| self.neighbours.release(id));
            return Err(GivenUp::Exhausted("no reservation"));
        }
        match (applied, outer) {
            (Ok(Applied::TunnelMade(id)), Some(outer)) => {
                self.paths.insert(id, outer, tunnel.and_then(|tunnel| cetp.mtu_to(&tunnel.peer)), now);
                self.tell_tunnel(id, out);
            }
            // The tunnel holds its next hop once, however many share it.
            (_, outer) => outer.into_iter().for_each(|id| self.neighbours.release(id)),
        }
        Ok(())
    }

    /// Whether there is room for what a session needs besides next hops.
    fn has_room(&self, handle: Handle, terms: &Terms) -> Result<(), GivenUp> {
        if let Reach::Tunnel { tunnel, .. } = &terms.reach
            && !self.sessions.tunnels().has_room(tunnel)
        {
            return Err(GivenUp::Exhausted("no tunnel left"));
        }
        let is_full = self.sessions.limited(self.sessions.worker(handle)) >= self.limited_per_worker;
        if terms.carries.is_limited() && is_full {
            return Err(GivenUp::Exhausted("no room left for what restricts a binding (capacity.limited)"));
        }
        Ok(())
    }

    /// The address that the far name of a reservation had before, if it is free for it: what the host remembers is true again.
    fn earlier_proxy(&self, session: &CesSession, now: Nanos) -> Option<ProxyAddress> {
        self.sessions.earlier(session.host(), session.remote(), now)
    }

    /// The proxy address that a reservation will have when it stands.
    pub(crate) fn proxy_to_be(&self, session: &CesSession, now: Nanos) -> ProxyAddress {
        self.earlier_proxy(session, now).unwrap_or(session.proxy())
    }

    /// Takes a session out of use: nobody finds it by name or proxy address, and the worker removes its binding. Its slot
    /// and its proxy address come back when the worker has said so; the address then rests until this time.
    pub(crate) fn remove(&mut self, handle: Handle, rest_until: Nanos, out: &mut Outbox, now: Nanos) {
        let Some((tag, phase)) = self.sessions.get(handle).map(|session| (session.tag(), session.phase()))
        else {
            return;
        };
        match phase {
            Phase::Reserved => self.unreserve(handle, out, now),
            Phase::Up => {
                let _ = self.change(Change::Ending { tag }, out, now);
                out.command(self.sessions.worker(handle), Command::RemoveBinding(handle));
            }
            // The worker has ended it already.
            Phase::Dormant => self.release(handle, rest_until, out, now),
            Phase::Ending => {}
        }
    }

    /// A binding is gone at the worker: what it held comes back.
    pub(crate) fn release(&mut self, handle: Handle, rest_until: Nanos, out: &mut Outbox, now: Nanos) {
        let Some(session) = self.sessions.get(handle) else { return };
        let (tag, inside) = (session.tag(), session.next_inside());
        let Ok(applied) = self.change(Change::Ended { tag, rest_until }, out, now) else { return };
        if let Some(id) = self.neighbours.id(inside) {
            self.neighbours.release(id);
        }
        if let Applied::TunnelGone(id) = applied {
            out.command_all(Command::RemoveTunnel(id));
            if let Some(neighbour) = self.paths.remove(id) {
                self.neighbours.release(neighbour);
            }
        }
        self.told_counters(handle).for_each(|token| out.push(Output::Binding { token, binding: None }));
    }

    // --- what the workers are told of sessions

    /// Tells the worker of a session that stands, of a host with this MAC address. Without patience if the session has none.
    pub(crate) fn insert(
        &mut self,
        handle: Handle,
        mac: Option<Mac>,
        patience: Patience,
        out: &mut Outbox,
        now: Nanos,
    ) {
        let binding = self.sessions.get(handle).and_then(|session| self.binding(session, mac, patience, now));
        if let Some(binding) = binding {
            out.command(self.sessions.worker(handle), Command::InsertBinding(handle, binding));
        }
    }

    /// A session as its worker is told; `None` while it is only reserved.
    fn binding(
        &self,
        session: &CesSession,
        mac: Option<Mac>,
        patience: Patience,
        now: Nanos,
    ) -> Option<Binding> {
        let terms = session.terms()?;
        let far = match &terms.reach {
            Reach::Tunnel { tunnel, remote_tag, .. } => {
                Far::Tunnel { tunnel: self.sessions.tunnel_id(tunnel)?, remote_tag: *remote_tag }
            }
            Reach::Local { source, destination, .. } => {
                Far::Local { source: source.v4(), destination: destination.v4() }
            }
        };
        Some(Binding {
            host: session.host().v4(),
            proxy: session.proxy().v4(),
            far,
            neighbour: self.neighbours.id(session.next_inside())?,
            mac,
            idle_s: terms.idle_s,
            patience: if terms.is_patient { patience } else { Patience::None },
            hard_s: session.hard_left_s(now).unwrap_or(0),
            limits: terms.carries.limits(),
        })
    }

    /// Tells the workers of all tunnels, after a replay.
    pub(crate) fn tell_tunnels(&mut self, cetp: &Cetp, out: &mut Outbox, now: Nanos) {
        let tunnels: Vec<_> =
            self.sessions.tunnels().iter().map(|(id, entry)| (id, entry.key.clone())).collect();
        for (id, TunnelKey { remote, peer, .. }) in tunnels {
            if let Some(neighbour) = self.neighbours.acquire(remote, out) {
                self.paths.insert(id, neighbour, cetp.mtu_to(&peer), now);
                self.tell_tunnel(id, out);
            }
        }
    }

    /// A session that was replayed takes its next hop. False if there is none left.
    pub(crate) fn retake(&mut self, inside: HostAddress, out: &mut Outbox) -> bool {
        self.neighbours.acquire(inside, out).is_some()
    }

    /// Tells the worker of a host's bindings, and of the next hop that the host itself is, where its packets must come from; how
    /// many bindings there are.
    pub(crate) fn pin(&mut self, host: HostAddress, mac: Option<Mac>, out: &mut Outbox) -> usize {
        self.neighbours.pin(host, mac, out);
        let mut count = 0;
        for session in self.sessions.of(host).filter(|session| session.phase() == Phase::Up) {
            let handle = session.handle();
            out.command(self.sessions.worker(handle), Command::PinBinding(handle, mac));
            count += 1;
        }
        count
    }

    // --- tunnels and the widths of their paths

    fn tell_tunnel(&self, id: TunnelId, out: &mut Outbox) {
        let entry = self.sessions.tunnel(id);
        if let Some(tunnel) = entry.and_then(|entry| self.paths.tunnel(id, &entry.key)) {
            out.command_all(Command::SetTunnel(id, tunnel));
        }
    }

    /// Path MTU of a tunnel's outer packet, in bytes.
    pub(crate) fn mtu(&self, id: TunnelId) -> u16 {
        self.paths.mtu(id)
    }

    /// The path to a peer is narrower than thought.
    pub(crate) fn narrow(&mut self, id: TunnelId, mtu: u16, out: &mut Outbox, now: Nanos) {
        if self.paths.narrow(id, mtu, now) {
            self.tell_mtu(id, out);
        }
    }

    fn tell_mtu(&self, id: TunnelId, out: &mut Outbox) {
        self.tell_tunnel(id, out);
        if let Some(entry) = self.sessions.tunnel(id) {
            let line =
                LogLine::new(Severity::Info, "tunnel mtu").peer(&entry.key.peer).address(entry.key.remote);
            out.log(line.reason(format!("{} bytes", self.paths.mtu(id))));
        }
    }

    /// A person may have said something else of the paths to peers.
    pub(crate) fn say_mtus(&mut self, cetp: &Cetp, out: &mut Outbox, now: Nanos) {
        let tunnels: Vec<_> =
            self.sessions.tunnels().iter().map(|(id, entry)| (id, cetp.mtu_to(&entry.key.peer))).collect();
        for (id, said) in tunnels {
            if self.paths.say(id, said, now) {
                self.tell_tunnel(id, out);
            }
        }
    }

    /// Paths that were narrow long enough are tried at full width again.
    pub(crate) fn widen(&mut self, out: &mut Outbox, now: Nanos) {
        for id in self.paths.widen(now) {
            self.tell_tunnel(id, out);
        }
    }

    /// A tunnel whose path is to be probed.
    pub(crate) fn take_due(&mut self, now: Nanos) -> Option<TunnelId> {
        self.paths.take_due(now)
    }

    /// Goes on with the probe of a tunnel's path; the echo request to be sent, if there is one. The number makes it known again.
    pub(crate) fn probe(&mut self, id: TunnelId, fresh: u32, now: Nanos) -> Option<Output> {
        let (size, token) = self.paths.probe(id, fresh, now)?;
        let key = self.sessions.tunnel(id).map(|entry| &entry.key)?;
        let (port, mac) = self.neighbours.station(key.remote)?;
        Some(Output::Echo { port, mac, from: key.local, to: key.remote, size, token })
    }

    /// An answer to an echo request came from a peer's locator. False: it was none of ours.
    pub(crate) fn echoed(&mut self, from: TunnelEnd, token: u32, out: &mut Outbox, now: Nanos) -> bool {
        let tunnels = self.sessions.tunnels().iter().filter(|(_, entry)| entry.key.remote == from);
        let ids: Vec<_> = tunnels.map(|(id, _)| id).collect();
        ids.into_iter().any(|id| {
            let before = self.paths.mtu(id);
            let is_ours = self.paths.answered(id, token, now);
            if self.paths.mtu(id) != before {
                self.tell_mtu(id, out);
            }
            is_ours
        })
    }

    /// When a path is to be tried at full width, or probed.
    pub(crate) fn next_path(&self) -> Option<Nanos> {
        [self.paths.next_widening(), self.paths.next_probe()].into_iter().flatten().min()
    }

    // --- next hops and routes

    /// Other routes, for what is reached by name; [`Fabric::forward_by`] is for the rest.
    pub(crate) fn set_routes(&mut self, routes: &Arc<Routes>, out: &mut Outbox) {
        self.neighbours.set_routes(Arc::clone(routes), out);
    }

    /// Has the workers forward by other routes.
    pub(crate) fn forward_by(&mut self, routes: Arc<Routes>, out: &mut Outbox, now: Nanos) {
        if let Some(forwarding) = &mut self.forwarding {
            forwarding.set_routes(routes, &mut self.neighbours, out, now);
        }
    }

    /// Whether hosts go out without a name.
    pub(crate) fn forwards(&self) -> bool {
        self.forwarding.is_some()
    }

    /// A worker has a packet for an address on a link, or of a host there, whose packets must come from this MAC address.
    pub(crate) fn reach(&mut self, address: Ipv4Addr, pin: Option<Mac>, out: &mut Outbox, now: Nanos) {
        if let Some(forwarding) = &mut self.forwarding {
            forwarding.wanted(address, pin, &mut self.neighbours, out, now);
        }
    }

    /// Slots of destinations, taken or free.
    pub(crate) fn destinations(&self) -> usize {
        self.neighbours.slots()
    }

    /// Where the destination in a slot is, if one is there.
    pub(crate) fn destination(&self, slot: usize) -> Option<Destination> {
        self.neighbours.destination(slot)
    }

    /// What a destination sends must come from this MAC address.
    pub(crate) fn pin_hop(&mut self, to: Destination, pin: Option<Mac>, out: &mut Outbox) {
        self.neighbours.pin(to, pin, out);
    }

    /// A worker wants to know a next hop's MAC address.
    pub(crate) fn hop_wanted(&self, id: HopId, out: &mut Outbox) {
        self.neighbours.wanted(id, out);
    }

    /// A next hop's MAC address, or that it has none any more. True if that is new, and others are reached over it.
    pub(crate) fn set_mac(
        &mut self,
        port: PortId,
        address: HopAddress,
        mac: Option<Mac>,
        out: &mut Outbox,
    ) -> bool {
        self.neighbours.set_mac((port, address), mac, out)
    }

    /// Whether what routers send has to come from the one that a route leads over.
    pub(crate) fn set_strict(&mut self, is_strict: bool) {
        self.neighbours.set_strict(is_strict);
    }

    /// The MAC address of the next hop to a host, if that is known.
    pub(crate) fn mac_to(&self, host: HostAddress) -> Option<Mac> {
        self.neighbours.station(host).map(|(_, mac)| mac)
    }

    /// The port on whose link an address is; `None` if a router leads there, or nothing.
    pub(crate) fn link_of(&self, host: HostAddress) -> Option<PortId> {
        self.neighbours.link_of(host)
    }

    /// Next hops in use, and the most.
    pub(crate) fn hops(&self) -> (u32, u32) {
        (self.neighbours.used(), self.neighbours.max())
    }

    // --- counters of bindings

    /// An administrator wants a binding's counters: its worker is asked, once for all who wait. The answer is `None` at once if
    /// it does not stand.
    pub(crate) fn read(&mut self, handle: Handle, token: AdminToken, out: &mut Outbox) {
        if self.sessions.get(handle).map(CesSession::phase) != Some(Phase::Up) {
            return out.push(Output::Binding { token, binding: None });
        }
        let readers = self.readers.entry(handle).or_default();
        readers.push(token);
        if readers.len() == 1 {
            out.command(self.sessions.worker(handle), Command::ReadBinding(handle));
        }
    }

    /// Those who wait for a binding's counters are told of them now.
    pub(crate) fn told_counters(&mut self, handle: Handle) -> impl Iterator<Item = AdminToken> + use<> {
        self.readers.remove(&handle).into_iter().flatten()
    }
}
