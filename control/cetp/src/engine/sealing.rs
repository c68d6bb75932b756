//! The keys of tunnels with one peer: which it was told, and which it told.
//!
//! Another key is told in each C2C, once the peer is known to have the one before. Two are alive at this side, so what it sends
//! under the old one until the new one has arrived is opened; and since none is replaced before its successor is known to be
//! there, an answer that is lost costs nothing.

use super::api::{ConnId, Nanos};
use crate::limits::S;
use crate::seal::{Cipher, EPOCH, PeerKeys, SealOffer, TunnelSecret};
use rand::Rng;

/// Peers with whom tunnels can be encrypted: the lowest bits of their indices differ, by which a worker finds the keys.
pub(super) const INDICES: u32 = 4_096;
/// The least time between two keys: what was sent under the one before both has long come.
const LEAST: Nanos = 5 * S;

/// Keys that another process may have drawn without having written so.
const UNWRITTEN: u32 = 1_000;

/// A key that the peer is to send under.
#[derive(Clone, Debug)]
struct Told {
    secret: TunnelSecret,
    /// How many were drawn before it.
    turn: u32,
    epoch: bool,
    drawn: Nanos,
    /// Where the peer was told of it last: it may have it, whatever it says next.
    on: Option<ConnId>,
    /// Whether the peer has it.
    is_there: bool,
    /// Whether the peer had it, or may have had it, and has it no longer: it has begun anew.
    is_forgotten: bool,
}

impl Told {
    /// One that nobody was told of.
    fn draw(turn: u32, epoch: bool, rng: &mut impl Rng, now: Nanos) -> Self {
        let secret = TunnelSecret::draw(rng);
        Self { secret, turn, epoch, drawn: now, on: None, is_there: false, is_forgotten: false }
    }

    const fn spi(&self, id: u32) -> u32 {
        if self.epoch { id | EPOCH } else { id }
    }
}

/// What is agreed with a peer.
#[derive(Clone, Debug)]
struct Agreed {
    cipher: Cipher,
    outbound: (u32, TunnelSecret),
    turn: u32,
    workers: u8,
    since: Nanos,
}

/// The keys of tunnels with a peer.
#[derive(Clone, Debug)]
pub(super) struct Sealing {
    /// The index that we drew, without its epoch.
    id: u32,
    told: Told,
    before: Option<TunnelSecret>,
    /// Whether the peer is known to have had the one before.
    before_was_there: bool,
    agreed: Option<Agreed>,
}

impl Sealing {
    pub(super) fn new(id: u32, rng: &mut impl Rng, now: Nanos) -> Self {
        let told = Told::draw(0, false, rng, now);
        Self { id, told, before: None, before_was_there: false, agreed: None }
    }

    /// What another engine left. The peer is told another key at once: what came under the old one before is not known here.
    pub(super) fn adopt(keys: PeerKeys) -> Option<Self> {
        let [first, second] = keys.inbound;
        let (told, before) = if keys.epoch { (second?, first) } else { (first?, second) };
        let agreed = keys.outbound.map(|outbound| Agreed {
            cipher: keys.cipher,
            outbound,
            turn: keys.turns.1,
            workers: keys.workers,
            since: 0,
        });
        let told = Told {
            secret: told,
            turn: keys.turns.0.saturating_add(UNWRITTEN),
            epoch: keys.epoch,
            drawn: 0,
            on: None,
            is_there: true,
            is_forgotten: false,
        };
        Some(Self { id: keys.id, told, before, before_was_there: true, agreed })
    }

    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// What the peer is told now, and whether that is another key than before. At the end of another connection there may be
    /// another process of the peer's, which does not know what was sent under the key.
    pub(super) fn offer(
        &mut self,
        about: (bool, u8),
        conn: ConnId,
        rng: &mut impl Rng,
        now: Nanos,
    ) -> (SealOffer, bool) {
        let Told { drawn, on, is_there, is_forgotten, .. } = self.told;
        let is_old = drawn == 0 || now >= drawn + LEAST;
        let is_new = is_forgotten || (is_there && is_old) || on.is_some_and(|last| last != conn);
        if is_new {
            self.draw(rng, now);
        }
        self.told.on = Some(conn);
        (self.again(about), is_new)
    }

    /// Another key, in the place of what the peer is least likely to send under: of the one before, or of the last, if that may
    /// never have come and the one before did.
    fn draw(&mut self, rng: &mut impl Rng, now: Nanos) {
        let Told { turn, is_there, is_forgotten, epoch, .. } = self.told;
        let stays = self.before_was_there && !is_there && !is_forgotten;
        let new = Told::draw(turn.saturating_add(1), epoch == stays, rng, now);
        let last = std::mem::replace(&mut self.told, new);
        if !stays {
            self.before = Some(last.secret);
            self.before_was_there = is_there;
        }
    }

