//! A look at the configuration and its files for a gateway that runs.

use super::files;
use super::ground::Ground;
use super::house::House;
use super::places::Places;
use super::told;
use crate::admin::protocol::Response;
use crate::config::Loaded;
use crate::slots::Key;
use crate::sources::netlink::Requests;
use crate::sources::tap::Tap;
use crate::tls::Credentials;
use ces_dataplane::premises::Premises;
use ces_settings::FileError;
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
    /// Who waits for what is being read, and who asked after that began.
    waiting: Vec<Key>,
    late: Option<Vec<Key>>,
}

impl Reloader {
    /// For the configuration in that file.
    pub(super) fn new(path: PathBuf, waker: Arc<Waker>) -> Self {
        Self { path, waker, reading: None, waiting: Vec::new(), late: None }
    }

    /// Begins; a client that asks is answered at the end. Who asks while files are being read has them read once more, as
    /// they may have changed since.
    pub(super) fn ask(&mut self, client: Option<Key>) {
        if self.reading.is_some() {
            self.late.get_or_insert_default().extend(client);
            return;
        }
        self.waiting.extend(client);
        let (done, read) = mpsc::channel();
        let (path, waker) = (self.path.clone(), Arc::clone(&self.waker));
        let began = std::thread::Builder::new().name("reload".to_owned()).spawn(move || {
            let _ = done.send(files::load(&path));
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

    /// Applies what was read, and answers who waits for it.
    pub(super) fn apply(&mut self, house: &mut House, read: Read, now: u64) {
        let said = |errors: Vec<FileError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let result =
            read.map_err(said).and_then(|(loaded, credentials)| apply(house, loaded, credentials, now));
        let response = match result {
            Ok(lines) => {
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
        for client in std::mem::take(&mut self.waiting) {
            house.sources.admin.respond(client, &response);
        }
        if let Some(late) = self.late.take() {
            self.waiting = late;
            self.ask(None);
        }
    }
}

fn apply(
    house: &mut House,
    mut loaded: Loaded,
    credentials: Option<Credentials>,
    now: u64,
) -> Result<Vec<String>, Vec<String>> {
    let one = |error: &dyn std::fmt::Display| vec![error.to_string()];
    let fixed = loaded.config.keep_fixed(&house.config);
    if !fixed.is_empty() {
        // What stays and what is new have not been looked at together.
        let problems = crate::config::problems(&loaded.config);
        if !problems.is_empty() {
            let of = format!("with what only a restart changes ({})", fixed.join(", "));
            return Err(problems.iter().map(|problem| format!("{of}: {problem}")).collect());
        }
    }
    for warning in loaded.policies.warnings() {
        tracing::warn!("{warning}");
    }
    // First everything that can fail: nothing has changed before that.
    let config = loaded.config;
    let settings = told::premises(&config, &house.settings).map_err(|error| one(&error))?;
    let sources = &mut house.sources;
    let Some(metrics) = &mut sources.metrics else { return Err(one(&"the metrics page is being made")) };
    let places =
        Places::open(&config, &sources.peering, &sources.dns_tcp, metrics).map_err(|error| one(&error))?;
    let indices: Vec<_> = sources.taps.all().iter().map(Tap::index).collect();
    let (before, after) = (Ground::of(&house.config, &indices), Ground::of(&config, &indices));
    let mut requests = Requests::open().map_err(|error| one(&error))?;
    let reloaded = house
        .gateway
        .reload(config.settings(), loaded.registry, loaded.policies, now)
        .map_err(|error| one(&error))?;
    house.gateway.set_addresses(config.addresses().into_iter().map(Into::into).collect(), now);
    let (socket, connections) = (&config.admin.socket, config.admin.connections as usize);
    sources.admin.move_to(socket, connections).map_err(|error| one(&error))?;
    // What comes is there before what goes is gone: first the kernel, then the workers, then who listens.
    if before != after {
        after.lay(&mut requests).map_err(|error| one(&error))?;
    }
    if settings != house.settings {
        house.fleet.publish(&Premises::new(&settings).with_routes(Arc::clone(&house.fib)));
        house.settings = settings;
    }
    places
        .install(&config, &mut sources.peering, &mut sources.dns_tcp, metrics)
        .map_err(|error| one(&error))?;
    if before != after {
        after.clear(&before, &mut requests).map_err(|error| one(&error))?;
    }
    sources.peering.set_credentials(credentials);
    house.log.set(config.log.level, config.log.format);
    house.config = config;
    house.pump(now);
    let mut lines = vec![format!(
        "reloaded: {} hosts added, {} removed, {} changed, {} sessions terminated",
        reloaded.hosts_added, reloaded.hosts_removed, reloaded.hosts_changed, reloaded.sessions_terminated
    )];
    if !fixed.is_empty() {
        lines.push(format!("changed, but only a restart applies it: {}", fixed.join(", ")));
    }
    Ok(lines)
}
