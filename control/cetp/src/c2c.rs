//! C2C, gateway to gateway: identity, lifetime, limits, locators and encapsulations. Pure; the engine keeps the state.

use crate::engine::Failure;
use crate::engine::api::{Encapsulation, EngineSettings, Family, LocatorAddress, Nanos, TunnelChoice};
use crate::keyed::Secrets;
use crate::message::{Cmp, Message, MessageWriter, Ope, Tlv};
use crate::negotiate::Negotiator;
use crate::policy::{Policy, Requirement, same_name, smaller};
use crate::pow;
use crate::seal::{EPOCH, Encryption, SealOffer};
use crate::tlv::Item;
use crate::value::Value;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Lifetime of C2C if neither side says one, in seconds: what the reference's sample policies ask at least.
const DEFAULT_TTL_S: u32 = 3_600;

/// A tunnel id has 24 bits (VXLAN's VNI, GENEVE's VNI).
pub(crate) const TUNNEL_ID_MAX: u32 = (1 << 24) - 1;

/// One of a peer's locators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    address: LocatorAddress,
    preference: u32,
    order: u32,
    alias: Arc<str>,
}

/// One of a peer's encapsulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Payload {
    encapsulation: Encapsulation,
    preference: u32,
    tunnel_id: u32,
}

/// What a peer told us.
#[derive(Clone, Debug)]
pub(crate) struct PeerTerms {
    /// Lifetime of C2C in seconds, the smaller of both.
    pub(crate) ttl_s: u32,
    /// Sessions at most, the smaller of both, if anybody said so.
    pub(crate) session_limit: Option<u32>,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) payloads: Vec<Payload>,
    /// How it would have tunnels encrypted.
    pub(crate) seal: Option<SealOffer>,
}

impl PeerTerms {
    /// The ids that the peer drew.
    pub(crate) fn tunnel_ids(&self) -> impl Iterator<Item = (Encapsulation, u32)> {
        self.payloads.iter().map(|payload| (payload.encapsulation, payload.tunnel_id))
    }

    /// Whether one of them is not what it was: then the peer has restarted and knows nothing of before.
    pub(crate) fn changes(&self, before: &[Option<u32>; 3]) -> bool {
        self.tunnel_ids()
            .any(|(encapsulation, id)| before[encapsulation as usize].is_some_and(|old| old != id))
    }
}

/// Our side of a C2C negotiation.
pub(crate) struct C2cSide<'e> {
    pub(crate) settings: &'e EngineSettings,
    pub(crate) secrets: &'e Secrets,
    /// Who the peer is: by the transport, or by its own word where there is no other.
    pub(crate) peer: &'e str,
    /// The transport's remote end.
    pub(crate) remote: SocketAddr,
    /// Ids that we drew for this peer, by encapsulation.
    pub(crate) tunnel_ids: [u32; 3],
    /// What we tell it of encryption; `None`: nothing.
    pub(crate) seal: Option<SealOffer>,
    pub(crate) now: Nanos,
}

const fn family(item: Item) -> Option<Family> {
    match item {
        Item::RlocIpv4 => Some(Family::Ipv4),
        Item::RlocIpv6 => Some(Family::Ipv6),
        Item::RlocEth => Some(Family::Eth),
        _ => None,
    }
}

const fn encapsulation(item: Item) -> Option<Encapsulation> {
    match item {
        Item::PayloadVxlan => Some(Encapsulation::Vxlan),
        Item::PayloadGre => Some(Encapsulation::Gre),
        Item::PayloadGeneve => Some(Encapsulation::Geneve),
        _ => None,
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Reads a locator: `[preference, order, address, alias]`.
fn parse_candidate(family: Family, value: &Value<'_>) -> Option<Candidate> {
    let Value::List(parts) = value else { return None };
    let [preference, order, address, alias] = parts.as_slice() else { return None };
    let text = address.as_str()?;
    let address = match family {
        Family::Ipv4 => text
            .parse::<Ipv4Addr>()
            .ok()
            .filter(|addr| usable_v4(*addr))
            .map(|addr| LocatorAddress::Ip(addr.into()))?,
        Family::Ipv6 => {
            text.parse::<Ipv6Addr>().ok().filter(usable_v6).map(|addr| LocatorAddress::Ip(addr.into()))?
        }
        Family::Eth => {
            parse_mac(text).filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6]).map(LocatorAddress::Mac)?
        }
    };
    let alias = alias.as_str().filter(|alias| alias.len() <= 255)?;
    Some(Candidate { address, preference: preference.as_u32()?, order: order.as_u32()?, alias: alias.into() })
}

