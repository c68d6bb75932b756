//! Veth pairs in a network namespace of the test's own.

use std::process::Command;

/// Runs the test `name` of this binary again in a network namespace of its own, which ends with it. `true` in there.
pub(crate) fn in_own_network(name: &str) -> bool {
    const MARK: &str = "CES_TEST_IN_OWN_NETWORK";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("the test binary has a path");
    let status = Command::new("unshare")
        .arg("--net")
        .arg(this)
        .args([name, "--exact", "--nocapture"])
        .env(MARK, "1")
        .status()
        .expect("unshare (util-linux) can be run");
    assert!(status.success(), "{name} failed in its network namespace (it needs root)");
    false
}

/// Runs a command of the system and expects success.
pub(crate) fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output =
        Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a veth pair with these ends, without the kernel's own chatter on them.
pub(crate) fn make_veth(near: &str, far: &str) {
    run(&format!("ip link add {near} type veth peer name {far}"));
    for end in [near, far] {
        let silent = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
        std::fs::write(&silent, "1").unwrap_or_else(|error| panic!("{silent}: {error}"));
        run(&format!("ip link set {end} up"));
    }
}
