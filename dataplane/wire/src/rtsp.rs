//! RTSP's messages (RFC 2326, RFC 7826): where they name an address, and between which ports media is to go. One look at each
//! byte, no copy. What a body says is in [`crate::sdp`].

use crate::sip::Span;
use crate::text::{Garbled, decimal, feed};

/// The port where none is written (RFC 7826 §4.2).
pub const PORT: u16 = 554;
/// The most transports that one message may offer.
pub const TRANSPORTS: usize = 8;
/// The most places at which a message may name the addresses that are sought.
pub const PLACES: usize = 16;

/// What a message is about (RFC 7826 §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtspMethod {
    /// It agrees on a stream.
    Setup,
    /// It has media flow.
    Play,
    /// It ends streams.
    Teardown,
    /// Anything else, or a response.
    Other,
}

/// An address in a URL, with its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UrlPlace {
    /// The address.
    pub address: u32,
    /// Where both are written.
    pub span: Span,
    /// The port, if one is.
    pub port: Option<u16>,
}

/// An address, and where it is written; `None`: a name, or one of another network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Literal {
    /// Where it is written.
    pub span: Span,
    /// The address.
    pub address: Option<u32>,
}

/// Two ports `a-b`, or one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Where they are written.
    pub span: Span,
    /// That of media.
    pub first: u16,
    /// That of its RTCP.
    pub second: Option<u16>,
}

/// `"address:port"`, or `":port"` (RFC 7826 §18.54).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketText {
    /// Where they are written.
    pub span: Span,
    /// The address; `None`: that of the connection, a name, or one of another network.
    pub address: Option<u32>,
    /// Whether anything stands where an address would.
    pub is_named: bool,
    /// The port; 0 if there is none.
    pub port: u16,
}

/// What a transport says of one of the two who speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportEnd {
    /// `client_port` or `server_port`.
    pub ports: Option<Ports>,
    /// `destination` or `source`.
    pub literal: Option<Literal>,
    /// `dest_addr` or `src_addr`: for media, and for its RTCP.
    pub sockets: [Option<SocketText>; 2],
}

/// One of the transports that a message offers, or the one that was taken (RFC 2326 §12.39, RFC 7826 §18.54).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaTransport {
    /// Whether media goes by UDP, to one receiver: not within the connection, nor by multicast.
    pub is_datagrams: bool,
    /// The client's end.
    pub client: TransportEnd,
    /// The server's.
    pub server: TransportEnd,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// What it is about.
    pub method: RtspMethod,
    /// The status of a response; 0 for a request.
    pub status: u16,
    /// Which request it is, or answers.
    pub sequence: u32,
    /// What a request is about.
    pub url: Span,
    /// Where the length of the body is written.
    pub length: Option<Span>,
    /// The body.
    pub body: Span,
    transports: [MediaTransport; TRANSPORTS],
    offered: u8,
    places: [UrlPlace; PLACES],
    count: u8,
}

impl Message {
    /// The transports, in order.
    pub fn transports(&self) -> &[MediaTransport] {
        &self.transports[..usize::from(self.offered)]
    }

    /// Where URLs name the addresses that were sought, in order.
    pub fn places(&self) -> &[UrlPlace] {
        &self.places[..usize::from(self.count)]
    }

