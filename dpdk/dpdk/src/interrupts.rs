//! Ports that DPDK's interrupt thread changes under the hands of those who use them.
//!
//! The driver `net_memif` shares memory with another process. When that process leaves, DPDK's interrupt thread learns of it;
//! it takes the mark "connected" from the port, unmaps the memory and frees what described it. Nothing of this waits for a
//! burst that looked at the mark before: such a burst, above all one whose thread was just then interrupted, reads or writes
//! memory that is gone, and the process dies. When a peer comes back there is the same in the other direction: a burst takes
//! the address of a ring before it looks at the mark, which may be of the old ring, or of none, when the new connection sets
//! the mark. (DPDK 22.11, `memif_disconnect` and `memif_connect` in drivers/net/memif; so it is in later releases.)
//!
//! So bursts and the interrupt thread take turns. Each queue of such a port passes a [`Gate`] for every burst, and while the
//! interrupt thread sees to anything the gate is closed: a burst finds nothing to receive and no room to send then, as
//! without a peer. Opening, starting and closing such a port, which does the same things in other threads, closes it as well.
//! Ports of other drivers have nothing to do with it: the interrupt thread is watched from the first such port on.
//!
//! What else of that driver a leaving peer would end the process by is in the shim, `sendmsg`, and in [`stop`].
//!
//! A peer that means harm is another matter: it writes the rings that the driver reads, and the driver trusts them.

use crate::error::{self, Error};
use machine::gate::{Barrier, Closed, Gate, Pass};
use std::cell::RefCell;
use std::sync::{Arc, Condvar, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Drivers with such ports.
const DRIVERS: [&str; 1] = ["net_memif"];

/// How long the interrupt thread may take for the first thing that it is asked to do. It has nothing else to do then.
const FIRST_TURN: Duration = Duration::from_secs(10);

static GATE: LazyLock<Arc<Gate>> = LazyLock::new(|| Gate::new(Barrier::cheapest()));

/// What came of watching the interrupt thread, once a port has asked for it.
static WATCHED: OnceLock<Result<(), String>> = OnceLock::new();
/// Whether the interrupt thread has told of itself.
static SEEN: Mutex<bool> = Mutex::new(false);
static IS_SEEN: Condvar = Condvar::new();

thread_local! {
    /// The gate, closed by the interrupt thread.
    static CLOSED: RefCell<Option<Closed>> = const { RefCell::new(None) };
}

extern "C" fn begin() {
    CLOSED.set(Some(GATE.close()));
}

extern "C" fn end() {
    // The first time it is open.
    if CLOSED.take().is_none() {
        *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = true;
        IS_SEEN.notify_all();
    }
}

/// Has the interrupt thread close the gate from now on whenever it sees to something, if this device needs that.
pub(crate) fn watch_for(device: &str) -> Result<(), Error> {
    if concerns(device) { WATCHED.get_or_init(watch).clone().map_err(Error::Interrupts) } else { Ok(()) }
}

fn watch() -> Result<(), String> {
    LazyLock::force(&GATE);
    // SAFETY: the EAL runs, as whoever opens a port holds it; both functions are there for ever and are called from one thread.
    let code = unsafe { dpdk_sys::shim_interrupts(Some(begin), Some(end)) };
    if code < 0 {
        return Err(error::text(code));
    }
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = IS_SEEN.wait_timeout_while(seen, FIRST_TURN, |seen| !*seen);
    let (seen, _) = wait.unwrap_or_else(PoisonError::into_inner);
    if *seen {
        Ok(())
    } else {
        Err(format!("it has not waited for anything within {} s", FIRST_TURN.as_secs()))
    }
}

/// Keeps the interrupt thread from anything for good: the cleanup of the EAL unmaps the memory that it uses, and does not end
/// it (DPDK 22.11).
pub(crate) fn stop() {
    if WATCHED.get().is_some() {
        std::mem::forget(GATE.close());
    }
}

/// Whether the gate is for this device. A virtual device's name begins with its driver's.
fn concerns(device: &str) -> bool {
    DRIVERS.iter().any(|driver| device.starts_with(driver))
}

/// A way through the gate for a queue of this device, if it needs one.
pub(crate) fn pass(device: &str) -> Option<Pass> {
    concerns(device).then(|| GATE.pass())
}

/// Keeps bursts and the interrupt thread away, if this device needs that, until the result is dropped.
pub(crate) fn keep_away(device: &str) -> Option<Closed> {
    concerns(device).then(|| GATE.close())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_other_drivers_leave_the_interrupt_thread_alone() {
        for device in ["net_null0", "net_af_packet0,iface=memif0", "net_tap_memif", "0000:03:00.0"] {
            watch_for(device).expect("nothing to do");
            assert!(WATCHED.get().is_none(), "{device}: libc's functions would be replaced");
            assert!(pass(device).is_none() && keep_away(device).is_none(), "{device}: a gate for nothing");
        }
        assert!(concerns("net_memif0,role=client"));
    }
}
