//! The journal's form: changes of sessions as lines of text, each with a checksum that continues the one before.
//!
//! A line is `CHECKSUM TIME CHANGE`: eight hexadecimal digits, nanoseconds since 1970, JSON. The first line is the header, with
//! what the changes mean something under. The checksum of a line is over the checksum before it and the line's text, so no line
//! can be missing, stand twice or come from elsewhere. What is read is what was written, or a beginning of it, or nothing: a
//! last line that is not whole was being written when the process or the machine ended; any other line that does not fit
//! means that the file cannot be believed.

use crate::Nanos;
use crate::sessions::{CesSessions, Change, Figures, Inconsistent};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The form that is written. Older ones that are still read would be listed here with what they lack; there is none yet.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalHeader {
    layout: (u32, u32),
    /// Says whether the tag key is the same, and nothing else about it.
    tag_check: u32,
    workers: u32,
    per_worker: u32,
    tunnels: u16,
    pool: Ipv4Net,
    /// The key that tunnel ids are drawn by.
    pub tunnel_key: [u64; 2],
}

impl JournalHeader {
    /// The header of a new journal.
    pub fn new(figures: &Figures, tunnel_key: [u64; 2]) -> Self {
        let key: Vec<u8> = figures.tag_key.iter().flat_map(|word| word.to_le_bytes()).collect();
        Self {
            layout: (figures.layout.worker_bits, figures.layout.slot_bits),
            tag_check: checksum(0, &key),
            workers: figures.workers,
            per_worker: figures.per_worker,
            tunnels: figures.tunnels,
            pool: figures.pool,
            tunnel_key,
        }
    }

    /// What of the configuration has changed in a way that no session survives.
    fn differs(&self, figures: &Figures) -> Option<&'static str> {
        let now = Self::new(figures, self.tunnel_key);
        let kept = [
            ("the tag key", self.tag_check == now.tag_check && self.layout == now.layout),
            ("worker.cores", self.workers == now.workers),
            ("capacity.bindings", self.per_worker <= now.per_worker),
            ("capacity.tunnels", self.tunnels <= now.tunnels),
            ("realm.proxy_pool", self.pool == now.pool),
        ];
        kept.into_iter().find(|(_, is_kept)| !is_kept).map(|(key, _)| key)
    }
}

/// Why a journal is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Its first line is not one.
    #[error("it is not a journal of sessions")]
    Foreign,
    /// It was written in another form.
    #[error("it is of version {0}, and version {VERSION} was expected")]
    Version(u32),
    /// It was written under another configuration.
    #[error("{0} is not what it was written under")]
    Changed(&'static str),
    /// A line is damaged, and others follow.
    #[error("line {0} is damaged")]
    Damaged(usize),
    /// A line is whole, and does not fit what is before it.
    #[error("line {0} does not fit: {1}")]
    Inconsistent(usize, Inconsistent),
}

/// Writes lines.
#[derive(Clone, Debug)]
pub struct Pen {
    chain: u32,
}

impl Pen {
    /// Begins a journal with its first line.
    pub fn begin(header: &JournalHeader, out: &mut Vec<u8>) -> Self {
        let mut pen = Self { chain: 0 };
        pen.line(u64::from(VERSION), header, out);
        pen
    }

    /// Writes a change.
    pub fn write(&mut self, at: Nanos, change: &Change, out: &mut Vec<u8>) {
        self.line(at, change, out);
    }

    fn line(&mut self, number: u64, what: &impl Serialize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"00000000 ");
        out.extend_from_slice(number.to_string().as_bytes());
        out.push(b' ');
        // Plain data with text for keys: it has a form in JSON.
        let _ = serde_json::to_writer(&mut *out, what);
        self.chain = checksum(self.chain, &out[start + CHECK..]);
        out[start..start + CHECK - 1].copy_from_slice(format!("{:08x}", self.chain).as_bytes());
        out.push(b'\n');
    }

    /// Reads the next line if it is whole and continues what is before it.
    fn read<'a>(&mut self, line: &'a [u8]) -> Option<(u64, &'a [u8])> {
        let (check, text) = line.split_at_checked(CHECK)?;
        let check = check.strip_suffix(b" ").and_then(|check| std::str::from_utf8(check).ok())?;
        let chain = checksum(self.chain, text);
        if check != format!("{chain:08x}") {
            return None;
        }
        let space = text.iter().position(|byte| *byte == b' ')?;
        let number = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
        self.chain = chain;
        Some((number, &text[space + 1..]))
    }
}