    /// Notes where the URLs in these bytes name one of these addresses.
    fn urls(&mut self, bytes: &[u8], span: Span, addresses: &[u32]) -> Result<(), Garbled> {
        let (mut at, end) = (usize::from(span.at), usize::from(span.end));
        while let Some(found) = bytes[at..end].windows(3).position(|part| part == b"://") {
            let host = at + found + 3;
            let scheme =
                bytes[at..at + found].rsplit(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
            let is_end = |byte: &u8| {
                matches!(byte, b'/' | b'?' | b'#' | b'"' | b'>' | b';' | b',') || byte.is_ascii_whitespace()
            };
            at = bytes[host..end].iter().position(is_end).map_or(end, |length| host + length);
            if !begins(scheme, b"rtsp") {
                continue;
            }
            let user =
                bytes[host..at].iter().rposition(|byte| *byte == b'@').map_or(host, |user| host + user + 1);
            let colon =
                bytes[user..at].iter().position(|byte| *byte == b':').map_or(at, |colon| user + colon);
            let found = crate::text::address(&bytes[user..colon]);
            let Some(address) = found.filter(|found| addresses.contains(found)) else { continue };
            let port = if colon < at { Some(port(&bytes[colon + 1..at])?) } else { None };
            *self.places.get_mut(usize::from(self.count)).ok_or(Garbled)? =
                UrlPlace { address, span: Span::new(user, at), port };
            self.count += 1;
        }
        Ok(())
    }

    /// The elements of a Transport header.
    fn transports_in(&mut self, bytes: &[u8], value: Span) -> Result<(), Garbled> {
        let mut at = value.at;
        loop {
            let end = until(bytes, Span { at, ..value }, b',');
            let transport = transport(bytes, Span { at, end })?;
            *self.transports.get_mut(usize::from(self.offered)).ok_or(Garbled)? = transport;
            self.offered += 1;
            if end == value.end {
                return Ok(());
            }
            at = end + 1;
        }
    }
}

/// Reads a message, all of it or all but its body; where its URLs name one of these addresses.
///
/// # Errors
/// It is none that can be followed.
pub fn read(bytes: &[u8], head: usize, addresses: &[u32]) -> Result<Message, Garbled> {
    if bytes.len() > usize::from(u16::MAX) || head > bytes.len() {
        return Err(Garbled);
    }
    let mut message = Message {
        method: RtspMethod::Other,
        status: 0,
        sequence: 0,
        url: Span::default(),
        length: None,
        body: Span::new(head, bytes.len()),
        transports: [MediaTransport::default(); TRANSPORTS],
        offered: 0,
        places: [UrlPlace::default(); PLACES],
        count: 0,
    };
    let mut at = feed(&bytes[..head]).ok_or(Garbled)? + 1;
    start(&mut message, bytes, bytes[..at].trim_ascii_end().len(), addresses)?;
    let mut has_sequence = false;
    while at < head {
        let next = feed(&bytes[at..head]).map_or(head, |feed| at + feed + 1);
        let line = &bytes[at..at + bytes[at..next].trim_ascii_end().len()];
        if line.is_empty() {
            break;
        }
        // RFC 7826 §5.2: a line that goes on with another is obsolete, and is not followed.
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .filter(|_| !line[0].is_ascii_whitespace())
            .ok_or(Garbled)?;
        let name = line[..colon].trim_ascii_end();
        let begin =
            at + colon + 1 + line[colon + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let value = Span::new(begin, begin.max(at + line.len()));
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"transport") {
            message.transports_in(bytes, value)?;
        } else if is(b"cseq") {
            message.sequence = decimals(value.of(bytes)).ok_or(Garbled)?;
            has_sequence = true;
        } else if is(b"content-length") {
            if message.length.replace(value).is_some() {
                return Err(Garbled);
            }
        } else if is(b"content-base") || is(b"content-location") || is(b"location") || is(b"rtp-info") {
            message.urls(bytes, value, addresses)?;
        }
        at = next;
    }
    if !has_sequence {
        return Err(Garbled);
    }
    Ok(message)
}

/// Notes where the URLs of a description name one of these addresses, in a message that was read (RFC 2326 §C.1.1).
///
/// # Errors
/// They are too many, or name no port.
pub fn read_controls(message: &mut Message, bytes: &[u8], addresses: &[u32]) -> Result<(), Garbled> {
    let (mut at, end) = (usize::from(message.body.at), usize::from(message.body.end));
    while at < end {
        let next = feed(&bytes[at..end]).map_or(end, |feed| at + feed + 1);
        if bytes[at..next].starts_with(b"a=control:") {
            message.urls(bytes, Span::new(at, next), addresses)?;
        }
        at = next;
    }
    Ok(())
}

/// RFC 7826 §7.1, §8.1: the first line, which ends there.
fn start(message: &mut Message, bytes: &[u8], end: usize, addresses: &[u32]) -> Result<(), Garbled> {
    let line = &bytes[..end];
    if begins(line, b"RTSP/") {
        let status = line.split(|byte| *byte == b' ').nth(1).ok_or(Garbled)?;
        message.status = port(status)?;
        return if (100..600).contains(&message.status) { Ok(()) } else { Err(Garbled) };
    }
    let first = line.iter().position(|byte| *byte == b' ').ok_or(Garbled)?;
    let last = line.iter().rposition(|byte| *byte == b' ').filter(|last| *last > first).ok_or(Garbled)?;
    message.method = match &line[..first] {
        b"SETUP" => RtspMethod::Setup,
        b"PLAY" | b"RECORD" => RtspMethod::Play,
        b"TEARDOWN" => RtspMethod::Teardown,
        _ => RtspMethod::Other,
    };
    message.url = Span::new(first + 1, last);
    message.urls(bytes, message.url, addresses)
}

fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(word))
}

