//! Runs the built `cesload`, in a directory of its own, against another one that is a wire.

#![allow(dead_code)] // each test binary uses its part

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The built program.
pub(crate) fn cesload() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cesload"))
}

/// Runs it with the words of a line.
pub(crate) fn run(line: &str) -> Output {
    cesload().args(line.split_whitespace()).output().expect("cesload can be run")
}

/// A directory that is gone afterwards.
pub(crate) struct Bench {
    /// It.
    pub directory: PathBuf,
}

impl Bench {
    /// For the test of this name.
    pub(crate) fn new(name: &str) -> Bench {
        let directory = std::env::temp_dir().join(format!("cesload-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the directory for temporary files can be written");
        Bench { directory }
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).expect("the directory can be written");
        path
    }

    /// A memif device whose socket is a file in this directory.
    pub(crate) fn memif(&self, id: u32, role: &str) -> String {
        let socket = self.directory.join("memif.sock");
        format!("net_memif{id},role={role},id={id},socket={},socket-abstract=no", socket.display())
    }

    /// Starts a wire between memifs 0 and 1.
    pub(crate) fn wire(&self, faults: &[&str]) -> Wire {
        let child = cesload()
            .args(["wire", "--port", &self.memif(0, "server"), "--port", &self.memif(1, "server")])
            .args(faults)
            .stdout(Stdio::null())
            .spawn()
            .expect("cesload can be run");
        let mut wire = Wire { child };
        // A client needs the socket to be there; then it waits for the link by itself.
        while !self.directory.join("memif.sock").exists() {
            let ended = wire.child.try_wait().expect("the wire is a child of ours");
            assert!(ended.is_none(), "the wire ended: {ended:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        wire
    }

    /// A profile with a stream each way over the wire.
    pub(crate) fn profile(&self) -> PathBuf {
        let text = format!(
            r#"
[memory]
mib = 64
[[port]]
name = "left"
device = "{}"
[[port]]
name = "right"
device = "{}"
[[stream]]
name = "there"
from = "left"
to = "right"
size = 64
source = "10.1.0.1-10.1.0.10"
destination = "10.2.0.1"
flows = 10
[[stream]]
name = "back"
from = "right"
to = "left"
size = 128
source = "10.2.0.1"
destination = "10.1.0.1-10.1.0.10"
flows = 10
"#,
            self.memif(0, "client"),
            self.memif(1, "client")
        );
        self.write("profile.toml", &text)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A wire that runs until it is dropped.
pub(crate) struct Wire {
    child: Child,
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGINT.
pub(crate) fn interrupt(child: &Child) {
    signal(child, "INT");
}

/// Sends a signal of this name.
pub(crate) fn signal(child: &Child, name: &str) {
    let (name, id) = (format!("-{name}"), child.id().to_string());
    let status = Command::new("kill").args([name, id]).status().expect("kill can be run");
    assert!(status.success());
}

/// A JSON file.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a report is JSON")
}
