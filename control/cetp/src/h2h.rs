//! H2H, host to host: what a session may be. Pure; the engine keeps the state.

use crate::engine::api::Carry;
use crate::limits::CetpLimits;
use crate::message::{Cmp, Message, MessageWriter, Ope, Tlv};
use crate::negotiate::Negotiator;
use crate::policy::{Policy, Requirement, protocol, same_name, smaller};
use crate::tlv::Item;
use crate::value::Value;

/// Longest name, and shortest, in characters.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 1..=255;

/// Our side of an H2H negotiation.
pub(crate) struct H2hSide<'e> {
    pub(crate) policy: &'e Policy,
    /// The local name.
    pub(crate) name: &'e str,
    /// The remote name, that the peer has to call itself.
    pub(crate) peer_name: &'e str,
    /// The number that we ask to be echoed.
    pub(crate) ack: u32,
    /// The one before, while it counts.
    pub(crate) ack_before: Option<u32>,
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// 0: none.
    pub(crate) hard_ttl_s: u32,
    pub(crate) idle_ttl_s: Option<u32>,
    pub(crate) carry: Carry,
    /// Whether the peer told its lifetime, so that both sides end together.
    pub(crate) peer_told_ttl: bool,
}

/// The text of an info that names something: 1 to 255 characters without blanks or control characters.
pub(crate) fn name_of<'m>(message: &'m Message<'_>, item: Item) -> Option<&'m str> {
    let text = message.info(item)?.value.as_ref()?.as_str()?;
    (NAME_LENGTH.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
}

impl H2hSide<'_> {
    /// The first message: the destination, the source, our offers.
    pub(crate) fn write_offers(&self, out: &mut MessageWriter) {
        out.text(Item::ControlDstep, self.peer_name);
        out.text(Item::IdFqdn, self.name);
        for offer in self.policy.offer() {
            if !matches!(offer.item, Item::IdFqdn | Item::ControlDstep | Item::ControlAck) {
                out.raw(&offer.info);
            }
        }
    }

    /// What a message that satisfies us makes of the session, or the info that contradicts our own terms.
    pub(crate) fn terms<'m, 'a>(
        &self,
        message: &'m Message<'a>,
        limits: &CetpLimits,
    ) -> Result<Agreed, &'m Tlv<'a>> {
        let own = self.policy.own();
        let value = |item| message.info(item).and_then(|info| info.value.as_ref());
        let ttl = |item| value(item).and_then(Value::as_u32).filter(|ttl| *ttl > 0);
        let told = ttl(Item::ControlHardTtl);
        let hard = smaller(told, own.hard_ttl_s).unwrap_or(limits.dp_ttl_s).min(limits.dp_ttl_max_s);
        let protocol = agree(own.protocol, message.info(Item::ControlDpProto), protocol)?;
        let port = agree(own.port, message.info(Item::ControlDpPort), |value| {
            value.as_u64().and_then(|port| u16::try_from(port).ok())
        })?;
        let rate = value(Item::ControlDpRatelimit).and_then(Value::as_u64);
        Ok(Agreed {
            hard_ttl_s: hard,
            idle_ttl_s: smaller(ttl(Item::ControlIdleTtl), own.idle_ttl_s),
            carry: Carry { protocol, port, rate_bps: smaller(rate, own.rate_bps) },
            peer_told_ttl: told.is_some(),
        })
    }
}

