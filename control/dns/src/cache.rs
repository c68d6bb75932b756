//! Upstream answers, positive and negative, for as long as their TTLs say.
//!
//! One entry is one question with its whole answer, chain of CNAMEs included, as it came: a chain is never put together
//! from parts of different age. Bounded in entries and in octets; what has not been used for longest goes first, by a
//! clock hand over the slots (second chance), so a hit only sets a flag.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::packet::{CheckedResponse, TtlBounds};
use crate::question::{QuestionKey, Seeded};
use crate::resolution::{Failure, Received};
use crate::{Nanos, SECOND};

/// What the cache may hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// Questions.
    pub entries: u32,
    /// Octets, keys and bookkeeping included.
    pub bytes: u64,
    /// Shorter TTLs are kept this long, seconds.
    pub min_ttl_s: u32,
    /// Longer TTLs are cut to this, seconds.
    pub max_ttl_s: u32,
    /// Longer negative TTLs are cut to this, seconds (RFC 2308 §5 suggests one to three hours).
    pub max_negative_ttl_s: u32,
    /// How long a failure is remembered, seconds (RFC 9520 §3.2: at least 1, at most 300).
    pub failure_ttl_s: u32,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 64 << 20,
            min_ttl_s: 0,
            max_ttl_s: 86_400,
            max_negative_ttl_s: 3_600,
            failure_ttl_s: 1,
        }
    }
}

impl CacheSettings {
    /// The bounds on TTLs.
    pub fn bounds(&self) -> TtlBounds {
        TtlBounds { min_s: self.min_ttl_s, max_s: self.max_ttl_s, max_negative_s: self.max_negative_ttl_s }
    }
}

/// What is remembered of a question.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    Packet(Arc<CheckedResponse>),
    Failure(Failure),
}

#[derive(Debug)]
struct Slot {
    key: QuestionKey,
    entry: Cached,
    since: Nanos,
    until: Nanos,
    used: bool,
}

/// Octets of a slot and its place in the index (the key is shared).
const SLOT: usize = size_of::<Slot>() + size_of::<(QuestionKey, u32)>() + 8;

impl Slot {
    fn size(&self) -> u64 {
        let entry = match &self.entry {
            Cached::Packet(packet) => packet.size(),
            Cached::Failure(_) => 0,
        };
        (SLOT + self.key.size() + entry) as u64
    }
}

/// The cache's state, for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Questions held.
    pub entries: usize,
    /// Octets held.
    pub bytes: u64,
    /// Questions put out to make room, since the start.
    pub evicted: u64,
}

/// Answers by question.
#[derive(Debug)]
pub struct Cache {
    settings: CacheSettings,
    index: HashMap<QuestionKey, u32, Seeded>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: u64,
    evicted: u64,
}

impl Cache {
    pub(crate) fn new(settings: CacheSettings, seed: u64) -> Self {
        Self {
            settings,
            index: HashMap::with_hasher(Seeded(seed)),
            slots: Vec::new(),
            hand: 0,
            bytes: 0,
            evicted: 0,
        }
    }

    /// The bounds on TTLs.
    pub fn bounds(&self) -> TtlBounds {
        self.settings.bounds()
    }

    /// What is held.
    pub fn usage(&self) -> CacheUsage {
        CacheUsage { entries: self.slots.len(), bytes: self.bytes, evicted: self.evicted }
    }

    /// Forgets everything. What it was is for the caller to drop, which takes a while.
    pub fn clear(&mut self) -> impl Send + use<> {
        let index = HashMap::with_hasher(*self.index.hasher());
        (self.hand, self.bytes) = (0, 0);
        (std::mem::replace(&mut self.index, index), std::mem::take(&mut self.slots))
    }

    pub(crate) fn lookup(&mut self, key: &QuestionKey, now: Nanos) -> Option<(Cached, Nanos)> {
        let &at = self.index.get(key)?;
        let slot = &mut self.slots[at as usize];
        if slot.until <= now {
            self.remove(at as usize);
            return None;
        }
        slot.used = true;
        Some((slot.entry.clone(), slot.since))
    }

    /// Remembers an answer for as long as it says.
    pub(crate) fn insert(&mut self, key: QuestionKey, received: &Received, now: Nanos) {
        let lifetime = Nanos::from(received.packet.lifetime_s()) * SECOND;
        self.put(key, Cached::Packet(Arc::clone(&received.packet)), lifetime, now);
    }

    /// Remembers a failure, so that a broken zone is not asked for at every query (RFC 9520).
    pub(crate) fn insert_failure(&mut self, key: QuestionKey, failure: Failure, now: Nanos) {
        let lifetime = Nanos::from(self.settings.failure_ttl_s.min(300)) * SECOND;
        self.put(key, Cached::Failure(failure), lifetime, now);
    }

    fn put(&mut self, key: QuestionKey, entry: Cached, lifetime: Nanos, now: Nanos) {
        if let Some(&at) = self.index.get(&key) {
            self.remove(at as usize);
        }
        let slot = Slot { key, entry, since: now, until: now.saturating_add(lifetime), used: false };
        let size = slot.size();
        if lifetime == 0 || self.settings.entries == 0 || size > self.settings.bytes {
            return;
        }
        while self.slots.len() >= self.settings.entries as usize || self.bytes + size > self.settings.bytes {
            self.evict(now);
        }
        self.bytes += size;
        self.index.insert(slot.key.clone(), self.slots.len() as u32);
        self.slots.push(slot);
    }

    /// Puts out one slot: the next under the hand that is over or has not been used since the hand was last here.
    fn evict(&mut self, now: Nanos) {
        loop {
            self.hand %= self.slots.len();
            let slot = &mut self.slots[self.hand];
            if slot.until > now && std::mem::take(&mut slot.used) {
                self.hand += 1;
                continue;
            }
            self.evicted += u64::from(slot.until > now);
            self.remove(self.hand);
            return;
        }
    }

    fn remove(&mut self, at: usize) {
        let slot = self.slots.swap_remove(at);
        self.index.remove(&slot.key);
        self.bytes -= slot.size();
        if let Some(moved) = self.slots.get(at) {
            self.index.insert(moved.key.clone(), at as u32);
        }
    }
}
