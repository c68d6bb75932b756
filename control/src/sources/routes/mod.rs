//! The kernel's routes over the ports' shadows, learnt by netlink.
//!
//! A routing daemon may know a million and change a quarter of them at once. So a thread of its own hears of them and makes of
//! them the table that is forwarded by ([`Routes`]); the control thread is given each whole, and hands it on. Changes that come
//! together are shown together, and the thread makes tables a fifth of the time at most, so that it keeps up with the
//! kernel meanwhile.

mod book;

use crate::source::{Socket, Sockets, Source};
use crate::sources::netlink::feed::Feed;
use crate::sources::netlink::table::Shadows;
use crate::sources::netlink::{NetlinkError, message};
use book::Book;
use ces_gateway::Routes;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// RTNLGRP_IPV4_ROUTE, as a bit.
const GROUP: u32 = 1 << (7 - 1);
/// The kernel's queue towards us in bytes: some 80,000 notices.
const QUEUE_BYTES: usize = 64 << 20;
/// How long the start waits for the first table.
const FIRST: Duration = Duration::from_millis(500);
/// How long a change waits for others that come with it.
const TOGETHER: Duration = Duration::from_millis(5);
/// How much longer than the making of a table the next one is not made.
const PAUSE: u32 = 4;
/// How often it is looked for tables that nobody has any more.
const FREEING: Duration = Duration::from_secs(1);

/// Who hears of other routes.
pub trait Forwarder {
    /// These are all.
    fn routes(&mut self, routes: &Arc<Routes>, now: u64);
}

/// What the thread tells beside the routes.
#[derive(Default)]
struct Counters {
    kept: AtomicU64,
    refused: AtomicU64,
    resyncs: AtomicU64,
    tables: AtomicU64,
    build_ns: AtomicU64,
}

/// What stands between the thread and the control thread.
#[derive(Default)]
struct Shared {
    /// The latest table, until it is taken.
    latest: Mutex<Option<Arc<Routes>>>,
    counters: Counters,
}

impl Shared {
    fn take(&self) -> Option<Arc<Routes>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, routes: Arc<Routes>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(routes);
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct LearningStatus {
    /// Routes that are known, those among them which others to the same network come before.
    pub kept: u64,
    /// Routes that found no room.
    pub refused: u64,
    /// Times that the kernel's notices overflowed.
    pub resyncs: u64,
    /// Tables that were made.
    pub tables: u64,
    /// How long the last one took, in nanoseconds.
    pub build_ns: u64,
}

/// The routes as they are forwarded by, and the thread's end of the line.
pub struct Learnt {
    line: UnixStream,
    shared: Arc<Shared>,
    routes: Arc<Routes>,
}

impl Learnt {
    /// Has a thread learn at most so many routes over these shadows, from here on.
    pub fn open(shadows: Shadows, most: u32, sockets: &Sockets) -> Result<Self, NetlinkError> {
        let (mut line, far) = UnixStream::pair()?;
        sockets.listen(&mut line, 0)?;
        let shared = Arc::new(Shared::default());
        let scribe = Scribe::new(Book::new(shadows, most as usize), Arc::clone(&shared), far)?;
        std::thread::Builder::new().name("routes".to_owned()).spawn(move || {
            if let Err(error) = scribe.run() {
                tracing::error!("routes are learnt no more: {error}");
            }
        })?;
        Ok(Self { line, shared, routes: Arc::default() })
    }

    /// Waits for the first table, so that nobody is told that nothing leads there before it is known what does; for a moment,
    /// since a million routes may come later as well.
    pub fn first(&mut self) -> Option<&Arc<Routes>> {
        let end = Instant::now() + FIRST;
        loop {
            if let Some(routes) = self.shared.take() {
                self.routes = routes;
                return Some(&self.routes);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All routes.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// How it stands.
    pub fn standing(&self) -> LearningStatus {
        let Counters { kept, refused, resyncs, tables, build_ns } = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LearningStatus {
            kept: read(kept),
            refused: read(refused),
            resyncs: read(resyncs),
            tables: read(tables),
            build_ns: read(build_ns),
        }
    }
}

impl<F: Forwarder> Source<F> for Learnt {
    fn handle(&mut self, _: Socket, forwarder: &mut F, now: u64) {
        let mut buffer = [0; 64];
        while matches!(self.line.read(&mut buffer), Ok(length) if length > 0) {}
        if let Some(routes) = self.shared.take() {
            self.routes = routes;
            forwarder.routes(&self.routes, now);
        }
    }
}

/// The thread: it ends with the process.
struct Scribe {
    feed: Feed,
    book: Book,
    shared: Arc<Shared>,
    line: UnixStream,
    /// When there may be another table.
    due: Instant,
    /// Tables that others may still have: it takes milliseconds to free one, which is to be done here.
    shown: Vec<Arc<Routes>>,
}

impl Scribe {
    fn new(mut book: Book, shared: Arc<Shared>, line: UnixStream) -> io::Result<Self> {
        let mut feed = Feed::open(GROUP, QUEUE_BYTES, message::dump_routes)?;
        feed.dump(&mut book)?;
        Ok(Self { feed, book, shared, line, due: Instant::now(), shown: Vec::new() })
    }

    fn run(mut self) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(4);
        poll.registry().register(&mut SourceFd(&self.feed.as_raw_fd()), Token(0), Interest::READABLE)?;
        let mut unread = true;
        loop {
            if !unread {
                let until = self.is_ripe().then(|| self.due.saturating_duration_since(Instant::now()));
                // The last table is in use.
                let until = until.or((self.shown.len() > 1).then_some(FREEING));
                poll.poll(&mut events, until).or_else(|error| {
                    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
                })?;
            }
            self.shown.retain(Routes::are_shared);
            let was_ripe = self.is_ripe();
            unread = self.feed.read(&mut self.book);
            let now = Instant::now();
            if !was_ripe {
                self.due = self.due.max(now + TOGETHER);
            }
            if self.is_ripe() && now >= self.due {
                self.show(now);
            }
            let Counters { kept, refused, resyncs, .. } = &self.shared.counters;
            kept.store(self.book.len() as u64, Ordering::Relaxed);
            refused.store(self.book.refused(), Ordering::Relaxed);
            resyncs.store(self.feed.resyncs(), Ordering::Relaxed);
        }
    }

    /// Whether there is something to show: a copy that is not whole yet is shown to nobody.
    fn is_ripe(&self) -> bool {
        self.feed.is_live() && self.book.has_news()
    }

    fn show(&mut self, began: Instant) {
        let Some(routes) = self.book.show() else { return };
        let routes = Arc::new(routes);
        self.shown.push(Arc::clone(&routes));
        self.shared.put(routes);
        // A line that is full wakes as well as one more octet.
        let _ = self.line.write(&[0]);
        let took = began.elapsed();
        self.shared.counters.tables.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.build_ns.store(took.as_nanos() as u64, Ordering::Relaxed);
        self.due = began + took * (1 + PAUSE);
        if self.book.could_take_more() {
            self.feed.restart(&mut self.book);
        }
    }
}
