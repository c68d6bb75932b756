//! A look at the configuration and its files for a gateway that runs.

use super::added::HostChange;
use super::discard::discard;
use super::files;
use super::ground::Ground;
use super::house::House;
use super::places::Places;
use super::sources::Sources;
use crate::admin::protocol::Response;
use crate::config::{AddedHosts, Config, Loaded};
use crate::slots::Key;
use crate::sources::netlink::Requests;
use crate::sources::tap::Tap;
use crate::tls::Credentials;
use ces_gateway::Reloaded;
use ces_rules::Book;
use ces_settings::{FileError, Problem};
use mio::Waker;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

/// What a look at the files came to.
type Read = Result<(Loaded, Option<Credentials>), Vec<FileError>>;

/// Looks at the configuration when it is asked to. Files are read and checked by a thread of their own, since a hundred
/// thousand hosts take a while; what they say is applied by the control thread.
pub(super) struct Reloader {
    path: PathBuf,
    /// Ends the control thread's sleep.
    waker: Arc<Waker>,
    reading: Option<Receiver<Read>>,
    /// What is being applied, a piece at a time.
    applying: Option<Applying>,
    /// Who waits for what is being read, and who asked after that began.
    waiting: Vec<Key>,
    late: Option<Vec<Key>>,
    /// A host that comes or goes with it, and who asked for that.
    change: Option<(Key, HostChange)>,
}

impl Reloader {
    /// For the configuration in that file.
    pub(super) fn new(path: PathBuf, waker: Arc<Waker>) -> Self {
        Self { path, waker, reading: None, applying: None, waiting: Vec::new(), late: None, change: None }
    }

    /// Begins; a client that asks is answered at the end. Who asks while files are being read has them read once more, as
    /// they may have changed since.
    pub(super) fn ask(&mut self, client: Option<Key>, house: &House) {
        if self.is_busy() {
            self.late.get_or_insert_default().extend(client);
            return;
        }
        self.waiting.extend(client);
        self.read(AddedHosts::Are(house.added.files(None).unwrap_or_default()));
    }

    fn is_busy(&self) -> bool {
        self.reading.is_some() || self.applying.is_some()
    }

    /// Has a host come, or go: the files are read again, with it. The client is answered at the end; an error is said at once.
    pub(super) fn change(&mut self, client: Key, change: HostChange, house: &House) -> Result<(), String> {
        if self.is_busy() {
            return Err("a reload is under way: try again".to_owned());
        }
        let files = house.added.files(Some(&change))?;
        self.change = Some((client, change));
        self.read(AddedHosts::Fit(files));
        Ok(())
    }

    fn read(&mut self, added: AddedHosts) {
        let (done, read) = mpsc::channel();
        let (path, waker) = (self.path.clone(), Arc::clone(&self.waker));
        let began = std::thread::Builder::new().name("reload".to_owned()).spawn(move || {
            let _ = done.send(files::load_with(&path, added));
            let _ = waker.wake();
        });
        if let Err(error) = began {
            let (done, read) = mpsc::channel();
            let message = format!("there is no thread to read it: {error}");
            let path = self.path.display().to_string();
            let _ = done.send(Err(vec![FileError { path, line: None, message }]));
            self.reading = Some(read);
            return;
        }
        self.reading = Some(read);
    }

    /// Whether files have been read that are not applied yet.
    pub(super) fn take_read(&mut self) -> Option<Read> {
        let read = self.reading.as_ref()?.try_recv().ok()?;
        self.reading = None;
        Some(read)
    }

    /// Begins to apply what was read.
    pub(super) fn begin(&mut self, house: &mut House, read: Read, now: u64) {
        let said = |errors: Vec<FileError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        match read.map_err(said).and_then(|(loaded, credentials)| begin(house, loaded, credentials)) {
            Ok(applying) => self.applying = Some(applying),
            Err(lines) => self.end(house, Err(lines), now),
        }
    }

    /// What the next piece of what is being applied is, in a word.
    pub(super) fn next_piece(&self, house: &House) -> Option<&'static str> {
        self.applying.as_ref().map(|applying| match applying {
            Applying::Prepared(..) if !house.gateway.is_reload_prepared() => "reload_prepare",
            Applying::Prepared(..) => "reload",
            Applying::InForce(..) => "reload_settle",
        })
    }

    /// Goes on with that, for a piece.
    pub(super) fn go_on(&mut self, house: &mut House, now: u64) {
        let Some(applying) = self.applying.take() else { return };
        match applying.go_on(house, now) {
            Step::On(applying) => self.applying = Some(applying),
            Step::Over(result) => self.end(house, result, now),
        }
        house.pump(now);
    }

    /// It has come to an end: who waits for it is answered.
    fn end(&mut self, house: &mut House, result: Result<Vec<String>, Vec<String>>, now: u64) {
        let last = &mut house.last_reload;
        last.succeeded = result.is_ok();
        let response = match result {
            Ok(lines) => {
                last.in_force_since = now;
                for line in &lines {
                    tracing::info!("{line}");
                }
                Response::Ok(lines.into())
            }
            Err(lines) => {
                for line in &lines {
                    tracing::error!("reload: {line}");
                }
                Response::Error(lines.join("\n"))
            }
        };
        house.pump(now);
        if let Some((client, change)) = self.change.take() {
            match &response {
                Response::Ok(_) => {
                    let what = if change.text.is_some() { "added" } else { "removed" };
                    let said = Response::Ok(format!("{} {what}", change.name).into());
                    house.added.keep(client, change, said);
                    house.pump(now);
                }
                _ => _ = house.sources.admin.respond(client, &response),
            }
        }
        for client in std::mem::take(&mut self.waiting) {
            house.sources.admin.respond(client, &response);
        }
        if let Some(late) = self.late.take() {
            self.waiting = late;
            self.ask(None, house);
        }
    }
}

