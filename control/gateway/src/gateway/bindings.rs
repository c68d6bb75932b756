//! The life of a binding after the answer: what the CETP engine decides about it, and what the workers say of it.

use super::{Gateway, Link};
use crate::Nanos;
use crate::asking::Failed;
use crate::counters::NegotiationOutcome;
use crate::fabric::GivenUp;
use crate::hosts::HostId;
use crate::log::{LogLine, Severity};
use crate::output::Output;
use crate::sessions::{Change, Phase};
use crate::word;
use ces_cetp::engine::{self as cetp, Failure, H2hSession};
use ces_dataplane::msg::{BindingStats, Command, EndReason, Event, InsertError};
use ces_dataplane::tag::Handle;
use std::net::IpAddr;

impl Gateway {
    /// The engine wants something done.
    pub(crate) fn negotiated(&mut self, output: cetp::CetpOutput, now: Nanos) {
        match output {
            cetp::CetpOutput::Connect { conn, endpoint, ces_id } => {
                self.core.push(Output::CetpConnect { conn, endpoint, ces_id });
            }
            cetp::CetpOutput::Send { conn, bytes } => {
                self.core.push(Output::CetpSend { conn, bytes });
            }
            cetp::CetpOutput::Close { conn } => {
                self.core.push(Output::CetpClose { conn });
            }
            cetp::CetpOutput::H2hUp { session } => self.session_up(&session, now),
            cetp::CetpOutput::NegotiationDone { source, destination, ces_id, result, .. } => {
                self.negotiation_done((&source, &destination, &ces_id), result, now);
            }
            cetp::CetpOutput::H2hDown { local_tag, why } => {
                let handle = self.core.sessions().handle(local_tag);
                if let Some(session) = self.core.sessions().get(handle).filter(|s| s.phase() == Phase::Up) {
                    let why = match why {
                        cetp::DownReason::ByPeer => "the peer terminated it",
                        cetp::DownReason::ByUs => "terminated here",
                        cetp::DownReason::Replaced => "the peer restarted",
                        cetp::DownReason::Filtered => "filtered",
                    };
                    let line = LogLine::new(Severity::Info, "session down")
                        .host(session.local())
                        .remote(session.remote())
                        .peer(session.peer())
                        .tag(local_tag)
                        .reason(why);
                    self.core.log(line);
                }
                self.core.remove(handle, now);
            }
            cetp::CetpOutput::Owed { ces_id, tags } => {
                let tags = tags.into_iter().collect();
                let _ = self.core.change(Change::Owed { ces_id, tags }, now);
            }
            cetp::CetpOutput::Claimed { ces_id, name } => {
                let asked = (&mut self.waiting, &mut self.resolver);
                word::look_up(&mut self.core, &mut self.engine, asked, (ces_id, name), now);
            }
            cetp::CetpOutput::Refused { ces_id, source, destination, why } => {
                self.core.counters_mut().negotiation(outcome(why));
                let is_claimed =
                    why == Failure::Denied && self.core.may_speak_for(&ces_id, &source, now) == Some(false);
                self.core.counters_mut().claims_refused += u64::from(is_claimed);
                let reason = if is_claimed { "the peer may not speak for this name" } else { why.label() };
                let line = LogLine::new(Severity::Info, "session refused");
                self.core.log(line.host(&destination).remote(&source).peer(&ces_id).reason(reason));
            }
            cetp::CetpOutput::Keys { ces_id, keys } => {
                let _ = self.core.change(Change::Keys { ces_id: ces_id.clone(), keys: keys.clone() }, now);
                let is_other = self.core.tell_keys(&ces_id, keys.as_deref());
                self.core.counters_mut().rekeys += u64::from(is_other);
            }
            cetp::CetpOutput::PeerUp { ces_id, role } => {
                self.remember_peer(&ces_id, now);
                let line = LogLine::new(Severity::Info, "peer up").peer(&ces_id);
                self.core.log(line.reason(match role {
                    cetp::Role::Initiator => "we asked",
                    cetp::Role::Responder => "it asked",
                }));
            }
            cetp::CetpOutput::PeerFailed { ces_id, why, .. } => {
                let mut line = LogLine::new(Severity::Warn, "peer failed").reason(why.label());
                if let Some(ces_id) = &ces_id {
                    line = line.peer(ces_id);
                }
                self.core.log(line);
            }
            cetp::CetpOutput::PeerDown { ces_id, why } => {
                let why = match why {
                    cetp::PeerDownReason::ConnectionsLost => "all connections lost; its sessions live on",
                    cetp::PeerDownReason::ByPeer => "the peer ended it",
                    cetp::PeerDownReason::ByUs => "ended here",
                    cetp::PeerDownReason::Expired => "its lifetime is over",
                    cetp::PeerDownReason::Abuse => "it broke the rules",
                };
                self.core.log(LogLine::new(Severity::Info, "peer down").peer(&ces_id).reason(why));
                // Whatever comes meanwhile comes from before it was lost.
                self.signs.over(&ces_id);
            }
            cetp::CetpOutput::Doubted { ces_id, is_first } => {
                if is_first {
                    self.signs.over(&ces_id);
                }
                if self.signs.look(&ces_id, || self.engine.tags_with(&ces_id)) {
                    let why =
                        "it is back with other tunnel ids: whether it still has its sessions is not known";
                    self.core.log(LogLine::new(Severity::Info, "peer doubted").peer(&ces_id).reason(why));
                }
            }
            cetp::CetpOutput::DoubtOver { ces_id, stands } => {
                if stands {
                    // It draws other ids for each C2C.
                    self.remember_peer(&ces_id, now);
                }
                if !self.signs.over(&ces_id) {
                    return;
                }
                let why = if stands { "it still has its sessions" } else { "nothing came on its sessions" };
                self.core
                    .log(LogLine::new(Severity::Info, "peer no longer doubted").peer(&ces_id).reason(why));
            }
            cetp::CetpOutput::Blocked { addr, why, for_ns } => {
                let until = Some((why, now.saturating_add(for_ns)));
                let _ = self.core.change(Change::AddressBlocked { address: addr, until }, now);
                let reason = format!("{}, for {} s", why.label(), for_ns / crate::SECOND);
                self.core.log(LogLine::new(Severity::Warn, "sender blocked").address(addr).reason(reason));
            }
            cetp::CetpOutput::Filtered { name, local, ces_id, until } => {
                let _ = self.core.change(Change::Filtered { name, local, ces_id, until }, now);
            }
            cetp::CetpOutput::Filtering { ces_id, filter, for_ns } => {
                let line = LogLine::new(Severity::Info, "filter set").peer(&ces_id);
                let line = match &filter {
                    cetp::FlowFilter::RemoteHost(name) => line.remote(name),
                    cetp::FlowFilter::LocalDomain(name) => line.host(name),
                };
                self.core.log(line.reason(format!("the peer asked, for {} s", for_ns / crate::SECOND)));
            }
            cetp::CetpOutput::Evidence { ces_id, local_tag, misbehavior } => {
                let mut line =
                    LogLine::new(Severity::Warn, "peer complains").peer(&ces_id).reason(misbehavior);
                if let Some(tag) = local_tag {
                    line = line.tag(tag);
                }
                self.core.log(line);
            }
            cetp::CetpOutput::ActionDone { result, .. } => {
                let (level, why) = match result {
                    cetp::ActionResult::Acknowledged => (Severity::Debug, "acknowledged"),
                    cetp::ActionResult::Silent => (Severity::Warn, "the peer did not answer"),
                    cetp::ActionResult::PeerDown => (Severity::Warn, "the peer went down"),
                };
                self.core.log(LogLine::new(level, "request to a peer").reason(why));
            }
        }
    }

