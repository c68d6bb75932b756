//! Messages of IPFIX (RFC 7011) that tell events of a NAT (RFC 8158).

use super::outlet::Timed;
use ces_dataplane::msg::{Record, Recorded};
use ces_dataplane::reason::DropReason;

/// The version (RFC 7011 §3.1).
const VERSION: u16 = 10;
/// The set of templates (RFC 7011 §3.3.2).
const TEMPLATES: u16 = 2;
/// A message is not to be fragmented on its way (RFC 7011 §10.3.3).
const MESSAGE_MOST: usize = 1400;

/// An information element of IANA's registry of IPFIX, and its octets.
type Element = (u16, u16);
const PROTOCOL: Element = (4, 1);
const SOURCE_PORT: Element = (7, 2);
const SOURCE: Element = (8, 4);
const DESTINATION_PORT: Element = (11, 2);
const DESTINATION: Element = (12, 4);
const POST_NAT_SOURCE: Element = (225, 4);
const POST_NAT_DESTINATION: Element = (226, 4);
const POST_NAPT_SOURCE_PORT: Element = (227, 2);
const POST_NAPT_DESTINATION_PORT: Element = (228, 2);
const NAT_EVENT: Element = (230, 1);
const NAT_POOL: Element = (283, 4);
const TIME_MS: Element = (323, 8);
const RANGE_START: Element = (361, 2);
const RANGE_END: Element = (362, 2);
const QUOTA_EVENT: Element = (466, 4);
const MAX_SESSIONS: Element = (471, 4);
const MAX_OF_USER: Element = (473, 4);

/// A template: its number, and what its records hold.
type Template = (u16, &'static [Element]);

/// RFC 8158 §5.6.1: a session is created or deleted.
const SESSION: Template = (
    256,
    &[
        TIME_MS,
        NAT_EVENT,
        SOURCE,
        POST_NAT_SOURCE,
        PROTOCOL,
        SOURCE_PORT,
        POST_NAPT_SOURCE_PORT,
        DESTINATION,
        POST_NAT_DESTINATION,
        DESTINATION_PORT,
        POST_NAPT_DESTINATION_PORT,
    ],
);
/// RFC 8158 §5.6.2: an entry of the binding information base is created or deleted.
const BINDING: Template =
    (257, &[TIME_MS, NAT_EVENT, SOURCE, POST_NAT_SOURCE, PROTOCOL, SOURCE_PORT, POST_NAPT_SOURCE_PORT]);
/// RFC 8158 §5.6.3: there are no addresses.
const NO_ADDRESS: Template = (258, &[TIME_MS, NAT_EVENT, NAT_POOL]);
/// RFC 8158 §5.6.4: there are no ports.
const NO_PORT: Template = (259, &[TIME_MS, NAT_EVENT, POST_NAT_SOURCE, PROTOCOL]);
/// RFC 8158 §5.6.5.1: all sessions are taken.
const NO_SESSION: Template = (260, &[TIME_MS, NAT_EVENT, QUOTA_EVENT, MAX_SESSIONS]);
/// RFC 8158 §5.6.5.3: a host has as many as one may have.
const HOST_LIMIT: Template = (261, &[TIME_MS, NAT_EVENT, QUOTA_EVENT, MAX_OF_USER, SOURCE]);
/// RFC 8158 §5.6.8: a host is given a block of ports, or loses it.
const BLOCK: Template = (262, &[TIME_MS, NAT_EVENT, SOURCE, POST_NAT_SOURCE, RANGE_START, RANGE_END]);
const ALL: [Template; 7] = [SESSION, BINDING, NO_ADDRESS, NO_PORT, NO_SESSION, HOST_LIMIT, BLOCK];

/// What happened (`natEvent`, RFC 8158 §5.3).
mod event {
    pub(super) const ADDRESSES_EXHAUSTED: u8 = 3;
    pub(super) const SESSION_CREATE: u8 = 4;
    pub(super) const SESSION_DELETE: u8 = 5;
    pub(super) const BINDING_CREATE: u8 = 8;
    pub(super) const BINDING_DELETE: u8 = 9;
    pub(super) const PORTS_EXHAUSTED: u8 = 12;
    pub(super) const QUOTA_EXCEEDED: u8 = 13;
    pub(super) const BLOCK_GIVEN: u8 = 16;
    pub(super) const BLOCK_TAKEN_BACK: u8 = 17;
}
/// Which quota (`natQuotaExceededEvent`, RFC 8158 §5.4).
const OF_SESSIONS: u32 = 1;
const OF_USER: u32 = 3;

/// The quotas that are told when they are exceeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: u32,
    pub(super) host_sessions: u32,
}

