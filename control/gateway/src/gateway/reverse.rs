//! Names that are answered here whoever asks: those of addresses of this side, and the zones that every resolver serves
//! for itself.

use super::Gateway;
use crate::Nanos;
use crate::hosts::HostId;
use crate::output::QueryToken;
use ces_dns::answer::{Answer, Voice};
use ces_dns::message::Query;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::{Name, RData, Record, RecordType, reverse, special};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

impl Gateway {
    /// Proxy addresses, hosts and the gateway itself have names here; false if the question is about no such address.
    pub(crate) fn reverse(
        &mut self,
        id: Option<HostId>,
        query: &Query,
        token: QueryToken,
        now: Nanos,
    ) -> bool {
        let Some(IpAddr::V4(address)) = reverse::address(&query.name) else { return false };
        let wants_name = matches!(query.qtype, RecordType::PTR | RecordType::ANY);
        let Some(apex) = self.reverse_zone(&query.name, address) else {
            // An address of ours in the Internet: the name is ours to tell, the rest is its provider's.
            let is_ours = wants_name && self.platform.addresses.contains(&address.into());
            return is_ours && self.answer_reverse(None, self.name_behind(id, address, now), query, token);
        };
        self.answer_reverse(Some(&apex), self.name_behind(id, address, now), query, token)
    }

    fn answer_reverse(
        &mut self,
        apex: Option<&Name>,
        name: Option<(Arc<str>, u32)>,
        query: &Query,
        token: QueryToken,
    ) -> bool {
        let voice = Voice::LocalAuthority;
        // RFC 2308 §3: a negative answer of an authority carries the SOA.
        let soa = apex.map(|apex| special::soa(apex, self.core.settings().dns.negative_ttl_s));
        let target = name.and_then(|(name, ttl)| Some((ces_dns::name(&name)?, ttl)));
        let (answer, outcome) = match target {
            None => (Answer::nx_domain(voice, soa), QueryOutcome::NxDomain),
            Some((target, ttl)) if matches!(query.qtype, RecordType::PTR | RecordType::ANY) => {
                let record = Record::from_rdata(query.name.clone(), ttl, RData::PTR(ces_dns::ptr(target)));
                (Answer::records(voice, vec![record]), QueryOutcome::Reverse)
            }
            Some(_) => (Answer::no_data(voice, soa), QueryOutcome::NoData),
        };
        self.answer(QuerySide::Inside, token, answer.emit(query), outcome);
        true
    }

    /// Whether a question is about the name of one of the gateway's own addresses.
    pub(crate) fn is_about_us(&self, query: &Query) -> bool {
        matches!(reverse::address(&query.name), Some(IpAddr::V4(address)) if self.platform.addresses.contains(&address.into()))
    }

    /// What stands behind an address, as that host sees it, and for how long that may be remembered.
    fn name_behind(&self, id: Option<HostId>, address: Ipv4Addr, now: Nanos) -> Option<(Arc<str>, u32)> {
        let dns = &self.core.settings().dns;
        if self.core.settings().realm.proxy_pool.contains(&address) {
            let session = self.core.behind(id?, address.into())?;
            return Some((Arc::clone(session.remote()), session.answer_ttl(dns.connected_ttl_s, now)));
        }
        let is_ours = self.core.hosts().at(address.into()).is_none()
            && self.platform.addresses.contains(&address.into());
        let name = if is_ours { dns.name_server.shared() } else { self.pointer(address)? };
        Some((name, dns.connected_ttl_s))
    }

    /// Whether a zone of names of the realm's addresses begins there.
    pub(super) fn is_reverse_zone(&self, zone: &Name) -> bool {
        let named = reverse::network(zone).and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
        let Some(named) = named else { return false };
        let mut within = self.core.settings().realm.networks.iter().filter_map(|own| {
            let narrower = if named.contains(&own.network()) { own } else { &named };
            own.contains(&narrower.network()).then(|| narrower.network())
        });
        within
            .any(|address| self.reverse_zone(&reverse::name(address.into()), address).as_ref() == Some(zone))
    }

    /// The zone of an address's name, if we answer for it: one of those that are served here anyway, or that of the
    /// network of ours that the address lies in, by whole octets.
    fn reverse_zone(&self, name: &Name, address: Ipv4Addr) -> Option<Name> {
        let network = self.own_networks().find(|network| network.contains(&address))?;
        let octets = (network.prefix_len() / 8).clamp(1, 3);
        let is_alone = network.prefix_len() == 32;
        special::zone_of(name)
            .or_else(|| (!is_alone).then(|| name.trim_to(2 + usize::from(octets)).to_lowercase()))
    }

    /// Networks whose addresses have names here.
    fn own_networks(&self) -> impl Iterator<Item = Ipv4Net> {
        let realm = &self.core.settings().realm;
        let alone = self.platform.addresses.iter().map(|&address| Ipv4Net::from(address.v4()));
        realm.networks.iter().copied().chain([realm.proxy_pool]).chain(alone)
    }

    /// RFC 6303 §3, RFC 6761: names that mean nothing outside of the realm are answered here; false if it is none.
    pub(crate) fn served_here(&mut self, query: &Query, token: QueryToken) -> bool {
        let Some(apex) = special::zone_of(&query.name) else { return false };
        let dns = &self.core.settings().dns;
        let is_within = |zone: &crate::names::Name| {
            ces_dns::name(zone.as_str()).is_some_and(|zone| zone.zone_of(&query.name))
        };
        if dns.forward_zones.iter().any(is_within) || special::is_for_parent(query, &apex) {
            return false;
        }
        let below = reverse::network(&query.name)
            .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
            .is_some_and(|named| {
                self.own_networks()
                    .any(|own| own.contains(&named.network()) || named.contains(&own.network()))
            });
        let (answer, outcome) = special::answer(query, &apex, below, dns.negative_ttl_s);
        self.answer(QuerySide::Inside, token, answer.emit(query), outcome);
        true
    }
}
