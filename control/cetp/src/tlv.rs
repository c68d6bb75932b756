//! The registry of groups and codes.

use std::borrow::Cow;

/// Which negotiation a TLV belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Gateway to gateway.
    C2c,
    /// Host to host.
    H2h,
}

macro_rules! registry {
    ($($item:ident = $group:literal $code:literal: $text:literal;)*) => {
        /// A known TLV: its group and code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Item {
            $(#[doc = $text] $item,)*
        }

        impl Item {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$item,)*];

            /// Looks a group and a code up.
            pub fn parse(group: &str, code: &str) -> Option<Self> {
                match (group, code) {
                    $(($group, $code) => Some(Self::$item),)*
                    _ => None,
                }
            }

            /// The group's name.
            pub const fn group(self) -> &'static str {
                match self { $(Self::$item => $group,)* }
            }

            /// The code's name.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$item => $code,)* }
            }
        }
    };
}

registry! {
    IdFqdn = "id" "fqdn": "The sender's host, by name.";
    IdMaid = "id" "maid": "An identifier assigned by a mobile operator.";
    IdMoc = "id" "moc": "An identifier certified by a mobile operator.";
    IdHash = "id" "hash": "A hash as identifier.";
    IdTemp = "id" "temp": "A temporary identifier.";
    IdRandom = "id" "random": "A random identifier.";
    IdBbbbid = "id" "bbbbid": "A BBB-BID identifier.";
    IdMsisdn = "id" "msisdn": "A telephone number.";
    IdSipUri = "id" "sip_uri": "A SIP URI.";
    IdImpu = "id" "impu": "An IMS public identity.";
    ControlDstep = "control" "dstep": "The destination's FQDN.";
    ControlFqdn = "control" "fqdn": "A name.";
    ControlCertificate = "control" "certificate": "A host's certificate.";
    ControlCaep = "control" "caep": "Address of the host's certificate authority.";
    ControlHardTtl = "control" "hard_ttl": "Lifetime of the session in seconds.";
    ControlIdleTtl = "control" "idle_ttl": "Idle time of the session in seconds.";
    ControlDpKeepaliveCycle = "control" "dp_keepalive_cycle": "Keepalive cycle of the data path in seconds.";
    ControlQos = "control" "qos": "Quality of service.";
    ControlAck = "control" "ack": "A random number to be echoed.";
    ControlOsVersion = "control" "os_version": "The host's operating system.";
    ControlPolicyCaching = "control" "policy_caching": "Whether the policy may be cached.";
    ControlDpProto = "control" "dp_proto": "The only IP protocol of the session.";
    ControlDpPort = "control" "dp_port": "The only port of the session at the responder's host.";
    ControlDpRatelimit = "control" "dp_ratelimit": "Bits per second of the session in each direction.";
    ControlTerminate = "control" "terminate": "End of the session or negotiation.";
    ControlWarning = "control" "warning": "A warning.";
    CesCesid = "ces" "cesid": "The sender's CES id.";
    CesTtl = "ces" "ttl": "Lifetime of C2C in seconds.";
    CesCertificate = "ces" "certificate": "The gateway's certificate.";
    CesKeepalive = "ces" "keepalive": "A keepalive.";
    CesKeepaliveCycle = "ces" "keepalive_cycle": "Keepalive cycle in seconds.";
    CesFwVersion = "ces" "fw_version": "Firmware version.";
    CesSessionLimit = "ces" "session_limit": "H2H sessions at most.";
    CesHostSessions = "ces" "host_sessions": "Sessions of a host at most.";
    CesCaces = "ces" "caces": "Address of the gateway's certificate authority.";
    CesAck = "ces" "ack": "A random number to be echoed.";
    CesHeadersignature = "ces" "headersignature": "A signature of the header.";
    CesPow = "ces" "pow": "Proof of work.";
    CesPortFiltering = "ces" "port_filtering": "A request to filter ports.";
    CesHostFiltering = "ces" "host_filtering": "A request to filter a host or a domain.";
    CesTerminate = "ces" "terminate": "End of sessions or of C2C.";
    CesWarning = "ces" "warning": "A warning.";
    CesEvidenceFormat = "ces" "evidence_format": "The format of evidence.";
    CesEvidence = "ces" "evidence": "A complaint about a session.";
    CesComment = "ces" "comment": "A comment.";
    CesSealing = "ces" "sealing": "Encryption of tunnels. Ours: the reference implementation does not know it.";
    RlocIpv4 = "rloc" "ipv4": "A locator over IPv4.";
    RlocIpv6 = "rloc" "ipv6": "A locator over IPv6.";
    RlocEth = "rloc" "eth": "A locator over Ethernet.";
    PayloadVxlan = "payload" "vxlan": "VXLAN, with a tunnel id.";
    PayloadGre = "payload" "gre": "GRE, with a tunnel id.";
    PayloadGeneve = "payload" "geneve": "GENEVE, with a tunnel id.";
}

