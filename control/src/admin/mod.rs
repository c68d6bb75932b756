//! The administrator's socket: `cesctl` on one end, `cesd` on the other, one JSON object per line in both directions.

pub mod protocol;
pub mod render;
pub mod server;
pub mod table;
pub mod view;
