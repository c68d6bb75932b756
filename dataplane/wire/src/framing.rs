//! Where messages begin and end in a stream: those of SIP (RFC 3261 §18.3) and of RTSP (RFC 2326 §4, RFC 7826 §5), which are
//! lines, an empty one, and as much of a body as a line says.

use crate::text::feed;

/// The longest first line of a message.
pub const START: usize = 1024;
/// The most that a message may say its body is long: what is longer is no message.
const BODY: u32 = 1 << 24;

/// What a stream goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A message whose lines are not all there.
    Part,
    /// A message.
    Message(Extent),
    /// No message.
    Other,
}

/// How long a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes up to the body.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
    /// Whether that is a description of media.
    pub is_described: bool,
}

/// What these bytes begin with: a message of a protocol whose version begins so, or another thing.
pub fn framed(bytes: &[u8], version: &[u8]) -> Framed {
    let Some(end) = feed(&bytes[..bytes.len().min(START)]) else {
        let is_text =
            bytes.len() < START && bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\r'));
        return if is_text { Framed::Part } else { Framed::Other };
    };
    let first = bytes[..end].trim_ascii_end();
    let last = first.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let begins = first.starts_with(version) || last.starts_with(version) && last.len() < first.len();
    if !begins {
        return Framed::Other;
    }
    // RFC 3261 §7.3.3; RTSP has none.
    let has_short_names = version.starts_with(b"SIP/");
    let (mut at, mut length, mut is_described) = (end + 1, None, false);
    loop {
        let Some(end) = feed(&bytes[at..]) else { return Framed::Part };
        let line = bytes[at..at + end].trim_ascii_end();
        at += end + 1;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (line[..colon].trim_ascii_end(), line.get(colon + 1..).unwrap_or_default());
        let is = |known: &[u8], short: &[u8]| {
            name.eq_ignore_ascii_case(known) || has_short_names && name.eq_ignore_ascii_case(short)
        };
        if is(b"content-length", b"l") {
            // Once, since which of two is heeded is anybody's choice (RFC 3261 §7.3.1).
            let said = digits(value.trim_ascii());
            if said.is_none() || length.is_some() {
                return Framed::Other;
            }
            length = said;
        } else if is(b"content-type", b"c") {
            let kind = value.trim_ascii_start();
            is_described = kind.get(..15).is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/sdp"));
        }
    }
    Framed::Message(Extent { head: at, body: length.unwrap_or(0) as usize, is_described })
}

fn digits(text: &[u8]) -> Option<u32> {
    let digit = |number: u32, digit: &u8| {
        let more = digit.is_ascii_digit().then_some(u32::from(digit.wrapping_sub(b'0')))?;
        number.checked_mul(10)?.checked_add(more).filter(|number| *number <= BODY)
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, digit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIP: &[u8] = b"SIP/2.0";

    #[test]
    fn a_message_ends_where_it_says() {
        let text =
            b"OPTIONS sip:a SIP/2.0\r\nc: Application/SDP;x\r\nl : 5\r\n\r\nv=0\r\nSIP/2.0 200 OK\r\n\n";
        let Framed::Message(extent) = framed(text, SIP) else { panic!() };
        assert_eq!((extent.body, extent.is_described), (5, true));
        assert_eq!(&text[extent.head..extent.head + extent.body], b"v=0\r\n");
        let rest = framed(&text[extent.head + extent.body..], SIP);
        assert_eq!(rest, Framed::Message(Extent { head: 17, body: 0, is_described: false }));
        for cut in 0..extent.head {
            assert_eq!(framed(&text[..cut], SIP), Framed::Part, "{cut}");
        }
    }

    #[test]
    fn rtsp_has_no_short_names() {
        let text = b"OPTIONS * RTSP/1.0\r\nl: 5\r\nc: application/sdp\r\n\r\n";
        let whole = Extent { head: text.len(), body: 0, is_described: false };
        assert_eq!(framed(text, b"RTSP/"), Framed::Message(whole));
    }

    /// Cases of others, 15: a web page that speaks SIP.
    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for text in [
            &b"POST /x HTTP/1.1\r\nREGISTER sip:a SIP/2.0\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"SIP/2.0\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nl: x\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nl: 99999999\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 1\r\n\r\n",
            &[b'x'; START],
        ] {
            let expected = if text == b"SIP/2.0\r\n" { Framed::Part } else { Framed::Other };
            assert_eq!(framed(text, SIP), expected, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
