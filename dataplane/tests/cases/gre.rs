//! GRE as other kinds of tunnel ends may send it: with a checksum, with numbers, with reserved bits (RFC 2784, RFC 2890).

use super::*;

/// The outer packet in GRE with these flags and the words behind them, in order.
fn gre(flags: u16, words: &[u32], inner: &Ip) -> Vec<u8> {
    let mut payload = flags.to_be_bytes().to_vec();
    payload.extend([0x65, 0x58]);
    payload.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    payload.extend([0; 12]);
    payload.extend([8, 0]);
    payload.extend(inner.bytes());
    if flags & 0x8000 != 0 {
        let sum = checksum(&payload).to_be_bytes();
        payload[4..6].copy_from_slice(&sum);
    }
    ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &Ip::new(REMOTE, LOCAL, 47, payload).raw().bytes())
}

fn in_gre() -> Gateway {
    Gateway::new(settings(), Encapsulation::Gre, binding())
}

#[test]
fn p13_checksums_numbers_and_reserved_bits_are_taken() {
    let g = in_gre();
    // Of an odd length, as its checksum must bear.
    let inner = far(&g, 17, udp(53, 5000, b"answers"));
    let arrives = Ip { ttl: inner.ttl - 1, ..Ip::new(PROXY, HOST, 17, inner.payload.clone()) };
    let arrives = to_host(&Ip { id: inner.id, ..arrives });
    let taken = |title, frame| case(title, in_gre(), (OUTSIDE, frame), IN, Some((INSIDE, arrives.clone())));
    let refused = |title, frame, why| drop_case(title, in_gre(), (OUTSIDE, frame), why);
    let mut damaged = gre(0xa000, &[0, ID_IN], &inner);
    *damaged.last_mut().unwrap() ^= 1;
    let mut cases = vec![
        taken("a key alone", gre(0x2000, &[ID_IN], &inner)),
        taken("a checksum (RFC 2784 §2.2)", gre(0xa000, &[0, ID_IN], &inner)),
        taken("a sequence number (RFC 2890 §2.2)", gre(0x3000, &[ID_IN, 77], &inner)),
        taken("both", gre(0xb000, &[0, ID_IN, 77], &inner)),
        taken("all reserved bits (RFC 2784 §2.3)", gre(0x23f8, &[ID_IN], &inner)),
        taken("all that may be set", gre(0xb3f8, &[0, ID_IN, 77], &inner)),
        refused("a wrong checksum", damaged, Why::TunnelMalformed),
        refused("a number instead of the key", gre(0x1000, &[ID_IN, ID_IN], &inner), Why::TunnelMalformed),
        refused("the key where no key is looked for", gre(0xa000, &[ID_IN, 0], &inner), Why::TunnelIdUnknown),
    ];
    for (title, bits) in [
        ("routing (bit 1)", 0x4000),
        ("strict source route (bit 4)", 0x0800),
        ("recursion (bit 5)", 0x0400),
        ("version 1", 1),
        ("version 4", 4),
    ] {
        cases.push(refused(title, gre(0x2000 | bits, &[ID_IN], &inner), Why::TunnelMalformed));
    }
    for bit in 6..13 {
        cases.push(taken("one reserved bit", gre(0x2000 | 0x8000 >> bit, &[ID_IN], &inner)));
    }
    run(cases);
}

#[test]
fn p13_a_header_that_ends_early_is_truncated() {
    let g = in_gre();
    let whole = gre(0xb000, &[0, ID_IN, 77], &far(&g, 17, udp(53, 5000, b"answer")));
    let cut = |length: usize| {
        let payload = whole[34..34 + length].to_vec();
        ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &Ip::new(REMOTE, LOCAL, 47, payload).raw().bytes())
    };
    run((0..16)
        .map(|length| drop_case("cut", in_gre(), (OUTSIDE, cut(length)), Why::Truncated))
        .collect::<Vec<_>>());
}

/// A worker to which such a packet comes sends it to the one that owns its binding.
#[test]
fn p13_workers_hand_them_over() {
    use ces_dataplane::tag::{Layout, worker_of};
    let mut two = settings();
    two.workers = 2;
    two.layout = Layout::new(2, 64);
    two.worker = worker_of(HOST, 2);
    let other = 1 - two.worker;
    let mut mine = Gateway::new(two.clone(), Encapsulation::Gre, binding());
    let inner = far(&mine, 17, udp(1, 2, b""));
    two.worker = other;
    let mut theirs = Gateway::bare(two);
    for frame in
        [gre(0xa000, &[0, ID_IN], &inner), gre(0x3000, &[ID_IN, 1], &inner), gre(0x2010, &[ID_IN], &inner)]
    {
        assert_eq!(theirs.one(OUTSIDE, &frame).0, Verdict::HandOff(1 - other as u8));
        assert_eq!(mine.one(OUTSIDE, &frame).0, IN);
    }
}
