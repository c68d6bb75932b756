//! What `cesctl` asks and `cesd` answers, one JSON object per line in both directions; and how a person reads it.

pub mod protocol;
pub mod render;
pub mod table;
mod value;
pub mod view;
