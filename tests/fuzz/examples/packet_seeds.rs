//! Writes the handmade seeds of the target `packet`: cargo run --example packet_seeds -- seeds/packet

use ces_fuzz::packet::{FIX_INNER, FIX_OUTER, NAT, OUTSIDE};

const HOST: [u8; 4] = [192, 168, 10, 11];
const SECOND: [u8; 4] = [192, 168, 10, 12];
const INSIDE: [u8; 4] = [192, 168, 10, 1];
const GATEWAY: [u8; 4] = [192, 0, 2, 2];
const PEER: [u8; 4] = [198, 51, 100, 2];
const REMOTE_TAG: [u8; 4] = [0xc0, 0xde, 0, 0];

fn ethernet(outside: bool, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1 + u8::from(outside), 2, 0, 0, 0, 1, 11];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

struct Ip {
    flags: u16,
    ttl: u8,
    options: &'static [u8],
}

const PLAIN: Ip = Ip { flags: 0, ttl: 64, options: &[] };

impl Ip {
    fn packet(&self, source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut packet = vec![0x40 | (header / 4) as u8, 0];
        packet.extend(((header + payload.len()) as u16).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.flags.to_be_bytes());
        packet.extend([self.ttl, protocol, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(self.options);
        packet.extend(payload);
        packet
    }
}

fn udp(source: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = source.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend(((8 + payload.len()) as u16).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    segment
}

fn syn(port: u16) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40];
    segment.extend(port.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x70, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 180, 1, 3, 3, 7]);
    segment
}

fn echo() -> Vec<u8> {
    vec![8, 0, 0x1a, 0x2b, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]
}

/// The tag of ours of the binding in a slot: what the path puts in as inner source of what its host sends.
fn tag(proxy: u8) -> [u8; 4] {
    let mut seed =
        record(FIX_OUTER, 0, &ethernet(false, 0x0800, &PLAIN.packet(HOST, [10, 0, 0, proxy], 6, &syn(80))));
    let sent = ces_fuzz::packet::first_sent(&std::mem::take(&mut seed)).expect("it is forwarded");
    // Behind Ethernet 14, IPv4 20 and UDP with VXLAN or GENEVE 16, or GRE 8, another Ethernet header and the address at 12.
    let at = if sent[23] == 47 { 14 + 20 + 8 + 14 + 12 } else { 14 + 20 + 16 + 14 + 12 };
    sent[at..at + 4].try_into().expect("4 bytes")
}

fn tunnelled(kind: u8, destination: [u8; 4], inner: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0]);
    frame.extend(inner);
    let id = 0x0001_0203 + u32::from(kind);
    let (protocol, payload) = match kind {
        0 => {
            let mut vxlan = vec![8, 0, 0, 0];
            vxlan.extend((id << 8).to_be_bytes());
            vxlan.extend(frame);
            (17, udp(50_000, 4789, &vxlan))
        }
        1 => {
            let mut gre = vec![0x20, 0, 0x65, 0x58];
            gre.extend(id.to_be_bytes());
            gre.extend(frame);
            (47, gre)
        }
        _ => {
            let mut geneve = vec![0, 0, 0x65, 0x58];
            geneve.extend((id << 8).to_be_bytes());
            geneve.extend(frame);
            (17, udp(50_000, 6081, &geneve))
        }
    };
    ethernet(true, 0x0800, &PLAIN.packet(PEER, destination, protocol, &payload))
}

fn record(flags: u8, seconds: u8, frame: &[u8]) -> Vec<u8> {
    let mut out = vec![flags, seconds];
    out.extend((frame.len() as u16).to_be_bytes());
    out.extend(frame);
    out
}

