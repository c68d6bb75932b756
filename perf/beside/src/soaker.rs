//! What the kernel takes of a core: everything that is left after a thread that takes whatever nobody else wants.
//!
//! The kernel forwards in soft interrupts: on the way out of an interrupt, on top of whatever runs, or in `ksoftirqd`. What
//! `/proc/stat` says of that is of little use: it looks once a tick, and on an idle core there are no ticks, so that most of the
//! work of a core that is not full is counted as idle time. So the core is never left idle here: a thread with the policy
//! SCHED_IDLE turns on it and adds up the cycles of its own loop. A turn takes some tens of cycles; a longer gap is the
//! kernel's, or another program's. The scheduler tells the two apart: it counts an interrupt to the thread on top of which it
//! comes. So
//!
//!   kernel = (time on the core − cycles in the loop) of the soaker + time on the core of `ksoftirqd`
//!
//! less what the same sum is without traffic (ticks, conversion of clocks), measured before. Other programs' time is in none
//! of these, and no time that a hypervisor takes (where the kernel is told of it, CONFIG_PARAVIRT_TIME_ACCOUNTING). What the
//! kernel did on top of other programs is missing; it is added as if they were interrupted as much as the soaker is, and
//! where they had too much of the core nothing is said at all.

use serde::Serialize;
use std::io::{BufRead, stdin};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// No interrupt is shorter than so many cycles, and no turn of the loop as long.
const GAP: u64 = 400;
/// How long the core is watched before there is traffic: fifty ticks of the slowest usual clock (100 a second).
const CALIBRATION: Duration = Duration::from_millis(500);

/// Tells all cycles so far for each line on standard input.
pub(crate) fn run(core: usize) -> Result<(), String> {
    let soaker = Soaker::start(core)?;
    let (mut before, mut sum) = (soaker.spent()?, Shares::default());
    crate::said::say("ready")?;
    for _ in stdin().lock().lines().map_while(Result::ok) {
        let after = soaker.spent()?;
        let Shares { all, kernel, others } = after.since(&before, soaker.at_rest);
        sum = Shares { all: sum.all + all, kernel: sum.kernel + kernel, others: sum.others + others };
        before = after;
        crate::said::say(&serde_json::json!(sum).to_string())?;
    }
    Ok(())
}

/// A thread that takes what is left of a core; it ends when this is dropped.
pub(crate) struct Soaker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// `schedstat` of the thread.
    account: PathBuf,
    /// The same of the core's `ksoftirqd`.
    daemon: PathBuf,
    /// What the kernel takes of the thread's time without traffic.
    at_rest: f64,
}

#[derive(Default)]
struct Shared {
    /// Cycles in the loop.
    own: AtomicU64,
    stop: AtomicBool,
}

/// Where the core's time went until now, in cycles; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    /// The thread had the core, with all that came on top of it.
    soaker: f64,
    /// Of that, its own loop.
    own: f64,
    /// It waited: others had the core, `ksoftirqd` among them.
    waited: f64,
    /// `ksoftirqd` had it.
    daemon: f64,
}

impl Spent {
    /// Whose the core was since `before`, if the kernel takes `at_rest` of the thread's time without traffic.
    fn since(&self, before: &Self, at_rest: f64) -> Shares {
        let soaker = self.soaker - before.soaker;
        let daemon = self.daemon - before.daemon;
        let others = (self.waited - before.waited - daemon).max(0.0);
        let above = if soaker > 0.0 { 1.0 - (self.own - before.own) / soaker - at_rest } else { 0.0 };
        Shares { all: soaker + daemon + others, kernel: above.max(0.0) * (soaker + others) + daemon, others }
    }
}

/// Whose a core was, in cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Shares {
    /// Everybody's.
    pub all: f64,
    /// The kernel's, beyond what it takes without traffic.
    pub kernel: f64,
    /// Other programs', with what the kernel did on top of them.
    pub others: f64,
}

impl Soaker {
    /// Begins on a core that has nothing to do, and watches it for a while.
    pub(crate) fn start(core: usize) -> Result<Self, String> {
        let shared = Arc::new(Shared::default());
        let (told, name) = mpsc::channel();
        let turning = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("soaker".to_owned()).spawn(move || {
            let name = machine::pin_to_core(core).and_then(|()| std::fs::read_link("/proc/thread-self"));
            let _ = told.send(name); // its reader waits for it
            turn(&turning);
        });
        let failed = |error: std::io::Error| format!("the thread that soaks core {core}: {error}");
        let thread = Some(thread.map_err(failed)?);
        let name = name.recv().map_err(|error| error.to_string())?.map_err(failed)?;
        let account = Path::new("/proc").join(&name).join("schedstat");
        let mut soaker = Self { shared, thread, account, daemon: daemon(core)?, at_rest: 0.0 };
        let id = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let set = Command::new("chrt").args(["--idle", "--pid", "0", &id]).output().map_err(failed)?;
        if !set.status.success() {
            return Err(format!("chrt: {}", String::from_utf8_lossy(&set.stderr).trim()));
        }
        let before = soaker.spent()?;
        std::thread::sleep(CALIBRATION);
        let rest = soaker.spent()?.since(&before, 0.0);
        soaker.at_rest = rest.kernel / (rest.all - rest.others).max(1.0);
        Ok(soaker)
    }

