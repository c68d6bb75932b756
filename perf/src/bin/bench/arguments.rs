//! What can be asked for on the command line.

use ces_dataplane::msg::Encapsulation;
use ces_dataplane::path::BURST;
use ces_dataplane::table::session::Heading;
use ces_perf::churn::ChurnStep;
use ces_perf::fleet::Steering;
use ces_perf::realm::{ENTRIES, PlanWay, RealmPlan};
use ces_perf::rotation::COLD;
use ces_perf::stage::Stage;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser};
use serde::Serialize;

/// The most restricted bindings that a worker has room for.
const LIMITED_MOST: u32 = 65_534;

/// Measures one case of the packet path.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    /// The case.
    #[arg(long, value_parser = named(), required_unless_present_any = ["list", "footprint", "machine"])]
    pub case: Option<Named>,
    /// Names the cases.
    #[arg(long)]
    pub list: bool,
    /// What one of each thing takes of memory, one JSON object a line.
    #[arg(long)]
    pub footprint: bool,
    /// The machine as a JSON object.
    #[arg(long)]
    pub machine: bool,
    /// Bindings.
    #[arg(long, default_value_t = ENTRIES, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub entries: u32,
    /// What the case is varied by.
    #[command(flatten)]
    pub variant: Variant,
    /// Seconds of measured time, in windows of 50 ms, each followed by one of the calibration.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Packets that go through the path together.
    #[arg(long, default_value_t = BURST, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub burst: usize,
    /// The core to stay on; the last one if absent.
    #[arg(long)]
    pub core: Option<usize>,
    /// No measuring: so many packets on ordinary memory, without DPDK, to be run under callgrind.
    #[arg(long)]
    pub packets: Option<u64>,
    /// The result as one line.
    #[arg(long)]
    pub json: bool,
}

/// What a case can be varied by.
#[derive(Clone, Args, Serialize)]
pub(crate) struct Variant {
    /// The header between gateways.
    #[arg(long, default_value = "vxlan", value_parser = PossibleValuesParser::new(["vxlan", "gre", "geneve"]))]
    pub encapsulation: String,
    /// Peers, with a tunnel each; no more than bindings.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub tunnels: u16,
    /// Restricted bindings: one protocol, one port, a rate.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(LIMITED_MOST)))]
    pub limited: u16,
    /// The hosts' MAC addresses are known, and their packets must come from them.
    #[arg(long)]
    pub pinned: bool,
    /// Workers that share the bindings, in turn on one core (cases that end in `-worker`).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Each worker on a core of its own.
    #[arg(long)]
    pub threads: bool,
    /// Packets arrive at any worker and are handed over, instead of arriving at their own.
    #[arg(long)]
    pub mixed: bool,
    /// Packet memory that stays in the cache, instead of as cold as a NIC leaves it.
    #[arg(long)]
    pub warm: bool,
    /// Ordinary pages for tables and packets, also where huge ones are to be had.
    #[arg(long)]
    pub ordinary_pages: bool,
}

/// Seconds to measure for: more than none, and at most a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("a number of seconds above 0 and up to 86400 is wanted".to_owned()),
    }
}

/// How a case is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CaseKind {
    /// The yardstick alone.
    Calibration,
    /// `process_burst`.
    Path(PlanWay),
    /// The same with sessions of NAT44.
    World(Heading),
    /// Whole workers.
    Worker(PlanWay),
    /// Commands.
    Insert,
    /// Sessions of NAT44 that come and go.
    Churn(ChurnStep),
    /// Turns without packets.
    Idle,
    /// Which rule of the filter decides.
    Classify,
    /// Rules of the filter are compiled.
    BuildRules,
    /// Queues of a shaped port.
    Queue,
    /// A stage alone.
    Stage(Stage),
}

/// A case: its name, how it is run, and what it does.
pub(crate) type Named = (&'static str, CaseKind, &'static str);