/// Messages to one collector.
#[derive(Debug)]
pub(super) struct Exporter {
    limits: Limits,
    /// Records that were told: modulo 2³² the sequence number of the next message (RFC 7011 §3.1).
    told: u32,
}

impl Exporter {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, told: 0 }
    }

    /// Begins anew, towards another connection (RFC 7011 §10.4.4).
    pub(super) fn restart(&mut self) {
        self.told = 0;
    }

    /// Has the next message say that these were not sent.
    pub(super) fn unsent(&mut self, records: u32) {
        self.told = self.told.wrapping_sub(records);
    }

    /// A message with the templates.
    pub(super) fn templates(&self, now_s: u32, message: &mut Vec<u8>) {
        self.begin(now_s, message);
        let set = message.len();
        put16(message, TEMPLATES);
        put16(message, 0);
        for (number, elements) in ALL {
            put16(message, number);
            put16(message, elements.len() as u16);
            for (element, octets) in elements {
                put16(message, *element);
                put16(message, *octets);
            }
        }
        end_set(message, set);
        end(message);
    }

    /// A message with as many of the records as fit; how many.
    pub(super) fn records(&mut self, records: &[Timed], now_s: u32, message: &mut Vec<u8>) -> usize {
        self.begin(now_s, message);
        let (mut open, mut told) = (None, 0);
        for (at_ms, record) in records {
            let template = template(record);
            let octets: usize = template.1.iter().map(|(_, octets)| usize::from(*octets)).sum();
            if message.len() + 4 + octets > MESSAGE_MOST {
                break;
            }
            open = match open {
                Some((number, set)) if number == template.0 => Some((number, set)),
                other => {
                    if let Some((_, set)) = other {
                        end_set(message, set);
                    }
                    let set = message.len();
                    put16(message, template.0);
                    put16(message, 0);
                    Some((template.0, set))
                }
            };
            self.record(template, *at_ms, record, message);
            told += 1;
        }
        if let Some((_, set)) = open {
            end_set(message, set);
        }
        end(message);
        self.told = self.told.wrapping_add(told as u32);
        told
    }

    fn begin(&self, now_s: u32, message: &mut Vec<u8>) {
        message.clear();
        message.reserve(MESSAGE_MOST);
        put16(message, VERSION);
        put16(message, 0);
        put32(message, now_s);
        put32(message, self.told);
        // The observation domain: there is one.
        put32(message, 1);
    }

    fn record(&self, (_, elements): Template, at_ms: u64, record: &Record, message: &mut Vec<u8>) {
        let remote = record.remote.unwrap_or(([0; 4].into(), 0));
        for element in elements {
            match *element {
                TIME_MS => message.extend(at_ms.to_be_bytes()),
                NAT_EVENT => message.push(happened(record)),
                SOURCE => message.extend(record.host.0.octets()),
                SOURCE_PORT => put16(message, record.host.1),
                POST_NAT_SOURCE => message.extend(record.external.0.octets()),
                POST_NAPT_SOURCE_PORT | RANGE_START => put16(message, record.external.1),
                RANGE_END => put16(message, record.last.unwrap_or(record.external.1)),
                PROTOCOL => message.push(record.protocol),
                // Where it goes is not changed.
                DESTINATION | POST_NAT_DESTINATION => message.extend(remote.0.octets()),
                DESTINATION_PORT | POST_NAPT_DESTINATION_PORT => put16(message, remote.1),
                QUOTA_EVENT => {
                    let is_of_host = record.what == Recorded::Refused(DropReason::NatHostLimit);
                    put32(message, if is_of_host { OF_USER } else { OF_SESSIONS });
                }
                MAX_SESSIONS => put32(message, self.limits.sessions),
                MAX_OF_USER => put32(message, self.limits.host_sessions),
                // There is one pool.
                (_, octets) => message.extend(std::iter::repeat_n(0, usize::from(octets))),
            }
        }
    }
}

/// The form of a record.
const fn template(record: &Record) -> Template {
    match record.what {
        Recorded::Created | Recorded::Ended if record.last.is_some() => BLOCK,
        Recorded::Created | Recorded::Ended if record.remote.is_some() => SESSION,
        Recorded::Created | Recorded::Ended => BINDING,
        Recorded::Refused(DropReason::NatNoAddress) => NO_ADDRESS,
        Recorded::Refused(DropReason::NatPortsFull) => NO_PORT,
        Recorded::Refused(DropReason::NatHostLimit | DropReason::NatShare) => HOST_LIMIT,
        Recorded::Refused(_) => NO_SESSION,
    }
}

