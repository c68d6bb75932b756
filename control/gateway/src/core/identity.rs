//! What a host's address is worth (P10): a frame with it as its sender is the host's if it comes from the host's MAC address.
//!
//! The workers check it for what goes through bindings; here it is checked for what they punt, and here is decided which MAC
//! address that is ([`crate::pins`]). A host behind a router has none that could be seen: there it is the router's, where the
//! registry gives it, or by the policy `strict`, which believes the routes.

use super::Core;
use crate::address::{HopAddress, HostAddress};
use crate::counters::MacEvent;
use crate::hosts::{Host, HostId};
use crate::leased::MacAndName;
use crate::log::{LogLine, Severity};
use crate::output::Output;
use crate::pins::{Evidence, PATIENCE_NS, PinClaim};
use crate::routes::Routes;
use crate::sessions::Change;
use crate::settings::MacPolicy;
use crate::{Mac, Nanos, mac_text};
use ces_dataplane::msg::PortId;
use std::net::Ipv4Addr;
use std::sync::Arc;

impl Core {
    /// Whether a frame that says that it comes from this address comes from whom it says.
    pub(crate) fn is_from(&mut self, sender: HostAddress, mac: Mac, by: Evidence, now: Nanos) -> bool {
        let policy = self.settings().realm.mac_policy;
        if policy == MacPolicy::Off {
            return true;
        }
        let Some(id) = self.hosts.at(sender) else { return self.is_leased_to(sender, mac, policy) };
        if !self.has_mac(id) {
            return self.router_to(id).is_none_or(|router| router == mac) || self.refused(id, mac);
        }
        let Some(claim) = self.hosts.get_mut(id).map(|host| host.pin_mut().claim(mac, by, policy, now))
        else {
            return true;
        };
        let is_taken = self.claimed(id, claim, mac, by, now);
        self.keep_pin(id, now);
        is_taken
    }

    /// Whether an address that may be leased is that station's. A lease does not move by what others say.
    fn is_leased_to(&mut self, address: HostAddress, mac: Mac, policy: MacPolicy) -> bool {
        if self.leased.mac(address).is_none_or(|own| own == mac) {
            return true;
        }
        let (event, said) = if policy.refuses() {
            (MacEvent::Refused, "leased address from another mac refused")
        } else {
            (MacEvent::Told, "leased address from another mac")
        };
        self.counters.macs[event as usize] += 1;
        self.log(LogLine::new(Severity::Warn, said).address(address.ip()).reason(mac_text(mac)));
        !policy.refuses()
    }

    /// A host has an address by a lease, or nobody has it any more.
    pub(crate) fn set_leased(&mut self, address: HostAddress, host: Option<MacAndName>) {
        if self.leased.set(address, host) {
            let pin = self.pinned(address);
            self.fabric.pin_hop(address.into(), pin, &mut self.out);
        }
    }

    /// Whether a host has a MAC address that can be seen here: it is on a link, or the registry names one.
    fn has_mac(&self, id: HostId) -> bool {
        self.hosts.get(id).is_some_and(|host| host.pin().is_given()) || self.station(id).is_some()
    }

    /// Where a host is seen: a port, and its address there. `None`: it is behind a router.
    fn station(&self, id: HostId) -> Option<(PortId, HostAddress)> {
        let address = self.hosts.get(id)?.address();
        Some((self.fabric.link_of(address)?, address))
    }

    /// The MAC address that packets of the host with this address must come from.
    pub(crate) fn pinned(&self, address: HostAddress) -> Option<Mac> {
        if !self.settings().realm.mac_policy.refuses() {
            return None;
        }
        let Some(id) = self.hosts.at(address) else { return self.leased.mac(address) };
        if self.has_mac(id) { self.hosts.get(id)?.pin().mac() } else { self.router_to(id) }
    }

    /// The MAC address of the router that a host is behind, where it must not come from another.
    fn router_to(&self, id: HostId) -> Option<Mac> {
        let host = self.hosts.get(id).filter(|host| !host.pin().is_anybodys())?;
        let is_strict = self.settings().realm.mac_policy == MacPolicy::Strict;
        self.fabric.mac_to(host.address()).filter(|_| is_strict && self.station(id).is_none())
    }

    /// Does what a claim asks for; false if the frame is refused.
    fn claimed(&mut self, id: HostId, claim: PinClaim, mac: Mac, by: Evidence, now: Nanos) -> bool {
        match claim {
            PinClaim::Owner => return true,
            PinClaim::First => {
                self.counters.macs[MacEvent::Pinned as usize] += 1;
                if by == Evidence::Packet {
                    self.seek(id);
                }
                self.tell_pin(id);
            }
            PinClaim::Moved => self.moved(id, mac),
            PinClaim::Told => {
                self.counters.macs[MacEvent::Told as usize] += 1;
                self.log_mac(Severity::Warn, "host's address from another mac", id, mac);
            }
            PinClaim::Ask(owner) => {
                self.ask(id, owner, now);
                return self.refused(id, mac);
            }
            PinClaim::Refused => return self.refused(id, mac),
        }
        true
    }

    /// Has the next process know a host's MAC address as this one does: the first that is seen after a restart may be another's.
    fn keep_pin(&mut self, id: HostId, now: Nanos) {
        let Some((address, mac)) = self.hosts.get(id).map(|host| (host.address(), host.pin().seen())) else {
            return;
        };
        // By other policies the address is worth nothing, and may move with every frame.
        let is_worth = mac.is_some() && self.settings().realm.mac_policy.refuses();
        if is_worth && self.sessions().pin(address) != mac {
            let _ = self.change(Change::Pinned { host: address, mac }, now);
        }
    }

