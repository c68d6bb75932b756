//! A start that fails says why.

use dpdk::{Eal, Error, Memory, Options};

#[test]
fn wrong_argument_is_quoted() {
    let extra = vec!["--no-such-option".to_owned()];
    let options =
        Options { memory: Memory::Ordinary { mib: 64 }, polling: Vec::new(), devices: Vec::new(), extra };
    let error = Eal::start(&options).unwrap_err();
    assert!(matches!(error, Error::Start { .. }));
    eprintln!("{error}");
    assert!(error.to_string().contains("DPDK did not start: "), "{error}");
}
