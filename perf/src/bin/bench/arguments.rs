//! What can be asked for on the command line.

use ces_dataplane::msg::Encapsulation;
use ces_dataplane::path::BURST;
use ces_perf::fleet::Steering;
use ces_perf::realm::{ENTRIES, Plan, Way};
use ces_perf::report::Variant;
use ces_perf::rotation::COLD;
use ces_perf::stage::Stage;
use clap::{Parser, ValueEnum};

/// The most restricted bindings that a worker has room for.
const LIMITED_MOST: u32 = 65_534;

/// Measures one case of the packet path.
#[derive(Parser)]
#[command(version, about)]
pub struct Arguments {
    /// The case.
    #[arg(long, value_enum, required_unless_present_any = ["list", "footprint"])]
    pub case: Option<Name>,
    /// Names the cases.
    #[arg(long)]
    pub list: bool,
    /// What one of each thing takes of memory, one JSON object a line.
    #[arg(long)]
    pub footprint: bool,
    /// Bindings.
    #[arg(long, default_value_t = ENTRIES, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub entries: u32,
    /// Peers, with a tunnel each; no more than bindings.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub tunnels: u16,
    /// Restricted bindings: one protocol, one port, a rate.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(LIMITED_MOST)))]
    pub limited: u16,
    /// The header between gateways.
    #[arg(long, value_enum, default_value = "vxlan")]
    pub encapsulation: Header,
    /// Workers that share the bindings, in turn on one core (cases that end in `-worker`).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Each worker on a core of its own.
    #[arg(long)]
    pub threads: bool,
    /// Packets arrive at any worker and are handed over, instead of arriving at their own.
    #[arg(long)]
    pub mixed: bool,
    /// Seconds of measured time, in windows of 50 ms, each followed by one of the calibration.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Packets that go through the path together.
    #[arg(long, default_value_t = BURST, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub burst: usize,
    /// Packet memory that stays in the cache, instead of as cold as a NIC leaves it.
    #[arg(long)]
    pub warm: bool,
    /// Ordinary pages for tables and packets, also where huge ones are to be had.
    #[arg(long)]
    pub ordinary_pages: bool,
    /// The core to stay on; the last one if absent.
    #[arg(long)]
    pub core: Option<usize>,
    /// No measuring: so many packets on ordinary memory, without DPDK, to be run under callgrind.
    #[arg(long)]
    pub packets: Option<u64>,
    /// Prints one JSON object; the rest goes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Seconds to measure for: more than none, and at most a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("a number of seconds above 0 and up to 86400 is wanted".to_owned()),
    }
}

/// A case.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Parse, TTL, checksum, forward with one flow: the yardstick.
    Calibration,
    /// From a host into a tunnel: look up, translate, encapsulate.
    CesEgress,
    /// From a tunnel to a host: decapsulate, check, translate.
    CesIngress,
    /// From a host to a host of the same realm.
    CesLocal,
    /// Egress in whole turns of the worker: receive, path, send, events, expiry.
    CesEgressWorker,
    /// Ingress in whole turns of the worker.
    CesIngressWorker,
    /// Egress of restricted bindings alone.
    CesEgressLimited,
    /// Ingress of restricted bindings alone.
    CesIngressLimited,
    /// Restricted bindings between hosts of the same realm.
    CesLocalLimited,
    /// Ingress in GRE.
    CesIngressGre,
    /// Ingress in GENEVE.
    CesIngressGeneve,
    /// Egress in turns of four workers, with packets that arrive at any.
    CesEgressMixedWorker,
    /// Ingress in turns of four workers, with packets that arrive at any.
    CesIngressMixedWorker,
    /// Making a binding, all tables.
    CesInsert,
    /// Turns of a worker that has nothing to do; "packets" are turns.
    WorkerIdle,
    /// Headers of a packet from a host, and the hash of its key.
    StageParse,
    /// Headers of a tunnel packet, outer and inner, and its tag.
    StageUnwrap,
    /// A lookup in the egress index, fetched ahead.
    StageIndex,
    /// A lookup that waits for the one before.
    StageIndexChained,
    /// A binding, fetched ahead, compared and counted.
    StageEntry,
    /// Translation and the outer header.
    StageEncap,
    /// Translation and the next hop's header.
    StageDeliver,
}

/// How a case is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The yardstick alone.
    Calibration,
    /// `process_burst`.
    Path,
    /// Whole workers.
    Worker,
    /// Commands.
    Insert,
    /// Turns without packets.
    Idle,
    /// A stage alone.
    Stage(Stage),
}

