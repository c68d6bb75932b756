//! A gate that is nearly free to pass, and that somebody closes now and then to have what is behind it to himself.
//!
//! It is the biased kind of a lock between readers and a writer. Who passes leaves a mark in a cache line of his own, looks
//! whether the gate is open, does his work and takes the mark away: plain loads and stores. All the cost is with who closes
//! the gate. He says so and then waits until every mark is gone; whoever comes later finds it closed and does without.
//!
//! A mark and the look after it may change places on their way to memory, and then both sides would see nothing of each
//! other. Usually both would have a fence against that. Here, whoever closes has the kernel put one into every running thread
//! of the process (`membarrier(2)`, Linux 4.14), so that passing needs none. Where the kernel does not offer it, passing has
//! its own fence.

use crossbeam::utils::CachePadded;
use std::io;
use std::sync::Arc;

#[cfg(loom)]
use loom::{
    sync::atomic::{AtomicBool, Ordering, fence},
    sync::{Condvar, Mutex, MutexGuard},
};
#[cfg(not(loom))]
use std::{
    sync::atomic::{AtomicBool, Ordering, fence},
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

/// Between two looks at a mark that is still there. What is done behind a gate takes microseconds, or as long as a thread
/// that was interrupted there has to wait for its core.
#[cfg(not(loom))]
const LOOK: Duration = Duration::from_micros(20);

/// Whose fence keeps a mark and the look after it in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// The kernel's, on behalf of who closes the gate.
    Kernel,
    /// That of everybody who passes.
    Own,
}

impl Barrier {
    /// The cheapest that there is. Makes it known to the kernel that this process will ask for its barriers.
    pub fn cheapest() -> Self {
        match membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
            Ok(()) => Self::Kernel,
            Err(_) => Self::Own,
        }
    }

    /// Orders the closing before the looks at the marks, here and in all other threads.
    fn closed(self) {
        match self {
            // It has just been registered, and then it does not fail.
            Self::Kernel => membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED).expect("a registered barrier"),
            Self::Own => fence(Ordering::SeqCst),
        }
    }

    /// Orders a mark before the look at the gate.
    #[inline(always)]
    fn marked(self) {
        match self {
            Self::Kernel => std::sync::atomic::compiler_fence(Ordering::SeqCst),
            Self::Own => fence(Ordering::SeqCst),
        }
    }
}

fn membarrier(command: libc::c_int) -> io::Result<()> {
    const NO_FLAGS: libc::c_uint = 0;
    const NO_CPU: libc::c_int = 0;
    // SAFETY: takes three integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, NO_FLAGS, NO_CPU) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Set while its owner is behind the gate, or looking whether it is open.
type Mark = CachePadded<AtomicBool>;

/// The gate.
pub struct Gate {
    /// Only written when the gate is closed and opened: its line stays with everybody who passes.
    closed: CachePadded<AtomicBool>,
    barrier: Barrier,
    state: Mutex<State>,
    opened: Condvar,
}

struct State {
    /// Whether somebody has the gate closed: one at a time.
    closed: bool,
    /// Of every [`Pass`] that there is.
    marks: Vec<Arc<Mark>>,
}

impl Gate {
    /// An open gate.
    pub fn new(barrier: Barrier) -> Arc<Self> {
        Arc::new(Self {
            closed: CachePadded::new(AtomicBool::new(false)),
            barrier,
            state: Mutex::new(State { closed: false, marks: Vec::new() }),
            opened: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the state of a gate")
    }

    /// A way through, for one thread at a time.
    pub fn pass(self: &Arc<Self>) -> Pass {
        let mark = Arc::new(CachePadded::new(AtomicBool::new(false)));
        let mut state = self.state();
        // Who has closed the gate already will not look at this mark; but that it is closed is seen through the lock.
        state.marks.push(Arc::clone(&mark));
        drop(state);
        Pass { gate: Arc::clone(self), barrier: self.barrier, mark }
    }

    /// Closes the gate until the result is dropped. Returns when nobody is behind it; where somebody else has it closed, after
    /// he has opened it. Not to be called from behind it.
    pub fn close(self: &Arc<Self>) -> Closed {
        let mut state = self.state();
        while state.closed {
            state = self.opened.wait(state).expect("nobody panics with the state of a gate");
        }
        state.closed = true;
        self.closed.store(true, Ordering::Relaxed);
        let marks = state.marks.clone();
        drop(state);
        let closed = Closed(Arc::clone(self));
        if !marks.is_empty() {
            self.barrier.closed();
        }
        for mark in marks {
            // What was done behind the gate happened before.
            while mark.load(Ordering::Acquire) {
                #[cfg(loom)]
                loom::thread::yield_now();
                #[cfg(not(loom))]
                std::thread::sleep(LOOK);
            }
        }
        closed
    }
}

/// One way through a gate.
pub struct Pass {
    gate: Arc<Gate>,
    /// The gate's, a line nearer.
    barrier: Barrier,
    mark: Arc<Mark>,
}

impl Pass {
    /// Does `work` behind the gate; `None` if that is closed. `work` must not pass the gate by other ways, nor close it.
    #[inline(always)]
    pub fn through<R>(&mut self, work: impl FnOnce() -> R) -> Option<R> {
        self.mark.store(true, Ordering::Relaxed);
        let _marked = Marked(&self.mark);
        self.barrier.marked();
        // What was done while it was closed happened before.
        (!self.gate.closed.load(Ordering::Acquire)).then(work)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // What was done behind the gate is seen through the lock by who closes it and finds no mark any more.
        self.gate.state().marks.retain(|mark| !Arc::ptr_eq(mark, &self.mark));
    }
}

/// Takes the mark away, also if the work panics.
struct Marked<'a>(&'a AtomicBool);

impl Drop for Marked<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The gate is closed as long as this is there.
#[must_use = "the gate opens when this is dropped"]
pub struct Closed(Arc<Gate>);

impl Drop for Closed {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = false;
        self.0.closed.store(false, Ordering::Release);
        drop(state);
        self.0.opened.notify_one();
    }
}
