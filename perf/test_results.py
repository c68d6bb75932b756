"""Reading runs, comparing them, the model, and the gate."""

import os
import tempfile
import unittest

import results

RUSTC = "rustc 1.95.0 (59807616e 2026-04-14)"
BASE = {"rustc": RUSTC, "target_cpu": "x86-64", "tolerance_percent": 2.0, "tolerance_other_percent": 15.0,
        "instructions": {"ces-egress": 500.0, "ces-ingress": 520.0}}
OLD = '{"case":"ces-egress","entries":10000,"burst":64,"page_size":4096,' \
      '"cycles_per_packet":{"min":64.1,"median":64.5,"p90":65.4},' \
      '"ratio_to_calibration":{"min":2.827,"median":2.859,"p90":2.881},"bytes_per_entry":39.7,"allocations_per_packet":0.0}'


def run(name, *cases):
    made = results.Run.__new__(results.Run)
    made.name, made.commit, made.machine, made.instructions = name, "", {}, {}
    made.cases, made.asked, made.footprint, made.beside = list(cases), [], [], []
    return made


def report(case, ratio, calibration):
    spread = lambda median: {"min": median * 0.99, "median": median, "p90": median * 1.01}
    return results.USUAL | {"case": case, "entries": 10_000, "burst": 64, "cycles_per_packet": spread(ratio * calibration),
                            "ratio_to_calibration": spread(ratio)}