/// Up to where a span goes without this byte, which counts nothing in quotes.
fn until(bytes: &[u8], span: Span, stop: u8) -> u16 {
    let mut is_quoted = false;
    let is_stop = |byte: &u8| {
        is_quoted ^= *byte == b'"';
        *byte == stop && !is_quoted
    };
    span.of(bytes).iter().position(is_stop).map_or(span.end, |length| span.at + length as u16)
}

/// One transport.
fn transport(bytes: &[u8], span: Span) -> Result<MediaTransport, Garbled> {
    let (mut found, mut at, mut is_first, mut is_multicast) =
        (MediaTransport::default(), span.at, true, false);
    loop {
        let end = until(bytes, Span { at, ..span }, b';');
        let whole = Span { at, end }.of(bytes);
        let part = whole.trim_ascii();
        if is_first {
            let lower = part.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            found.is_datagrams = !begins(lower, b"TCP") && part.contains(&b'/');
        } else if part.eq_ignore_ascii_case(b"multicast") {
            is_multicast = true;
        } else if let Some(equals) = part.iter().position(|byte| *byte == b'=') {
            let name = part[..equals].trim_ascii_end();
            let value_end = usize::from(at) + whole.trim_ascii_end().len();
            let begin = value_end - part[equals + 1..].trim_ascii_start().len();
            parameter(&mut found, bytes, name, Span::new(begin, value_end))?;
        }
        if end == span.end {
            found.is_datagrams &= !is_multicast;
            return Ok(found);
        }
        (at, is_first) = (end + 1, false);
    }
}

/// A parameter of a transport; one that comes twice cannot be followed.
fn parameter(found: &mut MediaTransport, bytes: &[u8], name: &[u8], value: Span) -> Result<(), Garbled> {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    let end = if is(b"client_port") || is(b"destination") || is(b"dest_addr") {
        &mut found.client
    } else if is(b"server_port") || is(b"source") || is(b"src_addr") {
        &mut found.server
    } else {
        return Ok(());
    };
    let is_new = if is(b"client_port") || is(b"server_port") {
        end.ports.replace(ports(bytes, value)?).is_none()
    } else if is(b"destination") || is(b"source") {
        end.literal.replace(Literal { span: value, address: crate::text::address(value.of(bytes)) }).is_none()
    } else {
        std::mem::replace(&mut end.sockets, sockets(bytes, value)?) == [None; 2]
    };
    if is_new { Ok(()) } else { Err(Garbled) }
}

fn port(text: &[u8]) -> Result<u16, Garbled> {
    crate::text::number(text).and_then(|port| u16::try_from(port).ok()).ok_or(Garbled)
}