/// A configuration that is being applied, and what is new in it and only a restart changes.
enum Applying {
    /// Nothing of it is in force yet.
    Prepared(Box<Prepared>, String),
    /// All of it is, unless there is an error; what follows from that is under way.
    InForce(Result<(), Vec<String>>, String),
}

/// What was read and is put into force at once.
struct Prepared {
    config: Config,
    credentials: Option<Credentials>,
    rules: Option<Arc<Book>>,
    dhcp: ces_dhcp::Settings,
}

/// What comes of a piece.
enum Step {
    On(Applying),
    Over(Result<Vec<String>, Vec<String>>),
}

fn one(error: &dyn std::fmt::Display) -> Vec<String> {
    vec![error.to_string()]
}

fn begin(
    house: &mut House,
    mut loaded: Loaded,
    credentials: Option<Credentials>,
) -> Result<Applying, Vec<String>> {
    let fixed = loaded.config.keep_fixed(&house.config).join(", ");
    if !fixed.is_empty() {
        // What stays and what is new have not been looked at together.
        let problems = crate::config::problems(&loaded.config);
        if !problems.is_empty() {
            let of = format!("with what only a restart changes ({fixed})");
            return Err(problems.iter().map(|problem| format!("{of}: {problem}")).collect());
        }
    }
    for warning in loaded.policies.warnings() {
        tracing::warn!("{warning}");
    }
    let Loaded { config, registry, policies, rules, mut dhcp, aside } = loaded;
    for error in aside {
        tracing::warn!("set aside: {error}");
    }
    if !fixed.is_empty() {
        let said = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        dhcp = crate::config::dhcp_settings(&config, &registry).map_err(said)?;
    }
    house.gateway.begin_reload(config.settings(), registry, policies).map_err(|error| one(&error))?;
    Ok(Applying::Prepared(Box::new(Prepared { config, credentials, rules, dhcp }), fixed))
}

impl Applying {
    fn go_on(self, house: &mut House, now: u64) -> Step {
        match self {
            Self::Prepared(prepared, fixed) if !house.gateway.is_reload_prepared() => {
                house.gateway.prepare_reload();
                Step::On(Self::Prepared(prepared, fixed))
            }
            Self::Prepared(prepared, fixed) => match apply(house, *prepared, now) {
                Err(lines) if house.gateway.cancel_reload() => Step::Over(Err(lines)),
                result => Step::On(Self::InForce(result, fixed)),
            },
            Self::InForce(result, fixed) => match house.gateway.settle_reload(now) {
                None => Step::On(Self::InForce(result, fixed)),
                Some(reloaded) => Step::Over(result.map(|()| told(reloaded, &fixed))),
            },
        }
    }
}

fn told(reloaded: Reloaded, fixed: &str) -> Vec<String> {
    let mut lines = vec![format!(
        "reloaded: {} hosts added, {} removed, {} changed, {} sessions terminated",
        reloaded.hosts_added, reloaded.hosts_removed, reloaded.hosts_changed, reloaded.sessions_terminated
    )];
    if !fixed.is_empty() {
        lines.push(format!("changed, but only a restart applies it: {fixed}"));
    }
    lines
}

/// Puts a configuration into force.
fn apply(house: &mut House, prepared: Prepared, now: u64) -> Result<(), Vec<String>> {
    let Prepared { config, credentials, rules, dhcp } = prepared;
    // First everything that can fail: nothing has changed before that.
    let settings = super::told::premises(&config, &house.settings).map_err(|error| one(&error))?;
    let sources = &house.sources;
    let Some(metrics) = &sources.metrics else { return Err(one(&"the metrics page is being made")) };
    let places =
        Places::open(&config, &sources.peering, &sources.dns_tcp, metrics).map_err(|error| one(&error))?;
    let indices: Vec<_> = sources.taps.all().iter().map(Tap::index).collect();
    let (before, after) = (Ground::of(&house.config, &indices), Ground::of(&config, &indices));
    let mut requests = Requests::open().map_err(|error| one(&error))?;
    house.gateway.apply_reload(now).map_err(|error| one(&error))?;
    house.gateway.set_addresses(config.addresses().into_iter().map(Into::into).collect(), now);
    let (socket, connections) = (&config.admin.socket, config.admin.connections as usize);
    house.sources.admin.move_to(socket, connections).map_err(|error| one(&error))?;
    // What comes is there before what goes is gone: first the kernel, then the workers, then who listens.
    if before != after {
        after.lay(&mut requests).map_err(|error| one(&error))?;
    }
    let is_filtered = rules.is_some() || house.rules.is_in_force();
    if settings != house.settings || is_filtered {
        house.settings = settings;
        discard(house.rules.replace(rules, house.fleet.len()));
        house.publish();
    }
    let Sources { peering, dns_tcp, metrics, .. } = &mut house.sources;
    if let Some(metrics) = metrics {
        places.install(&config, peering, dns_tcp, metrics).map_err(|error| one(&error))?;
    }
    if before != after {
        after.clear(&before, &mut requests).map_err(|error| one(&error))?;
    }
    house.sources.peering.set_credentials(credentials);
    house.dhcp.configure(dhcp);
    house.log.set(config.log.level, config.log.format);
    house.config = config;
    house.pump(now);
    Ok(())
}
