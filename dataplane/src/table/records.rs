//! Records of what hosts were given, until the worker has told the control thread. Without room they are lost, and counted.

use super::session::Session;
use crate::msg::{Record, Recorded, Recording};
use crate::reason::DropReason;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Records that wait for room in the ring: more than the sessions that the bursts of a turn open and displace.
const WAITING: usize = 4096;
/// What was refused is told so often a second at most: it may be refused at any rate (RFC 8158 §5.3).
const REFUSALS_A_SECOND: u32 = 10;

/// The queue. It never grows beyond what it was allocated for.
#[derive(Debug)]
pub(super) struct Records {
    recording: Recording,
    waiting: VecDeque<Record>,
    lost: u64,
    /// Refusals that were told in this second.
    refusals: (u32, u32),
}

impl Records {
    pub(super) fn new(recording: Recording) -> Self {
        let room = if recording == Recording::Nothing { 0 } else { WAITING };
        Self { recording, waiting: VecDeque::with_capacity(room), lost: 0, refusals: (0, 0) }
    }

    fn push(&mut self, record: Record) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(record);
        } else {
            self.lost += 1;
        }
    }

    /// A session begins or ends. Where mappings are recorded it is told only if it has none and is not configured.
    #[inline]
    pub(super) fn session(&mut self, what: Recorded, session: &Session, has_mapping: bool) {
        match self.recording {
            Recording::Nothing => return,
            Recording::Mappings | Recording::Blocks if has_mapping || session.is_configured() => return,
            _ => {}
        }
        let at = |(address, port): (u32, u16)| (Ipv4Addr::from_bits(address), port);
        let arriving = session.arriving();
        self.push(Record {
            what,
            protocol: session.protocol(),
            host: at(session.host()),
            external: at((arriving.addresses.destination(), arriving.ports as u16)),
            remote: (self.recording == Recording::Sessions).then(|| at(session.remote())),
            last: None,
        });
    }

    /// A host's port was given an external one, or loses it.
    #[inline]
    pub(super) fn mapping(&mut self, what: Recorded, protocol: u8, host: (u32, u16), external: (u32, u16)) {
        if self.recording == Recording::Mappings {
            let at = |(address, port): (u32, u16)| (Ipv4Addr::from_bits(address), port);
            self.push(Record {
                what,
                protocol,
                host: at(host),
                external: at(external),
                remote: None,
                last: None,
            });
        }
    }

    /// A host was given a block of ports, from the first to the last, or loses it.
    #[cold]
    pub(super) fn block(&mut self, what: Recorded, host: u32, external: u32, (first, last): (u16, u16)) {
        if self.recording == Recording::Blocks {
            let at = |address, port| (Ipv4Addr::from_bits(address), port);
            let (host, external) = (at(host, 0), at(external, first));
            self.push(Record { what, protocol: 0, host, external, remote: None, last: Some(last) });
        }
    }

    /// A host was refused a session.
    #[cold]
    pub(super) fn refused(&mut self, why: DropReason, protocol: u8, host: u32, external: u32, now_s: u32) {
        if self.recording == Recording::Nothing {
            return;
        }
        let (second, told) = &mut self.refusals;
        if *second != now_s {
            (*second, *told) = (now_s, 0);
        }
        if *told < REFUSALS_A_SECOND {
            *told += 1;
            let at = |address| (Ipv4Addr::from_bits(address), 0);
            let what = Recorded::Refused(why);
            self.push(Record {
                what,
                protocol,
                host: at(host),
                external: at(external),
                remote: None,
                last: None,
            });
        }
    }

    /// Whether there is none.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one. It leaves with [`Records::pop`].
    #[inline]
    pub(super) fn peek(&self) -> Option<&Record> {
        self.waiting.front()
    }

    /// Removes what [`Records::peek`] showed.
    pub(super) fn pop(&mut self) {
        self.waiting.pop_front();
    }

    /// How many were lost.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }
}
