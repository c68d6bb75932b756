//! SIP's messages (RFC 3261): where they name an address, and what is to be known of one to follow a call. One look at each
//! byte, no copy. What a body says is in [`crate::sdp`].

use crate::text::{Garbled, decimal, feed};

/// The port where none is written (RFC 3261 §19.1.2).
pub const PORT: u16 = 5060;
/// The most places of the addresses that are sought that a message may name.
pub const PLACES: usize = 24;

/// What a message is about (RFC 3261 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It begins a call, or changes one.
    Invite,
    /// It ends one.
    Bye,
    /// It says where somebody is.
    Register,
    /// Anything else.
    Other,
}

impl Method {
    fn of(word: &[u8]) -> Self {
        match word {
            b"INVITE" => Self::Invite,
            b"BYE" => Self::Bye,
            b"REGISTER" => Self::Register,
            _ => Self::Other,
        }
    }
}

/// Bytes of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub at: u16,
    /// Behind the last.
    pub end: u16,
}

impl Span {
    pub(crate) const fn new(at: usize, end: usize) -> Self {
        Self { at: at as u16, end: end as u16 }
    }

    /// Those bytes.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.at)..usize::from(self.end)).unwrap_or_default()
    }
}

/// How a place is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Address, and port unless it is the usual one.
    Both(Option<u16>),
    /// The address alone, which has the port of the place before.
    Address,
    /// The port alone, of the place before.
    Port,
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Responses go there (RFC 3261 §18.2.2).
    Response,
    /// Requests go there (RFC 3261 §8.1.1.8).
    Contact,
    /// It says who somebody is, or the way of a request.
    Other,
}

/// A place of an address that was sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Which address.
    pub address: u32,
    /// Where it is written.
    pub span: Span,
    /// How.
    pub form: Form,
    /// What for.
    pub used: Use,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// What it is about: of a request, and of what a response answers.
    pub method: Method,
    /// The status of a response; 0 for a request.
    pub status: u16,
    /// What is the same for all messages of a call.
    pub call: Span,
    /// Where the length of the body is written.
    pub length: Option<Span>,
    /// The body.
    pub body: Span,
    /// Whether that is a description of media.
    pub is_described: bool,
    /// The seconds for which its sender is there, if it says so.
    pub expires: Option<u32>,
    places: [Naming; PLACES],
    count: u8,
}

impl Message {
    /// Where the addresses that were sought are named, in order.
    pub fn places(&self) -> &[Naming] {
        &self.places[..usize::from(self.count)]
    }

    fn push(&mut self, place: Naming) -> Result<(), Garbled> {
        *self.places.get_mut(usize::from(self.count)).ok_or(Garbled)? = place;
        self.count += 1;
        Ok(())
    }
}

/// What a header is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Via,
    Contact,
    /// With URIs in it.
    Uris,
    Call,
    Sequence,
    Length,
    Type,
    Expires,
    Other,
}

/// The names, and the compact ones (RFC 3261 §7.3.3, §20; RFC 3515, RFC 3892, RFC 3327, RFC 3325).
fn header(name: &[u8]) -> Header {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    match name.len() {
        1 => match name[0] | 0x20 {
            b'v' => Header::Via,
            b'm' => Header::Contact,
            b'f' | b't' | b'r' | b'b' => Header::Uris,
            b'i' => Header::Call,
            b'l' => Header::Length,
            b'c' => Header::Type,
            _ => Header::Other,
        },
        2 if is(b"to") => Header::Uris,
        3 if is(b"via") => Header::Via,
        4 if is(b"from") || is(b"path") => Header::Uris,
        4 if is(b"cseq") => Header::Sequence,
        5 if is(b"route") => Header::Uris,
        7 if is(b"contact") => Header::Contact,
        7 if is(b"call-id") => Header::Call,
        7 if is(b"expires") => Header::Expires,
        8 if is(b"refer-to") || is(b"reply-to") => Header::Uris,
        11 if is(b"referred-by") => Header::Uris,
        12 if is(b"record-route") => Header::Uris,
        12 if is(b"content-type") => Header::Type,
        14 if is(b"content-length") => Header::Length,
        15 if is(b"remote-party-id") => Header::Uris,
        19 if is(b"p-asserted-identity") => Header::Uris,
        20 if is(b"p-preferred-identity") => Header::Uris,
        _ => Header::Other,
    }
}

/// Reads a datagram; where it names one of these addresses. `None`: it is no message, but what keeps a way open (RFC 5626
/// §3.5.1, §4.4.1).
///
/// # Errors
/// It is none that can be followed.
pub fn read(bytes: &[u8], addresses: &[u32]) -> Result<Option<Message>, Garbled> {
    read_part(bytes, addresses, true)
}

