//! A port as long as anybody uses it: what it shares with its queues.

use crate::error::{self, Error};
use crate::{Eal, interrupts, log};
use dpdk_sys as sys;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of no port.
pub(crate) const NO_PORT: u16 = u16::MAX;

/// What the port and its queues share: it stops and closes with the last of them.
pub(crate) struct Running {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) started: AtomicBool,
    /// Keeps the pools alive, too, that the receive queues take from.
    pub(crate) eal: Eal,
}

impl Running {
    pub(crate) fn error(&self, action: &'static str, code: i32) -> Error {
        Error::Port { port: self.name.clone(), action, reason: error::text(code), log: log::excerpt() }
    }

    /// Turns a status code into a result.
    pub(crate) fn check(&self, action: &'static str, code: i32) -> Result<(), Error> {
        if code < 0 { Err(self.error(action, code)) } else { Ok(()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.id != NO_PORT {
            let _away = interrupts::keep_away(&self.name);
            // SAFETY: the port is valid from `Port::open` to here; its queues, which hold this, are gone. Errors of a device
            // that is going away have nobody left to care.
            unsafe {
                if self.started.load(Ordering::Acquire) {
                    sys::rte_eth_dev_stop(self.id);
                }
                sys::shim_device_remove(self.id);
            }
        }
        self.eal.release(&self.name);
    }
}
