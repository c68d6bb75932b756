//! The two DNS messages of a stub resolver: a question for an address, and what it makes of the answer (RFC 1035 §4).

use std::net::Ipv4Addr;

/// Bytes of a message's header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// Type A and class IN (RFC 1035 §3.2.2, §3.2.4).
const A_IN: [u8; 4] = [0, 1, 0, 1];

/// Why an answer has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A response code other than NOERROR.
    Code(u8),
    /// No error, but no address either.
    NoAddress,
    /// No DNS answer at all.
    Malformed,
}

impl Refusal {
    /// For a reader.
    pub fn text(self) -> String {
        match self {
            Refusal::Code(2) => "SERVFAIL".into(),
            Refusal::Code(3) => "NXDOMAIN".into(),
            Refusal::Code(5) => "REFUSED".into(),
            Refusal::Code(code) => format!("code {code}"),
            Refusal::NoAddress => "no address".into(),
            Refusal::Malformed => "malformed".into(),
        }
    }
}

/// A question for the addresses of a name, its id still 0.
pub fn query(name: &str) -> Vec<u8> {
    // RFC 1035 §4.1.1: recursion desired, one question.
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&A_IN);
    bytes
}

/// The id of a message.
pub fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*message.first()?, *message.get(1)?]))
}

/// The first address of an answer.
pub fn address(answer: &[u8]) -> Result<Ipv4Addr, Refusal> {
    let Some(head) = answer.get(..HEADER) else { return Err(Refusal::Malformed) };
    if head[2] & 0x80 == 0 {
        return Err(Refusal::Malformed); // QR: a question
    }
    if head[3] & 15 != 0 {
        return Err(Refusal::Code(head[3] & 15));
    }
    let count = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let mut at = HEADER;
    for _ in 0..count(4) {
        at = after_name(answer, at).ok_or(Refusal::Malformed)? + 4;
    }
    for _ in 0..count(6) {
        let (kind, data, next) = record(answer, at).ok_or(Refusal::Malformed)?;
        if let (A_IN, &[a, b, c, d]) = (kind, data) {
            return Ok(Ipv4Addr::new(a, b, c, d));
        }
        at = next;
    }
    Err(Refusal::NoAddress)
}

/// A record's type and class, its data, and where the next begins (RFC 1035 §4.1.3).
fn record(message: &[u8], at: usize) -> Option<([u8; 4], &[u8], usize)> {
    let at = after_name(message, at)?;
    let kind = message.get(at..at + 4)?.try_into().ok()?;
    let length = message.get(at + 8..at + 10)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let data = message.get(at + 10..at + 10 + length)?;
    Some((kind, data, at + 10 + length))
}

/// Where what follows a name begins.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // RFC 1035 §4.1.4: a pointer ends the name.
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = query("h1.b.demo");
        bytes[2] = 0x81;
        bytes[7] = records.len() as u8;
        bytes.extend(records.concat());
        bytes
    }

    const CNAME: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 30, 0, 2, 0xc0, 14];
    const ADDRESS: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 64, 0, 1];

    #[test]
    fn the_first_address_is_found_behind_other_records() {
        assert_eq!(address(&answer(&[CNAME, ADDRESS])), Ok(Ipv4Addr::new(10, 64, 0, 1)));
        assert_eq!(address(&answer(&[CNAME])), Err(Refusal::NoAddress));
        assert_eq!(address(&answer(&[])), Err(Refusal::NoAddress));
    }

    #[test]
    fn an_error_is_told_by_its_code() {
        let mut bytes = answer(&[]);
        bytes[3] = 0x83;
        assert_eq!(address(&bytes), Err(Refusal::Code(3)));
        assert_eq!(Refusal::Code(3).text(), "NXDOMAIN");
    }

    #[test]
    fn what_ends_early_is_malformed_at_every_byte() {
        let whole = answer(&[CNAME, ADDRESS]);
        for length in 0..whole.len() {
            assert_eq!(address(&whole[..length]), Err(Refusal::Malformed), "{length}");
        }
        assert_eq!(address(&query("h1.b.demo")), Err(Refusal::Malformed));
    }
}
