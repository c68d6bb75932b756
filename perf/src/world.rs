//! Hosts that speak with the world through NAT44: sessions that stand, and the packets of each.

use crate::packets::{Differences, PacketTemplate, SERVICE};
use crate::random::shuffled;
use crate::realm::{INSIDE, LOCATOR, OUTSIDE, OUTSIDE_MAC, PlanWay, ROUTER_MAC, RealmPlan};
use crate::rotation::NoBuffers;
use crate::sequence::Sequence;
use ces_dataplane::frame::MemoryFrame;
use ces_dataplane::msg::{Command, HopId, PortId};
use ces_dataplane::path::process;
use ces_dataplane::premises::Premises;
use ces_dataplane::settings::{NatRoom, WorkerSettings};
use ces_dataplane::state::State;
use ces_dataplane::table::fib::{Fib, Next, Route};
use ces_dataplane::table::session::Heading;
use ces_dataplane::verdict::Verdict;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Servers in the world count from here: 20.0.0.1.
const SERVERS: u32 = 0x1400_0001;
/// The first port of a host, above those of tunnels.
const PORTS: u16 = 8192;

/// So many sessions, of as many hosts as the realm has, each from one port of its own.
#[derive(Clone, Copy, Debug)]
pub struct World {
    plan: RealmPlan,
    heading: Heading,
}

impl World {
    /// A world with so many sessions.
    pub const fn new(heading: Heading, sessions: u32) -> Self {
        Self { plan: RealmPlan::new(PlanWay::Egress, sessions), heading }
    }

    /// Where packets come from, and where they must go.
    pub const fn ports(self) -> (PortId, PortId) {
        match self.heading {
            Heading::Out => (INSIDE, OUTSIDE),
            Heading::In => (OUTSIDE, INSIDE),
        }
    }

    /// The packets' template.
    pub fn template(self) -> PacketTemplate {
        match self.heading {
            Heading::Out => self.plan.template(),
            Heading::In => PacketTemplate::plain(ROUTER_MAC, OUTSIDE_MAC),
        }
    }

    fn settings(self) -> WorkerSettings {
        let (sessions, hosts) = (self.plan.entries, self.plan.hosts());
        let mut settings = WorkerSettings { bindings: 2, ..self.plan.settings() };
        settings.nat_room = NatRoom { sessions, mappings: hosts, hosts, addresses: 1 };
        settings.nat.addresses = vec![LOCATOR];
        settings.nat.ports = (PORTS, u16::MAX);
        settings.nat.host_sessions = u32::MAX;
        // All are opened, whoever has most of them.
        settings.nat.reserve_percent = 0;
        // Longer than anything here takes.
        (settings.nat.timeouts.udp_s, settings.nat.timeouts.udp_unanswered_s) = (8000, 8000);
        settings
    }

    /// What a host sends in session number `entry`, or gets.
    fn flow(self, entry: u32, heading: Heading) -> Differences {
        let hosts = self.plan.hosts();
        // No two hosts have the same port, so each has it outside as well.
        let own = PORTS + (entry % hosts) as u16;
        let (host, server) = (self.plan.host(entry), SERVERS + entry / hosts);
        match heading {
            Heading::Out => Differences {
                source: host,
                destination: server,
                source_port: own,
                destination_port: SERVICE,
                ..Differences::default()
            },
            Heading::In => Differences {
                source: server,
                destination: LOCATOR.to_bits(),
                source_port: SERVICE,
                destination_port: own,
                ..Differences::default()
            },
        }
    }

    /// The flows of all sessions in random order, again and again.
    pub fn sequence(self) -> Sequence {
        Sequence::of(self.plan.entries, |entry| self.flow(entry, self.heading))
    }

    /// The state of a worker with all sessions open.
    pub fn state(self, now: u64) -> Result<State, String> {
        let settings = self.settings();
        let mut state = State::new(&settings).map_err(|error| format!("no state: {error}"))?;
        let routes = [
            Route { network: 0, prefix: 0, next: Next::Via(HopId(0)) },
            Route { network: 0x0a00_0000, prefix: 8, next: Next::OnLink(INSIDE) },
        ];
        state.move_in(&mut Premises::new(&settings).with_routes(Arc::new(Fib::of(&routes, 1))));
        for command in self.plan.surroundings() {
            state.command(command, now);
        }
        for host in 0..self.plan.hosts() {
            state.command(Command::Reach(Ipv4Addr::from_bits(self.plan.host(host)), HopId(1 + host)), now);
        }
        let both = [Heading::Out, Heading::In].map(|heading| World { heading, ..self });
        let mut frame = MemoryFrame::empty();
        for entry in shuffled(self.plan.entries, 1) {
            for world in both {
                frame.reset(world.template().packet(&self.flow(entry, world.heading)));
                let verdict =
                    process(&mut state, world.ports().0, &mut frame, &mut NoBuffers::default(), now);
                if !matches!(verdict, Verdict::Forward(_)) {
                    return Err(format!("session {entry} did not open: {verdict:?}"));
                }
            }
        }
        Ok(state)
    }
}
