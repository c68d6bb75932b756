//! What a machine with more cores would do, from what was measured on this one; every step is printed.
//!
//! The model is arithmetic on a run's own numbers:
//!
//! * cycles per packet of one worker with all bindings, as the optimistic bound: each core has its own caches and fewer bindings;
//! * of a worker among N that run in turn on one core, as the pessimistic one: they have but one core's caches together, and so
//!   each begins its turn with cold ones; times what N cores at once cost each other, the measured factor of two cores over
//!   one for each doubling;
//! * where the NIC does not bring packets to their owner, (N − 1)/N of them are handed over: measured in turn with two workers
//!   (optimistic) and with N, and for each of them what two real cores add to that by fetching each other's lines;
//! * the driver of a fast port, which the harness leaves out: an assumption, [`PORT_CYCLES`].

use crate::report::{Report, Variant};
use crate::runs::Run;

/// Cycles that a driver of a fast port takes to receive and send a packet, both together. Not measured here: the figure that
/// DPDK's reports give for vector drivers on server cores.
pub const PORT_CYCLES: f64 = 60.0;
/// Bits a second of the port.
const LINE_BPS: f64 = 100e9;
/// Bytes that a frame takes on the wire beside its own: preamble, start of frame, gap (IEEE 802.3 §4.2.3.2, §35).
const WIRE_BYTES: f64 = 20.0;
/// Bytes that VXLAN puts in front: outer IPv4, UDP, VXLAN, inner Ethernet.
const TUNNEL_BYTES: f64 = 50.0;
/// The cores that the model is asked about.
pub const CORES: [u32; 4] = [1, 2, 8, 32];
/// Bindings in all.
pub const BINDINGS: u32 = 1_000_000;
/// Frame sizes with checksum, and how many of each come together. The last is the simple IMIX: 7 of 64, 4 of 594, 1 of 1,518.
const SIZES: [(&str, &[(f64, f64)]); 4] = [
    ("64", &[(64.0, 1.0)]),
    ("512", &[(512.0, 1.0)]),
    ("IMIX", &[(64.0, 7.0), (594.0, 4.0), (1518.0, 1.0)]),
    ("1518", &[(1518.0, 1.0)]),
];

/// Packets a second that a line carries of such frames, each longer by `more` bytes.
pub fn line_pps(mix: &[(f64, f64)], more: f64) -> f64 {
    let count: f64 = mix.iter().map(|(_, count)| count).sum();
    let bytes: f64 = mix.iter().map(|(size, count)| (size + more + WIRE_BYTES) * count).sum();
    LINE_BPS / (bytes / count * 8.0)
}

/// What was measured, egress and ingress halved.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Cycles of the counter a second.
    pub hz: f64,
    /// By entry of [`CORES`]: cycles per packet of that many workers in turn, each with its own packets.
    pub own: [f64; 4],
    /// The same with packets that arrive anywhere.
    pub mixed: [f64; 4],
    /// On one real core, on two, and on two with packets that arrive anywhere; `None` on a machine with one core.
    pub cores: Option<[f64; 3]>,
}

/// A prediction in cycles per packet, port included: optimistic and pessimistic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Packets arrive at their owner.
    pub own: [f64; 2],
    /// Packets arrive anywhere.
    pub mixed: [f64; 2],
}

impl Inputs {
    /// From a run; what is wanting is named.
    pub fn of(run: &Run) -> Result<Self, String> {
        let mean = |variant: &Variant| {
            let median = |case: &str| {
                let report: Option<&Report> = run.find(case, BINDINGS, variant);
                report.map(|report| report.cycles_per_packet.median).ok_or_else(|| {
                    format!("{} has no {case} with {BINDINGS} bindings ({})", run.name, variant.words())
                })
            };
            Ok::<_, String>(f64::midpoint(median("ces-egress-worker")?, median("ces-ingress-worker")?))
        };
        let variant = |workers, threads, mixed| Variant { workers, threads, mixed, ..Variant::default() };
        let (mut own, mut mixed) = ([0.0; 4], [0.0; 4]);
        for (place, workers) in CORES.into_iter().enumerate() {
            own[place] = mean(&variant(workers, false, false))?;
            mixed[place] = if workers == 1 { own[place] } else { mean(&variant(workers, false, true))? };
        }
        let cores = || {
            let two = mean(&variant(2, true, false))?;
            Ok::<_, String>([mean(&variant(1, true, false))?, two, mean(&variant(2, true, true))?])
        };
        let mhz = run.machine.get("counter_mhz").and_then(serde_json::Value::as_f64);
        let hz = mhz.ok_or_else(|| format!("{} does not say the counter's rate", run.name))? * 1e6;
        Ok(Self { hz, own, mixed, cores: cores().ok() })
    }