/// The same of a message without its body, which comes behind or is none of a reader's matter.
///
/// # Errors
/// It is none that can be followed.
pub fn read_head(bytes: &[u8], addresses: &[u32]) -> Result<Option<Message>, Garbled> {
    read_part(bytes, addresses, false)
}

fn read_part(bytes: &[u8], addresses: &[u32], has_body: bool) -> Result<Option<Message>, Garbled> {
    // RFC 3261 §7.5: empty lines before it are none of it.
    let begin = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    // What no text begins with: STUN (RFC 5389 §6), and the zeros of some telephones.
    if bytes.get(begin).is_none_or(|first| *first < b' ') {
        return Ok(None);
    }
    if bytes.len() > usize::from(u16::MAX) {
        return Err(Garbled);
    }
    let none = Naming { address: 0, span: Span::default(), form: Form::Port, used: Use::Other };
    let mut message = Message {
        method: Method::Other,
        status: 0,
        call: Span::default(),
        length: None,
        body: Span::default(),
        is_described: false,
        expires: None,
        places: [none; PLACES],
        count: 0,
    };
    let mut reader = Reader { bytes, addresses, message: &mut message };
    let mut line = Line::at(bytes, begin).ok_or(Garbled)?;
    reader.start(line)?;
    let (mut has_via, mut has_sequence, mut length) = (false, false, None);
    loop {
        line = Line::at(bytes, line.next).ok_or(Garbled)?;
        if line.at == line.end {
            break;
        }
        let colon = bytes[line.at..line.end].iter().position(|byte| *byte == b':').ok_or(Garbled)?;
        let name = bytes[line.at..line.at + colon].trim_ascii_end();
        let value = (line.at + colon + 1, line.end);
        match header(name) {
            Header::Via => {
                reader.vias(value)?;
                has_via = true;
            }
            Header::Contact => reader.uris(value, Use::Contact)?,
            Header::Uris => reader.uris(value, Use::Other)?,
            Header::Call => reader.message.call = trimmed(bytes, value),
            Header::Sequence => {
                let word = bytes[value.0..value.1].trim_ascii().rsplit(|byte| is_space(*byte)).next();
                reader.message.method = Method::of(word.unwrap_or_default());
                has_sequence = true;
            }
            Header::Length => {
                let span = trimmed(bytes, value);
                // Once, since which of two is heeded is anybody's choice (RFC 3261 §7.3.1).
                if length.is_some() {
                    return Err(Garbled);
                }
                length = Some(crate::text::number(span.of(bytes)).ok_or(Garbled)? as usize);
                reader.message.length = Some(span);
            }
            Header::Type => {
                let kind = trimmed(bytes, value).of(bytes);
                reader.message.is_described = begins(kind, b"application/sdp");
            }
            Header::Expires => {
                let seconds = seconds(trimmed(bytes, value).of(bytes));
                reader.message.expires = reader.message.expires.or(seconds);
            }
            Header::Other => {}
        }
    }
    let (begin, rest) = (line.next, bytes.len() - line.next);
    // RFC 3261 §18.3: what comes behind the body is none of it, and a body that is not whole is wrong.
    let length = if has_body { length.unwrap_or(rest) } else { 0 };
    if !has_via || !has_sequence || message.call.at == message.call.end || length > rest {
        return Err(Garbled);
    }
    message.body = Span::new(begin, begin + length);
    Ok(Some(message))
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(word))
}

/// A number of seconds; one too long to be read is as long as any.
fn seconds(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match digits {
        0 => None,
        1..=5 => decimal(text).map(|(seconds, _)| seconds),
        _ => Some(u32::MAX),
    }
}

fn trimmed(bytes: &[u8], (at, end): (usize, usize)) -> Span {
    let text = &bytes[at..end];
    let at = at + (text.len() - text.trim_ascii_start().len());
    Span::new(at, at.max(end - (text.len() - text.trim_ascii_end().len())))
}

/// A line, with those that go on with it (RFC 3261 §7.3.1).
#[derive(Clone, Copy, Debug)]
struct Line {
    at: usize,
    end: usize,
    /// Where the next one begins.
    next: usize,
}

impl Line {
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let mut from = at;
        loop {
            let feed = from + feed(bytes.get(from..)?)?;
            let end = if feed > at && bytes[feed - 1] == b'\r' { feed - 1 } else { feed };
            let goes_on = end > at && matches!(bytes.get(feed + 1), Some(b' ' | b'\t'));
            if !goes_on {
                return Some(Self { at, end, next: feed + 1 });
            }
            from = feed + 1;
        }
    }
}

