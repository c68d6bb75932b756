//! The environment abstraction layer: DPDK's memory and device discovery. Started once per process.

use crate::error::{self, Error};
use crate::{interrupts, log};
use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where packet memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages, as many as are needed.
    HugePages,
    /// Ordinary pages, reserved at the start. Enough for virtual devices, not for a NIC.
    Ordinary {
        /// How much, in MiB.
        mib: u32,
    },
}

/// How to start the EAL.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where packet memory comes from.
    pub memory: Memory,
    /// The cores of the threads that poll ports. DPDK keeps its own threads off them, if there are others for the process.
    pub polling: Vec<usize>,
    /// Every device that will be opened, as in [`crate::Port::open`]. Of PCI devices, DPDK touches only these.
    pub devices: Vec<String>,
    /// Further arguments, as DPDK's "EAL parameters" describe them.
    pub extra: Vec<String>,
}

impl Options {
    /// The EAL's arguments, without the program's name.
    fn arguments(&self) -> Vec<String> {
        // The EAL keeps its own threads off the cores of its lcores, of which there is one here that nothing runs on.
        let polling = match self.polling.as_slice() {
            [] => machine::usable_cores().unwrap_or_else(|_| vec![0]),
            polling => polling.to_vec(),
        };
        let polling = polling.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut arguments = vec![format!("--lcores=0@({polling})"), "--no-telemetry".to_owned()];
        // Nothing is shared with other processes, and nothing is left behind in the file system.
        match self.memory {
            Memory::HugePages => arguments.push("--in-memory".to_owned()),
            // Ordinary pages go with the old way of memory, which `--in-memory` excludes and which leaves nothing anyway.
            Memory::Ordinary { mib } => {
                arguments.extend(["--no-shconf", "--no-huge", "-m"].map(String::from));
                arguments.push(mib.to_string());
            }
        }
        let pci: Vec<&String> = self.devices.iter().filter(|device| is_pci(device)).collect();
        if pci.is_empty() {
            arguments.push("--no-pci".to_owned());
        }
        for device in pci {
            arguments.extend(["-a".to_owned(), device.clone()]);
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// Whether a device is named by its PCI address: `[pci:][0000:]01:00.0`, perhaps with driver options after a comma.
pub(crate) fn is_pci(device: &str) -> bool {
    let name = device.split(',').next().unwrap_or_default();
    let name = name.strip_prefix("pci:").unwrap_or(name);
    let hexadecimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((bus, function)) = name.rsplit_once('.') else { return false };
    let parts: Vec<&str> = bus.split(':').collect();
    (2..=3).contains(&parts.len()) && parts.iter().all(|part| hexadecimal(part)) && hexadecimal(function)
}

/// Whether a huge page of any size is free. True, too, where the kernel does not say: the EAL will find out.
fn huge_pages_free() -> bool {
    let Ok(sizes) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return true };
    sizes.flatten().any(|size| {
        let free = std::fs::read_to_string(size.path().join("free_hugepages"));
        free.map_or(true, |text| text.trim() != "0")
    })
}

/// DPDK's release, such as "DPDK 22.11.11".
pub fn version() -> String {
    // SAFETY: returns a pointer to a static string.
    unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
}

/// Set for ever by the first start: DPDK cannot be started twice.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The running EAL. Cheap to clone; cleaned up when the last clone and everything made with it are gone.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Every packet pool, with its size.
    pools: Mutex<Vec<Pool>>,
    /// Names of the ports that are open.
    ports: Mutex<HashSet<String>>,
}

struct Pool {
    pool: *mut dpdk_sys::rte_mempool,
    frames: u32,
}

// SAFETY: DPDK's pools may be used from every thread; the pointer is only used to count and free.
unsafe impl Send for Pool {}

impl Eal {
    /// Starts the EAL.
    ///
    /// The calling thread keeps its cores, unlike after a bare `rte_eal_init`.
    pub fn start(options: &Options) -> Result<Self, Error> {
        if options.memory == Memory::HugePages && !huge_pages_free() {
            return Err(Error::NoHugePages);
        }
        Self::init(&options.arguments())
    }

