//! As much of DNS as a host's stub needs: a query for an A record (RFC 1035 §4), and what its answer says.
//!
//! On bytes, without allocation, since a query starts a session and is made in the hot loop. Nothing of an answer is
//! believed that its length does not cover.

use std::io::Write;

/// The longest name on the wire (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;
/// The longest label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;
/// Bytes of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// The longest query: header, name, type and class.
pub const QUERY_MAX: usize = HEADER + NAME_MAX + 4;
/// The type A (RFC 1035 §3.2.2).
const TYPE_A: u16 = 1;
/// The class IN (RFC 1035 §3.2.4).
const CLASS_IN: u16 = 1;
/// The port of name servers (RFC 1035 §4.2.1).
pub const PORT: u16 = 53;

/// The names that are asked for: a pattern with `{}`, in whose place stand the numbers from `first` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What stands ahead of the number, and behind it.
    around: [String; 2],
    first: u32,
    count: u32,
}

impl Names {
    /// A pattern such as `h{}.b.demo` and its numbers; why not, if these are no names.
    pub fn new(pattern: &str, first: u32, last: u32) -> Result<Self, String> {
        let Some((before, after)) = pattern.split_once("{}") else {
            return Err(format!("\"{pattern}\" has no {{}} for the number"));
        };
        let Some(count) = last.checked_sub(first).and_then(|more| more.checked_add(1)) else {
            return Err(format!("expected numbers from {first} on, and not all that there are"));
        };
        let names = Self { around: [before.to_owned(), after.to_owned()], first, count };
        // The last number is the longest.
        let whole = names.emit(count - 1, &mut [0; NAME_MAX]);
        whole
            .map(|_| names)
            .ok_or_else(|| format!("\"{before}{last}{after}\" is not a name (RFC 1035 §2.3.4)"))
    }

    /// How many there are: at least one.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Writes a name as in RFC 1035 §3.1, and tells its length. On bytes: `None` if it is none.
    fn emit(&self, index: u32, out: &mut [u8]) -> Option<usize> {
        let mut text = [0; NAME_MAX];
        let mut rest = &mut text[..];
        let [before, after] = &self.around;
        write!(rest, "{before}{}{after}", self.first.checked_add(index)?).ok()?;
        let left = rest.len();
        let text = &text[..NAME_MAX - left];
        let mut at = 0;
        for label in text.strip_suffix(b".").unwrap_or(text).split(|&byte| byte == b'.') {
            if label.is_empty() || label.len() > LABEL_MAX || !label.iter().all(u8::is_ascii_graphic) {
                return None;
            }
            *out.get_mut(at)? = label.len() as u8;
            out.get_mut(at + 1..=at + label.len())?.copy_from_slice(label);
            at += 1 + label.len();
        }
        *out.get_mut(at)? = 0;
        (at < NAME_MAX).then_some(at + 1)
    }
}

/// Writes the query for the name of that number; returns its length.
pub fn query(id: u16, names: &Names, index: u32, out: &mut [u8; QUERY_MAX]) -> Option<usize> {
    out[..HEADER].fill(0);
    out[0..2].copy_from_slice(&id.to_be_bytes());
    out[2] = 0x01; // RD (RFC 1035 §4.1.1)
    out[5] = 1; // QDCOUNT
    let end = HEADER + names.emit(index, &mut out[HEADER..HEADER + NAME_MAX])?;
    out[end..end + 2].copy_from_slice(&TYPE_A.to_be_bytes());
    out[end + 2..end + 4].copy_from_slice(&CLASS_IN.to_be_bytes());
    Some(end + 4)
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This address.
    Address(u32),
    /// No error, and no address.
    NoAddress,
    /// A response code other than 0 (RFC 1035 §4.1.1).
    Error(u8),
    /// Truncated: it would have to be asked for over TCP, which a session does not do.
    Truncated,
    /// Not an answer to this query; such are passed over, as a resolver does.
    NotOurs,
    /// An answer to this query that is cut short or contradicts itself.
    Malformed,
}

/// The response code that refuses (RFC 1035 §4.1.1).
pub const REFUSED: u8 = 5;
/// The response code of a server that failed.
pub const SERVER_FAILURE: u8 = 2;
/// The response code for a name that does not exist.
pub const NO_SUCH_NAME: u8 = 3;

/// Reads what came back for `query`, as [`query`] made it.
pub fn answer(bytes: &[u8], query: &[u8]) -> Answer {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Answer::NotOurs;
    };
    let Some((asked, question)) = query.split_first_chunk::<HEADER>() else {
        return Answer::NotOurs;
    };
    // QR is set, the opcode is 0, and the id is ours (RFC 5452 §9.1).
    if header[..2] != asked[..2] || header[2] & 0xf8 != 0x80 {
        return Answer::NotOurs;
    }
    let code = header[3] & 15;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // Some servers leave out the question when they refuse.
    if count(4) == 0 && code != 0 {
        return Answer::Error(code);
    }
    // The question is ours; its case may have changed (RFC 1035 §2.3.3).
    match rest.get(..question.len()) {
        Some(echo) if count(4) == 1 && echo.eq_ignore_ascii_case(question) => {}
        _ => return Answer::NotOurs,
    }
    if code != 0 {
        return Answer::Error(code);
    }
    if header[2] & 0x02 != 0 {
        return Answer::Truncated;
    }
    let mut at = HEADER + question.len();
    for _ in 0..count(6) {
        let Some(fixed) =
            name_end(bytes, at).and_then(|end| Some((end, bytes.get(end..)?.first_chunk::<10>()?)))
        else {
            return Answer::Malformed;
        };
        let (end, record) = fixed;
        let length = usize::from(u16::from_be_bytes([record[8], record[9]]));
        let Some(data) = bytes.get(end + 10..end + 10 + length) else {
            return Answer::Malformed;
        };
        let (kind, class) =
            (u16::from_be_bytes([record[0], record[1]]), u16::from_be_bytes([record[2], record[3]]));
        if kind == TYPE_A && class == CLASS_IN {
            return match *data {
                [a, b, c, d] => Answer::Address(u32::from_be_bytes([a, b, c, d])),
                _ => Answer::Malformed,
            };
        }
        at = end + 10 + length;
    }
    Answer::NoAddress
}

