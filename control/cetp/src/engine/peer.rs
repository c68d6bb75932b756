//! One peer gateway: what is known of it, C2C with it while it is up, and what is planned for it.

use super::api::{ConnId, Endpoint, Nanos, Role, TunnelChoice};
use super::attempt::{Attempt, Purpose};
use super::reason::PeerDownReason;
use super::revival::Revival;
use super::sealing::Sealing;
use crate::c2c::PeerTerms;
use crate::limits::{CetpLimits, S};
use rand::Rng;
use std::sync::Arc;

/// Sessions of one peer that ended while it was away, and that it is told of when it is back, at most: 128 KiB.
const MAX_OWED: usize = 16_384;

/// Endpoints of a peer that are kept.
const MAX_KNOWN: usize = 8;

/// The earliest and the latest that C2C is renewed before its end.
const LEAD: std::ops::RangeInclusive<Nanos> = 4 * S..=120 * S;

/// A C2C session.
#[derive(Clone, Debug)]
pub(super) struct C2c {
    pub(super) local_tag: u32,
    pub(super) remote_tag: u32,
    pub(super) role: Role,
    /// Where it was negotiated.
    pub(super) conn: ConnId,
    pub(super) since: Nanos,
    pub(super) until: Nanos,
    pub(super) session_limit: u32,
    /// For sessions that we start.
    pub(super) tunnel_out: TunnelChoice,
    /// For sessions that the peer starts.
    pub(super) tunnel_in: TunnelChoice,
}

impl C2c {
    pub(super) fn agreed(
        limits: &CetpLimits,
        (local_tag, remote_tag): (u32, u32),
        role: Role,
        conn: ConnId,
        terms: &PeerTerms,
        (tunnel_out, tunnel_in): (TunnelChoice, TunnelChoice),
        now: Nanos,
    ) -> Self {
        let session_limit = terms.session_limit.unwrap_or(limits.sessions_per_peer);
        Self {
            local_tag,
            remote_tag,
            role,
            conn,
            since: now,
            until: now + u64::from(terms.ttl_s) * S,
            session_limit: session_limit.min(limits.sessions_per_peer_max),
            tunnel_out,
            tunnel_in,
        }
    }

    /// Our tag, and the peer's.
    pub(super) const fn tags(&self) -> (u32, u32) {
        (self.local_tag, self.remote_tag)
    }
}

/// What other tunnel ids than before say about a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Draws {
    /// That it has restarted, as far as we know.
    #[default]
    Once,
    /// Nothing this time: it was there until our side ended C2C because its time was over.
    WasAlive,
    /// Nothing ever: it has drawn others while it was there.
    ForEachC2c,
}

/// Sessions that a peer lost of which it is told: each is a message.
const LOST_TOLD: u32 = 256;

/// That nobody knows what a peer still has which was lost and is back with other tunnel ids.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// Sessions of C2C before this one are meant.
    before: u32,
    since: Nanos,
    /// Until when a sign is waited for; `None`: its sessions end by none.
    until: Option<Nanos>,
    /// When it is looked for one next.
    next: Option<Nanos>,
    /// None came: what is meant is lost.
    is_lost: bool,
    looks: u32,
    told: u32,
}

/// How C2C came about that is agreed now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// On a connection that has been the peer's for longer than C2C may take: it is the same peer, whatever it draws.
    pub(super) is_renewal: bool,
    /// Whether the transport proved who it is.
    pub(super) has_identity: bool,
    /// Whether our CES id is the smaller one.
    pub(super) own_first: bool,
    /// How long C2C of the one side may be agreed after that of the other when both started at once.
    pub(super) overlap: Nanos,
}

/// What C2C that is agreed says about the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    /// Nobody knows whether it knows anything of before.
    pub(super) is_doubtful: bool,
    /// It begins anew elsewhere: old connections lead nowhere.
    pub(super) begins_anew: bool,
}