    /// Starts the EAL with these arguments, the program's name left out.
    pub fn init(arguments: &[String]) -> Result<Self, Error> {
        let mut c_arguments = vec![c"ces".to_owned()];
        for argument in arguments {
            c_arguments.push(CString::new(argument.as_str()).map_err(|_| Error::ZeroByte(argument.clone()))?);
        }
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadyStarted);
        }
        let count = c_arguments.len() as i32;
        // The EAL keeps pointers into its arguments, reorders them, and expects a null at the end: they are leaked, once.
        let mut pointers: Vec<*mut c_char> = c_arguments.into_iter().map(CString::into_raw).collect();
        pointers.push(std::ptr::null_mut());
        let pointers = pointers.leak();
        // SAFETY: `argv` has `count` terminated strings and a null, writable and never freed; nobody else starts the EAL,
        // by the flag above.
        if unsafe { dpdk_sys::shim_eal_init(count, pointers.as_mut_ptr()) } < 0 {
            return Err(Error::Start { reason: error::last(), log: log::excerpt() });
        }
        Ok(Self { inner: Arc::new(Inner::default()) })
    }

    /// Keeps a pool in the books until the cleanup.
    pub(crate) fn adopt_pool(&self, pool: *mut dpdk_sys::rte_mempool, frames: u32) {
        self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner).push(Pool { pool, frames });
    }

    /// Notes that a port is open; `false` if it was.
    pub(crate) fn claim(&self, port: &str) -> bool {
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(port.to_owned())
    }

    /// Notes that a port is closed.
    pub(crate) fn release(&self, port: &str) {
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner).remove(port);
    }
}

/// An mbuf that is being returned by another thread is on its way for much less than this.
const SETTLE: Duration = Duration::from_millis(1);

impl Drop for Inner {
    fn drop(&mut self) {
        let pools = std::mem::take(&mut *self.pools.lock().unwrap_or_else(PoisonError::into_inner));
        // An mbuf does not hold the EAL, which would cost a counter per packet. So if one is still out, the memory stays
        // until the process ends.
        // SAFETY: the pool's memory is there until the cleanup below; counting reads it without a lock.
        let whole = |pool: &Pool| unsafe { dpdk_sys::rte_mempool_avail_count(pool.pool) } == pool.frames;
        if pools.iter().all(whole) {
            std::thread::sleep(SETTLE);
            for pool in &pools {
                // SAFETY: all mbufs are back, and whatever could take new ones held this `Inner`, whose last owner is gone.
                unsafe { dpdk_sys::rte_mempool_free(pool.pool) };
            }
            interrupts::stop();
            // SAFETY: the EAL was started, and ports, queues, pools and registered threads, which all hold this `Inner`,
            // are gone.
            unsafe { dpdk_sys::rte_eal_cleanup() };
        }
    }
}

impl std::fmt::Debug for Eal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Eal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(devices: &[&str], memory: Memory) -> Options {
        let devices = devices.iter().map(|&device| device.to_owned()).collect();
        Options { memory, polling: vec![1, 3], devices, extra: vec!["--log-level=8".to_owned()] }
    }

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        for device in ["0000:01:00.0", "01:00.1", "pci:0000:af:1f.7", "0000:01:00.0,mprq_en=1"] {
            assert!(is_pci(device), "{device}");
        }
        for device in
            ["net_af_packet0,iface=eth0.100", "net_ring0", "", "01.0", "net_pcap0,iface=a:b.c", "eth0.5"]
        {
            assert!(!is_pci(device), "{device}");
        }
    }

    #[test]
    fn without_pci_devices_the_bus_is_left_alone() {
        let arguments = options(&["net_null0"], Memory::Ordinary { mib: 64 }).arguments().join(" ");
        assert_eq!(
            arguments,
            "--lcores=0@(1,3) --no-telemetry --no-shconf --no-huge -m 64 --no-pci --log-level=8"
        );
    }

    #[test]
    fn only_named_pci_devices_are_allowed() {
        let arguments = options(&["net_null0", "0000:01:00.0"], Memory::HugePages).arguments().join(" ");
        assert_eq!(arguments, "--lcores=0@(1,3) --no-telemetry --in-memory -a 0000:01:00.0 --log-level=8");
    }
}
