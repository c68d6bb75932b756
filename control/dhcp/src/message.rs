//! What clients send, read once into a value that cannot be wrong (RFC 2131 §2, RFC 2132).

use crate::HardwareAddress;
use crate::lease::Client;
use crate::outcome::Outcome;
use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};
use dhcproto::v4::{HType, Opcode, OptionCode};
use std::net::Ipv4Addr;

/// Octets of the part with a fixed place, and the magic cookie behind it.
const FIXED: usize = 240;
/// The magic cookie (RFC 2131 §3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// What every client takes (RFC 2131 §2: an IP datagram of 576 octets), without IP and UDP header.
const LEAST_SIZE: u16 = 548;
/// Headers of IP and UDP: option 57 counts them (RFC 2132 §9.10).
const HEADERS: u16 = 28;
/// Octets of the fields that option 52 lets hold options.
const FILE: std::ops::Range<usize> = 108..236;
const SNAME: std::ops::Range<usize> = 44..108;
/// Octets of a label (RFC 1035 §2.3.4).
const LABEL: usize = 63;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address.
    Discover,
    /// This address.
    Request,
    /// Not this address: somebody has it.
    Decline,
    /// No address any more.
    Release,
    /// What hosts are told; it has an address.
    Inform,
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessage {
    /// What it wants.
    pub kind: Kind,
    /// The transaction.
    pub xid: u32,
    /// The flags, of which the first asks for broadcasts.
    pub flags: u16,
    /// The address that the client has and answers at.
    pub ciaddr: Ipv4Addr,
    /// The relay's address; unspecified if there is none between.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: HardwareAddress,
    /// Option 61 as it came: it is echoed (RFC 6842).
    pub identifier: Option<Vec<u8>>,
    /// Option 50: the address that is asked for.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server that is meant.
    pub server: Option<Ipv4Addr>,
    /// Option 55: what the client wants to be told; none: everything.
    pub parameters: Option<Vec<u8>>,
    /// Octets of the longest message that it takes (option 57).
    pub longest: u16,
    /// Option 82 as it came: it is echoed (RFC 3046 §2.2).
    pub relay: Option<Vec<u8>>,
    /// The network that the client is in where that is not the relay's: option 82 sub-option 5 (RFC 3527), option 118 (RFC 3011).
    pub selection: Option<Ipv4Addr>,
    /// The name that it gives itself (options 81, 12): one label, in lower case.
    pub name: Option<Box<str>>,
    /// Whether its identifier is another station's, so that it is a client by itself.
    pub is_apart: bool,
}

/// A message that is no client's, with who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerMessage {
    /// Option 54, where it is there.
    pub server: Option<Ipv4Addr>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// A client's message.
    Request(Box<ClientMessage>),
    /// A server's.
    Answer(ServerMessage),
}

/// Options by their code, those in the fields that option 52 names too (RFC 2131 §4.1); parts of one that stand side by side
/// are one (RFC 3396), of others of one code the first counts.
struct Options<'a> {
    all: Vec<(u8, Vec<u8>)>,
    bytes: &'a [u8],
}

impl<'a> Options<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let mut options = Self { all: Vec::new(), bytes };
        options.add(&bytes[FIXED..]);
        let overload = options.get(OptionCode::OptionOverload).and_then(|value| value.first().copied());
        let overload = overload.unwrap_or(0);
        if overload & 1 != 0 {
            options.add(&options.bytes[FILE]);
        }
        if overload & 2 != 0 {
            options.add(&options.bytes[SNAME]);
        }
        options
    }

    fn add(&mut self, bytes: &[u8]) {
        for option in DhcpOptionIterator::new(bytes) {
            let code = u8::from(option.code());
            if self.all.iter().all(|(other, _)| *other != code) {
                self.all.push((code, option.data().to_vec()));
            }
        }
    }

    fn get(&self, code: OptionCode) -> Option<&[u8]> {
        let code = u8::from(code);
        self.all.iter().find(|(other, _)| *other == code).map(|(_, value)| value.as_slice())
    }

    fn address(&self, code: OptionCode) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(octets.into())
    }
}