/// Reads a message.
struct Reader<'m> {
    bytes: &'m [u8],
    /// The addresses that are sought.
    addresses: &'m [u32],
    message: &'m mut Message,
}

impl Reader<'_> {
    /// RFC 3261 §7.1, §7.2.
    fn start(&mut self, line: Line) -> Result<(), Garbled> {
        let text = &self.bytes[line.at..line.end];
        if begins(text, b"SIP/2.0 ") {
            let (status, digits) = text.get(8..).and_then(decimal).ok_or(Garbled)?;
            self.message.status = status as u16;
            return if digits == 3 && status >= 100 { Ok(()) } else { Err(Garbled) };
        }
        let word = text.iter().position(|byte| *byte == b' ').ok_or(Garbled)?;
        let version = text.len().checked_sub(8).filter(|at| begins(&text[*at..], b" SIP/2.0"));
        let is_word = word > 0 && text[..word].iter().all(u8::is_ascii_graphic);
        let end = version.filter(|end| is_word && *end > word).ok_or(Garbled)?;
        let (uri, end) = (line.at + word + 1, line.at + end);
        let scheme =
            [&b"sip:"[..], b"sips:"].into_iter().find(|scheme| begins(&self.bytes[uri..end], scheme));
        match scheme {
            Some(scheme) => self.uri((uri + scheme.len(), end), true, Use::Other).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The URIs in a header (RFC 3261 §19.1, §25.1), and parameters that say for how long.
    fn uris(&mut self, (mut at, end): (usize, usize), used: Use) -> Result<(), Garbled> {
        let bytes = self.bytes;
        while at < end {
            match bytes[at] {
                b'"' => at = quoted(bytes, at, end),
                b's' | b'S' if begins(&bytes[at..end], b"sip:") || begins(&bytes[at..end], b"sips:") => {
                    let is_bracketed = at > 0 && bytes[at - 1] == b'<';
                    let scheme = if bytes[at + 3] == b':' { 4 } else { 5 };
                    at = self.uri((at + scheme, end), is_bracketed, used)?;
                }
                b';' if used == Use::Contact && begins(&bytes[at..end], b";expires=") => {
                    let seconds = seconds(&bytes[at + 9..end]);
                    self.message.expires = seconds.max(self.message.expires);
                    at += 9;
                }
                _ => at += 1,
            }
        }
        Ok(())
    }

    /// One, from behind its scheme on; where it ends.
    fn uri(&mut self, (at, end): (usize, usize), is_bracketed: bool, used: Use) -> Result<usize, Garbled> {
        let is_end = |byte: &u8| match *byte {
            b'>' | b'"' | b'<' => true,
            // RFC 3261 §20: what comes behind these is none of a URI that stands bare.
            b',' | b';' => !is_bracketed,
            byte => is_space(byte),
        };
        let length = self.bytes[at..end].iter().position(is_end);
        let end = length.map_or(end, |length| at + length);
        let user = self.bytes[at..end].iter().position(|byte| *byte == b'@');
        let host = user.map_or(at, |user| at + user + 1);
        if let Some((place, behind)) = self.host((host, end), false)? {
            let ours = self.note(place, used)?;
            self.parameters((behind, end), ours)?;
        }
        Ok(end)
    }

    /// The elements of a Via header (RFC 3261 §20.42).
    fn vias(&mut self, (mut at, end): (usize, usize)) -> Result<(), Garbled> {
        let bytes = self.bytes;
        while at < end {
            let element =
                bytes[at..end].iter().position(|byte| *byte == b',').map_or(end, |comma| at + comma);
            // `SIP / 2.0 / UDP host : port ; parameters`
            let mut slashes = (at..element).filter(|at| bytes[*at] == b'/');
            let transport = slashes.nth(1).ok_or(Garbled)? + 1;
            let word = skip(bytes, transport, element, is_space);
            let blank = skip(bytes, word, element, |byte| !is_space(byte));
            let host = skip(bytes, blank, element, is_space);
            if let Some((place, behind)) = self.host((host, element), true)? {
                let ours = self.note(place, Use::Response)?;
                self.parameters((behind, element), ours)?;
            }
            at = element + 1;
        }
        Ok(())
    }

    /// Parameters of a host, which is this one of the addresses if any, that name an address or a port: `received`, `rport` (RFC
    /// 3581), `maddr`.
    fn parameters(&mut self, (mut at, end): (usize, usize), ours: Option<u32>) -> Result<(), Garbled> {
        let bytes = self.bytes;
        while at < end {
            let next = bytes[at..end].iter().position(|byte| *byte == b';').map_or(end, |length| at + length);
            let name = skip(bytes, at, next, is_space);
            let equals = bytes[name..next].iter().position(|byte| *byte == b'=').map(|length| name + length);
            if let Some(equals) = equals {
                let word = bytes[name..equals].trim_ascii_end();
                let value = skip(bytes, equals + 1, next, is_space);
                if let Some(address) = ours.filter(|_| word.eq_ignore_ascii_case(b"rport")) {
                    let digits = skip(bytes, value, next, |byte| byte.is_ascii_digit());
                    if digits > value {
                        let span = Span::new(value, digits);
                        self.message.push(Naming { address, span, form: Form::Port, used: Use::Response })?;
                    }
                } else if word.eq_ignore_ascii_case(b"received") || word.eq_ignore_ascii_case(b"maddr") {
                    let digits = skip(bytes, value, next, |byte| byte.is_ascii_digit() || byte == b'.');
                    let sought = |address: &u32| self.addresses.contains(address);
                    if let Some(address) = crate::text::address(&bytes[value..digits]).filter(sought) {
                        let span = Span::new(value, digits);
                        self.message.push(Naming {
                            address,
                            span,
                            form: Form::Address,
                            used: Use::Response,
                        })?;
                    }
                }
            }
            at = next + 1;
        }
        Ok(())
    }

    /// An address, and a port if there is one; `None` where a name stands, with where it ends.
    fn host(&self, (at, end): (usize, usize), may_be_apart: bool) -> Result<Option<(Host, usize)>, Garbled> {
        let bytes = self.bytes;
        let digits = skip(bytes, at, end, |byte| byte.is_ascii_digit() || byte == b'.');
        let is_name = bytes[digits..end]
            .first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'['));
        let address = if is_name { None } else { crate::text::address(&bytes[at..digits]) };
        let Some(address) = address else { return Ok(None) };
        let apart = |at| if may_be_apart { skip(bytes, at, end, is_space) } else { at };
        let colon = apart(digits);
        if bytes[colon..end].first() != Some(&b':') {
            return Ok(Some((Host { address, port: None, span: Span::new(at, digits) }, digits)));
        }
        let begin = apart(colon + 1);
        let (port, length) = decimal(&bytes[begin..end]).ok_or(Garbled)?;
        let port = Some(u16::try_from(port).map_err(|_| Garbled)?);
        let behind = begin + length;
        Ok(Some((Host { address, port, span: Span::new(at, behind) }, behind)))
    }

    /// Notes a place, if it is of an address that is sought; which that is.
    fn note(&mut self, Host { address, port, span }: Host, used: Use) -> Result<Option<u32>, Garbled> {
        if !self.addresses.contains(&address) {
            return Ok(None);
        }
        self.message.push(Naming { address, span, form: Form::Both(port), used })?;
        Ok(Some(address))
    }
}

