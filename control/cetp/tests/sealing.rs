//! Encryption of tunnels as two engines agree on it.

mod lab;

use ces_cetp::engine::*;
use ces_cetp::seal::{Cipher, EPOCH, Encryption, PeerKeys, TunnelSecret};
use lab::{Lab, S, names, result};

fn finish(lab: &Lab) {
    lab.check_ledger();
    lab.assert_mirrored(0, 1);
}

/// Two gateways that would encrypt so.
fn encrypting(a: Encryption, b: Encryption) -> Lab {
    let mut lab = Lab::new();
    for (ces_id, address, encryption) in [("gwa.demo.", "192.0.2.1", a), ("gwb.demo.", "192.0.2.2", b)] {
        let mut settings = lab::settings(ces_id, address);
        settings.sealing =
            SealingSettings { encryption, has_aes: true, workers: 2, ..SealingSettings::default() };
        lab.add(settings, lab::host_policies(ces_id, 2, &[]));
    }
    lab
}

fn keys(lab: &Lab, node: usize) -> PeerKeys {
    let told = lab.nodes[node].log.iter().rev().find_map(|output| match output {
        CetpOutput::Keys { keys, .. } => keys.as_deref().cloned(),
        _ => None,
    });
    told.expect("keys were told")
}

/// Whether what each of them sends is opened by the other.
fn understand(lab: &Lab) -> bool {
    let (a, b) = (keys(lab, 0), keys(lab, 1));
    let opens = |to: &PeerKeys, from: &PeerKeys| {
        let (spi, secret) = from.outbound.clone().unwrap();
        spi & !EPOCH == to.id
            && to.inbound[usize::from(spi & EPOCH != 0)] == Some(secret)
            && from.cipher == to.cipher
    };
    opens(&a, &b) && opens(&b, &a)
}

#[test]
fn tunnels_are_encrypted_where_both_can_whoever_begins() {
    for from in [0, 1] {
        let mut lab = encrypting(Encryption::Preferred, Encryption::Required);
        lab.ask(from, 0, 1 - from, 0);
        lab.run_for(S);
        assert!(result(&lab, from, 0, 1 - from, 0).unwrap().is_ok());
        assert!(understand(&lab));
        for node in [0, 1] {
            assert!(lab.nodes[node].owner.up.values().all(|session| session.tunnel.sealed));
            let peer = &lab.nodes[node].engine.peers(lab.now)[0];
            assert_eq!(peer.encryption.map(|shown| shown.cipher), Some(Cipher::Aes256Gcm));
            assert_eq!(keys(&lab, node).workers, 2);
        }
        let session = |node: usize| lab.nodes[node].owner.up.values().next().unwrap().tunnel.clone();
        assert_eq!((session(0).id_in, session(0).id_out), (session(1).id_out, session(1).id_in));
        finish(&lab);
    }
}

#[test]
fn without_aes_in_one_of_them_it_is_chacha20() {
    let mut lab = encrypting(Encryption::Preferred, Encryption::Preferred);
    let mut other = lab.nodes[1].settings.clone();
    other.sealing.has_aes = false;
    lab.nodes[1].engine.configure(other).unwrap();
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert!(understand(&lab) && keys(&lab, 0).cipher == Cipher::ChaCha20Poly1305);
}

#[test]
fn one_side_that_does_not_encrypt_is_spoken_to_in_clear_or_not_at_all() {
    use Encryption::{Off, Preferred, Required};
    for (a, b, is_agreed) in [
        (Preferred, Off, true),
        (Off, Preferred, true),
        (Off, Off, true),
        (Required, Off, false),
        (Off, Required, false),
    ] {
        for from in [0, 1] {
            let mut lab = encrypting(a, b);
            lab.ask(from, 0, 1 - from, 0);
            lab.run_for(S);
            let done = result(&lab, from, 0, 1 - from, 0).unwrap();
            assert_eq!(done.is_ok(), is_agreed, "{a:?} {b:?} {from}: {done:?}");
            for node in [0, 1] {
                assert!(lab.nodes[node].owner.up.values().all(|session| !session.tunnel.sealed));
                let counters = lab.nodes[node].engine.counters();
                let failed = |outcomes: &Outcomes| outcomes.failed[Failure::Unencrypted as usize];
                let is_strict = [a, b][node] == Required;
                let count = failed(&counters.c2c_initiated) + failed(&counters.c2c_received);
                assert_eq!(count > 0, is_strict, "who requires it counts it");
                assert!(lab.nodes[node].engine.blocks(lab.now).is_empty(), "and blames nobody");
            }
            finish(&lab);
        }
    }
}

#[test]
fn a_peer_may_be_said_to_be_another_case() {
    let mut lab = encrypting(Encryption::Required, Encryption::Off);
    let mut settings = lab.nodes[0].settings.clone();
    settings.sealing.peers = vec![("GWB.demo".into(), Encryption::Off)];
    lab.nodes[0].engine.configure(settings).unwrap();
    lab.ask(0, 0, 1, 0);
    lab.run_for(S);
    assert!(result(&lab, 0, 0, 1, 0).unwrap().is_ok());
}

