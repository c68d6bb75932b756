//! UPDATE (RFC 2136): names that hosts, and those who give them their addresses, set at run time.
//!
//! Who may set which is the configuration's (`[[dns.updates]]`). A change is in force at once and answered when it has been
//! written down (RFC 2136 §3.5). While other settings are coming into force it waits.

use super::{Gateway, leases};
use crate::Nanos;
use crate::added::{self, AddedName, AddedRecord, AddedRow, NAMES_MAX, NOTE_OCTETS_MAX, NOTES_MAX};
use crate::address::HostAddress;
use crate::asking::Failed;
use crate::log::{LogLine, Severity};
use crate::names::Name;
use crate::output::{Output, QueryToken};
use crate::registry::{Pattern, PolicySet, Registry, no_hosts_address};
use crate::sessions::CesSession;
use crate::settings::{CoreSettings, NamedAddresses, Updates};
use crate::snapshot::Page;
use ces_dataplane::tag::Handle;
use ces_dns::message::Query;
use ces_dns::outcome::{QueryOutcome, QuerySide};
use ces_dns::update::{self, Data, Records, Update, ZoneChange};
use ces_dns::{NULL, RData, Record, RecordType, ResponseCode, fqdn, reverse};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The type of what a DHCP server notes about whose a name is (RFC 4701; RFC 4703 §4).
const DHCID: u16 = 49;

/// Why an update does nothing.
struct Refusal {
    outcome: QueryOutcome,
    code: ResponseCode,
    why: String,
}

fn refused(why: impl Into<String>) -> Refusal {
    Refusal { outcome: QueryOutcome::UpdateRefused, code: ResponseCode::Refused, why: why.into() }
}

/// What an update would change: names as they would be.
struct Draft<'a> {
    gateway: &'a Gateway,
    key: &'a str,
    client: IpAddr,
    names: BTreeMap<Arc<str>, AddedName>,
    now: Nanos,
}

impl Records for Draft<'_> {
    fn of(&self, name: &ces_dns::Name) -> Vec<(RecordType, Data)> {
        let gateway = self.gateway;
        let text = fqdn(name);
        let said = self.names.get(text.as_str()).or_else(|| gateway.added.get(&text));
        let mut all = Vec::new();
        if let Some(IpAddr::V4(address)) = reverse::address(name) {
            let pointer = gateway.pointer(address);
            all.extend(pointer.and_then(|name| Some((RecordType::PTR, wire(&ces_dns::name(&name)?)))));
        } else {
            let address = gateway.address_of(&text);
            all.extend(address.map(|address| (RecordType::A, Box::from(address.octets()))));
            if gateway.zones.is_origin(name) {
                all.extend([RecordType::SOA, RecordType::NS].map(|kind| (kind, Data::default())));
            }
        }
        let notes = said.into_iter().flat_map(|said| &said.notes);
        all.extend(notes.map(|(kind, data)| (RecordType::from(*kind), data.clone())));
        all
    }
}

/// A name as a record's data has it.
fn wire(name: &ces_dns::Name) -> Data {
    let labels =
        name.iter().flat_map(|label| std::iter::once(label.len() as u8).chain(label.to_ascii_lowercase()));
    labels.chain([0]).collect()
}

/// The name that a record's data is: labels of a host's name.
fn text_of(mut data: &[u8]) -> Option<Arc<str>> {
    let mut text = String::new();
    while let Some((&length, rest)) = data.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        text.push_str(std::str::from_utf8(label).ok()?);
        text.push('.');
        data = rest;
    }
    Some(Name::parse(&text).ok()?.shared())
}