fn main() {
    let directory = std::env::args().nth(1).expect("a directory");
    let out = FIX_OUTER;
    let back = FIX_OUTER | FIX_INNER | OUTSIDE;
    let host = |packet: Vec<u8>| record(out, 0, &ethernet(false, 0x0800, &packet));
    let proxy = |last| [10, 0, 0, last];
    let outside = |packet: Vec<u8>| record(out | OUTSIDE, 0, &ethernet(true, 0x0800, &packet));
    let mut seeds: Vec<(&str, Vec<Vec<u8>>)> = Vec::new();

    for (kind, name) in ["vxlan", "gre", "geneve"].into_iter().enumerate() {
        let far = [REMOTE_TAG[0], REMOTE_TAG[1], 0, kind as u8];
        let ours = tag(kind as u8 + 1);
        let there_and_back = vec![
            host(PLAIN.packet(HOST, proxy(kind as u8 + 1), 1, &echo())),
            record(back, 0, &tunnelled(kind as u8, GATEWAY, &PLAIN.packet(far, ours, 1, &echo()))),
            record(back, 0, &tunnelled(kind as u8, GATEWAY, &PLAIN.packet(far, ours, 6, &syn(80)))),
            record(
                back,
                0,
                &tunnelled(kind as u8, GATEWAY, &PLAIN.packet(far, ours, 17, &udp(53, 40_000, b"reply"))),
            ),
        ];
        seeds.push((name, there_and_back));
        seeds.push((
            ["vxlan-wrong-tag", "gre-wrong-tag", "geneve-wrong-tag"][kind],
            vec![record(back, 0, &tunnelled(kind as u8, GATEWAY, &PLAIN.packet(ours, far, 1, &echo())))],
        ));
    }
    let far = REMOTE_TAG;
    let ours = tag(1);
    let quoted = PLAIN.packet(ours, far, 17, &udp(40_000, 9, b""));
    let error = |kind: u8, code: u8, mtu: u16, quoted: &[u8]| {
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(quoted);
        message
    };
    seeds.push((
        "icmp-error-inside-the-tunnel",
        vec![record(back, 0, &tunnelled(0, GATEWAY, &PLAIN.packet(far, ours, 1, &error(3, 3, 0, &quoted))))],
    ));
    let sent = PLAIN.packet(GATEWAY, PEER, 17, &udp(50_000, 4789, &[8, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0]));
    seeds.push((
        "fragmentation-needed-about-the-tunnel",
        vec![outside(PLAIN.packet([192, 0, 2, 1], GATEWAY, 1, &error(3, 4, 1400, &sent)))],
    ));
    let own = PLAIN.packet(proxy(1), HOST, 17, &udp(53, 40_000, b""));
    seeds.push((
        "icmp-error-from-the-host",
        vec![host(PLAIN.packet(HOST, proxy(1), 1, &error(3, 3, 0, &own)))],
    ));
    seeds.push((
        "fragments-in-order",
        vec![
            host(Ip { flags: 0x2000, ..PLAIN }.packet(HOST, proxy(1), 17, &udp(40_000, 9, &[7; 600]))),
            host(Ip { flags: 0x2000 | 76, ..PLAIN }.packet(HOST, proxy(1), 17, &[8; 608])),
            host(Ip { flags: 152, ..PLAIN }.packet(HOST, proxy(1), 17, &[9; 100])),
        ],
    ));
    seeds.push((
        "fragment-without-its-first",
        vec![host(Ip { flags: 0x2000 | 76, ..PLAIN }.packet(HOST, proxy(1), 17, &[8; 608]))],
    ));
    seeds.push((
        "tiny-first-fragment",
        vec![host(Ip { flags: 0x2000, ..PLAIN }.packet(HOST, proxy(1), 6, &syn(80)[..8]))],
    ));
    seeds.push((
        "overlapping-fragment",
        vec![
            host(Ip { flags: 0x2000, ..PLAIN }.packet(HOST, proxy(1), 6, &syn(80))),
            host(Ip { flags: 1, ..PLAIN }.packet(HOST, proxy(1), 6, &[0; 40])),
        ],
    ));
    seeds.push((
        "too-big-not-to-be-fragmented",
        vec![host(Ip { flags: 0x4000, ..PLAIN }.packet(HOST, proxy(1), 17, &udp(40_000, 9, &[7; 1472])))],
    ));
    seeds.push((
        "too-big-fragmented",
        vec![host(PLAIN.packet(HOST, proxy(1), 17, &udp(40_000, 9, &[7; 1472])))],
    ));
    seeds.push((
        "ttl-runs-out",
        vec![host(Ip { ttl: 1, ..PLAIN }.packet(HOST, proxy(1), 17, &udp(40_000, 33_434, &[])))],
    ));
    seeds.push((
        "source-route",
        vec![host(Ip { options: &[131, 7, 4, 10, 0, 0, 9, 0], ..PLAIN }.packet(HOST, proxy(1), 1, &echo()))],
    ));
    seeds.push((
        "record-route",
        vec![host(Ip { options: &[7, 7, 4, 0, 0, 0, 0, 0], ..PLAIN }.packet(HOST, proxy(1), 1, &echo()))],
    ));
    seeds.push((
        "restricted-binding",
        vec![
            host(PLAIN.packet(HOST, proxy(4), 6, &syn(80))),
            host(PLAIN.packet(HOST, proxy(4), 6, &syn(81))),
            host(PLAIN.packet(HOST, proxy(4), 17, &udp(80, 80, &[]))),
        ],
    ));
    seeds.push((
        "rate-limited-binding",
        (0..12).map(|_| host(PLAIN.packet(HOST, proxy(5), 17, &udp(1, 2, &[0; 400])))).collect(),
    ));
    seeds.push((
        "two-hosts-of-one-realm",
        vec![
            host(PLAIN.packet(HOST, proxy(6), 6, &syn(80))),
            host(PLAIN.packet(SECOND, proxy(1), 17, &udp(1, 2, b"x"))),
        ],
    ));
    seeds.push((
        "binding-that-idles-away",
        vec![
            host(PLAIN.packet(HOST, proxy(1), 1, &echo())),
            record(out, 90, &ethernet(false, 0x0800, &PLAIN.packet(HOST, proxy(1), 1, &echo()))),
        ],
    ));
    seeds.push((
        "to-the-gateway",
        vec![
            host(PLAIN.packet(HOST, INSIDE, 17, &udp(40_000, 53, &[0; 30]))),
            host(PLAIN.packet(HOST, INSIDE, 6, &syn(53))),
            host(PLAIN.packet(HOST, INSIDE, 1, &echo())),
            outside(PLAIN.packet(PEER, GATEWAY, 6, &syn(48_001))),
            outside(PLAIN.packet(PEER, GATEWAY, 6, &syn(22))),
            outside(PLAIN.packet([203, 0, 113, 53], GATEWAY, 17, &udp(53, 40_000, &[0; 30]))),
        ],
    ));
    let server = [8, 8, 8, 8];
    let world = |frame: Vec<u8>| record(OUTSIDE | FIX_OUTER, 0, &ethernet(true, 0x0800, &frame));
    let begin = |packet: Vec<u8>| record(NAT | FIX_OUTER, 0, &ethernet(false, 0x0800, &packet));
    let quoted = PLAIN.packet(GATEWAY, server, 17, &udp(4000, 53, &[0; 8]));
    let mut unreachable = vec![3, 1, 0, 0, 0, 0, 0, 0];
    unreachable.extend(&quoted);
    let reply = vec![0, 0, 0x1a, 0x2b, 0x12, 0x34, 0, 1, 1, 2, 3, 4];
    let answer = [0, 80, 0x9c, 0x40, 0, 0, 0, 9, 0, 0, 0, 2, 0x50, 0x12, 0xff, 0xff, 0, 0, 0, 0];
    seeds.push((
        "into-the-world-and-back",
        vec![
            begin(PLAIN.packet(HOST, server, 17, &udp(4000, 53, &[0; 8]))),
            world(PLAIN.packet(server, GATEWAY, 17, &udp(53, 4000, &[0; 8]))),
            world(PLAIN.packet([5, 5, 5, 5], GATEWAY, 1, &unreachable)),
            host(PLAIN.packet(SECOND, server, 17, &udp(4000, 53, &[0; 8]))),
            host(PLAIN.packet(SECOND, GATEWAY, 17, &udp(4000, 4000, &[0; 8]))),
            host(PLAIN.packet(HOST, server, 6, &syn(80))),
            world(PLAIN.packet(server, GATEWAY, 6, &answer)),
            host(PLAIN.packet(HOST, server, 1, &echo())),
            world(PLAIN.packet(server, GATEWAY, 1, &reply)),
            host(PLAIN.packet(HOST, server, 50, &[0; 16])),
            world(PLAIN.packet(server, GATEWAY, 50, &[0; 16])),
            host(Ip { flags: 0x2000, ..PLAIN }.packet(HOST, server, 17, &udp(4001, 53, &[0; 16]))),
            host(Ip { flags: 3, ..PLAIN }.packet(HOST, server, 17, &[0; 16])),
        ],
    ));
    let arp =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 1, 11, 192, 168, 10, 11, 0, 0, 0, 0, 0, 0, 192, 168, 10, 1];
    seeds.push(("arp", vec![record(0, 0, &ethernet(false, 0x0806, &arp))]));
    seeds.push((
        "vlan",
        vec![record(
            out,
            0,
            &ethernet(
                false,
                0x8100,
                &[&[0, 5, 8, 0], PLAIN.packet(HOST, proxy(1), 1, &echo()).as_slice()].concat(),
            ),
        )],
    ));
    seeds.push((
        "broadcast-and-multicast",
        vec![
            host(PLAIN.packet(HOST, [255; 4], 17, &udp(68, 67, &[]))),
            host(PLAIN.packet(HOST, [224, 0, 0, 251], 17, &udp(5353, 5353, &[]))),
            host(PLAIN.packet(HOST, [192, 168, 10, 255], 1, &echo())),
            host(PLAIN.packet([127, 0, 0, 1], proxy(1), 1, &echo())),
        ],
    ));

    std::fs::create_dir_all(&directory).expect("the directory can be made");
    for (name, frames) in seeds {
        std::fs::write(format!("{directory}/{name}"), frames.concat()).expect("it can be written to");
    }
}
