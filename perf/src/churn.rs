//! What it costs to open a session of NAT44 with a mapping of its own, and to end one whose time is over: in bursts, with all
//! tables filled and emptied in random order.

use crate::measure::{Burst, Case, Done, timed};
use crate::random::shuffled;
use crate::realm::{LOCATOR, PlanWay, RealmPlan};
use ces_dataplane::Nanos;
use ces_dataplane::narrow::NONE;
use ces_dataplane::nat::Nat;
use ces_dataplane::settings::{NatRoom, WorkerSettings};
use ces_dataplane::table::index::Hasher;
use ces_dataplane::table::session::{Flow, Heading};
use ces_dataplane::table::sessions::Sessions;
use ces_dataplane::tag::Share;
use ces_dataplane::wire::{Pair, ipv4};

/// Which of the two is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChurnStep {
    /// The opening.
    Create,
    /// The end.
    Expire,
}

/// Sessions of a host, each from a port of its own.
const OF_A_HOST: u32 = 16;
/// Sessions to an external address: it has ports enough for as many as chance gives it.
const OF_AN_ADDRESS: u32 = 24_000;
/// Sessions that one call of `Sessions::expire` ends at most.
const A_TURN: u64 = 64;
/// Flows that a phase takes together, as those of the path do.
const GROUP: usize = 16;
/// The first external port.
const PORTS: u16 = 1024;
/// Longer than a session lasts that nobody answers, or a port rests.
const PAUSE: Nanos = 130_000_000_000;
/// The server's address and port.
const SERVER: (u32, u32) = (0x1400_0001, 443);
/// The first host.
const HOSTS: u32 = 0x0a00_0001;

/// Sessions that come and go.
pub struct SessionChurn {
    step: ChurnStep,
    nat: Nat,
    sessions: Sessions,
    order: Vec<u32>,
    next: usize,
    burst: usize,
    flows: Vec<Flow>,
    now: Nanos,
    done: Done,
}

impl SessionChurn {
    /// So many sessions, in bursts of `burst`.
    pub fn new(step: ChurnStep, entries: u32, burst: usize) -> Result<Self, String> {
        let addresses = entries / OF_AN_ADDRESS + 1;
        let mut settings =
            WorkerSettings { bindings: 2, ..RealmPlan::new(PlanWay::Egress, entries).settings() };
        let hosts = entries.div_ceil(OF_A_HOST);
        let room = NatRoom { sessions: entries, mappings: entries, hosts, addresses: addresses as u16 };
        settings.nat_room = room;
        settings.nat.addresses = (0..addresses).map(|i| (LOCATOR.to_bits() + i).into()).collect();
        settings.nat.ports = (PORTS, u16::MAX);
        // All hold as much as one another: the last ones are opened as the others are.
        settings.nat.reserve_percent = 0;
        let hasher = Hasher::new(settings.hash_seed);
        let share = Share::new(settings.tag_key, settings.layout, 0, 1);
        let sessions =
            Sessions::new(&settings, hasher, share, None).map_err(|error| format!("no table: {error}"))?;
        Ok(Self {
            step,
            nat: settings.nat,
            sessions,
            order: shuffled(entries, 3),
            next: 0,
            burst,
            flows: Vec::with_capacity(burst),
            now: PAUSE,
            done: Done::default(),
        })
    }

    fn flow(entry: u32) -> Flow {
        let port = 5000 + entry.wrapping_mul(0x9e37_79b1) % 50_000;
        let addresses = Pair::new(HOSTS + entry / OF_A_HOST, SERVER.0);
        // No two of a host's are the same.
        Flow { addresses, ports: ((port & !15) | (entry % OF_A_HOST)) << 16 | SERVER.1, protocol: ipv4::UDP }
    }

    /// Lets all of them end, and their ports rest.
    fn empty(&mut self) {
        self.now += PAUSE;
        while self.sessions.expire(&self.nat, self.now) != 0 {}
        self.now += PAUSE;
        self.next = 0;
    }

    /// Opens as many as a burst has, from the next one on.
    fn gather(&mut self) {
        let end = (self.next + self.burst).min(self.order.len());
        self.flows.clear();
        self.flows.extend(self.order[self.next..end].iter().map(|&entry| Self::flow(entry)));
        self.next = end;
    }

    fn create(&mut self) -> Burst {
        if self.next == self.order.len() {
            self.empty();
        }
        self.gather();
        let Self { sessions, flows, nat, now, done, .. } = self;
        done.burst(flows.len(), || measured_opening(sessions, flows, nat, *now))
    }

    fn expire(&mut self) -> Burst {
        if self.sessions.usage().sessions == 0 {
            self.now += PAUSE;
            self.next = 0;
            while self.next < self.order.len() {
                self.gather();
                let opened = |flow: &Flow| self.sessions.open_out(*flow, &self.nat, self.now).is_ok();
                let flows = std::mem::take(&mut self.flows);
                self.done.right -= flows.iter().map(opened).filter(|opened| !opened).count() as u64;
                self.flows = flows;
            }
            self.now += PAUSE;
        }
        let Self { sessions, nat, now, done, .. } = self;
        let due = sessions.usage().sessions.min(A_TURN);
        done.burst(due as usize, || measured_end(sessions, nat, *now))
    }
}

impl Case for SessionChurn {
    fn burst(&mut self) -> Burst {
        match self.step {
            ChurnStep::Create => self.create(),
            ChurnStep::Expire => self.expire(),
        }
    }

    fn done(&self) -> Done {
        self.done
    }
}

/// What is measured, in functions with names that callgrind can be told.
#[inline(never)]
fn measured_opening(sessions: &mut Sessions, flows: &[Flow], nat: &Nat, now: Nanos) -> (u64, usize) {
    timed(|| {
        // In the phases of the path, of which each fetches for the next.
        let group = |step: usize, phase: usize| {
            let start = step.wrapping_sub(phase).saturating_mul(GROUP).min(flows.len());
            &flows[start..(start + GROUP).min(flows.len())]
        };
        let mut opened = 0;
        for step in 0..flows.len().div_ceil(GROUP) + 3 {
            for flow in group(step, 0) {
                sessions.prefetch_candidate(Heading::Out, sessions.hash(*flow));
            }
            for flow in group(step, 1) {
                if sessions.candidate(Heading::Out, sessions.hash(*flow)) == NONE {
                    sessions.foresee(*flow);
                }
            }
            for flow in group(step, 2) {
                sessions.foresee_more(*flow);
            }
            for flow in group(step, 3) {
                opened += usize::from(sessions.open_out(*flow, nat, now).is_ok());
            }
        }
        opened
    })
}

#[inline(never)]
fn measured_end(sessions: &mut Sessions, nat: &Nat, now: Nanos) -> (u64, usize) {
    timed(|| sessions.expire(nat, now) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_comes_and_goes_again_and_again() {
        for step in [ChurnStep::Create, ChurnStep::Expire] {
            let mut churn = SessionChurn::new(step, 1000, 64).unwrap();
            let sessions: u64 = (0..100).map(|_| churn.burst().packets).sum();
            assert!(sessions > 5000, "{step:?}");
            churn.check().unwrap();
        }
    }
}
