//! Files in memory in which the workers' sessions of NAT44 stand, so that they outlive the process.

use super::keys::Keys;
use ces_dataplane::table::sessions::{LAYOUT, Sessions};
use machine::Kept;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;

/// One for each worker, of so many sessions. What does not work is told in the log: then that worker's sessions end with the
/// process. Those of other layouts and sizes, which nobody will read again, are removed.
pub fn kept(directory: &Path, keys: &Keys, workers: u32, sessions: u32) -> Vec<Option<Kept>> {
    // Nobody else's who keeps some here: the keys are one gateway's.
    let words = keys.tag_key.map(u32::to_le_bytes);
    let digest = Sha256::new_with_prefix("sessions in memory").chain_update(words.as_flattened()).finalize();
    let number = digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    let own = format!("ces-{number:016x}-");
    let wanted: Vec<_> = match sessions {
        0 => Vec::new(),
        _ => (0..workers).map(|worker| format!("{own}nat-{LAYOUT}-{sessions}-{workers}-{worker}")).collect(),
    };
    if let Err(error) = tidy(directory, &own, &wanted) {
        tracing::warn!("state.memory: {}: {error}", directory.display());
    }
    let open = |name: &String| {
        let path = directory.join(name);
        Kept::open(&path, Sessions::kept_bytes(sessions))
            .inspect_err(|error| {
                tracing::warn!(
                    "state.memory: {}: {error}; sessions of NAT44 will not outlive this process",
                    path.display()
                );
            })
            .ok()
    };
    wanted.iter().map(open).collect()
}

fn tidy(directory: &Path, own: &str, wanted: &[String]) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(own) && !wanted.iter().any(|wanted| wanted == name) {
            tracing::warn!("{}: of another version or size, removed", entry.path().display());
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_file_for_each_worker_and_none_that_nobody_reads() {
        // In a directory of memory.
        let directory = Path::new("/dev/shm").join(format!("ces-memory-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("somebody's"), "").unwrap();
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let (keys, others) = (Keys::make(2, 10), Keys::make(2, 10));
        assert!(kept(&directory, &keys, 2, 100).iter().all(Option::is_some));
        assert!(kept(&directory, &others, 1, 100).iter().all(Option::is_some));
        let first = names();
        assert_eq!(first.len(), 4);
        assert!(kept(&directory, &keys, 2, 100).iter().all(Option::is_some));
        assert_eq!(names(), first, "they are found again");
        assert_eq!(kept(&directory, &keys, 1, 200).len(), 1);
        assert_eq!(names().len(), 3);
        assert!(kept(&directory, &keys, 1, 0).is_empty());
        assert_eq!(names().len(), 2);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(kept(&directory, &keys, 1, 100)[0].is_none());
    }
}