    fn session_up(&mut self, agreed: &H2hSession, now: Nanos) {
        let line = |level, event| {
            LogLine::new(level, event)
                .host(&agreed.local_fqdn)
                .remote(&agreed.remote_fqdn)
                .peer(&agreed.ces_id)
                .tag(agreed.local_tag)
        };
        match self.core.session_up(agreed, now) {
            Ok(handle) => {
                let proxy = self.core.sessions().get(handle).map(|session| session.proxy().ip());
                self.core.counters_mut().negotiation(match agreed.role {
                    cetp::Role::Initiator => NegotiationOutcome::Initiated,
                    cetp::Role::Responder => NegotiationOutcome::Accepted,
                });
                self.core.log(line(Severity::Info, "session up").address(proxy.unwrap_or(agreed.proxy)));
                // A peer that serves a name is where the name says.
                self.remember_peer(&agreed.ces_id, now);
            }
            Err(given_up) => {
                let (outcome, why) = match given_up {
                    GivenUp::Refused(why) => (NegotiationOutcome::Refused, why),
                    GivenUp::Exhausted(why) => (NegotiationOutcome::Exhausted, why),
                };
                self.core.counters_mut().negotiation(outcome);
                self.core.log(line(Severity::Warn, "session given up").reason(why));
                // Tells the peer; its `H2hDown` gives the reservation back.
                if !self.engine.terminate_session(agreed.local_tag) {
                    self.core.remove(self.core.sessions().handle(agreed.local_tag), now);
                }
            }
        }
    }

