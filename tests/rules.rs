//! The rules of ARCHITECTURE.md that a machine can check: who may depend on whom, what is absent, which licences.

#[path = "rules/circles.rs"]
mod circles;
#[path = "rules/names.rs"]
mod names;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Of the tree that is being tested, which is not the one that this was built in where a target directory was copied.
fn root() -> PathBuf {
    let tests = std::env::var("CARGO_MANIFEST_DIR").expect("run by cargo");
    Path::new(&tests).parent().expect("the workspace").to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".to_owned(), "--all-features".to_owned()])
        .exec()
        .expect("cargo metadata")
}

/// What each crate may depend on of ours, by the last column of the code map in ARCHITECTURE.md. Development dependencies are not
/// bound.
fn may_depend_on() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, map) = page.split_once("## Code map").expect("a code map");
    let rows = map.lines().skip_while(|line| !line.starts_with("|--")).skip(1);
    let mut all = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, _, name, _, may, _] = cells[..] else { panic!("four columns: {row}") };
        let named: BTreeSet<String> = may.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let may = if may.trim().starts_with("all above") {
            all.keys().filter(|above| !named.contains(*above)).cloned().collect()
        } else {
            named
        };
        all.insert(name.trim().trim_matches('`').to_owned(), may);
    }
    all
}

/// Crates that do I/O or bring a runtime for it. The engines reach none of them, however deep. (`libc` is not on the list:
/// libraries of arithmetic reach it to ask for CPU features, and its calls are unsafe, which the engines forbid.)
const IO_CRATES: &[&str] = &[
    "async-std",
    "dpdk",
    "dpdk-sys",
    "mio",
    "netlink-sys",
    "nix",
    "polling",
    "rustix",
    "rustls",
    "signal-hook",
    "smol",
    "socket2",
    "tokio",
    "tun-rs",
];

/// The engines without I/O or clock.
const ENGINES: &[&str] = &["ces-cetp", "ces-dhcp", "ces-dns", "ces-rules", "ces-settings", "ces-gateway"];

