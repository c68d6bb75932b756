//! Frames.

/// Longest payload that the 2-byte length can say.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;
