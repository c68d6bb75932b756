//! Public reports about the NATs of others, with the outcome that is right.

use super::*;
use ces_dataplane::reason::DropReason as Why;

/// A reset from somebody who guesses neither ends the connection nor makes it last less than 4 minutes (RFC 7857 §2.2).
#[test]
fn report_2_a_reset_from_somebody_who_guesses() {
    let mut gateway = connected();
    gateway.one(OUTSIDE, &numbered(false, RST, 0x8000_0000, b""));
    gateway.now += SECOND;
    let data = numbered(false, ACK, 1_000_000, &[7; 100]);
    assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &data).1), (SERVER, 80, HOST, 4000));
    wait(&mut gateway, 7400);
    assert_eq!(live(&mut gateway), 1, "as established as before");
    gateway.one(OUTSIDE, &numbered(false, RST, 0x8000_0000, b""));
    wait(&mut gateway, 235);
    assert_eq!(live(&mut gateway), 1);
}

/// A port that a connection had is nobody else's while the other end may still be in TIME-WAIT, nor 120 s after that.
#[test]
fn report_6_an_external_port_rests() {
    let mut settings = nat_settings();
    settings.nat.ports = (4444, 4446);
    let mut gateway = gateway_with(settings);
    let out = |host, port, flags| {
        let packet = Ip::new(host, SERVER, 6, tcp(port, 1521, flags, &[], b""));
        if host == HOST { from_host(&packet) } else { from_other(&packet) }
    };
    let back = |port, flags| from_world(&Ip::new(SERVER, LOCAL, 6, tcp(1521, port, flags, &[], b"")));
    let open = |gateway: &mut Gateway, host, port| {
        let external = flow(&sent(gateway, INSIDE, &out(host, port, SYN)).1).1;
        sent(gateway, OUTSIDE, &back(external, SYN | ACK));
        sent(gateway, INSIDE, &out(host, port, ACK));
        external
    };
    let first = open(&mut gateway, HOST, 3000);
    sent(&mut gateway, INSIDE, &out(HOST, 3000, FIN | ACK));
    sent(&mut gateway, OUTSIDE, &back(first, FIN | ACK));
    sent(&mut gateway, INSIDE, &out(HOST, 3000, ACK));
    wait(&mut gateway, 10);
    assert_eq!(open(&mut gateway, OTHER, 3000), 8890 - first, "4444 and 4446 are the even ones");
    wait(&mut gateway, 2);
    let (verdict, frames) = gateway.one(OUTSIDE, &back(first, ACK));
    let reached: Vec<u32> = frames.iter().map(|(_, frame)| word(frame, 16)).collect();
    assert!(!reached.contains(&OTHER), "{verdict:?}");
    // The first session is over 4 minutes after its last packet; its port rests.
    wait(&mut gateway, 245);
    assert!(!matches!(gateway.one(OUTSIDE, &back(first, ACK)).0, Verdict::Forward(_) | Verdict::Reply(..)));
    assert_eq!(open(&mut gateway, OTHER, 3002), 4445, "rather one of the other parity");
    wait(&mut gateway, 121);
    assert_eq!(open(&mut gateway, OTHER, 3004), first);
}

/// RFC 5382 §5, REQ-2 and REQ-4.
#[test]
fn report_7_simultaneous_open() {
    let mut gateway = gateway();
    for (out, flags) in [(true, SYN), (false, SYN), (true, SYN | ACK), (false, SYN | ACK)] {
        assert!(segment(&mut gateway, out, flags).is_some());
    }
    wait(&mut gateway, 1000);
    assert!(segment(&mut gateway, false, ACK).is_some(), "established");
    // And alone, where nothing is mapped: not a word.
    let lone = from_world(&Ip::new(SERVER, LOCAL, 6, tcp(1, 9999, SYN, &[], b"")));
    let (verdict, out) = gateway.one(OUTSIDE, &lone);
    assert!(!matches!(verdict, Verdict::Forward(_) | Verdict::Reply(..)) && out.is_empty(), "{verdict:?}");
    // The host's own SYN for it is carried nevertheless.
    let own = from_host(&Ip::new(HOST, SERVER, 6, tcp(9999, 1, SYN, &[], b"")));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &own).1), (LOCAL, 9999, SERVER, 1));
    assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &lone).1), (SERVER, 1, HOST, 9999));
}

/// The NAT is no end point: it delivers what is outside of a window, and never answers it.
#[test]
fn report_8_a_segment_outside_of_the_window_is_not_answered() {
    let mut gateway = connected();
    let before = gateway.state.counters.dropped();
    let far = numbered(false, ACK, 7_200_000, &[1; 1448]);
    assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &far).1), (SERVER, 80, HOST, 4000));
    wait(&mut gateway, 7400);
    assert_eq!((live(&mut gateway), gateway.state.counters.dropped()), (1, before));
}

/// RFC 4787 §4.1, REQ-1; §5, REQ-8.
#[test]
fn report_9_strangers_do_not_change_a_mapping() {
    let mut gateway = gateway();
    let peer = SERVER_2;
    let first = from_host(&Ip::new(HOST, SERVER, 17, udp(20_002, 3478, b"1")));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &first).1), (LOCAL, 20_002, SERVER, 3478));
    let stranger = from_world(&Ip::new(peer, LOCAL, 17, udp(3478, 20_002, b"2")));
    assert_eq!(dropped(&mut gateway, OUTSIDE, &stranger), Why::Unasked);
    let own = from_host(&Ip::new(HOST, peer, 17, udp(20_002, 3478, b"3")));
    assert_eq!(flow(&sent(&mut gateway, INSIDE, &own).1), (LOCAL, 20_002, peer, 3478));
    assert_eq!(flow(&sent(&mut gateway, OUTSIDE, &stranger).1), (peer, 3478, HOST, 20_002));
}
