//! Queries that wait for something: for a name's CES records, for a negotiation, for a resolver.
//!
//! Whoever waits stands in one place, which alone knows how many that are, which host asks for which name, and where those are
//! whose client may go away.

use crate::Nanos;
use crate::hosts::HostId;
use crate::output::QueryToken;
use ces_dns::message::{Query, Transport};
use ces_dns::naptr::CesService;
use ces_dns::question::Question;
use ces_dns::resolver::Resolution;
use ces_dns::{MILLISECOND, RecordType};
use rustc_hash::{FxHashMap, FxSeededState};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Names that one name may stand for, each for the next, where each has to be asked for by itself: beyond that it is a loop or
/// abuse.
pub(crate) const ALIASES: usize = 8;

/// What is left of a patience that began then, in milliseconds: 1 at the least.
pub(crate) fn left_ms(patience_ms: u32, since: Nanos, now: Nanos) -> u32 {
    let waited_ms = (now.saturating_sub(since) / MILLISECOND).min(u32::MAX.into()) as u32;
    patience_ms.saturating_sub(waited_ms).max(1)
}

/// A query and who asked it.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) token: QueryToken,
    pub(crate) query: Query,
}

/// A host's wish to reach a name, from its first query until it is known what the name is.
#[derive(Debug)]
pub(crate) struct Ask {
    host: HostId,
    remote: Arc<str>,
    /// Names that stand for it, of which nobody says more than that (CNAME).
    aliases: Vec<Arc<str>>,
    /// All who asked for it: A and AAAA at once, the same again, never more than allowed.
    waiters: Vec<Waiter>,
    pub(crate) stage: AskingStage,
    since: Nanos,
    /// What the name answers as an ordinary one, to each question that was asked: asked beside its CES records.
    ordinary: Vec<(Question, Option<Resolution>)>,
    /// Its CES records are not waited for any longer than its ordinary ones.
    pub(crate) is_hurried: bool,
    /// The worst of what kept the gateways that were tried from answering for it, and the words for it.
    pub(crate) worst: Option<(Failed, Cow<'static, str>)>,
}

impl Ask {
    pub(crate) fn host(&self) -> HostId {
        self.host
    }

    /// The name that it is about.
    pub(crate) fn remote(&self) -> &Arc<str> {
        &self.remote
    }

    /// The same, and those that were found to stand for it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.aliases.iter().chain([&self.remote])
    }

