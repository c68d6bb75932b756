//! A thread's place: which cores there are for this process, and staying on one.

use std::io;
use std::mem::size_of;

/// The most cores that a `cpu_set_t` names.
const CORES_MAX: usize = libc::CPU_SETSIZE as usize;

/// The cores that this thread may run on, ascending.
pub fn usable_cores() -> io::Result<Vec<usize>> {
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live `cpu_set_t` and the size is its own; 0 means the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every index is below CPU_SETSIZE, which is what the set has bits for.
    Ok((0..CORES_MAX).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Keeps the calling thread on this core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= CORES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no core {core}")));
    }
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE, checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer is to a live `cpu_set_t` and the size is its own; 0 means the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_thread_has_one_core() {
        std::thread::spawn(|| {
            let core = *usable_cores().unwrap().last().unwrap();
            pin_to_core(core).unwrap();
            assert_eq!(usable_cores().unwrap(), [core]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn absent_core_is_an_error() {
        assert!(pin_to_core(CORES_MAX).is_err());
        assert!(pin_to_core(CORES_MAX - 1).is_err());
    }
}