/// A peer gateway.
#[derive(Debug)]
pub(super) struct Peer {
    ces_id: Arc<str>,
    /// Whether its transport proved who it is; then nothing less will do.
    authenticated: bool,
    /// C2C, while the peer is up.
    c2c: Option<C2c>,
    /// The other one, when both sides started at once: its tags are understood, too.
    other: Option<C2c>,
    attempt: Option<Attempt>,
    /// Where it was found, or is said to be by names that it serves: the freshest first.
    known: Vec<Endpoint>,
    /// The name whose word of where it is turned out right last.
    right: Option<Arc<str>>,
    /// The one by whose word C2C of ours ran when the peer's own was agreed.
    perhaps: Option<Arc<str>>,
    /// Tags, ours first, of sessions that ended here while the peer was away: it has yet to be told.
    owed: Vec<(u32, u32)>,
    /// Rises with each C2C: a session of an older one may be asked for again.
    epoch: u32,
    /// The tunnel ids that it last told, by encapsulation.
    tunnel_ids: [Option<u32>; 3],
    /// What is planned if it was lost.
    revival: Revival,
    /// When C2C is renewed next.
    renewal: Option<Nanos>,
    /// How its tunnel ids are to be read.
    draws: Draws,
    doubt: Option<Doubt>,
    /// When we last began to seek it.
    sought: Option<Nanos>,
    /// C2C ends as soon as its sessions are ended.
    is_leaving: bool,
    /// The keys of tunnels with it.
    sealing: Option<Sealing>,
}

impl Peer {
    pub(super) fn new(ces_id: Arc<str>) -> Self {
        Self {
            ces_id,
            authenticated: false,
            c2c: None,
            other: None,
            attempt: None,
            known: Vec::new(),
            right: None,
            perhaps: None,
            owed: Vec::new(),
            epoch: 0,
            tunnel_ids: [None; 3],
            revival: Revival::default(),
            renewal: None,
            draws: Draws::default(),
            doubt: None,
            sought: None,
            is_leaving: false,
            sealing: None,
        }
    }

    // --- what is known of it

    pub(super) const fn ces_id(&self) -> &Arc<str> {
        &self.ces_id
    }

    pub(super) const fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    pub(super) fn known(&self) -> &[Endpoint] {
        &self.known
    }

    pub(super) fn is_known(&self, endpoint: &Endpoint) -> bool {
        self.known.iter().any(|known| known.is_at(endpoint))
    }

    /// The endpoints that another engine knew, or none for a peer that is not to be sought.
    pub(super) fn set_known(&mut self, endpoints: Vec<Endpoint>) {
        self.known = endpoints;
    }

    pub(super) fn was_right(&mut self, name: Option<Arc<str>>) {
        self.right = name;
    }

    pub(super) fn may_be_right(&mut self, name: Option<Arc<str>>) {
        self.perhaps = name;
    }

    /// Whether it is at an endpoint that a name says: what another name says of it is worth nothing until it serves that.
    pub(super) fn is_right(&self, endpoint: &Endpoint, said_by: Option<&Arc<str>>) -> bool {
        self.is_known(endpoint) || (said_by.is_some() && said_by == self.right.as_ref())
    }

    /// Whether it may turn out to be where that name says.
    pub(super) fn is_perhaps(&self, said_by: Option<&Arc<str>>) -> bool {
        said_by.is_some() && said_by == self.perhaps.as_ref()
    }

    /// It was found there. What it was found at before, and what names that it serves say, weighs more.
    pub(super) fn found_at(&mut self, endpoint: &Endpoint) {
        if !self.is_known(endpoint) && self.known.len() < MAX_KNOWN {
            self.known.push(endpoint.clone());
        }
    }

    /// A name that it serves says that it is there.
    pub(super) fn said_at(&mut self, endpoints: &[Endpoint]) {
        let mut known: Vec<Endpoint> = endpoints.iter().take(MAX_KNOWN).cloned().collect();
        self.known.retain(|old| !known.iter().any(|new| new.is_at(old)));
        known.append(&mut self.known);
        known.truncate(MAX_KNOWN);
        self.known = known;
    }

    pub(super) const fn tunnel_ids(&self) -> [Option<u32>; 3] {
        self.tunnel_ids
    }

    pub(super) const fn remember_tunnel_ids(&mut self, ids: [Option<u32>; 3]) {
        self.tunnel_ids = ids;
    }

    /// Remembers to tell it of a session that ended; false if there is no room.
    pub(super) fn owe(&mut self, tags: (u32, u32)) -> bool {
        let has_room = self.owed.len() < MAX_OWED;
        if has_room {
            self.owed.push(tags);
        }
        has_room
    }

