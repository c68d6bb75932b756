//! The reference implementation's policy files: JSON arrays of host and network policies.
//!
//! `{ "type": "hostpolicy", "fqdn", "direction", "policy" }` and `{ "type": "cespolicy", "proto", "cesid", "policy" }`. A host
//! policy may also name `remote` (a name or `*.` and a name) and `remote_cesid`, which is this project's addition: without
//! them it holds for every remote name, as in the reference. The first policy of a file that fits decides.

use super::complaints::Complaints;
use super::policy::{PolicyRule, PolicySet};
use super::value::Pattern;
use crate::names::Name;
use crate::settings::CoreSettings;
use ces_cetp::policy::PolicyEntry;
use ces_settings::{FileError, Lines, SourceFile};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Reads a file into the set. What is for another gateway or another transport is passed over, as in the reference.
pub(super) fn read(
    source: &SourceFile,
    settings: &CoreSettings,
    policies: &mut PolicySet,
    complaints: &mut Complaints<'_>,
) {
    let lines = Lines::new(&source.text);
    let mut add = |line, message| complaints.push(FileError { path: source.path.clone(), line, message });
    // Some files of the reference hold several arrays one after the other.
    for array in serde_json::Deserializer::from_str(&source.text).into_iter::<Vec<&RawValue>>() {
        let array = match array {
            Ok(array) => array,
            Err(e) => return add(Some(e.line()), format!("an array of policies was expected: {e}")),
        };
        for raw in array {
            let text = raw.get();
            let offset = text.as_ptr() as usize - source.text.as_ptr() as usize;
            let line = lines.at(offset);
            match serde_json::from_str(text) {
                Ok(entry) => {
                    if let Err(message) = take(source, line, entry, settings, policies) {
                        add(Some(line), message);
                    }
                }
                Err(e) => add(Some(line + e.line().saturating_sub(1)), e.to_string()),
            }
        }
    }
}

fn take(
    source: &SourceFile,
    line: usize,
    entry: PolicyEntry,
    settings: &CoreSettings,
    policies: &mut PolicySet,
) -> Result<(), String> {
    match entry {
        PolicyEntry::Ces { ces_id, proto, policy } => {
            let spoken = settings.cetp.endpoints.iter().any(|e| e.proto == proto);
            if *ces_id == *settings.realm.ces_id.as_str() && spoken && !policies.set_network(policy) {
                return Err(format!("a second network policy for {ces_id}"));
            }
        }
        PolicyEntry::Host { fqdn, direction, remote, remote_cesid, policy } => {
            let name = |text: &str| Name::parse(text).map_err(|e| format!("{text:?} is not a name: {e}"));
            let local = name(&fqdn)?;
            let names = match remote {
                None => Pattern::All,
                Some(text) => Pattern::parse(&text).map_err(|e| format!("remote {text:?}: {e}"))?,
            };
            let peers = remote_cesid.as_deref().map(name).transpose()?.into_iter().collect();
            let message = format!("a policy for {local}, which is no host or service here");
            let place = FileError { path: source.path.clone(), line: Some(line), message };
            policies.note_place(local.clone(), place);
            policies.add(&local, direction, Arc::new(PolicyRule::new(vec![names], peers, policy)));
        }
    }
    Ok(())
}
