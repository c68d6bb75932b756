//! Queries that wait for something: for a name's CES records, for a negotiation, for a resolver.
//!
//! Whoever waits stands in one place, which alone knows how many that are and where those are whose client may go away.

use crate::Nanos;
use crate::hosts::HostId;
use crate::output::QueryToken;
use ces_dns::RecordType;
use ces_dns::message::{Query, Transport};
use ces_dns::naptr::Service;
use ces_dns::question::Question;
use ces_dns::resolver::Resolution;
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// A query and who asked it.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) token: QueryToken,
    pub(crate) query: Query,
}

/// A host's wish to reach a name, from its first query until it is known what the name is.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) host: HostId,
    pub(crate) remote: Arc<str>,
    /// All who asked for it: A and AAAA at once, the same again, never more than allowed.
    waiters: Vec<Waiter>,
    pub(crate) stage: Stage,
    pub(crate) since: Nanos,
    /// What the name answers as an ordinary one, to each question that was asked: asked beside its CES records.
    ordinary: Vec<(Question, Option<Resolution>)>,
    /// Its CES records are not waited for any longer than its ordinary ones.
    pub(crate) is_hurried: bool,
    /// The worst of what kept the gateways that were tried from answering for it, and the words for it.
    pub(crate) worst: Option<(Failed, Cow<'static, str>)>,
}

impl Ask {
    /// Who waits for it.
    pub(crate) fn waiters(&self) -> &[Waiter] {
        &self.waiters
    }

    /// What the name answers to a question as an ordinary one, as far as is known.
    pub(crate) fn ordinary(&self, question: &Question) -> Option<&Resolution> {
        self.ordinary.iter().find(|(own, _)| own == question).and_then(|(_, answer)| answer.as_ref())
    }

    /// One more gateway does not answer for it. What may be otherwise the next time outweighs a refusal.
    pub(crate) fn blame(&mut self, failed: Failed, why: Cow<'static, str>) {
        if self.worst.as_ref().is_none_or(|(worst, _)| *worst == Failed::Policy || failed != Failed::Policy) {
            self.worst = Some((failed, why));
        }
    }
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The resolver looks for the name's CES records.
    Discovery,
    /// The CETP engine negotiates with a gateway; those that may be tried after it.
    Negotiation(VecDeque<Service>),
}

/// Something that waits for the resolver or the engine.
#[derive(Debug)]
pub(crate) enum Pending {
    Ask(Ask),
    /// An ordinary query, given to the resolver as it is.
    Forward(Waiter),
    /// The CES records of a name, which say what a peer's word for it is worth.
    Claim {
        ces_id: Arc<str>,
        name: Arc<str>,
    },
    /// The answer to one of the questions of an ask, by its place there.
    Ordinary {
        ask: u64,
        at: usize,
    },
}

/// How an [`Ask`] ends when no binding comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The resolver does not say what the name's CES records are, and it has some.
    Discovery,
    /// Policy, ours or the peer's.
    Policy,
    /// The peer could not be reached, or did not agree for another reason than policy.
    Negotiation,
    /// Nothing left to give: addresses, slots, sessions.
    Exhausted,
    /// More negotiations a second than allowed.
    Rate,
    /// The host is gone or blocked in the meantime.
    Host,
}

/// All that waits.
#[derive(Default)]
pub(crate) struct Waiting {
    entries: FxHashMap<u64, Pending>,
    next: u64,
    /// Queries that wait, of all hosts.
    queries: u32,
    /// Where the queries over TCP wait: their clients may go away.
    tcp: FxHashMap<QueryToken, u64>,
}