/// Reads a message.
pub fn parse(bytes: &[u8]) -> Result<Came, Outcome> {
    let message = Message::new(bytes).map_err(|_| Outcome::Malformed)?;
    if bytes[FIXED - COOKIE.len()..FIXED] != COOKIE {
        return Err(Outcome::Bootp);
    }
    // Before anything asks for the hardware address, whose length the sender says.
    let hardware = (message.htype(), usize::from(message.hlen()));
    let options = Options::read(bytes);
    let server = options.address(OptionCode::ServerIdentifier);
    match message.opcode() {
        Opcode::BootRequest => {}
        Opcode::BootReply => return Ok(Came::Answer(ServerMessage { server })),
        Opcode::Unknown(_) => return Err(Outcome::Malformed),
    }
    if hardware != (HType::Eth, size_of::<HardwareAddress>()) {
        return Err(Outcome::Hardware);
    }
    let mac: HardwareAddress = message.chaddr().try_into().map_err(|_| Outcome::Hardware)?;
    // No client is called so, and nobody could answer it.
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(Outcome::Hardware);
    }
    let kind = match options.get(OptionCode::MessageType) {
        None => return Err(Outcome::Bootp),
        Some([1]) => Kind::Discover,
        Some([3]) => Kind::Request,
        Some([4]) => Kind::Decline,
        Some([7]) => Kind::Release,
        Some([8]) => Kind::Inform,
        Some([_]) => return Err(Outcome::TypeUnknown),
        Some(_) => return Err(Outcome::Malformed),
    };
    let longest = options.get(OptionCode::MaxMessageSize).and_then(|value| value.try_into().ok());
    let longest = longest.map_or(LEAST_SIZE, |octets| u16::from_be_bytes(octets).saturating_sub(HEADERS));
    let relay = options.get(OptionCode::RelayAgentInformation).map(<[u8]>::to_vec);
    let selection = relay
        .as_deref()
        .and_then(|relay| sub_option(relay, 5))
        .and_then(|value| <[u8; 4]>::try_from(value).ok())
        .map(Ipv4Addr::from)
        .or_else(|| options.address(OptionCode::SubnetSelection));
    let named = options.get(OptionCode::ClientFQDN).and_then(fqdn_label);
    let name = named.or_else(|| options.get(OptionCode::Hostname).and_then(label));
    Ok(Came::Request(Box::new(ClientMessage {
        kind,
        xid: message.xid(),
        flags: u16::from(message.flags()),
        ciaddr: message.ciaddr(),
        giaddr: message.giaddr(),
        mac,
        // RFC 2132 §9.14: at least two octets.
        identifier: options
            .get(OptionCode::ClientIdentifier)
            .filter(|value| value.len() >= 2)
            .map(<[u8]>::to_vec),
        requested: options
            .address(OptionCode::RequestedIpAddress)
            .filter(|address| !address.is_unspecified()),
        server,
        parameters: options.get(OptionCode::ParameterRequestList).map(<[u8]>::to_vec),
        longest: longest.max(LEAST_SIZE),
        relay,
        selection,
        name,
        is_apart: false,
    })))
}

/// A sub-option of option 82 (RFC 3046 §2.0).
fn sub_option(mut rest: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [code, length, value @ ..] = rest {
        let value = value.get(..usize::from(*length))?;
        if *code == wanted {
            return Some(value);
        }
        rest = &rest[2 + value.len()..];
    }
    None
}

