//! How keys come to a worker and go from it.

use super::key::{InboundKey, OutboundKey};

/// What of a peer's keys changes. The worker puts it in the place of what was there, and sends that back.
#[derive(Debug)]
pub enum KeyPart {
    /// What is sent under; `None`: nothing is sent.
    Out(Option<Box<OutboundKey>>),
    /// What comes under, in this epoch; `None`: nothing comes.
    In(bool, Option<Box<InboundKey>>),
}

/// Another key of a peer, or none.
#[derive(Debug)]
pub struct KeyChange {
    /// The slot of the index that we drew for the peer: [`slot_of`](super::slot_of).
    pub slot: u16,
    /// What changes.
    pub part: KeyPart,
}
