//! From a burst of frames to a burst of verdicts.
//!
//! A packet goes through three phases, and what one phase will need of memory is fetched in the phase before:
//!
//! 1. **Parse** the frame into a [`Packet`](crate::packet::Packet), and fetch what its key leads to: a bucket of the egress
//!    index for what comes from inside, the binding itself for what comes through a tunnel (its session tag says the slot).
//! 2. **Look up** (inside only): compare signatures, and fetch the binding.
//! 3. **Act**: check, translate, wrap or unwrap, count.
//!
//! The phases run over the burst staggered by groups of packets: one loop for both sides, [`stagger`]. What each side does in a
//! phase is in [`inside`], in [`outside`] and in [`dmz`]; what comes through a tunnel is acted on in [`tunnel`].
//!
//! No function here has the whole state: each takes the owners that it needs, the long ways a small context of them
//! ([`ground`]). Where a packet leaves, the path says a way, and `crate::way` does the rest.
//!
//! Parsing and acting each have a short way, for packets that are as nearly all are, and a long way for all others. The short
//! way decides nothing but that a packet is one of its own; whatever else it may be, the long way says.
//!
//! What belongs to another worker is told by its addresses alone and handed over unparsed. What needs no binding is settled in
//! phase 1 or in [`own`]; what is unusual about a packet (it expires, it is an ICMP error, a TCP SYN, too large) leaves the
//! straight line for a cold function and mostly comes back to it, so that there is one place that translates
//! (`crate::way::write`).

mod alg;
mod answer;
mod burst;
mod dmz;
mod fragment;
mod ground;
mod icmp;
mod inside;
mod nat;
mod outer;
mod outside;
mod own;
mod reset;
mod sealed;
mod segment;
mod stagger;
mod tunnel;
mod unwrap;

pub use crate::packet::BURST;
pub use burst::{process, process_arrival, process_burst};
pub use unwrap::{Unwrapped, unwrap, unwrap_plain};