    /// The same as it was told last.
    pub(super) fn again(&self, (has_aes, workers): (bool, u8)) -> SealOffer {
        let has = self.agreed.as_ref().map(|agreed| agreed.outbound.1.mark());
        SealOffer {
            spi: self.told.spi(self.id),
            secret: self.told.secret.clone(),
            turn: self.told.turn,
            has_aes,
            workers,
            has,
        }
    }

    /// The peer says which of our keys it has. One that has none may be another process than was told of this one last, and
    /// would count anew under it.
    pub(super) fn heard(&mut self, theirs: &SealOffer) {
        let has_it = theirs.has == Some(self.told.secret.mark());
        let had_it = self.told.is_there || (self.told.on.is_some() && theirs.has.is_none());
        self.told.is_forgotten = had_it && !has_it;
        self.told.is_there = has_it;
    }

    /// Both have told. What the peer told before something that came first is not gone back to: it may have given that up.
    pub(super) fn agree(&mut self, ours: &SealOffer, theirs: &SealOffer, now: Nanos) {
        let is_same = |agreed: &Agreed| (agreed.outbound.0 ^ theirs.spi) & !EPOCH == 0;
        if self.agreed.as_ref().is_some_and(|agreed| is_same(agreed) && theirs.turn < agreed.turn) {
            return;
        }
        let outbound = (theirs.spi, theirs.secret.clone());
        let since = match &self.agreed {
            Some(agreed) if agreed.outbound == outbound => agreed.since,
            _ => now,
        };
        let cipher = ours.cipher(theirs);
        self.agreed = Some(Agreed { cipher, outbound, turn: theirs.turn, workers: theirs.workers, since });
    }

    /// All keys; `None` before anything was agreed.
    pub(super) fn keys(&self) -> Option<PeerKeys> {
        let agreed = self.agreed.as_ref()?;
        let (told, before) = (Some(self.told.secret.clone()), self.before.clone());
        Some(PeerKeys {
            id: self.id,
            cipher: agreed.cipher,
            inbound: if self.told.epoch { [before, told] } else { [told, before] },
            epoch: self.told.epoch,
            outbound: Some(agreed.outbound.clone()),
            workers: agreed.workers,
            turns: (self.told.turn, agreed.turn),
        })
    }

