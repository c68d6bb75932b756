//! The gateway as a host of its own: packets to itself, which are punted or not, those that nobody asked for, and what it may
//! say about packets that it drops.

use crate::counters::Counters;
use crate::frame::Frame;
use crate::msg::PuntClass;
use crate::packet::{ERROR, FRAGMENT, LATER, Packet};
use crate::port::{PathPort, martian};
use crate::premises::{Meters, Premises};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::table::fragments;
use crate::verdict::{Arrival, Attempt, Verdict};
use crate::wire::{Wire, arp, ethernet, icmp, ipv4, tcp};

/// The port of DNS.
pub(super) const DNS: u32 = 53;
/// The ports of DHCP: of servers and relays, and of clients.
const DHCP_SERVER: u32 = 67;
const DHCP_CLIENT: u32 = 68;
/// The first port that is not reserved: our resolvers send from above.
const PORTS_RESERVED: u32 = 1024;

/// Counts a verdict that is not simply "forward".
#[cold]
pub(super) fn settle(counters: &mut Counters, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Drop(reason) | Verdict::Reply(_, reason) => counters.drop(reason),
        Verdict::Absorb => counters.absorbed += 1,
        Verdict::Forward(_) | Verdict::Punt(_) | Verdict::HandOff(_) | Verdict::TurnBack(..) => {}
        Verdict::Hold(_) | Verdict::HoldLater(_) | Verdict::HoldUnasked(_) => {}
    }
    verdict
}

/// What becomes of a packet that its binding's limits refuse: a later fragment that overtook its first may be kept for it
/// (RFC 4787 §11, REQ-14).
#[cold]
pub(super) fn refused(packet: &Packet, reason: DropReason, arrival: Arrival) -> Verdict {
    match (reason, arrival.attempt) {
        (DropReason::FragmentUnmatched, Attempt::First) => Verdict::HoldLater(fragments::number(packet)),
        _ => Verdict::Drop(reason),
    }
}

/// What the gateway says for itself needs: what is its own, how much it may say, and the counts.
pub(super) struct Desk<'s> {
    pub(super) premises: &'s Premises,
    pub(super) meters: &'s mut Meters,
    pub(super) counters: &'s mut Counters,
}

