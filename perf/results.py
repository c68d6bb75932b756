"""Reads runs that were kept, and the counts of callgrind.

  perf/compare RUN RUN          two runs case by case: cycles, ratios to the calibration, and whether they differ by more
                                than the windows of either
  perf/compare --table RUN      a run as a Markdown table
  perf/compare --model RUN      what the run lets expect of more cores and 100 Gbit/s, with the arithmetic

RUN is a directory, or the name of one in perf/runs."""

import json
import os
import sys
import tomllib

HERE = os.path.dirname(os.path.realpath(__file__))
BURST = 64  # ces_dataplane::path::BURST
ENTRIES = 10_000  # bindings, where nothing else is said
# What a case may be varied by, and what it is in runs that do not say so.
USUAL = {"encapsulation": "vxlan", "tunnels": 1000, "limited": 0, "workers": 1, "threads": False, "mixed": False, "warm": False,
         "ordinary_pages": False}


class Unreadable(Exception):
    """What is wrong with a run or a file."""


# --- runs


def read(path):
    """What a file says; nothing if it is not there."""
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


def lines(directory, name):
    """The objects of a file of JSON lines; none if it is not there."""
    path, found = os.path.join(directory, name), []
    for number, line in enumerate(read(path).splitlines(), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise Unreadable(f"{path}, line {number}: {error}") from error
    return found


def instructions(path):
    """Instructions per packet by case, below any heading: case, packets, instructions."""
    found = {}
    for words in map(str.split, read(path).splitlines()):
        if len(words) >= 3 and words[1].isdigit():
            found[words[0]] = float(words[2])
    return found


def thousands(number):
    return f"{number:,}"


def key(report):
    """What makes two cases the same."""
    return (report["case"], report["entries"], report["burst"], *(report[name] for name in USUAL))


def variant(report):
    """In words, what it is varied by."""
    words = [report["encapsulation"]] if report["encapsulation"] != "vxlan" else []
    words += [f"{report['tunnels']} tunnels"] if report["tunnels"] != 1000 else []
    words += [f"{report['limited']} restricted"] if report["limited"] else []
    workers = report["workers"]
    if report["threads"]:
        words.append(f"{workers} core{'' if workers == 1 else 's'}")
    elif workers != 1:
        words.append(f"{workers} workers in turn")
    named = {"mixed": "any worker", "warm": "warm", "ordinary_pages": "4 KiB pages"}
    return ", ".join(words + [text for name, text in named.items() if report[name]])


def title(report):
    words = [f"burst {report['burst']}"] if report["burst"] != BURST else []
    words = ", ".join(words + [word for word in [variant(report)] if word])
    entries = f" {thousands(report['entries'])}" if report["entries"] > 1 else ""
    return report["case"] + entries + (f" ({words})" if words else "")


def usual(report):
    return report["burst"] == BURST and all(report[name] == value for name, value in USUAL.items())


class Run:
    """A directory with bench.jsonl, and what else was measured with it."""

    def __init__(self, directory):
        self.name = os.path.basename(os.path.normpath(directory))
        at = lambda name: os.path.join(directory, name)
        if not os.path.exists(at("commit")) and not os.path.exists(at("bench.jsonl")):
            raise Unreadable(f"{at('commit')} is not there: is {directory} a run?")
        self.commit = read(at("commit")).strip()
        self.machine = json.loads(read(at("machine.json")) or "{}")
        self.cases = [USUAL | {"handed_over": 0.0} | report for report in lines(directory, "bench.jsonl")]
        self.asked = lines(directory, "negotiate.jsonl") + lines(directory, "control.jsonl")
        self.instructions = instructions(at("callgrind.txt"))
        self.footprint = lines(directory, "footprint.jsonl")
        self.beside = json.loads(read(at("beside.json")) or "{}").get("rows", [])

    def find(self, case, entries, **varied):
        wanted = (case, entries, BURST, *(USUAL | varied).values())
        return next((report for report in self.cases if key(report) == wanted), None)


def per_core_second(one):
    """What a whole core would do, at the slower side; of what `names` measured, and of what runs before it have of a program in
    process."""
    if "mode" in one:
        return min(side["per_core_second"] for side in (one["initiator"], one.get("responder")) if side)
    spent = [us for us in one.get("control_us", {}).values() if us]
    return 1e6 / max(spent) if spent else None


def names_words(one):
    """What was asked, and how."""
    if "mode" not in one:
        return f"lab: {one['case']}"
    how = f"{one['mode']}, {one.get('transport', '')} {one['round_trips']} round trips"
    return f"in process: {how}, {one['outstanding']} outstanding"


# --- two runs


# Calibrations that differ by more than this factor saw different packet memory (other pages, a busy machine): ratios to them say
# little about each other.
CALIBRATION_FACTOR = 1.25


def outcome(first, second):
    """What is outside of all windows of the other run, 90 % of either taken, is a difference."""
    if second["p90"] < first["min"]:
        return "faster"
    return "slower" if second["min"] > first["p90"] else "within the spread"


def calibration(report):
    spread = report.get("calibration")
    return spread["median"] if spread else report["cycles_per_packet"]["median"] / report["ratio_to_calibration"]["median"]


def compare(first, second):
    row = "{:<52} {:>13} {:>13} {:>8} {:>8} {:>7}"
    text = [f"A  {first.name} ({first.commit})", f"B  {second.name} ({second.commit})",
            row.format("cycles per packet, min/median", "A", "B", "ratio A", "ratio B", "B / A")]
    others, incomparable = {key(report): report for report in reversed(second.cases)}, False
    ends = lambda report: "{min:.1f}/{median:.1f}".format(**report["cycles_per_packet"])
    for a in first.cases:
        if b := others.get(key(a)):
            ra, rb = a["ratio_to_calibration"], b["ratio_to_calibration"]
            alike = 1 / CALIBRATION_FACTOR <= calibration(b) / calibration(a) <= CALIBRATION_FACTOR
            incomparable |= not alike
            cells = (title(a), ends(a), ends(b), f"{ra['median']:.3f}", f"{rb['median']:.3f}",
                     f"{rb['median'] / ra['median']:.3f}")
            text.append(f"{row.format(*cells)} {outcome(ra, rb) if alike else 'packets not alike *'}")
    for a in first.asked:
        b = next((b for b in second.asked if names_words(b) == names_words(a)), {})
        one, two = per_core_second(a), per_core_second(b)
        if one and two:
            cells = (names_words(a), f"{one:.0f}", f"{two:.0f}", "", "", f"{two / one:.3f}")
            text.append(f"{row.format(*cells)} names per core and second")
    for case, a in sorted(first.instructions.items()):
        if b := second.instructions.get(case):
            text.append(f"{row.format(case, f'{a:.1f}', f'{b:.1f}', '', '', f'{b / a:.3f}')} instructions per packet")
    for name, run, other in (("A", first, second), ("B", second, first)):
        there = {key(report) for report in other.cases}
        if only := [title(report) for report in run.cases if key(report) not in there]:
            text.append(f"only in {name}: {'; '.join(only)}")
    if incomparable:
        text.append(f"* the calibrations differ by more than {(CALIBRATION_FACTOR - 1) * 100:.0f} %, so packet memory was not "
                    "alike: compare cycles instead, if at all")
    return "\n".join(text) + "\n"


# --- a run as a table


# In cycles per packet, smallest and median, by bindings; of egress and ingress over VXLAN, path and worker.
GOALS = {10_000: (70.0, 100.0), 1_000_000: (110.0, 170.0)}
# In names a second for one control thread.
CONTROL_GOALS = {"names-64": 20_000.0, "dnsperf-connected": 150_000.0}


def spread(values, digits):
    return " / ".join(f"{values[name]:.{digits}f}" for name in ("min", "median", "p90"))


def goal(report):
    ways = ("ces-egress", "ces-ingress", "ces-egress-worker", "ces-ingress-worker")
    if report["case"] not in ways or not usual(report) or report["entries"] not in GOALS:
        return ""
    goals, found = GOALS[report["entries"]], report["cycles_per_packet"]
    missed = [f"{name} missed by {found[name] - most:.1f}" for name, most in zip(("min", "median"), goals) if found[name] > most]
    return f"{goals[0]:.0f} / {goals[1]:.0f}: {', '.join(missed) or 'held'}"


def case_row(run, report):
    counted = usual(report) and report["entries"] == ENTRIES or report["case"] == "calibration"
    count = run.instructions.get(report["case"]) if counted else None
    return [title(report), f"{spread(report['cycles_per_packet'], 1)} cycles", f"{report['ratio_to_calibration']['median']:.2f}",
            "" if count is None else f"{count:.0f}", goal(report)]


def asked_row(one):
    times = lambda name, at: ", {} p50 {p50:.0f} µs, p99 {p99:.0f} µs".format(name, **one[at]) if one.get(at) else ""
    core, most = per_core_second(one), CONTROL_GOALS.get(one.get("case"))
    value = f"{core:.0f}/s a core, " if core else ""
    value += f"{one['per_second']:.0f}/s by the clock{times('answer', 'answer_us')}{times('first packet', 'across_us')}"
    held = f"{most:.0f}/s a core: {'held' if core >= most else 'missed'}" if most and core else ""
    return [names_words(one), value, "", "", held]


def table(run):
    rows = [case_row(run, report) for report in run.cases]
    for way in ("ces-egress", "ces-ingress"):
        for path in (report for report in run.cases if report["case"] == way and usual(report)):
            worker = run.find(f"{way}-worker", path["entries"])
            if worker and run.find(way, path["entries"]) is path:
                around = worker["cycles_per_packet"]["median"] - path["cycles_per_packet"]["median"]
                what = f"{around:.1f} cycles: receive, send, count, look around"
                rows.append([f"{title(worker)} less {way}", what, "", "", ""])
    rows += [asked_row(one) for one in run.asked]
    for row in run.beside:
        value = f"{spread(row['value'], 2)} {row['unit']}" if row.get("value") else "not measured"
        ratio = spread(row["ratio"], 2) if row.get("ratio") else ""
        rows.append([row["what"], value, ratio, "", row.get("note") or ""])
    for item in run.footprint:
        size = item["bytes"]
        text = f"{size / 1024:.0f} KiB" if size >= 10_000 else f"{size:.1f} bytes"
        rows.append([f"memory: {item['what']}", text, "", "", item["of"]])
    told = lambda value: value if isinstance(value, str) else json.dumps(value)
    text = [f"{run.name} (commit {run.commit})"] + [f"{name}: {told(run.machine[name])}" for name in sorted(run.machine)]
    text += ["", "| What | min / median / p90 | Ratio | Instructions | Goal, note |", "|---|---|---|---|---|"]
    text += [f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |" for row in rows]
    return "\n".join(text) + "\n"


# --- the model: what perf/README.md says under this name


# Cycles that a driver of a fast port takes to receive and send a packet, both together. Not measured here: the figure that
# DPDK's reports give for vector drivers on server cores.
PORT_CYCLES = 60.0
LINE_BPS = 100e9
# Preamble, start of frame, gap (IEEE 802.3 §4.2.3.2, §35); what VXLAN puts in front: outer IPv4, UDP, VXLAN, inner Ethernet.
WIRE_BYTES, TUNNEL_BYTES = 20.0, 50.0
CORES = (1, 2, 8, 32)
BINDINGS = 1_000_000
SIZES = {"64": [(64, 1)], "512": [(512, 1)], "IMIX": [(64, 7), (594, 4), (1518, 1)], "1518": [(1518, 1)]}


def line_pps(mix, more):
    """Packets a second that a line carries of such frames, each longer by `more` bytes."""
    count = sum(count for _, count in mix)
    return LINE_BPS / (sum((size + more + WIRE_BYTES) * of for size, of in mix) / count * 8)


class Model:
    """Arithmetic on what was measured: cycles per packet of 1, 2, 8 and 32 workers in turn on one core, each with its own packets
    and with packets that arrive anywhere; and of one and two real cores, on a machine that has two."""

    def __init__(self, hz, own, mixed, cores):
        self.hz, self.own, self.mixed, self.cores = hz, own, mixed, cores

    @classmethod
    def of(cls, run):
        def mean(**varied):
            ways = [run.find(f"ces-{way}-worker", BINDINGS, **varied) for way in ("egress", "ingress")]
            if None in ways:
                case = f"ces-{('egress', 'ingress')[ways.index(None)]}-worker"
                raise Unreadable(f"{run.name} has no {case} with {BINDINGS} bindings ({variant(USUAL | varied)})")
            return sum(way["cycles_per_packet"]["median"] for way in ways) / 2
        own = [mean(workers=workers) for workers in CORES]
        mixed = [own[0]] + [mean(workers=workers, mixed=True) for workers in CORES[1:]]
        if "counter_mhz" not in run.machine:
            raise Unreadable(f"{run.name} does not say the counter's rate")
        try:
            cores = (mean(threads=True), mean(workers=2, threads=True), mean(workers=2, threads=True, mixed=True))
        except Unreadable:
            cores = None
        return cls(run.machine["counter_mhz"] * 1e6, own, mixed, cores)

    def sharing(self):
        """What two cores at once cost each other, as a factor."""
        return max(self.cores[1] / self.cores[0], 1.0) if self.cores else 1.0

    def hand_over(self, place):
        share = 1 - 1 / CORES[place]
        return max((self.mixed[place] - self.own[place]) / share, 0.0) if share else 0.0

    def crossing(self):
        """What a hand-over costs more between two real cores than in turn on one."""
        return max((self.cores[2] - self.cores[1]) / 0.5 - self.hand_over(1), 0.0) if self.cores else 0.0

    def predict(self, place, anywhere):
        """Cycles per packet, port included: optimistic and pessimistic."""
        share = 1 - 1 / CORES[place]
        pessimistic = self.sharing() ** (CORES[place].bit_length() - 1)
        crossing = share * self.crossing()
        low, high = self.own[0], self.own[place] * pessimistic
        if anywhere:
            low, high = low + share * self.hand_over(1) + crossing, (self.mixed[place] + crossing) * pessimistic
        return min(low, high) + PORT_CYCLES, high + PORT_CYCLES

    def text(self):
        mhz = self.hz / 1e6
        text = [f"Measured, {BINDINGS} bindings in all, VXLAN, mean of egress and ingress, median cycles per packet; the counter "
                f"runs at {mhz:.0f} MHz.", "",
                "| Workers | own packets | packets anywhere | handed over | cycles per hand-over |", "|---|---|---|---|---|"]
        for place, workers in enumerate(CORES):
            text.append(f"| {workers} in turn | {self.own[place]:.1f} | {self.mixed[place]:.1f} "
                        f"| {(1 - 1 / workers) * 100:.1f} % | {self.hand_over(place):.1f} |")
        if self.cores:
            one, two, mixed = self.cores
            text += ["", f"On real cores: one {one:.1f}, two at once {two:.1f} (factor {self.sharing():.3f}), two with packets "
                     f"anywhere {mixed:.1f}: ({mixed:.1f} − {two:.1f}) / 0.5 = {(mixed - two) / 0.5:.1f} for each hand-over, of "
                     f"which {self.crossing():.1f} are the lines that cross."]
        else:
            text += ["", "The machine has one core: what cores cost each other is not measured and taken as nothing."]
        text += ["", f"From: one worker [+ (N − 1)/N × ({self.hand_over(1):.1f} + {self.crossing():.1f} crossing)]; to: "
                 f"(N in turn [+ (N − 1)/N × {self.crossing():.1f} crossing]) × {self.sharing():.3f}^log₂N; "
                 f"+ {PORT_CYCLES:.0f} for a driver; rate = N × {mhz:.0f} MHz / cycles.", "",
                 "| Cores | NIC brings packets to their owner: cycles | Mpps | NIC does not: cycles | Mpps |",
                 "|---|---|---|---|---|"]
        for place, workers in enumerate(CORES):
            cells = []
            for anywhere in (False, True):
                low, high = self.predict(place, anywhere)
                rate = lambda cycles: workers * self.hz / cycles / 1e6
                cells += [f"{low:.0f} … {high:.0f}", f"{rate(high):.1f} … {rate(low):.1f}"]
            text.append(f"| {workers} | {' | '.join(cells)} |")
        text += ["", "100 Gbit/s, one way; the tunnel side carries 50 bytes more for each packet, so it is full first.", "",
                 "| Frame | Mpps inside | Mpps in tunnels | share with 8 cores | share with 32 cores | 8 cores, NIC does not | "
                 "32 cores, NIC does not |", "|---|---|---|---|---|---|---|"]
        for name, mix in SIZES.items():
            inside, tunnel = line_pps(mix, 0), line_pps(mix, TUNNEL_BYTES)
            cells = []
            for anywhere in (False, True):
                for place in (2, 3):
                    part = lambda cycles: min(CORES[place] * self.hz / cycles / tunnel * 100, 100)
                    low, high = self.predict(place, anywhere)
                    cells.append(f"{part(high):.0f} … {part(low):.0f} %")
            text.append(f"| {name} | {inside / 1e6:.2f} | {tunnel / 1e6:.2f} | {' | '.join(cells)} |")
        # A packet's line of the index, its entry, and every second one's handle.
        rate, table_lines = line_pps(SIZES["64"], TUNNEL_BYTES), 2.5
        text += ["", f"Table lines from memory at the tunnel side's full rate of 64-byte frames: {rate / 1e6:.1f} Mpps × "
                 f"{table_lines} lines × 64 bytes = {rate * table_lines * 64 / 1e9:.0f} GB/s, beside the packets' own."]
        return "\n".join(text) + "\n"


# --- the gate: instructions per packet against perf/instructions.toml


HEADING = """\
# Instructions per packet of each case, as perf/callgrind counts them. `perf/callgrind --check` compares with them, and
# `perf/callgrind --update` writes them anew: do that in the commit that moves them on purpose.
"""
SAID = {"same": "ok", "less": "less: keep it with perf/callgrind --update", "more": "MORE",
        "new": "NEW: write it down with perf/callgrind --update", "gone": "GONE: forget it with perf/callgrind --update"}
FAILS = ("more", "new", "gone")


def baseline(text):
    """What is committed. With another compiler or target only differences beyond a wider limit count."""
    found = tomllib.loads(text)
    for name, kind in (("rustc", str), ("target_cpu", str), ("tolerance_percent", float), ("tolerance_other_percent", float),
                       ("instructions", dict)):
        if not isinstance(found.get(name), kind):
            raise Unreadable(f"{name}: a {kind.__name__} was expected")
    if not all(0 <= found[name] < 100 for name in ("tolerance_percent", "tolerance_other_percent")):
        raise Unreadable("a tolerance is a number of percent from 0 to below 100")
    return found


def written(base, counts, rustc, target_cpu):
    text = f"{HEADING}rustc = {json.dumps(rustc)}\ntarget_cpu = {json.dumps(target_cpu)}\n"
    text += "".join(f"{name} = {base[name]}\n" for name in ("tolerance_percent", "tolerance_other_percent"))
    return text + "\n[instructions]\n" + "".join(f"{case} = {count}\n" for case, count in sorted(counts.items()))


def tolerance(base, rustc, target_cpu):
    same = (base["rustc"], base["target_cpu"]) == (rustc, target_cpu)
    return base["tolerance_percent" if same else "tolerance_other_percent"]


def judge(base, counts, percent, everything):
    """Each case with what is committed, what it is now, and what that means. `everything`: all cases were counted."""
    before, rows = base["instructions"], []
    for case, now in sorted(counts.items()):
        was = before.get(case)
        more = was is not None and now > was * (1 + percent / 100)
        less = was is not None and now < was * (1 - percent / 100)
        rows.append((case, was, now, "new" if was is None else "more" if more else "less" if less else "same"))
    gone = [(case, was, None, "gone") for case, was in sorted(before.items()) if everything and case not in counts]
    return rows + gone


def gate_text(base, rows, rustc, target_cpu):
    text = [f"{'instructions/packet':<20} {'committed':>9} {'now':>9} {'change':>8}"]
    number = lambda value: "-" if value is None else f"{value:.1f}"
    for case, was, now, what in rows:
        change = "" if was is None or now is None else f"{(now / was - 1) * 100:+.1f} %"
        text.append(f"{case:<20} {number(was):>9} {number(now):>9} {change:>8}  {SAID[what]}")
    here, there = f"{rustc}, {target_cpu}", f"{base['rustc']}, {base['target_cpu']}"
    percent = f"{tolerance(base, rustc, target_cpu):g}"
    text.append(f"{here}; tolerance {percent} %" if here == there else
                f"The committed numbers are of {there}, and this is {here}: tolerance {percent} % instead of "
                f"{base['tolerance_percent']:g} %. With the new compiler here to stay, run perf/callgrind --update.")
    return "\n".join(text) + "\n"


def gate(place, counts, rustc, target_cpu, *flags):
    """For perf/callgrind: with `all` or `update` as well. 3: the gate is shut."""
    base, counts = baseline(read(place)), instructions(counts)
    if not counts:
        raise Unreadable("nothing was counted")
    if "update" in flags:
        with open(place, "w") as file:
            file.write(written(base, counts, rustc, target_cpu))
        print(f"{place}: {len(counts)} cases written down")
        return 0
    rows = judge(base, counts, tolerance(base, rustc, target_cpu), "all" in flags)
    print(gate_text(base, rows, rustc, target_cpu), end="")
    return 3 if any(row[3] in FAILS for row in rows) else 0


def kept(name):
    place = name if os.path.isdir(name) else os.path.join(HERE, "runs", name)
    if not os.path.isdir(place):
        raise Unreadable(f"there is no run {os.path.basename(name)}, here or in perf/runs")
    return Run(place)


def main(words):
    try:
        match words:
            case ["--gate", *rest]:
                return gate(*rest)
            case ["--table", run]:
                print(table(kept(run)), end="")
            case ["--model", run]:
                print(Model.of(kept(run)).text(), end="")
            case [first, second] if not first.startswith("-"):
                print(compare(kept(first), kept(second)), end="")
            case _:
                print(__doc__, file=sys.stdout if words in (["-h"], ["--help"]) else sys.stderr)
                return 0 if words in (["-h"], ["--help"]) else 2
    except (Unreadable, OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
