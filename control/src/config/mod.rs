//! The one TOML file of `cesd`.
//!
//! It is read and checked whole before anything starts or changes. serde finds wrong keys and types ([`model`]); [`check`]
//! finds what does not fit together. Every complaint names the file, the line, the key, and what was expected.

mod bandwidth;
mod check;
mod dhcp;
mod dhcp_server;
mod links;
mod model;
mod nat;
mod rules;

use crate::state::{Added, peek};
use ces_gateway::{PolicySet, Registry, SourceFile};
use ces_rules::Book;
use ces_settings::FileError;
use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use bandwidth::Bandwidth;
pub use check::{MTU_MAX, MTU_MIN, pci_address, problems};
pub use dhcp::{AddressRange, ClientId, DhcpReservation, DhcpRoute, DhcpSection, DhcpSubnet};
pub use dhcp_server::settings as dhcp_settings;
pub use model::{
    ADMIN_SOCKET, AdminSection, CapacitySection, CollectorSection, Config, ControlSection, DnsTcpSection,
    FilterSection, IpfixTransport, LogSection, MemorySection, MetricsSection, PortSection, RecordsSection,
    RegistryFiles, StateSection, StaticRoute, TlsSection, WorkerSection,
};

/// Everything that was read, checked together.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; its paths are relative to nothing any more.
    pub config: Config,
    /// The hosts.
    pub registry: Registry,
    /// The policies.
    pub policies: PolicySet,
    /// The rules of the filter, if there are files of them.
    pub rules: Option<Arc<Book>>,
    /// What the DHCP server is told.
    pub dhcp: ces_dhcp::Settings,
    /// What the files contradict of what was added at run time, and is set aside.
    pub aside: Vec<FileError>,
}

/// Reads a text as the configuration in `path` and checks it, without any other file.
pub fn parse(path: &str, text: &str) -> Result<Config, Vec<FileError>> {
    let config: Config = ces_settings::parse(path, text).map_err(|error| vec![error])?;
    let problems = check::problems(&config);
    if problems.is_empty() { Ok(config) } else { Err(ces_settings::place(path, text, &problems)) }
}

fn read(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|error| FileError::unreadable(path.display().to_string(), &error))
}

/// How places in hosts that were added at run time begin.
pub const ADDED_HOST: &str = "added host ";

/// Hosts that were added at run time.
#[derive(Clone, Debug)]
pub enum AddedHosts {
    /// Those that the last process left in its state directory.
    Left,
    /// These, of which the files may contradict some.
    Are(Vec<SourceFile>),
    /// These, all of which have to fit.
    Fit(Vec<SourceFile>),
}

/// Reads the configuration and the files it names, and checks all of it. All errors of a stage are found together.
pub fn load(path: &Path) -> Result<Loaded, Vec<FileError>> {
    load_with(path, AddedHosts::Left)
}

/// The hosts that the last process left.
fn left(config: &Config) -> Vec<SourceFile> {
    let records = config.state.as_ref().map(|state| peek::<Added>(&state.directory)).unwrap_or_default();
    let mut hosts = BTreeMap::new();
    for record in records {
        match record {
            Added::Host(name, Some(text)) => _ = hosts.insert(name, text),
            Added::Host(name, None) => _ = hosts.remove(&name),
            Added::Name(_) => {}
        }
    }
    hosts.into_iter().map(|(name, text)| SourceFile { path: format!("{ADDED_HOST}{name}"), text }).collect()
}

/// Hosts and policies of files and of run time together. Hosts of run time that do not fit are set aside.
fn registry(
    files: Vec<SourceFile>,
    added: AddedHosts,
    config: &Config,
) -> Result<(Registry, PolicySet, Vec<FileError>), Vec<FileError>> {
    let (mut added, all_fit) = match added {
        AddedHosts::Left => (left(config), false),
        AddedHosts::Are(files) => (files, false),
        AddedHosts::Fit(files) => (files, true),
    };
    let (settings, links) = (config.settings(), config.links());
    let mut aside = Vec::new();
    loop {
        let all: Vec<_> = files.iter().chain(&added).cloned().collect();
        match ces_gateway::registry::load_behind(&all, &settings, &links) {
            Ok((registry, policies)) => return Ok((registry, policies, aside)),
            Err(errors) => {
                let before = added.len();
                added.retain(|file| all_fit || errors.iter().all(|error| error.path != file.path));
                if added.len() == before {
                    return Err(errors);
                }
                aside.extend(errors.into_iter().filter(|error| error.path.starts_with(ADDED_HOST)));
            }
        }
    }
}

/// As [`load`], with these hosts beside those of the files.
pub fn load_with(path: &Path, added: AddedHosts) -> Result<Loaded, Vec<FileError>> {
    let text = read(path).map_err(|error| vec![error])?;
    let mut config = parse(&path.display().to_string(), &text)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let resolve = |file: &mut PathBuf| *file = directory.join(&*file);
    config.registry.files.iter_mut().for_each(resolve);
    config.filter.files.iter_mut().for_each(resolve);
    if let Some(state) = &mut config.state {
        iter::once(&mut state.directory).chain(&mut state.memory).for_each(resolve);
    }
    if let Some(tls) = &mut config.tls {
        [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().for_each(resolve);
    }
    config.admin.socket = directory.join(&config.admin.socket);
    let files = read_all(&config.registry.files)?;
    let (registry, policies, aside) = registry(files, added, &config)?;
    let rules = rules::load(&read_all(&config.filter.files)?, &config, &registry, read)?;
    let dhcp = dhcp_server::settings(&config, &registry)
        .map_err(|problems| ces_settings::place(&path.display().to_string(), &text, &problems))?;
    Ok(Loaded { config, registry, policies, rules, dhcp, aside })
}

/// Reads files of which each must be there.
fn read_all(paths: &[PathBuf]) -> Result<Vec<SourceFile>, Vec<FileError>> {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match read(path) {
            Ok(text) => files.push(SourceFile { path: path.display().to_string(), text }),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}
