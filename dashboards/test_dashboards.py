"""The dashboards fit together, and promtool takes every expression and rule of them."""

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(*command):
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)


class Dashboards(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        said = run("./make", self.directory)
        self.assertEqual(said.returncode, 0, said.stderr)

    def test_grafana_reads_them(self):
        boards = [json.loads(path.read_text()) for path in (self.directory / "grafana").iterdir()]
        self.assertGreaterEqual(len(boards), 6)
        self.assertEqual(len({board["uid"] for board in boards}), len(boards))
        for board in boards:
            for panel in board["panels"]:
                for target in panel["targets"]:
                    self.assertNotRegex(target["expr"], "INSTANCE|RANGE")

    def test_a_console_has_all_panels(self):
        for path in (self.directory / "grafana").iterdir():
            console = (self.directory / "consoles" / path.with_suffix(".html").name).read_text()
            self.assertEqual(console.count("new PromConsole.Graph"), len(json.loads(path.read_text())["panels"]))

    def test_each_alert_has_its_page(self):
        alerts = re.findall(r"alert: (\w+)", (HERE / "alerts.yml").read_text())
        pages = re.findall(r"^## (\w+)", (HERE.parent / "docs/runbook.md").read_text(), re.MULTILINE)
        tested = re.findall(r'alertname="(\w+)"', (HERE / "alerts.test.yml").read_text())
        linked = re.findall(r"runbook.md#(\w+)", (HERE / "alerts.yml").read_text())
        self.assertEqual(alerts, pages)
        self.assertEqual(alerts, tested)
        self.assertEqual([alert.lower() for alert in alerts], linked)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_takes_everything(self):
        expressions = [line.split("\t")[1] for line in run("./make", "--expressions").stdout.splitlines()]
        rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
        written = self.directory / "panels.yml"
        # JSON is YAML.
        written.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        for command in (
            ("check", "rules", written),
            ("check", "config", "prometheus.yml"),
            ("test", "rules", "alerts.test.yml"),
        ):
            said = run("promtool", *command)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)


if __name__ == "__main__":
    unittest.main()
