//! A look at the configuration and its files for a gateway that runs.

use super::files;
use super::ground::Ground;
use super::house::House;
use super::places::Places;
use super::told;
use crate::sources::netlink::Requests;
use crate::sources::tap::Tap;
use ces_dataplane::premises::Premises;
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
    let one = |error: &dyn std::fmt::Display| vec![error.to_string()];
    let (mut loaded, credentials) =
        files::load(path).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let fixed = loaded.config.keep_fixed(&house.config);
    if !fixed.is_empty() {
        // What stays and what is new have not been looked at together.
        let problems = loaded.config.problems();
        if !problems.is_empty() {
            let of = format!("with what only a restart changes ({})", fixed.join(", "));
            return Err(problems.iter().map(|problem| format!("{of}: {problem}")).collect());
        }
    }
    for warning in loaded.policies.warnings() {
        tracing::warn!("{warning}");
    }
    // First everything that can fail: nothing has changed before that.
    let config = loaded.config;
    let settings = told::premises(&config, &house.settings).map_err(|error| one(&error))?;
    let sources = &mut house.sources;
    let Some(metrics) = &mut sources.metrics else { return Err(one(&"the metrics page is being made")) };
    let places =
        Places::open(&config, &sources.peering, &sources.dns_tcp, metrics).map_err(|error| one(&error))?;
    let indices: Vec<_> = sources.taps.all().iter().map(Tap::index).collect();
    let (before, after) = (Ground::of(&house.config, &indices), Ground::of(&config, &indices));
    let mut requests = Requests::open().map_err(|error| one(&error))?;
    let reloaded = house
        .gateway
        .reload(config.settings(), loaded.registry, loaded.policies, now)
        .map_err(|error| one(&error))?;
    let (socket, connections) = (&config.admin.socket, config.admin.connections as usize);
    sources.admin.move_to(socket, connections).map_err(|error| one(&error))?;
    // What comes is there before what goes is gone: first the kernel, then the workers, then who listens.
    if before != after {
        after.lay(&mut requests).map_err(|error| one(&error))?;
    }
    if settings != house.settings {
        house.fleet.publish(&Premises::new(&settings));
        house.settings = settings;
    }
    places
        .install(&config, &mut sources.peering, &mut sources.dns_tcp, metrics)
        .map_err(|error| one(&error))?;
    if before != after {
        after.clear(&before, &mut requests).map_err(|error| one(&error))?;
    }
    sources.peering.set_credentials(credentials);
    house.log.set(config.log.level, config.log.format);
    house.config = config;
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
