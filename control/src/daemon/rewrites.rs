//! What ALGs wrote anew last, for `cesctl show alg --last`. Workers tell a bounded number a second, and as many are remembered as
//! one reads.

use crate::admin::view::RewriteRow;
use ces_dataplane::alg::scope::Rewrite;
use std::collections::VecDeque;

/// How many are remembered.
const LAST: usize = 128;

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct Rewrites(VecDeque<(u64, Rewrite)>);

impl Rewrites {
    /// One more.
    pub(super) fn add(&mut self, rewrite: Rewrite, now: u64) {
        if self.0.len() == LAST {
            self.0.pop_back();
        }
        self.0.push_front((now, rewrite));
    }

    /// All of them, the latest first.
    pub(super) fn rows(&self, now: u64) -> Vec<RewriteRow> {
        let row = |&(at, rewrite): &(u64, Rewrite)| {
            let Rewrite { protocol, host, remote, from, to, is_dry } = rewrite;
            let [from, to] = [from, to].map(|(address, port)| format!("{address}:{port}"));
            let ago_s = now.saturating_sub(at) / 1_000_000_000;
            RewriteRow { ago_s, protocol, host, remote, from, to, is_dry }
        };
        self.0.iter().map(row).collect()
    }
}
