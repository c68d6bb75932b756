//! Files in memory in which the workers' sessions of NAT44 stand, so that they outlive the process.

use super::keys::Keys;
use ces_dataplane::table::sessions::{LAYOUT, Sessions};
use machine::Kept;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};

/// One for each worker, of so many sessions, in the first of these directories that has room. What does not work is told in the
/// log: then that worker's sessions end with the process. Those of other layouts and sizes, which nobody will read again, are
/// removed.
pub fn kept(directories: &[PathBuf], keys: &Keys, workers: u32, sessions: u32) -> Vec<Option<Kept>> {
    // Nobody else's who keeps some here: the keys are one gateway's.
    let words = keys.tag_key.map(u32::to_le_bytes);
    let digest = Sha256::new_with_prefix("sessions in memory").chain_update(words.as_flattened()).finalize();
    let number = digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    let own = format!("ces-{number:016x}-");
    let wanted: Vec<_> = match sessions {
        0 => Vec::new(),
        _ => (0..workers).map(|worker| format!("{own}nat-{LAYOUT}-{sessions}-{workers}-{worker}")).collect(),
    };
    for directory in directories {
        if let Err(error) = tidy(directory, &own, &wanted) {
            tracing::debug!("{}: {error}", directory.display());
        }
    }
    let open = |directory: &PathBuf, name: &String| {
        let path = directory.join(name);
        let failed = |error: &io::Error| tracing::warn!("state.memory: {}: {error}", path.display());
        Kept::open(&path, Sessions::kept_bytes(sessions)).inspect_err(failed).ok()
    };
    wanted.iter().map(|name| directories.iter().find_map(|directory| open(directory, name))).collect()
}

fn tidy(directory: &Path, own: &str, wanted: &[String]) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(own) && !wanted.iter().any(|wanted| wanted == name) {
            tracing::warn!("{}: sessions of another version or size, forgotten", entry.path().display());
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
        // What is no memory is passed over.
        let both = ["/proc/self".into(), directory.clone()];
        let (keys, others) = (Keys::make(2, 10), Keys::make(2, 10));
        assert!(kept(&both, &keys, 2, 100).iter().all(Option::is_some));
        assert!(kept(&both, &others, 1, 100).iter().all(Option::is_some));
        let first = names();
        assert_eq!(first.len(), 4);
        assert!(kept(&both, &keys, 2, 100).iter().all(Option::is_some));
        assert_eq!(names(), first, "they are found again");
        assert_eq!(kept(&both, &keys, 1, 200).len(), 1);
        assert_eq!(names().len(), 3);
        assert!(kept(&both, &keys, 1, 0).is_empty());
        assert_eq!(names().len(), 2);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(kept(&both, &keys, 1, 100)[0].is_none());
    }
}
