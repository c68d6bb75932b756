//! What of the machine stands in the configuration's way, and the command that mends it: `cesd --check --machine`.
//!
//! Nothing is changed, claimed or started: it reads what the kernel tells in files, so that it may be asked on a machine on
//! which a gateway runs. What the asking process may not read is told as not known, and is never called good.

mod cores;
mod finding;
mod machine;
mod memory;
mod ports;
mod standing;

use crate::admin::table::TextTable;
use crate::config::Config;
use crate::tls::Credentials;

pub use finding::{Finding, Fitness};
pub use machine::Machine;

/// Looks at everything that this configuration needs of the machine, at this time (seconds since 1970).
pub fn examine(
    machine: &Machine,
    config: &Config,
    credentials: Option<&Credentials>,
    now_s: i64,
) -> Vec<Finding> {
    let mut findings = cores::examine(machine, config);
    findings.extend(memory::examine(machine, config));
    findings.extend(ports::examine(machine, config));
    findings.extend(standing::examine(machine, config));
    findings.extend(credentials.map(|credentials| standing::certificate(credentials.expires_s(), now_s)));
    findings
}

/// What was found as a person reads it: a line for each thing, and below them what to do.
pub fn text(findings: &[Finding]) -> String {
    let mut table = TextTable::new(&["", "WHAT", "FOUND"]);
    for finding in findings {
        let standing = match finding.fitness {
            Fitness::Good => "good",
            Fitness::Poor => "poor",
            Fitness::Wrong => "WRONG",
        };
        table.row(vec![standing.to_owned(), finding.what.clone(), finding.found.clone()]);
    }
    let mends = findings
        .iter()
        .filter_map(|finding| Some(format!("{}: {}\n", finding.what, finding.mend.as_ref()?)))
        .collect::<String>();
    let gap = if mends.is_empty() { "" } else { "\nTo do:\n" };
    format!("{}{gap}{mends}", table.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_stands_below() {
        let all = [Finding::good("core 2", "free"), Finding::wrong("/dev/net/tun", "absent", "modprobe tun")];
        assert_eq!(
            text(&all),
            "       WHAT          FOUND\ngood   core 2        free\nWRONG  /dev/net/tun  absent\n\n\
             To do:\n/dev/net/tun: modprobe tun\n"
        );
        assert_eq!(text(&all[..1]), "      WHAT    FOUND\ngood  core 2  free\n");
    }
}
