//! Sessions: each is set up, used and ended, and its end is known.
//!
//! Streams ask what a device does with packets; sessions ask what it does with conversations. Client and server are both
//! here, as state machines without I/O: the [`client`] keeps 32 bytes for each session, the [`server`] nothing at all.
//! The [`engine`] alone knows ports and clocks.
//!
//! The clock is shared: a server tells its client when the first packet arrived, over TCP in the timestamp of its SYN-ACK,
//! over UDP in the response's signature. So the time from a host's first query to its first packet across is measured once
//! for each session, without any state at the server.

pub mod client;
pub mod dns;
pub mod engine;
pub mod frames;
pub mod load;
pub mod outcome;
pub mod pace;
pub mod packet;
pub mod phases;
pub mod plan;
pub mod refresh;
pub mod server;
pub mod stamp;
pub mod table;
pub mod tally;
pub mod wires;

#[cfg(test)]
mod tests;