impl Waiting {
    /// Queries that wait.
    pub(crate) fn queries(&self) -> u32 {
        self.queries
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Pending)> {
        self.entries.iter().map(|(id, pending)| (*id, pending))
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Pending> {
        self.entries.get(&id)
    }

    pub(crate) fn ask(&self, id: u64) -> Option<&Ask> {
        match self.entries.get(&id) {
            Some(Pending::Ask(ask)) => Some(ask),
            _ => None,
        }
    }

    pub(crate) fn ask_mut(&mut self, id: u64) -> Option<&mut Ask> {
        match self.entries.get_mut(&id) {
            Some(Pending::Ask(ask)) => Some(ask),
            _ => None,
        }
    }

    fn insert(&mut self, pending: Pending) -> u64 {
        let id = self.next;
        self.next += 1;
        self.entries.insert(id, pending);
        id
    }

    fn enter(&mut self, waiter: &Waiter, id: u64) {
        self.queries += 1;
        if waiter.query.transport == Transport::Tcp {
            self.tcp.insert(waiter.token, id);
        }
    }

    fn leave(&mut self, waiter: &Waiter) {
        self.queries -= 1;
        self.tcp.remove(&waiter.token);
    }

    /// A host asks for a name.
    pub(crate) fn begin(&mut self, host: HostId, remote: Arc<str>, waiter: Waiter, now: Nanos) -> u64 {
        let ask = Ask {
            host,
            remote,
            waiters: Vec::with_capacity(1),
            stage: Stage::Discovery,
            since: now,
            ordinary: Vec::with_capacity(1),
            is_hurried: false,
            worst: None,
        };
        let id = self.insert(Pending::Ask(ask));
        self.join(id, waiter);
        id
    }

    /// One more who waits for what is being asked.
    pub(crate) fn join(&mut self, id: u64, waiter: Waiter) {
        if self.ask(id).is_some() {
            self.enter(&waiter, id);
        }
        if let Some(ask) = self.ask_mut(id) {
            ask.waiters.push(waiter);
        }
    }

    /// An ordinary query waits for the resolver.
    pub(crate) fn forward(&mut self, waiter: Waiter) -> u64 {
        let id = self.next;
        self.enter(&waiter, id);
        self.insert(Pending::Forward(waiter))
    }

    /// The entry for a question that an ask puts to the resolver; none if it does so already.
    pub(crate) fn beside(&mut self, ask: u64, question: &Question) -> Option<u64> {
        let entry = self.ask_mut(ask)?;
        if entry.ordinary.iter().any(|(own, _)| own == question) {
            return None;
        }
        entry.ordinary.push((question.clone(), None));
        let at = entry.ordinary.len() - 1;
        Some(self.insert(Pending::Ordinary { ask, at }))
    }

    /// The answer to such a question: the ask whose it is, if that still waits for something.
    pub(crate) fn answered(&mut self, id: u64, resolution: Resolution) -> Option<u64> {
        let Some(Pending::Ordinary { ask, at }) = self.entries.remove(&id) else { return None };
        self.ask_mut(ask)?.ordinary.get_mut(at)?.1 = Some(resolution);
        Some(ask)
    }

    /// A peer's word for a name waits for the resolver.
    pub(crate) fn claim(&mut self, ces_id: Arc<str>, name: Arc<str>) -> u64 {
        self.insert(Pending::Claim { ces_id, name })
    }

    /// The word that was looked up: it waits no longer.
    pub(crate) fn claimed(&mut self, id: u64) -> Option<(Arc<str>, Arc<str>)> {
        match self.entries.remove(&id)? {
            Pending::Claim { ces_id, name } => Some((ces_id, name)),
            other => {
                self.entries.insert(id, other);
                None
            }
        }
    }

    /// Takes an ask out: those who waited for it do so no longer.
    pub(crate) fn end(&mut self, id: u64) -> Option<(Ask, Vec<Waiter>)> {
        self.ask(id)?;
        let Some(Pending::Ask(mut ask)) = self.entries.remove(&id) else { return None };
        let waiters = std::mem::take(&mut ask.waiters);
        for waiter in &waiters {
            self.leave(waiter);
        }
        Some((ask, waiters))
    }

    /// Takes an ordinary query out.
    pub(crate) fn forwarded(&mut self, id: u64) -> Option<Waiter> {
        if !matches!(self.entries.get(&id), Some(Pending::Forward(_))) {
            return None;
        }
        let Some(Pending::Forward(waiter)) = self.entries.remove(&id) else { return None };
        self.leave(&waiter);
        Some(waiter)
    }

    /// What the resolver owes an entry that waits for it: the question, and whether it is one for CES records.
    pub(crate) fn owed(&self, id: u64) -> Option<(Question, bool)> {
        match self.entries.get(&id)? {
            Pending::Ask(ask) if matches!(ask.stage, Stage::Discovery) => {
                Some((Question::new(ces_dns::name(&ask.remote)?, RecordType::NAPTR), true))
            }
            Pending::Ask(_) => None,
            Pending::Claim { name, .. } => {
                Some((Question::new(ces_dns::name(name)?, RecordType::NAPTR), true))
            }
            Pending::Forward(waiter) => Some((Question::of(&waiter.query), false)),
            Pending::Ordinary { ask, at } => Some((self.ask(*ask)?.ordinary.get(*at)?.0.clone(), false)),
        }
    }

    /// The client of a query over TCP went away. False if it does not wait. What was begun for it goes on: others may wait
    /// for it, and the next query will be glad of it.
    pub(crate) fn gone(&mut self, token: QueryToken) -> bool {
        let Some(id) = self.tcp.get(&token).copied() else { return false };
        if self.forwarded(id).is_some() {
            return true;
        }
        let Some(ask) = self.ask_mut(id) else { return false };
        let Some(at) = ask.waiters.iter().position(|waiter| waiter.token == token) else { return false };
        let waiter = ask.waiters.remove(at);
        self.leave(&waiter);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(token: u64, transport: Transport) -> Waiter {
        let query = Query {
            id: 1,
            name: ces_dns::name("www.b.demo").unwrap(),
            qtype: RecordType::A,
            recursion_desired: true,
            checking_disabled: false,
            edns: None,
            transport,
        };
        Waiter { token: QueryToken(token), query }
    }

    #[test]
    fn whoever_waits_is_counted_once_and_leaves_once() {
        let mut waiting = Waiting::default();
        let ask = waiting.begin(HostId(0), "www.b.demo.".into(), waiter(1, Transport::Tcp), 5);
        waiting.join(ask, waiter(2, Transport::Udp));
        let other = waiting.forward(waiter(3, Transport::Tcp));
        assert_eq!(waiting.queries(), 3);
        assert!(waiting.gone(QueryToken(1)) && !waiting.gone(QueryToken(1)) && !waiting.gone(QueryToken(2)));
        assert_eq!(waiting.queries(), 2);
        assert!(waiting.gone(QueryToken(3)));
        assert!(waiting.forwarded(other).is_none());
        let (_, waiters) = waiting.end(ask).unwrap();
        assert_eq!((waiters.len(), waiting.queries()), (1, 0));
        assert!(waiting.end(ask).is_none());
        waiting.join(ask, waiter(4, Transport::Tcp));
        assert_eq!(waiting.queries(), 0, "nobody waits for what has ended");
    }

    #[test]
    fn a_question_is_put_once_and_its_answer_finds_the_ask() {
        let mut waiting = Waiting::default();
        let one = waiter(1, Transport::Udp);
        let question = Question::of(&one.query);
        let ask = waiting.begin(HostId(0), "www.b.demo.".into(), one, 5);
        let beside = waiting.beside(ask, &question).unwrap();
        assert!(waiting.beside(ask, &question).is_none());
        assert!(waiting.ask(ask).unwrap().ordinary(&question).is_none());
        assert_eq!(waiting.answered(beside, Resolution::Timeout), Some(ask));
        assert!(waiting.ask(ask).unwrap().ordinary(&question).is_some());
        assert_eq!(waiting.answered(beside, Resolution::Timeout), None);
    }
}