/// An address and port as they are written.
struct Host {
    address: u32,
    port: Option<u16>,
    span: Span,
}

/// The first byte from there on that is another one.
fn skip(bytes: &[u8], at: usize, end: usize, is: impl Fn(u8) -> bool) -> usize {
    at + bytes[at..end].iter().take_while(|byte| is(**byte)).count()
}

/// Where a text in quotes ends.
fn quoted(bytes: &[u8], at: usize, end: usize) -> usize {
    let mut next = at + 1;
    while next < end && bytes[next] != b'"' {
        next += if bytes[next] == b'\\' { 2 } else { 1 };
    }
    (next + 1).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: u32 = 0xc0a8_0a0b;

    /// Every place of our address that a message names.
    fn named(text: &str) -> Result<Vec<(String, Form, Use)>, Garbled> {
        let message = read(text.as_bytes(), &[OURS])?.expect("a message");
        let naming = |naming: &Naming| {
            (String::from_utf8_lossy(naming.span.of(text.as_bytes())).into_owned(), naming.form, naming.used)
        };
        Ok(message.places().iter().map(naming).collect())
    }

    /// RFC 3261 §7.3.1, §7.3.3: compact names, folded lines, several values in one header; RFC 4475 §3.1.1.1.
    #[test]
    fn every_form_of_a_header_is_read() {
        let text = "INVITE sip:b@192.168.10.11;transport=udp SIP/2.0\r\n\
            v:  SIP / 2.0  / UDP\r\n  192.168.10.11 : 5062 ;branch=z9hG4bKx;received=192.168.10.11 ;rport=77,\r\n\
            \tSIP/2.0/UDP 198.51.100.7;rport=5060;received=192.168.10.11\r\n\
            Route: <sip:192.168.10.11;lr>, <sip:p@example.com;lr>\r\n\
            f: \"sip:x@192.168.10.11 \\\" \" <sip:a;day=1@192.168.10.11:5062>;tag=1\r\n\
            T: sip:b@192.168.10.110\r\n\
            m: sip:a@192.168.10.11:5062;expires=60,<sips:a@192.168.10.11.example.com>\r\n\
            I: 7@192.168.10.11\r\n\
            CSeq:\r\n 1\r\n  INVITE\r\n\
            c: application/SDP\r\nL: 0\r\n\r\n";
        use Use::{Contact, Other, Response};
        let ours = |text: &str, form, used| (text.to_owned(), form, used);
        let expected = vec![
            ours("192.168.10.11", Form::Both(None), Other),
            ours("192.168.10.11 : 5062", Form::Both(Some(5062)), Response),
            ours("192.168.10.11", Form::Address, Response),
            ours("77", Form::Port, Response),
            ours("192.168.10.11", Form::Address, Response),
            ours("192.168.10.11", Form::Both(None), Other),
            ours("192.168.10.11:5062", Form::Both(Some(5062)), Other),
            ours("192.168.10.11:5062", Form::Both(Some(5062)), Contact),
        ];
        assert_eq!(named(text), Ok(expected));
        let message = read(text.as_bytes(), &[OURS]).unwrap().unwrap();
        assert_eq!((message.method, message.status, message.expires), (Method::Invite, 0, Some(60)));
        assert_eq!(message.call.of(text.as_bytes()), b"7@192.168.10.11");
        assert!(message.is_described && message.body.at == message.body.end);
    }

    const HEAD: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nCall-ID: 1\r\nCSeq: 2 REGISTER\r\n";

    #[test]
    fn responses_say_what_they_answer() {
        let text =
            format!("\r\n{HEAD}Contact: <sip:a@192.168.10.11>;expires=99999999999\r\nExpires: 5\r\n\r\nrest");
        let message = read(text.as_bytes(), &[OURS]).unwrap().unwrap();
        assert_eq!((message.method, message.status), (Method::Register, 200));
        assert_eq!((message.expires, message.length), (Some(u32::MAX), None));
        assert_eq!(message.body.of(text.as_bytes()), b"rest");
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for text in ["", "\r\n\r\n", "\0\0\0\0", "\x01\x01\0\0rest"] {
            assert!(matches!(read(text.as_bytes(), &[OURS]), Ok(None)), "{text:?}");
        }
        let many = "Route: <sip:192.168.10.11>\r\n".repeat(PLACES + 1);
        for text in [
            "hello".to_owned(),
            "INVITE sip:a SIP/3.0\r\n\r\n".to_owned(),
            "SIP/2.0 20 OK\r\n\r\n".to_owned(),
            HEAD.to_owned(),
            format!("{HEAD}Content-Length: 5\r\n\r\nrest"),
            format!("{HEAD}Content-Length: x\r\n\r\nrest"),
            format!("{HEAD}no header\r\n\r\n"),
            format!("{HEAD}Contact: sip:192.168.10.11:65536\r\n\r\n"),
            format!("{HEAD}Via: SIP\r\n\r\n"),
            format!("{HEAD}{many}\r\n"),
            format!("{}\r\n", HEAD.replace("Via", "Vie")),
        ] {
            assert!(read(text.as_bytes(), &[OURS]).is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Whatever comes, spans lie in the message and in order, and nothing panics.
        #[test]
        fn spans_lie_in_the_message(cut in 0usize..400, at in 0usize..400, with: u8) {
            let mut text = format!(
                "INVITE sip:b@192.168.10.11 SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.10.11:5060;rport=1\r\n\
                 From: \"x\" <sip:a@192.168.10.11>;tag=1\r\nContact: sip:a@192.168.10.11:5060\r\n{}",
                &HEAD[16..]
            ).into_bytes();
            text.extend_from_slice(b"Content-Length: 4\r\n\r\nbody");
            let at = at % text.len();
            text[at] = with;
            text.truncate(cut.max(1));
            if let Ok(Some(message)) = read(&text, &[OURS]) {
                let mut before = 0;
                for naming in message.places() {
                    prop_assert!(naming.span.at >= before && naming.span.at < naming.span.end);
                    before = naming.span.end;
                }
                prop_assert!(before <= message.body.at && usize::from(message.body.end) <= text.len());
            }
        }
    }
}
