//! The profiles that come with the program are right.

use ces_dataplane::io::pcap;
use ces_dataplane::wire::{Wire, ipv4};
use ces_load::frame::ends::Ends;
use ces_load::profile;
use ces_load::stream::export;
use std::path::{Path, PathBuf};

/// What `dut --export` or `cesctl --json show bindings` would have put beside the profiles.
const BINDINGS: &str = r#"[{
    "tag": 3735928559, "remote_tag": 3405691582, "role": "initiator", "local": "h.a.demo", "remote": "h.b.demo",
    "host": "192.168.10.10", "proxy": "172.16.0.1", "peer": "b.demo",
    "tunnel": {"peer": "b.demo", "encapsulation": "vxlan", "local": "198.51.100.1", "remote": "203.0.113.1",
               "id_in": 1, "id_out": 2, "mtu": 1500, "bindings": 1},
    "idle_s": 0, "hard_s": 0, "age_s": 1, "worker": 0
}]"#;

fn capture() -> Vec<u8> {
    let mut frame = [0; 60];
    frame[12..14].copy_from_slice(&[8, 0]);
    ipv4::Header::new(ipv4::UDP, 1, 2, 46).emit(&mut frame[14..]);
    let mut writer = pcap::Writer::new(Vec::new()).unwrap();
    writer.write(0, &frame).unwrap();
    writer.finish().unwrap()
}

/// For other generators: the same packets as cesload's own, tunnel and all.
#[test]
fn frames_are_those_of_the_bindings() {
    let scratch = std::env::temp_dir().join(format!("cesload-frames-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::write(scratch.join("bindings.json"), BINDINGS).unwrap();
    let made = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let profile = profile::parse(name, &text, &scratch, &[]).unwrap();
        pcap::read(&export::write(&profile, 12, Vec::new()).unwrap()).unwrap()
    };
    let egress = made("egress-64.toml");
    assert!(egress.len() == 12 && egress.iter().all(|packet| packet.data.len() == 60));
    let ends = Ends::of(&egress[0].data).unwrap().0;
    assert_eq!((ends.source, ends.destination, ends.destination_port), (0xc0a8_0a0a, 0xac10_0001, 9));
    let ingress = made("ingress-imix.toml");
    let mut lengths: Vec<usize> = ingress.iter().map(|packet| packet.data.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [[110; 7].as_slice(), &[640; 4], &[1564]].concat(), "50 bytes around each, no FCS");
    assert_eq!(
        Ends::of(&ingress[0].data).map(|(ends, _)| ends.destination),
        Some(0xc633_6401),
        "the tunnel's"
    );
    std::fs::remove_dir_all(&scratch).unwrap();
}

#[test]
fn all_profiles_check_clean() {
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles");
    let scratch = std::env::temp_dir().join(format!("cesload-profiles-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::write(scratch.join("bindings.json"), BINDINGS).unwrap();
    std::fs::write(scratch.join("capture.pcap"), capture()).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&profiles)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if let Err(errors) = profile::parse(&file.display().to_string(), &text, &scratch, &[]) {
            panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
    std::fs::remove_dir_all(&scratch).unwrap();
}