/// A tunnel must not end at everybody or nobody.
fn usable_v4(addr: Ipv4Addr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast() && !addr.is_broadcast()
}

fn usable_v6(addr: &Ipv6Addr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast()
}

/// Reads an encapsulation: `[preference, tunnel id]`.
fn parse_payload(encapsulation: Encapsulation, value: &Value<'_>) -> Option<Payload> {
    let Value::List(parts) = value else { return None };
    let [preference, tunnel_id] = parts.as_slice() else { return None };
    let tunnel_id = tunnel_id.as_u32().filter(|id| *id <= TUNNEL_ID_MAX)?;
    Some(Payload { encapsulation, preference: preference.as_u32()?, tunnel_id })
}

impl C2cSide<'_> {
    fn own_locators(&self, family: Family) -> impl Iterator<Item = Value<'_>> {
        let ours = self.settings.locators.iter().filter(move |locator| locator.address.family() == family);
        ours.map(|locator| {
            Value::List(vec![
                Value::Number(locator.preference.into()),
                Value::Number(locator.order.into()),
                Value::Text(Cow::Owned(locator.address.to_string())),
                Value::Text(Cow::Borrowed(&*locator.alias)),
            ])
        })
    }

    fn own_payload(&self, encapsulation: Encapsulation) -> Option<Value<'static>> {
        let offer = self.settings.payloads.iter().find(|offer| offer.encapsulation == encapsulation)?;
        let id = self.tunnel_ids[encapsulation as usize];
        Some(Value::List(vec![Value::Number(offer.preference.into()), Value::Number(id.into())]))
    }

    fn has_candidate(&self, item: Item) -> bool {
        match (family(item), encapsulation(item)) {
            (Some(family), _) => self.own_locators(family).next().is_some(),
            (_, Some(encapsulation)) => self.own_payload(encapsulation).is_some(),
            _ => false,
        }
    }

    fn write_candidate(&self, item: Item, out: &mut MessageWriter) {
        if let Some(family) = family(item) {
            self.own_locators(family).for_each(|value| out.item(Ope::Info, Cmp::Mandatory, item, value));
        }
        if let Some(value) = encapsulation(item).and_then(|encapsulation| self.own_payload(encapsulation)) {
            out.item(Ope::Info, Cmp::Mandatory, item, value);
        }
    }

    /// Our offers, for the first message. What we do not have among locators and encapsulations is said at once: it
    /// saves the round trip in which the peer would ask for it.
    pub(crate) fn write_offers(&self, out: &mut MessageWriter) {
        out.text(Item::CesCesid, &self.settings.ces_id);
        for offer in self.policy().offer() {
            match offer.item {
                Item::CesCesid | Item::CesPow | Item::CesAck => {}
                item if item.is_candidate() && self.has_candidate(item) => self.write_candidate(item, out),
                item if item.is_candidate() => out.not_available(&crate::tlv::TlvName::Known(item)),
                _ => out.raw(&offer.info),
            }
        }
    }

    fn own_number(&self, item: Item) -> Option<u32> {
        let policy = self.policy();
        let told = policy.available().iter().chain(policy.offer()).find(|offer| offer.item == item);
        let told = told.and_then(|offer| offer.value.as_ref()).and_then(Value::as_u32);
        let asked = policy.request().iter().find(|requirement| requirement.item == item);
        smaller(told, asked.and_then(|requirement| requirement.accept.bound()))
    }

    /// What a message that satisfies us says.
    pub(crate) fn terms(&self, message: &Message<'_>) -> PeerTerms {
        let number = |item| {
            let value = message.info(item).and_then(|info| info.value.as_ref());
            smaller(value.and_then(Value::as_u32), self.own_number(item))
        };
        let mut terms = PeerTerms {
            ttl_s: number(Item::CesTtl).filter(|ttl| *ttl > 0).unwrap_or(DEFAULT_TTL_S),
            session_limit: number(Item::CesSessionLimit),
            candidates: Vec::new(),
            payloads: Vec::new(),
            seal: None,
        };
        // Who proves nothing is told no key, and believed none.
        let seal = message.info(Item::CesSealing).filter(|info| info.cmp != Cmp::NotAvailable);
        terms.seal = seal.and_then(|info| SealOffer::read(info.value.as_ref()?));
        for info in message.infos() {
            let (Some(item), Some(value)) = (info.item(), &info.value) else { continue };
            terms.candidates.extend(family(item).and_then(|family| parse_candidate(family, value)));
            terms.payloads.extend(encapsulation(item).and_then(|kind| parse_payload(kind, value)));
        }
        terms
    }

    fn own_terms(&self) -> (Vec<Candidate>, Vec<Payload>) {
        let candidates = self.settings.locators.iter().map(|locator| Candidate {
            address: locator.address,
            preference: locator.preference,
            order: locator.order,
            alias: locator.alias.clone(),
        });
        let payloads = self.settings.payloads.iter().map(|offer| Payload {
            encapsulation: offer.encapsulation,
            preference: offer.preference,
            tunnel_id: self.tunnel_ids[offer.encapsulation as usize],
        });
        (candidates.collect(), payloads.collect())
    }

    /// What we tell of encryption.
    pub(crate) fn write_seal(&self, out: &mut MessageWriter) {
        if let Some(seal) = &self.seal {
            out.item(Ope::Info, Cmp::Optional, Item::CesSealing, seal.to_value());
        }
    }

    /// Whether what is not encrypted may be agreed, if it is not.
    pub(crate) fn may_be_clear(&self, theirs: &PeerTerms) -> Result<(), Failure> {
        let is_sealed = self.seal.is_some() && theirs.seal.is_some();
        let is_required = self.settings.sealing.with(self.peer) == Encryption::Required;
        if is_required && !is_sealed { Err(Failure::Unencrypted) } else { Ok(()) }
    }

    /// The tunnels of sessions that we start, and of those that the peer starts.
    pub(crate) fn choose(&self, theirs: &PeerTerms) -> Option<(TunnelChoice, TunnelChoice)> {
        let (out, back) = self.choose_clear(theirs)?;
        let ids = self.seal.as_ref().zip(theirs.seal.as_ref());
        let Some(ids) = ids.map(|(ours, theirs)| (ours.spi & !EPOCH, theirs.spi & !EPOCH)) else {
            return Some((out, back));
        };
        let seal = |choice| TunnelChoice { id_in: ids.0, id_out: ids.1, sealed: true, ..choice };
        Some((seal(out), seal(back)))
    }

    /// The same if nothing is encrypted.
    fn choose_clear(&self, theirs: &PeerTerms) -> Option<(TunnelChoice, TunnelChoice)> {
        let (candidates, payloads) = self.own_terms();
        let ours = (candidates.as_slice(), payloads.as_slice());
        let theirs = (theirs.candidates.as_slice(), theirs.payloads.as_slice());
        let (local, remote, payload_in, payload_out) = choose(ours, theirs)?;
        let out = TunnelChoice {
            encapsulation: payload_in.encapsulation,
            local,
            remote,
            id_in: payload_in.tunnel_id,
            id_out: payload_out.tunnel_id,
            sealed: false,
        };
        let (remote, local, payload_out, payload_in) = choose(theirs, ours)?;
        let encapsulation = payload_in.encapsulation;
        let id_in = payload_in.tunnel_id;
        let id_out = payload_out.tunnel_id;
        Some((out, TunnelChoice { encapsulation, local, remote, id_in, id_out, sealed: false }))
    }
}

