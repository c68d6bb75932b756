//! How many processes went on from this directory: each has a number of its own, which is on the disk before anything is done
//! with it. It stands in what makes nonces of encrypted tunnels, so that none comes twice.

use super::files::write_whole;
use std::io::ErrorKind;
use std::path::Path;

/// The name of the file.
const FILE: &str = "starts";
/// Numbers have 24 bits.
const MOST: u32 = (1 << 24) - 1;

/// The number of this process; `None` if it is not certain to be new: then no key of a process before is gone on with.
/// `is_begun`: there were some.
pub(super) fn next(directory: &Path, is_begun: bool) -> Option<u32> {
    let path = directory.join(FILE);
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u32>().ok(),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_begun => Some(0),
        Err(_) => None,
    };
    let number = before.map_or(1, |before| before.saturating_add(1));
    if number > MOST {
        tracing::warn!("{}: no number is left; keys of encrypted tunnels are agreed anew", path.display());
        return None;
    }
    match write_whole(&path, format!("{number}\n").as_bytes()) {
        Ok(()) => before.map(|_| number),
        Err(error) => {
            tracing::warn!("{}: {error}; keys of encrypted tunnels are agreed anew", path.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_each_process_has_a_number_of_its_own_or_none() {
        let directory = super::super::files::tests::directory("starts");
        assert_eq!(
            (next(&directory, false), next(&directory, true), next(&directory, true)),
            (Some(1), Some(2), Some(3))
        );
        std::fs::write(directory.join(FILE), "x").unwrap();
        assert_eq!(next(&directory, true), None, "nobody knows how many there were");
        std::fs::remove_file(directory.join(FILE)).unwrap();
        assert_eq!(next(&directory, true), None);
        std::fs::write(directory.join(FILE), format!("{MOST}")).unwrap();
        assert_eq!(next(&directory, true), None);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(next(&directory, false), None, "it cannot be written down");
    }
}
