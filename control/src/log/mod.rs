//! Log lines: for a person, or JSON, never more of one kind than a person can read.
//!
//! What a stranger can cause, a stranger can cause a million times. So each kind of message has a bucket; what does not
//! fit is counted, and the count is said with the same name every [`REPORT_EVERY`]. Nobody waits for a line to be read:
//! `queue` does.

mod queue;

use ces_meter::Bucket;
use queue::Queue;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Lines of one kind that may come at once.
const BURST: u64 = 20;
/// Lines of one kind a second after that.
const PER_SECOND: u64 = 5;
/// How often suppressed lines are said.
pub const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Kinds that are told apart: kinds are names in the source, so this is never reached in practice; beyond it, kinds
/// share one bucket.
const KINDS: usize = 1024;

/// What lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line for a person.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The least important level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs a person.
    Error,
    /// What a person should know.
    Warn,
    /// What happens: peers, refusals, configuration.
    #[default]
    Info,
    /// Each negotiation and connection.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// One kind: its bucket, and the lines that found it empty.
struct Kind {
    bucket: Bucket,
    suppressed: u64,
}

/// The buckets, shared between the filter and whoever reports what was suppressed.
#[derive(Clone)]
pub struct Limiter {
    kinds: Arc<Mutex<HashMap<String, Kind>>>,
    /// Since when the buckets count.
    start: Instant,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { kinds: Arc::default(), start: Instant::now() }
    }
}

impl Limiter {
    /// Whether a line of this kind may be written now.
    pub fn allow(&self, kind: &str, now: Instant) -> bool {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if kinds.len() >= KINDS && !kinds.contains_key(kind) { "" } else { kind };
        if !kinds.contains_key(kind) {
            kinds.insert(kind.to_owned(), Kind { bucket: Bucket::new(PER_SECOND, BURST), suppressed: 0 });
        }
        let Some(kind) = kinds.get_mut(kind) else { return true };
        let passes = kind.bucket.take(1, now.saturating_duration_since(self.start).as_nanos() as u64);
        kind.suppressed += u64::from(!passes);
        passes
    }

    /// The kinds that lost lines since the last call, with how many.
    pub fn take_suppressed(&self) -> Vec<(String, u64)> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost: Vec<_> = kinds
            .iter_mut()
            .filter(|(_, kind)| kind.suppressed > 0)
            .map(|(name, kind)| (name.clone(), std::mem::take(&mut kind.suppressed)))
            .collect();
        lost.sort();
        lost
    }

    /// Writes a line for each kind that lost some. Call it every [`REPORT_EVERY`] and at the end.
    pub fn report(&self) {
        for (kind, count) in self.take_suppressed() {
            tracing::warn!(target: "log", suppressed = count, "{count} more lines like \"{kind}\" were left out");
        }
    }
}

/// Finds the kind of an event: its field `kind` if it has one, else its place in the source.
#[derive(Default)]
struct KindOf(Option<String>);

impl Visit for KindOf {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "kind" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The target of the limiter's own lines, which are not limited.
const UNLIMITED: &str = "log";

impl<S: Subscriber> Filter<S> for Limiter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == UNLIMITED {
            return true;
        }
        let mut kind = KindOf::default();
        event.record(&mut kind);
        let kind =
            kind.0.unwrap_or_else(|| format!("{}:{}", metadata.target(), metadata.line().unwrap_or(0)));
        self.allow(&kind, Instant::now())
    }
}

/// A field as a person reads it: the message bare, the others as `name=value`, quoted only where there is a space. The kind
/// is the limiter's affair.
fn words(to: &mut Writer<'_>, name: &str, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let text = format!("{value:?}");
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match (name, bare) {
        ("kind", _) => Ok(()),
        ("message", _) => to.write_str(&text),
        (_, Some(bare)) if !bare.is_empty() && !bare.contains([' ', '\\']) => write!(to, " {name}={bare}"),
        _ => write!(to, " {name}={text}"),
    }
}

