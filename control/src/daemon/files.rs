//! The configuration and all files that it names, certificates too.

use crate::config::{Config, Loaded};
use crate::tls::{Credentials, TlsError};
use ces_settings::FileError;
use std::path::Path;

fn credentials(config: &Config) -> Result<Option<Credentials>, TlsError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    Credentials::load(&tls.ca, &tls.cert, &tls.key, config.realm.ces_id.as_str()).map(Some)
}

/// Reads and checks everything that the configuration names, certificates too.
pub fn load(path: &Path) -> Result<(Loaded, Option<Credentials>), Vec<FileError>> {
    let loaded = crate::config::load(path)?;
    match credentials(&loaded.config) {
        Ok(credentials) => Ok((loaded, credentials)),
        Err(TlsError::File { path, message }) => Err(vec![FileError { path, line: None, message }]),
    }
}