impl Draft<'_> {
    fn entry(&mut self, name: &Arc<str>) -> &mut AddedName {
        let Self { gateway, key, now, names, .. } = self;
        names.entry(Arc::clone(name)).or_insert_with(|| {
            let fresh = || AddedName { key: Arc::from(*key), since: *now, ..AddedName::default() };
            gateway.added.get(name).cloned().unwrap_or_else(fresh)
        })
    }

    fn change(&mut self, change: &ZoneChange) -> Result<(), Refusal> {
        if let Some(IpAddr::V4(address)) = reverse::address(change.name()) {
            return self.change_pointer(address, change);
        }
        let text = fqdn(change.name());
        let name = Name::parse(&text).map_err(|wrong| refused(format!("{text}: {wrong}")))?;
        let settings = self.gateway.core.settings();
        let Some(rule) = added::rule(settings, self.key, &text) else {
            return Err(refused(format!("{text}: this key may not set it")));
        };
        let is_own = rule.addresses == NamedAddresses::Own;
        let now = self.names.get(text.as_str()).or_else(|| self.gateway.added.get(&text));
        let now = now.and_then(|said| said.address);
        if is_own && now.is_some_and(|address| IpAddr::V4(address) != self.client) {
            return Err(refused(format!("{text} is another host's")));
        }
        let is_added = self.gateway.added.get(&text).is_some_and(|said| said.address.is_some());
        if !is_added && now.is_none() && self.gateway.address_of(&text).is_some() {
            return self.change_other(&text, change);
        }
        let name = name.shared();
        match change {
            ZoneChange::Add(_, RecordType::A, data) => {
                let Ok(octets) = <[u8; 4]>::try_from(&**data) else { return Err(refused("no address")) };
                let address = Ipv4Addr::from(octets);
                if now == Some(address) {
                    return Ok(());
                }
                if now.is_some() {
                    return Err(refused(format!("{text} leads to one address; delete the other first")));
                }
                if is_own && IpAddr::V4(address) != self.client {
                    return Err(refused(format!("{address} is not the sender's own")));
                }
                self.may_lead(rule, &text, address)?;
                let key = Arc::from(self.key);
                let entry = self.entry(&name);
                (entry.address, entry.key) = (Some(address), key);
            }
            ZoneChange::Add(_, kind, data) => self.note(&name, *kind, data)?,
            ZoneChange::DeleteSet(_, RecordType::A) => self.entry(&name).address = None,
            ZoneChange::DeleteSet(_, kind) => self.entry(&name).forget((*kind).into(), None),
            ZoneChange::DeleteName(_) => {
                let entry = self.entry(&name);
                (entry.address, entry.notes) = (None, Vec::new());
            }
            ZoneChange::Delete(_, RecordType::A, data) => {
                let entry = self.entry(&name);
                entry.address = entry.address.filter(|address| address.octets() != **data);
            }
            ZoneChange::Delete(_, kind, data) => self.entry(&name).forget((*kind).into(), Some(data)),
        }
        Ok(())
    }

    /// A name that a file, or a lease, gave its address: nothing of that can be changed from here.
    fn change_other(&self, text: &str, change: &ZoneChange) -> Result<(), Refusal> {
        let is_so = match change {
            ZoneChange::Add(_, RecordType::A, data) => {
                self.gateway.address_of(text).is_some_and(|address| address.octets() == **data)
            }
            // RFC 2136 §3.4.2.4: what is not there is deleted in silence.
            ZoneChange::DeleteSet(_, kind) | ZoneChange::Delete(_, kind, _) => *kind != RecordType::A,
            _ => false,
        };
        if is_so {
            return Ok(());
        }
        let by = if self.gateway.core.hosts().named(text).is_some() { "the registry" } else { "a lease" };
        Err(refused(format!("{text} has its address by {by}")))
    }

    /// Whether a name may lead to an address.
    fn may_lead(&self, rule: &Updates, name: &str, address: Ipv4Addr) -> Result<(), Refusal> {
        let core = &self.gateway.core;
        let settings = core.settings();
        if !settings.realm.networks.iter().any(|network| network.contains(&address)) {
            return Err(refused(format!("{address} lies in no network of the realm")));
        }
        let is_ours = self.gateway.platform.addresses.iter().any(|own| own.v4() == address);
        if is_ours || no_hosts_address(address, settings, &[]).is_some() {
            return Err(refused(format!("{address} is no host's")));
        }
        let is_zone = settings.realm.zones.iter().any(|zone| zone.as_str() == name);
        if is_zone || name == settings.dns.name_server.as_str() {
            return Err(refused(format!("{name} is the zone's own")));
        }
        let label = name.split('.').next().unwrap_or_default();
        let is_listed =
            |pattern: &Pattern| matches!(pattern, Pattern::Exactly(listed) if listed.as_str() == name);
        if leases::TRUSTED.contains(&label) && !rule.names.iter().any(is_listed) {
            return Err(refused(format!(
                "{name}: programs trust who is called so; the rule does not list it as it is"
            )));
        }
        let host = core.configuration().registry().at(address.into());
        let is_one = |group: &String| host.is_some_and(|host| host.groups.iter().any(|own| **own == **group));
        if !rule.groups.is_empty() && !rule.groups.iter().any(is_one) {
            return Err(refused(format!("the host at {address} is in none of the groups")));
        }
        let added = &self.gateway.added;
        let drafted = self.names.values().filter(|said| said.address == Some(address)).count();
        let others =
            added.of(address).iter().filter(|(name, _)| !self.names.contains_key(name.as_str())).count();
        if drafted + others >= rule.host_names as usize {
            return Err(refused(format!("{address} has as many names as may be")));
        }
        Ok(())
    }

    fn note(&mut self, name: &Arc<str>, kind: RecordType, data: &Data) -> Result<(), Refusal> {
        let number = u16::from(kind);
        if kind != RecordType::TXT && number != DHCID {
            return Err(refused(format!("{name}: records of type {kind} are not kept")));
        }
        let notes = &mut self.entry(name).notes;
        if notes.iter().any(|(other, has)| *other == number && has == data) {
            return Ok(());
        }
        if notes.len() >= NOTES_MAX || data.len() > NOTE_OCTETS_MAX {
            return Err(refused(format!("{name}: {NOTES_MAX} notes of {NOTE_OCTETS_MAX} octets are kept")));
        }
        notes.push((number, data.clone()));
        Ok(())
    }

    /// The name of an address: one of those that lead to it.
    fn change_pointer(&mut self, address: Ipv4Addr, change: &ZoneChange) -> Result<(), Refusal> {
        let settings = self.gateway.core.settings();
        let mut rules = settings.dns.updates.iter().filter(|rule| rule.key.as_str() == self.key);
        let is_its = IpAddr::V4(address) == self.client;
        if !rules.any(|rule| rule.addresses == NamedAddresses::Any || is_its) {
            return Err(refused(format!("this key may not name {address}")));
        }
        let name: Arc<str> = fqdn(change.name()).into();
        match change {
            ZoneChange::Add(_, RecordType::PTR, data) => {
                let target = text_of(data).filter(|target| self.gateway.address_of(target) == Some(address));
                let Some(target) = target else {
                    return Err(refused(format!("no such name leads to {address}")));
                };
                if added::rule(settings, self.key, &target).is_none() {
                    return Err(refused(format!("{target}: this key may not set it")));
                }
                self.entry(&name).pointer = Some(target);
            }
            ZoneChange::Add(_, kind, data) => self.note(&name, *kind, data)?,
            ZoneChange::DeleteName(_) => {
                let entry = self.entry(&name);
                (entry.pointer, entry.notes) = (None, Vec::new());
            }
            ZoneChange::DeleteSet(_, RecordType::PTR) => self.entry(&name).pointer = None,
            ZoneChange::Delete(_, RecordType::PTR, data) => {
                let entry = self.entry(&name);
                entry.pointer =
                    entry.pointer.take().filter(|pointer| text_of(data).as_ref() != Some(pointer));
            }
            ZoneChange::DeleteSet(_, kind) => self.entry(&name).forget((*kind).into(), None),
            ZoneChange::Delete(_, kind, data) => self.entry(&name).forget((*kind).into(), Some(data)),
        }
        Ok(())
    }
}