    /// Whether it has yet to be told of any.
    pub(super) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    pub(super) fn take_owed(&mut self) -> Option<(u32, u32)> {
        self.owed.pop()
    }

    /// Whether it is known to draw other tunnel ids while it is there.
    pub(super) fn draws_others(&self) -> bool {
        self.draws == Draws::ForEachC2c
    }

    /// The same, as another engine knew it.
    pub(super) const fn remember_draws(&mut self) {
        self.draws = Draws::ForEachC2c;
    }

    // --- keys

    pub(super) const fn sealing(&self) -> Option<&Sealing> {
        self.sealing.as_ref()
    }

    pub(super) const fn sealing_mut(&mut self) -> Option<&mut Sealing> {
        self.sealing.as_mut()
    }

    pub(super) fn set_sealing(&mut self, sealing: Option<Sealing>) {
        self.sealing = sealing;
    }

    /// Whether tunnels of sessions that are agreed on now are encrypted.
    pub(super) fn is_sealed(&self) -> bool {
        self.c2c.as_ref().is_some_and(|c2c| c2c.tunnel_out.sealed)
    }

    // --- C2C

    pub(super) const fn c2c(&self) -> Option<&C2c> {
        self.c2c.as_ref()
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    fn all_c2c(&self) -> impl Iterator<Item = &C2c> {
        [&self.c2c, &self.other].into_iter().flatten()
    }

    /// Whether these are the tags, ours first, of C2C with it.
    pub(super) fn has_tags(&self, tags: (u32, u32)) -> bool {
        self.all_c2c().any(|c2c| c2c.tags() == tags)
    }

    /// Whether C2C with it has this tag of ours, agreed or not.
    pub(super) fn uses_tag(&self, tag: u32) -> bool {
        self.all_c2c().any(|c2c| c2c.local_tag == tag)
            || self.attempt.as_ref().is_some_and(|attempt| attempt.tag == tag)
    }

    /// Takes C2C that is agreed. When both sides started at once there are two: the one that the smaller CES id started is
    /// used, and the tags of the other are understood as well. Otherwise the new one takes the old one's place.
    pub(super) fn agree(&mut self, new: C2c, terms: &PeerTerms, how: Circumstances, now: Nanos) -> Meaning {
        self.authenticated |= how.has_identity;
        self.revival = Revival::default();
        if !how.is_renewal {
            self.epoch = self.epoch.wrapping_add(1);
        }
        let (has_changed, has_restarted) = self.read_tunnel_ids(terms, how.is_renewal);
        let was_up = self.c2c.is_some();
        let role = new.role;
        match self.c2c.take() {
            Some(old)
                if !has_restarted && old.role != role && now.saturating_sub(old.since) <= how.overlap =>
            {
                let initiator_wins = if how.own_first { Role::Initiator } else { Role::Responder };
                let (used, other) = if role == initiator_wins { (new, old) } else { (old, new) };
                (self.c2c, self.other) = (Some(used), Some(other));
            }
            _ => (self.c2c, self.other) = (Some(new), None),
        }
        let is_glare = self.other.is_some();
        let was_doubted = self.doubt.is_some_and(|doubt| !doubt.is_lost);
        let is_doubtful = !how.is_renewal && (has_changed || was_doubted);
        Meaning { is_doubtful, begins_anew: has_restarted || (was_up && !how.is_renewal && !is_glare) }
    }

    /// Reads the tunnel ids that it told. Whether they are others than before, for which there is no reason but that it was lost;
    /// and whether they say that it has restarted, as far as we know.
    fn read_tunnel_ids(&mut self, terms: &PeerTerms, is_renewal: bool) -> (bool, bool) {
        let is_other = terms.changes(&self.tunnel_ids);
        let has_changed = is_other && !is_renewal && self.draws != Draws::WasAlive;
        let has_restarted = has_changed && self.draws == Draws::Once;
        if is_renewal && is_other {
            self.draws = Draws::ForEachC2c;
        } else if self.draws == Draws::WasAlive {
            self.draws = Draws::Once;
        }
        for (encapsulation, id) in terms.tunnel_ids() {
            self.tunnel_ids[encapsulation as usize] = Some(id);
        }
        (has_changed, has_restarted)
    }

    // --- what it still has

    /// From now on nobody knows what it has of before C2C that was agreed now; for how long a sign is waited for.
    pub(super) fn begin_doubt(&mut self, limits: &CetpLimits, overlap: Nanos, now: Nanos) {
        let until = now + u64::from(limits.doubt_s) * S;
        let until = (self.draws != Draws::ForEachC2c).then_some(until);
        // The second C2C of two that both sides started at once says nothing new.
        let young = self.doubt.filter(|doubt| !doubt.is_lost && now.saturating_sub(doubt.since) <= overlap);
        let before = young.map_or(self.epoch, |doubt| doubt.before);
        self.doubt = Some(Doubt { before, since: now, until, next: None, is_lost: false, looks: 0, told: 0 });
    }

    /// Whether nobody knows what it has.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubt.is_some_and(|doubt| !doubt.is_lost)
    }