    fn negotiation_done(
        &mut self,
        (source, destination, ces_id): (&str, &str, &str),
        result: Result<(u32, IpAddr), Failure>,
        now: Nanos,
    ) {
        if let Err(why) = &result {
            self.core.counters_mut().negotiation(outcome(*why));
        }
        let host = self.core.hosts().named(source);
        let pending = match host.and_then(|id| self.link(id, destination, now)) {
            Some(Link::Asking(pending)) => Some(pending),
            _ => None,
        };
        match (result, pending) {
            (Ok((tag, _)), Some(pending)) => self.connected(pending, self.core.sessions().handle(tag), now),
            // Nobody waits any more; the next query finds it.
            (Ok(_), None) => {}
            (Err(why @ Failure::Cancelled), Some(pending)) => {
                self.fail(pending, failed(why), why.label(), now);
            }
            // The pair has a session that this far end asked for: it is why that end may refuse another one, and it stands though
            // nobody can be asked.
            (Err(why), Some(pending)) => {
                match host.and_then(|id| self.standing_counterpart(id, destination, ces_id, now)) {
                    Some(handle) => self.connected(pending, handle, now),
                    None => self.not_agreed(pending, failed(why), why.label(), now),
                }
            }
            (Err(_), None) => {}
        }
    }

    /// The session of a pair that the far end asked for, by this gateway, unless it is to end.
    fn standing_counterpart(&self, id: HostId, name: &str, peer: &str, now: Nanos) -> Option<Handle> {
        let session = self.core.counterpart(id, name, now).filter(|session| **session.peer() == *peer)?;
        (!self.engine.is_to_end(session.tag())).then(|| session.handle())
    }

    /// A worker said something.
    pub fn handle_event(&mut self, worker: u32, event: Event, now: Nanos) {
        let handle = match event {
            Event::InsertFailed(handle, _)
            | Event::BindingEnded(handle, ..)
            | Event::BindingStats(handle, _) => Some(handle),
            _ => None,
        };
        if handle.is_some_and(|handle| self.core.sessions().worker(handle) != worker) {
            self.core.counters_mut().stale_events += 1;
            return;
        }
        match event {
            Event::InsertFailed(handle, why) => self.insert_failed(handle, why, now),
            Event::BindingEnded(handle, reason, stats) => self.binding_ended(handle, reason, stats, now),
            Event::BindingStats(handle, stats) => self.binding_stats(handle, stats, now),
            Event::HopWanted(neighbour) => {
                let (fabric, out) = self.core.fabric_mut();
                fabric.hop_wanted(neighbour, out);
            }
            Event::Wanted(address) => self.core.reach(address, now),
            Event::ReservationEnded(id, end) => {
                let is_ours = self.inbound.ended(worker, id, end, now);
                self.core.counters_mut().stale_events += u64::from(!is_ours);
            }
            // For whoever makes lists and logs.
            Event::Row(..)
            | Event::RowsRead(..)
            | Event::Decided(..)
            | Event::Recorded(..)
            | Event::ChannelEncrypted(..)
            | Event::Rewritten(..) => {}
            Event::KeyLow(slot) => {
                let mut realm = self.core.at(now);
                self.engine.rekey(&mut realm, slot, now);
            }
            Event::TunnelMtu(tunnel, mtu) => {
                let (fabric, out) = self.core.fabric_mut();
                fabric.narrow(tunnel, mtu, out, now);
            }
        }
        self.settle(now);
    }

    fn insert_failed(&mut self, handle: Handle, why: InsertError, now: Nanos) {
        let Some(session) = self.core.sessions().get(handle) else {
            self.core.counters_mut().stale_events += 1;
            return;
        };
        let why = match why {
            InsertError::IndexFull => "the worker's index is full",
            InsertError::Occupied => "its slot or its pair of addresses is taken",
            InsertError::LimitsFull => "the worker's table of limits is full",
        };
        let line = LogLine::new(Severity::Warn, "binding not inserted")
            .host(session.local())
            .remote(session.remote())
            .tag(session.tag())
            .reason(why);
        let (tag, partner) = (session.tag(), session.partner());
        self.core.counters_mut().insert_failed += 1;
        self.core.log(line);
        self.core.release_binding(handle, now);
        match partner {
            Some(partner) => self.core.remove(self.core.sessions().handle(partner), now),
            None => {
                self.engine.terminate_session(tag);
            }
        }
    }

