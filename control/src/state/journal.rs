//! The journal as it is written: by a thread of its own, since a disk may take as long as it likes.
//!
//! The control thread puts each change into a bounded queue and goes on. The writer takes what is there, applies it to sessions
//! of its own, and writes it with one call; what is written outlives this process at once, and the machine after the next
//! `fdatasync`, [`SYNC`] later. When the file has grown to several times what the sessions take, their snapshot takes its
//! place, so its size is bounded by theirs.
//!
//! A journal with a hole would say something wrong. So when it cannot be written the file is removed, which is told, and a
//! snapshot is tried again and again; a restart meanwhile begins with nothing, and says so to the peers.

use super::files::{private, sync_parent};
use ces_gateway::Change;
use ces_gateway::journal::{JournalHeader, Pen};
use ces_gateway::sessions::CesSessions;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Changes that may wait: some ten seconds' worth of a gateway that does nothing but negotiate, 24 octets each and what the
/// sessions themselves share.
const QUEUE: usize = 65_536;
/// Changes that are written at once.
const BATCH: usize = 1_024;
/// How long what is written may wait for `fdatasync`.
const SYNC: Duration = Duration::from_secs(1);
/// How long after a failure a snapshot is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// A file below this size is not worth compacting.
const SMALL: u64 = 4 << 20;
/// It is compacted when it is so many times as large as after the last time.
const GROWTH: u64 = 4;

/// What became of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
enum Health {
    /// All that happened is in it, or will be in a moment.
    Whole,
    /// It cannot be written now.
    Failing,
    /// More happened than the disk could take: it is off until the next start.
    Overrun,
}

/// What the writer counts, for the control thread to read.
#[derive(Debug, Default)]
struct Shared {
    health: AtomicU8,
    sent: AtomicU64,
    changes: AtomicU64,
    bytes: AtomicU64,
    size: AtomicU64,
    syncs: AtomicU64,
    snapshots: AtomicU64,
    failures: AtomicU64,
    lost: AtomicU64,
    /// The longest that one write or sync took, in microseconds.
    longest_us: AtomicU64,
}

impl Shared {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// What was lost stays lost: from an overrun nothing leads back, whatever else comes to an end meanwhile.
    fn set(&self, health: Health) {
        let _ = self.health.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            (old != Health::Overrun as u8).then_some(health as u8)
        });
    }

    fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Whole,
            1 => Health::Failing,
            _ => Health::Overrun,
        }
    }
}

/// The journal, as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct JournalView {
    /// Where it is.
    pub directory: String,
    /// `whole`, `failing` or `overrun`.
    pub health: &'static str,
    /// Changes written.
    pub changes: u64,
    /// Changes that wait to be written.
    pub waiting: u64,
    /// Changes that found no room to wait.
    pub lost: u64,
    /// Octets written.
    pub bytes: u64,
    /// Octets of the file.
    pub size: u64,
    /// Calls of `fdatasync`.
    pub syncs: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Times that it could not be written.
    pub failures: u64,
    /// The longest that one call took, in microseconds.
    pub longest_us: u64,
    /// Bindings of the last process that stand again.
    pub kept: usize,
    /// Bindings of the last process that ended at the start.
    pub ended: usize,
    /// Why nothing could be taken up again, if so.
    pub past: Option<String>,
}

enum Message {
    Change(u64, Box<Change>),
    Stop,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    queue: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    restored: (usize, usize),
    past: Option<String>,
}

