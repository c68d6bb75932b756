//! The dashboards show what a gateway does: a real Prometheus scrapes it, and a real browser opens the consoles.

use crate::Case;
use ces_tests::lab::{Background, Edit, Lab, Outcome, Realm, eventually};
use std::path::PathBuf;

pub(crate) const CASES: &[Case] = &[
    ("every_panel_has_data", every_panel_has_data),
    ("consoles_draw_in_a_browser", consoles_draw_in_a_browser),
    ("a_page_of_its_own_draws_in_a_browser", a_page_of_its_own_draws_in_a_browser),
];

/// All that has panels of its own is there.
const ALL: &[Edit] = &[(
    Realm::B,
    "[tls]\n",
    "[nat]\naddresses = [\"198.51.100.2\"]\n\n[realm_gateway]\naddresses = [\"198.51.100.17\"]\n\n[tls]\n",
)];

/// Prometheus beside gateway B, with the consoles.
struct Prometheus {
    server: Background,
    traffic: [Background; 2],
    consoles: PathBuf,
}

impl Prometheus {
    fn start(lab: &Lab) -> Self {
        lab.gateways(ALL);
        lab.reach("a1", "www.b.demo");
        let root = lab.root().join("dashboards");
        let own = lab.directory().join("prometheus");
        lab.run("net", &format!("rm -rf {0} && {1}/make {0}", own.display(), root.display())).expect();
        let libraries = own.join("console_libraries");
        let theirs = "/usr/share/doc/prometheus/examples/console_libraries/prom.lib";
        lab.run("net", &format!("cp {theirs} {}", libraries.display())).expect();
        let scrape = std::fs::read_to_string(root.join("prometheus.yml")).expect("the example is there");
        let scrape =
            scrape.replace("5s", "1s").replace("alerts.yml", &root.join("alerts.yml").to_string_lossy());
        std::fs::write(own.join("prometheus.yml"), scrape).expect("the lab's directory can be written");
        let line = format!(
            "prometheus --config.file={0}/prometheus.yml --storage.tsdb.path={0}/data --web.listen-address=127.0.0.1:9090 \
             --web.console.templates={0}/consoles --web.console.libraries={0}/console_libraries",
            own.display()
        );
        let server = lab.serve("gwb", "127.0.0.1:9090", &line);
        let traffic = [
            lab.background("a1", "ping -n -q -i 0.05 www.b.demo"),
            lab.background("b1", "ping -n -q -i 0.05 203.0.113.80"),
        ];
        Self { server, traffic, consoles: own.join("consoles") }
    }

    fn end(self) {
        self.traffic.into_iter().chain([self.server]).for_each(|background| drop(background.end()));
    }
}

/// What Prometheus answers to an expression.
fn ask(lab: &Lab, expression: &str) -> serde_json::Value {
    let file = lab.directory().join("expression");
    std::fs::write(&file, expression).expect("the lab's directory can be written");
    let line = format!(
        "curl -sS -m 10 --get --data-urlencode query@{} http://127.0.0.1:9090/api/v1/query",
        file.display()
    );
    serde_json::from_str(lab.run("gwb", &line).expect()).expect("an answer in JSON")
}

fn every_panel_has_data(lab: &Lab) {
    let prometheus = Prometheus::start(lab);
    let make = lab.root().join("dashboards/make");
    let all = lab.run("net", &format!("{} --expressions", make.display()));
    let mut asked = 0;
    for line in all.expect().lines() {
        let (how, expression) = line.split_once('\t').expect("a word and an expression");
        let has_data = || {
            let answer = ask(lab, expression);
            assert_eq!(answer["status"], "success", "{expression}: {answer}");
            how == "rare" || answer["data"]["result"].as_array().is_some_and(|all| !all.is_empty())
        };
        assert!(eventually(has_data), "{expression}");
        asked += 1;
    }
    assert!(asked > 40, "{asked} series");
    let alerts = ask(lab, "ALERTS{alertstate=\"firing\", alertname!=\"CesGatewayRestarted\"}");
    assert_eq!(alerts["data"]["result"].as_array().map(Vec::len), Some(0), "all is well: {alerts}");
    prometheus.end();
}

/// What a browser makes of a page within ten seconds.
fn browse(lab: &Lab, address: &str) -> Outcome {
    let browser = lab.directory().join("browser");
    let line = format!(
        "timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir={} --virtual-time-budget=10000 \
         --dump-dom '{address}'",
        browser.display()
    );
    lab.run("gwb", &line)
}

/// Each panel that must have data draws a line, and none says that its question is wrong.
fn consoles_draw_in_a_browser(lab: &Lab) {
    let prometheus = Prometheus::start(lab);
    assert!(eventually(|| ask(lab, "rate(ces_packets_total[1m])")["data"]["result"][0].is_object()));
    for console in std::fs::read_dir(&prometheus.consoles).expect("consoles were made") {
        let console = console.expect("it is there").file_name().to_string_lossy().into_owned();
        let page = browse(lab, &format!("http://127.0.0.1:9090/consoles/{console}?instance=127.0.0.1:9180"));
        let count = |what: &str| page.expect().matches(what).count();
        let (panels, drawn) = (count("new PromConsole.Graph"), count("<svg"));
        // Of what is not configured there is nothing.
        let empty = count("No timeseries returned");
        assert!(
            panels >= 6 && drawn + empty == panels && drawn >= 2,
            "{console}: {drawn} and {empty} of {panels}"
        );
        assert!(!page.stdout.contains("Error loading data"), "{console}: {}", page.stdout);
    }
    prometheus.end();
}

/// What is amiss, what there is, plots of what changes, and what was refused, without anything from elsewhere.
fn a_page_of_its_own_draws_in_a_browser(lab: &Lab) {
    lab.gateways(ALL);
    lab.reach("a1", "www.b.demo");
    lab.run("b1", "ping -n -c 3 www.b.demo").expect();
    // Nobody is refused a name without being counted.
    lab.run("b1", "dig +short nobody.b.demo").expect();
    let page = browse(lab, "http://127.0.0.1:9180/");
    let text = page.expect();
    for part in [
        "<li class=\"good\">Nothing.</li>",
        "<dt>Peers up</dt><dd>1</dd>",
        "aria-label=\"Sessions: ",
        "aria-label=\"Packets a second, received: ",
        "<td>name</td><td>inside ",
        "<td>negotiation</td>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("by name 0") && !text.contains(">It does not answer"), "{text}");
    assert!(text.matches("<polyline").count() >= 4, "plots: {text}");
    let head = lab.run("gwb", "curl -sSI http://127.0.0.1:9180/");
    assert!(head.expect().contains("Content-Security-Policy: default-src 'none'"), "{head}");
}
