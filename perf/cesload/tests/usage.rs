//! Bad input, as a person would give it: a clear error in a line, and the exit status that says who is to blame.

mod bench;

use bench::{Bench, run};

const BAD_USAGE: i32 = 2;
const BROKEN: i32 = 1;

/// (command line after `cesload`, with `{dir}` for a directory of its own; exit status; what the error says)
const CASES: &[(&str, i32, &str)] = &[
    ("frob", BAD_USAGE, "unrecognized subcommand 'frob'"),
    ("rate {dir}/none.toml", BAD_USAGE, "{dir}/none.toml: cannot be read: No such file"),
    (
        "check {dir}/wrong_key.toml",
        BAD_USAGE,
        "{dir}/wrong_key.toml:2: port[0].colour: unknown field `colour`",
    ),
    ("check {dir}/small.toml", BAD_USAGE, "{dir}/small.toml:10: stream[0].size: "),
    ("rate {dir}/null.toml --rate 10x", BAD_USAGE, "\"10x\" is no rate: expected packets a second"),
    ("rate {dir}/null.toml --rate 0", BAD_USAGE, "\"0\" is no rate above 0"),
    ("rate {dir}/null.toml --rate -5", BAD_USAGE, "\"-5\" is no rate above 0"),
    ("rate {dir}/null.toml --rate 101%", BAD_USAGE, "\"101%\" is more than the line carries"),
    // 1 Gbit/s at 64 bytes: 10^9 / (84 × 8) = 1,488,095 packets/s.
    ("rate {dir}/null.toml --rate 2M", BAD_USAGE, "at most 1488095 packets/s"),
    ("ndr {dir}/null.toml --max 2M", BAD_USAGE, "at most 1488095 packets/s"),
    ("ndr {dir}/null.toml --min max", BAD_USAGE, "--min: expected a rate, not max"),
    (
        "ndr {dir}/null.toml --min 20k --max 10k",
        BAD_USAGE,
        "--min 20000/s is above the largest rate, 10000/s",
    ),
    ("ndr {dir}/null.toml --width 0%", BAD_USAGE, "expected a width from 0.01% to 50%"),
    ("ndr {dir}/null.toml --exceed 100%", BAD_USAGE, "expected a part from 0% to less than 100%"),
    ("ndr {dir}/null.toml --trial-seconds 0", BAD_USAGE, "expected seconds, at least 0.001"),
    ("ndr {dir}/null.toml --repeat 0", BAD_USAGE, "0 is not in 1..=100"),
    ("rate {dir}/null.toml --port gone=net_null7", BAD_USAGE, "there is no port \"gone\""),
    ("rate {dir}/null.toml --port gone", BAD_USAGE, "expected NAME=DEVICE"),
    ("rate {dir}/null.toml --core 0 --core 0", BAD_USAGE, "--core 0 is given twice"),
    ("rate {dir}/null.toml --core 9999", BAD_USAGE, "core 9999 cannot be used"),
    ("rate {dir}/null.toml --json {dir}/no/where.json", BAD_USAGE, "there is no directory {dir}/no"),
    ("soak {dir}/null.toml --hours never", BAD_USAGE, "expected hours"),
    ("soak {dir}/null.toml --log {dir}", BAD_USAGE, "--log {dir}: Is a directory"),
    ("reconfig {dir}/null.toml", BAD_USAGE, "--command <COMMAND>"),
    ("cps {dir}/null.toml", BAD_USAGE, "cps needs a [session]"),
    ("sessions {dir}/null.toml --ladder 10,0", BAD_USAGE, "0 is not in 1.."),
    ("wire --port net_null0", BAD_USAGE, "a wire has two ends"),
    ("rate {dir}/null.toml --port one=0000:99:00.0", BROKEN, "0000:99:00.0"),
    ("rate {dir}/alone.toml --seconds 1", BROKEN, "port one: "),
];

const NULL: &str = r#"
[[port]]
name = "one"
device = "net_null0"
speed = "1G"
[[stream]]
name = "s"
from = "one"
to = "one"
size = 64
source = "10.0.0.1"
destination = "10.0.0.2"
"#;

#[test]
fn bad_input_is_told_in_a_line() {
    let bench = Bench::new("usage");
    bench.write("null.toml", NULL);
    bench.write("wrong_key.toml", NULL.replacen("name = \"one\"", "colour = 1", 1).trim_start());
    bench.write("small.toml", &NULL.replace("size = 64", "size = 20"));
    // A client whose server is not there.
    bench.write(
        "alone.toml",
        &NULL
            .replace("net_null0", &bench.memif(0, "client"))
            .replace("[[stream]]", "[generator]\nlink_wait_s = 1\n[[stream]]"),
    );
    let directory = bench.directory.display().to_string();
    for (line, status, says) in CASES {
        let line = line.replace("{dir}", &directory);
        let output = run(&line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "cesload {line}\n{errors}");
        assert!(errors.contains(&says.replace("{dir}", &directory)), "cesload {line}\n{errors}");
        assert!(!errors.contains("panicked"), "cesload {line}\n{errors}");
        assert!(output.stdout.is_empty(), "cesload {line}: nothing was measured");
    }
}

#[test]
fn sizes_and_check_start_nothing() {
    let bench = Bench::new("check");
    let path = bench.write("null.toml", NULL);
    let sizes = run("sizes");
    assert!(
        sizes.status.success()
            && String::from_utf8_lossy(&sizes.stdout).contains("imix-simple: 7 × 64 bytes")
    );
    let check = run(&format!("check {}", path.display()));
    let told = String::from_utf8_lossy(&check.stdout);
    assert!(
        check.status.success() && told.contains("stream s: one to one, 100 % of the rate, 1 flows"),
        "{told}"
    );
}