    /// The cipher, the epoch of what is sent, and since when.
    pub(super) fn shown(&self) -> Option<(Cipher, u8, Nanos)> {
        let agreed = self.agreed.as_ref()?;
        Some((agreed.cipher, u8::from(agreed.outbound.0 & EPOCH != 0), agreed.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const ABOUT: (bool, u8) = (true, 1);
    const SAME: ConnId = ConnId(1);

    fn pair(rng: &mut StdRng) -> (Sealing, Sealing) {
        (Sealing::new(5, rng, S), Sealing::new(9, rng, S))
    }

    /// C2C that `a` begins; `arrives`: whether the answer does.
    fn c2c(a: &mut Sealing, b: &mut Sealing, arrives: bool, now: Nanos, rng: &mut StdRng) {
        begun(a, b, (SAME, arrives), now, rng);
    }

    fn begun(
        a: &mut Sealing,
        b: &mut Sealing,
        (conn, arrives): (ConnId, bool),
        now: Nanos,
        rng: &mut StdRng,
    ) {
        let (of_a, _) = a.offer(ABOUT, conn, rng, now);
        b.heard(&of_a);
        let (mut of_b, _) = b.offer(ABOUT, conn, rng, now);
        b.agree(&of_b, &of_a, now);
        of_b.has = b.again(ABOUT).has;
        if arrives {
            a.heard(&of_b);
            a.agree(&of_a, &of_b, now);
        }
    }

    /// Whether what each sends is opened by the other.
    fn understand(a: &Sealing, b: &Sealing) -> bool {
        let (a, b) = (a.keys().unwrap(), b.keys().unwrap());
        let opens = |to: &PeerKeys, from: &PeerKeys| {
            let (spi, secret) = from.outbound.clone().unwrap();
            spi & !EPOCH == to.id && to.inbound[usize::from(spi & EPOCH != 0)] == Some(secret)
        };
        opens(&a, &b) && opens(&b, &a)
    }

    #[test]
    fn each_c2c_brings_other_keys_and_none_is_lost_whatever_answer_is() {
        let rng = &mut StdRng::from_seed([7; 32]);
        let (mut a, mut b) = pair(rng);
        c2c(&mut a, &mut b, true, S, rng);
        assert!(understand(&a, &b));
        let mut first = None;
        for round in 1..200u64 {
            let now = round * 10 * S;
            if round % 35 == 1 {
                first = a.keys().unwrap().outbound;
            }
            let (from, to) = if round % 3 == 0 { (&mut b, &mut a) } else { (&mut a, &mut b) };
            c2c(from, to, round % 7 != 0 && round % 5 != 0, now, rng);
            assert!(understand(&a, &b), "round {round}");
            if round % 35 == 3 {
                assert_ne!(a.keys().unwrap().outbound, first, "round {round}");
            }
        }
    }

    #[test]
    fn what_both_begin_at_once_is_understood_whichever_key_comes_last() {
        let rng = &mut StdRng::from_seed([8; 32]);
        let (mut a, mut b) = pair(rng);
        let late = a.offer(ABOUT, SAME, rng, S).0;
        c2c(&mut b, &mut a, true, S, rng);
        assert!(understand(&a, &b));
        // What `a` had said before comes now, and is answered.
        b.heard(&late);
        let answer = b.offer(ABOUT, SAME, rng, S).0;
        b.agree(&answer, &late, S);
        a.heard(&b.again(ABOUT));
        a.agree(&late, &b.again(ABOUT), S);
        assert!(understand(&a, &b));
        c2c(&mut b, &mut a, true, 2 * S, rng);
        assert!(understand(&a, &b));
    }

    #[test]
    fn r1_a_key_that_may_have_been_used_is_not_told_to_who_has_none() {
        let rng = &mut StdRng::from_seed([5; 32]);
        let (mut a, mut b) = pair(rng);
        // It has the key, and ends before it has said so.
        c2c(&mut a, &mut b, false, S, rng);
        let used = b.keys().unwrap().outbound.unwrap().1;
        let mut next = Sealing::new(78, rng, S);
        c2c(&mut next, &mut a, true, S, rng);
        assert!(understand(&a, &next));
        assert_ne!(next.keys().unwrap().outbound.unwrap().1, used);
    }

    #[test]
    fn r1_a_peer_that_has_forgotten_all_is_told_another_key_however_young_that_one_is() {
        let rng = &mut StdRng::from_seed([6; 32]);
        let (mut a, mut b) = pair(rng);
        c2c(&mut a, &mut b, true, S, rng);
        let used = b.keys().unwrap().outbound.unwrap().1;
        // It asks, or is asked on a new connection.
        let mut asks = Sealing::new(77, rng, S);
        c2c(&mut asks, &mut a, true, S, rng);
        assert!(understand(&asks, &a));
        assert_ne!(asks.keys().unwrap().outbound.unwrap().1, used);
        let last = a.again(ABOUT).secret;
        assert_ne!(a.offer(ABOUT, ConnId(2), rng, S).0.secret, last);
    }

    #[test]
    fn on_new_connections_no_key_is_told_twice_and_what_is_sent_under_stays() {
        let rng = &mut StdRng::from_seed([4; 32]);
        let (mut a, mut b) = pair(rng);
        c2c(&mut a, &mut b, true, S, rng);
        c2c(&mut a, &mut b, true, 10 * S, rng);
        let last = a.again(ABOUT).secret;
        // Nothing of these arrives.
        let told: Vec<_> =
            (11..15).map(|second| a.offer(ABOUT, ConnId(second), rng, second * S).0.secret).collect();
        assert!(told.iter().all(|one| *one != last) && told.windows(2).all(|two| two[0] != two[1]));
        assert!(understand(&a, &b));
        begun(&mut a, &mut b, (ConnId(16), false), 16 * S, rng);
        assert!(understand(&a, &b));
    }

    #[test]
    fn r1_an_engine_that_goes_on_tells_another_key_at_once() {
        let rng = &mut StdRng::from_seed([9; 32]);
        let (mut a, mut b) = pair(rng);
        c2c(&mut a, &mut b, true, S, rng);
        let kept = a.keys().unwrap();
        let mut next = Sealing::adopt(kept.clone()).unwrap();
        assert!(understand(&next, &b), "what was agreed stands meanwhile");
        c2c(&mut next, &mut b, true, S, rng);
        assert!(understand(&next, &b));
        let now = next.keys().unwrap();
        assert_ne!((&now.outbound, now.epoch), (&kept.outbound, kept.epoch));
    }
}
