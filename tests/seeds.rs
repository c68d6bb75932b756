//! The fuzz targets over their seeds, which are recorded exchanges, handmade cases and what fuzzing has found: an ordinary
//! test, so that a crash that was mended stays mended.

// The targets' sources are a crate of their own, too, where what is public here is.
#![allow(unreachable_pub)]

use std::path::Path;

#[path = "fuzz/src/cetp.rs"]
#[allow(dead_code)]
mod cetp;
#[path = "fuzz/src/dhcp.rs"]
mod dhcp;
#[path = "fuzz/src/dns.rs"]
#[allow(dead_code)]
mod dns;
#[path = "fuzz/src/ftp.rs"]
mod ftp;
#[path = "fuzz/src/packet.rs"]
#[allow(dead_code)] // what the maker of seeds needs as well
mod packet;
#[path = "fuzz/src/receiver.rs"]
mod receiver;
#[path = "fuzz/src/sip.rs"]
mod sip;
#[path = "fuzz/src/talk.rs"]
mod talk;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("run by cargo"))
        .join("fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).expect("seeds") {
        let path = entry.expect("an entry").path();
        let data = std::fs::read(&path).expect("a seed");
        // The name of the seed stands in the output of a test that fails.
        println!("{}", path.display());
        run(&data);
        // And what a cut connection or a short frame makes of it.
        for end in (0..data.len()).step_by(data.len() / 64 + 1) {
            run(&data[..end]);
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn packet_seeds() {
    replay("packet", packet::run);
}

#[test]
fn dhcp_seeds() {
    replay("dhcp", dhcp::run);
}

#[test]
fn dns_seeds() {
    replay("dns", dns::run);
}

#[test]
fn ftp_seeds() {
    replay("ftp", ftp::run);
}

#[test]
fn sip_seeds() {
    replay("sip", sip::run);
}

#[test]
fn talk_seeds() {
    replay("talk", talk::run);
}

#[test]
fn cetp_seeds() {
    replay("cetp", cetp::run);
}