impl<'s> Desk<'s> {
    /// The same for a shorter time.
    #[inline(always)]
    pub(super) fn again(&mut self) -> Desk<'_> {
        Desk { premises: self.premises, meters: self.meters, counters: self.counters }
    }

    /// The port of arrival.
    pub(super) fn port(&self, arrival: Arrival) -> Result<&'s PathPort, DropReason> {
        self.premises.port(arrival.port).ok_or(DropReason::PortDown)
    }

    /// Whether nothing with that source comes from a side: addresses of the realm from nowhere else, those of the DMZ, and those
    /// under which hosts are seen, not from the world (RFC 2827). No answer may go in there for one.
    fn is_forged(&self, side: Side, source: u32) -> bool {
        (side != Side::Inside && self.premises.belongs_inside(source))
            || (side == Side::Outside
                && (self.premises.belongs_to_dmz(source)
                    || self.premises.is_seen(source)
                    || self.premises.nat.statics.whole(source).is_some()))
    }

    /// The address that the gateway speaks from to whom this came from.
    pub(super) fn speaks_from(&self, arrival: Arrival) -> Option<u32> {
        self.port(arrival).ok().and_then(|port| self.premises.own_address(port))
    }

    /// An ARP message: for the control thread if it asks for us, answers us, or announces its sender.
    #[cold]
    pub(super) fn arp(&mut self, frame: &[u8], at: usize, arrival: Arrival) -> Verdict {
        let (side, to_us) = match self.port(arrival) {
            Ok(port) => (port.side, frame.starts_with(&port.mac)),
            Err(reason) => return Verdict::Drop(reason),
        };
        match arp::Message::parse(&frame[at..]) {
            Err(malformed) => Verdict::Drop(malformed.into()),
            Ok(message) if self.is_forged(side, message.sender) => Verdict::Drop(DropReason::SourceSpoofed),
            Ok(message)
                if to_us
                    || self.premises.is_own(side, message.target)
                    || self.premises.nat.statics.whole(message.target).is_some()
                    || (side == Side::Outside && self.premises.is_seen(message.target))
                    || message.sender == message.target =>
            {
                self.punt((side, message.sender), PuntClass::Arp, arrival)
            }
            Ok(_) => Verdict::Drop(DropReason::Unasked),
        }
    }

    /// A frame with IPv4 for everybody on the link: for the control thread if it is DHCP, and hosts get their addresses here.
    /// What another server says to everybody goes there as well, since somebody should know of that server.
    #[cold]
    pub(super) fn broadcast(&mut self, frame: &[u8], arrival: Arrival) -> Verdict {
        let port = match self.port(arrival) {
            Ok(port) if port.side == Side::Inside && self.premises.serves_dhcp() => port,
            _ => return Verdict::Drop(DropReason::Broadcast),
        };
        let mut packet = Packet::NOTHING;
        let parsed = match ethernet::Header::parse(frame) {
            Ok(link) => packet.parse(frame, link.length()),
            Err(malformed) => Err(malformed.into()),
        };
        if let Err(reason) = parsed {
            return Verdict::Drop(reason);
        }
        let is_dhcp = packet.protocol == ipv4::UDP
            && packet.flags & FRAGMENT == 0
            && matches!(packet.ports & 0xffff, DHCP_SERVER | DHCP_CLIENT)
            && (self.premises.is_own(port.side, packet.destination())
                || port.is_broadcast(packet.destination()));
        if is_dhcp {
            self.punt((port.side, packet.source()), PuntClass::Dhcp, arrival)
        } else {
            Verdict::Drop(DropReason::Broadcast)
        }
    }

    /// A packet from inside or from the DMZ that has no binding.
    #[cold]
    pub(super) fn inside_unbound<F: Frame>(
        &mut self,
        frame: &F,
        packet: &Packet,
        arrival: Arrival,
    ) -> Verdict {
        let destination = packet.destination();
        let side = self.port(arrival).map_or(Side::Inside, |port| port.side);
        match self.unbound(packet, arrival) {
            Some(reason) => Verdict::Drop(reason),
            None if self.premises.is_own(side, destination) => {
                self.addressed_to_us(side, frame, packet, arrival)
            }
            // A router answers at each of its addresses, whichever way one comes (RFC 1122 §3.3.4.2, weak).
            None if packet.flags & ERROR == 0
                && packet.protocol == ipv4::ICMP
                && self.premises.is_ours(destination) =>
            {
                self.addressed_to_us(side, frame, packet, arrival)
            }
            None if packet.flags & ERROR != 0 => Verdict::Drop(DropReason::IcmpErrorUnmatched),
            None if self.premises.is_proxy(destination) => Verdict::Drop(DropReason::NoBinding),
            None => Verdict::Drop(DropReason::NoRoute),
        }
    }

    /// Why a packet from outside that came through no tunnel is not for us, if it is not.
    pub(super) fn outside_refused(&self, packet: &Packet, arrival: Arrival) -> Option<DropReason> {
        self.unbound(packet, arrival).or_else(|| {
            let own = self.premises.is_own(Side::Outside, packet.destination());
            (!own).then_some(DropReason::Unasked)
        })
    }

    /// Whether a packet from outside has addresses that it may have.
    pub(super) fn outside_sound(&self, packet: &Packet, arrival: Arrival) -> bool {
        self.unbound(packet, arrival).is_none()
    }

    /// Sources and destinations that no packet may have here.
    fn unbound(&self, packet: &Packet, arrival: Arrival) -> Option<DropReason> {
        let port = match self.port(arrival) {
            Ok(port) => port,
            Err(reason) => return Some(reason),
        };
        let source = packet.source();
        // RFC 1122 §3.2.1.3: nobody has an address that means everybody, and no answer goes there.
        let is_nobodys = martian(source) || self.premises.is_broadcast(source);
        if is_nobodys || self.premises.is_own(port.side, source) {
            Some(DropReason::SourceInvalid)
        } else if self.is_forged(port.side, source) {
            Some(DropReason::SourceSpoofed)
        } else if packet.destination() >> 28 == 0xe {
            Some(DropReason::Multicast)
        } else if self.premises.is_broadcast(packet.destination()) {
            Some(DropReason::Broadcast)
        } else {
            None
        }
    }

    /// A packet to one of the gateway's own addresses.
    pub(super) fn addressed_to_us<F: Frame>(
        &mut self,
        side: Side,
        frame: &F,
        packet: &Packet,
        arrival: Arrival,
    ) -> Verdict {
        let l4 = usize::from(packet.l3) + usize::from(packet.l4);
        let kind = || frame.data().get(l4).copied().unwrap_or(0);
        let (source, destination) = (packet.ports >> 16, packet.ports & 0xffff);
        let class = match packet.protocol {
            // RFC 1122 §3.3.2: what comes in parts is put together, by the kernel, which bounds it. Nothing but ICMP does.
            _ if packet.flags & FRAGMENT != 0 && packet.protocol != ipv4::ICMP => None,
            ipv4::ICMP => {
                let wanted =
                    packet.flags & (ERROR | LATER) != 0 || matches!(kind(), icmp::ECHO | icmp::ECHO_REPLY);
                wanted.then_some(PuntClass::Icmp)
            }
            ipv4::UDP if destination == DNS => Some(PuntClass::Dns),
            // A client that goes on with its lease, or a relay.
            ipv4::UDP
                if destination == DHCP_SERVER && side == Side::Inside && self.premises.serves_dhcp() =>
            {
                Some(PuntClass::Dhcp)
            }
            ipv4::UDP => {
                let answer = destination >= PORTS_RESERVED
                    && self.premises.is_resolver(packet.source(), source as u16);
                answer.then_some(PuntClass::Udp)
            }
            ipv4::TCP => {
                // Connections are opened only to where we listen; what belongs to one already, the kernel knows.
                let opens = packet.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN;
                let listening = || self.premises.listens(side, destination as u16);
                (!opens || listening()).then_some(PuntClass::Tcp)
            }
            _ => None,
        };
        let from = (side, packet.source());
        class.map_or(Verdict::Drop(DropReason::Unasked), |class| self.punt(from, class, arrival))
    }

    fn punt(&mut self, from: (Side, u32), class: PuntClass, arrival: Arrival) -> Verdict {
        if self.meters.punt(self.premises, from, class, arrival.now) {
            Verdict::Punt(class)
        } else {
            Verdict::Drop(DropReason::PuntMetered)
        }
    }

    /// Whether the gateway may answer this packet with an error now (RFC 1122 §3.2.2: never an error about an error, a
    /// later fragment, or a packet from or to more than one host).
    pub(super) fn may_answer(&mut self, packet: &Packet, arrival: Arrival) -> bool {
        packet.flags & (ERROR | LATER) == 0
            && !martian(packet.key.source())
            && packet.destination() >> 28 != 0xe
            && self.may_tell(packet.source(), arrival)
    }

    /// Whether the gateway may tell this address one more ICMP error now.
    pub(super) fn may_tell(&mut self, told: u32, arrival: Arrival) -> bool {
        let Ok(port) = self.port(arrival) else { return false };
        let may = self.meters.icmp_error(self.premises, (port.side, told), arrival.now);
        if may {
            self.counters.icmp_generated += 1;
        } else {
            self.counters.icmp_suppressed += 1;
        }
        may
    }
}
