//! Where a session stands, and what packets make of that.

use crate::nat::Timeouts;
use crate::wire::{ipv4, tcp};

/// The flags of TCP that may change a session's stage.
const TURNING: u8 = tcp::SYN | tcp::FIN | tcp::RST;

/// The two ways that a packet of a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// From the inside host.
    Out,
    /// To it.
    In,
}

impl Heading {
    /// The other way.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }
}

/// Where a session stands: RFC 7857 §2 with the state machine of RFC 6146 §3.5.2.2 for TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// None: the line is free.
    #[default]
    Free,
    /// A protocol without anything to follow.
    Other,
    /// An ICMP query.
    Query,
    /// UDP that the other side has not answered.
    Unanswered,
    /// UDP of both.
    Answered,
    /// TCP whose SYN the host has sent.
    OpeningOut,
    /// TCP whose SYN came from outside.
    OpeningIn,
    /// TCP with a SYN of both.
    Established,
    /// TCP with a FIN of the host.
    FinOut,
    /// TCP with a FIN from outside.
    FinIn,
    /// TCP with a FIN of both.
    Closing,
    /// TCP after a reset: what comes then shows that it was not a true one.
    Reset,
}

impl Stage {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 12] = [
        Self::Free,
        Self::Other,
        Self::Query,
        Self::Unanswered,
        Self::Answered,
        Self::OpeningOut,
        Self::OpeningIn,
        Self::Established,
        Self::FinOut,
        Self::FinIn,
        Self::Closing,
        Self::Reset,
    ];

    /// The stage of this number, if a session of this protocol can stand there.
    pub(super) fn of(number: u8, protocol: u8) -> Option<Self> {
        let stage = *Self::ALL.get(usize::from(number))?;
        let fits = match Self::first(protocol, Heading::Out) {
            Self::OpeningOut => number >= Self::OpeningOut as u8,
            Self::Unanswered => matches!(stage, Self::Unanswered | Self::Answered),
            only => stage == only,
        };
        fits.then_some(stage)
    }

    /// The stage in which a session of this protocol begins.
    pub const fn first(protocol: u8, heading: Heading) -> Self {
        match (protocol, heading) {
            (ipv4::TCP, Heading::Out) => Self::OpeningOut,
            (ipv4::TCP, Heading::In) => Self::OpeningIn,
            (ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE, Heading::Out) => Self::Unanswered,
            (ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE, Heading::In) => Self::Answered,
            (ipv4::ICMP, _) => Self::Query,
            _ => Self::Other,
        }
    }

    /// Seconds that it lasts without a packet.
    pub const fn lasts_s(self, timeouts: &Timeouts) -> u16 {
        match self {
            Self::Free => 0,
            Self::Other => timeouts.other_s,
            Self::Query => timeouts.icmp_s,
            Self::Unanswered => timeouts.udp_unanswered_s,
            Self::Answered => timeouts.udp_s,
            Self::OpeningOut | Self::OpeningIn | Self::Closing | Self::Reset => timeouts.tcp_transitory_s,
            Self::Established | Self::FinOut | Self::FinIn => timeouts.tcp_established_s,
        }
    }

    /// For a person.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Other => "open",
            Self::Query => "query",
            Self::Unanswered => "unanswered",
            Self::Answered => "answered",
            Self::OpeningOut | Self::OpeningIn => "opening",
            Self::Established => "established",
            Self::FinOut | Self::FinIn => "half closed",
            Self::Closing => "closing",
            Self::Reset => "reset",
        }
    }

    /// Whether it gives way to others when there is no room: nothing that two sides have agreed on.
    pub const fn gives_way(self) -> bool {
        matches!(
            self,
            Self::Query | Self::Unanswered | Self::OpeningOut | Self::OpeningIn | Self::Closing | Self::Reset
        )
    }

    /// Whether a packet with none of the flags that turn it leaves it as it is.
    const fn is_steady(self, heading: Heading) -> bool {
        match self {
            Self::Other | Self::Query | Self::Answered => true,
            Self::Established | Self::FinOut | Self::FinIn | Self::Closing => true,
            Self::Unanswered => matches!(heading, Heading::Out),
            Self::Free | Self::OpeningOut | Self::OpeningIn | Self::Reset => false,
        }
    }

    /// The stage after a packet.
    pub(super) const fn after(self, heading: Heading, flags: u8) -> Self {
        let (syn, fin, reset) = (flags & tcp::SYN != 0, flags & tcp::FIN != 0, flags & tcp::RST != 0);
        let (out, acknowledges) = (matches!(heading, Heading::Out), flags & tcp::ACK != 0);
        match self {
            Self::Free | Self::Other | Self::Query | Self::Answered => self,
            Self::Unanswered => {
                if out {
                    self
                } else {
                    Self::Answered
                }
            }
            // A reset while it opens is an answer, too: it waits out its time.
            Self::OpeningOut => {
                if syn && !out {
                    Self::Established
                } else {
                    self
                }
            }
            // Whoever the SYN came from, a host that goes on has a connection: nobody ends it by a forged RST and then a SYN.
            Self::OpeningIn => {
                if out && (syn || acknowledges && !reset) {
                    Self::Established
                } else {
                    self
                }
            }
            _ if reset => Self::Reset,
            // RFC 6191: a SYN opens anew what was closing.
            Self::Closing | Self::Reset if syn => {
                if out {
                    Self::OpeningOut
                } else {
                    Self::OpeningIn
                }
            }
            // RFC 7857 §2.1: whatever goes on was not reset.
            Self::Reset => Self::Established,
            Self::Established if fin => {
                if out {
                    Self::FinOut
                } else {
                    Self::FinIn
                }
            }
            Self::FinOut if fin && !out => Self::Closing,
            Self::FinIn if fin && out => Self::Closing,
            _ => self,
        }
    }
}

