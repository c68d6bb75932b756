//! Hosts that have their address by a lease: their names in the realm's zone, for the realm alone, and their MAC addresses (P10).

use super::Gateway;
use crate::address::HostAddress;
use crate::leased::LeasedHost;
use crate::output::QueryToken;
use ces_dns::message::Query;
use std::sync::Arc;

/// Names that programs look for by themselves and trust: nobody is called so who only says it (CERT/CC VU#598349; RFC 5214).
pub(super) const TRUSTED: [&str; 3] = ["wpad", "isatap", "localhost"];

impl Gateway {
    /// A host has an address by a lease; or nobody has it any more.
    pub fn set_leased(&mut self, address: HostAddress, host: Option<LeasedHost>) {
        // What the registry says of a host is all that there is to say.
        let host = host.filter(|_| self.core.hosts().at(address).is_none());
        let host = host.map(|host| (host.mac, host.label.and_then(|label| self.name_of(&label))));
        self.core.set_leased(address, host);
    }

    /// The name of a host that calls itself so, if it may have it.
    fn name_of(&self, label: &str) -> Option<Arc<str>> {
        let settings = self.core.settings();
        let zone = settings.realm.zones.first()?;
        let name: Arc<str> = format!("{label}.{}", zone.as_str()).into();
        let is_taken = self.core.hosts().named(&name).is_some()
            || self.core.configuration().registry().is_above(&name)
            || *name == *settings.dns.name_server.as_str();
        (!is_taken && !TRUSTED.contains(&label)).then_some(name)
    }

    /// The host with a lease that is called so, if the registry has no other.
    pub(super) fn leased_as(&self, name: Option<&str>) -> Option<HostAddress> {
        name.filter(|name| self.core.hosts().named(name).is_none())
            .and_then(|name| self.core.leased().named(name))
    }

    /// The answer to a question about its name.
    pub(super) fn answer_leased(&mut self, host: HostAddress, query: &Query, token: QueryToken) {
        let ttl = self.core.settings().dns.connected_ttl_s;
        self.answer_local(host.ip(), ttl, query, token);
    }
}
