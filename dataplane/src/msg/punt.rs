//! Frames that cross the rings whole: what a worker punts, and what the control thread injects.

use super::PortId;

macro_rules! punt_classes {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:ident = $rate:literal, $inside:literal / $outside:literal;)+) => {
        /// What a punted frame is, for metering and for who takes it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PuntClass { $($(#[doc = $doc])+ $variant),+ }

        impl PuntClass {
            /// All classes, in counter order.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];
            /// How many there are: the length of an array by class.
            pub const COUNT: usize = [$(stringify!($name)),+].len();

            /// The metric label, and the key of its rate in the configuration.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => stringify!($name)),+ }
            }

            /// The part of the punt ring, in [`RING_PARTS`], that nobody else takes: what comes from inside, and from
            /// outside.
            pub const fn shares(self) -> [usize; 2] {
                match self { $(Self::$variant => [$inside, $outside]),+ }
            }
        }

        /// Punted packets a second of each worker from each side, by class; bursts of a tenth of a second.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct PuntRates {
            $($(#[doc = $doc])+ pub $name: u32,)+
            /// ICMP errors a second that a worker makes itself of packets from each side; one address is told an eighth at most.
            pub icmp_errors: u32,
        }

        impl Default for PuntRates {
            fn default() -> Self {
                Self { $($name: $rate,)+ icmp_errors: 1_000 }
            }
        }

        impl PuntRates {
            /// The rates in the order of [`PuntClass::ALL`].
            pub const fn by_class(&self) -> [u32; PuntClass::COUNT] {
                [$(self.$name),+]
            }
        }
    };
}

/// Parts that the punt ring is shared in. What no class has for itself is for whoever comes first.
pub const RING_PARTS: usize = 64;

// Each class stands here alone: its name, how many of it a second a worker gives away from each side if nothing else is
// configured, and its share of the ring, inside / outside.
punt_classes! {
    /// ARP, to the shadow TAP.
    Arp, arp = 1_000, 4 / 2;
    /// DNS over UDP to one of the gateway's addresses, to the DNS engine.
    Dns, dns = 200_000, 16 / 4;
    /// TCP to one of the gateway's addresses, to the shadow TAP.
    Tcp, tcp = 100_000, 8 / 8;
    /// ICMP echo, replies and errors to one of the gateway's addresses, to the shadow TAP.
    Icmp, icmp = 1_000, 2 / 2;
    /// UDP replies to the gateway's own sockets (source port 53 of its resolvers), to the shadow TAP.
    Udp, udp = 50_000, 1 / 8;
    /// DHCP from inside, to one of the gateway's addresses or to everybody, to the DHCP server.
    Dhcp, dhcp = 5_000, 4 / 0;
}

/// The longest frame that crosses the punt and inject rings, in bytes: an MTU of 1500 with Ethernet and two VLAN tags
/// fits, so does every frame that the mbuf's 2176 bytes of data room hold after headroom.
pub const SLOT_BYTES: usize = 2040;

/// A frame on the punt or inject ring. The slots are allocated once; frames are copied in and out, so that an mbuf
/// never leaves the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSlot {
    /// The port of arrival, or the port to send it out of.
    pub port: PortId,
    /// What it is; for an injected frame, without meaning.
    pub class: PuntClass,
    /// Bytes in use.
    pub length: u16,
    /// The frame, from its Ethernet header on.
    pub data: [u8; SLOT_BYTES],
}

impl Default for FrameSlot {
    fn default() -> Self {
        Self { port: 0, class: PuntClass::Arp, length: 0, data: [0; SLOT_BYTES] }
    }
}

impl FrameSlot {
    /// The frame.
    pub fn frame(&self) -> &[u8] {
        &self.data[..self.length as usize]
    }
}
