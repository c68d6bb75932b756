//! The rules of the filter that are in force, how often each has decided, and what those decided last that say `log`.

use super::logged::Logged;
use crate::admin::view::{LoggedRow, RuleRow, WhyView};
use ces_dataplane::filter::{Asked, Decision, Filter, Seen};
use ces_dataplane::premises::Premises;
use ces_dataplane::wire::ipv4;
use ces_rules::{Book, Line};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The rules. Without files there are none.
#[derive(Default)]
pub(super) struct Rules {
    book: Option<Arc<Book>>,
    filter: Option<Arc<Filter>>,
    /// What was counted for the same rules in books before this one.
    before: Vec<u64>,
    /// How many books there were.
    books: u16,
    logged: Logged,
}

impl Rules {
    /// Other rules, asked by so many workers; those that go. A rule whose text stays keeps its count, up to what a worker
    /// counts until it has moved.
    pub(super) fn replace(&mut self, book: Option<Arc<Book>>, workers: usize) -> Option<Arc<Book>> {
        self.before = match (&book, &self.book) {
            (Some(new), Some(old)) => new.carry(old, &self.counts()),
            _ => Vec::new(),
        };
        self.filter = book.as_ref().map(|book| Arc::new(Filter::new(Arc::clone(&book.rules), workers)));
        self.books = self.books.wrapping_add(u16::from(book.is_some() || self.book.is_some()));
        std::mem::replace(&mut self.book, book)
    }

    /// Whether there are any.
    pub(super) fn is_in_force(&self) -> bool {
        self.book.is_some()
    }

    /// Premises in which they hold.
    pub(super) fn put_into(&self, premises: Premises) -> Premises {
        premises.with_filter(self.filter.clone(), self.books)
    }

    /// How often each has decided.
    pub(super) fn counts(&self) -> Vec<u64> {
        let counts = self.filter.as_ref().map_or(Vec::new(), |filter| filter.counts());
        let before = self.before.iter().copied().chain(std::iter::repeat(0));
        counts.into_iter().zip(before).map(|(count, before)| count + before).collect()
    }

    /// How often each rule in force has opened no session because of its rate.
    fn exceeded(&self) -> Vec<u64> {
        self.filter.as_ref().map_or(Vec::new(), |filter| filter.exceeded())
    }

    /// A worker tells of a decision, by the book with this number.
    pub(super) fn log(&mut self, book: u16, decision: Decision, asked: &Asked, now: u64) {
        let known = self.book.as_ref().filter(|_| book == self.books);
        let line = known.and_then(|book| Some((book, book.lines.get(decision.rule as usize)?)));
        let rule =
            line.map(|(book, line)| (format!("{}:{}", book.files[line.file], line.line), line.name.clone()));
        self.logged.add(rule, decision.fate, *asked, now);
    }

    /// What was decided last by rules that say `log`, the latest first.
    pub(super) fn logged(&self, now: u64) -> Vec<LoggedRow> {
        self.logged.rows(now)
    }

    /// How often rules have decided, by name and what they do; those without a name have the empty one.
    pub(super) fn by_name(&self) -> BTreeMap<(&str, &'static str), u64> {
        let mut all = BTreeMap::new();
        let lines = self.book.iter().flat_map(|book| &book.lines);
        for (line, count) in lines.zip(self.counts()) {
            *all.entry((line.name.as_deref().unwrap_or_default(), line.action.label())).or_default() += count;
        }
        all
    }

    /// All of them, as they are now.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { book: self.book.clone(), counts: self.counts(), exceeded: self.exceeded() }
    }

    /// Which rule decides about a session that begins so.
    pub(super) fn why(&self, premises: &Premises, question: &Question) -> WhyView {
        let zone = |address: Ipv4Addr| premises.zone(address.to_bits());
        let asked = Asked {
            from: zone(question.source),
            to: zone(question.destination),
            protocol: question.protocol,
            source: question.source.to_bits(),
            destination: question.destination.to_bits(),
            source_port: if question.protocol == ipv4::ICMP { 0 } else { question.source_port },
            destination_port: question.port,
            comes_by: question.comes_by,
            goes_by: question.goes_by,
            seen: question.seen,
        };
        let found = self.filter.as_ref().and_then(|filter| filter.rules().find(&asked));
        let decides = found.and_then(|(rule, _)| self.snapshot().rows(rule, 1).pop());
        let action = found.map_or("no rule", |(_, action)| action.label());
        WhyView { from: asked.from.label(), to: asked.to.label(), action, rule: decides }
    }
}

/// Rules with their counts, for a list that is made in pages.
pub(super) struct Snapshot {
    book: Option<Arc<Book>>,
    counts: Vec<u64>,
    exceeded: Vec<u64>,
}

impl Snapshot {
    /// Some of them, from one on.
    pub(super) fn rows(&self, from: usize, most: usize) -> Vec<RuleRow> {
        let Some(book) = &self.book else { return Vec::new() };
        let exceeded = self.exceeded.iter().copied().chain(std::iter::repeat(0));
        let row = |((line, decided), exceeded): ((&Line, &u64), u64)| RuleRow {
            file: book.files[line.file].clone(),
            line: line.line,
            name: line.name.clone(),
            decided: *decided,
            exceeded,
            rule: line.text.clone(),
        };
        book.lines.iter().zip(&self.counts).zip(exceeded).skip(from).take(most).map(row).collect()
    }
}

/// The first packet of a session.
pub(super) struct Question {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) source_port: u16,
    /// The destination's, or the type of an ICMP message.
    pub(super) port: u16,
    /// The ports of the gateway by which it comes and goes.
    pub(super) comes_by: u8,
    pub(super) goes_by: u8,
    /// The packet itself.
    pub(super) seen: Seen,
}
