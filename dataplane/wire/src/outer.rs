//! A tunnel's outer headers: what stands in front of the packet that is carried, from the outer IPv4 header to the inner
//! Ethernet header. The one place that builds them.

use crate::checksum::Sum;
use crate::{Wire, ethernet, geneve, gre, ipv4, psp, udp, vxlan};

/// How packets between two gateways are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// RFC 7348, UDP 4789.
    Vxlan,
    /// RFC 2784 with the key of RFC 2890, protocol type 0x6558.
    Gre,
    /// RFC 8926, UDP 6081.
    Geneve,
    /// Encrypted and authenticated, UDP 1000: see [`psp`]. The id is a security parameter index without its epoch, 31 bits.
    Psp,
}

impl Encapsulation {
    /// Those in clear.
    pub const ALL: [Self; 3] = [Self::Vxlan, Self::Gre, Self::Geneve];

    /// The IP protocol of the outer packet.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Vxlan | Self::Geneve | Self::Psp => ipv4::UDP,
            Self::Gre => ipv4::GRE,
        }
    }

    /// The UDP port, where there is one.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Vxlan => Some(vxlan::PORT),
            Self::Geneve => Some(geneve::PORT),
            Self::Psp => Some(psp::PORT),
            Self::Gre => None,
        }
    }

    /// Bytes that stand in front of the packet that is carried, outer IPv4 header included.
    pub const fn front(self) -> u16 {
        let tunnel = match self {
            Self::Vxlan => udp::LENGTH + vxlan::LENGTH + ethernet::LENGTH,
            Self::Geneve => udp::LENGTH + geneve::LENGTH + ethernet::LENGTH,
            Self::Gre => gre::LENGTH + ethernet::LENGTH,
            Self::Psp => udp::LENGTH + psp::LENGTH,
        };
        (ipv4::LENGTH + tunnel) as u16
    }

    /// Bytes that stand behind it.
    pub const fn trailer(self) -> u16 {
        match self {
            Self::Vxlan | Self::Geneve | Self::Gre => 0,
            Self::Psp => psp::TAG as u16,
        }
    }

    /// Bytes by which the outer packet is larger than the one that is carried.
    pub const fn overhead(self) -> u16 {
        self.front() + self.trailer()
    }
}

/// The first of the dynamic ports (RFC 6335 §6), from which the outer source port is taken (RFC 7348 §5, RFC 8926 §3.3).
pub const SOURCE_PORTS: u16 = 49152;

/// The outer headers of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Which they are.
    pub encapsulation: Encapsulation,
    /// Outer source.
    pub source: u32,
    /// Outer destination.
    pub destination: u32,
    /// The tunnel's id.
    pub id: u32,
    /// DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
}

impl Outer {
    /// Headers with a common time to live.
    pub const fn new(encapsulation: Encapsulation, source: u32, destination: u32, id: u32) -> Self {
        Self { encapsulation, source, destination, id, tos: 0, ttl: 64 }
    }

    /// Their length in bytes.
    pub const fn length(&self) -> usize {
        self.encapsulation.front() as usize
    }

    /// Writes at the beginning of `bytes` what is alike in all packets: all but lengths, source port and checksum, which
    /// are 0. The sum of the IPv4 header as it stands then.
    ///
    /// # Panics
    /// If `bytes` is shorter than [`Outer::length`].
    pub fn emit_open(&self, bytes: &mut [u8]) -> Sum {
        // RFC 7348 §4.3: VTEPs must not fragment; DF lets the path tell its MTU.
        let header = ipv4::Header::new(self.encapsulation.protocol(), self.source, self.destination, 0);
        let sum = ipv4::Header { tos: self.tos, ttl: self.ttl, ..header }.emit_open(bytes);
        let mut tunnel = &mut bytes[ipv4::LENGTH..self.length()];
        if let Some(destination_port) = self.encapsulation.port() {
            // RFC 7348 §5, RFC 8926 §3.3: the checksum is 0.
            udp::Header { source_port: 0, destination_port, datagram_length: 0, checksum: 0 }.emit(tunnel);
            tunnel = &mut tunnel[udp::LENGTH..];
        }
        match self.encapsulation {
            Encapsulation::Vxlan => vxlan::Header { id: self.id }.emit(tunnel),
            Encapsulation::Geneve => geneve::Header { id: self.id, options_length: 0 }.emit(tunnel),
            Encapsulation::Gre => gre::Header::new(self.id).emit(tunnel),
            // Which cipher, epoch and IV it has is written when it is sealed; there is no inner Ethernet header.
            Encapsulation::Psp => {
                psp::Header { cipher: psp::Cipher::Aes256Gcm, spi: self.id, iv: 0 }.emit(tunnel);
                return sum;
            }
        }
        let inner = &mut bytes[self.length() - ethernet::LENGTH..self.length()];
        ethernet::Header { destination: [0; 6], source: [0; 6], vlan: None, ethertype: ethernet::IPV4 }
            .emit(inner);
        sum
    }