impl Item {
    /// Which negotiation it belongs to.
    pub const fn layer(self) -> Layer {
        if (self as u8) < Self::CesCesid as u8 { Layer::H2h } else { Layer::C2c }
    }

    /// Whether several of it may stand in one message, one per candidate, and none is no reason to end.
    pub const fn is_candidate(self) -> bool {
        self as u8 >= Self::RlocIpv4 as u8
    }

    /// Whether its value is a number, which policies may write as a string, too.
    pub const fn is_number(self) -> bool {
        matches!(
            self,
            Self::ControlHardTtl
                | Self::ControlIdleTtl
                | Self::ControlDpKeepaliveCycle
                | Self::ControlAck
                | Self::ControlDpPort
                | Self::ControlDpRatelimit
                | Self::CesTtl
                | Self::CesKeepaliveCycle
                | Self::CesSessionLimit
                | Self::CesHostSessions
                | Self::CesAck
        )
    }

    /// Whether its value is a domain name (or a CES id, which looks like one).
    pub const fn is_name(self) -> bool {
        matches!(self, Self::IdFqdn | Self::ControlDstep | Self::ControlFqdn | Self::CesCesid)
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.group(), self.code())
    }
}

/// The identity of a TLV on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlvName<'a> {
    /// In the registry.
    Known(Item),
    /// Not in the registry.
    Unknown {
        /// As sent.
        group: Cow<'a, str>,
        /// As sent.
        code: Cow<'a, str>,
    },
}

impl TlvName<'_> {
    /// The item, if it is known.
    pub const fn item(&self) -> Option<Item> {
        match self {
            Self::Known(item) => Some(*item),
            Self::Unknown { .. } => None,
        }
    }

    /// The group as sent.
    pub fn group(&self) -> &str {
        match self {
            Self::Known(item) => item.group(),
            Self::Unknown { group, .. } => group,
        }
    }

    /// The code as sent.
    pub fn code(&self) -> &str {
        match self {
            Self::Known(item) => item.code(),
            Self::Unknown { code, .. } => code,
        }
    }

    /// Which negotiation it belongs to, as its group says.
    pub fn layer(&self) -> Option<Layer> {
        match self.group() {
            "id" | "control" => Some(Layer::H2h),
            "ces" | "rloc" | "payload" => Some(Layer::C2c),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_found_under_its_names() {
        for &item in Item::ALL {
            assert_eq!(Item::parse(item.group(), item.code()), Some(item));
            assert_eq!(TlvName::Known(item).layer(), Some(item.layer()), "{item}");
        }
        assert_eq!(Item::parse("control", "nothing"), None);
        assert_eq!(Item::parse("mobility", "fqdn"), None);
    }

    #[test]
    fn candidates_are_locators_and_payloads() {
        let candidates: Vec<_> =
            Item::ALL.iter().filter(|item| item.is_candidate()).map(|item| item.group()).collect();
        assert_eq!(candidates, ["rloc", "rloc", "rloc", "payload", "payload", "payload"]);
    }
}