impl Gateway {
    /// An UPDATE of a host.
    pub(super) fn update(&mut self, client: IpAddr, bytes: &[u8], token: QueryToken, now: Nanos) {
        let host = HostAddress::of(client).and_then(|address| self.core.hosts().at(address));
        let may = match host {
            Some(id) => self.may_ask(id, now),
            None if self.rates.nameless(client, now) => Ok(()),
            None => Err(QueryOutcome::RateClient),
        };
        if let Err(outcome) = may {
            return self.no_answer(QuerySide::Inside, token, outcome);
        }
        let is_ours = |zone: &ces_dns::Name| self.zones.is_origin(zone) || self.is_reverse_zone(zone);
        let update = match update::parse(bytes, &self.keys, is_ours, now / crate::SECOND) {
            Ok(update) => update,
            Err(rejection) => {
                return match rejection.reply {
                    Some(bytes) => self.answer(QuerySide::Inside, token, bytes, rejection.outcome),
                    None => self.no_answer(QuerySide::Inside, token, rejection.outcome),
                };
            }
        };
        if self.updates.is_full() {
            let bytes = update.reply(ResponseCode::ServFail);
            return self.answer(QuerySide::Inside, token, bytes, QueryOutcome::WaitingFull);
        }
        // Nothing overtakes what came before it.
        if self.reload.is_some() || self.updates.is_held() {
            self.updates.held.push_back((client, update, token));
            return;
        }
        self.carry_out(client, &update, token, now);
    }

    /// Carries out what waited for other settings.
    pub(super) fn go_on_updating(&mut self, now: Nanos) {
        while self.reload.is_none()
            && let Some((client, update, token)) = self.updates.held.pop_front()
        {
            self.carry_out(client, &update, token, now);
        }
        self.settle(now);
    }

