//! Two realms in network namespaces, talking through two gateways with real clients and servers.
//!
//! One lab is brought up for all cases, which run one after the other and each ask for the gateways in the state that they
//! need. Namespaces need root. `CES_BIN` names the directory of the programs; where it is not set, every case is left out, as
//! ignored. `CES_KEEP=1` leaves the lab up.

mod alg;
mod dashboards;
mod dhcp;
mod dmz;
mod encryption;
mod exercises;
mod filter;
mod full;
mod hostile;
mod http3;
mod inbound;
mod journal;
mod lifecycle;
mod load;
mod names;
mod nat;
mod odd;
mod operator;
mod programs;
mod qos;
mod records;
mod routes;
mod rtsp;
mod sip;
mod ssh;
mod statics;
mod traffic;
mod tunnel;
mod updates;

use ces_tests::lab::Lab;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// A case: what it holds, and how that is seen.
pub type Case = (&'static str, fn(&Lab));

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = http3::main(&words) {
        return done.map_or_else(
            |error| {
                eprintln!("{error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let lab: Arc<Mutex<Option<Lab>>> = Arc::default();
    let groups: [(&str, &[Case]); 27] = [
        ("names", names::CASES),
        ("odd", odd::CASES),
        ("traffic", traffic::CASES),
        ("full", full::CASES),
        ("qos", qos::CASES),
        ("nat", nat::CASES),
        ("statics", statics::CASES),
        ("records", records::CASES),
        ("routes", routes::CASES),
        ("programs", programs::CASES),
        ("alg", alg::CASES),
        ("sip", sip::CASES),
        ("rtsp", rtsp::CASES),
        ("filter", filter::CASES),
        ("exercises", exercises::CASES),
        ("dmz", dmz::CASES),
        ("inbound", inbound::CASES),
        ("updates", updates::CASES),
        ("dhcp", dhcp::CASES),
        ("operator", operator::CASES),
        ("dashboards", dashboards::CASES),
        ("tunnel", tunnel::CASES),
        ("encryption", encryption::CASES),
        ("hostile", hostile::CASES),
        ("lifecycle", lifecycle::CASES),
        ("journal", journal::CASES),
        ("load", load::CASES),
    ];
    let has_programs = std::env::var_os("CES_BIN").is_some();
    let mut trials = Vec::new();
    for (group, cases) in groups {
        for &(name, case) in cases {
            let lab = Arc::clone(&lab);
            let trial = Trial::test(format!("{group}::{name}"), move || run(&lab, case));
            trials.push(trial.with_ignored_flag(!has_programs));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(lab.lock().unwrap_or_else(PoisonError::into_inner).take());
    conclusion.exit_code()
}

/// The first case brings up the lab, so that `--list` and a filter that matches nothing need none.
fn run(lab: &Mutex<Option<Lab>>, case: fn(&Lab)) -> Result<(), Failed> {
    let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = match &mut *lab {
        Some(lab) => lab,
        none => none.insert(Lab::up()?),
    };
    case(lab);
    Ok(())
}