/// Both forms of a line; which one is written may change while the process runs.
struct Form {
    text: fmt::format::Format<fmt::format::Full>,
    json: fmt::format::Format<fmt::format::Json>,
    is_json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        to: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if self.is_json.load(Ordering::Relaxed) {
            self.json.format_event(context, to, event)
        } else {
            self.text.format_event(context, to, event)
        }
    }
}

/// The log of the process, for whoever changes or ends it. Its copies are the same log.
#[derive(Clone)]
pub struct Log {
    limiter: Limiter,
    queue: Queue,
    is_json: Arc<AtomicBool>,
    threshold: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// Starts logging to standard error. Only the first call of a process counts.
    pub fn start(level: LogLevel, format: Format) -> io::Result<Self> {
        let (limiter, queue) = (Limiter::default(), Queue::to(io::stderr())?);
        let is_json = Arc::new(AtomicBool::new(format == Format::Json));
        let (threshold, handle) = reload::Layer::new(LevelFilter::from(level));
        let ansi = io::IsTerminal::is_terminal(&io::stderr());
        let form = Form {
            text: fmt::format().with_target(false).with_ansi(ansi),
            json: fmt::format().json().flatten_event(true),
            is_json: Arc::clone(&is_json),
        };
        let entrance = queue.clone();
        let layer = fmt::layer()
            .event_format(form)
            .fmt_fields(debug_fn(|to, field, value| words(to, field.name(), value)))
            .with_ansi(ansi)
            .with_writer(move || entrance.clone())
            .with_filter(limiter.clone());
        if tracing_subscriber::registry().with(threshold).with(layer).try_init().is_err() {
            tracing::debug!("logging was already started");
        } else {
            say_panics(queue.clone());
        }
        Ok(Self { limiter, queue, is_json, threshold: handle })
    }

    /// Writes from now on what is as important as this, in this form.
    pub fn set(&self, level: LogLevel, format: Format) {
        self.is_json.store(format == Format::Json, Ordering::Relaxed);
        // It fails only where there is no subscriber any more.
        let _ = self.threshold.reload(LevelFilter::from(level));
    }

    /// Says what was left out. Call it every [`REPORT_EVERY`] and at the end.
    pub fn report(&self) {
        self.limiter.report();
    }

    /// Lines that nobody read in time.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    /// Waits a moment for what was said last to be read.
    pub fn finish(&self) {
        self.queue.finish();
    }
}

/// What a thread says that panics goes the same way: it must end, and be seen to have ended, though nobody reads.
fn say_panics(queue: Queue) {
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(target: UNLIMITED, "{}", panic.to_string().replace('\n', " "));
        queue.finish();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_its_burst_then_its_rate_and_the_rest_is_counted() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| limiter.allow("refused", start)).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(limiter.take_suppressed(), vec![("refused".to_owned(), 80)]);
        assert_eq!(limiter.take_suppressed(), vec![]);
        assert!(limiter.allow("refused", start + Duration::from_secs(1)));
    }

    #[test]
    fn fields_are_quoted_only_where_it_helps() {
        let written = |name: &str, value: &dyn std::fmt::Debug| {
            let mut text = String::new();
            words(&mut Writer::new(&mut text), name, value).unwrap();
            text
        };
        assert_eq!(written("message", &format_args!("peer up")), "peer up");
        assert_eq!(written("peer", &"gwb.demo."), " peer=gwb.demo.");
        assert_eq!(written("reason", &"it asked"), " reason=\"it asked\"");
        assert_eq!(written("kind", &"peer up"), "");
        assert_eq!(written("count", &3), " count=3");
    }

    #[test]
    fn one_kind_does_not_silence_another() {
        let limiter = Limiter::default();
        let start = Instant::now();
        while limiter.allow("flood", start) {}
        assert!(limiter.allow("rare", start));
    }

    #[test]
    fn kinds_beyond_the_limit_share_a_bucket() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for i in 0..KINDS * 2 {
            limiter.allow(&format!("kind {i}"), start);
        }
        assert!(limiter.kinds.lock().unwrap().len() <= KINDS + 1);
    }
}
