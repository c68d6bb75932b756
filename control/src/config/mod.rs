//! The one TOML file of `cesd`.
//!
//! It is read and checked whole before anything starts or changes. serde finds wrong keys and types ([`model`]); [`check`] finds
//! what does not fit together. Every complaint names the file, the line, the key, and what was expected.

mod check;
mod model;

use ces_gateway::{PolicySet, Registry, SourceFile};
use ces_settings::FileError;
use std::iter;
use std::path::{Path, PathBuf};

pub use check::{MTU_MAX, MTU_MIN, problems};
pub use model::{
    ADMIN_SOCKET, Admin, Capacity, Config, Control, DnsTcp, Log, Memory, Metrics, Nat, PortSection,
    RegistryFiles, State, StaticRoute, Tls, Worker,
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

/// Reads the configuration and the files it names, and checks all of it. All errors of a stage are found together.
pub fn load(path: &Path) -> Result<Loaded, Vec<FileError>> {
    let text = read(path).map_err(|error| vec![error])?;
    let mut config = parse(&path.display().to_string(), &text)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let resolve = |file: &mut PathBuf| *file = directory.join(&*file);
    config.registry.files.iter_mut().for_each(resolve);
    if let Some(state) = &mut config.state {
        iter::once(&mut state.directory).chain(&mut state.memory).for_each(resolve);
    }
    if let Some(tls) = &mut config.tls {
        [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().for_each(resolve);
    }
    config.admin.socket = directory.join(&config.admin.socket);
    let mut errors = Vec::new();
    let mut files = Vec::new();
    for file in &config.registry.files {
        match read(file) {
            Ok(text) => files.push(SourceFile { path: file.display().to_string(), text }),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let (registry, policies) =
        ces_gateway::registry::load_behind(&files, &config.settings(), &config.links())?;
    Ok(Loaded { config, registry, policies })
}