impl Journal {
    /// Starts the writer: it goes on at the end of a file that holds these sessions, or begins with their snapshot.
    pub(super) fn start(
        path: PathBuf,
        lock: File,
        header: JournalHeader,
        sessions: CesSessions,
        appended: Option<(Pen, usize)>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (queue, changes) = sync_channel(QUEUE);
        let mut writer = Writer {
            path: path.join("journal"),
            _lock: lock,
            header,
            sessions,
            file: None,
            compact_at: SMALL,
            retry_at: Instant::now(),
            unsynced: None,
            buffer: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let begun = match appended {
            Some((pen, length)) => writer.append(pen, length as u64),
            None => writer.snapshot(),
        };
        // A gateway without a disk is better than none.
        if let Err(error) = begun {
            writer.failed(&error);
        }
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&changes))?;
        Ok(Self {
            directory: path,
            queue: Some(queue),
            shared,
            thread: Some(thread),
            restored: (0, 0),
            past: None,
        })
    }

    /// What became of the last process's sessions: bindings that stand again and that ended, or why nobody knows.
    pub fn resumed(&mut self, kept: usize, ended: usize, past: Option<String>) {
        (self.restored, self.past) = ((kept, ended), past);
    }

    /// Takes a change down. Never waits.
    pub fn record(&mut self, at: u64, change: Box<Change>) {
        let Some(queue) = &self.queue else { return };
        if self.shared.health() == Health::Overrun {
            return Shared::add(&self.shared.lost, 1);
        }
        match queue.try_send(Message::Change(at, change)) {
            Ok(()) => Shared::add(&self.shared.sent, 1),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Shared::add(&self.shared.lost, 1);
                self.shared.set(Health::Overrun);
                tracing::error!(
                    "the journal's disk is too slow: sessions do not outlive this process from here on"
                );
            }
        }
    }

    /// Whether all that happened is in it, or will be in a moment.
    pub fn is_whole(&self) -> bool {
        self.shared.health() == Health::Whole
    }

    /// As an operator sees it.
    pub fn view(&self) -> JournalView {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        let changes = read(&shared.changes);
        JournalView {
            directory: self.directory.display().to_string(),
            health: match shared.health() {
                Health::Whole => "whole",
                Health::Failing => "failing",
                Health::Overrun => "overrun",
            },
            changes,
            waiting: read(&shared.sent).saturating_sub(changes),
            lost: read(&shared.lost),
            bytes: read(&shared.bytes),
            size: read(&shared.size),
            syncs: read(&shared.syncs),
            snapshots: read(&shared.snapshots),
            failures: read(&shared.failures),
            longest_us: read(&shared.longest_us),
            kept: self.restored.0,
            ended: self.restored.1,
            past: self.past.clone(),
        }
    }
}

