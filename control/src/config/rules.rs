//! The rules files of the filter, and who the names in them are.

use super::model::Config;
use ces_dataplane::filter::Ranges;
use ces_gateway::Registry;
use ces_gateway::registry::DEFAULT_GROUP;
use ces_rules::{Book, Sources, Surroundings};
use ces_settings::{FileError, SourceFile};
use ipnet::Ipv4Net;
use std::path::Path;
use std::sync::Arc;

/// The rules of these files for a realm with these networks, ports and hosts. `read` reads what they name.
pub(super) fn load(
    files: &[SourceFile],
    config: &Config,
    registry: &Registry,
    read: fn(&Path) -> Result<String, FileError>,
) -> Result<Option<Arc<Book>>, Vec<FileError>> {
    if files.is_empty() {
        return Ok(None);
    }
    // What a rules file names lies beside it.
    let beside = |by: &str, path: &str| {
        let path = Path::new(by).parent().unwrap_or(Path::new("")).join(path);
        read(&path).map(|text| SourceFile { path: path.display().to_string(), text })
    };
    let realm = Realm { registry, config };
    ces_rules::load(&Sources { files, read: &beside }, &realm).map(|book| Some(Arc::new(book)))
}

struct Realm<'r> {
    registry: &'r Registry,
    config: &'r Config,
}

impl Surroundings for Realm<'_> {
    fn host(&self, name: &str) -> Option<u32> {
        let mut name = name.to_ascii_lowercase();
        if !name.ends_with('.') {
            name.push('.');
        }
        self.registry.host(&name).map(|host| host.address.v4().to_bits())
    }

    fn group(&self, name: &str) -> Option<Ranges> {
        let ranges =
            |hosts: &mut dyn Iterator<Item = u32>| Ranges::new(hosts.map(|host| (host, host)).collect());
        if name == DEFAULT_GROUP {
            let known = ranges(&mut self.registry.hosts().iter().map(|host| host.address.v4().to_bits()));
            let network = |net: &Ipv4Net| (net.network().to_bits(), net.broadcast().to_bits());
            return Some(
                Ranges::new(self.config.realm.networks.iter().map(network).collect()).without(&known),
            );
        }
        let group = ranges(&mut self.registry.group(name).map(|host| host.address.v4().to_bits()));
        (!group.is_empty()).then_some(group)
    }

    fn port(&self, name: &str) -> Option<u8> {
        let place = self.config.port.iter().position(|port| port.name == name)?;
        u8::try_from(place).ok()
    }
}
