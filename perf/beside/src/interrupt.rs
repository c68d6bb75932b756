//! SIGINT and SIGTERM end the run after what is under way: everything that was started is ended, what was measured is shown.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static SIGNALLED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on the signals no longer end the process.
pub fn catch() -> Result<(), String> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&SIGNALLED)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// An error if one of them came.
pub fn check() -> Result<(), String> {
    if SIGNALLED.load(Ordering::Relaxed) { Err(INTERRUPTED.to_owned()) } else { Ok(()) }
}

/// What [`check`] says.
pub const INTERRUPTED: &str = "interrupted";

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `done` gives something, at most so long.
pub fn wait<T>(
    what: &str,
    most: Duration,
    mut done: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let end = Instant::now() + most;
    loop {
        if let Some(found) = done()? {
            return Ok(found);
        }
        check()?;
        if Instant::now() >= end {
            return Err(format!("{what}: not after {:.1} s", most.as_secs_f64()));
        }
        std::thread::sleep(LOOK);
    }
}
