//! Veth pairs in network namespaces of the test's own.

use std::process::Command;

/// Runs a command of the system and expects success.
pub fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output =
        Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two ends of a virtual cable in this namespace, without the kernel's own chatter on them. Gone when dropped.
pub struct Cable {
    /// One end's name.
    pub near: String,
    /// The other end's name.
    pub far: String,
}

impl Cable {
    /// A new cable; `label` is short and unique in this machine.
    pub fn new(label: &str) -> Self {
        let (near, far) = (format!("{label}-a"), format!("{label}-b"));
        let _ = Command::new("ip").args(["link", "del", &near]).output(); // left by a test that was killed
        run(&format!("ip link add {near} type veth peer name {far}"));
        for end in [&near, &far] {
            let silent = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
            std::fs::write(&silent, "1").unwrap_or_else(|error| panic!("{silent}: {error}"));
            run(&format!("ip link set {end} up"));
        }
        Self { near, far }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.near]).output();
    }
}