#[test]
fn who_proves_nothing_is_told_no_key() {
    for (encryption, is_agreed) in [(Encryption::Preferred, true), (Encryption::Required, false)] {
        let mut lab = encrypting(encryption, encryption);
        let (source, destination) = names(&lab, 0, 0, 1, 0);
        let request = lab.request(0, &source, 1, &destination, 1);
        let request = H2hRequest { endpoints: lab.endpoints(1, 1, Proto::Tcp), ..request };
        for node in [0, 1] {
            let mut settings = lab.nodes[node].settings.clone();
            settings.believe_unauthenticated = true;
            lab.nodes[node].engine.configure(settings).unwrap();
        }
        lab.negotiate(0, request);
        lab.run_for(S);
        assert_eq!(result(&lab, 0, 0, 1, 0).unwrap().is_ok(), is_agreed, "{encryption:?}");
        let is_keys = |output: &CetpOutput| matches!(output, CetpOutput::Keys { .. });
        assert!(!lab.nodes.iter().any(|node| node.log.iter().any(is_keys)));
    }
}

#[test]
fn keys_change_in_time_and_sessions_keep_their_tunnel() {
    let mut lab = encrypting(Encryption::Preferred, Encryption::Preferred);
    for node in [0, 1] {
        let mut settings = lab.nodes[node].settings.clone();
        settings.limits.rekey_s = 60;
        lab.nodes[node].engine.configure(settings).unwrap();
    }
    lab.ask(0, 0, 1, 0);
    lab.run_for(10 * S);
    let (first, tunnel) = (keys(&lab, 0), lab.nodes[0].owner.up.values().next().unwrap().tunnel.clone());
    for minute in 1..6 {
        let before = keys(&lab, 0);
        lab.run_for(60 * S);
        let now = keys(&lab, 0);
        assert!(understand(&lab), "minute {minute}");
        assert_ne!((&now.outbound, now.epoch), (&before.outbound, before.epoch), "minute {minute}");
        assert_eq!(now.id, first.id);
        // Its lifetime is two minutes.
        assert!(lab.nodes[0].owner.up.values().all(|session| session.tunnel == tunnel));
    }
    // At once, when a worker says that it is time.
    let before = keys(&lab, 0);
    lab.run_for(10 * S);
    let slot = (before.id % 4096) as u16;
    let now = lab.now;
    assert!(lab.with(0, |engine, owner| engine.rekey(owner, slot, now)));
    lab.run_for(S);
    assert!(understand(&lab) && keys(&lab, 0).outbound != before.outbound);
    assert!(!lab.with(0, |engine, owner| engine.rekey(owner, slot ^ 1, now)), "there is none");
    finish(&lab);
}

/// Two that encrypt and ask each other at once, with what the network makes of it: delays by the digits of a case.
fn asking_at_once(case: usize) -> Lab {
    const DELAYS: [Nanos; 3] = [S / 1_000, S / 33, 2 * S / 5];
    let mut lab = encrypting(Encryption::Required, Encryption::Required);
    let mut left = case;
    lab.delays = Some(Box::new(move || {
        let delay = DELAYS[left % DELAYS.len()];
        left /= DELAYS.len();
        delay
    }));
    for from in [0, 1] {
        lab.ask(from, 0, 1 - from, 0);
    }
    lab
}

/// The host of either has a session with the other's, or gets one.
fn both_reach_each_other(lab: &mut Lab, told: &str) {
    for from in [0, 1] {
        if let Negotiating::Pending(_) = lab.ask(from, 0, 1 - from, 0) {
            lab.run_for(3 * S);
            let done = result(lab, from, 0, 1 - from, 0);
            assert!(done.is_some_and(|done| done.is_ok()), "{told}: {from}: {done:?}");
        }
    }
    assert!(understand(lab), "{told}");
}

#[test]
fn c7_keys_that_both_tell_at_once_are_understood_in_every_order() {
    // Of the first eight things that set out, and spread over all.
    let spread = (0..3usize.pow(7)).map(|case| case.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for case in (0..3usize.pow(8)).chain(spread) {
        let mut lab = asking_at_once(case);
        lab.run_for(6 * S);
        both_reach_each_other(&mut lab, &format!("case {case}"));
    }
}

/// What a node has sent under, by what it was told from there on in its log.
fn sent_under(lab: &Lab, node: usize, from: usize) -> Vec<TunnelSecret> {
    let outbound = |output: &CetpOutput| match output {
        CetpOutput::Keys { keys: Some(keys), .. } => keys.outbound.as_ref().map(|(_, secret)| secret.clone()),
        _ => None,
    };
    lab.nodes[node].log.iter().skip(from).filter_map(outbound).collect()
}

/// A process that has forgotten all counts anew: it may send under nothing that the one before it sent under, whenever that ended
/// and whoever finds out first.
#[test]
fn r1_who_has_forgotten_all_sends_under_no_key_of_before() {
    for (crash, after) in [Lab::restart as fn(&mut Lab, usize), Lab::forget]
        .into_iter()
        .flat_map(|crash| [5, 40, 90, 450, 900, 1500, 4000].map(|ms| (crash, ms * S / 1_000)))
    {
        for case in 0..3usize.pow(5) {
            let mut lab = asking_at_once(case.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            lab.run_for(after);
            let told = format!("case {case}, after {after} ns");
            let begun = lab.nodes[1].log.len();
            let before = sent_under(&lab, 1, 0);
            // Its kernel answers with resets meanwhile, or nobody does.
            crash(&mut lab, 1);
            lab.nodes[1].refuses = true;
            lab.run_for(S);
            lab.nodes[1].refuses = false;
            lab.run_for(6 * S);
            for _ in 0..3 {
                for from in [0, 1] {
                    lab.ask(from, 0, 1 - from, 0);
                }
                lab.run_for(6 * S);
            }
            let again = sent_under(&lab, 1, begun);
            assert!(again.iter().all(|secret| !before.contains(secret)), "{told}");
            both_reach_each_other(&mut lab, &told);
        }
    }
}