    /// Knows the MAC addresses that the last process has seen, and forgets those of hosts that are gone.
    pub(crate) fn recall_pins(&mut self, now: Nanos) {
        let pins: Vec<_> = self.sessions().pins().collect();
        for (address, mac) in pins {
            match self.hosts.at(address).and_then(|id| self.hosts.get_mut(id)) {
                Some(host) => host.pin_mut().recall(mac),
                None => _ = self.change(Change::Pinned { host: address, mac: None }, now),
            }
        }
    }

    fn refused(&mut self, id: HostId, mac: Mac) -> bool {
        self.counters.macs[MacEvent::Refused as usize] += 1;
        self.log_mac(Severity::Warn, "host's address from another mac refused", id, mac);
        false
    }

    fn moved(&mut self, id: HostId, mac: Mac) {
        self.counters.macs[MacEvent::Moved as usize] += 1;
        self.log_mac(Severity::Warn, "host's mac moved", id, mac);
        if let Some((port, address)) = self.station(id) {
            self.fabric.set_mac(port, HopAddress::from(address.v4()), Some(mac), &mut self.out);
        }
        self.tell_pin(id);
    }

    fn log_mac(&mut self, level: Severity, event: &'static str, id: HostId, mac: Mac) {
        if let Some(host) = self.hosts.get(id) {
            let line = LogLine::new(level, event).host(host.name()).address(host.address().ip());
            self.log(line.reason(mac_text(mac)));
        }
    }

    /// Has the kernel ask who has a host's address.
    fn seek(&mut self, id: HostId) {
        if let Some((port, address)) = self.station(id) {
            self.push(Output::ResolveNeighbour { port, address: address.v4().into() });
        }
    }

    /// Asks the owner of an address whether it is still there.
    fn ask(&mut self, id: HostId, owner: Mac, now: Nanos) {
        if let Some((port, address)) = self.station(id) {
            self.push(Output::AskOwner { port, address, mac: owner });
        }
        self.watch.asked(id, now + PATIENCE_NS);
    }

    /// When the next owner's time to answer is over.
    pub(crate) fn next_silence(&self) -> Option<Nanos> {
        self.watch.next_silence()
    }

    /// Owners that have not answered in time are asked again, or have lost their address.
    pub(crate) fn silent_owners(&mut self, now: Nanos) {
        while let Some(id) = self.watch.take_silent(now) {
            let Some(claim) = self.hosts.get_mut(id).map(|host| host.pin_mut().silent()) else { continue };
            match (claim, self.hosts.get(id).and_then(|host| host.pin().mac())) {
                (PinClaim::Ask(owner), _) => self.ask(id, owner, now),
                (PinClaim::Moved, Some(mac)) => {
                    self.moved(id, mac);
                    self.keep_pin(id, now);
                }
                _ => {}
            }
        }
    }

    /// Tells the worker of a host's bindings where its packets must come from; how many there are.
    pub(crate) fn tell_pin(&mut self, id: HostId) -> usize {
        let Some(address) = self.hosts.get(id).map(Host::address) else { return 0 };
        let mac = self.pinned(address);
        self.fabric.pin(address, mac, &mut self.out)
    }

    /// Other hosts, other rules for them, or other routes to them: what the workers know of pins is told anew.
    pub(crate) fn tell_pins(&mut self) {
        self.watch.hosts.begin(self.hosts.slots());
        self.tell_destinations();
    }

    /// The same, where what is known of each host's MAC address is still so.
    pub(crate) fn tell_destinations(&mut self) {
        self.watch.destinations.begin(self.fabric.destinations());
    }

    /// Whether they are yet to be told of some.
    pub(crate) fn has_pins_to_tell(&self) -> bool {
        !(self.watch.hosts.is_over() && self.watch.destinations.is_over())
    }

    /// Tells them of some, as many destinations, hosts and sessions as that.
    pub(crate) fn tell_some_pins(&mut self, most: usize) {
        let mut cost = 0;
        while cost < most
            && let Some(slot) = self.watch.destinations.next(self.fabric.destinations())
        {
            cost += 1;
            if let Some(to) = self.fabric.destination(slot) {
                let pin = self.pinned(to.v4().into());
                self.fabric.pin_hop(to, pin, &mut self.out);
            }
        }
        while cost < most
            && let Some(slot) = self.watch.hosts.next(self.hosts.slots())
        {
            let id = HostId(slot as u32);
            cost += 1 + if self.hosts.is_registered(id) { self.tell_pin(id) } else { 0 };
        }
    }

    /// A worker has a packet for an address on a link.
    pub(crate) fn reach(&mut self, address: Ipv4Addr, now: Nanos) {
        let pin = self.pinned(address.into());
        self.fabric.reach(address, pin, &mut self.out, now);
    }

    /// Other routes: a host may be on a link that was behind a router, or the other way round.
    pub(crate) fn set_routes(&mut self, routes: Arc<Routes>, now: Nanos) {
        self.fabric.set_routes(&routes, &mut self.out);
        let networks = &self.settings().realm.networks;
        let near = networks.iter().flat_map(|network| routes.about(*network)).collect();
        if self.watch.set_near(near) {
            self.tell_pins();
        }
        self.fabric.forward_by(routes, &mut self.out, now);
    }

    /// What the kernel knows about a next hop. Of a host that is pinned it may know less than we do: it still asks for the
    /// station that had the address before.
    pub(crate) fn set_neighbour(&mut self, port: PortId, address: HopAddress, mac: Option<Mac>) {
        let mac = mac.map(|said| self.pinned(address.v4().into()).unwrap_or(said));
        let is_router = self.fabric.set_mac(port, address, mac, &mut self.out);
        if is_router && self.settings().realm.mac_policy == MacPolicy::Strict {
            self.tell_pins();
        }
    }
}
