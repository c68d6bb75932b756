//! The tables of a worker: where its packets find what becomes of them.
//!
//! Each is one owner: its memory is allocated once, its fields are its own, and what must agree in it agrees whatever it is
//! asked to do. A full table is an answer, never a crash.

pub mod annex;
pub mod bindings;
mod blocks;
pub mod channels;
pub mod conversations;
mod dialogs;
pub mod entry;
mod expectations;
pub mod fib;
pub mod fragments;
pub mod hops;
pub mod index;
pub mod limits;
mod mappings;
mod permissions;
mod ports;
mod records;
pub mod reservations;
pub mod session;
pub mod sessions;
mod slab;
pub mod stage;
mod subscribers;
mod term;
pub mod tunnels;
mod unwanted;
mod wheel;
