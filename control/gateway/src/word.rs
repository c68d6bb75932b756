//! A peer's word for the name of its host is looked up: the CES records of the name say whose it is.

use crate::Nanos;
use crate::asking::{ALIASES, ClaimAsked, Waiting, left_ms};
use crate::claims::ClaimWord;
use crate::core::Core;
use crate::names::Name;
use crate::network;
use ces_cetp::Engine;
use ces_dns::RecordType;
use ces_dns::naptr::{self, Defaults};
use ces_dns::question::Question;
use ces_dns::resolver::{Received, Resolution, Resolver};
use std::sync::Arc;

/// How long an answer is waited for, in milliseconds: who asked waits for 2 s (cetp.md), and the answer has to reach him.
const PATIENCE_MS: u32 = 1_500;

/// The engine wants to know what a word is worth.
pub(crate) fn look_up(
    core: &mut Core,
    engine: &mut Engine,
    (waiting, resolver): (&mut Waiting, &mut Resolver),
    (ces_id, name): (Arc<str>, Arc<str>),
    now: Nanos,
) {
    if core.claims_mut().is_asked(&ces_id, &name) {
        return;
    }
    let question = ces_dns::name(&name).map(|name| Question::new(name, RecordType::NAPTR));
    match question.filter(|_| core.claims_mut().ask(&ces_id, &name, now)) {
        Some(question) => {
            core.counters_mut().claims_looked_up += 1;
            let id = waiting.claim(ces_id, name, now);
            resolver.query(question, PATIENCE_MS, id, now);
        }
        None => settle(core, engine, (&ces_id, &name), ClaimWord::Unheard, now),
    }
}

/// What a look-up has told.
pub(crate) fn looked_up(
    core: &mut Core,
    engine: &mut Engine,
    (waiting, resolver): (&mut Waiting, &mut Resolver),
    (pending, resolution): (u64, &Resolution),
    now: Nanos,
) {
    let Some(mut claim) = waiting.claimed(pending) else { return };
    if let Resolution::NoData(received) = resolution
        && let Some(question) = loose_end(&mut claim, received)
    {
        let patience_ms = left_ms(PATIENCE_MS, claim.since, now);
        waiting.claim_on(pending, claim);
        return resolver.query(question, patience_ms, pending, now);
    }
    let (ces_id, name) = (&claim.ces_id, &claim.name);
    let word = match resolution {
        Resolution::Answer(received) => {
            let defaults = Defaults { port: network::DEFAULT_PORT, proto: naptr::Proto::Tls };
            let services = naptr::discover(&received.packet.answers(), defaults).services;
            let mut owners = services.iter().filter_map(|service| Name::parse(&service.ces_id).ok());
            if owners.any(|owner| *owner.as_str() == **ces_id) { ClaimWord::True } else { ClaimWord::False }
        }
        Resolution::NoData(_) | Resolution::NxDomain(_) => ClaimWord::False,
        Resolution::ServFail | Resolution::Refused | Resolution::Timeout => ClaimWord::Unheard,
    };
    settle(core, engine, (ces_id, name), word, now);
}

/// RFC 1034 §3.6.2, §5.3.3: of a name that is told to stand for another one, and nothing more, that other one's records count.
fn loose_end(claim: &mut ClaimAsked, received: &Received) -> Option<Question> {
    let end = received.packet.loose_end()?;
    let name = Arc::<str>::from(ces_dns::fqdn(&end));
    let is_new = name != claim.name && !claim.ends.contains(&name) && claim.ends.len() < ALIASES;
    is_new.then(|| {
        claim.ends.push(name);
        Question::new(end, RecordType::NAPTR)
    })
}

fn settle(
    core: &mut Core,
    engine: &mut Engine,
    (ces_id, name): (&Arc<str>, &Arc<str>),
    word: ClaimWord,
    now: Nanos,
) {
    core.claims_mut().learn(ces_id, name, word, now);
    engine.claim_settled(&mut core.at(now), ces_id, name, now);
}