const fn happened(record: &Record) -> u8 {
    match (record.what, record.remote.is_some()) {
        (Recorded::Created, _) if record.last.is_some() => event::BLOCK_GIVEN,
        (Recorded::Ended, _) if record.last.is_some() => event::BLOCK_TAKEN_BACK,
        (Recorded::Created, true) => event::SESSION_CREATE,
        (Recorded::Ended, true) => event::SESSION_DELETE,
        (Recorded::Created, false) => event::BINDING_CREATE,
        (Recorded::Ended, false) => event::BINDING_DELETE,
        (Recorded::Refused(DropReason::NatNoAddress), _) => event::ADDRESSES_EXHAUSTED,
        (Recorded::Refused(DropReason::NatPortsFull), _) => event::PORTS_EXHAUSTED,
        (Recorded::Refused(_), _) => event::QUOTA_EXCEEDED,
    }
}

fn put16(message: &mut Vec<u8>, value: u16) {
    message.extend(value.to_be_bytes());
}

fn put32(message: &mut Vec<u8>, value: u32) {
    message.extend(value.to_be_bytes());
}

/// Writes the length of a set that ends here.
fn end_set(message: &mut [u8], set: usize) {
    let length = (message.len() - set) as u16;
    message[set + 2..set + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes the length of the message.
fn end(message: &mut [u8]) {
    let length = message.len() as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// Octets of a message's header.
    const HEADER: usize = 16;

    fn record(what: Recorded, remote: bool) -> Record {
        Record {
            what,
            protocol: 6,
            host: (Ipv4Addr::new(10, 0, 0, 7), 5000),
            external: (Ipv4Addr::new(203, 0, 113, 7), 40_123),
            remote: remote.then_some((Ipv4Addr::new(8, 8, 8, 8), 443)),
            last: None,
        }
    }

    #[test]
    fn rfc7011_s3_a_message_is_as_its_figures_say() {
        let mut exporter = Exporter::new(Limits { sessions: 1000, host_sessions: 100 });
        let mut message = Vec::new();
        let records = [(0x0102_0304_0506, record(Recorded::Created, true))];
        assert_eq!(exporter.records(&records, 77, &mut message), 1);
        #[rustfmt::skip]
        let expected = [
            0, 10, 0, 54, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 1,
            1, 0, 0, 38, 0, 0, 1, 2, 3, 4, 5, 6, 4, 10, 0, 0, 7, 203, 0, 113, 7, 6, 0x13, 0x88, 0x9c, 0xbb,
            8, 8, 8, 8, 8, 8, 8, 8, 1, 0xbb, 1, 0xbb,
        ];
        assert_eq!(message, expected);
        exporter.records(&records, 77, &mut message);
        assert_eq!(message[8..12], [0, 0, 0, 1], "one record was told before");
        exporter.templates(77, &mut message);
        assert_eq!(message[8..12], [0, 0, 0, 2], "templates are no records");
        assert_eq!(message[HEADER..HEADER + 2], [0, 2]);
    }

    #[test]
    fn what_does_not_fit_is_left_for_the_next_message() {
        let mut exporter = Exporter::new(Limits { sessions: 1000, host_sessions: 100 });
        let all = [
            record(Recorded::Created, true),
            record(Recorded::Ended, false),
            Record { last: Some(40_511), ..record(Recorded::Created, false) },
            record(Recorded::Refused(DropReason::NatHostLimit), false),
            record(Recorded::Refused(DropReason::NatPortsFull), false),
            record(Recorded::Refused(DropReason::NatNoAddress), false),
            record(Recorded::Refused(DropReason::NatFull), false),
        ];
        let records: Vec<Timed> = all.iter().cycle().take(300).map(|record| (1, *record)).collect();
        let (mut message, mut rest, mut messages) = (Vec::new(), &records[..], 0);
        while !rest.is_empty() {
            let told = exporter.records(rest, 0, &mut message);
            assert!(told > 0 && message.len() <= MESSAGE_MOST);
            // Its sets fill it.
            let mut at = HEADER;
            while at < message.len() {
                at += usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
            }
            assert_eq!(at, message.len());
            (rest, messages) = (&rest[told..], messages + 1);
        }
        assert_eq!((exporter.told, messages > 5), (300, true));
    }
}