    /// Writes the headers of a packet of `inner` bytes at the beginning of `bytes`, whole.
    ///
    /// # Panics
    /// If `bytes` is shorter than [`Outer::length`].
    pub fn emit(&self, bytes: &mut [u8], inner: u16, source_port: u16) {
        let total = self.encapsulation.overhead() + inner;
        let sum = self.emit_open(bytes).word(total).checksum();
        bytes[ipv4::TOTAL_LENGTH..ipv4::ID].copy_from_slice(&total.to_be_bytes());
        bytes[ipv4::CHECKSUM..ipv4::SOURCE].copy_from_slice(&sum.to_be_bytes());
        if self.encapsulation.port().is_some() {
            let udp = &mut bytes[ipv4::LENGTH..];
            udp[udp::SOURCE_PORT..udp::DESTINATION_PORT].copy_from_slice(&source_port.to_be_bytes());
            let datagram = total - ipv4::LENGTH as u16;
            udp[udp::DATAGRAM_LENGTH..udp::CHECKSUM].copy_from_slice(&datagram.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stand_as_the_standards_draw_them() {
        let ip = |protocol, total, sum: [u8; 2]| {
            let mut bytes = vec![0x45, 0, 0, total, 0, 0, 0x40, 0, 64, protocol, sum[0], sum[1]];
            bytes.extend([192, 0, 2, 1, 198, 51, 100, 2]);
            bytes
        };
        let inner = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
        for (encapsulation, protocol, tunnel) in [
            (
                Encapsulation::Vxlan,
                17,
                vec![0xc1, 0x23, 0x12, 0xb5, 0, 58, 0, 0, 8, 0, 0, 0, 0xab, 0xcd, 0xef, 0],
            ),
            (
                Encapsulation::Geneve,
                17,
                vec![0xc1, 0x23, 0x17, 0xc1, 0, 58, 0, 0, 0, 0, 0x65, 0x58, 0xab, 0xcd, 0xef, 0],
            ),
            (Encapsulation::Gre, 47, vec![0x20, 0, 0x65, 0x58, 0, 0xab, 0xcd, 0xef]),
        ] {
            let outer = Outer::new(encapsulation, 0xc000_0201, 0xc633_6402, 0x00ab_cdef);
            let mut bytes = [0xa5; 60];
            outer.emit(&mut bytes, 28, 0xc123);
            let total = (20 + tunnel.len() + 14 + 28) as u8;
            let mut expected = ip(protocol, total, [0, 0]);
            let sum = crate::checksum::checksum(&expected).to_be_bytes();
            expected[10..12].copy_from_slice(&sum);
            expected.extend(tunnel);
            expected.extend(inner);
            assert_eq!(bytes[..outer.length()], expected, "{encapsulation:?}");
            assert!(bytes[outer.length()..].iter().all(|&byte| byte == 0xa5), "no more is written");
        }
    }

    #[test]
    fn what_is_open_is_closed_by_what_differs() {
        for encapsulation in Encapsulation::ALL {
            let outer = Outer { tos: 0x2e, ttl: 9, ..Outer::new(encapsulation, 1, 2, 3) };
            let (mut open, mut whole) = ([0; 60], [0; 60]);
            let sum = outer.emit_open(&mut open);
            outer.emit(&mut whole, 28, SOURCE_PORTS);
            let mut header = ipv4::Header::parse(&[&whole[..], &[0; 40]].concat()).unwrap();
            assert_eq!((header.tos, header.ttl, header.protocol), (0x2e, 9, encapsulation.protocol()));
            let checksum = sum.word(header.total_length).checksum();
            assert_eq!(checksum.to_be_bytes(), whole[ipv4::CHECKSUM..ipv4::SOURCE]);
            header.total_length = 0;
            assert_eq!(open[ipv4::TOTAL_LENGTH..ipv4::ID], [0, 0]);
        }
    }
}