type Offers<'a> = (&'a [Candidate], &'a [Payload]);

/// The pair of locators and the encapsulation for a session: the initiator's preference decides, ties go by the
/// responder's, then by type. Both ends compute it from the same two lists, whoever of them started C2C.
fn choose(
    initiator: Offers<'_>,
    responder: Offers<'_>,
) -> Option<(LocatorAddress, LocatorAddress, Payload, Payload)> {
    let locators = initiator.0.iter().flat_map(|ours| responder.0.iter().map(move |theirs| (ours, theirs)));
    let (ours, theirs) = locators
        .filter(|(a, b)| a.address.family() == b.address.family() && a.alias == b.alias)
        .max_by_key(|(a, b)| {
            let wish = (a.preference, a.order, b.preference, b.order);
            (wish, std::cmp::Reverse((a.address, b.address)))
        })?;
    let payloads = initiator.1.iter().flat_map(|ours| responder.1.iter().map(move |theirs| (ours, theirs)));
    let (payload_ours, payload_theirs) = payloads
        .filter(|(a, b)| a.encapsulation == b.encapsulation)
        .max_by_key(|(a, b)| (a.preference, b.preference, std::cmp::Reverse(a.encapsulation)))?;
    Some((ours.address, theirs.address, *payload_ours, *payload_theirs))
}