/// The bit of [`Standing`] that says that more is to be said of a session than stands in its line.
const ANNEXED: u8 = 1 << 4;
/// The bit of it that says that a control channel announced the session.
const ANNOUNCED: u8 = 1 << 5;
/// The bit of it that says that a reservation let the session in.
const RESERVED: u8 = 1 << 6;
/// The bit of it that says that bytes of the session have moved, by how much stands elsewhere.
const MOVED: u8 = 1 << 7;

/// A stage in the byte of a session's line, with bits beside it: the stages in which a packet changes nothing are a set of
/// bits, so that a session of which more is to be said is told from all others by the same comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing(u8);

const _: () = assert!(Stage::ALL.len() <= ANNEXED as usize);

impl Standing {
    /// The stages that packets with a heading leave as they are: a bit each.
    const STEADY: [u32; 2] = [Self::steady(Heading::Out), Self::steady(Heading::In)];

    const fn steady(heading: Heading) -> u32 {
        let (mut bits, mut number) = (0, 0);
        while number < Stage::ALL.len() {
            bits |= (Stage::ALL[number].is_steady(heading) as u32) << number;
            number += 1;
        }
        bits
    }

    /// A stage, and nothing more to be said.
    pub(super) const fn of(stage: Stage) -> Self {
        Self(stage as u8)
    }

    /// As it stood in a line of this protocol, if it can.
    pub(super) fn read(bits: u8, protocol: u8) -> Option<Self> {
        Stage::of(bits & !(ANNEXED | ANNOUNCED | RESERVED | MOVED), protocol).map(|_| Self(bits))
    }

    /// The stage.
    pub(super) const fn stage(self) -> Stage {
        Stage::ALL[(self.0 & (ANNEXED - 1)) as usize % Stage::ALL.len()]
    }

    /// Another stage.
    pub(super) const fn set_stage(&mut self, stage: Stage) {
        self.0 = self.0 & !(ANNEXED - 1) | stage as u8;
    }

    /// Whether more is to be said.
    pub(super) const fn is_annexed(self) -> bool {
        self.0 & ANNEXED != 0
    }

    /// Whether more is to be said, from now on.
    pub(super) const fn set_annexed(&mut self, annexed: bool) {
        self.0 = self.0 & !ANNEXED | if annexed { ANNEXED } else { 0 };
    }

    /// Whether bytes of it have moved.
    pub(super) const fn is_moved(self) -> bool {
        self.0 & MOVED != 0
    }

    /// Whether bytes of it have moved, from now on.
    pub(super) const fn set_moved(&mut self, moved: bool) {
        self.0 = self.0 & !MOVED | if moved { MOVED } else { 0 };
    }

    /// Whether a control channel announced it.
    pub(super) const fn is_announced(self) -> bool {
        self.0 & ANNOUNCED != 0
    }

    /// A control channel announced it.
    pub(super) const fn set_announced(&mut self) {
        self.0 |= ANNOUNCED;
    }

    /// Whether a reservation let it in.
    pub(super) const fn is_reserved(self) -> bool {
        self.0 & RESERVED != 0
    }

    /// A reservation let it in.
    pub(super) const fn set_reserved(&mut self) {
        self.0 |= RESERVED;
    }

    /// Whether a packet with these flags of TCP, 0 where it is none, leaves the session as it is, and nothing more is to be
    /// said of it.
    #[inline(always)]
    pub(super) const fn stays(self, heading: Heading, flags: u8) -> bool {
        flags & TURNING == 0 && Self::STEADY[heading as usize] >> (self.0 & 31) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_which_more_is_to_be_said_is_steady_in_no_stage() {
        for stage in Stage::ALL {
            for heading in [Heading::Out, Heading::In] {
                let mut standing = Standing::of(stage);
                assert_eq!(standing.stays(heading, tcp::ACK), stage.is_steady(heading));
                assert!(!standing.stays(heading, tcp::FIN));
                standing.set_annexed(true);
                assert_eq!((standing.stage(), standing.stays(heading, tcp::ACK)), (stage, false));
                standing.set_stage(Stage::Closing);
                assert_eq!((standing.stage(), standing.is_annexed()), (Stage::Closing, true));
            }
        }
    }

    #[test]
    fn a_forged_reset_and_then_a_syn_do_not_end_what_goes_on() {
        let reset = Stage::Established.after(Heading::In, tcp::RST);
        let opening = reset.after(Heading::In, tcp::SYN);
        assert_eq!((reset, opening), (Stage::Reset, Stage::OpeningIn));
        assert_eq!(opening.after(Heading::Out, tcp::ACK), Stage::Established);
        assert_eq!(opening.after(Heading::Out, tcp::RST | tcp::ACK), Stage::OpeningIn, "a refusal");
    }
}
