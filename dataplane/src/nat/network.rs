//! Networks as a person writes them, or single addresses.

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, de::Error};
use std::net::Ipv4Addr;

/// An address, or a network.
///
/// # Errors
/// What is neither.
pub fn network<'de, D: Deserializer<'de>>(from: D) -> Result<Ipv4Net, D::Error> {
    parse(&String::deserialize(from)?)
}

/// Several of them.
///
/// # Errors
/// One that is neither.
pub fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Ipv4Net>, D::Error> {
    Vec::<String>::deserialize(from)?.iter().map(|text| parse(text)).collect()
}

fn parse<E: Error>(text: &str) -> Result<Ipv4Net, E> {
    let address = text.parse::<Ipv4Addr>().map(Ipv4Net::from);
    address.or_else(|_| text.parse()).map_err(|_| {
        E::custom(format!("\"{text}\": expected an address, or a network such as 192.0.2.16/28"))
    })
}