    fn binding_ended(&mut self, handle: Handle, reason: EndReason, stats: BindingStats, now: Nanos) {
        let session = self.core.sessions().get(handle).filter(|session| session.phase() != Phase::Reserved);
        let Some(session) = session else {
            self.core.counters_mut().stale_events += 1;
            return;
        };
        let (tag, phase) = (session.tag(), session.phase());
        let partner = session.partner().map(|partner| self.core.sessions().handle(partner));
        if phase == Phase::Up
            && reason == EndReason::Idle
            && let Some(partner) = partner
            && self.core.sessions().get(partner).is_some_and(|other| other.phase() == Phase::Up)
        {
            // Each half counts only what its own host sends: a flow in one direction leaves the other half idle.
            // The pair is idle when both are.
            let _ = self.core.change(Change::Slept { tag }, now);
            let worker = self.core.sessions().worker(partner);
            self.core.push(Output::Dataplane { worker, command: Command::ReadBinding(partner) });
            return;
        }
        let line = LogLine::new(Severity::Info, "session ended")
            .host(session.local())
            .remote(session.remote())
            .tag(tag)
            .reason(format!(
                "{}; out {} packets {} bytes, in {} packets {} bytes",
                reason.text(),
                stats.out_packets,
                stats.out_bytes,
                stats.in_packets,
                stats.in_bytes
            ));
        self.core.counters_mut().ended[reason as usize] += 1;
        self.core.log(line);
        self.core.release_binding(handle, now);
        match partner {
            Some(partner) => self.core.remove(partner, now),
            // cetp.md: both lifetimes expire at each side by itself, without a message.
            _ if phase == Phase::Up && reason != EndReason::Removed => {
                self.engine.session_ended(tag, now);
            }
            _ if phase == Phase::Up => {
                self.engine.terminate_session(tag);
            }
            _ => {}
        }
    }

    fn binding_stats(&mut self, handle: Handle, stats: Option<BindingStats>, now: Nanos) {
        for token in self.core.fabric_mut().0.told_counters(handle) {
            let binding = stats.and_then(|stats| self.snapshot(handle, Some(stats), now));
            self.core.push(Output::Binding { token, binding });
        }
        let Some(session) = self.core.sessions().get(handle) else { return };
        let (tag, carried) = (session.tag(), stats.map_or(0, |stats| stats.in_packets));
        if self.signs.read(session.peer(), tag, carried) {
            self.engine.has_carried(tag);
            return;
        }
        let idle_s = u32::from(session.idle_s());
        let Some(partner) = session.partner().map(|partner| self.core.sessions().handle(partner)) else {
            return;
        };
        if !self.core.sessions().get(partner).is_some_and(|other| other.phase() == Phase::Dormant) {
            return;
        }
        if stats.is_some_and(|stats| stats.idle_s < idle_s) {
            // This half is in use: the other one comes back, in the slot that it had.
            self.core.wake(partner, now);
        } else {
            self.core.counters_mut().ended[EndReason::Idle as usize] += 1;
            self.core.remove(partner, now);
            self.core.remove(handle, now);
        }
    }
}

fn failed(why: Failure) -> Failed {
    match why {
        Failure::Exhausted | Failure::SessionLimit | Failure::Overload => Failed::Exhausted,
        why if why.is_policy() => Failed::Policy,
        _ => Failed::Negotiation,
    }
}

fn outcome(why: Failure) -> NegotiationOutcome {
    match why {
        Failure::Exhausted | Failure::SessionLimit | Failure::Overload => NegotiationOutcome::Exhausted,
        Failure::Silent | Failure::Unreachable | Failure::Blocked | Failure::Lost | Failure::Cancelled => {
            NegotiationOutcome::Unreachable
        }
        Failure::Rounds | Failure::Duplicate | Failure::Malformed | Failure::ProofOfWork => {
            NegotiationOutcome::Protocol
        }
        _ => NegotiationOutcome::Refused,
    }
}
