//! A peer's word for the name of its host is looked up: the CES records of the name say whose it is.

use crate::Nanos;
use crate::asking::Waiting;
use crate::claims::ClaimWord;
use crate::core::Core;
use crate::names::Name;
use crate::network;
use ces_cetp::Engine;
use ces_dns::RecordType;
use ces_dns::naptr::{self, Defaults};
use ces_dns::question::Question;
use ces_dns::resolver::{Resolution, Resolver};
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
            let id = waiting.claim(ces_id, name);
            resolver.query(question, PATIENCE_MS, id, now);
        }
        None => settle(core, engine, (&ces_id, &name), ClaimWord::Unheard, now),
    }
}

/// What a look-up has told.
pub(crate) fn looked_up(
    core: &mut Core,
    engine: &mut Engine,
    (ces_id, name): (&Arc<str>, &Arc<str>),
    resolution: &Resolution,
    now: Nanos,
) {
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