    /// When the first query came.
    pub(crate) fn since(&self) -> Nanos {
        self.since
    }

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
pub(crate) enum AskingStage {
    /// The resolver looks for the name's CES records.
    Discovery,
    /// The CETP engine negotiates with a gateway; those that may be tried after it.
    Negotiation(VecDeque<CesService>),
}

/// Something that waits for the resolver or the engine.
#[derive(Debug)]
pub(crate) enum Pending {
    Ask(Ask),
    /// An ordinary query, given to the resolver as it is.
    Forward(Waiter, RecordsTold),
    /// The CES records of a name, which say what a peer's word for it is worth.
    Claim(ClaimAsked),
    /// The answer to one of the questions of an ask, by its place there.
    Ordinary {
        ask: u64,
        at: usize,
    },
}

/// A peer's word for the name of its host, which is being looked up.
#[derive(Debug)]
pub(crate) struct ClaimAsked {
    pub(crate) ces_id: Arc<str>,
    pub(crate) name: Arc<str>,
    /// The names that it stands for, of which nobody says more than that (CNAME), the last one last.
    pub(crate) ends: Vec<Arc<str>>,
    pub(crate) since: Nanos,
}

impl ClaimAsked {
    /// The name whose records are asked for.
    pub(crate) fn asked(&self) -> &Arc<str> {
        self.ends.last().unwrap_or(&self.name)
    }
}

/// What is known of the CES records of a name that is asked for as an ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordsTold {
    /// It has none, or nobody asked.
    None,
    /// Its server does not say: it may be another's name (CNAME), which has some.
    Nothing,
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

/// Names that a host asks for, and the entries that know how far each is. Names come from outside.
type Asked = HashMap<Arc<str>, u64, FxSeededState>;

/// All that waits.
pub(crate) struct Waiting {
    entries: FxHashMap<u64, Pending>,
    next: u64,
    /// Queries that wait, of all hosts.
    queries: u32,
    /// Where the queries over TCP wait: their clients may go away.
    tcp: FxHashMap<QueryToken, u64>,
    /// Each host's asks, by the names that they are about.
    asked: FxHashMap<HostId, Asked>,
    seed: usize,
    /// Entries for which another resolver is to be asked again.
    owed: Vec<u64>,
}

impl Waiting {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            entries: FxHashMap::default(),
            next: 0,
            queries: 0,
            tcp: FxHashMap::default(),
            asked: FxHashMap::default(),
            seed: seed as usize,
            owed: Vec::new(),
        }
    }

    /// The ask of a host for a name, if it is asking for it.
    pub(crate) fn asked(&self, host: HostId, name: &str) -> Option<u64> {
        self.asked.get(&host)?.get(name).copied()
    }

    fn note(&mut self, host: HostId, name: Arc<str>, id: u64) {
        let hasher = || FxSeededState::with_seed(self.seed);
        self.asked.entry(host).or_insert_with(|| HashMap::with_hasher(hasher())).insert(name, id);
    }

    fn forget(&mut self, host: HostId, name: &str, id: u64) {
        let Some(asked) = self.asked.get_mut(&host) else { return };
        if asked.get(name) == Some(&id) {
            asked.remove(name);
        }
        if asked.is_empty() {
            self.asked.remove(&host);
        }
    }

    /// An ask is about another name from here on, for which the one before stands. False if there is no such ask.
    pub(crate) fn rename(&mut self, id: u64, name: Arc<str>) -> bool {
        let Some(ask) = self.ask_mut(id) else { return false };
        let (host, before) = (ask.host, std::mem::replace(&mut ask.remote, Arc::clone(&name)));
        ask.aliases.push(Arc::clone(&before));
        self.forget(host, &before, id);
        self.note(host, name, id);
        true
    }

    /// Queries that wait.
    pub(crate) fn queries(&self) -> u32 {
        self.queries
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Pending)> {
        self.entries.iter().map(|(id, pending)| (*id, pending))
    }

    /// All entries.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.entries.keys().copied().collect()
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
            remote: Arc::clone(&remote),
            aliases: Vec::new(),
            waiters: Vec::with_capacity(1),
            stage: AskingStage::Discovery,
            since: now,
            ordinary: Vec::with_capacity(1),
            is_hurried: false,
            worst: None,
        };
        let id = self.insert(Pending::Ask(ask));
        self.note(host, remote, id);
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
    pub(crate) fn forward(&mut self, waiter: Waiter, told: RecordsTold) -> u64 {
        let id = self.next;
        self.enter(&waiter, id);
        self.insert(Pending::Forward(waiter, told))
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
    pub(crate) fn claim(&mut self, ces_id: Arc<str>, name: Arc<str>, now: Nanos) -> u64 {
        self.insert(Pending::Claim(ClaimAsked { ces_id, name, ends: Vec::new(), since: now }))
    }

    /// It waits for what is said of another name, in the same entry.
    pub(crate) fn claim_on(&mut self, id: u64, claim: ClaimAsked) {
        self.entries.insert(id, Pending::Claim(claim));
    }

    /// The word that was looked up: it waits no longer.
    pub(crate) fn claimed(&mut self, id: u64) -> Option<ClaimAsked> {
        match self.entries.remove(&id)? {
            Pending::Claim(claim) => Some(claim),
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
        self.forget(ask.host, &ask.remote, id);
        let waiters = std::mem::take(&mut ask.waiters);
        for waiter in &waiters {
            self.leave(waiter);
        }
        Some((ask, waiters))
    }

    /// Takes an ordinary query out.
    pub(crate) fn forwarded(&mut self, id: u64) -> Option<(Waiter, RecordsTold)> {
        if !matches!(self.entries.get(&id), Some(Pending::Forward(..))) {
            return None;
        }
        let Some(Pending::Forward(waiter, told)) = self.entries.remove(&id) else { return None };
        self.leave(&waiter);
        Some((waiter, told))
    }

    /// The resolver is another: it is to be asked again for all who wait for it now.
    pub(crate) fn owe_all(&mut self) {
        self.owed = self.ids();
    }

    /// Whether some are left for whom it is.
    pub(crate) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// So many of them at most: the entry, its question, and whether that is one for CES records.
    pub(crate) fn take_owed(&mut self, most: usize) -> Vec<(u64, Question, bool)> {
        let some = self.owed.split_off(self.owed.len().saturating_sub(most));
        some.into_iter()
            .filter_map(|id| self.owed(id).map(|(question, is_ces)| (id, question, is_ces)))
            .collect()
    }

    /// What the resolver owes an entry that waits for it: the question, and whether it is one for CES records.
    fn owed(&self, id: u64) -> Option<(Question, bool)> {
        match self.entries.get(&id)? {
            Pending::Ask(ask) if matches!(ask.stage, AskingStage::Discovery) => {
                Some((Question::new(ces_dns::name(&ask.remote)?, RecordType::NAPTR), true))
            }
            Pending::Ask(_) => None,
            Pending::Claim(claim) => {
                Some((Question::new(ces_dns::name(claim.asked())?, RecordType::NAPTR), true))
            }
            Pending::Forward(waiter, _) => Some((Question::of(&waiter.query), false)),
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
            cookie: None,
            client_subnet: None,
            seal: None,
            transport,
        };
        Waiter { token: QueryToken(token), query }
    }

    #[test]
    fn whoever_waits_is_counted_once_and_leaves_once() {
        let mut waiting = Waiting::new(7);
        let ask = waiting.begin(HostId(0), "www.b.demo.".into(), waiter(1, Transport::Tcp), 5);
        waiting.join(ask, waiter(2, Transport::Udp));
        let other = waiting.forward(waiter(3, Transport::Tcp), RecordsTold::None);
        assert_eq!(waiting.queries(), 3);
        assert!(waiting.gone(QueryToken(1)) && !waiting.gone(QueryToken(1)) && !waiting.gone(QueryToken(2)));
        assert_eq!(waiting.queries(), 2);
        assert!(waiting.gone(QueryToken(3)));
        assert!(waiting.forwarded(other).is_none());
        assert_eq!(waiting.asked(HostId(0), "www.b.demo."), Some(ask));
        assert!(waiting.rename(ask, "b1.b.demo.".into()) && !waiting.rename(other, "b1.b.demo.".into()));
        assert!(waiting.ask(ask).unwrap().names().map(|name| &**name).eq(["www.b.demo.", "b1.b.demo."]));
        assert_eq!(waiting.asked(HostId(0), "b1.b.demo."), Some(ask));
        assert_eq!(
            (waiting.asked(HostId(0), "www.b.demo."), waiting.asked(HostId(1), "b1.b.demo.")),
            (None, None)
        );
        let (_, waiters) = waiting.end(ask).unwrap();
        assert_eq!((waiters.len(), waiting.queries(), waiting.asked.len()), (1, 0, 0));
        assert!(waiting.end(ask).is_none());
        waiting.join(ask, waiter(4, Transport::Tcp));
        assert_eq!(waiting.queries(), 0, "nobody waits for what has ended");
    }

    #[test]
    fn r2_what_another_resolver_owes_is_asked_a_piece_at_a_time() {
        let mut waiting = Waiting::new(7);
        let ids: Vec<u64> =
            (1..=3).map(|token| waiting.forward(waiter(token, Transport::Udp), RecordsTold::None)).collect();
        waiting.owe_all();
        waiting.forwarded(ids[1]).unwrap();
        let mut pieces = Vec::new();
        while waiting.is_owed() {
            pieces.push(waiting.take_owed(2).len());
        }
        assert_eq!(pieces.iter().sum::<usize>(), 2, "nothing is owed to who has left");
        assert!(pieces.len() == 2 && waiting.take_owed(2).is_empty());
    }

    #[test]
    fn a_question_is_put_once_and_its_answer_finds_the_ask() {
        let mut waiting = Waiting::new(7);
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
