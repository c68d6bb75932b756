//! The control loop.
//!
//! One mio poll, the workers' rings beside it. While there is work the rings are looked at in every turn and epoll is asked
//! without waiting. When there is none, the loop announces its sleep to the workers' bell, looks once more, and sleeps
//! until a socket, a timer or the bell; so an idle gateway costs nothing, the first query of a quiet hour waits for one
//! wake-up, and the workers make no system call for a loop that is awake.

use super::discard::discard;
use super::house::House;
use super::operator::Operator;
use super::reload::Reloader;
use super::scrape::Scrape;
use super::service::Service;
use crate::admin::protocol::{Request, Response};
use crate::clock::WallClock;
use crate::sources::metrics::Http;
use crate::sources::signals::Signal;
use crate::state::Journal;
use ces_dataplane::msg::Event;
use mio::Events;
use std::time::Duration;

/// How long one worker's frames, events or records are taken in a turn, in nanoseconds. One of them may cost as much as a
/// negotiation with all that is written for it.
const TAKING_NS: u64 = 1_000_000;
/// How often timeouts of connections are looked at, in nanoseconds.
const SWEEP_NS: u64 = 100_000_000;
/// How long the loop stays awake after work, in nanoseconds: answers of resolvers and peers on the same link come within.
const LINGER_NS: u64 = 20_000;
/// How long saying goodbye may take, in nanoseconds.
const GOODBYE_NS: u64 = 1_500_000_000;
/// How long the kernel must be silent for its last segments to be through, in nanoseconds: some round trips, some of them
/// with a delayed acknowledgement (40 ms).
const SILENCE_NS: u64 = 60_000_000;
/// How long what waits for a full ring waits before the next try.
const RETRY: Duration = Duration::from_micros(100);

/// Why the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to.
    Asked,
    /// A worker is gone: nothing goes on.
    Broken,
}

/// What the loop remembers from turn to turn.
#[derive(Default)]
struct Round {
    last_work: u64,
    last_sweep: u64,
    last_report: u64,
    /// It ends, at the latest then.
    ends_at: Option<u64>,
}

/// The running gateway.
pub struct Daemon {
    house: House,
    operator: Operator,
    scrape: Scrape,
    poll: mio::Poll,
    reloader: Reloader,
    clock: WallClock,
    round: Round,
    service: Service,
    _eal: dpdk::Eal,
}

impl Daemon {
    pub(super) fn new(
        house: House,
        operator: Operator,
        scrape: Scrape,
        poll: mio::Poll,
        reloader: Reloader,
        clock: WallClock,
        eal: dpdk::Eal,
    ) -> Self {
        let service = Service::ready();
        Self { house, operator, scrape, poll, reloader, clock, round: Round::default(), service, _eal: eal }
    }

