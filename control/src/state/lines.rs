//! What is written down a line for each change, `CHECKSUM RECORD`, by a thread of its own, since a disk may take as long as it
//! likes: leases of DHCP, and what was added at run time. A line that is damaged says nothing; the others stand. What changes
//! together, or not at all, is a list of records in one line.
//!
//! What is written has been synced before it counts: a client that hears of its lease has it, whatever becomes of the machine.
//! What cannot be written is told, and no client hears of it. The writer knows all records by itself, so the file is written anew
//! from time to time, and its size is bounded by theirs.

use super::files::{StateError, private, write_whole};
use ces_gateway::journal::checksum;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// What is written down so: the last record of a key says what is so.
pub trait KeptLine: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// What the record is about.
    type Key: Ord + Send;
    /// The file's name.
    const FILE: &'static str;
    /// Its first line.
    const HEADER: &'static str;
    /// What it holds, in a word.
    const WHAT: &'static str;
    /// What follows where it cannot be written.
    const UNWRITTEN: &'static str;
    /// What follows where some of it is damaged.
    const DAMAGED: &'static str;

    /// What it is about.
    fn key(&self) -> Self::Key;
    /// Whether it says something: otherwise nothing is left to say about its key.
    fn stands(&self) -> bool;
}

/// Records that may wait.
const QUEUE: usize = 8192;
/// Records that are written at once.
const BATCH: usize = 1024;
/// A file below this size is not worth writing anew.
const SMALL: u64 = 1 << 20;
/// It is written anew when it is so many times as large as after the last time.
const GROWTH: u64 = 4;

/// The file, as an operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct LineFileView {
    /// Whether it can be written.
    pub is_whole: bool,
    /// Octets of the file.
    pub size: u64,
    /// Records written.
    pub written: u64,
    /// Records that could not be written.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    failing: AtomicBool,
    size: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

enum Message<R> {
    Records(u64, Vec<R>),
    Stop,
}

/// The control thread's end.
#[derive(Debug)]
pub struct LineFile<R> {
    queue: Option<SyncSender<Message<R>>>,
    /// The last record of each batch, and whether they are written.
    done: Receiver<(u64, bool)>,
    /// The last record that found no room to wait.
    refused: Option<u64>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn line(what: &impl Serialize) -> Vec<u8> {
    // Plain data with text for keys: it has a form in JSON.
    let text = serde_json::to_vec(what).unwrap_or_default();
    let mut line = format!("{:08x} ", checksum(0, &text)).into_bytes();
    line.extend_from_slice(&text);
    line.push(b'\n');
    line
}

/// A line's record, or records.
fn records<R: KeptLine>(text: &[u8]) -> Option<Vec<R>> {
    if text.starts_with(b"[") {
        return serde_json::from_slice(text).ok();
    }
    Some(vec![serde_json::from_slice(text).ok()?])
}

/// What a file says, and how many of its lines say nothing; `None`: it is no such file.
fn read<R: KeptLine>(bytes: &[u8]) -> Option<(Vec<R>, usize)> {
    let rest = bytes.strip_prefix(R::HEADER.as_bytes())?;
    let (mut all, mut damaged) = (Vec::new(), 0);
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n").and_then(|line| {
            let (check, text) = line.split_at_checked(9)?;
            let fits = check == format!("{:08x} ", checksum(0, text)).as_bytes();
            records(text).filter(|_| fits)
        });
        match whole {
            Some(records) => all.extend(records),
            // The end of the last line was being written when the process or the machine ended.
            None if !line.ends_with(b"\n") => {}
            None => damaged += 1,
        }
    }
    Some((all, damaged))
}

impl<R: KeptLine> LineFile<R> {
    /// Takes up the records in a state directory, and goes on writing there. `wake` ends the control thread's sleep.
    pub fn open(directory: &Path, wake: impl Fn() + Send + 'static) -> Result<(Self, Vec<R>), StateError> {
        let path = directory.join(R::FILE);
        let records = match std::fs::read(&path) {
            Ok(bytes) => believed(&path, &bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StateError::File(path, error)),
        };
        let shared = Arc::new(Shared::default());
        let (queue, asked) = sync_channel(QUEUE);
        let (told, done) = channel();
        let mut writer = Writer {
            path: path.clone(),
            records: BTreeMap::new(),
            file: None,
            compact_at: SMALL,
            shared: Arc::clone(&shared),
        };
        for record in &records {
            writer.take(record);
        }
        // A gateway without a disk is better than none, but nobody gets an address meanwhile.
        if let Err(error) = writer.rewrite() {
            writer.failed(&error);
        }
        let thread = std::thread::Builder::new()
            .name(R::FILE.to_owned())
            .spawn(move || writer.run(&asked, &told, wake))
            .map_err(|error| StateError::File(path, error))?;
        Ok((Self { queue: Some(queue), done, refused: None, shared, thread: Some(thread) }, records))
    }