/// A number that may have many digits, as far as they tell it from others.
fn decimals(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let add = |number: u32, digit: &u8| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'));
    (digits > 0).then(|| text[..digits].iter().fold(0, add))
}

/// `4588-4589` or `4588`.
fn ports(bytes: &[u8], span: Span) -> Result<Ports, Garbled> {
    let text = span.of(bytes);
    let (first, length) = decimal(text).ok_or(Garbled)?;
    let first = u16::try_from(first).map_err(|_| Garbled)?;
    let second = match text.get(length) {
        None => None,
        Some(b'-') => Some(port(&text[length + 1..])?),
        Some(_) => return Err(Garbled),
    };
    Ok(Ports { span, first, second: second.filter(|second| *second != first) })
}

/// `"192.0.2.5:8000"/":8001"`: one or two (RFC 7826 §18.54), and no more than they.
fn sockets(bytes: &[u8], span: Span) -> Result<[Option<SocketText>; 2], Garbled> {
    let (mut found, mut at) = ([None; 2], span.at);
    for place in &mut found {
        let end = until(bytes, Span { at, ..span }, b'/');
        *place = Some(socket(bytes, Span { at, end })?);
        if end == span.end {
            return Ok(found);
        }
        at = end + 1;
    }
    Err(Garbled)
}

