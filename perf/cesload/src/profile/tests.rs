//! Profiles that are right, and every way to get one wrong.

use super::*;

const GOOD: &str = r#"
[[port]]
name = "a"
device = "net_null0"
[[port]]
name = "b"
device = "net_null1"

[[stream]]
name = "there"
from = "a"
to = "b"
size = 64
source = "192.0.2.0/24"
destination = "198.51.100.1-198.51.100.4"
source_port = 5000
destination_port = 9
flows = 1024
"#;

/// What is said of a profile that is wrong.
pub(super) fn errors(text: &str) -> String {
    let errors = parse("p.toml", text, Path::new(""), &[]).expect_err("the profile is wrong");
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Each fault, put into a profile that is right in the place of what stands there, is told in the words expected.
pub(super) fn assert_told(good: &str, faults: &[(&str, &str, &str)]) {
    for (right, wrong, expected) in faults {
        assert!(good.contains(right), "{right}");
        let text = errors(&good.replacen(right, wrong, 1));
        assert!(text.contains(expected), "{wrong}: expected {expected}, got:\n{text}");
    }
}

fn with(line: &str, other: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replace(line, other)
}

#[test]
fn a_good_profile_has_all_its_flows() {
    let profile = parse("p.toml", GOOD, Path::new(""), &[]).unwrap();
    let traffic = &profile.traffic[0];
    assert_eq!((traffic.from, traffic.to, traffic.count), (0, 1, 1024));
    let flows: std::collections::HashSet<_> = (0..1024)
        .map(|index| traffic.flow(index))
        .map(|flow| (flow.ends.source, flow.ends.destination, flow.ends.source_port))
        .collect();
    assert_eq!(flows.len(), 1024);
    assert_eq!(traffic.lengths.at(5, 7), 46);
    let (sent, _) = traffic.wire_bits(&profile.port);
    assert!((sent - 84.0 * 8.0).abs() < 1e-9);
}

#[test]
fn every_fault_is_told_with_its_line() {
    let faults = [
        ("size = 64", "sise = 64", "p.toml:13: stream[0].sise: unknown field `sise`, expected one of"),
        ("size = 64", "size = 63", "p.toml:13: stream[0].size: 63: 64 to 1518 bytes were"),
        ("size = 64", "size = 1519", "p.toml:13: stream[0].size: 1519: 64 to 1518 bytes"),
        (
            "size = 64",
            "size = \"big\"",
            "p.toml:13: stream[0].size: invalid type: string \"big\", expected a number from 0 to 65535",
        ),
        ("size = 64", "size = 64\nsizes = \"imix-simple\"", "p.toml:13: stream[0].size: expected either"),
        ("size = 64", "sizes = \"imix\"", "p.toml:13: stream[0].sizes: there is no mix \"imix\""),
        (
            "size = 64",
            "size = 64\nprotocol = \"tcp\"",
            "stream[0].size: 64: 76 to 1518 bytes were expected: headers and the signature of 18 bytes",
        ),
        ("to = \"b\"", "to = \"c\"", "p.toml:12: stream[0].to: there is no port \"c\"; there are: a, b"),
        ("flows = 1024", "flows = 1025", "p.toml:18: stream[0].flows: expected 1 to 1024"),
        ("flows = 1024", "flows = 0", "p.toml:18: stream[0].flows: expected 1 to 1024"),
        (
            "192.0.2.0/24",
            "192.0.2.9-192.0.2.1",
            "p.toml:14: stream[0].source: \"192.0.2.9-192.0.2.1\" is empty",
        ),
        ("source_port = 5000", "source_port = \"9-5\"", "p.toml:16: stream[0].source_port: \"9-5\" is empty"),
        ("flows = 1024", "[stream.ces]\nbindings = \"none.json\"\ndirection = \"egress\"", "is not wanted"),
        ("net_null1", "net_null0", "p.toml:7: port[1].device: net_null0 is the device of two ports"),
        (
            "device = \"net_null1\"",
            "device = \"net_null1\"\nspeed = \"fast\"",
            "p.toml:8: port[1].speed: \"fast\" is no speed",
        ),
        (
            "device = \"net_null1\"",
            "device = \"net_null1\"\nmtu = 9000",
            "p.toml:8: port[1].mtu: 9000: 68 to 2022 was expected",
        ),
        (
            "device = \"net_null1\"",
            "device = \"net_null1\"\ngateway = \"192.0.2.1\"",
            "p.toml:8: port[1].gateway",
        ),
    ];
    assert_told(GOOD, &faults);
}

#[test]
fn more_flows_than_memory_are_refused_with_their_bytes() {
    let text = with("flows = 1024", "flows = 200000000")
        .replace("192.0.2.0/24", "10.0.0.0/8")
        .replace("source_port = 5000", "source_port = \"1-100\"");
    assert!(
        errors(&text).contains("200000000 flows need 8393 MiB (20 bytes each, and 24 for each of 1 threads)")
    );
}

#[test]
fn streams_must_not_send_the_same_flows() {
    let again = GOOD.split_once("[[stream]]").unwrap().1.replace("\"there\"", "\"again\"");
    let text = format!("{GOOD}[[stream]]{again}");
    assert!(errors(&text).contains("its flows overlap those of stream \"there\""));
    let apart = text.replacen("source_port = 5000", "source_port = 5001", 1);
    let profile = parse("p.toml", &apart, Path::new(""), &[]).unwrap();
    assert!((profile.traffic[1].share - 0.5).abs() < 1e-9);
}

#[test]
fn bindings_become_packets_of_both_ways() {
    let directory = std::env::temp_dir().join(format!("cesload-bindings-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let json = r#"[
            {"tag": 7, "remote_tag": 9, "role": "initiator", "host": "10.0.0.5", "proxy": "172.16.0.1", "worker": 0,
             "tunnel": {"peer": "b", "encapsulation": "vxlan", "local": "198.51.100.1", "remote": "203.0.113.1",
                        "id_in": 11, "id_out": 12, "mtu": 1500, "bindings": 1}},
            {"tag": 8, "remote_tag": 0, "role": "local", "host": "10.0.0.6", "proxy": "172.16.0.2", "worker": 0}
        ]"#;
    std::fs::write(directory.join("b.json"), json).unwrap();
    let text = |direction: &str| {
        with("source = \"192.0.2.0/24\"\ndestination = \"198.51.100.1-198.51.100.4\"\n", "")
            .replace("source_port = 5000", "source_port = \"5000-5001\"")
            .replace("flows = 1024", "flows = 2")
            + &format!("[stream.ces]\nbindings = \"b.json\"\ndirection = \"{direction}\"\n")
    };
    let read = |direction: &str| parse("p.toml", &text(direction), &directory, &[]).unwrap();
    let egress = &read("egress").traffic[0];
    let flow = egress.flow(1);
    assert_eq!(
        (flow.ends.source, flow.ends.destination, flow.ends.source_port),
        (0x0a00_0005, 0xac10_0001, 5001)
    );
    assert_eq!(egress.shapes[0].received_overhead, 50);
    assert!(egress.note.contains("1 bindings without a tunnel"));
    let ingress = &read("ingress").traffic[0];
    assert_eq!((ingress.flow(0).ends.source, ingress.flow(0).ends.destination), (9, 7));
    let outer = ingress.shapes[0].outer.unwrap();
    assert_eq!((outer.source, outer.destination, outer.id), (0xcb00_7101, 0xc633_6401, 11));

    std::fs::write(directory.join("b.json"), r#"[{"tag": 7}]"#).unwrap();
    let wrong = parse("p.toml", &text("egress"), &directory, &[]).unwrap_err();
    assert!(wrong[0].to_string().contains("missing field `remote_tag`"), "{}", wrong[0]);
    std::fs::remove_file(directory.join("b.json")).unwrap();
    let wrong = parse("p.toml", &text("egress"), &directory, &[]).unwrap_err();
    assert!(wrong[0].line.is_some() && wrong[0].message.contains("cannot be read"), "{}", wrong[0]);
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn a_mix_keeps_its_weights_in_every_order() {
    let text = with("size = 64", "sizes = \"imix-simple\"");
    let profile = parse("p.toml", &text, Path::new(""), &[]).unwrap();
    let lengths = &profile.traffic[0].lengths;
    for flows in [1, 7, 1000] {
        let mut counts = std::collections::BTreeMap::new();
        for packet in 0..12_000 {
            *counts.entry(lengths.at(packet % flows, packet / flows)).or_insert(0i32) += 1;
        }
        for (length, expected) in [(46, 7000), (576, 4000), (1500, 1000)] {
            assert!((counts[&length] - expected).abs() <= 20, "{flows} flows: {counts:?}");
        }
    }
}

#[test]
fn another_device_is_for_a_port_that_there_is() {
    let device = |port: &str| [(port.to_owned(), "net_ring0".to_owned())];
    let profile = parse("p.toml", GOOD, Path::new(""), &device("b")).unwrap();
    assert_eq!(profile.port[1].device, "net_ring0");
    assert!(parse("p.toml", GOOD, Path::new(""), &device("c")).is_err());
}
