//! The directory of what outlives the process, and what the last process left there.

use super::journal::Journal;
use super::keys::Keys;
use ces_gateway::journal::{Header, Unusable, replay};
use ces_gateway::sessions::{Figures, Sessions};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the directory.
    #[error("state.directory: {0}: {1}")]
    File(PathBuf, io::Error),
    /// The keys are there and cannot be read.
    #[error("{0}: {1}; without these keys tags of before mean nothing: remove the directory to begin anew")]
    Keys(PathBuf, String),
    /// Another process has it.
    #[error("state.directory: {0}: another cesd uses it")]
    Taken(PathBuf),
}

/// What became of the sessions of the last process.
#[derive(Debug)]
pub enum Past {
    /// There were none: nothing was ever kept here.
    None,
    /// These.
    Kept(Box<Sessions>),
    /// There were some, and nobody knows which.
    Lost(String),
}

/// The journal taken up, and what it said.
#[derive(Debug)]
pub struct Taken {
    /// The key that tunnel ids are drawn by: the last process's, or a new one where its sessions are lost.
    pub tunnel_key: [u64; 2],
    /// The sessions of the last process.
    pub past: Past,
    /// Where this process goes on writing.
    pub journal: Journal,
}

/// A state directory that is ours alone as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    keys: Keys,
    _lock: File,
}

