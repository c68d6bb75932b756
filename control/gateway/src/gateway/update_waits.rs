//! Updates that wait: for other settings to be in force, or for the disk.

use crate::output::QueryToken;
use ces_dns::update::Update;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Updates that may wait, for other settings or for the disk, at a time: each is a datagram, or a message of 65,535 octets.
const WAITING_MAX: usize = 256;

/// Updates that wait.
#[derive(Default)]
pub(super) struct Waits {
    /// For other settings to be in force.
    pub(super) held: VecDeque<(IpAddr, Update, QueryToken)>,
    /// For being written down: what each is answered then, and otherwise.
    pub(super) writing: VecDeque<(u64, QueryToken, [Vec<u8>; 2])>,
    pub(super) number: u64,
}

impl Waits {
    /// Who waited went away. False if he did not wait here.
    pub(super) fn gone(&mut self, token: QueryToken) -> bool {
        let before = self.held.len() + self.writing.len();
        self.held.retain(|(_, _, held)| *held != token);
        self.writing.retain(|(_, writing, _)| *writing != token);
        self.held.len() + self.writing.len() < before
    }

    /// Whether some wait for other settings.
    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether no other may wait.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() + self.writing.len() >= WAITING_MAX
    }
}