    /// By what two cores at once slow each other down; not below 1.
    pub fn sharing(&self) -> f64 {
        self.cores.map_or(1.0, |[one, two, _]| (two / one).max(1.0))
    }

    /// Cycles for each packet that is handed over: between workers in turn on one core, at this entry of [`CORES`].
    pub fn hand_over(&self, place: usize) -> f64 {
        let share = 1.0 - 1.0 / f64::from(CORES[place]);
        if share > 0.0 { ((self.mixed[place] - self.own[place]) / share).max(0.0) } else { 0.0 }
    }

    /// What each packet handed over costs more where its lines move from core to core.
    pub fn crossing(&self) -> f64 {
        let two = |[_, own, mixed]: [f64; 3]| (mixed - own) / 0.5 - self.hand_over(1);
        self.cores.map_or(0.0, |cores| two(cores).max(0.0))
    }

    /// For this entry of [`CORES`].
    pub fn predict(&self, place: usize) -> Prediction {
        let workers = f64::from(CORES[place]);
        let share = 1.0 - 1.0 / workers;
        let pessimistic = self.sharing().powf(workers.log2());
        let crossing = share * self.crossing();
        let range = |low: f64, high: f64| [low.min(high) + PORT_CYCLES, high + PORT_CYCLES];
        Prediction {
            own: range(self.own[0], self.own[place] * pessimistic),
            mixed: range(
                self.own[0] + share * self.hand_over(1) + crossing,
                (self.mixed[place] + crossing) * pessimistic,
            ),
        }
    }
}