    /// Where the core's time went until now.
    pub(crate) fn spent(&self) -> Result<Spent, String> {
        let own = self.shared.own.load(Ordering::Relaxed) as f64;
        let [soaker, waited] = account(&self.account)?;
        let [daemon, _] = account(&self.daemon)?;
        Ok(Spent { soaker, own, waited, daemon })
    }
}

impl Drop for Soaker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn turn(shared: &Shared) {
    let (mut own, mut before) = (0, machine::cycles());
    while !shared.stop.load(Ordering::Relaxed) {
        let now = machine::cycles();
        let gap = now.wrapping_sub(before);
        if gap < GAP {
            own += gap;
            shared.own.store(own, Ordering::Relaxed);
        }
        before = now;
    }
}

/// Where the kernel tells of a core's `ksoftirqd`.
fn daemon(core: usize) -> Result<PathBuf, String> {
    let name = format!("ksoftirqd/{core}\n");
    let processes = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    processes
        .flatten()
        .map(|process| process.path())
        .find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name))
        .map(|path| path.join("schedstat"))
        .ok_or_else(|| format!("there is no ksoftirqd of core {core}"))
}

/// How long a thread had a core, and how long it waited for one, in cycles.
fn account(file: &Path) -> Result<[f64; 2], String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    let nanoseconds = schedstat(&text).ok_or_else(|| failed(&"is not what was expected"))?;
    Ok(nanoseconds.map(|ns| ns as f64 * machine::cycles_per_second() as f64 / 1e9))
}

/// The first two numbers of `schedstat`: nanoseconds on a core, and waiting for one.
fn schedstat(text: &str) -> Option<[u64; 2]> {
    let mut words = text.split_whitespace().map_while(|word| word.parse().ok());
    Some([words.next()?, words.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_loop_is_the_kernels() {
        let before = Spent { soaker: 50.0, own: 40.0, waited: 7.0, daemon: 3.0 };
        let quiet = Spent { soaker: 1050.0, own: 1020.0, ..before };
        let Shares { all, kernel, others } = quiet.since(&before, 0.0);
        assert_eq!((all, others), (1000.0, 0.0));
        assert!((kernel - 20.0).abs() < 1e-6);
        // Without traffic it was the same, so nothing of it is the traffic's.
        assert!(quiet.since(&before, 0.02).kernel < 1e-6);
    }

    #[test]
    fn other_programs_are_told_apart_and_what_came_on_top_of_them_is_added() {
        // A quarter of the thread's time, as much of the others', and all of the daemon's.
        let after = Spent { soaker: 400.0, own: 300.0, waited: 600.0, daemon: 400.0 };
        let Shares { all, kernel, others } = after.since(&Spent::default(), 0.0);
        assert_eq!((all, others), (1000.0, 200.0));
        assert!((kernel - (100.0 + 50.0 + 400.0)).abs() < 1e-6);
        // The core was never the thread's.
        let full = Spent { waited: 900.0, daemon: 900.0, ..Spent::default() };
        assert_eq!(full.since(&Spent::default(), 0.1), Shares { all: 900.0, kernel: 900.0, others: 0.0 });
    }

    #[test]
    fn the_schedulers_account_is_read() {
        assert_eq!(schedstat("1234 567 8\n"), Some([1234, 567]));
        assert_eq!(schedstat("0 0 0\n"), Some([0, 0]));
        assert_eq!(schedstat("12\n"), None);
        assert_eq!(schedstat(""), None);
    }

    #[test]
    fn the_soaker_has_what_is_left_of_a_core() {
        let core = *machine::usable_cores().unwrap().last().unwrap();
        let Ok(soaker) = Soaker::start(core) else { return }; // a container may hide the kernel's threads
        let before = soaker.spent().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let shares = soaker.spent().unwrap().since(&before, soaker.at_rest);
        assert!(shares.kernel <= shares.all && shares.others <= shares.all, "{shares:?}");
    }
}