    /// Runs until it is asked to stop, then stops everything. The error is the kernel's, about epoll.
    pub fn run(mut self) -> std::io::Result<Exit> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.house.load.turned();
            let work = self.work();
            let now = self.clock.now();
            if now.saturating_sub(self.round.last_sweep) >= SWEEP_NS {
                self.round.last_sweep = now;
                self.house.handle_timeout(&self.clock);
                self.piece("sweep", Self::sweep);
                self.service.alive(now);
                if self.house.fleet.is_broken() {
                    return Ok(Exit::Broken);
                }
            }
            if self.is_over(now) {
                self.finish();
                return Ok(Exit::Asked);
            }
            if work {
                self.round.last_work = now;
            }
            let timeout = self.timeout(now);
            self.poll.poll(&mut events, Some(timeout)).or_else(|error| {
                // A signal: its pipe is readable in the next turn.
                if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
            })?;
            if !timeout.is_zero() {
                self.house.fleet.awake();
                self.house.load.slept();
            }
            for event in &events {
                let now = self.clock.now();
                if let Some(whose) = self.house.handle(event.token(), now) {
                    self.round.last_work = now;
                    self.did(whose, now);
                }
            }
            self.answer();
            self.piece("peering", |daemon, now| daemon.house.settle(now));
        }
    }

    /// A piece of work that began then is done.
    fn did(&mut self, by: &'static str, began: u64) {
        self.house.load.did(by, self.clock.now().saturating_sub(began));
    }

    /// Does a piece of work.
    fn piece<R>(&mut self, by: &'static str, work: impl FnOnce(&mut Self, u64) -> R) -> R {
        let began = self.clock.now();
        let result = work(self, began);
        self.did(by, began);
        result
    }

    /// Takes what the workers have and goes on with what was not read to its end. True if there was anything.
    fn work(&mut self) -> bool {
        let mut work = false;
        for worker in 0..self.house.fleet.len() {
            work |=
                self.piece("events", |daemon, now| daemon.take(now, |daemon| daemon.take_event(worker, now)));
            work |=
                self.piece("traces", |daemon, now| daemon.take(now, |daemon| daemon.take_trace(worker, now)));
            work |= self
                .piece("punts", |daemon, now| daemon.take(now, |daemon| daemon.house.take_punt(worker, now)));
        }
        if self.house.sources.have_unread() {
            self.house.handle_unread(&self.clock);
            work = true;
        }
        if self.house.gateway.poll_timeout().is_some_and(|at| at <= self.clock.now()) {
            self.piece("timers", |daemon, now| daemon.house.gateway.handle_timeout(now));
            work = true;
        }
        work |= self.piece("leases", |daemon, now| daemon.house.lease(now));
        self.piece("peering", |daemon, now| daemon.house.settle(now));
        if let Some(read) = self.reloader.take_read() {
            self.piece("reload_prepare", |daemon, now| daemon.reloader.begin(&mut daemon.house, read, now));
            work = true;
        }
        if let Some(by) = self.reloader.next_piece(&self.house) {
            self.piece(by, |daemon, now| daemon.reloader.go_on(&mut daemon.house, now));
            work = true;
        }
        if self.may_do_chores() {
            self.piece("chores", |daemon, now| {
                daemon.house.gateway.do_chores(now);
                daemon.house.settle(now);
            });
            work = true;
        }
        if self.operator.is_listing() {
            work |= self.piece("lists", |daemon, now| daemon.operator.list(&mut daemon.house, now));
        }
        work
    }

    /// Whether there is something to be gone on with, and the workers have taken what came of it before: what others want of
    /// them meanwhile, the peers' TCP among it, waits for nothing else.
    fn may_do_chores(&mut self) -> bool {
        self.house.gateway.has_chores() && self.house.fleet.drain()
    }

    /// Takes one after the other, as long as there is another and time for it. True if there was anything.
    fn take(&mut self, began: u64, mut one: impl FnMut(&mut Self) -> bool) -> bool {
        if !one(self) {
            return false;
        }
        while self.clock.now().saturating_sub(began) < TAKING_NS && one(self) {}
        true
    }

    /// Takes an event of a worker. False if there is none.
    fn take_event(&mut self, worker: usize, now: u64) -> bool {
        let Some(event) = self.house.fleet.event(worker) else { return false };
        match event {
            Event::Row(..) | Event::RowsRead(..) => {
                self.house.rows_told.push(event);
                return true;
            }
            Event::Recorded(at, record) => {
                // The worker's clock is the one that this one stands on.
                if let Some(recorder) = &self.house.recorder {
                    recorder.take(self.clock.wall(at) / 1_000_000, record);
                }
                return true;
            }
            Event::Decided(filter, decision, asked) => {
                self.house.rules.log(filter, decision, &asked, now);
                return true;
            }
            Event::Rewritten(rewrite) => {
                self.house.rewrites.add(rewrite, now);
                return true;
            }
            _ => {}
        }
        if let Event::ChannelEncrypted(host, remote) = event {
            tracing::info!(
                "{host} speaks FTP with {remote} encrypted: the data connections that it announces are not seen"
            );
        }
        self.house.gateway.handle_event(worker as u32, event, now);
        // A binding's end frees its slot: what follows must see it.
        self.house.pump(now);
        true
    }

    /// Takes what the traces of a worker recorded of a packet. False if there is nothing.
    fn take_trace(&mut self, worker: usize, now: u64) -> bool {
        let Some(record) = self.house.fleet.traced(worker) else { return false };
        self.operator.traced(&mut self.house, worker, &record, now);
        true
    }

    /// Answers who can only be answered from outside of the sources: signals, `cesctl`, scrapers.
    fn answer(&mut self) {
        for asked in self.house.sources.signals.take() {
            match asked {
                Signal::Stop => self.stop(),
                Signal::Reload => self.reloader.ask(None, &self.house),
            }
        }
        for client in self.house.sources.admin.take_heard() {
            while let Some(request) = self.house.sources.admin.request(client) {
                if request == Request::Reload {
                    self.reloader.ask(Some(client), &self.house);
                    continue;
                }
                if let Some(change) = super::added::change(&request) {
                    let begun = change.and_then(|change| self.reloader.change(client, change, &self.house));
                    if let Err(text) = begun {
                        self.house.sources.admin.respond(client, &Response::Error(text));
                    }
                    continue;
                }
                let by = request.word();
                self.piece(by, |daemon, now| {
                    daemon.operator.serve(&mut daemon.house, client, request, now);
                });
            }
        }
        let heard = self.house.sources.metrics.as_mut().map(Http::take_heard).unwrap_or_default();
        for client in heard {
            self.piece("scrape", |daemon, now| {
                // The page is made from the whole house, so the server steps out of it for the while.
                if let Some(mut http) = daemon.house.sources.metrics.take() {
                    http.serve(client, || daemon.scrape.page(&daemon.house, daemon.clock.age(), now), now);
                    daemon.house.sources.metrics = Some(http);
                }
            });
        }
    }

    fn stop(&mut self) {
        let now = self.clock.now();
        // Asked twice: no goodbyes.
        if self.round.ends_at.replace(now).is_none() {
            tracing::info!("stopping");
            Service::stopping();
            // What is written down goes on in the next process; otherwise the peers are told that it ends.
            let keep_sessions = self.house.journal.as_ref().is_some_and(Journal::is_whole);
            self.house.gateway.shutdown(keep_sessions, now);
            self.house.settle(now);
            self.round.ends_at = Some(now + GOODBYE_NS);
        }
    }

    /// Whether everything is said. What was said last is in the kernel's sockets: the TAPs and workers carry it until the
    /// kernel is silent.
    fn is_over(&mut self, now: u64) -> bool {
        let silent = || now.saturating_sub(self.round.last_work) >= SILENCE_NS;
        let said = self.house.sources.peering.is_empty() && silent();
        self.round.ends_at.is_some_and(|at| now >= at || said) && self.house.fleet.drain()
    }

    /// How long the loop may sleep.
    fn timeout(&mut self, now: u64) -> Duration {
        let may_go_on = self.may_do_chores();
        let house = &mut self.house;
        if may_go_on || house.sources.have_unread() || now.saturating_sub(self.round.last_work) < LINGER_NS {
            return Duration::ZERO;
        }
        let mut until = self.round.last_sweep + SWEEP_NS;
        for at in [house.gateway.poll_timeout(), house.dhcp.poll_timeout()].into_iter().flatten() {
            until = until.min(at);
        }
        if until <= now || !house.fleet.doze() {
            return Duration::ZERO;
        }
        let sleep = Duration::from_nanos(until - now);
        if house.fleet.drain() { sleep } else { sleep.min(RETRY) }
    }

    /// What has to be looked at now and then, besides the sources.
    fn sweep(&mut self, now: u64) {
        self.house.fleet.see_to_moves();
        self.house.fleet.see_to_keys();
        self.operator.handle_timeout(&mut self.house);
        if self.house.config.nat.is_some() {
            let house = &mut self.house;
            let workers: Vec<_> = (0..house.fleet.len()).map(|worker| house.fleet.snapshot(worker)).collect();
            house.shortage.look(&workers).into_iter().for_each(|of| self.operator.tell_shortage(of));
        }
        for line in dpdk::take_log().lines().filter(|line| !line.trim().is_empty()) {
            tracing::debug!(kind = "dpdk", "{}", line.trim());
        }
        self.house.settle(now);
        let discarded = self.house.gateway.take_discarded();
        if !discarded.is_empty() {
            discard(discarded);
        }
        if now.saturating_sub(self.round.last_report) >= crate::log::REPORT_EVERY.as_nanos() as u64 {
            self.round.last_report = now;
            self.house.log.report();
        }
    }

    /// The last steps: workers drained and gone, then everything else by being dropped.
    fn finish(mut self) {
        self.house.fleet.stop();
        self.house.log.report();
        tracing::info!("stopped");
    }
}