    fn carry_out(&mut self, client: IpAddr, update: &Update, token: QueryToken, now: Nanos) {
        match self.decide(client, update, now) {
            Ok(records) if records.is_empty() => {
                let bytes = update.reply(ResponseCode::NoError);
                self.answer(QuerySide::Inside, token, bytes, QueryOutcome::Updated);
            }
            Ok(records) => {
                self.apply(&records, now);
                self.updates.number += 1;
                let replies = [ResponseCode::ServFail, ResponseCode::NoError].map(|code| update.reply(code));
                self.updates.writing.push_back((self.updates.number, token, replies));
                self.core.push(Output::Added { number: self.updates.number, records });
            }
            Err(Refusal { outcome, code, why }) => {
                if !why.is_empty() {
                    let line = LogLine::new(Severity::Info, "update refused").address(client).reason(why);
                    self.core.log(line);
                }
                self.answer(QuerySide::Inside, token, update.reply(code), outcome);
            }
        }
    }

    /// What an update changes, if it may.
    fn decide(&self, client: IpAddr, update: &Update, now: Nanos) -> Result<Vec<AddedRecord>, Refusal> {
        let Some(key) = update.key().map(fqdn) else { return Err(refused("it is not signed")) };
        let mut draft = Draft { gateway: self, key: &key, client, names: BTreeMap::new(), now };
        update.holds(&draft).map_err(|code| Refusal {
            outcome: QueryOutcome::Prerequisite,
            code,
            why: String::new(),
        })?;
        for change in &update.changes {
            draft.change(change)?;
        }
        let changed = |(name, is): (Arc<str>, AddedName)| {
            let is = (!is.is_empty()).then_some(is);
            (self.added.get(&name) != is.as_ref()).then_some(AddedRecord { name, is })
        };
        let records: Vec<AddedRecord> = draft.names.into_iter().filter_map(changed).collect();
        let is_new = |record: &&AddedRecord| record.is.is_some() && self.added.get(&record.name).is_none();
        let (new, gone) = (
            records.iter().filter(is_new).count(),
            records.iter().filter(|record| record.is.is_none()).count(),
        );
        if new > 0 && self.added.len() + new > NAMES_MAX + gone {
            return Err(Refusal {
                outcome: QueryOutcome::UpdateFailed,
                code: ResponseCode::ServFail,
                why: "there is no room for another name".to_owned(),
            });
        }
        Ok(records)
    }

    /// Puts changes into force.
    fn apply(&mut self, records: &[AddedRecord], now: Nanos) {
        let mut is_less = false;
        for record in records {
            let before = self.added.get(&record.name).and_then(|said| said.address);
            let after = record.is.as_ref().and_then(|said| said.address);
            self.added.set(record.clone());
            let (true, Ok(name)) = (before != after, Name::parse(&record.name)) else { continue };
            let address = after.or(before).map(|address| address.to_string()).unwrap_or_default();
            let event = if after.is_some() { "name set" } else { "name deleted" };
            self.core.log(LogLine::new(Severity::Info, event).host(&record.name).reason(address));
            if let Some(before) = before {
                self.leave(&name, before, now);
                is_less = true;
            }
            if let (Some(address), Some(said)) = (after, &record.is) {
                let (settings, registry, policies) = self.core.configuration_mut().hosts_and_policies();
                if let Err(why) = added::enter(registry, policies, settings, &name, address, &said.key) {
                    self.tell_aside(&record.name, why);
                }
                self.follow(address.into(), now);
            }
        }
        if is_less {
            let (configuration, out) = self.core.configuration_and_out();
            self.inbound.change(configuration, out);
        }
        self.settle(now);
    }

    fn leave(&mut self, name: &Name, address: Ipv4Addr, now: Nanos) {
        let (settings, registry, policies) = self.core.configuration_mut().hosts_and_policies();
        for other in added::leave(registry, policies, name, address) {
            let key = self.added.get(other.as_str()).map(|said| Arc::clone(&said.key)).unwrap_or_default();
            // It led there before.
            let _ = added::enter(registry, policies, settings, &other, address, &key);
        }
        self.follow(address.into(), now);
        let by_name = |session: &&CesSession| **session.local() == *name.as_str();
        let sessions = self.core.sessions().of(address.into()).filter(by_name).map(CesSession::handle);
        for handle in sessions.collect::<Vec<Handle>>() {
            self.terminate(handle, now);
        }
    }