/// The first label of a name, in lower case; none if no host can be called so (RFC 952, RFC 1123 §2.1).
fn label(text: &[u8]) -> Option<Box<str>> {
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let first = text.split(|byte| *byte == b'.').next()?;
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let fits = (1..=LABEL).contains(&first.len())
        && first.iter().all(is_fit)
        && first[0] != b'-'
        && first[first.len() - 1] != b'-';
    fits.then(|| first.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

/// The first label of option 81, in either of its encodings (RFC 4702 §2.1, §2.3.1).
fn fqdn_label(value: &[u8]) -> Option<Box<str>> {
    let [flags, _, _, name @ ..] = value else { return None };
    if flags & 4 == 0 {
        return label(name);
    }
    let (length, rest) = name.split_first()?;
    label(rest.get(..usize::from(*length))?)
}

impl ClientMessage {
    /// Whether answers are to go to everybody, since the client hears no others yet.
    pub fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Whether a relay is between.
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// Who asks (RFC 2131 §4.2: the client identifier, or else the hardware address).
    pub fn client(&self) -> Client {
        match self.identifier.as_deref() {
            None => Client::of_mac(self.mac),
            Some(identifier) if self.is_apart => Client::apart(identifier, self.mac),
            Some(identifier) => Client::of_identifier(identifier),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(options);
        bytes
    }

    fn request(options: &[u8]) -> ClientMessage {
        match parse(&message(options)) {
            Ok(Came::Request(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rfc_2131_what_is_no_message_of_a_client_is_told_apart() {
        let whole = message(&[53, 1, 1, 255]);
        assert!((0..FIXED).all(|cut| parse(&whole[..cut]) == Err(Outcome::Malformed)));
        assert_eq!(parse(&message(&[255])), Err(Outcome::Bootp));
        assert_eq!(parse(&message(&[53, 1, 10, 255])), Err(Outcome::TypeUnknown));
        assert_eq!(parse(&message(&[53, 2, 1, 1, 255])), Err(Outcome::Malformed));
        for (at, value, outcome) in [
            (0, 3, Outcome::Malformed),
            (1, 6, Outcome::Hardware),
            (2, 255, Outcome::Hardware),
            (2, 0, Outcome::Hardware),
            (28, 1, Outcome::Hardware),
            (236, 0, Outcome::Bootp),
        ] {
            let mut changed = whole.clone();
            changed[at] = value;
            assert_eq!(parse(&changed), Err(outcome), "{at} = {value}");
        }
        let mut answer = message(&[53, 1, 2, 54, 4, 192, 0, 2, 9, 255]);
        answer[0] = 2;
        let server = Some([192, 0, 2, 9].into());
        assert_eq!(parse(&answer), Ok(Came::Answer(ServerMessage { server })));
    }

    #[test]
    fn rfc_2131_4_1_options_may_stand_in_the_fields_of_names() {
        let mut bytes = message(&[53, 1, 1, 52, 1, 3, 255]);
        bytes[108..115].copy_from_slice(&[50, 4, 10, 0, 0, 7, 255]);
        bytes[44..49].copy_from_slice(&[12, 2, b'p', b'c', 255]);
        let Ok(Came::Request(request)) = parse(&bytes) else { panic!() };
        assert_eq!((request.requested, request.name.as_deref()), (Some([10, 0, 0, 7].into()), Some("pc")));
    }

    #[test]
    fn rfc_3396_an_option_in_two_parts_is_one() {
        let request = request(&[53, 1, 1, 61, 2, 255, 1, 61, 2, 2, 3, 255]);
        assert_eq!(request.identifier.as_deref(), Some(&[255, 1, 2, 3][..]));
        assert_eq!(request.client(), Client::of_identifier(&[255, 1, 2, 3]));
    }

    #[test]
    fn names_are_labels_that_hosts_may_have() {
        let of_host = |text: &[u8]| {
            let mut options = vec![53, 1, 1, 12, text.len() as u8];
            options.extend_from_slice(text);
            request(&options).name
        };
        assert_eq!(of_host(b"Laptop.example.com").as_deref(), Some("laptop"));
        assert_eq!(of_host(b"pc\0").as_deref(), Some("pc"));
        for bad in [&b"-a"[..], b"a-", b"a b", b"", b".a", b"\xff", &[b'a'; 64]] {
            assert_eq!(of_host(bad), None, "{bad:?}");
        }
        let canonical = [53, 1, 1, 12, 1, b'x', 81, 9, 4, 0, 0, 3, b'p', b'c', b'1', 1, b'd', 255];
        assert_eq!(request(&canonical).name.as_deref(), Some("pc1"));
        let ascii = [53, 1, 1, 81, 6, 0, 0, 0, b'P', b'C', b'.', 255];
        assert_eq!(request(&ascii).name.as_deref(), Some("pc"));
        assert_eq!(request(&[53, 1, 1, 81, 4, 4, 0, 0, 9, 255]).name, None);
    }

    #[test]
    fn rfc_3527_the_link_that_a_relay_names_comes_before_that_of_the_client() {
        let both = [53, 1, 1, 118, 4, 10, 1, 0, 0, 82, 9, 1, 1, 7, 5, 4, 10, 2, 0, 0, 255];
        assert_eq!(request(&both).selection, Some([10, 2, 0, 0].into()));
        assert_eq!(request(&both[..9]).selection, Some([10, 1, 0, 0].into()));
        assert_eq!(request(&[53, 1, 1, 82, 3, 5, 9, 1, 255]).selection, None, "cut short");
    }
}
