//! Which MAC address a host has, as far as a gateway can know: the registry's word, or the first that was seen.
//!
//! A MAC address that was seen moves (another NIC, a virtual machine, an address that two routers share by VRRP) once its owner
//! is gone: when another station uses the address, the owner is asked by ARP, twice, half a second apart, and if it is
//! silent for a second the address is the other's. As long as it answers, it keeps the address and the other is refused. What the
//! registry says does not move.
//!
//! ARP says more than a packet, which needs no answer to be sent: an address that is known by a packet alone is at once that of
//! whoever has it in ARP.

use crate::registry::MacEntry;
use crate::settings::MacPolicy;
use crate::{Mac, Nanos, SECOND};

/// How long an owner has after each question.
pub(crate) const PATIENCE_NS: Nanos = SECOND / 2;
/// Questions to an owner before it counts as gone, one station asked alone (RFC 1122 §2.3.2.1 (2)): one may be lost.
const QUESTIONS: u8 = 2;
/// An owner that has answered is not asked again for so long.
const QUIET_NS: Nanos = SECOND;

/// What shows that a station uses an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// An ARP message of it.
    Arp,
    /// A packet with it as source.
    Packet,
}

/// Another station that uses the address, while its owner is being asked.
#[derive(Clone, Copy, Debug)]
struct Rival {
    mac: Mac,
    by: Evidence,
    asked: u8,
}

/// What comes of a frame with a host's address as its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinClaim {
    /// It is the host's, or nobody wants to know.
    Owner,
    /// It is the first: from now on the host's.
    First,
    /// It is another station's, which is the host from now on.
    Moved,
    /// It is another station's, and only told.
    Told,
    /// It is another station's and refused; the owner is to be asked whether it is still there.
    Ask(Mac),
    /// It is another station's and refused.
    Refused,
}

/// What is known of one host's MAC address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pin {
    given: Option<MacEntry>,
    seen: Option<(Mac, Evidence)>,
    rival: Option<Rival>,
    quiet_until: Nanos,
    /// The last other station that used the address, and how often any did.
    other: Option<Mac>,
    others: u64,
}

impl Pin {
    pub(crate) fn new(given: Option<MacEntry>) -> Self {
        Self { given, ..Self::default() }
    }

    /// The registry says something else now; true if that is new.
    pub(crate) fn give(&mut self, given: Option<MacEntry>) -> bool {
        let is_new = self.given != given;
        if is_new {
            *self = Self::new(given);
        }
        is_new
    }

    /// The host's MAC address.
    pub(crate) fn mac(&self) -> Option<Mac> {
        match self.given {
            Some(MacEntry::Is(mac)) => Some(mac),
            Some(MacEntry::Any) => None,
            None => self.seen.map(|(mac, _)| mac),
        }
    }

    /// What was seen, and whether ARP has told it.
    pub(crate) fn seen(&self) -> Option<(Mac, bool)> {
        self.seen.map(|(mac, by)| (mac, by == Evidence::Arp))
    }

    /// The last process has seen it.
    pub(crate) fn recall(&mut self, (mac, by_arp): (Mac, bool)) {
        self.seen = Some((mac, if by_arp { Evidence::Arp } else { Evidence::Packet }));
    }