impl Directory {
    /// Takes a directory, made if it is not there, for that many workers with that many bindings each.
    pub fn open(path: &Path, workers: u32, bindings: u32) -> Result<Self, StateError> {
        let failed = |error| StateError::File(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = private().create(true).truncate(false).open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Taken(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let keys = Keys::open(path, workers, bindings)?;
        Ok(Self { path: path.to_owned(), keys, _lock: lock })
    }

    /// What makes tags mean something here.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// Reads the journal and goes on with it; one that cannot be used is set aside.
    pub fn take(self, figures: &Figures) -> Result<Taken, StateError> {
        let path = self.path.join("journal");
        let read = match read(&path) {
            Ok(bytes) => Some(replay(&bytes, figures).map(|replayed| (replayed, bytes.len()))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(StateError::File(path, error)),
        };
        let mut written = None;
        let past = match read {
            None if self.is_marked() => Past::Lost("the journal is gone".to_owned()),
            None => Past::None,
            Some(Ok((replayed, length))) => {
                let cut = length - replayed.length;
                if cut > 0 {
                    tracing::warn!("{}: its last {cut} octets are not whole: left out", path.display());
                }
                written = Some((replayed.header.clone(), replayed.pen.clone(), replayed.length));
                tracing::info!("{}: {} changes read", path.display(), replayed.changes);
                Past::Kept(Box::new(replayed.sessions))
            }
            Some(Err(why)) => Past::Lost(self.set_aside(&path, why)),
        };
        let failed = |error| StateError::File(path.clone(), error);
        let sessions = match &past {
            Past::Kept(sessions) => (**sessions).clone(),
            Past::None | Past::Lost(_) => Sessions::new(figures),
        };
        let header = match &written {
            Some((header, ..)) => Header::new(figures, header.tunnel_key),
            None => Header::new(figures, rand::random()),
        };
        self.mark().map_err(failed)?;
        let tunnel_key = header.tunnel_key;
        let appended = written.filter(|(old, ..)| *old == header).map(|(_, pen, length)| (pen, length));
        let journal = Journal::start(self.path.clone(), self, header, sessions, appended).map_err(failed)?;
        Ok(Taken { tunnel_key, past, journal })
    }

    /// Whether a journal was ever begun here: then one that is missing was lost.
    fn is_marked(&self) -> bool {
        self.path.join("begun").exists()
    }

    fn mark(&self) -> io::Result<()> {
        private().create(true).truncate(false).open(self.path.join("begun")).map(|_| ())
    }

    fn set_aside(&self, path: &Path, why: Unusable) -> String {
        let aside = self.path.join("journal.unusable");
        tracing::error!(
            "{}: {why}; its sessions are not taken up again, and peers will see a restart. It is kept as {}",
            path.display(),
            aside.display()
        );
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::error!("{}: {error}", aside.display());
        }
        why.to_string()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens for writing what nobody else may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Puts a whole file in the place of another, so that at any time one of the two is there.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private().create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_parent(path)
}

/// Has a renaming last.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ces_dataplane::tag::Layout;
    use ces_gateway::Change;
    use ces_gateway::sessions::Names;
    use std::net::Ipv4Addr;

    /// A directory of its own for a test.
    pub(in crate::state) fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ces-state-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(in crate::state) fn figures(keys: Keys) -> Figures {
        Figures {
            layout: keys.layout(),
            tag_key: keys.tag_key,
            workers: 1,
            per_worker: 64,
            tunnels: 4,
            pool: "10.64.0.0/16".parse().unwrap(),
            per_host: 64,
        }
    }

    fn open(path: &Path) -> Taken {
        let directory = Directory::open(path, 1, 64).unwrap();
        let figures = figures(directory.keys());
        directory.take(&figures).unwrap()
    }

    /// The next reservation of a host, applied.
    pub(in crate::state) fn reserve(sessions: &mut Sessions, number: u32) -> Change {
        let names = Names { local: "a.".into(), remote: format!("h{number}.").into(), peer: "c.".into() };
        let change = sessions.reservation(Ipv4Addr::from(0xc0a8_0001), 0, names, 1).unwrap();
        sessions.apply(&change, 1).unwrap();
        change
    }

    fn kept(past: Past) -> Sessions {
        match past {
            Past::Kept(sessions) => *sessions,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn r1_what_is_taken_down_is_there_for_the_next_process() {
        let path = directory("next");
        let mut first = open(&path);
        assert!(matches!(first.past, Past::None));
        assert!(matches!(Directory::open(&path, 1, 64), Err(StateError::Taken(_))));
        let mut sessions = Sessions::new(&figures(Keys::open(&path, 1, 64).unwrap()));
        for number in 0..10 {
            first.journal.record(1, Box::new(reserve(&mut sessions, number)));
        }
        let key = first.tunnel_key;
        drop(first.journal);
        let mut second = open(&path);
        assert_eq!(second.tunnel_key, key, "to its peers it is the same gateway");
        assert!(kept(second.past) == sessions);
        second.journal.record(1, Box::new(reserve(&mut sessions, 10)));
        drop(second.journal);
        // A last line that was being written.
        let whole = std::fs::read(path.join("journal")).unwrap();
        std::fs::write(path.join("journal"), [&whole[..], b"0123"].concat()).unwrap();
        let third = open(&path);
        assert!(kept(third.past) == sessions);
        drop(third.journal);
        assert_eq!(std::fs::read(path.join("journal")).unwrap(), whole);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn r1_what_cannot_be_believed_is_set_aside_and_told() {
        let path = directory("aside");
        let first = open(&path);
        let (key, journal) = (first.tunnel_key, path.join("journal"));
        drop(first.journal);
        std::fs::write(&journal, "hello\n").unwrap();
        let second = open(&path);
        assert!(matches!(second.past, Past::Lost(_)));
        assert_ne!(second.tunnel_key, key, "to its peers it has restarted");
        assert!(path.join("journal.unusable").exists());
        drop(second.journal);
        // One that is gone says nothing about what there was.
        std::fs::remove_file(&journal).unwrap();
        let third = open(&path);
        assert!(matches!(third.past, Past::Lost(_)));
        drop(third.journal);
        assert!(matches!(open(&path).past, Past::Kept(_)));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn another_layout_is_another_journal() {
        let path = directory("layout");
        drop(open(&path));
        let directory = Directory::open(&path, 1, 1000).unwrap();
        assert_ne!(directory.keys().layout(), Layout::new(1, 64));
        let figures = Figures { per_worker: 1000, ..figures(directory.keys()) };
        assert!(matches!(directory.take(&figures).unwrap().past, Past::Lost(_)));
        std::fs::remove_dir_all(path).unwrap();
    }
}
