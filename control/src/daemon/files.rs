//! The configuration and all files that it names, certificates too.

use crate::config::{AddedHosts, Config, Loaded};
use crate::tls::{Credentials, TlsError};
use ces_settings::FileError;
use std::path::Path;

fn credentials(config: &Config) -> Result<Option<Credentials>, TlsError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    Credentials::load(&tls.ca, &tls.cert, &tls.key, config.realm.ces_id.as_str()).map(Some)
}

/// Reads and checks everything that the configuration names, certificates too.
pub fn load(path: &Path) -> Result<(Loaded, Option<Credentials>), Vec<FileError>> {
    load_with(path, AddedHosts::Left)
}

/// The same, with these hosts beside those of the files.
pub(super) fn load_with(
    path: &Path,
    added: AddedHosts,
) -> Result<(Loaded, Option<Credentials>), Vec<FileError>> {
    let loaded = crate::config::load_with(path, added)?;
    match credentials(&loaded.config) {
        Ok(credentials) => Ok((loaded, credentials)),
        Err(TlsError::File { path, message }) => Err(vec![FileError { path, line: None, message }]),
    }
}