/// Octets of a checksum and the blank behind it.
const CHECK: usize = 9;

/// What a journal says.
#[derive(Debug)]
pub struct Replayed {
    /// The first line.
    pub header: JournalHeader,
    /// What all changes together made.
    pub sessions: CesSessions,
    /// How many changes there were.
    pub changes: usize,
    /// Octets that are to be believed: the file goes on from here.
    pub length: usize,
    /// Writes the next line.
    pub pen: Pen,
}

/// Replays a journal. What was cut off at its end is what [`Replayed::length`] lacks.
pub fn replay(bytes: &[u8], figures: &Figures) -> Result<Replayed, Unusable> {
    let mut pen = Pen { chain: 0 };
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| Some((line.len(), line.strip_suffix(b"\n")?)));
    let (mut length, first) = first.ok_or(Unusable::Foreign)?;
    let (version, text) = pen.read(first).ok_or(Unusable::Foreign)?;
    if version != u64::from(VERSION) {
        return Err(Unusable::Version(u32::try_from(version).unwrap_or(u32::MAX)));
    }
    let header: JournalHeader = serde_json::from_slice(text).map_err(|_| Unusable::Foreign)?;
    if let Some(key) = header.differs(figures) {
        return Err(Unusable::Changed(key));
    }
    let mut sessions = CesSessions::new(figures);
    let mut changes = 0;
    for line in lines {
        let number = changes + 2;
        let whole = line.strip_suffix(b"\n").and_then(|line| pen.read(line));
        let Some((at, text)) = whole else {
            let is_last = length + line.len() == bytes.len();
            if is_last {
                break;
            }
            return Err(Unusable::Damaged(number));
        };
        let change: Change = serde_json::from_slice(text).map_err(|_| Unusable::Damaged(number))?;
        sessions.apply(&change, at).map_err(|why| Unusable::Inconsistent(number, why))?;
        length += line.len();
        changes += 1;
    }
    Ok(Replayed { header, sessions, changes, length, pen })
}

