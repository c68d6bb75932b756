//! A look at the configuration and its files for a gateway that runs.

use super::files;
use super::house::House;
use std::path::Path;

/// Reads everything again and applies what can be applied; what it says is for the operator.
pub(super) fn reload(house: &mut House, path: &Path, now: u64) -> Result<Vec<String>, Vec<String>> {
    let result = try_reload(house, path, now);
    match &result {
        Ok(lines) => lines.iter().for_each(|line| tracing::info!("{line}")),
        Err(lines) => lines.iter().for_each(|line| tracing::error!("reload: {line}")),
    }
    result
}

fn try_reload(house: &mut House, path: &Path, now: u64) -> Result<Vec<String>, Vec<String>> {
    let (mut loaded, credentials) =
        files::load(path).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let fixed = house.config.fixed_differences(&loaded.config);
    // The workers and listeners go on as they are, so what is published about them does too.
    loaded.config.keep_fixed(&house.config);
    for warning in loaded.policies.warnings() {
        tracing::warn!("{warning}");
    }
    let reloaded = house
        .gateway
        .reload(loaded.config.settings(), loaded.registry, loaded.policies, now)
        .map_err(|error| vec![error])?;
    house.sources.peering.set_credentials(credentials);
    house.config = loaded.config;
    house.pump(now);
    let mut lines = vec![format!(
        "reloaded: {} hosts added, {} removed, {} changed, {} sessions terminated",
        reloaded.hosts_added, reloaded.hosts_removed, reloaded.hosts_changed, reloaded.sessions_terminated
    )];
    if !fixed.is_empty() {
        lines.push(format!("changed, but only a restart applies it: {}", fixed.join(", ")));
    }
    Ok(lines)
}