    /// How it is known, in a word.
    pub(crate) fn known_by(&self) -> Option<&'static str> {
        match (self.given, self.seen) {
            (Some(MacEntry::Is(_)), _) => Some("registry"),
            (Some(MacEntry::Any), _) => Some("any"),
            (None, Some((_, Evidence::Arp))) => Some("arp"),
            (None, Some((_, Evidence::Packet))) => Some("packet"),
            (None, None) => None,
        }
    }

    /// Whether the registry names it.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.given, Some(MacEntry::Is(_)))
    }

    /// Whether the registry lets it be anybody's.
    pub(crate) fn is_anybodys(&self) -> bool {
        self.given == Some(MacEntry::Any)
    }

    /// The last other station that used the address, and how often any did.
    pub(crate) fn others(&self) -> (Option<Mac>, u64) {
        (self.other, self.others)
    }

    /// A station says that the address is its own.
    pub(crate) fn claim(&mut self, mac: Mac, by: Evidence, policy: MacPolicy, now: Nanos) -> PinClaim {
        if policy == MacPolicy::Off || self.given == Some(MacEntry::Any) {
            return PinClaim::Owner;
        }
        let Some(owner) = self.mac() else {
            self.seen = Some((mac, by));
            return PinClaim::First;
        };
        if owner == mac {
            self.is_there(by, now);
            return PinClaim::Owner;
        }
        self.other = Some(mac);
        self.others += 1;
        let is_stronger = matches!((self.seen, by), (Some((_, Evidence::Packet)), Evidence::Arp));
        match policy {
            MacPolicy::Alarm if self.is_given() => PinClaim::Told,
            _ if self.is_given() => PinClaim::Refused,
            _ if policy.refuses() && !is_stronger => self.challenge(mac, by, owner, now),
            _ => {
                self.moved_to(mac, by);
                PinClaim::Moved
            }
        }
    }

    /// The owner was heard.
    fn is_there(&mut self, by: Evidence, now: Nanos) {
        if self.rival.take().is_some() {
            self.quiet_until = now + QUIET_NS;
        }
        if let (Some((_, known)), Evidence::Arp) = (&mut self.seen, by) {
            *known = by;
        }
    }

    fn challenge(&mut self, mac: Mac, by: Evidence, owner: Mac, now: Nanos) -> PinClaim {
        if self.rival.is_some() || now < self.quiet_until {
            return PinClaim::Refused;
        }
        self.rival = Some(Rival { mac, by, asked: 1 });
        PinClaim::Ask(owner)
    }

    /// The owner's time to answer is over. It is asked once more, or the address has moved.
    pub(crate) fn silent(&mut self) -> PinClaim {
        let (Some(rival), Some(owner)) = (&mut self.rival, self.seen) else { return PinClaim::Owner };
        if rival.asked < QUESTIONS {
            rival.asked += 1;
            return PinClaim::Ask(owner.0);
        }
        let Rival { mac, by, .. } = *rival;
        self.moved_to(mac, by);
        PinClaim::Moved
    }

    fn moved_to(&mut self, mac: Mac, by: Evidence) {
        self.seen = Some((mac, by));
        self.rival = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Evidence::{Arp, Packet};

    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];

    fn claims(pin: &mut Pin, policy: MacPolicy, of: &[(Mac, Evidence)]) -> Vec<PinClaim> {
        of.iter().map(|(mac, by)| pin.claim(*mac, *by, policy, 10)).collect()
    }

    #[test]
    fn p10_an_owner_that_answers_keeps_its_address() {
        let mut pin = Pin::default();
        let said = claims(&mut pin, MacPolicy::Pin, &[(A, Arp), (B, Arp), (B, Packet), (A, Arp), (B, Arp)]);
        assert_eq!(
            said,
            [PinClaim::First, PinClaim::Ask(A), PinClaim::Refused, PinClaim::Owner, PinClaim::Refused]
        );
        assert_eq!((pin.mac(), pin.known_by(), pin.others()), (Some(A), Some("arp"), (Some(B), 3)));
        assert_eq!(pin.silent(), PinClaim::Owner, "nobody waits for it any more");
        assert_eq!(
            pin.claim(B, Packet, MacPolicy::Pin, 10 + QUIET_NS),
            PinClaim::Ask(A),
            "asked anew after a while"
        );
    }

    #[test]
    fn p10_a_silent_owner_is_asked_twice_and_then_its_address_has_moved() {
        let mut pin = Pin::default();
        claims(&mut pin, MacPolicy::Pin, &[(A, Arp), (B, Arp)]);
        assert_eq!(
            [pin.silent(), pin.silent(), pin.silent()],
            [PinClaim::Ask(A), PinClaim::Moved, PinClaim::Owner]
        );
        assert_eq!((pin.mac(), pin.claim(B, Arp, MacPolicy::Pin, 20)), (Some(B), PinClaim::Owner));
        assert_eq!(
            pin.claim(A, Arp, MacPolicy::Pin, 20),
            PinClaim::Ask(B),
            "who comes back asks like anybody"
        );
    }

    #[test]
    fn p10_arp_says_more_than_a_packet() {
        let mut pin = Pin::default();
        let said = claims(&mut pin, MacPolicy::Pin, &[(B, Packet), (A, Arp), (B, Packet), (A, Packet)]);
        assert_eq!(said, [PinClaim::First, PinClaim::Moved, PinClaim::Ask(A), PinClaim::Owner]);
        assert_eq!(pin.mac(), Some(A));
    }

    #[test]
    fn p10_policies() {
        let mut pin = Pin::default();
        assert_eq!(claims(&mut pin, MacPolicy::Off, &[(A, Arp), (B, Arp)]), [PinClaim::Owner; 2]);
        assert_eq!(pin.mac(), None);
        let said = claims(&mut pin, MacPolicy::Alarm, &[(A, Arp), (B, Packet), (B, Arp)]);
        assert_eq!((said, pin.mac()), (vec![PinClaim::First, PinClaim::Moved, PinClaim::Owner], Some(B)));
    }

    #[test]
    fn p10_what_the_registry_says_does_not_move() {
        let mut pin = Pin::new(Some(MacEntry::Is(A)));
        assert_eq!(
            claims(&mut pin, MacPolicy::Pin, &[(B, Arp), (A, Packet)]),
            [PinClaim::Refused, PinClaim::Owner]
        );
        assert_eq!(claims(&mut pin, MacPolicy::Alarm, &[(B, Arp)]), [PinClaim::Told]);
        assert_eq!((pin.silent(), pin.mac(), pin.known_by()), (PinClaim::Owner, Some(A), Some("registry")));
        assert!(pin.give(Some(MacEntry::Any)) && !pin.give(Some(MacEntry::Any)));
        assert_eq!(claims(&mut pin, MacPolicy::Pin, &[(B, Arp), (A, Arp)]), [PinClaim::Owner; 2]);
        assert_eq!((pin.mac(), pin.others()), (None, (None, 0)));
    }
}