/// CRC-32 as of IEEE 802.3 §3.2.9, continued from one that was computed before.
pub fn checksum(before: u32, bytes: &[u8]) -> u32 {
    let mut crc = !before;
    for byte in bytes {
        crc = TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::PairNames;
    use ces_dataplane::tag::Layout;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn figures() -> Figures {
        Figures {
            layout: Layout::new(1, 16),
            tag_key: [1, 2, 3, 4],
            workers: 1,
            per_worker: 16,
            tunnels: 4,
            pool: "10.64.0.0/16".parse().unwrap(),
            per_host: 8,
        }
    }

    /// A journal, where each of its lines ends, and what the changes made up to there.
    fn journal() -> (Vec<u8>, Vec<(usize, CesSessions)>) {
        let mut bytes = Vec::new();
        let mut pen = Pen::begin(&JournalHeader::new(&figures(), [5, 6]), &mut bytes);
        let mut sessions = CesSessions::new(&figures());
        let mut ends = vec![(bytes.len(), sessions.clone())];
        for number in 0..4u32 {
            let names =
                PairNames { local: format!("h{number}.").into(), remote: "b.".into(), peer: "c.".into() };
            let host = Ipv4Addr::from(0xc0a8_0000 + number).into();
            let reserved = sessions.reservation(host, 0, names, 7).unwrap();
            let Change::Reserved { tag, .. } = reserved else { panic!() };
            for change in [reserved, Change::Released { tag }].into_iter().take(1 + number as usize % 2) {
                sessions.apply(&change, 7).unwrap();
                pen.write(7, &change, &mut bytes);
                ends.push((bytes.len(), sessions.clone()));
            }
        }
        (bytes, ends)
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(checksum(0, b"1234"), b"56789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_written_is_read_and_gone_on_with() {
        let (mut bytes, ends) = journal();
        let mut replayed = replay(&bytes, &figures()).unwrap();
        assert_eq!((replayed.length, replayed.header.tunnel_key), (bytes.len(), [5, 6]));
        assert!(replayed.sessions == ends.last().unwrap().1);
        let more = Change::HostBlocked { name: "h1.".into(), until: Some(9) };
        replayed.pen.write(8, &more, &mut bytes);
        assert_eq!(replay(&bytes, &figures()).unwrap().changes, ends.len());
    }

    #[test]
    fn r1_a_journal_that_is_cut_off_anywhere_is_what_was_whole_of_it() {
        let (bytes, ends) = journal();
        for cut in 0..bytes.len() {
            let whole = ends.iter().rev().find(|(end, _)| *end <= cut);
            match (replay(&bytes[..cut], &figures()), whole) {
                (Ok(replayed), Some((end, sessions))) => {
                    assert_eq!(replayed.length, *end, "cut at {cut}");
                    assert!(replayed.sessions == *sessions, "cut at {cut}");
                }
                (Err(why), None) => assert_eq!(why, Unusable::Foreign),
                (read, _) => panic!("cut at {cut}: {read:?}"),
            }
        }
    }

    #[test]
    fn r1_a_bit_that_flipped_is_found_wherever_it_is() {
        let (bytes, ends) = journal();
        let last = ends[ends.len() - 2].0;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match replay(&damaged, &figures()) {
                // Only of what may be a cut: the last line, or the end of the one before it.
                Ok(replayed) => {
                    let whole = ends.len() - if bit / 8 >= last { 2 } else { 3 };
                    assert!(bit / 8 >= last - 1 && replayed.length == ends[whole].0, "bit {bit}");
                    assert!(replayed.sessions == ends[whole].1);
                }
                Err(Unusable::Foreign) => assert!(bit / 8 < ends[0].0, "bit {bit}"),
                Err(Unusable::Damaged(line)) => {
                    assert!(line >= 2 && line <= ends.len(), "bit {bit}, line {line}");
                }
                Err(why) => panic!("bit {bit}: {why}"),
            }
        }
    }

    #[test]
    fn lines_that_are_missing_or_stand_twice_are_found() {
        let (bytes, ends) = journal();
        for pair in ends.windows(2) {
            let (start, end) = (pair[0].0, pair[1].0);
            let without = [&bytes[..start], &bytes[end..]].concat();
            let twice = [&bytes[..end], &bytes[start..]].concat();
            if end < bytes.len() {
                let damaged = |bytes: &[u8]| matches!(replay(bytes, &figures()), Err(Unusable::Damaged(_)));
                assert!(damaged(&without) || end == ends[ends.len() - 2].0, "without {start}..{end}");
                assert!(damaged(&twice), "twice {start}..{end}");
            }
        }
    }

    #[test]
    fn another_version_or_configuration_is_told() {
        let (bytes, _) = journal();
        let mut other = Vec::new();
        let mut pen = Pen { chain: 0 };
        pen.line(u64::from(VERSION) + 1, &JournalHeader::new(&figures(), [5, 6]), &mut other);
        assert_eq!(replay(&other, &figures()).unwrap_err(), Unusable::Version(VERSION + 1));
        let with = |change: fn(&mut Figures)| {
            let mut figures = figures();
            change(&mut figures);
            replay(&bytes, &figures).map(|replayed| replayed.changes)
        };
        assert_eq!(with(|f| f.tag_key[0] = 9), Err(Unusable::Changed("the tag key")));
        assert_eq!(with(|f| f.workers = 2), Err(Unusable::Changed("worker.cores")));
        assert_eq!(with(|f| f.per_worker = 8), Err(Unusable::Changed("capacity.bindings")));
        assert_eq!(with(|f| f.tunnels = 3), Err(Unusable::Changed("capacity.tunnels")));
        assert_eq!(
            with(|f| f.pool = "10.65.0.0/16".parse().unwrap()),
            Err(Unusable::Changed("realm.proxy_pool"))
        );
        assert!(with(|f| f.tunnels = 5).is_ok());
        assert!(replay(b"", &figures()).is_err() && replay(b"hello\n", &figures()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_stands_there_it_does_not_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cut in any::<prop::sample::Index>(),
        ) {
            let _ = replay(&bytes, &figures());
            let (mut journal, _) = journal();
            journal.truncate(cut.index(journal.len()));
            journal.extend(bytes);
            let _ = replay(&journal, &figures());
        }
    }
}