impl Negotiator for C2cSide<'_> {
    fn policy(&self) -> &Policy {
        &self.settings.network_policy
    }

    fn check(&self, requirement: &Requirement, info: &Tlv<'_>) -> bool {
        let value = info.value.as_ref();
        match requirement.item {
            Item::CesCesid => {
                value.and_then(Value::as_str).is_some_and(|id| same_name(id, self.peer))
                    && requirement.accept.matches(requirement.item, value)
            }
            Item::CesPow => value.and_then(Value::as_str).is_some_and(|answer| {
                let bits =
                    requirement.accept.bound().map_or(self.settings.limits.pow_bits, |bits| bits as u8);
                let mut challenges = self
                    .secrets
                    .valid_texts(self.now)
                    .map(|text| pow::challenge(self.remote, self.peer, &text));
                challenges.any(|challenge| pow::verify(answer, &challenge, bits))
            }),
            item => match (family(item), encapsulation(item), value) {
                (Some(family), _, Some(value)) => parse_candidate(family, value).is_some(),
                (_, Some(kind), Some(value)) => parse_payload(kind, value).is_some(),
                _ => requirement.accept.matches(item, value),
            },
        }
    }

    fn can_answer(&self, query: &Tlv<'_>) -> bool {
        let Some(item) = query.item() else { return false };
        let Some(offer) = self.policy().find_available(item) else { return false };
        match item {
            Item::CesPow => query
                .value
                .as_ref()
                .and_then(Value::as_str)
                .and_then(pow::parse_query)
                .is_some_and(|(_, bits)| bits <= self.settings.limits.pow_max_bits),
            Item::CesAck => query.value.as_ref().and_then(Value::as_u32).is_some(),
            Item::CesCesid => true,
            item if item.is_candidate() => self.has_candidate(item),
            _ => offer.value.is_some(),
        }
    }

    fn write_answer(&self, query: &Tlv<'_>, out: &mut MessageWriter) {
        let Some(item) = query.item() else { return };
        match item {
            Item::CesCesid => out.text(item, &self.settings.ces_id),
            Item::CesPow => {
                if let Some((challenge, bits)) =
                    query.value.as_ref().and_then(Value::as_str).and_then(pow::parse_query)
                {
                    out.text(item, &pow::solve(challenge, bits));
                }
            }
            Item::CesAck => {
                if let Some(number) = query.value.as_ref().and_then(Value::as_u32) {
                    out.item(Ope::Info, Cmp::Mandatory, item, Value::Number(number.into()));
                }
            }
            item if item.is_candidate() => self.write_candidate(item, out),
            item => {
                if let Some(offer) = self.policy().find_available(item) {
                    out.raw(if query.cmp == Cmp::Optional { &offer.info_optional } else { &offer.info });
                }
            }
        }
    }

    fn write_query(&self, requirement: &Requirement, out: &mut MessageWriter) {
        if requirement.item == Item::CesPow {
            let bits = requirement.accept.bound().map_or(self.settings.limits.pow_bits, |bits| bits as u8);
            let challenge = pow::challenge(self.remote, self.peer, &self.secrets.current_text());
            let cmp = if requirement.optional { Cmp::Optional } else { Cmp::Mandatory };
            let value = Value::Text(Cow::Owned(pow::query(&challenge, bits)));
            out.item(Ope::Query, cmp, Item::CesPow, value);
        } else {
            out.raw(&requirement.query);
        }
    }
}

