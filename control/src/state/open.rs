//! The directory of what outlives the process, and what the last process left there.

use super::files::{StateError, private};
use super::journal::Journal;
use super::keys::Keys;
use super::starts;
use ces_gateway::journal::{JournalHeader, Replayed, Unusable, replay};
use ces_gateway::sessions::{CesSessions, Figures};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Says that a journal was begun here once.
const BEGUN: &str = "begun";

/// What became of the sessions of the last process.
#[derive(Debug)]
pub enum Past {
    /// There were none: nothing was ever kept here.
    None,
    /// These.
    Kept(Box<CesSessions>),
    /// There were some, and nobody knows which.
    Lost(String),
}

/// The journal taken up, and what it said.
#[derive(Debug)]
pub struct Reopened {
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
    start: Option<u32>,
    lock: File,
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
        let start = starts::next(path, path.join(BEGUN).exists());
        Ok(Self { path: path.to_owned(), keys, start, lock })
    }

    /// What makes tags mean something here.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// The number of this process, which none before it had; `None` if that is not certain.
    pub fn start(&self) -> Option<u32> {
        self.start
    }

    /// Begins to read the journal, while others do what else there is to do at a start. Nothing is changed by that.
    pub fn read(self, figures: Figures) -> Reading {
        let (path, under) = (self.path.join("journal"), figures.clone());
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(move || read(&path, &under));
        Reading { directory: self, figures, thread: thread.ok() }
    }

    fn take(self, figures: &Figures, read: Read) -> Result<Reopened, StateError> {
        let path = self.path.join("journal");
        let read = read.map_err(|error| StateError::File(path.clone(), error))?;
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
            Past::None | Past::Lost(_) => CesSessions::new(figures),
        };
        let header = match &written {
            Some((header, ..)) => JournalHeader::new(figures, header.tunnel_key),
            None => JournalHeader::new(figures, rand::random()),
        };
        self.mark().map_err(failed)?;
        let tunnel_key = header.tunnel_key;
        let appended = written.filter(|(old, ..)| *old == header).map(|(_, pen, length)| (pen, length));
        let journal = Journal::start(self.path, self.lock, header, sessions, appended).map_err(failed)?;
        Ok(Reopened { tunnel_key, past, journal })
    }

    /// Whether a journal was ever begun here: then one that is missing was lost.
    fn is_marked(&self) -> bool {
        self.path.join(BEGUN).exists()
    }

    fn mark(&self) -> io::Result<()> {
        private().create(true).truncate(false).open(self.path.join(BEGUN)).map(|_| ())
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

/// What a journal says, and how long it is; `None` if there is none.
type Read = io::Result<Option<Result<(Replayed, usize), Unusable>>>;

fn read(path: &Path, figures: &Figures) -> Read {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(replay(&bytes, figures).map(|replayed| (replayed, bytes.len())))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A journal that is being read.
pub struct Reading {
    directory: Directory,
    figures: Figures,
    /// None: nobody reads it yet.
    thread: Option<JoinHandle<Read>>,
}

impl Reading {
    /// Goes on with the journal; one that cannot be used is set aside.
    pub fn take(self) -> Result<Reopened, StateError> {
        let said = self.thread.and_then(|thread| thread.join().ok());
        let said = said.unwrap_or_else(|| read(&self.directory.path.join("journal"), &self.figures));
        self.directory.take(&self.figures, said)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::directory;
    use super::super::journal::tests::{figures, reserve};
    use super::*;
    use ces_dataplane::tag::Layout;

    fn open(path: &Path) -> Reopened {
        let directory = Directory::open(path, 1, 64).unwrap();
        let figures = figures(directory.keys().tag_key, directory.keys().layout());
        directory.read(figures).take().unwrap()
    }

    fn kept(past: Past) -> CesSessions {
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
        let keys = Keys::open(&path, 1, 64).unwrap();
        let mut sessions = CesSessions::new(&figures(keys.tag_key, keys.layout()));
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
        let figures =
            Figures { per_worker: 1000, ..figures(directory.keys().tag_key, directory.keys().layout()) };
        assert!(matches!(directory.read(figures).take().unwrap().past, Past::Lost(_)));
        std::fs::remove_dir_all(path).unwrap();
    }
}