class Runs(unittest.TestCase):
    def test_old_runs_stay_readable(self):
        kept = os.listdir(os.path.join(results.HERE, "runs"))
        for name in kept:
            found = results.kept(name)
            self.assertTrue(found.commit, name)
            results.table(found)
        self.assertGreaterEqual(len(kept), 2)

    def test_a_broken_line_is_named(self):
        with tempfile.TemporaryDirectory() as directory:
            with self.assertRaisesRegex(results.Unreadable, "is .* a run?"):
                results.Run(directory)
            with open(os.path.join(directory, "bench.jsonl"), "w") as file:
                file.write(OLD + "\n\n{\"case\":\n")
            with self.assertRaisesRegex(results.Unreadable, "bench.jsonl, line 3: "):
                results.Run(directory)
            with open(os.path.join(directory, "bench.jsonl"), "w") as file:
                file.write(OLD + "\n")
            self.assertEqual(results.title(results.Run(directory).cases[0]), "ces-egress 10,000")

    def test_instructions_are_read_below_any_heading(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("case packets instructions/packet\nces-egress      16384 506.8\nces-egress-worker 16384 607.1\n")
            file.flush()
            self.assertEqual(results.instructions(file.name), {"ces-egress": 506.8, "ces-egress-worker": 607.1})

    def test_only_what_exceeds_both_spreads_is_a_difference(self):
        spread = lambda least, p90: {"min": least, "p90": p90}
        self.assertEqual(results.outcome(spread(1.0, 1.2), spread(1.1, 1.4)), "within the spread")
        self.assertEqual(results.outcome(spread(1.0, 1.2), spread(1.21, 1.4)), "slower")
        self.assertEqual(results.outcome(spread(1.0, 1.2), spread(0.8, 0.99)), "faster")

    def test_cases_are_matched_and_the_rest_is_named(self):
        first = run("one", report("ces-egress", 2.0, 22.0), report("ces-local", 3.0, 22.0))
        text = results.compare(first, run("two", report("ces-insert", 9.0, 22.0), report("ces-egress", 1.5, 22.0)))
        self.assertIn("0.750 faster\n", text)
        self.assertIn("only in A: ces-local 10,000\n", text)
        self.assertIn("only in B: ces-insert", text)
        self.assertNotIn("*", text)
        self.assertIn("packets not alike *", results.compare(first, run("three", report("ces-egress", 1.1, 90.0))))

    def test_kept_runs_have_their_table(self):
        text = results.table(results.kept("2026-11-21-xeon-6-167-2core-quiet")).splitlines()
        row = lambda start: next(line for line in text if line.startswith(start))
        self.assertIn("73.4 / 74.3 / 75.0 cycles", row("| ces-egress-worker 10,000 |"))
        self.assertIn("min missed by 3.4", row("| ces-egress-worker 10,000 |"))
        self.assertIn("70 / 100: held", row("| ces-egress 10,000 |"))
        self.assertIn("| 9.8 cycles", row("| ces-egress-worker 10,000 less ces-egress"))
        self.assertIn("84042/s a core", row("| in process: h2h, tls 1 round trips, 64"))
        self.assertTrue(all(line.count(" | ") == 4 for line in text if line.startswith("| ")))

    def test_names_are_held_against_their_goals(self):
        text = results.table(results.kept("2026-11-21-epyc-2core")).splitlines()
        self.assertTrue(any("names-64 | 51813/s a core" in line and "20000/s a core: held" in line for line in text))
        self.assertTrue(any("dnsperf-connected |" in line and "150000/s a core: held" in line for line in text))


class Model(unittest.TestCase):
    MODEL = results.Model(2.5e9, [100.0, 102.0, 110.0, 120.0], [100.0, 122.0, 145.0, 182.0], (100.0, 110.0, 150.0))

    def close(self, a, b):
        self.assertLess(abs(a / b - 1), 0.001)

    def test_line_rates_are_the_well_known_ones(self):
        for size, more, mpps in (("64", 0, 148.81), ("1518", 0, 8.127), ("IMIX", 0, 32.74), ("64", results.TUNNEL_BYTES, 93.28)):
            self.close(results.line_pps(results.SIZES[size], more), mpps * 1e6)

    def test_arithmetic_follows_the_inputs(self):
        self.close(self.MODEL.sharing(), 1.1)
        self.close(self.MODEL.hand_over(1), 40)
        self.close(self.MODEL.hand_over(2), 40)
        self.close(self.MODEL.crossing(), 40)  # 80 on real cores, 40 in turn
        self.assertEqual([self.MODEL.predict(0, anywhere) for anywhere in (False, True)], [(160, 160)] * 2)
        low, high = self.MODEL.predict(2, False)
        self.close(low, 160)
        self.close(high, 110 * 1.331 + 60)
        low, high = self.MODEL.predict(2, True)
        self.close(low, 100 + 0.875 * (40 + 40) + 60)
        self.close(high, (145 + 0.875 * 40) * 1.331 + 60)
        self.assertIn("| 8 | 160 … 206 |", self.MODEL.text())

    def test_one_core_knows_nothing_of_sharing(self):
        model = results.Model(self.MODEL.hz, self.MODEL.own, self.MODEL.mixed, None)
        self.assertEqual((model.sharing(), model.crossing()), (1.0, 0.0))
        self.assertIn("taken as nothing", model.text())

    def test_what_a_run_lacks_is_named(self):
        with self.assertRaisesRegex(results.Unreadable, "empty has no ces-egress-worker"):
            results.Model.of(run("empty"))


class Gate(unittest.TestCase):
    def outcomes(self, counts, rustc=RUSTC):
        percent = results.tolerance(BASE, rustc, "x86-64")
        return [row[3] for row in results.judge(BASE, counts, percent, True)]

    def test_more_than_the_tolerance_shuts_the_gate(self):
        counts = lambda egress, ingress: {"ces-egress": egress, "ces-ingress": ingress}
        self.assertEqual(self.outcomes(counts(509.9, 520.0)), ["same", "same"])
        self.assertEqual(self.outcomes(counts(510.2, 520.0)), ["more", "same"])
        self.assertEqual(self.outcomes(counts(400.0, 520.0)), ["less", "same"])
        self.assertEqual(self.outcomes(counts(510.2, 600.0), "rustc 1.99.0"), ["same", "more"])
        self.assertTrue("more" in results.FAILS and "less" not in results.FAILS)

    def test_cases_without_their_number_shut_it_too(self):
        counts = {"ces-egress": 500.0, "ces-new": 1.0}
        self.assertEqual(self.outcomes(counts), ["same", "new", "gone"])
        self.assertTrue({"new", "gone"} <= set(results.FAILS))
        self.assertEqual(len(results.judge(BASE, counts, 2.0, False)), 2, "only some were counted")

    def test_the_file_comes_back_as_it_was_written(self):
        text = results.written(BASE, {"ces-egress": 1.0, "ces-ingress": 2.0}, "rustc 2", "native")
        self.assertTrue(text.startswith("# Instructions"))
        self.assertEqual(results.baseline(text), BASE | {"rustc": "rustc 2", "target_cpu": "native",
                                                         "instructions": {"ces-egress": 1.0, "ces-ingress": 2.0}})
        for wrong in ("rustc = 3", text.replace("tolerance_percent = 2.0", "tolerance_percent = 1000.0")):
            with self.assertRaises(results.Unreadable):
                results.baseline(wrong)

    def test_the_table_says_of_which_compiler_the_numbers_are(self):
        rows = results.judge(BASE, {"ces-egress": 550.0, "ces-ingress": 520.0}, 2.0, True)
        same = results.gate_text(BASE, rows, RUSTC, "x86-64")
        self.assertTrue("+10.0 %  MORE" in same and "tolerance 2 %" in same, same)
        other = results.gate_text(BASE, rows, "rustc 1.99.0", "x86-64")
        self.assertTrue("of rustc 1.95.0" in other and "tolerance 15 %" in other, other)


if __name__ == "__main__":
    unittest.main()
