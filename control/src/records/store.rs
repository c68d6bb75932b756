//! The store of records: a file of a fixed size in which the newest take the place of the oldest, written by a thread of its
//! own. What is written outlives the process at once, and the machine after the next `fdatasync`, [`SYNC`] later.

use super::form::{Line, OCTETS, Said};
use super::outlet::{Outlet, Tally, Timed};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long what is written may wait for `fdatasync`.
const SYNC: Duration = Duration::from_secs(1);
/// How long the writer gathers what it writes at once.
const GATHER: Duration = Duration::from_millis(10);
/// Lines that are written or read at once.
const BATCH: usize = 1024;
/// Questions that are answered at a time.
const ASKERS: usize = 4;
/// The most answers to one.
const FOUND_MOST: usize = 100;

/// Who is sought: whose this was, of any protocol or one, at any time or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordQuestion {
    /// The address outside.
    pub external: Ipv4Addr,
    /// The port there.
    pub port: u16,
    /// The protocol.
    pub protocol: Option<u8>,
    /// Milliseconds since 1970.
    pub at_ms: Option<u64>,
}

/// Whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordAnswer {
    /// The host and its port; 0 of a block.
    pub host: (Ipv4Addr, u16),
    /// The first and the last port outside: one, or those of a block.
    pub ports: (u16, u16),
    /// The protocol; 0: all, of a block.
    pub protocol: u8,
    /// The host outside, where sessions are recorded.
    pub remote: Option<(Ipv4Addr, u16)>,
    /// From when on, in milliseconds since 1970; `None`: since before the store begins.
    pub from_ms: Option<u64>,
    /// Until when; `None`: it has not ended, as far as the store says.
    pub to_ms: Option<u64>,
    /// When the gateway started again since, if it did and nothing says that this ended.
    pub restarted_ms: Option<u64>,
}

enum Message {
    Line(Box<Line>),
    Ask(RecordQuestion, Sender<io::Result<Vec<RecordAnswer>>>),
}