    /// Whether it is looked for a sign of what it has.
    pub(super) fn is_looked_at(&self) -> bool {
        self.doubt.is_some_and(|doubt| doubt.next.is_some())
    }

    /// Whether nobody knows if it has the sessions of that C2C, or they are lost.
    pub(super) fn is_doubtful_of(&self, epoch: u32) -> bool {
        self.doubt.is_some_and(|doubt| epoch.wrapping_sub(doubt.before).cast_signed() < 0)
    }

    /// Whether it has lost the sessions of that C2C.
    pub(super) fn has_lost(&self, epoch: u32) -> bool {
        self.doubt.is_some_and(|doubt| doubt.is_lost) && self.is_doubtful_of(epoch)
    }

    /// Whether no sign is waited for any longer.
    pub(super) fn is_doubt_over(&self, limits: &CetpLimits, now: Nanos) -> bool {
        let grace = u64::from(limits.doubt_s) * S;
        self.doubt.is_none_or(|doubt| doubt.is_lost || now >= doubt.until.unwrap_or(doubt.since + grace))
    }

    /// No sign came: whether its sessions of before are lost by that.
    pub(super) fn give_up(&mut self) -> bool {
        let Some(doubt) = self.doubt.as_mut().filter(|doubt| !doubt.is_lost) else { return false };
        doubt.next = None;
        doubt.is_lost = doubt.until.is_some();
        doubt.is_lost
    }

    /// It is looked for a sign again then; how often it has been.
    pub(super) fn look_again(&mut self, at: Nanos) -> u32 {
        let Some(doubt) = &mut self.doubt else { return 0 };
        (doubt.next, doubt.looks) = (Some(at), doubt.looks + 1);
        doubt.looks
    }

    pub(super) fn is_look_due(&self, at: Nanos) -> bool {
        self.doubt.is_some_and(|doubt| doubt.next == Some(at))
    }

    /// It was there, and has drawn other ids all the same.
    pub(super) const fn has_lost_nothing(&mut self) {
        (self.doubt, self.draws) = (None, Draws::ForEachC2c);
    }

    pub(super) const fn end_doubt(&mut self) {
        self.doubt = None;
    }

    /// Whether it may be told of one more session that it has lost.
    pub(super) fn may_be_told(&mut self) -> bool {
        let Some(doubt) = &mut self.doubt else { return false };
        doubt.told += 1;
        doubt.told <= LOST_TOLD
    }

    /// Of two C2C the one whose connection lives is the better guess of what the peer still knows.
    pub(super) fn prefer_living(&mut self, is_alive: impl Fn(ConnId) -> bool) {
        if let (Some(used), Some(other)) = (&self.c2c, &self.other)
            && !is_alive(used.conn)
            && is_alive(other.conn)
        {
            std::mem::swap(&mut self.c2c, &mut self.other);
        }
    }

    /// C2C is over; whether there was any. Nothing of it is kept: the peer may come back as another, and H2H does not say
    /// which C2C it rests on.
    pub(super) fn end_c2c(&mut self) -> bool {
        let was_up = self.c2c.take().is_some();
        (self.other, self.renewal) = (None, None);
        was_up
    }

