//! The program must not stand before libc: what DPDK needs of `net_memif` is led there in its own libraries alone.

use std::process::Command;

#[test]
fn the_program_exports_nothing_of_libc() {
    // What would be exported is linked with those who need it.
    let (_start, _open): (fn(&_) -> _, fn(&_, &_) -> _) = (dpdk::Eal::start, dpdk::Port::open);
    let program = std::env::current_exe().expect("this test's own file");
    let symbols = Command::new("nm").args(["--dynamic", "--defined-only"]).arg(program).output().expect("nm");
    let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
    for name in ["epoll_wait", "sendmsg"] {
        assert!(!symbols.lines().any(|line| line.split_whitespace().next_back() == Some(name)), "{name}");
    }
}