    /// Takes records down that change together (RFC 2136 §3.5). Never waits.
    pub fn write(&mut self, number: u64, records: Vec<R>) {
        let count = records.len() as u64;
        let message = Message::Records(number, records);
        let taken = self.queue.as_ref().is_some_and(|queue| queue.try_send(message).is_ok());
        if !taken {
            self.refused = Some(number);
            self.shared.failed.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What has been written, or not, since this was asked last: all records up to a number.
    pub fn take_written(&mut self) -> Option<(u64, bool)> {
        let done = self.done.try_recv().ok();
        done.or_else(|| self.refused.take().map(|number| (number, false)))
    }

    /// As an operator sees it.
    pub fn view(&self) -> LineFileView {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LineFileView {
            is_whole: !self.shared.failing.load(Ordering::Relaxed),
            size: read(&self.shared.size),
            written: read(&self.shared.written),
            failed: read(&self.shared.failed),
        }
    }
}

impl<R> Drop for LineFile<R> {
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

/// What can be believed of a file; the rest is told, and kept beside it.
fn believed<R: KeptLine>(path: &Path, bytes: &[u8]) -> Vec<R> {
    let aside = path.with_extension("damaged");
    let (records, what) = match read(bytes) {
        Some((records, 0)) => return records,
        Some((records, damaged)) => (records, format!("{damaged} of its lines are damaged")),
        None => (Vec::new(), format!("it is no file of {}", R::WHAT)),
    };
    tracing::error!("{}: {what}: {}. It is kept as {}", path.display(), R::DAMAGED, aside.display());
    if let Err(error) = std::fs::write(&aside, bytes) {
        tracing::error!("{}: {error}", aside.display());
    }
    records
}

struct Writer<R: KeptLine> {
    path: PathBuf,
    /// Each key's line.
    records: BTreeMap<R::Key, Vec<u8>>,
    file: Option<File>,
    compact_at: u64,
    shared: Arc<Shared>,
}

impl<R: KeptLine> Writer<R> {
    fn run(mut self, asked: &Receiver<Message<R>>, told: &Sender<(u64, bool)>, wake: impl Fn()) {
        while let Ok(first) = asked.recv() {
            let (mut buffer, mut last, mut count, mut is_over) = (Vec::new(), None, 0, false);
            for message in std::iter::once(first).chain(asked.try_iter()).take(BATCH) {
                let Message::Records(number, records) = message else {
                    is_over = true;
                    break;
                };
                match &*records {
                    [record] => buffer.extend_from_slice(&line(record)),
                    records => buffer.extend_from_slice(&line(&records)),
                }
                for record in &records {
                    self.take(record);
                }
                (last, count) = (Some(number), count + records.len() as u64);
            }
            if let Some(last) = last {
                self.write_batch(&buffer, last, count, told);
                wake();
            }
            if is_over {
                break;
            }
        }
    }

    fn write_batch(&mut self, lines: &[u8], last: u64, count: u64, told: &Sender<(u64, bool)>) {
        let written = self.write(lines);
        let counter = if written.is_ok() { &self.shared.written } else { &self.shared.failed };
        counter.fetch_add(count, Ordering::Relaxed);
        if let Err(error) = &written {
            self.failed(error);
        }
        // Last, so that who hears of it sees what was counted.
        let _ = told.send((last, written.is_ok()));
    }

    fn take(&mut self, record: &R) {
        if record.stands() {
            self.records.insert(record.key(), line(record));
        } else {
            self.records.remove(&record.key());
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            self.rewrite()?;
            tracing::info!("{}: {} are written down again", self.path.display(), R::WHAT);
            return Ok(());
        };
        file.write_all(lines)?;
        file.sync_data()?;
        let size = self.shared.size.fetch_add(lines.len() as u64, Ordering::Relaxed) + lines.len() as u64;
        if size >= self.compact_at {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Puts a file with all records, and nothing else, in the place of the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        self.file = None;
        let lines = self.records.values().flatten().copied();
        let bytes: Vec<u8> = R::HEADER.bytes().chain(lines).collect();
        write_whole(&self.path, &bytes)?;
        self.file = Some(private().append(true).open(&self.path)?);
        let size = bytes.len() as u64;
        self.shared.size.store(size, Ordering::Relaxed);
        self.compact_at = SMALL.max(size * GROWTH);
        self.shared.failing.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        // What stands at its end may be the half of a line.
        self.file = None;
        if !self.shared.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "{}: {error}: {} cannot be written down{}",
                self.path.display(),
                R::WHAT,
                R::UNWRITTEN
            );
        }
    }
}

/// The records of a state directory, for who only looks; what cannot be read says nothing.
pub fn peek<R: KeptLine>(directory: &Path) -> Vec<R> {
    let bytes = std::fs::read(directory.join(R::FILE)).unwrap_or_default();
    read(&bytes).map(|(records, _)| records).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::LeaseFile;
    use super::super::files::tests::directory;
    use super::*;
    use ces_dhcp::lease::Holder;
    use ces_dhcp::{Client, LeaseRecord, SECOND};

    fn record(last: u8, until: u64) -> LeaseRecord {
        let mac = [2, 0, 0, 0, 0, last];
        let holder = Holder {
            until,
            client: Client::of_mac(mac),
            mac,
            station: 3,
            is_near: true,
            name: Some("pc".into()),
        };
        LeaseRecord { address: [10, 0, 0, last].into(), holder: Some(holder) }
    }

    fn wait(file: &mut LeaseFile) -> (u64, bool) {
        loop {
            if let Some(done) = file.take_written() {
                return done;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_written_is_there_for_the_next_process_and_damage_says_nothing() {
        let path = directory("leases");
        let (mut file, before) = LeaseFile::open(&path, || {}).unwrap();
        assert!(before.is_empty());
        for (number, record) in
            [record(1, 5), record(2, SECOND), LeaseRecord::gone([10, 0, 0, 1].into())].into_iter().enumerate()
        {
            file.write(number as u64, vec![record]);
        }
        while wait(&mut file) != (2, true) {}
        drop(file);
        let whole = std::fs::read(path.join("leases")).unwrap();
        assert_eq!(read::<LeaseRecord>(&whole).unwrap().0.len(), 3);
        let (file, records) = LeaseFile::open(&path, || {}).unwrap();
        assert_eq!(records.last(), Some(&LeaseRecord::gone([10, 0, 0, 1].into())));
        drop(file);
        let (file, records) = LeaseFile::open(&path, || {}).unwrap();
        assert_eq!(records, [record(2, SECOND)], "written anew");
        drop(file);
        for cut in LeaseRecord::HEADER.len()..whole.len() {
            let (records, damaged) = read::<LeaseRecord>(&whole[..cut]).unwrap();
            assert!(damaged == 0 && records.len() <= 2, "{cut}");
        }
        let mut damaged = whole.clone();
        damaged[LeaseRecord::HEADER.len() + 30] ^= 1;
        std::fs::write(path.join("leases"), &damaged).unwrap();
        let (file, records) = LeaseFile::open(&path, || {}).unwrap();
        assert_eq!(records.len(), 2);
        drop(file);
        assert_eq!(std::fs::read(path.join("leases.damaged")).unwrap(), damaged);
        std::fs::remove_dir_all(path).unwrap();
    }

    /// RFC 2136 §3.5: an UPDATE is done as a whole or not at all, also where the power goes.
    #[test]
    fn what_changes_together_is_there_as_a_whole_or_not_at_all() {
        let path = directory("together");
        let (mut file, _) = LeaseFile::open(&path, || {}).unwrap();
        file.write(0, vec![record(1, 5)]);
        file.write(1, vec![LeaseRecord::gone([10, 0, 0, 1].into()), record(2, 5), record(3, 5)]);
        while wait(&mut file).0 != 1 {}
        assert_eq!(file.view().written, 4);
        drop(file);
        let whole = std::fs::read(path.join("leases")).unwrap();
        let mut seen: Vec<usize> = (LeaseRecord::HEADER.len()..=whole.len())
            .map(|cut| read::<LeaseRecord>(&whole[..cut]).unwrap().0.len())
            .collect();
        seen.dedup();
        assert_eq!(seen, [0, 1, 4]);
        assert_eq!(LeaseFile::open(&path, || {}).unwrap().1.len(), 4);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_said_and_tried_again() {
        let path = directory("leases-full");
        let (mut file, _) = LeaseFile::open(&path, || {}).unwrap();
        // Nothing can be put in its place, and what is there cannot be written.
        std::fs::remove_dir_all(&path).unwrap();
        drop(file);
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(path.join("leases.new")).unwrap();
        (file, _) = LeaseFile::open(&path, || {}).unwrap();
        assert!(!file.view().is_whole);
        file.write(7, vec![record(1, 5)]);
        assert_eq!(wait(&mut file), (7, false));
        std::fs::remove_dir(path.join("leases.new")).unwrap();
        file.write(8, vec![record(2, 5)]);
        assert_eq!(wait(&mut file), (8, true));
        assert!(file.view().is_whole);
        drop(file);
        assert_eq!(
            LeaseFile::open(&path, || {}).unwrap().1.len(),
            2,
            "with what could not be written before"
        );
        std::fs::remove_dir_all(path).unwrap();
    }
}
