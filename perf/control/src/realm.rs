//! Many hosts behind one interface: their addresses and names, and the gateways' configurations that know them.
//!
//! The lab's own configurations stay what they are; what is changed is what a realm of this size needs, and every limit
//! that would be measured instead of the gateway.

use std::fmt::Write;
use std::net::Ipv4Addr;
use toml::{Table, Value};

/// The realm's network, both realms' alike. The lab's own is a part of it.
pub const NETWORK: &str = "192.168.0.0/16";
/// The gateway's address inside, with the length of that network.
pub const GATEWAY_NET: &str = "192.168.10.1/16";
/// The gateway's address inside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
/// Most hosts: 192.168.16.0 and on hold many more, but each takes a socket.
pub const HOSTS_MAX: u32 = 10_000;
/// The file of the hosts that are added.
pub const HOSTS_FILE: &str = "many.toml";
/// Sessions at a time: a run makes some 100,000, a fast machine more. 2¹⁹ bindings take 32 MiB of the worker's slab.
const SESSIONS: i64 = 1 << 19;

/// Which realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Realm {
    /// Its hosts ask.
    A,
    /// Its hosts are asked for.
    B,
}

/// What the responder's policy wants of whoever asks for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Nothing: one round trip.
    Open,
    /// An acknowledgement first: two round trips.
    Checked,
}

/// The address of a host, the same in both realms.
pub fn address(host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc0a8_1000 + host) // 192.168.16.0 and on
}

/// A name in realm B that stands for host number `host`.
pub fn name(kind: Kind, host: u32) -> String {
    match kind {
        Kind::Open => format!("h{host}.b.demo"),
        Kind::Checked => format!("k{host}.b.demo"),
    }
}

/// The hosts and policies of a realm, in the registry's form.
pub fn hosts(realm: Realm, hosts: u32) -> String {
    let mut text = String::from(concat!(
        "[[policy]]\nname = \"open\"\noutbound.to = \"*\"\ninbound.from = \"*\"\n",
        "[[policy]]\nname = \"checked\"\ninbound = { from = \"*\", request = [\"control.ack\"] }\n",
    ));
    for host in 0..hosts {
        let address = address(host);
        let (own, services) = match realm {
            Realm::A => (format!("h{host}.a.demo"), String::new()),
            Realm::B => {
                let checked = name(Kind::Checked, host);
                let services = format!("services = [{{ name = \"{checked}\", policy = \"checked\" }}]\n");
                (name(Kind::Open, host), services)
            }
        };
        let _ = write!(
            text,
            "[[host]]\nname = \"{own}\"\naddress = \"{address}\"\npolicy = \"open\"\n{services}"
        );
    }
    text
}

/// A gateway's configuration for so many hosts, from the lab's own.
pub fn configuration(lab: &str) -> Result<String, String> {
    let mut all: Table = lab.parse().map_err(|error| format!("the lab's configuration: {error}"))?;
    let inside = all
        .get_mut("port")
        .and_then(Value::as_array_mut)
        .and_then(|ports| {
            ports.iter_mut().find(|port| port.get("name").and_then(Value::as_str) == Some("inside"))
        })
        .and_then(Value::as_table_mut)
        .ok_or("the lab's configuration has no port \"inside\"")?;
    inside.insert("addresses".into(), Value::from(vec![GATEWAY_NET]));

    let realm = section(&mut all, "realm")?;
    realm.insert("networks".into(), Value::from(vec![NETWORK]));
    realm.insert("host_bindings".into(), Value::from(16_384));
    section(&mut all, "registry")?.insert("files".into(), Value::from(vec!["hosts.toml", HOSTS_FILE]));
    let dns = section(&mut all, "dns")?;
    // 0 = no limit.
    for limit in ["negotiation_rate", "host_rate", "outside_rate"] {
        dns.insert(limit.into(), Value::from(0));
    }
    // The NAPTR records that a phase has resolved stay known to the next.
    dns.insert("published_ttl_s".into(), Value::from(3600));
    let limits = section(section(&mut all, "cetp")?, "limits")?;
    for limit in ["sessions", "sessions_per_peer", "sessions_per_peer_max"] {
        limits.insert(limit.into(), Value::from(SESSIONS));
    }
    limits.insert("messages_per_s".into(), Value::from(100_000_000));
    section(&mut all, "capacity")?.insert("bindings".into(), Value::from(SESSIONS));
    // Each new host is asked for its MAC address once; the answers to the resolver's questions come as UDP.
    let punt = section(&mut all, "punt")?;
    punt.insert("arp".into(), Value::from(100_000));
    punt.insert("udp".into(), Value::from(1_000_000));
    punt.insert("dns".into(), Value::from(1_000_000));
    toml::to_string(&all).map_err(|error| format!("the lab's configuration: {error}"))
}

fn section<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut Table, String> {
    let entry = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    entry.as_table_mut().ok_or_else(|| format!("the lab's configuration: {name} is no section"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = include_str!("../../../tests/lab/a/cesd.toml");

    #[test]
    fn the_configuration_keeps_what_the_lab_says_and_lifts_the_limits() {
        let made: Table = configuration(LAB).unwrap().parse().unwrap();
        assert_eq!(made["realm"]["ces_id"].as_str(), Some("gwa.demo."));
        assert_eq!(made["port"][0]["addresses"][0].as_str(), Some(GATEWAY_NET));
        assert_eq!(made["port"][1]["addresses"][0].as_str(), Some("192.0.2.2/30"));
        assert_eq!(made["dns"]["host_rate"].as_integer(), Some(0));
        assert_eq!(made["cetp"]["limits"]["sessions"].as_integer(), Some(SESSIONS));
        assert_eq!(made["cetp"]["endpoints"][0]["port"].as_integer(), Some(48_001));
    }

    #[test]
    fn a_configuration_without_an_inside_port_is_refused() {
        assert!(configuration("[[port]]\nname = \"outside\"\n").unwrap_err().contains("inside"));
        assert!(configuration("[[port").unwrap_err().contains("configuration"));
    }

    #[test]
    fn every_host_has_an_address_of_its_own_within_the_network() {
        let addresses: std::collections::HashSet<_> = (0..HOSTS_MAX).map(address).collect();
        assert_eq!(addresses.len(), HOSTS_MAX as usize);
        assert!(addresses.iter().all(|address| address.octets()[..2] == [192, 168] && *address != GATEWAY));
        let text: Table = hosts(Realm::B, 3).parse().unwrap();
        assert_eq!(text["host"].as_array().unwrap().len(), 3);
        assert_eq!(text["host"][2]["services"][0]["name"].as_str(), Some("k2.b.demo"));
    }
}
