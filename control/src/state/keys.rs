//! The key of the session tags and how handles are cut: made once, so that a tag means the same after a restart.

use super::files::{StateError, write_whole};
use ces_dataplane::tag::Layout;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;

/// The name of the file.
const FILE: &str = "keys.json";

/// What makes a tag mean a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The key of the permutation.
    pub tag_key: [u32; 4],
    worker_bits: u32,
    slot_bits: u32,
}

impl Keys {
    /// New ones, for that many workers with that many bindings each.
    pub fn make(workers: u32, bindings: u32) -> Self {
        let Layout { worker_bits, slot_bits } = Layout::new(workers, bindings);
        Self { tag_key: rand::rng().random(), worker_bits, slot_bits }
    }

    /// How handles are cut.
    pub fn layout(&self) -> Layout {
        Layout { worker_bits: self.worker_bits, slot_bits: self.slot_bits }
    }

    /// Whether so many workers and bindings can be told apart.
    fn fit(&self, workers: u32, bindings: u32) -> bool {
        let Layout { worker_bits, slot_bits } = Layout::new(workers, bindings);
        // A layout of the file's may be any number: the rest of the 32 bits is the generation.
        let sum = self.worker_bits.checked_add(self.slot_bits);
        self.worker_bits >= worker_bits && self.slot_bits >= slot_bits && sum.is_some_and(|sum| sum <= 31)
    }

    /// Those of a directory; made and kept there if there are none, or if they are too small for this configuration.
    pub(super) fn open(directory: &Path, workers: u32, bindings: u32) -> Result<Self, StateError> {
        let path = directory.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => {
                let keys: Self = serde_json::from_slice(&text)
                    .map_err(|error| StateError::Keys(path.clone(), error.to_string()))?;
                if keys.fit(workers, bindings) {
                    return Ok(keys);
                }
                tracing::warn!(
                    "{}: made for fewer workers or bindings than are configured; made anew, and sessions are not kept",
                    path.display()
                );
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(StateError::File(path, error)),
        }
        let keys = Self::make(workers, bindings);
        let text = serde_json::to_vec(&keys).unwrap_or_default();
        write_whole(&path, &text).map_err(|error| StateError::File(path, error))?;
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_nobody_else_reads_them() {
        let directory = super::super::files::tests::directory("keys");
        let first = Keys::open(&directory, 2, 1000).unwrap();
        assert_eq!(Keys::open(&directory, 2, 1000).unwrap(), first);
        assert_eq!(Keys::open(&directory, 1, 1024).unwrap(), first, "fewer fit as well");
        let mode = std::fs::metadata(directory.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let larger = Keys::open(&directory, 2, 1025).unwrap();
        assert_ne!(larger, first);
        assert_eq!(Keys::open(&directory, 2, 1025).unwrap(), larger);
        std::fs::write(directory.join(FILE), "{}").unwrap();
        assert!(matches!(Keys::open(&directory, 2, 1025), Err(StateError::Keys(..))));
        let wild = Keys { worker_bits: u32::MAX, slot_bits: u32::MAX, ..first };
        assert!(!wild.fit(1, 1));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