/// The control thread's end.
#[derive(Debug)]
pub(super) struct Store {
    outlet: Outlet<Message>,
    asking: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Store {
    /// Opens a store of so many octets at most, with what stands there.
    pub(super) fn open(path: &Path, octets: u64, now_ms: u64) -> io::Result<Self> {
        let (outlet, taken, tally) = Outlet::new();
        let asking = Arc::new(AtomicUsize::new(0));
        let ring = Ring::open(path, octets / OCTETS as u64)?;
        let mut writer = Writer { ring, asking: Arc::clone(&asking), tally, dirty_since: None };
        outlet.put(Message::Line(Box::new(Line::started(now_ms))));
        std::thread::Builder::new().name("records".to_owned()).spawn(move || writer.run(&taken))?;
        Ok(Self { outlet, asking })
    }

    pub(super) fn put(&self, (at_ms, record): Timed) {
        if let Some(line) = Line::of(at_ms, record) {
            self.outlet.put(Message::Line(Box::new(line)));
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.outlet.tally
    }

    /// Asks who it was. `None`: too many ask, or the queue is full.
    pub(super) fn ask(&self, asked: RecordQuestion) -> Option<Receiver<io::Result<Vec<RecordAnswer>>>> {
        if self.asking.fetch_add(1, Ordering::Relaxed) >= ASKERS {
            self.asking.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (answer, answers) = channel();
        let put = self.outlet.queue.try_send(Message::Ask(asked, answer)).is_ok();
        if !put {
            self.asking.fetch_sub(1, Ordering::Relaxed);
        }
        put.then_some(answers)
    }
}

struct Writer {
    ring: Ring,
    asking: Arc<AtomicUsize>,
    tally: Arc<Tally>,
    dirty_since: Option<Instant>,
}

impl Writer {
    /// Writes until nobody is there who might put anything into the queue.
    fn run(&mut self, queue: &Receiver<Message>) {
        let mut lines = Vec::with_capacity(BATCH);
        loop {
            let first = match queue.recv_timeout(SYNC) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if first.is_some() {
                // So that whoever puts much into the queue wakes this thread seldom.
                std::thread::sleep(GATHER);
            }
            for message in first.into_iter().chain(queue.try_iter()) {
                match message {
                    Message::Line(line) => lines.push(*line),
                    Message::Ask(asked, answer) => {
                        self.write(&mut lines);
                        self.answer(asked, answer);
                    }
                }
                if lines.len() == BATCH {
                    self.write(&mut lines);
                }
            }
            self.write(&mut lines);
            if self.dirty_since.is_some_and(|since| since.elapsed() >= SYNC) {
                self.dirty_since = None;
                let _ = self.ring.file.sync_data();
            }
        }
        let _ = self.ring.file.sync_data();
    }

    fn write(&mut self, lines: &mut Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let count = lines.len() as u64;
        match self.ring.append(lines) {
            Ok(()) => Tally::add(&self.tally.kept, count),
            Err(_) => Tally::add(&self.tally.lost, count),
        }
        lines.clear();
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Seeks in a thread of its own, so that what comes meanwhile is written.
    fn answer(&self, asked: RecordQuestion, answer: Sender<io::Result<Vec<RecordAnswer>>>) {
        let asking = Arc::clone(&self.asking);
        let (path, last, room) = (self.ring.path.clone(), self.ring.last, self.ring.room);
        let seek = move || {
            let found = File::open(path).and_then(|file| seek(&file, last, room, asked));
            // Whoever asked may be gone.
            let _ = answer.send(found);
            asking.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("who".to_owned()).spawn(seek).is_err() {
            self.asking.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The file.
struct Ring {
    path: PathBuf,
    file: File,
    /// Lines that it has room for.
    room: u64,
    /// The number of the last line; they begin with 1.
    last: u64,
}

impl Ring {
    fn open(path: &Path, room: u64) -> io::Result<Self> {
        let room = room.max(1);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut lines = whole(&file)?;
        let mut ring = Self { path: path.to_owned(), file, room, last: 0 };
        lines.sort_unstable_by_key(|(number, _)| *number);
        ring.last = lines.last().map_or(0, |(number, _)| *number);
        // It was of another size: all stand elsewhere.
        let fits = ring.file.metadata()?.len() <= room * OCTETS as u64
            && lines.iter().all(|(number, place)| (number - 1) % room == *place);
        if !fits {
            ring.move_over(&lines)?;
        }
        // What was not written yet says nothing, and takes no room on the disk.
        ring.file.set_len(room * OCTETS as u64)?;
        Ok(ring)
    }

    fn move_over(&mut self, lines: &[(u64, u64)]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let kept = lines.len() - lines.len().min(self.room as usize);
        for (number, place) in &lines[kept..] {
            let mut octets = [0; OCTETS];
            self.file.read_exact_at(&mut octets, place * OCTETS as u64)?;
            file.write_all_at(&octets, (number - 1) % self.room * OCTETS as u64)?;
        }
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.file = file;
        Ok(())
    }

    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let place = self.last % self.room;
            let (now, later) = rest.split_at(rest.len().min((self.room - place) as usize));
            let numbered = (self.last + 1..).zip(now);
            let octets: Vec<u8> = numbered.flat_map(|(number, line)| line.emit(number)).collect();
            self.file.write_all_at(&octets, place * OCTETS as u64)?;
            self.last += now.len() as u64;
            rest = later;
        }
        Ok(())
    }
}

/// The numbers of all lines that are whole, and where they stand.
fn whole(mut file: &File) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let (mut chunk, mut place) = (Vec::new(), 0);
    loop {
        chunk.clear();
        let read = file.by_ref().take((BATCH * OCTETS) as u64).read_to_end(&mut chunk)?;
        for octets in chunk.as_chunks::<OCTETS>().0 {
            found.extend(Line::parse(octets).map(|(number, _)| (number, place)));
            place += 1;
        }
        if read < BATCH * OCTETS {
            return Ok(found);
        }
    }
}

/// Looks from the newest line to the oldest.
fn seek(file: &File, last: u64, room: u64, asked: RecordQuestion) -> io::Result<Vec<RecordAnswer>> {
    let mut search = Search { asked, ended: HashMap::new(), started_ms: None, found: Vec::new() };
    let first = last.saturating_sub(room) + 1;
    let mut end = last;
    let mut chunk = vec![0; BATCH * OCTETS];
    while end >= first {
        // Back to the beginning of a batch, or of the file.
        let place = (end - 1) % room;
        let count = (place % BATCH as u64 + 1).min(end - first + 1);
        let octets = &mut chunk[..count as usize * OCTETS];
        file.read_exact_at(octets, (place + 1 - count) * OCTETS as u64)?;
        for (back, octets) in octets.as_chunks::<OCTETS>().0.iter().rev().enumerate() {
            match Line::parse(octets) {
                // What was overwritten meanwhile was older than all that is left.
                Some((number, line)) if number == end - back as u64 => search.look(&line),
                _ => {}
            }
            if search.found.len() >= FOUND_MOST {
                return Ok(search.found);
            }
        }
        end -= count;
    }
    search.finish();
    Ok(search.found)
}

/// The protocol, the host with its port, the first and the last port outside, and who it spoke with.
type Whose = (u8, (Ipv4Addr, u16), (u16, u16), Option<(Ipv4Addr, u16)>);

struct Search {
    asked: RecordQuestion,
    /// What ended, and when: its beginning is still to come.
    ended: HashMap<Whose, u64>,
    /// When the gateway started, of the starts that were seen the first.
    started_ms: Option<u64>,
    found: Vec<RecordAnswer>,
}

impl Search {
    fn look(&mut self, line: &Line) {
        if line.said == Said::Started {
            self.started_ms = Some(line.at_ms);
            return;
        }
        let RecordQuestion { external, port, protocol, .. } = self.asked;
        let (address, first) = line.external;
        let ports = (first, line.last.unwrap_or(first));
        let is_it = address == external && (ports.0..=ports.1).contains(&port);
        // A block is of all protocols.
        let is_other = |protocol| line.last.is_none() && protocol != line.protocol;
        if !is_it || protocol.is_some_and(is_other) {
            return;
        }
        let whose = (line.protocol, line.host, ports, line.remote);
        if line.said == Said::Ended {
            self.ended.insert(whose, line.at_ms);
            return;
        }
        let to_ms = self.ended.remove(&whose);
        self.add(whose, Some(line.at_ms), to_ms);
    }

    fn add(&mut self, whose: Whose, from_ms: Option<u64>, to_ms: Option<u64>) {
        let (protocol, host, ports, remote) = whose;
        let is_then = |at_ms: u64| {
            from_ms.is_none_or(|from_ms| from_ms <= at_ms) && to_ms.is_none_or(|to_ms| at_ms <= to_ms)
        };
        if self.asked.at_ms.is_none_or(is_then) {
            let restarted_ms = self.started_ms.filter(|_| to_ms.is_none());
            self.found.push(RecordAnswer { host, ports, protocol, remote, from_ms, to_ms, restarted_ms });
        }
    }

    /// What ended and has no beginning began before the store does.
    fn finish(&mut self) {
        let mut rest: Vec<_> = self.ended.drain().collect();
        rest.sort_unstable_by_key(|(_, to_ms)| std::cmp::Reverse(*to_ms));
        for (whose, to_ms) in rest {
            self.add(whose, None, Some(to_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ces-records-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn line(said: Said, host: u8, at_ms: u64) -> Line {
        let host = (Ipv4Addr::new(10, 0, 0, host), 5000);
        Line { said, protocol: 6, host, external: (EXTERNAL, 40_000), remote: None, last: None, at_ms }
    }

    /// A host's last octet, from when, until when, and when the gateway started again.
    type Had = (u8, Option<u64>, Option<u64>, Option<u64>);

    fn who(ring: &Ring, at_ms: Option<u64>) -> Vec<Had> {
        let asked = RecordQuestion { external: EXTERNAL, port: 40_000, protocol: Some(6), at_ms };
        let found = seek(&ring.file, ring.last, ring.room, asked).unwrap();
        let host = |found: &RecordAnswer| found.host.0.octets()[3];
        found.iter().map(|found| (host(found), found.from_ms, found.to_ms, found.restarted_ms)).collect()
    }

    #[test]
    fn who_had_it_is_found_by_time_over_restarts() {
        let path = path("restarts");
        let mut ring = Ring::open(&path, 100).unwrap();
        ring.append(&[line(Said::Created, 1, 10), line(Said::Ended, 1, 20), line(Said::Created, 2, 30)])
            .unwrap();
        let mut other = line(Said::Created, 9, 31);
        other.external.1 = 40_001;
        ring.append(&[other]).unwrap();
        assert_eq!(who(&ring, None), [(2, Some(30), None, None), (1, Some(10), Some(20), None)]);
        assert_eq!(who(&ring, Some(15)), [(1, Some(10), Some(20), None)]);
        assert_eq!((who(&ring, Some(25)), who(&ring, Some(9))), (vec![], vec![]));
        drop(ring);
        let mut ring = Ring::open(&path, 100).unwrap();
        ring.append(&[Line::started(50)]).unwrap();
        assert_eq!(who(&ring, Some(40)), [(2, Some(30), None, Some(50))]);
        ring.append(&[line(Said::Ended, 2, 60)]).unwrap();
        assert_eq!(who(&ring, Some(55)), [(2, Some(30), Some(60), None)]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_newest_take_the_place_of_the_oldest_and_another_size_keeps_them() {
        let path = path("sizes");
        let mut ring = Ring::open(&path, 2500).unwrap();
        for at in 0..4000 {
            ring.append(&[line(Said::Created, 1, at * 10), line(Said::Ended, 1, at * 10 + 5)]).unwrap();
        }
        assert_eq!(ring.file.metadata().unwrap().len(), 2500 * OCTETS as u64);
        assert_eq!(who(&ring, Some(39_991)), [(1, Some(39_990), Some(39_995), None)]);
        assert_eq!(who(&ring, Some(27_504)).len(), 1, "the oldest that is there");
        assert!(who(&ring, Some(27_491)).is_empty());
        assert_eq!(who(&ring, None).len(), FOUND_MOST);
        drop(ring);
        for room in [100, 5000] {
            let mut ring = Ring::open(&path, room).unwrap();
            assert_eq!(who(&ring, None).len(), 50.min(room as usize / 2), "{room}");
            let at = 50_000 + room * 10;
            ring.append(&[line(Said::Created, 2, at)]).unwrap();
            assert_eq!(who(&ring, Some(at)), [(2, Some(at), None, None)]);
            ring.append(&[line(Said::Ended, 2, at + 1)]).unwrap();
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_torn_says_nothing() {
        let path = path("torn");
        let mut ring = Ring::open(&path, 10).unwrap();
        ring.append(&[line(Said::Created, 1, 10), line(Said::Created, 2, 20), line(Said::Created, 3, 30)])
            .unwrap();
        ring.file.write_all_at(&[0xff; 20], OCTETS as u64 + 10).unwrap();
        ring.file.write_all_at(b"garbage", 3 * OCTETS as u64).unwrap();
        drop(ring);
        let ring = Ring::open(&path, 10).unwrap();
        assert_eq!(ring.last, 3);
        assert_eq!(who(&ring, None).iter().map(|found| found.0).collect::<Vec<_>>(), [3, 1]);
        std::fs::remove_file(path).unwrap();
    }
}