fn ours(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

#[test]
fn crates_depend_only_on_what_the_code_map_allows() {
    let metadata = metadata();
    let may_depend_on = may_depend_on();
    let names: BTreeSet<&str> = ours(&metadata).iter().map(|package| package.name.as_str()).collect();
    let mapped: BTreeSet<&str> = may_depend_on.keys().map(String::as_str).collect();
    assert_eq!(names, mapped, "the code map and the workspace name different crates");

    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let allowed = &may_depend_on[package.name.as_str()];
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if names.contains(dependency.name.as_str()) && !allowed.contains(&dependency.name) {
                wrong.push(format!("{} depends on {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a package reaches by normal dependencies, as name → by which package it was reached.
fn reach<'a>(metadata: &'a Metadata, start: &str) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let name = |id: &cargo_metadata::PackageId| metadata[id].name.as_str();
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut visited = BTreeSet::new();
    let mut open: Vec<_> = resolve.nodes.iter().filter(|node| name(&node.id) == start).collect();
    while let Some(node) = open.pop() {
        if !visited.insert(&node.id) {
            continue;
        }
        for dependency in &node.deps {
            let normal = dependency.dep_kinds.iter().any(|kind| {
                kind.kind == DependencyKind::Normal
                    && kind.target.as_ref().is_none_or(|target| {
                        let text = target.to_string();
                        !["windows", "wasm", "wasi", "macos", "loom", "hermit", "uefi"]
                            .iter()
                            .any(|other| text.contains(other))
                    })
            });
            if normal {
                reached.entry(name(&dependency.pkg)).or_default().insert(name(&node.id));
                open.extend(resolve.nodes.iter().find(|node| node.id == dependency.pkg));
            }
        }
    }
    reached
}

#[test]
fn engines_reach_no_io_crate() {
    // Without features: ces-dataplane's DPDK back end is one, and the engines use the crate without it.
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .expect("cargo metadata");
    let mut wrong = Vec::new();
    for engine in ENGINES {
        let declared =
            ours(&metadata).into_iter().find(|package| package.name.as_str() == *engine).expect("an engine");
        for dependency in &declared.dependencies {
            if dependency.name == "ces-dataplane" {
                assert!(
                    !dependency.uses_default_features && dependency.features.is_empty(),
                    "{engine} turns on DPDK"
                );
            }
            if dependency.kind == DependencyKind::Normal && IO_CRATES.contains(&dependency.name.as_str()) {
                wrong.push(format!("{engine} depends on {}", dependency.name));
            }
        }
        // The graph is resolved for the whole workspace at once, with the features of all: through ces-dataplane it
        // would show what only cesd turns on. What ces-dataplane reaches is bound by the code map.
        for (name, by) in reach(&metadata, engine) {
            let through: Vec<_> =
                by.iter().filter(|via| !["ces-dataplane", "dpdk", "dpdk-sys"].contains(via)).collect();
            if IO_CRATES.contains(&name) && !through.is_empty() {
                wrong.push(format!("{engine} reaches {name} through {through:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every file of text under a directory of the repository.
fn files(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in
            std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() && !entry.ends_with("target") {
                walk(&entry, found);
            } else if let Ok(text) = std::fs::read_to_string(&entry) {
                found.push((entry, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(directory), &mut found);
    found
}

/// Every Rust file under a directory of the repository.
fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = files(directory);
    found.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// A source without its comments and without its test modules, which stand last in a file here.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn without_any(directories: &[&str], words: &[&str]) {
    let mut wrong = Vec::new();
    for directory in directories {
        for (path, text) in sources(directory) {
            let text = code(&text);
            for word in words.iter().filter(|word| text.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn engines_touch_no_socket_file_or_clock() {
    without_any(
        &["control/cetp/src", "control/dns/src", "control/settings/src", "control/gateway/src"],
        &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "std::fs",
            "std::process",
            "std::thread",
            "std::env",
            "Instant",
            "SystemTime",
            "println!",
            "eprintln!",
            "rand::rng()",
            "thread_rng",
        ],
    );
}

#[test]
fn no_files_of_a_crate_use_one_another_in_a_circle() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        for target in package.targets.iter().filter(|target| target.is_lib() || target.is_bin()) {
            for circle in circles::Modules::read(target.src_path.as_std_path()).circles() {
                wrong.push(format!("{}: {}", target.name, circle.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_types_name_means_one_thing() {
    let within = |directories: &[&str]| {
        let mut found: Vec<_> = directories.iter().flat_map(|directory| sources(directory)).collect();
        found.retain(|(path, _)| {
            let local = path.strip_prefix(root()).expect("below the root");
            local.iter().any(|part| part == "src") && !path.ends_with("tests.rs")
        });
        names::collisions(&found)
    };
    let wrong = [within(&["dpdk", "dataplane", "control"]), within(&["perf"])].concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_packet_path_has_no_lock_and_no_clock() {
    let io = [Path::new("dataplane/src/io"), Path::new("dataplane/src/worker")];
    let mut wrong = Vec::new();
    for (path, text) in sources("dataplane/src") {
        let local = path.strip_prefix(root()).expect("below the root");
        let text = code(&text);
        let locks = ["Mutex", "RwLock", "Condvar", "mpsc", "println!", "std::fs"];
        let clocks = ["Instant", "SystemTime", "cycles()"];
        let outside_io =
            !io.iter().any(|prefix| local.starts_with(prefix) || local.with_extension("") == **prefix);
        for word in locks.iter().chain(clocks.iter().filter(|_| outside_io)) {
            if text.contains(word) {
                wrong.push(format!("{}: {word}", local.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_lives_in_dpdk_alone() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let manifest = package.manifest_path.as_std_path();
        if manifest.starts_with(root().join("dpdk")) {
            continue;
        }
        for target in package.targets.iter().filter(|target| target.is_lib() || target.is_bin()) {
            let text = std::fs::read_to_string(&target.src_path).expect("a crate root");
            if !text.contains("#![forbid(unsafe_code)]") {
                wrong.push(format!("{} does not forbid unsafe code", target.src_path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_left_unfinished() {
    // Spelt in two halves, since this file is searched too.
    let words =
        [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!("), concat!("FIX", "ME")];
    let mut wrong = Vec::new();
    for directory in ["dpdk", "dataplane", "control", "perf", "tests"] {
        for (path, text) in sources(directory) {
            for word in words.iter().filter(|word| text.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The longest line of what people write and read as code, in characters.
const WIDTH: usize = 130;

/// Whether a file is such: a source, a script, a configuration. Seeds of fuzzers and records of runs are not.
fn is_code(path: &Path, text: &str) -> bool {
    let extensions = ["rs", "c", "h", "py", "sh", "toml"];
    path.extension().map_or_else(|| text.starts_with("#!"), |e| extensions.iter().any(|code| e == *code))
}

/// Tabs are eight characters wide.
fn width(line: &str) -> usize {
    line.chars().fold(0, |width, c| if c == '\t' { (width / 8 + 1) * 8 } else { width + 1 })
}

#[test]
fn no_line_is_overlong() {
    let mut wrong = Vec::new();
    for directory in ["dpdk", "dataplane", "control", "perf", "tests", "scripts"] {
        for (path, text) in files(directory).into_iter().filter(|(path, text)| is_code(path, text)) {
            let long = text.lines().enumerate().filter(|(_, line)| width(line) > WIDTH);
            wrong.extend(long.map(|(number, _)| format!("{}:{}", path.display(), number + 1)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a page writes as code in its running text.
fn named(page: &str) -> BTreeSet<String> {
    let text: String = page.split("```").step_by(2).collect();
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with(char::is_alphanumeric) && !word.contains(char::is_whitespace))
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_architecture_names_is_there() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let directories = ["dpdk", "dataplane", "control", "perf", "tests", "scripts", "docs"];
    let mut paths = BTreeSet::new();
    let mut words = BTreeSet::new();
    for directory in directories {
        for (path, text) in sources(directory) {
            let local = path.strip_prefix(root()).expect("below the root").to_owned();
            words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
            paths.extend(local.ancestors().map(|path| path.to_string_lossy().into_owned()));
        }
    }
    let ends = |place: &str| paths.iter().any(|path| path == place || path.ends_with(&format!("/{place}")));
    let mut wrong = Vec::new();
    for name in named(&page) {
        let place = name.trim_end_matches('/');
        let is_there = if name.contains('/') || Path::new(&name).extension().is_some_and(|e| e == "rs") {
            root().join(place).exists() || ends(place)
        } else if name.contains("::") || name.contains('_') || name.starts_with(char::is_uppercase) {
            let last = name.rsplit(['.', ':']).next().unwrap_or_default();
            words.contains(last.split('(').next().unwrap_or_default())
        } else {
            true
        };
        if !is_there {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Licences that a product may carry with it without asking anybody; deny.toml has the same list.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether a licence expression is satisfied by the list. `/` is the old spelling of OR.
fn licensed(expression: &str) -> bool {
    fn alternatives(expression: &str) -> Vec<String> {
        let mut depth = 0_i32;
        let mut parts = vec![String::new()];
        for word in expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").split_whitespace()
        {
            depth += i32::from(word == "(") - i32::from(word == ")");
            if word == "OR" && depth == 0 {
                parts.push(String::new());
            } else {
                let last = parts.last_mut().expect("one at least");
                last.push_str(word);
                last.push(' ');
            }
        }
        parts
    }
    fn all_of(expression: &str) -> bool {
        let trimmed = expression.trim();
        if let Some(inner) = trimmed.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            return licensed(inner);
        }
        let (first, rest) = match trimmed.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((group, rest)) => (licensed(group), rest.trim().strip_prefix("AND")),
            None => match trimmed.split_once(" AND ") {
                Some((first, rest)) => {
                    (LICENCES.contains(&first.split(" WITH ").next().unwrap_or_default().trim()), Some(rest))
                }
                None => (LICENCES.contains(&trimmed.split(" WITH ").next().unwrap_or_default().trim()), None),
            },
        };
        first && rest.is_none_or(all_of)
    }
    alternatives(expression).iter().any(|alternative| all_of(alternative))
}

#[test]
fn licence_expressions_are_understood() {
    for good in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
        "GPL-2.0 OR MIT",
    ] {
        assert!(licensed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND AGPL-3.0", ""] {
        assert!(!licensed(bad), "{bad}");
    }
}

#[test]
fn every_dependency_has_a_licence_that_may_be_shipped() {
    let metadata = metadata();
    let wrong: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(licensed))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    for licence in LICENCES {
        assert!(deny.contains(&format!("\"{licence}\"")), "deny.toml does not allow {licence}");
    }
}

#[test]
fn every_place_of_the_compliance_page_cites_its_standard() {
    let page = std::fs::read_to_string(root().join("docs/compliance.md")).expect("docs/compliance.md");
    let mut wrong = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| RFC ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let numbers: Vec<String> = cells[1]
            .split("RFC ")
            .skip(1)
            .map(|rest| {
                format!("RFC {}", rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
            })
            .collect();
        let mut cited = BTreeSet::new();
        for place in cells[3].split('`').skip(1).step_by(2) {
            match std::fs::read_to_string(root().join(place)) {
                Ok(text) => {
                    let here: Vec<&String> =
                        numbers.iter().filter(|number| text.contains(number.as_str())).collect();
                    if here.is_empty() {
                        wrong.push(format!("{place} does not cite {}", cells[1]));
                    }
                    cited.extend(here);
                }
                Err(_) => wrong.push(format!("{place} is not there ({})", cells[1])),
            }
        }
        wrong.extend(
            numbers.iter().filter(|n| !cited.contains(n)).map(|number| format!("nowhere cited: {number}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The pages whose tables answer with tests, as `path::name`.
#[test]
fn checklists_name_tests_that_exist() {
    let mut wrong = Vec::new();
    for name in ["docs/checklists.md", "docs/compliance.md"] {
        let page = std::fs::read_to_string(root().join(name)).expect("a page");
        for row in page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Here |")) {
            let tests: Vec<(&str, &str)> = row
                .split('`')
                .filter_map(|word| word.split_once(".rs::"))
                .filter(|(path, _)| path.contains('/'))
                .collect();
            for (path, test) in &tests {
                let text = std::fs::read_to_string(root().join(format!("{path}.rs"))).unwrap_or_default();
                if !text.contains(&format!("fn {test}(")) {
                    wrong.push(format!("{name}: {path}.rs::{test} is not there"));
                }
            }
            let explained = ["not yet: ", "does not apply: "].iter().any(|reason| row.contains(reason));
            if name == "docs/checklists.md" && tests.is_empty() && !explained {
                wrong.push(format!("{name}: neither a test nor a reason: {row}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