/// The model with its arithmetic, as Markdown.
pub fn text(inputs: &Inputs) -> String {
    let mhz = inputs.hz / 1e6;
    let mut text = vec![format!(
        "Measured, {BINDINGS} bindings in all, VXLAN, mean of egress and ingress, median cycles per packet; the counter runs at {mhz:.0} MHz.\n\n\
         | Workers | own packets | packets anywhere | handed over | cycles per hand-over |\n|---|---|---|---|---|\n"
    )];
    for (place, workers) in CORES.into_iter().enumerate() {
        let share = (1.0 - 1.0 / f64::from(workers)) * 100.0;
        text.push(format!(
            "| {workers} in turn | {:.1} | {:.1} | {share:.1} % | {:.1} |\n",
            inputs.own[place],
            inputs.mixed[place],
            inputs.hand_over(place)
        ));
    }
    match inputs.cores {
        Some([one, two, mixed]) => {
            text.push(format!(
                "\nOn real cores: one {one:.1}, two at once {two:.1} (factor {:.3}), two with packets anywhere {mixed:.1}: \
                 ({mixed:.1} − {two:.1}) / 0.5 = {:.1} for each hand-over, of which {:.1} are the lines that cross.\n",
                inputs.sharing(),
                (mixed - two) / 0.5,
                inputs.crossing()
            ));
        }
        None => text.push(
            "\nThe machine has one core: what cores cost each other is not measured and taken as nothing.\n"
                .to_owned(),
        ),
    }
    text.push(format!(
        "\nFrom: one worker [+ (N − 1)/N × ({:.1} + {:.1} crossing)]; to: (N in turn [+ (N − 1)/N × {1:.1} crossing]) × {:.3}^log₂N; + {PORT_CYCLES:.0} for a driver; rate = N × {mhz:.0} MHz / cycles.\n\n\
         | Cores | NIC brings packets to their owner: cycles | Mpps | NIC does not: cycles | Mpps |\n|---|---|---|---|---|\n",
        inputs.hand_over(1),
        inputs.crossing(),
        inputs.sharing()
    ));
    let range = |[low, high]: [f64; 2]| format!("{low:.0} … {high:.0}");
    let rates = |workers: u32, [low, high]: [f64; 2]| {
        let rate = |cycles: f64| f64::from(workers) * inputs.hz / cycles / 1e6;
        format!("{:.1} … {:.1}", rate(high), rate(low))
    };
    for (place, workers) in CORES.into_iter().enumerate() {
        let Prediction { own, mixed } = inputs.predict(place);
        text.push(format!(
            "| {workers} | {} | {} | {} | {} |\n",
            range(own),
            rates(workers, own),
            range(mixed),
            rates(workers, mixed)
        ));
    }
    text.push("\n100 Gbit/s, one way; the tunnel side carries 50 bytes more for each packet, so it is full first.\n\n\
             | Frame | Mpps inside | Mpps in tunnels | share with 8 cores | share with 32 cores | 8 cores, NIC does not | 32 cores, NIC does not |\n\
             |---|---|---|---|---|---|---|\n".to_owned());
    for (name, mix) in SIZES {
        let (inside, tunnel) = (line_pps(mix, 0.0), line_pps(mix, TUNNEL_BYTES));
        let share = |place: usize, mixed: bool| {
            let predicted = inputs.predict(place);
            let cycles = if mixed { predicted.mixed } else { predicted.own };
            let of = |cycles: f64| (f64::from(CORES[place]) * inputs.hz / cycles / tunnel * 100.0).min(100.0);
            format!("{:.0} … {:.0} %", of(cycles[1]), of(cycles[0]))
        };
        text.push(format!(
            "| {name} | {:.2} | {:.2} | {} | {} | {} | {} |\n",
            inside / 1e6,
            tunnel / 1e6,
            share(2, false),
            share(3, false),
            share(2, true),
            share(3, true)
        ));
    }
    // A packet reads a bucket and an entry (outward) or an entry (inward), and the entry is written back: 2.5 lines of 64.
    let lines = 2.5;
    let rate = line_pps(SIZES[0].1, TUNNEL_BYTES);
    text.push(format!(
        "\nTable lines from memory at the tunnel side's full rate of 64-byte frames: {:.1} Mpps × {lines} lines × 64 bytes = {:.0} GB/s, \
         beside the packets' own.\n",
        rate / 1e6,
        rate * lines * 64.0 / 1e9
    ));
    text.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 0.001
    }

    #[test]
    fn line_rates_are_the_well_known_ones() {
        assert!(close(line_pps(SIZES[0].1, 0.0), 148.81e6));
        assert!(close(line_pps(SIZES[3].1, 0.0), 8.127e6));
        assert!(close(line_pps(SIZES[2].1, 0.0), 32.74e6));
        assert!(close(line_pps(SIZES[0].1, TUNNEL_BYTES), 93.28e6));
    }

    fn inputs() -> Inputs {
        Inputs {
            hz: 2.5e9,
            own: [100.0, 102.0, 110.0, 120.0],
            mixed: [100.0, 122.0, 145.0, 182.0],
            cores: Some([100.0, 110.0, 150.0]),
        }
    }

    #[test]
    fn arithmetic_follows_the_inputs() {
        let inputs = inputs();
        assert!(close(inputs.sharing(), 1.1));
        assert!(close(inputs.hand_over(1), 40.0) && close(inputs.hand_over(2), 40.0));
        assert!(close(inputs.crossing(), 40.0), "80 on real cores, 40 in turn");
        let one = inputs.predict(0);
        assert_eq!((one.own, one.mixed), ([160.0; 2], [160.0; 2]));
        let eight = inputs.predict(2);
        assert!(close(eight.own[0], 160.0) && close(eight.own[1], 110.0 * 1.331 + 60.0));
        assert!(close(eight.mixed[0], 100.0 + 0.875 * (40.0 + 40.0) + 60.0));
        assert!(close(eight.mixed[1], (145.0 + 0.875 * 40.0) * 1.331 + 60.0));
        assert!(text(&inputs).contains("| 8 | 160 … 206 |"), "{}", text(&inputs));
    }

    #[test]
    fn one_core_knows_nothing_of_sharing() {
        let inputs = Inputs { cores: None, ..inputs() };
        assert!(close(inputs.sharing(), 1.0) && inputs.crossing() == 0.0);
        assert!(text(&inputs).contains("taken as nothing"));
    }

    #[test]
    fn what_a_run_lacks_is_named() {
        let error = Inputs::of(&Run { name: "empty".to_owned(), ..Run::default() }).unwrap_err();
        assert!(error.contains("empty has no ces-egress-worker"), "{error}");
    }
}
