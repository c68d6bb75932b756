//! What upstream said is remembered for as long as it says, and no longer; and the cache stays within its bounds.

#[allow(dead_code, reason = "each test file uses its part")]
mod lab;

use ces_dns::outcome::QueryOutcome;
use ces_dns::{MILLISECOND, ResponseCode, SECOND};
use hickory_proto::op::Message;
use lab::{Lab, address, code, name, nothing, query, question, settings, with_ttl};

#[test]
fn an_answer_is_cached_for_its_ttl_and_ages() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    let sent = lab.sent();
    lab.answer(&sent, address);
    lab.done().unwrap();
    lab.now += 59 * SECOND + 999 * MILLISECOND;
    lab.ask("Www.B.demo", 2);
    let (_, resolution) = lab.resolver.poll_done().unwrap();
    assert_eq!(resolution.outcome(), QueryOutcome::Cached);
    let reply = Message::from_vec(&resolution.reply(&query("Www.B.demo"), lab.now)).unwrap();
    assert_eq!(reply.answers[0].ttl, 1);
    assert!(reply.queries[0].name().eq_case(&name("Www.B.demo")));
    assert!(lab.resolver.cached(&question("www.b.demo"), lab.now).is_some());
    lab.now += MILLISECOND;
    assert!(lab.resolver.cached(&question("www.b.demo"), lab.now).is_none());
    lab.ask("www.b.demo", 3);
    lab.sent();
}

#[test]
fn what_does_not_exist_is_cached_as_long_as_the_soa_says() {
    let mut lab = Lab::new(settings(1));
    lab.ask("no.b.demo", 1);
    let sent = lab.sent();
    lab.answer(&sent, nothing);
    lab.done().unwrap();
    lab.now += 19 * SECOND;
    lab.ask("no.b.demo", 2);
    assert_eq!(lab.done(), Some((2, "nx_domain")));
    lab.now += SECOND;
    lab.ask("no.b.demo", 3);
    assert_eq!(lab.done(), None);
}

#[test]
fn rfc_9520_a_failure_is_remembered_for_a_second() {
    let mut lab = Lab::new(settings(1));
    lab.ask("www.b.demo", 1);
    let sent = lab.sent();
    lab.answer(&sent, code(ResponseCode::ServFail));
    assert_eq!(lab.done(), Some((1, "serv_fail")));
    lab.ask("www.b.demo", 2);
    assert_eq!(lab.done(), Some((2, "serv_fail")));
    assert_eq!(lab.resolver.poll_transmit(), None);
    lab.now += SECOND;
    lab.ask("www.b.demo", 3);
    lab.sent();
}

#[test]
fn a_ttl_of_zero_is_not_cached() {
    let mut lab = Lab::new(settings(1));
    for token in 0..3 {
        lab.ask("www.b.demo", token);
        let sent = lab.sent();
        lab.answer(&sent, |m| with_ttl(m, 0));
        assert_eq!(lab.done(), Some((token, "answer")));
    }
    assert_eq!(lab.resolver.cache_usage().entries, 0);
}

#[test]
fn the_cache_stays_within_entries_and_octets() {
    for (entries, bytes) in [(10, 1 << 20), (1_000, 8_000), (0, 1 << 20), (10, 0)] {
        let mut settings = settings(1);
        (settings.cache.entries, settings.cache.bytes) = (entries, bytes);
        let mut lab = Lab::new(settings);
        for n in 0..200 {
            // One name is asked for all the time: it stays.
            if n > 0 {
                lab.ask("hot.b.demo", 1_000);
                if let Some(sent) = lab.resolver.poll_transmit() {
                    lab.answer(&sent, address);
                }
                lab.done().unwrap();
            }
            lab.ask(&format!("n{n}.b.demo"), n);
            let sent = lab.sent();
            lab.answer(&sent, address);
            lab.done().unwrap();
            let usage = lab.resolver.cache_usage();
            assert!(usage.entries <= entries as usize && usage.bytes <= bytes, "{usage:?}");
        }
        if entries > 0 && bytes > 0 {
            let usage = lab.resolver.cache_usage();
            assert!(usage.entries > 5 && usage.evicted > 100, "{usage:?}");
            assert!(lab.resolver.cached(&question("hot.b.demo"), lab.now).is_some(), "second chance");
        }
        lab.resolver.clear_cache();
        assert_eq!((lab.resolver.cache_usage().entries, lab.resolver.cache_usage().bytes), (0, 0));
    }
}
