//! Public reports about the NATs of others, with the outcome that is right.

use super::*;
use ces_dataplane::frame::{Frame as _, MemoryFrame};
use ces_dataplane::nat::Filtering;
use ces_dataplane::path::process_arrival;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::verdict::{Arrival, Attempt};

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

/// A gateway that tells who asks for nobody.
fn telling() -> Gateway {
    let mut settings = nat_settings();
    settings.nat.tell_unasked = true;
    gateway_with(settings)
}

/// What becomes of a SYN that nobody asked for when its six seconds are over.
fn at_last(gateway: &mut Gateway, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let (mut frames, mut verdicts) = ([MemoryFrame::new(frame)], [Verdict::Absorb]);
    let arrival = Arrival { attempt: Attempt::Unasked, ..Arrival::at(OUTSIDE, gateway.now) };
    process_arrival(&mut gateway.state, arrival, &mut frames, &mut verdicts, &mut gateway.wire);
    (verdicts[0], frames[0].data().to_vec())
}

/// RFC 5382 §4.3, REQ-4: kept in silence, then its sender is told, unless the host has opened the connection meanwhile.
#[test]
fn report_7_a_syn_that_nobody_asked_for() {
    let mut gateway = telling();
    let lone = |port| from_world(&Ip::new(SERVER, LOCAL, 6, tcp(1, port, SYN, &[], b"")));
    for port in [9999, 9998] {
        let (verdict, out) = gateway.one(OUTSIDE, &lone(port));
        assert!(matches!(verdict, Verdict::HoldUnasked(_)) && out.is_empty(), "{verdict:?}");
    }
    assert_eq!(gateway.state.counters.dropped(), 0, "not yet");
    let (verdict, answer) = at_last(&mut gateway, &lone(9999));
    assert!(matches!(verdict, Verdict::Reply(_, Why::Unasked)), "{verdict:?}");
    assert_sound(&answer);
    assert_eq!((word(&answer, 12), word(&answer, 16), answer[34], answer[35]), (LOCAL, SERVER, 3, 3));
    let own = from_host(&Ip::new(HOST, SERVER, 6, tcp(9998, 1, SYN, &[], b"")));
    sent(&mut gateway, INSIDE, &own);
    assert_eq!(at_last(&mut gateway, &lone(9998)).0, Verdict::Drop(Why::Unasked));
    // Nothing else is kept: what is no SYN, no TCP, or for nobody's address.
    for packet in [
        Ip::new(SERVER, LOCAL, 6, tcp(1, 9999, ACK, &[], b"")),
        Ip::new(SERVER, LOCAL, 6, tcp(1, 9999, SYN | ACK, &[], b"")),
        Ip::new(SERVER, LOCAL, 17, udp(1, 9999, b"")),
        Ip::new(SERVER, LOCAL + 7, 6, tcp(1, 9999, SYN, &[], b"")),
    ] {
        let (verdict, out) = gateway.one(OUTSIDE, &from_world(&packet));
        assert!(matches!(verdict, Verdict::Drop(_) | Verdict::Punt(_)) && out.is_empty(), "{verdict:?}");
    }
    // Not even where the host has got the port for something else since, and anybody may send there.
    let mut settings = nat_settings();
    (settings.nat.filtering, settings.nat.tell_unasked) = (Filtering::EndpointIndependent, true);
    let mut gateway = gateway_with(settings);
    sent(&mut gateway, INSIDE, &from_host(&Ip::new(HOST, SERVER_2, 6, tcp(9997, 1, SYN, &[], b""))));
    assert!(matches!(at_last(&mut gateway, &lone(9997)).0, Verdict::Reply(_, Why::Unasked)));
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
