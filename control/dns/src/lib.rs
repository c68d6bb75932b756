//! DNS for the gateway: what hosts ask, what the world asks, and what the gateway itself asks upstream.
//!
//! No I/O and no clock. Time comes as [`Nanos`], randomness as a seed, bytes as slices. Every query ends in exactly
//! one [`outcome::QueryOutcome`], every upstream resolution in exactly one [`resolver::Resolution`].
//!
//! * [`message`] parses queries, [`answer`] writes responses (hickory-proto's types; the address answer is by hand).
//! * [`packet`] keeps an upstream response as the bytes it came in, so that forwarding preserves every record, known
//!   type or not: only id, flags, the case of the question, TTLs and EDNS are the client's own.
//! * [`naptr`] reads and writes CES records, [`zone`] answers for the gateway's own zones, [`reverse`] names addresses.
//! * [`special`] is what is never asked upstream, [`guard`] what must not come from there.
//! * [`update`] reads changes of our zones (RFC 2136), [`tsig`] is who sends them, and who asks.
//! * [`resolver`] asks upstream through [`cache`], a [`question`] at a time, which ends as a [`resolution`]; what is under way
//!   is in `flights.rs`, whom it asks in `servers.rs`; [`limit`] holds the rates.

#![forbid(unsafe_code)]

#[macro_use]
mod label;

mod flight;
mod flights;
mod query;
mod servers;
mod wire;

pub mod answer;
pub mod cache;
pub mod client_subnet;
pub mod cookie;
pub mod guard;
pub mod limit;
pub mod message;
pub mod naptr;
pub mod outcome;
pub mod packet;
pub mod question;
pub mod resolution;
pub mod resolver;
pub mod reverse;
pub mod special;
pub mod tsig;
pub mod update;
pub mod zone;

pub use hickory_proto::op::ResponseCode;
pub use hickory_proto::rr::rdata::{NAPTR, NULL, PTR};
pub use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Nanoseconds since an arbitrary start.
pub type Nanos = u64;

/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// A fully qualified name from text, with or without the final dot. `None` if it is no domain name.
pub fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The text of a name as the registry and CETP write it: lower case, with the final dot.
pub fn fqdn(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// The data of a PTR record: what [`RData::PTR`] holds.
pub fn ptr(target: Name) -> PTR {
    PTR(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_with_a_final_dot() {
        assert_eq!(fqdn(&name("WWW.b.Demo").unwrap()), "www.b.demo.");
        assert_eq!(name("www.b.demo."), name("WWW.b.demo"));
        assert_eq!(fqdn(&Name::root()), ".");
        assert!(name(&"a".repeat(64)).is_none());
    }
}