    /// C2C that was to be renewed is over: who seeks the peer now seeks it anew.
    pub(super) fn renews_no_longer(&mut self) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.purpose == Purpose::Renewal) {
            attempt.purpose = Purpose::Revival;
        }
    }

    /// C2C is to end. False if it is already.
    pub(super) const fn begin_to_leave(&mut self) -> bool {
        !std::mem::replace(&mut self.is_leaving, true)
    }

    pub(super) const fn has_left(&mut self) {
        self.is_leaving = false;
    }

    /// Whether C2C is to end: nothing is negotiated meanwhile.
    pub(super) const fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Who was there until its time was over has not restarted.
    pub(super) fn was_alive_at(&mut self, why: PeerDownReason) {
        if why == PeerDownReason::Expired && self.draws == Draws::Once {
            self.draws = Draws::WasAlive;
        }
    }

    pub(super) fn is_c2c_due(&self, at: Nanos) -> bool {
        self.c2c.as_ref().is_some_and(|c2c| c2c.until == at)
    }

    // --- C2C of ours while it is negotiated

    pub(super) const fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    pub(super) const fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempt.as_mut()
    }

    pub(super) fn begin(&mut self, attempt: Attempt, now: Nanos) {
        (self.attempt, self.sought) = (Some(attempt), Some(now));
    }

    pub(super) fn is_attempt_due(&self, at: Nanos) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.is_due(at))
    }

    /// Whether we sought it that short a time ago, or do now.
    pub(super) fn is_sought(&self, within: Nanos, now: Nanos) -> bool {
        self.attempt.is_some() || self.sought.is_some_and(|at| now.saturating_sub(at) <= within)
    }

    pub(super) const fn take_attempt(&mut self) -> Option<Attempt> {
        self.attempt.take()
    }

    /// Whether nobody but ourselves waits for C2C. Then that an endpoint did not answer is no reason to keep a name from being
    /// asked for there: it may be back before the next try.
    pub(super) fn is_only_revival(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.purpose == Purpose::Revival)
    }

    // --- what is planned

    /// Plans the next try to find it again, if it is away, can be sought, and none is under way; when that is.
    pub(super) fn plan_revival(
        &mut self,
        limits: &CetpLimits,
        rng: &mut impl Rng,
        now: Nanos,
    ) -> Option<Nanos> {
        let is_sought = self.c2c.is_none() && self.attempt.is_none() && !self.known.is_empty();
        is_sought.then(|| self.revival.plan(limits, rng, now)).flatten()
    }

    /// The endpoints for a try to find it: so many, others at each try.
    pub(super) fn sought_at(&self, count: usize) -> Vec<Endpoint> {
        let first = self.revival.tries() as usize * count;
        let order = (0..self.known.len()).map(|index| (first + index) % self.known.len());
        order.take(count).map(|index| self.known[index].clone()).collect()
    }

    pub(super) fn is_revival_due(&self, at: Nanos) -> bool {
        self.revival.is_due(at)
    }

    /// The time for a try has come; whether there is still a reason for one.
    pub(super) fn begin_revival(&mut self, has_sessions: bool) -> bool {
        self.revival.begin();
        let is_sought = has_sessions && self.c2c.is_none();
        if !is_sought {
            self.revival = Revival::default();
        }
        is_sought
    }

    /// Plans the renewal of C2C that was agreed just now: the end that started C2C renews it, the other one need not. Keys that
    /// are older than `rekey` are renewed by it, by the end that started C2C first.
    pub(super) fn plan_renewal(&mut self, rekey: Nanos, now: Nanos) -> Option<Nanos> {
        let ours = self.all_c2c().find(|c2c| c2c.role == Role::Initiator);
        let rekey = if ours.is_some() { rekey } else { rekey + rekey / 10 };
        let rekey = self.is_sealed().then_some(now + rekey);
        let end = ours.and_then(|c2c| {
            let lead = ((c2c.until - now) / 10).clamp(*LEAD.start(), *LEAD.end());
            c2c.until.checked_sub(lead).filter(|at| *at > now)
        });
        self.renewal = [end, rekey].into_iter().flatten().min();
        self.renewal
    }

    pub(super) fn is_renewal_due(&self, at: Nanos) -> bool {
        self.renewal == Some(at)
    }

    /// Plans the next try of a renewal, if there is time for one: at half of what is left, but not more often than once a
    /// second, nor more seldom than once a minute.
    pub(super) fn plan_next_renewal(&mut self, now: Nanos) -> Option<Nanos> {
        let until = self.c2c.as_ref()?.until;
        let next = now + (until.saturating_sub(now) / 2).clamp(S, 60 * S);
        self.renewal = (next < until).then_some(next);
        self.renewal
    }
}