/// All cases. What a name's end says is set by it ([`Arguments::preset`]).
pub(crate) const CASES: [Named; 31] = [
    ("calibration", CaseKind::Calibration, "Parse, TTL, checksum, forward with one flow: the yardstick"),
    ("ces-egress", CaseKind::Path(PlanWay::Egress), "From a host into a tunnel"),
    ("ces-ingress", CaseKind::Path(PlanWay::Ingress), "From a tunnel to a host"),
    ("ces-local", CaseKind::Path(PlanWay::Local), "From a host to a host of the same realm"),
    ("nat-out", CaseKind::World(Heading::Out), "From a host into the world, by a session of NAT44"),
    ("nat-in", CaseKind::World(Heading::In), "From the world to a host, by a session of NAT44"),
    ("ces-egress-worker", CaseKind::Worker(PlanWay::Egress), "Egress in whole turns of the worker"),
    ("ces-ingress-worker", CaseKind::Worker(PlanWay::Ingress), "Ingress in whole turns of the worker"),
    ("ces-egress-pinned", CaseKind::Path(PlanWay::Egress), "Egress of hosts whose MAC addresses are known"),
    ("ces-egress-sealed", CaseKind::Path(PlanWay::Egress), "Egress into encrypted tunnels, AES-256-GCM"),
    ("ces-egress-limited", CaseKind::Path(PlanWay::Egress), "Egress of restricted bindings alone"),
    ("ces-ingress-limited", CaseKind::Path(PlanWay::Ingress), "Ingress of restricted bindings alone"),
    ("ces-local-limited", CaseKind::Path(PlanWay::Local), "Restricted bindings within a realm"),
    ("ces-ingress-gre", CaseKind::Path(PlanWay::Ingress), "Ingress in GRE"),
    ("ces-ingress-geneve", CaseKind::Path(PlanWay::Ingress), "Ingress in GENEVE"),
    ("ces-egress-mixed-worker", CaseKind::Worker(PlanWay::Egress), "Four workers, packets arrive at any"),
    ("ces-ingress-mixed-worker", CaseKind::Worker(PlanWay::Ingress), "The same for ingress"),
    ("ces-insert", CaseKind::Insert, "Making a binding, all tables"),
    ("nat-create", CaseKind::Churn(ChurnStep::Create), "Opening a session of NAT44 with a mapping"),
    ("nat-expire", CaseKind::Churn(ChurnStep::Expire), "Ending a session of NAT44 whose time is over"),
    ("worker-idle", CaseKind::Idle, "Turns of a worker that has nothing to do; \"packets\" are turns"),
    ("queue-fair", CaseKind::Queue, "Into a shaped port's queues and out again, all hosts waiting"),
    ("filter-classify", CaseKind::Classify, "Which rule of the filter decides; \"entries\" are rules"),
    ("filter-build", CaseKind::BuildRules, "Rules of the filter are compiled; \"packets\" are rules"),
    ("stage-parse", CaseKind::Stage(Stage::Parse), "A host's packet: headers, and the hash of its key"),
    ("stage-unwrap", CaseKind::Stage(Stage::Unwrap), "A tunnel packet: outer and inner headers, its tag"),
    ("stage-index", CaseKind::Stage(Stage::Index), "A lookup in the egress index, fetched ahead"),
    ("stage-index-chained", CaseKind::Stage(Stage::IndexChained), "A lookup that waits for the one before"),
    ("stage-entry", CaseKind::Stage(Stage::Entry), "A binding, fetched ahead, compared and counted"),
    ("stage-encap", CaseKind::Stage(Stage::Encap), "Translation and the outer header"),
    ("stage-deliver", CaseKind::Stage(Stage::Deliver), "Translation and the next hop's header"),
];

fn named() -> impl TypedValueParser<Value = Named> {
    PossibleValuesParser::new(CASES.map(|(name, _, about)| PossibleValue::new(name).help(about)))
        .try_map(|text| CASES.into_iter().find(|(name, ..)| *name == text).ok_or("no such case"))
}

impl Arguments {
    /// Sets what the case's name says.
    pub(crate) fn preset(&mut self, (name, ..): Named) {
        if name.ends_with("-limited") {
            self.variant.limited = self.entries.min(LIMITED_MOST) as u16;
        }
        self.variant.pinned |= name.ends_with("-pinned");
        if name.ends_with("-mixed-worker") {
            (self.variant.workers, self.variant.mixed) = (4, true);
        }
        if name.ends_with("-sealed") {
            "psp".clone_into(&mut self.variant.encapsulation);
        }
        if let Some((_, header @ ("gre" | "geneve"))) = name.rsplit_once('-') {
            header.clone_into(&mut self.variant.encapsulation);
        }
    }

    /// What cannot be asked for together.
    pub(crate) fn check(&self, (_, kind, _): Named) -> Result<(), String> {
        let worker = matches!(kind, CaseKind::Worker(_));
        if !worker && (self.variant.workers > 1 || self.variant.threads || self.variant.mixed) {
            return Err("--workers, --threads and --mixed are for the cases that end in -worker".to_owned());
        }
        if self.packets.is_some() && self.variant.threads {
            return Err("--threads takes a clock, and --packets goes without".to_owned());
        }
        if u32::from(self.variant.limited) > self.entries {
            return Err(format!("{} restricted bindings of {}", self.variant.limited, self.entries));
        }
        if self.variant.workers > 1 && self.burst > BURST {
            return Err(format!("several workers take bursts of at most {BURST}"));
        }
        Ok(())
    }

    /// The realm.
    pub(crate) fn plan(&self, kind: CaseKind) -> RealmPlan {
        let way = if let CaseKind::Path(way) | CaseKind::Worker(way) = kind { way } else { PlanWay::Egress };
        RealmPlan {
            tunnels: self.variant.tunnels,
            encapsulation: match self.variant.encapsulation.as_str() {
                "psp" => Encapsulation::Psp,
                "gre" => Encapsulation::Gre,
                "geneve" => Encapsulation::Geneve,
                _ => Encapsulation::Vxlan,
            },
            limited: self.variant.limited,
            pinned: self.variant.pinned,
            workers: self.variant.workers,
            ..RealmPlan::new(way, self.entries)
        }
    }

    /// Where packets arrive.
    pub(crate) fn steering(&self) -> Steering {
        if self.variant.mixed { Steering::Mixed } else { Steering::Own }
    }

    /// Frames in a circle of packet memory, of which there are so many.
    pub(crate) fn frames(&self, circles: u32) -> usize {
        let frames = if self.variant.warm { self.burst } else { COLD / circles as usize };
        frames.next_multiple_of(self.burst)
    }
}
