//! Threads that Rust started and DPDK shall know.

use crate::Eal;
use crate::error::{self, Error};
use std::marker::PhantomData;

/// Proof that the calling thread has an lcore id, and with it a cache in every packet pool. It stays on its thread.
pub struct RegisteredThread {
    _eal: Eal,
    /// The id is thread-local: neither `Send` nor `Sync`.
    _here: PhantomData<*const ()>,
}

impl RegisteredThread {
    /// Registers the calling thread until the result is dropped.
    pub fn new(eal: &Eal) -> Result<Self, Error> {
        // SAFETY: the EAL runs, as the caller holds it.
        if unsafe { dpdk_sys::rte_thread_register() } < 0 {
            return Err(Error::Thread(error::last()));
        }
        Ok(Self { _eal: eal.clone(), _here: PhantomData })
    }
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this thread was registered, and as the type is not `Send` this is that thread.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}
