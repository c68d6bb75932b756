//! Bindings to the system's libdpdk, and to a C shim for what is static inline there.
//!
//! Generated; the safe interface is the crate `dpdk`. Documentation is DPDK's own.

#![allow(missing_docs, reason = "generated")]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, reason = "the names are C's")]
#![allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, reason = "generated")]
#![allow(unsafe_op_in_unsafe_fn, unnecessary_transmutes, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