impl Drop for Journal {
    /// What was taken down is written before the process ends.
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            let _ = queue.send(Message::Stop);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    path: PathBuf,
    /// The directory is ours as long as somebody writes there.
    _lock: File,
    header: JournalHeader,
    /// What the file says.
    sessions: CesSessions,
    file: Option<(File, Pen, u64)>,
    compact_at: u64,
    /// When a snapshot is tried again, if there is no file.
    retry_at: Instant,
    /// Since when something waits for a sync.
    unsynced: Option<Instant>,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, changes: &Receiver<Message>) {
        let mut is_over = false;
        while !is_over {
            let wait = match (&self.file, self.unsynced) {
                // Nothing is written any more.
                _ if self.shared.health() == Health::Overrun => Duration::from_hours(1),
                (None, _) => self.retry_at.saturating_duration_since(Instant::now()),
                (_, Some(since)) => SYNC.saturating_sub(since.elapsed()),
                (_, None) => Duration::from_hours(1),
            };
            let mut newest = 0;
            self.buffer.clear();
            let mut count = 0;
            let mut next = match changes.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(message) = next {
                let Message::Change(at, change) = message else {
                    is_over = true;
                    break;
                };
                self.take(at, &change);
                newest = at;
                count += 1;
                next = if count < BATCH { changes.try_recv().ok() } else { None };
            }
            Shared::add(&self.shared.changes, count as u64);
            if self.shared.health() == Health::Overrun {
                // It lacks something from here on.
                self.remove();
                continue;
            }
            if let Err(error) = self.turn(newest, is_over) {
                self.failed(&error);
            }
        }
    }

    /// Applies a change to the writer's own sessions, and puts its line into the buffer.
    fn take(&mut self, at: u64, change: &Change) {
        if let Err(why) = self.sessions.apply(change, at) {
            tracing::error!("the journal does not follow: {change:?}: {why}");
            Shared::add(&self.shared.failures, 1);
            self.shared.set(Health::Overrun);
            return;
        }
        if let Some((_, pen, _)) = &mut self.file {
            pen.write(at, change, &mut self.buffer);
        }
    }

    /// Writes what is in the buffer, and sees to sync, size, and a file that is not there.
    fn turn(&mut self, newest: u64, is_over: bool) -> io::Result<()> {
        let Some((file, _, size)) = &mut self.file else {
            if Instant::now() >= self.retry_at || is_over {
                self.snapshot()?;
                tracing::info!("the journal is written again");
            }
            return Ok(());
        };
        let began = Instant::now();
        file.write_all(&self.buffer)?;
        *size += self.buffer.len() as u64;
        let size = *size;
        if !self.buffer.is_empty() {
            self.unsynced.get_or_insert(began);
        }
        if self.unsynced.is_some_and(|since| is_over || since.elapsed() >= SYNC) {
            file.sync_data()?;
            self.unsynced = None;
            Shared::add(&self.shared.syncs, 1);
        }
        Shared::add(&self.shared.bytes, self.buffer.len() as u64);
        self.shared.size.store(size, Ordering::Relaxed);
        self.timed(began);
        if size > self.compact_at && newest > 0 {
            self.snapshot()?;
        }
        Ok(())
    }

    /// Goes on at the end of a file.
    fn append(&mut self, pen: Pen, length: u64) -> io::Result<()> {
        let mut file = private().open(&self.path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::End(0))?;
        self.shared.size.store(length, Ordering::Relaxed);
        self.compact_at = SMALL.max(length * GROWTH);
        self.file = Some((file, pen, length));
        Ok(())
    }

    /// Puts a snapshot in the place of the file.
    fn snapshot(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let new = self.path.with_extension("new");
        let file = private().create(true).truncate(true).open(&new)?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        let mut pen = Pen::begin(&self.header, &mut line);
        let mut size = line.len() as u64;
        let mut result = out.write_all(&line);
        self.sessions.write_down(|at, change| {
            line.clear();
            pen.write(at, &change, &mut line);
            size += line.len() as u64;
            if result.is_ok() {
                result = out.write_all(&line);
            }
        });
        result?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        sync_parent(&self.path)?;
        self.file = Some((file, pen, size));
        self.unsynced = None;
        self.compact_at = SMALL.max(size * GROWTH);
        self.shared.size.store(size, Ordering::Relaxed);
        Shared::add(&self.shared.bytes, size);
        Shared::add(&self.shared.snapshots, 1);
        self.shared.set(Health::Whole);
        self.timed(began);
        Ok(())
    }

    fn timed(&self, began: Instant) {
        self.shared.longest_us.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    fn failed(&mut self, error: &io::Error) {
        Shared::add(&self.shared.failures, 1);
        // Told once, not at each try.
        if self.shared.health() == Health::Whole {
            tracing::error!(
                "{}: {error}; until it can be written, sessions do not outlive this process",
                self.path.display()
            );
        }
        self.shared.set(Health::Failing);
        self.retry_at = Instant::now() + RETRY;
        self.remove();
    }

    /// A journal that lacks something must not be read.
    fn remove(&mut self) {
        self.file = None;
        for path in [self.path.clone(), self.path.with_extension("new")] {
            let _ = std::fs::remove_file(path);
        }
        self.unsynced = None;
        self.shared.size.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::files::tests::directory;
    use super::*;
    use ces_dataplane::tag::Layout;
    use ces_gateway::sessions::{Figures, PairNames};
    use std::fs::OpenOptions;
    use std::net::Ipv4Addr;
    use std::path::Path;

    const KEY: [u32; 4] = [1, 2, 3, 4];

    pub(in crate::state) fn figures(tag_key: [u32; 4], layout: Layout) -> Figures {
        Figures {
            layout,
            tag_key,
            workers: 1,
            per_worker: 64,
            tunnels: 4,
            pool: "10.64.0.0/16".parse().unwrap(),
            per_host: 64,
        }
    }

    /// The next reservation of a host, applied.
    pub(in crate::state) fn reserve(sessions: &mut CesSessions, number: u32) -> Change {
        let names = PairNames { local: "a.".into(), remote: format!("h{number}.").into(), peer: "c.".into() };
        let change = sessions.reservation(Ipv4Addr::from(0xc0a8_0001).into(), 0, names, 1).unwrap();
        sessions.apply(&change, 1).unwrap();
        change
    }

    fn lock(path: &Path) -> File {
        private().create(true).truncate(false).open(path.join("lock")).unwrap()
    }

    fn own() -> Figures {
        figures(KEY, Layout::new(1, 64))
    }

    fn writer(path: &Path) -> Writer {
        Writer {
            path: path.join("journal"),
            _lock: lock(path),
            header: JournalHeader::new(&own(), [1, 2]),
            sessions: CesSessions::new(&own()),
            file: None,
            compact_at: SMALL,
            retry_at: Instant::now(),
            unsynced: None,
            buffer: Vec::new(),
            shared: Arc::new(Shared::default()),
        }
    }

    fn read(path: &Path) -> Option<CesSessions> {
        let bytes = std::fs::read(path.join("journal")).ok()?;
        Some(ces_gateway::journal::replay(&bytes, &own()).unwrap().sessions)
    }

    #[test]
    fn r1_on_a_full_disk_there_is_no_journal_rather_than_a_wrong_one() {
        let path = directory("full");
        let mut writer = writer(&path);
        writer.snapshot().unwrap();
        let mut sessions = writer.sessions.clone();
        let pen = writer.file.take().unwrap().1;
        writer.file = Some((OpenOptions::new().write(true).open("/dev/full").unwrap(), pen, 0));
        let change = reserve(&mut sessions, 0);
        writer.take(1, &change);
        let error = writer.turn(1, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        writer.failed(&error);
        assert_eq!((writer.shared.health(), read(&path)), (Health::Failing, None));
        // Once there is room, all of it is there.
        let change = reserve(&mut sessions, 1);
        writer.take(1, &change);
        writer.buffer.clear();
        writer.turn(1, true).unwrap();
        assert_eq!(writer.shared.health(), Health::Whole);
        assert!(read(&path).unwrap() == sessions);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn r1_a_disk_that_is_full_at_the_start_is_told_and_tried_again() {
        let path = directory("full-start");
        std::fs::create_dir(path.join("journal.new")).unwrap();
        let (header, sessions) = (JournalHeader::new(&own(), [1, 2]), CesSessions::new(&own()));
        let journal = Journal::start(path.clone(), lock(&path), header, sessions, None).unwrap();
        assert_eq!((journal.view().health, journal.view().failures, read(&path)), ("failing", 1, None));
        std::fs::remove_dir(path.join("journal.new")).unwrap();
        // At its end at the latest.
        drop(journal);
        assert!(read(&path).is_some());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_journal_that_has_grown_is_compacted() {
        let path = directory("compact");
        let mut writer = writer(&path);
        writer.snapshot().unwrap();
        writer.compact_at = 10_000;
        let mut sessions = writer.sessions.clone();
        for number in 0..200 {
            let change = reserve(&mut sessions, number);
            let Change::Reserved { tag, .. } = change else { panic!() };
            let released = Change::Released { tag };
            sessions.apply(&released, 1).unwrap();
            writer.buffer.clear();
            writer.take(1, &change);
            writer.take(1, &released);
            writer.turn(1, false).unwrap();
        }
        let size = std::fs::metadata(path.join("journal")).unwrap().len();
        assert_eq!(size, writer.shared.size.load(Ordering::Relaxed));
        assert!(writer.shared.snapshots.load(Ordering::Relaxed) > 1);
        assert!(read(&path).unwrap().iter().next().is_none());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn more_than_can_wait_turns_it_off_and_is_told() {
        let path = directory("overrun");
        let (header, sessions) = (JournalHeader::new(&own(), [1, 2]), CesSessions::new(&own()));
        let mut journal = Journal::start(path.clone(), lock(&path), header, sessions, None).unwrap();
        assert!(journal.is_whole());
        // The same as a queue that is full: what is lost is never made up for.
        journal.shared.set(Health::Overrun);
        // A snapshot that was being written meanwhile lacks it, too.
        journal.shared.set(Health::Whole);
        journal.record(1, Box::new(Change::Released { tag: 1 }));
        assert_eq!((journal.is_whole(), journal.view().lost), (false, 1));
        drop(journal);
        std::fs::remove_dir_all(path).unwrap();
    }
}