/// Whether an address can be a locator of ours at all.
pub(crate) fn usable_locator(address: LocatorAddress) -> bool {
    match address {
        LocatorAddress::Ip(IpAddr::V4(addr)) => usable_v4(addr),
        LocatorAddress::Ip(IpAddr::V6(addr)) => usable_v6(&addr),
        LocatorAddress::Mac(mac) => mac[0] & 1 == 0 && mac != [0; 6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(address: &str, preference: u32, order: u32, alias: &str) -> Candidate {
        let address = LocatorAddress::Ip(address.parse().unwrap());
        Candidate { address, preference, order, alias: alias.into() }
    }

    fn payload(encapsulation: Encapsulation, preference: u32, tunnel_id: u32) -> Payload {
        Payload { encapsulation, preference, tunnel_id }
    }

    #[test]
    fn the_initiator_s_preference_decides() {
        use Encapsulation::{Geneve, Gre, Vxlan};
        let a = ([locator("192.0.2.1", 100, 80, "wan")], [payload(Vxlan, 10, 1), payload(Geneve, 90, 2)]);
        let b = ([locator("192.0.2.9", 100, 80, "wan")], [payload(Vxlan, 90, 3), payload(Geneve, 10, 4)]);
        let chosen = choose((&a.0, &a.1), (&b.0, &b.1)).unwrap();
        assert_eq!((chosen.2.encapsulation, chosen.2.tunnel_id, chosen.3.tunnel_id), (Geneve, 2, 4));
        assert_eq!(choose((&b.0, &b.1), (&a.0, &a.1)).unwrap().2.encapsulation, Vxlan);
        let equal = [payload(Gre, 5, 1), payload(Vxlan, 5, 1), payload(Geneve, 5, 1)];
        assert_eq!(choose((&a.0, &equal), (&b.0, &equal)).unwrap().2.encapsulation, Vxlan, "then by type");
        let wish = [payload(Gre, 6, 1), payload(Vxlan, 5, 1)];
        assert_eq!(
            choose((&a.0, &equal), (&b.0, &wish)).unwrap().2.encapsulation,
            Gre,
            "ties by the responder's"
        );
    }

    #[test]
    fn locators_meet_only_on_the_same_network_and_family() {
        let kinds = [payload(Encapsulation::Vxlan, 1, 1)];
        let a = [locator("192.0.2.1", 100, 1, "wan0"), locator("198.51.100.1", 50, 1, "ixp")];
        let b = [locator("192.0.2.9", 100, 1, "wan1"), locator("198.51.100.9", 1, 1, "ixp")];
        let (ours, theirs, ..) = choose((&a, &kinds), (&b, &kinds)).unwrap();
        assert_eq!((ours.to_string(), theirs.to_string()), ("198.51.100.1".into(), "198.51.100.9".into()));
        assert!(choose((&a[..1], &kinds), (&b, &kinds)).is_none());
        let v6 = [locator("2001:db8::1", 1, 1, "wan0")];
        assert!(choose((&a, &kinds), (&v6, &kinds)).is_none());
        assert!(choose((&a, &kinds), (&b, &[])).is_none());
    }

    #[test]
    fn candidates_are_read_or_refused() {
        let candidate =
            |family, json: &str| parse_candidate(family, &serde_json::from_str(json).unwrap()).is_some();
        assert!(candidate(Family::Ipv4, r#"[100,80,"127.0.1.130","wan0"]"#));
        assert!(candidate(Family::Ipv4, r#"["100","80","127.0.1.130",""]"#));
        assert!(candidate(Family::Ipv6, r#"[1,1,"2001:db8::1","x"]"#));
        assert!(candidate(Family::Eth, r#"[1,1,"02:00:00:00:00:01","x"]"#));
        for bad in [
            r#"[100,80,"127.0.1.130"]"#,
            r#"[100,80,"0.0.0.0","x"]"#,
            r#"[100,80,"224.0.0.1","x"]"#,
            r#"[100,80,"255.255.255.255","x"]"#,
            r#"[-1,80,"192.0.2.1","x"]"#,
            r#"[100,4294967296,"192.0.2.1","x"]"#,
            r#"[100,80,"host","x"]"#,
            r#"[100,80,"192.0.2.1",7]"#,
            r#""192.0.2.1""#,
            "{}",
        ] {
            assert!(!candidate(Family::Ipv4, bad), "{bad}");
        }
        assert!(!candidate(Family::Eth, r#"[1,1,"ff:ff:ff:ff:ff:ff","x"]"#));
        assert!(!candidate(Family::Eth, r#"[1,1,"02:00:00:00:00","x"]"#));
        let kind =
            |json: &str| parse_payload(Encapsulation::Gre, &serde_json::from_str(json).unwrap()).is_some();
        assert!(kind("[80,16777215]") && kind(r#"["80","1"]"#));
        assert!(!kind("[80,16777216]") && !kind("[80]") && !kind("[80,-1]") && !kind("80"));
    }
}
