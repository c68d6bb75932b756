//! A line as words, and the words that mean numbers.

/// The words of a line: a comma is one of its own, `#` begins a comment, and what stands in quotes is one word. `Err`: a quote
/// without its end.
pub(crate) fn split(line: &str) -> Result<Vec<&str>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => break,
            ',' | '=' => 1,
            '"' => 1 + rest[1..].find('"').ok_or("a quote has no end")? + 1,
            _ => rest
                .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '#' | '"'))
                .unwrap_or(rest.len()),
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Ok(words)
}

/// Protocols by name (IANA).
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ospf", 89),
    ("sctp", 132),
    ("udplite", 136),
];
/// The number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// Those whose ports the filter sees.
pub(crate) const WITH_PORTS: [u8; 4] = [6, 17, 33, 136];

/// Ports by name (IANA).
const PORTS: &[(&str, u16)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submissions", 465),
    ("submission", 587),
    ("imaps", 993),
    ("pop3s", 995),
    ("sip", 5060),
];

/// Types of the ICMP messages that open a session (RFC 792); errors belong to the session that they are about.
const TYPES: &[(&str, u16)] = &[("echo-request", 8), ("ping", 8), ("timestamp-request", 13)];

/// Flags of TCP (RFC 9293 §3.1; RFC 3168 §6.1).
const FLAGS: &[(&str, u8)] = &[
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];
/// The number of TCP.
pub(crate) const TCP: u8 = 6;

/// Code points of differentiated services (RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622).
const DSCPS: &[(&str, u8)] = &[
    ("default", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

fn named<T: Copy>(list: &[(&str, T)], word: &str) -> Option<T> {
    list.iter().find(|(name, _)| *name == word).map(|(_, number)| *number)
}

/// The number of an IP protocol, by name or number.
pub fn protocol_number(word: &str) -> Option<u8> {
    named(PROTOCOLS, word).or_else(|| word.parse().ok())
}

/// The name of an IP protocol, or its number.
pub fn protocol_name(protocol: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, number)| *number == protocol);
    known.map_or_else(|| protocol.to_string(), |(name, _)| (*name).to_owned())
}

/// A port, by name or number, or the first and last of several.
pub(crate) fn ports(word: &str) -> Option<(u32, u32)> {
    let port =
        |word: &str| named(PORTS, word).or_else(|| word.parse().ok()).map(u32::from).filter(|&port| port > 0);
    if let Some(one) = port(word) {
        return Some((one, one));
    }
    let (first, last) = word.split_once('-')?;
    Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last)
}

/// A flag of TCP, and whether it is to be set: `!` before it says that it is not.
pub(crate) fn flag(word: &str) -> Option<(u8, bool)> {
    match word.strip_prefix('!') {
        Some(clear) => named(FLAGS, clear).map(|flag| (flag, false)),
        None => named(FLAGS, word).map(|flag| (flag, true)),
    }
}

/// Flags of TCP that are set, with commas between their names.
pub fn flags(words: &str) -> Option<u8> {
    words.split(',').try_fold(0, |all, word| named(FLAGS, word.trim()).map(|flag| all | flag))
}

/// A code point of differentiated services, by name or number.
pub fn dscp(word: &str) -> Option<u8> {
    named(DSCPS, word).or_else(|| word.parse().ok().filter(|&dscp| dscp < 64))
}

/// The least and the most bytes of a packet: a number, or two with `-` between them.
pub(crate) fn length(word: &str) -> Option<(u16, u16)> {
    let (least, most) = word.split_once('-').unwrap_or((word, word));
    let (least, most) = (least.parse().ok()?, most.parse().ok()?);
    (0 < least && least <= most).then_some((least, most))
}

/// A type of ICMP messages, by name or number.
pub(crate) fn icmp_type(word: &str) -> Option<u32> {
    let number = word.parse().ok().filter(|number| TYPES.iter().any(|(_, known)| known == number));
    named(TYPES, word).or(number).map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_words() {
        let words = split("  allow tcp,udp from @a  port 1-2 # why, indeed").unwrap();
        assert_eq!(words, ["allow", "tcp", ",", "udp", "from", "@a", "port", "1-2"]);
        assert_eq!(split("set a=file \"b # c.txt\"#x").unwrap(), ["set", "a", "=", "file", "\"b # c.txt\""]);
        assert_eq!(split("# nothing").unwrap(), [""; 0]);
        assert!(split("set a file \"b").is_err());
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(
            (ports("ssh"), ports("20-ftp"), ports("65535")),
            (Some((22, 22)), Some((20, 21)), Some((65535, 65535)))
        );
        for wrong in ["0", "65536", "9-8", "-5", "5-", "ssh2", "1-2-3", ""] {
            assert_eq!(ports(wrong), None, "{wrong}");
        }
        assert_eq!(
            (protocol_number("ospf"), protocol_number("89"), protocol_number("256"), protocol_number("tpc")),
            (Some(89), Some(89), None, None)
        );
        assert_eq!((icmp_type("ping"), icmp_type("13"), icmp_type("3")), (Some(8), Some(13), None));
    }
}