/// What one side restricts, both hold; two restrictions must be the same.
fn agree<'m, 'a, T: PartialEq>(
    own: Option<T>,
    info: Option<&'m Tlv<'a>>,
    read: impl Fn(&Value<'a>) -> Option<T>,
) -> Result<Option<T>, &'m Tlv<'a>> {
    let Some(info) = info else { return Ok(own) };
    match (own, info.value.as_ref().and_then(read)) {
        (_, None) => Err(info),
        (Some(own), Some(told)) if own != told => Err(info),
        (_, told) => Ok(told),
    }
}

impl Negotiator for H2hSide<'_> {
    fn policy(&self) -> &Policy {
        self.policy
    }

    fn check(&self, requirement: &Requirement, info: &Tlv<'_>) -> bool {
        let value = info.value.as_ref();
        match requirement.item {
            Item::IdFqdn => {
                value.and_then(Value::as_str).is_some_and(|name| same_name(name, self.peer_name))
                    && requirement.accept.matches(requirement.item, value)
            }
            Item::ControlAck => value
                .and_then(Value::as_u32)
                .is_some_and(|number| number == self.ack || Some(number) == self.ack_before),
            item => requirement.accept.matches(item, value),
        }
    }

    fn can_answer(&self, query: &Tlv<'_>) -> bool {
        let Some(item) = query.item() else { return false };
        let Some(offer) = self.policy.find_available(item) else { return false };
        match item {
            Item::ControlAck => query.value.as_ref().and_then(Value::as_u32).is_some(),
            Item::IdFqdn => true,
            _ => offer.value.is_some(),
        }
    }

    fn write_answer(&self, query: &Tlv<'_>, out: &mut MessageWriter) {
        let Some(item) = query.item() else { return };
        match item {
            Item::IdFqdn => out.text(item, self.name),
            Item::ControlAck => {
                if let Some(number) = query.value.as_ref().and_then(Value::as_u32) {
                    out.item(Ope::Info, Cmp::Mandatory, item, Value::Number(number.into()));
                }
            }
            item => {
                if let Some(offer) = self.policy.find_available(item) {
                    out.raw(if query.cmp == Cmp::Optional { &offer.info_optional } else { &offer.info });
                }
            }
        }
    }

    fn write_query(&self, requirement: &Requirement, out: &mut MessageWriter) {
        if requirement.item == Item::ControlAck {
            let cmp = if requirement.optional { Cmp::Optional } else { Cmp::Mandatory };
            out.item(Ope::Query, cmp, Item::ControlAck, Value::Number(self.ack.into()));
        } else {
            out.raw(&requirement.query);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(own: &str, told: &str) -> Result<Agreed, Option<Item>> {
        let policy: Policy = serde_json::from_str(&format!(r#"{{"available":[{own}]}}"#)).unwrap();
        let side = H2hSide { policy: &policy, name: "a.", peer_name: "b.", ack: 1, ack_before: None };
        let json = format!(
            r#"{{"VER":2,"SST":1,"DST":0,"TLV":[{{"ope":"query","group":"id","code":"fqdn"}}{told}]}}"#
        );
        let message = Message::parse(json.as_bytes(), 16).unwrap();
        side.terms(&message, &CetpLimits::default()).map_err(Tlv::item)
    }

    fn info(code: &str, value: &str) -> String {
        format!(r#"{{"ope":"info","group":"control","code":"{code}","value":{value}}}"#)
    }

    #[test]
    fn both_sides_use_the_smaller_lifetime() {
        let hard = |own: &str, told: &str| terms(own, told).unwrap().hard_ttl_s;
        assert_eq!(hard(&info("hard_ttl", "180"), &format!(",{}", info("hard_ttl", "\"120\""))), 120);
        assert_eq!(hard(&info("hard_ttl", "60"), &format!(",{}", info("hard_ttl", "120"))), 60);
        assert_eq!(hard("", &format!(",{}", info("hard_ttl", "0"))), 0, "no lifetime at all is none told");
        assert_eq!(hard("", &format!(",{}", info("hard_ttl", "99999"))), 7200);
        assert_eq!(terms("", &format!(",{}", info("idle_ttl", "30"))).unwrap().idle_ttl_s, Some(30));
    }

    #[test]
    fn restrictions_of_either_side_hold_and_must_agree() {
        let tcp = info("dp_proto", "\"tcp\"");
        let carry = terms(&tcp, &format!(",{},{}", info("dp_port", "443"), info("dp_ratelimit", "8000")))
            .unwrap()
            .carry;
        assert_eq!(carry, Carry { protocol: Some(6), port: Some(443), rate_bps: Some(8000) });
        assert_eq!(terms(&tcp, &format!(",{}", info("dp_proto", "17"))), Err(Some(Item::ControlDpProto)));
        assert_eq!(terms("", &format!(",{}", info("dp_port", "70000"))), Err(Some(Item::ControlDpPort)));
        assert!(terms(&tcp, &format!(",{}", info("dp_proto", "6"))).is_ok());
    }
}