    /// Has the host at an address be found as the registry says.
    fn follow(&mut self, address: HostAddress, now: Nanos) {
        let entry = self.core.configuration().registry().at(address).cloned();
        let id = self.core.hosts().at(address);
        let is_same = |id| {
            let name = self.core.hosts().get(id).map(|host| Arc::clone(host.name()));
            name.as_deref() == entry.as_ref().map(|entry| entry.name.as_str())
        };
        if let (Some(id), Some(entry)) = (id.filter(|id| is_same(*id)), &entry) {
            let services = entry.services.iter().map(Name::shared).collect();
            return self.core.hosts_mut().rename(id, services);
        }
        if let Some(id) = id {
            self.core.hosts_mut().withdraw(id);
            for ask in self.waiting.ids() {
                if self.waiting.ask(ask).is_some_and(|ask| ask.host() == id) {
                    self.fail(ask, Failed::Host, "the host is no longer registered", now);
                }
            }
            let sessions: Vec<Handle> = self.core.sessions().of(address).map(CesSession::handle).collect();
            for handle in sessions {
                self.terminate(handle, now);
            }
            self.core.hosts_mut().remove(id);
        }
        if let Some(entry) = entry {
            let id = self.core.prepare_host(&entry);
            self.core.hosts_mut().publish(id);
        }
    }

    /// Updates up to this number have been written down, or could not be.
    pub fn handle_added_written(&mut self, number: u64, is_written: bool) {
        while let Some((_, token, [failed, done])) =
            self.updates.writing.pop_front_if(|(waits, ..)| *waits <= number)
        {
            let (bytes, outcome) =
                if is_written { (done, QueryOutcome::Updated) } else { (failed, QueryOutcome::UpdateFailed) };
            self.answer(QuerySide::Inside, token, bytes, outcome);
        }
    }

    /// Takes up the names of the last process.
    pub fn restore_added(&mut self, records: Vec<AddedRecord>, now: Nanos) {
        for record in records {
            self.added.set(record);
        }
        let (settings, registry, policies) = self.core.configuration_mut().hosts_and_policies();
        let aside = self.added.lay_over(registry, policies, settings);
        let addresses: Vec<_> = self.added.addresses().collect();
        for address in addresses {
            self.follow(address.into(), now);
        }
        for (name, why) in aside {
            self.tell_aside(&name, why);
        }
    }

    /// Has other hosts and policies know the names that came at run time.
    pub(super) fn lay_over(
        &mut self,
        registry: &mut Registry,
        policies: &mut PolicySet,
        settings: &CoreSettings,
    ) {
        for (name, why) in self.added.lay_over(registry, policies, settings) {
            self.tell_aside(&name, why);
        }
    }

    fn tell_aside(&mut self, name: &Arc<str>, why: String) {
        self.core.log(LogLine::new(Severity::Warn, "name set aside").host(name).reason(why));
    }

    /// The address that one of our names leads to: the registry's, or a lease's.
    fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        let host = self.core.hosts().named(name).and_then(|id| self.core.hosts().get(id));
        let host = host.map(crate::hosts::Host::address);
        host.or_else(|| self.core.leased().named(name)).map(HostAddress::v4)
    }

    /// The name of a host's address: the one that was set, or the host's own.
    pub(super) fn pointer(&self, address: Ipv4Addr) -> Option<Arc<str>> {
        let set = self.added.get(&fqdn(&reverse::name(address.into())));
        let set = set.and_then(|said| said.pointer.clone());
        let host = || self.core.hosts().at(address.into()).and_then(|id| self.core.hosts().get(id));
        set.filter(|name| self.address_of(name) == Some(address))
            .or_else(|| host().map(|host| Arc::clone(host.name())))
            .or_else(|| self.core.leased().name(address.into()).cloned())
    }

    /// Records of a name that mean nothing to the gateway, of that type.
    pub(super) fn notes(&self, query: &Query) -> Vec<Record> {
        let said = self.added.get(&fqdn(&query.name));
        let of_type =
            said.into_iter().flat_map(|said| &said.notes).filter(|(kind, _)| *kind == u16::from(query.qtype));
        let ttl = self.core.settings().dns.connected_ttl_s;
        let record = |(_, data): &(u16, Box<[u8]>)| {
            let rdata = RData::Unknown { code: query.qtype, rdata: NULL::with(data.to_vec()) };
            Record::from_rdata(query.name.clone(), ttl, rdata)
        };
        of_type.map(record).collect()
    }

    /// Names that came at run time, some of them.
    pub fn added(&self, from: u64, most: usize) -> Page<AddedRow> {
        self.added.page(from, most)
    }

    /// How many there are.
    pub fn added_names(&self) -> usize {
        self.added.len()
    }
}
