//! `cesd` itself: everything put together, started in an order that leaves nothing behind when a step fails.
//!
//! Read `house` (the owners side by side), `turn` (the loop), `start` (the beginning), then what others see and do:
//! `operator` with `listings` and `tracing`, `views` and `scrape`, `reload`.

mod added;
mod askers;
mod devices;
mod dhcp;
mod discard;
mod files;
mod ground;
mod house;
mod last_reload;
mod listings;
mod load;
mod logged;
mod operator;
mod outside;
mod places;
mod reload;
mod rewrites;
mod rules;
mod scrape;
mod service;
mod shortage;
mod sources;
mod start;
mod told;
mod tracing_packets;
mod turn;
mod views;
mod world;

pub use files::load;
pub use start::{StartError, start};
pub use turn::{Daemon, Exit};
