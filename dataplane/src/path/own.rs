//! What belongs to no binding: packets to the gateway itself, which are punted or not, and those that nobody asked for.

use super::packet::{ERROR, FRAGMENT, Packet};
use crate::Nanos;
use crate::frame::Frame;
use crate::index::NONE;
use crate::msg::{PortId, PuntClass};
use crate::port::martian;
use crate::reason::DropReason;
use crate::settings::Side;
use crate::state::State;
use crate::verdict::Verdict;
use crate::wire::{Wire, arp, icmp, ipv4, tcp};

/// The port of DNS.
const DNS: u32 = 53;
/// The first port that is not reserved: our resolvers send from above.
const PORTS_RESERVED: u32 = 1024;

impl State {
    /// An ARP message: for the control thread if it asks for us, answers us, or announces its sender.
    #[cold]
    pub(super) fn arp(&mut self, port: PortId, frame: &[u8], at: usize, now: Nanos) -> Verdict {
        let arrival = &self.ports[usize::from(port)];
        let (side, to_us) = (arrival.side, frame.starts_with(&arrival.mac));
        match arp::Message::parse(&frame[at..]) {
            Err(malformed) => Verdict::Drop(malformed.into()),
            Ok(message) if to_us || self.is_own(side, message.target) || message.sender == message.target => {
                self.punt(PuntClass::Arp, now)
            }
            Ok(_) => Verdict::Drop(DropReason::Unasked),
        }
    }

    /// A packet from inside that has no binding.
    #[cold]
    pub(super) fn inside_unbound<F: Frame>(
        &mut self,
        port: PortId,
        frame: &F,
        packet: &Packet,
        now: Nanos,
    ) -> Verdict {
        match self.unbound(port, packet) {
            Some(verdict) => verdict,
            None if self.is_own(Side::Inside, packet.destination()) => {
                self.addressed_to_us(Side::Inside, frame, packet, now)
            }
            None if packet.flags & ERROR != 0 => Verdict::Drop(DropReason::IcmpErrorUnmatched),
            None if self.is_proxy(packet.destination()) => Verdict::Drop(DropReason::NoBinding),
            None => Verdict::Drop(DropReason::NoRoute),
        }
    }

    /// A packet from outside that came through no tunnel.
    #[cold]
    pub(super) fn outside_plain<F: Frame>(
        &mut self,
        port: PortId,
        frame: &mut F,
        l3: usize,
        packet: &mut Packet,
        now: Nanos,
    ) -> Verdict {
        packet.slot = NONE;
        if let Err(reason) = packet.parse(frame.data(), l3) {
            return Verdict::Drop(reason);
        }
        if let Some(verdict) = self.unbound(port, packet) {
            return verdict;
        }
        if !self.is_own(Side::Outside, packet.destination()) {
            return Verdict::Drop(DropReason::Unasked);
        }
        if packet.flags & ERROR != 0
            && let Some(verdict) = self.outer_error(frame, packet, now)
        {
            return verdict;
        }
        self.addressed_to_us(Side::Outside, frame, packet, now)
    }

    /// Sources and destinations that no packet may have here.
    fn unbound(&self, port: PortId, packet: &Packet) -> Option<Verdict> {
        let port = &self.ports[usize::from(port)];
        let reason = if martian(packet.source()) || self.is_own(port.side, packet.source()) {
            DropReason::SourceInvalid
        } else if packet.destination() >> 28 == 0xe {
            DropReason::Multicast
        } else if port.is_broadcast(packet.destination()) {
            DropReason::Broadcast
        } else {
            return None;
        };
        Some(Verdict::Drop(reason))
    }

    /// A packet to one of the gateway's own addresses.
    fn addressed_to_us<F: Frame>(&mut self, side: Side, frame: &F, packet: &Packet, now: Nanos) -> Verdict {
        let l4 = usize::from(packet.l3) + usize::from(packet.l4);
        let byte = |at: usize| frame.data().get(l4 + at).copied().unwrap_or(0);
        let (source, destination) = (packet.ports >> 16, packet.ports & 0xffff);
        let class = match packet.protocol {
            _ if packet.flags & FRAGMENT != 0 => None,
            ipv4::ICMP => {
                let wanted = packet.flags & ERROR != 0 || matches!(byte(0), icmp::ECHO | icmp::ECHO_REPLY);
                wanted.then_some(PuntClass::Icmp)
            }
            ipv4::UDP if destination == DNS => Some(PuntClass::Dns),
            ipv4::UDP => {
                let answer = side == Side::Outside && source == DNS && destination >= PORTS_RESERVED;
                answer.then_some(PuntClass::Udp)
            }
            ipv4::TCP => {
                // Connections are opened only to where we listen; what belongs to one already, the kernel knows.
                let opens = byte(13) & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN;
                let listening = || self.tcp_listen.contains(&(side, destination as u16));
                (!opens || listening()).then_some(PuntClass::Tcp)
            }
            _ => None,
        };
        class.map_or(Verdict::Drop(DropReason::Unasked), |class| self.punt(class, now))
    }

    fn punt(&mut self, class: PuntClass, now: Nanos) -> Verdict {
        if self.punt_meters[class as usize].take(1, now) {
            Verdict::Punt(class)
        } else {
            Verdict::Drop(DropReason::PuntMetered)
        }
    }
}
