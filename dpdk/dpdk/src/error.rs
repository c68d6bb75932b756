//! Why something with DPDK did not work, in words for the operator.

use std::ffi::CStr;

/// Why something with DPDK did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The EAL can be started once in the life of a process.
    #[error("DPDK was started before in this process and cannot be started again")]
    AlreadyStarted,
    /// An argument that C cannot take.
    #[error("{0:?} contains a zero byte")]
    ZeroByte(String),
    /// The EAL did not start.
    #[error("DPDK did not start: {}", cause(.log, .reason))]
    Start {
        /// The error's text.
        reason: String,
        /// What the EAL logged about it.
        log: String,
    },
    /// The thread of the EAL that would have to be watched cannot be.
    #[error("DPDK's interrupt thread cannot be watched: {0}")]
    Interrupts(String),
    /// Huge pages are wanted and there are none.
    #[error(
        "no huge pages are free: reserve some, for instance 512 of 2 MiB by `sysctl -w vm.nr_hugepages=512`, \
         or run without them"
    )]
    NoHugePages,
    /// A packet pool could not be made.
    #[error(
        "no memory for a pool of {frames} packet buffers ({mib} MiB): {reason}; \
         raise vm.nr_hugepages, or memory.mib without huge pages"
    )]
    Pool {
        /// Buffers asked for.
        frames: u32,
        /// What they take, in MiB.
        mib: u32,
        /// The error's text.
        reason: String,
    },
    /// There is no such device, or its driver refused it.
    #[error("cannot open device {device}: {}", cause(.log, .reason))]
    Device {
        /// The device as it was named.
        device: String,
        /// The error's text.
        reason: String,
        /// What the driver logged about it.
        log: String,
    },
    /// The device is opened already.
    #[error("device {0} is in use already")]
    InUse(String),
    /// A port refused a setting or an order.
    #[error("port {port} cannot {action}: {}", cause(.log, .reason))]
    Port {
        /// The port's name.
        port: String,
        /// What was wanted.
        action: &'static str,
        /// The error's text.
        reason: String,
        /// What the driver logged about it.
        log: String,
    },
    /// A thread could not be made known to DPDK.
    #[error("cannot register the thread with DPDK: {0}")]
    Thread(String),
}

/// What was logged, if anything was, says more than the code, which is often a driver's catch-all.
fn cause(log: &str, reason: &str) -> String {
    if log.is_empty() { reason.to_owned() } else { format!("{log} ({reason})") }
}

/// The text of an error code, positive or negative as DPDK returns both.
pub(crate) fn text(code: i32) -> String {
    // SAFETY: `rte_strerror` takes any number and returns a terminated string in thread-local or static memory, which is
    // copied before anything else can be written there.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(code.abs())) };
    text.to_string_lossy().into_owned()
}

/// The text of this thread's `rte_errno`.
pub(crate) fn last() -> String {
    // SAFETY: reads a thread-local integer.
    text(unsafe { dpdk_sys::shim_errno() })
}