impl Name {
    /// As on the command line.
    pub fn text(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// How it is run.
    pub fn kind(self) -> Kind {
        match self {
            Self::Calibration => Kind::Calibration,
            Self::CesEgress
            | Self::CesIngress
            | Self::CesLocal
            | Self::CesEgressLimited
            | Self::CesIngressLimited
            | Self::CesLocalLimited
            | Self::CesIngressGre
            | Self::CesIngressGeneve => Kind::Path,
            Self::CesEgressWorker
            | Self::CesIngressWorker
            | Self::CesEgressMixedWorker
            | Self::CesIngressMixedWorker => Kind::Worker,
            Self::CesInsert => Kind::Insert,
            Self::WorkerIdle => Kind::Idle,
            Self::StageParse => Kind::Stage(Stage::Parse),
            Self::StageUnwrap => Kind::Stage(Stage::Unwrap),
            Self::StageIndex => Kind::Stage(Stage::Index),
            Self::StageIndexChained => Kind::Stage(Stage::IndexChained),
            Self::StageEntry => Kind::Stage(Stage::Entry),
            Self::StageEncap => Kind::Stage(Stage::Encap),
            Self::StageDeliver => Kind::Stage(Stage::Deliver),
        }
    }

    fn way(self) -> Way {
        match self {
            Self::CesIngress
            | Self::CesIngressLimited
            | Self::CesIngressGre
            | Self::CesIngressGeneve
            | Self::CesIngressWorker
            | Self::CesIngressMixedWorker => Way::Ingress,
            Self::CesLocal | Self::CesLocalLimited => Way::Local,
            _ => Way::Egress,
        }
    }
}

/// The header between gateways.
#[derive(Clone, Copy, ValueEnum)]
pub enum Header {
    /// RFC 7348.
    Vxlan,
    /// RFC 2784 with a key.
    Gre,
    /// RFC 8926.
    Geneve,
}

impl From<Header> for Encapsulation {
    fn from(header: Header) -> Self {
        match header {
            Header::Vxlan => Encapsulation::Vxlan,
            Header::Gre => Encapsulation::Gre,
            Header::Geneve => Encapsulation::Geneve,
        }
    }
}

impl Arguments {
    /// Sets what the case's name says.
    pub fn preset(&mut self, name: Name) {
        match name {
            Name::CesEgressLimited | Name::CesIngressLimited | Name::CesLocalLimited => {
                self.limited = self.entries.min(LIMITED_MOST) as u16;
            }
            Name::CesIngressGre => self.encapsulation = Header::Gre,
            Name::CesIngressGeneve => self.encapsulation = Header::Geneve,
            Name::CesEgressMixedWorker | Name::CesIngressMixedWorker => {
                (self.workers, self.mixed) = (4, true);
            }
            _ => {}
        }
    }

    /// What cannot be asked for together.
    pub fn check(&self, name: Name) -> Result<(), String> {
        let worker = name.kind() == Kind::Worker;
        if !worker && (self.workers > 1 || self.threads || self.mixed) {
            return Err("--workers, --threads and --mixed are for the cases that end in -worker".to_owned());
        }
        if self.packets.is_some() && self.threads {
            return Err("--threads takes a clock, and --packets goes without".to_owned());
        }
        if u32::from(self.limited) > self.entries {
            return Err(format!("{} restricted bindings of {}", self.limited, self.entries));
        }
        if self.workers > 1 && self.burst > BURST {
            return Err(format!("several workers take bursts of at most {BURST}"));
        }
        Ok(())
    }

    /// The realm.
    pub fn plan(&self, name: Name) -> Plan {
        Plan {
            tunnels: self.tunnels,
            encapsulation: self.encapsulation.into(),
            limited: self.limited,
            workers: self.workers,
            ..Plan::new(name.way(), self.entries)
        }
    }

    /// Where packets arrive.
    pub fn steering(&self) -> Steering {
        if self.mixed { Steering::Mixed } else { Steering::Own }
    }

    /// What the case is varied by.
    pub fn variant(&self) -> Variant {
        let encapsulation = self.encapsulation.to_possible_value();
        Variant {
            encapsulation: encapsulation.map_or_else(String::new, |value| value.get_name().to_owned()),
            tunnels: self.tunnels,
            limited: self.limited,
            workers: self.workers,
            threads: self.threads,
            mixed: self.mixed,
            warm: self.warm,
            ordinary_pages: self.ordinary_pages,
        }
    }

    /// Frames in a circle of packet memory, of which there are so many.
    pub fn frames(&self, circles: u32) -> usize {
        let frames = if self.warm { self.burst } else { COLD / circles as usize };
        frames.next_multiple_of(self.burst)
    }
}