/// Where what follows the name at `at` begins. A pointer ends a name (RFC 1035 §4.1.4), so none is followed.
fn name_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return bytes.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(names: &Names, index: u32) -> Vec<u8> {
        let mut out = [0xff; QUERY_MAX];
        let length = query(0x1234, names, index, &mut out).unwrap();
        out[..length].to_vec()
    }

    /// An answer with a CNAME ahead of its A record, both named by pointers.
    fn answered(query: &[u8], code: u8) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2] |= 0x80;
        bytes[3] = 0x80 | code;
        if code == 0 {
            bytes[7] = 2;
            bytes.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x1e\0\x06\x03www\xc0\x0e");
            bytes.extend_from_slice(b"\xc0\x20\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x40\0\x01");
        }
        bytes
    }

    fn hosts() -> Names {
        Names::new("h{}.b.demo", 1, 1000).unwrap()
    }

    #[test]
    fn query_is_as_on_the_wire() {
        let bytes = asked(&hosts(), 41);
        assert_eq!(bytes, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03h42\x01b\x04demo\0\0\x01\0\x01");
        let rooted = Names::new("www{}.b.demo.", 7, 7).unwrap();
        assert_eq!(asked(&rooted, 0)[12..], *b"\x04www7\x01b\x04demo\0\0\x01\0\x01");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["a..b{}", ".a{}", "a b{}", &("x".repeat(64) + "{}"), &("abc.".repeat(64) + "{}")] {
            assert!(Names::new(bad, 1, 1).is_err(), "{bad}");
        }
        assert!(Names::new("h.b.demo", 1, 2).is_err());
        assert!(Names::new("h{}.b.demo", 2, 1).is_err());
        assert!(Names::new("h{}.b.demo", 0, u32::MAX).is_err());
        assert!(Names::new(&format!("{}{{}}", "x".repeat(60)), 1, 999).is_ok());
        assert!(Names::new(&format!("{}{{}}", "x".repeat(60)), 1, 1000).is_err());
    }

    #[test]
    fn answer_behind_a_cname_is_found() {
        let query = asked(&hosts(), 6);
        let mut bytes = answered(&query, 0);
        assert_eq!(answer(&bytes, &query), Answer::Address(0x0a40_0001));
        bytes[13] = b'H'; // the case may change
        assert_eq!(answer(&bytes, &query), Answer::Address(0x0a40_0001));
    }

    #[test]
    fn each_outcome_is_told() {
        let query = asked(&hosts(), 6);
        for code in [SERVER_FAILURE, NO_SUCH_NAME, REFUSED] {
            assert_eq!(answer(&answered(&query, code), &query), Answer::Error(code));
        }
        let without_question = |code| {
            let mut bytes = answered(&query, code)[..HEADER].to_vec();
            bytes[5] = 0;
            bytes
        };
        assert_eq!(answer(&without_question(REFUSED), &query), Answer::Error(REFUSED));
        let mut bytes = answered(&query, 0);
        bytes[7] = 1;
        assert_eq!(answer(&bytes, &query), Answer::NoAddress, "the CNAME alone");
        bytes[7] = 3;
        assert_eq!(answer(&bytes, &query), Answer::Address(0x0a40_0001), "no more is read than is needed");
        bytes[2] |= 0x02;
        assert_eq!(answer(&bytes, &query), Answer::Truncated);
    }

    #[test]
    fn answers_to_others_are_passed_over() {
        let query = asked(&hosts(), 6);
        let good = answered(&query, 0);
        for (at, bit) in [(0, 1), (2, 0x80), (2, 0x08), (14, 1), (5, 1)] {
            let mut bytes = good.clone();
            bytes[at] ^= bit;
            assert_eq!(answer(&bytes, &query), Answer::NotOurs, "byte {at}");
        }
        assert_eq!(answer(&good, &asked(&hosts(), 7)), Answer::NotOurs);
    }

    #[test]
    fn every_truncation_is_noticed() {
        let query = asked(&hosts(), 6);
        let good = answered(&query, 0);
        for length in 0..good.len() {
            let told = answer(&good[..length], &query);
            let expected = if length < query.len() { Answer::NotOurs } else { Answer::Malformed };
            assert_eq!(told, expected, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_behind_the_question_never_panic(
            rest in proptest::collection::vec(any::<u8>(), 0..80), counts: u16,
        ) {
            let query = asked(&hosts(), 6);
            let mut bytes = answered(&query, 0)[..query.len()].to_vec();
            bytes[6..8].copy_from_slice(&counts.to_be_bytes());
            bytes.extend_from_slice(&rest);
            let _ = answer(&bytes, &query);
            let _ = answer(&rest, &query);
        }

        #[test]
        fn changed_bytes_never_panic(at in 0usize..80, value: u8) {
            let query = asked(&hosts(), 6);
            let mut bytes = answered(&query, 0);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = answer(&bytes, &query);
        }
    }
}
