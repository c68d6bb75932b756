//! Who the hosts are and what policy says about them.

use crate::settings::Settings;

/// A file that a person wrote, as text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its name, for messages; what ends in `.json` holds the reference's policy arrays, everything else is TOML.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// What is wrong in a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// The file.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for SourceError {}

/// The hosts of the realm: addresses, names, services.
#[derive(Clone, Debug, Default)]
pub struct Registry {}

/// The policies of hosts and of the network.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {}

/// Reads hosts and policies out of all files together: a host may name a policy of another file. All errors of all
/// files are found before any is reported.
pub fn load(files: &[SourceFile], settings: &Settings) -> Result<(Registry, PolicySet), Vec<SourceError>> {
    let _ = (files, settings);
    Ok((Registry::default(), PolicySet::default()))
}