fn socket(bytes: &[u8], Span { at, end }: Span) -> Result<SocketText, Garbled> {
    let quoted = Span { at, end }.of(bytes);
    let text = quoted.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).ok_or(Garbled)?;
    let span = Span { at: at + 1, end: end - 1 };
    let colon = text.iter().rposition(|byte| *byte == b':').filter(|colon| !text[*colon..].contains(&b']'));
    let host = &text[..colon.unwrap_or(text.len())];
    let port = colon.map_or(Ok(0), |colon| port(&text[colon + 1..]))?;
    Ok(SocketText { span, address: crate::text::address(host), is_named: !host.is_empty(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Framed, framed};
    use proptest::prelude::*;

    const OURS: u32 = 0xc0a8_0a0b;

    fn message(text: &str) -> Result<Message, Garbled> {
        let Framed::Message(extent) = framed(text.as_bytes(), b"RTSP/") else { return Err(Garbled) };
        let mut message = read(text.as_bytes(), extent.head, &[OURS])?;
        read_controls(&mut message, text.as_bytes(), &[OURS])?;
        Ok(message)
    }

    fn setup(transport: &str) -> Result<Vec<MediaTransport>, Garbled> {
        let text = format!("SETUP rtsp://h/a RTSP/1.0\r\nCSeq: 3\r\nTransport: {transport}\r\n\r\n");
        message(&text).map(|message| message.transports().to_vec())
    }

    /// RFC 2326 §12.39 and RFC 7826 §18.54, and their examples.
    #[test]
    fn every_form_of_a_transport_is_read() {
        let found = setup(
            "RTP/AVP;multicast;ttl=127;mode=\"PLAY,RECORD\";port=3456-3457, RTP/AVP;unicast;client_port=3456-3457;mode=\"PLAY\",\
             RTP/AVP/TCP;unicast;interleaved=0-1;destination=192.168.10.11,MP2T/H2221/UDP;unicast;client_port = 5000",
        )
        .unwrap();
        let ports = |end: TransportEnd| end.ports.map(|ports| (ports.first, ports.second));
        let [multicast, unicast, interleaved, stream] = found[..] else { panic!("{found:?}") };
        assert!(
            !multicast.is_datagrams
                && unicast.is_datagrams
                && !interleaved.is_datagrams
                && stream.is_datagrams
        );
        assert_eq!((ports(multicast.client), ports(unicast.client)), (None, Some((3456, Some(3457)))));
        assert_eq!(interleaved.client.literal.and_then(|literal| literal.address), Some(OURS));
        let found = setup(
            "RTP/AVP/UDP;unicast;dest_addr=\"192.168.10.11:6970\"/\":6971\";src_addr=\"h.demo:9000\"/\"[::1]:9001\"",
        );
        let [found] = found.unwrap()[..] else { panic!() };
        let sockets =
            |end: TransportEnd| end.sockets.map(|at| at.map(|at| (at.address, at.is_named, at.port)));
        assert_eq!(sockets(found.client), [Some((Some(OURS), true, 6970)), Some((None, false, 6971))]);
        assert_eq!(sockets(found.server), [Some((None, true, 9000)), Some((None, true, 9001))]);
    }

    #[test]
    fn urls_name_where_they_are() {
        let text = "RTSP/1.0 200 OK\r\ncseq: 77777777777\r\n\
            Content-Base: rtsp://192.168.10.11/a/\r\nContent-Type: application/sdp\r\n\
            RTP-Info: url=rtsp://x:y@192.168.10.11:554/a/0;seq=1,url=rtsp://192.168.10.110/a/1;seq=2\r\n\
            Content-Length: 69\r\n\r\n\
            a=control:rtsp://192.168.10.11:8554/a/0\r\na=tool:http://192.168.10.11/\r\n";
        let found = message(text).unwrap();
        let places: Vec<_> = found
            .places()
            .iter()
            .map(|place| (String::from_utf8_lossy(place.span.of(text.as_bytes())).into_owned(), place.port))
            .collect();
        let named = |text: &str, port| (text.to_owned(), port);
        assert_eq!(
            places,
            [
                named("192.168.10.11", None),
                named("192.168.10.11:554", Some(554)),
                named("192.168.10.11:8554", Some(8554))
            ]
        );
        assert_eq!(
            (found.status, found.length.map(|span| span.of(text.as_bytes()))),
            (200, Some(&b"69"[..]))
        );
    }

    /// What libalias wrote beyond the end of its buffer for.
    #[test]
    fn two_hundred_ports_in_one_setup_overflow_nothing() {
        let many = |between: &str| vec!["RTP/AVP;unicast;client_port=4588-4589"; 200].join(between);
        for text in [
            many(","),
            format!("RTP/AVP{}", ";client_port=4588-4589".repeat(200)),
            "RTP/AVP;client_port=4588-".to_owned(),
            "RTP/AVP;client_port=65536-65537".to_owned(),
            "RTP/AVP;client_port=1-2-3".to_owned(),
            "RTP/AVP;dest_addr=\":1\"/\":2\"/\":3\"".to_owned(),
            "RTP/AVP;dest_addr=:1".to_owned(),
        ] {
            assert_eq!(setup(&text), Err(Garbled), "{text}");
        }
        for text in [
            "RTSP/1.0 2000 OK\r\nCSeq: 1\r\n\r\n",
            "PLAY RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "PLAY * RTSP/1.0\r\n\r\n",
        ] {
            assert!(message(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever comes, spans lie in the message, and nothing panics.
        #[test]
        fn spans_lie_in_the_message(cut in 0usize..400, at in 0usize..400, with: u8) {
            let mut text = b"SETUP rtsp://192.168.10.11:554/a RTSP/2.0\r\nCSeq: 3\r\nTransport: RTP/AVP/UDP;unicast;\
                client_port=5000-5001;destination=192.168.10.11,RTP/AVP;dest_addr=\":1\"/\"192.168.10.11:2\";mode=\"PLAY\"\r\n\
                RTP-Info: url=\"rtsp://192.168.10.11/a\"\r\n\r\na=control:rtsp://192.168.10.11/\r\n".to_vec();
            let at = at % text.len();
            text[at] = with;
            text.truncate(cut.max(1));
            if let Ok(message) = message(&String::from_utf8_lossy(&text)) {
                for place in message.places() {
                    prop_assert!(place.span.at < place.span.end && usize::from(place.span.end) <= text.len() + 8);
                }
            }
        }
    }
}
