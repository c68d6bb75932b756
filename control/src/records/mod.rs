//! Records of NAT44 that a provider can keep: which host had an address and port outside, and when.
//!
//! The control thread puts each into bounded queues and goes on: one of the store, which answers `cesctl who`, and one for each
//! collector. What finds no room there is lost to that one alone, and counted.

mod collector;
mod form;
mod ipfix;
mod outlet;
mod store;

pub use store::{RecordAnswer, RecordQuestion};

use crate::config::{Config, RecordsSection};
use ces_dataplane::msg::{Record, Recording};
use collector::Collector;
use outlet::Tally;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use store::Store;

/// The control thread's end.
#[derive(Debug)]
pub struct Recorder {
    store: Option<Store>,
    collectors: Vec<Collector>,
}

/// How many records one of those who get them has, and how many it lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecords {
    /// `store`, or a collector's address.
    pub by: String,
    /// Written, or sent.
    pub kept: u64,
    /// Lost: no room in the queue, or nobody took it.
    pub lost: u64,
}

impl Recorder {
    /// Opens the store and starts whoever sends; `None`: nothing is recorded.
    ///
    /// # Errors
    /// The store's file.
    pub fn open(config: &Config, now_ms: u64) -> io::Result<Option<Self>> {
        let Some(section) = &config.records else { return Ok(None) };
        let RecordsSection { what, file_mib, collector } = section;
        if *what == Recording::Nothing {
            return Ok(None);
        }
        let path = config.state.as_ref().map(|state| state.directory.join("records"));
        let open = |path: &Path| Store::open(path, u64::from(*file_mib) << 20, now_ms);
        let store = path.filter(|_| *file_mib > 0).map(|path| open(&path)).transpose()?;
        let limits = ipfix::Limits {
            sessions: config.capacity.sessions,
            host_sessions: config.nat.as_ref().map_or(0, |nat| nat.host_sessions),
        };
        let collectors = collector.iter().map(|to| Collector::start(to.address, to.transport, limits));
        Ok(Some(Self { store, collectors: collectors.collect::<io::Result<_>>()? }))
    }

    /// A worker recorded this, at that time.
    pub fn take(&self, at_ms: u64, record: Record) {
        if let Some(store) = &self.store {
            store.put((at_ms, record));
        }
        for collector in &self.collectors {
            collector.put((at_ms, record));
        }
    }

    /// Asks the store; `None`: there is none, or it is asked too much already.
    pub fn ask(&self, asked: RecordQuestion) -> Option<Receiver<io::Result<Vec<RecordAnswer>>>> {
        self.store.as_ref()?.ask(asked)
    }

    /// Who has how many.
    pub fn kept(&self) -> Vec<KeptRecords> {
        let kept = |by: String, tally: &Tally| KeptRecords {
            by,
            kept: tally.kept.load(Ordering::Relaxed),
            lost: tally.lost.load(Ordering::Relaxed),
        };
        let store = self.store.iter().map(|store| kept("store".to_owned(), store.tally()));
        let collectors =
            self.collectors.iter().map(|collector| kept(collector.place().to_string(), collector.tally()));
        store.chain(collectors).collect()
    }
}
