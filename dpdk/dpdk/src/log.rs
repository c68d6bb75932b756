//! What the EAL and the drivers log. It is kept in memory, so that an error can say what they said and the program can
//! pass it on in its own log's form.

/// What is read at once; the shim keeps no more.
const LOG_BYTES: usize = 16 << 10;
/// How many of the last lines an error quotes.
const LINES_QUOTED: usize = 4;

/// Takes what the EAL and the drivers have logged since the last call, at most the last 16 KiB.
pub fn take_log() -> String {
    let mut bytes = vec![0u8; LOG_BYTES];
    // SAFETY: the pointer is to `LOG_BYTES` writable bytes.
    let length = unsafe { dpdk_sys::shim_log_take(bytes.as_mut_ptr().cast(), bytes.len()) };
    bytes.truncate(length);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many lines were overwritten because they were not taken in time.
pub fn lost_log_lines() -> u64 {
    // SAFETY: reads an integer under a lock.
    unsafe { dpdk_sys::shim_log_lost() }
}

/// The last lines of the log, joined, for an error. Takes the log.
pub(crate) fn excerpt() -> String {
    let log = take_log();
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_QUOTED)..].join("; ")
}
