//! What C2C and H2H have in common: answering queries from what is available, and verifying infos against what is
//! required. Pure functions over one message; who keeps state, and when, is the engine's matter.

use crate::message::{Cmp, Message, MessageWriter, Tlv};
use crate::policy::{Policy, Requirement};

/// One layer's knowledge, as the common part needs it.
pub(crate) trait Negotiator {
    /// The policy that applies.
    fn policy(&self) -> &Policy;
    /// Whether an info that is there meets a requirement.
    fn check(&self, requirement: &Requirement, info: &Tlv<'_>) -> bool;
    /// Whether a query of a known item can be answered with something.
    fn can_answer(&self, query: &Tlv<'_>) -> bool;
    /// Answers a query that can be.
    fn write_answer(&self, query: &Tlv<'_>, out: &mut MessageWriter);
    /// Asks for what is required.
    fn write_query(&self, requirement: &Requirement, out: &mut MessageWriter);
}

/// The first query that ends the negotiation: mandatory, known, and not available. An unknown one is answered
/// notAvailable, and so is an optional one or a candidate.
pub(crate) fn unanswerable<'m, 'a>(side: &impl Negotiator, message: &'m Message<'a>) -> Option<&'m Tlv<'a>> {
    message.queries().find(|query| {
        query.cmp != Cmp::Optional
            && query.item().is_some_and(|item| !item.is_candidate() && !side.can_answer(query))
    })
}

/// Answers all queries.
pub(crate) fn write_answers(side: &impl Negotiator, message: &Message<'_>, out: &mut MessageWriter) {
    for query in message.queries() {
        if query.item().is_some() && side.can_answer(query) {
            side.write_answer(query, out);
        } else {
            out.not_available(&query.name);
        }
    }
}

/// Asks for all that is required.
pub(crate) fn write_queries(side: &impl Negotiator, out: &mut MessageWriter) {
    side.policy().request().iter().for_each(|requirement| side.write_query(requirement, out));
}

/// How far the requirements are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// None is left: each was met, or was optional and failed. A responder asks until this is so.
    pub(crate) all: bool,
    /// No mandatory one is left: enough for an initiator, whose queries were all there to be answered.
    pub(crate) mandatory: bool,
}

/// Verifies the infos: how far the requirements are met, or the info that fails a mandatory one.
pub(crate) fn verify<'m, 'a>(side: &impl Negotiator, message: &'m Message<'a>) -> Result<Met, &'m Tlv<'a>> {
    let requirements = side.policy().request();
    let mut met = 0_u64;
    for info in message.infos() {
        let Some(item) = info.item() else { continue };
        let Some(index) = requirements.iter().position(|requirement| requirement.item == item) else {
            continue;
        };
        let requirement = &requirements[index];
        let good =
            if info.cmp == Cmp::NotAvailable { item.is_candidate() } else { side.check(requirement, info) };
        if !good && !requirement.optional {
            return Err(info);
        }
        met |= 1 << index;
    }
    let mut open = requirements.iter().enumerate().filter(|(index, _)| met & 1 << index == 0).peekable();
    Ok(Met { all: open.peek().is_none(), mandatory: open.all(|(_, requirement)| requirement.optional) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlv::Item;

    struct Plain(Policy);

    impl Negotiator for Plain {
        fn policy(&self) -> &Policy {
            &self.0
        }
        fn check(&self, requirement: &Requirement, info: &Tlv<'_>) -> bool {
            requirement.accept.matches(requirement.item, info.value.as_ref())
        }
        fn can_answer(&self, query: &Tlv<'_>) -> bool {
            query.item().is_some_and(|item| self.0.find_available(item).is_some())
        }
        fn write_answer(&self, query: &Tlv<'_>, out: &mut MessageWriter) {
            if let Some(offer) = query.item().and_then(|item| self.0.find_available(item)) {
                out.raw(&offer.info);
            }
        }
        fn write_query(&self, requirement: &Requirement, out: &mut MessageWriter) {
            out.raw(&requirement.query);
        }
    }

    fn side(policy: &str) -> Plain {
        Plain(serde_json::from_str(policy).unwrap())
    }

    fn verified(side: &Plain, tlvs: &str) -> Result<Met, Option<Item>> {
        let json = format!(r#"{{"VER":2,"SST":1,"DST":0,"TLV":[{tlvs}]}}"#);
        let message = Message::parse(json.as_bytes(), 8).unwrap();
        verify(side, &message).map_err(Tlv::item)
    }

    #[test]
    fn requirements_are_met_as_the_page_says() {
        let side = side(
            r#"{"request":[{"group":"ces","code":"fw_version","value":"1"},
                {"group":"ces","code":"comment","cmp":"optional","value":"x"},
            {"group":"rloc","code":"ipv6"}]}"#,
        );
        let version = r#"{"ope":"info","group":"ces","code":"fw_version","value":"1"}"#;
        let none = r#"{"ope":"info","cmp":"notAvailable","group":"rloc","code":"ipv6"}"#;
        let met = |all, mandatory| Ok(Met { all, mandatory });
        assert_eq!(verified(&side, version), met(false, false), "the locator is still open");
        assert_eq!(
            verified(&side, &format!("{version},{none}")),
            met(false, true),
            "no locator is an answer"
        );
        let wrong = r#"{"ope":"info","group":"ces","code":"comment","value":"y"}"#;
        assert_eq!(
            verified(&side, &format!("{version},{none},{wrong}")),
            met(true, true),
            "an optional one may fail"
        );
        let absent = r#"{"ope":"info","cmp":"notAvailable","group":"ces","code":"fw_version"}"#;
        assert_eq!(verified(&side, absent), Err(Some(Item::CesFwVersion)));
    }

    #[test]
    fn queries_are_answered_or_end_it() {
        let side = side(r#"{"available":[{"group":"ces","code":"caces","value":"192.0.2.1"}]}"#);
        let json = r#"{"VER":2,"SST":1,"DST":0,"TLV":[{"ope":"query","group":"ces","code":"caces"},
            {"ope":"query","group":"rloc","code":"eth"},{"ope":"query","group":"ces","code":"ttl","cmp":"optional"},
            {"ope":"query","group":"moon","code":"phase"}]}"#;
        let message = Message::parse(json.as_bytes(), 8).unwrap();
        assert_eq!(unanswerable(&side, &message), None);
        let mut out = MessageWriter::new(0, 1);
        write_answers(&side, &message, &mut out);
        let frame = out.finish().unwrap();
        let answer = Message::parse(&frame[2..], 8).unwrap();
        let cmps: Vec<_> = answer.tlvs.iter().map(|tlv| tlv.cmp).collect();
        assert_eq!(cmps, [Cmp::Mandatory, Cmp::NotAvailable, Cmp::NotAvailable, Cmp::NotAvailable]);
        let json = r#"{"VER":2,"SST":1,"DST":0,"TLV":[{"ope":"query","group":"ces","code":"ttl"}]}"#;
        let message = Message::parse(json.as_bytes(), 8).unwrap();
        assert_eq!(unanswerable(&side, &message).and_then(Tlv::item), Some(Item::CesTtl));
    }
}
