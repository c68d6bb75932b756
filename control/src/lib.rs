//! What surrounds the engines: the configuration, the control loop, sockets, the shadow TAPs, and what an operator sees.
//!
//! Read in this order: [`config`] (what can be said), [`source`] (what the loop waits for) and [`sources`] (each of them:
//! other gateways, questions, resolvers, the kernel, the operator), [`interfaces`] (what the kernel has to do with
//! ports) and [`fleet`] (the workers seen from here), [`state`] (what outlives the process), [`records`] (what is
//! kept of NAT44), [`daemon`] (how all of it starts, its loop). [`datagram`], [`echo`], [`sender`] and [`tls`] are formats,
//! [`admin`], [`families`], [`trace`] and [`log`] what is shown. What they share is small:
//! [`inward`], [`listeners`], [`stream`], [`slots`].
#![forbid(unsafe_code)]

pub mod admin;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod datagram;
pub mod doctor;
pub mod echo;
pub mod families;
pub mod fleet;
pub mod interfaces;
pub mod inward;
pub mod listeners;
pub mod log;
pub mod pages;
pub mod records;
pub mod room;
pub mod sender;
pub mod slots;
pub mod source;
pub mod sources;
pub mod state;
pub mod stream;
pub mod tls;
pub mod trace;
