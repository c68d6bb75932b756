//! The machine as the kernel tells of it in files.

use std::path::{Path, PathBuf};

/// Where its files are: below `/`, or below a directory that stands for it.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    usable_cores: Vec<usize>,
}

impl Machine {
    /// The one that this process runs on.
    pub fn here() -> Self {
        Self { root: PathBuf::from("/"), usable_cores: machine::usable_cores().unwrap_or_default() }
    }

    /// The cores that this process may use.
    pub(super) fn usable_cores(&self) -> &[usize] {
        &self.usable_cores
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether something is there that may be looked at.
    pub(super) fn is_there(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// A file's text, without the space around it; `None` if it cannot be read.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        Some(std::fs::read_to_string(self.path(path)).ok()?.trim().to_owned())
    }

    /// A file's number.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The last name of what a link leads to.
    pub(super) fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        let to = std::fs::read_link(self.path(path)).ok()?;
        Some(to.file_name()?.to_string_lossy().into_owned())
    }

    /// The names in a directory.
    pub(super) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whose business a file is: its mode.
    pub(super) fn mode(&self, path: impl AsRef<Path>) -> Option<u32> {
        use std::os::unix::fs::PermissionsExt as _;
        Some(std::fs::metadata(self.path(path)).ok()?.permissions().mode())
    }
}

/// A list of numbers as the kernel writes it: `0-2,5`.
pub(super) fn listed(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// A machine of files that a test writes.
#[cfg(test)]
pub(super) mod made {
    use super::*;
    use crate::config::Config;

    /// A configuration of no more than what matters here, and this.
    pub(in super::super) fn config(text: &str) -> Config {
        let rest = r#"
            [realm]
            name = "test"
            ces_id = "gwa.demo."
            zones = ["a.demo."]
            networks = ["10.1.0.0/24"]
            [dns]
            upstreams = ["203.0.113.53"]
            name_server = "gwa.demo."
            [cetp]
            endpoints = []
            locators = []
            [registry]
            files = []
        "#;
        toml::from_str(&format!("{text}\n{rest}")).unwrap()
    }

    /// Removed when it is dropped.
    pub(in super::super) struct Made(pub(in super::super) Machine);

    impl Made {
        pub(in super::super) fn new(test: &str, cores: &[usize], files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ces-doctor-{test}-{}", std::process::id()));
            let made = Self(Machine { root, usable_cores: cores.to_vec() });
            for (path, text) in files {
                made.write(path, text);
            }
            made
        }

        pub(in super::super) fn write(&self, path: &str, text: &str) {
            let path = self.0.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        pub(in super::super) fn lead(&self, path: &str, to: &str) {
            let path = self.0.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, path).unwrap();
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0.root);
        }
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(listed("0-2,5\n"), [0, 1, 2, 5]);
        assert!(listed("").is_empty());
    }
}
