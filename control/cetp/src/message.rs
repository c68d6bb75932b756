//! Messages: parsed once into what cannot be wrong, and written without an intermediate tree.

use crate::frame::{self, FrameError};
use crate::tlv::{Item, Layer, TlvName};
use crate::value::Value;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::borrow::Cow;
use std::io::Write as _;

/// The protocol's version.
pub const VERSION: u64 = 2;

/// TLVs beyond this number are not even read; the owner's limit is far below.
const TLVS_READ: usize = 1_024;

/// What a TLV does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ope {
    /// Asks.
    Query,
    /// Tells.
    Info,
}

/// How a TLV may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Cmp {
    /// Absent on the wire.
    #[default]
    #[serde(rename = "mandatory")]
    Mandatory,
    /// The sender can do without.
    #[serde(rename = "optional")]
    Optional,
    /// "I have none".
    #[serde(rename = "notAvailable")]
    NotAvailable,
}

/// One TLV.
#[derive(Clone, Debug, PartialEq)]
pub struct Tlv<'a> {
    /// What it does.
    pub ope: Ope,
    /// How it may be taken.
    pub cmp: Cmp,
    /// Group and code.
    pub name: TlvName<'a>,
    /// Its value.
    pub value: Option<Value<'a>>,
}

impl Tlv<'_> {
    /// The item, if it is known.
    pub const fn item(&self) -> Option<Item> {
        self.name.item()
    }

    /// Appends it as JSON.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.ope {
            Ope::Query => b"{\"ope\":\"query\"",
            Ope::Info => b"{\"ope\":\"info\"",
        });
        out.extend_from_slice(match self.cmp {
            Cmp::Mandatory => b"",
            Cmp::Optional => b",\"cmp\":\"optional\"",
            Cmp::NotAvailable => b",\"cmp\":\"notAvailable\"",
        });
        out.extend_from_slice(b",\"group\":");
        write_text(out, self.name.group());
        out.extend_from_slice(b",\"code\":");
        write_text(out, self.name.code());
        if let Some(value) = &self.value {
            out.extend_from_slice(b",\"value\":");
            value.write_json(out);
        }
        out.push(b'}');
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The sender's session tag; 0 if it keeps no state.
    pub sst: u32,
    /// The receiver's session tag; 0 if the sender does not know it.
    pub dst: u32,
    /// What it says.
    pub tlvs: Vec<Tlv<'a>>,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or not of this shape.
    #[error("not a CETP message: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version.
    #[error("VER is not 2")]
    Version,
    /// A tag that is not a number of 32 bits.
    #[error("{0} is not a number of 32 bits")]
    Tag(&'static str),
    /// Both tags are 0.
    #[error("SST and DST are both 0")]
    NoTags,
    /// More TLVs than allowed.
    #[error("{0} TLVs are too many")]
    TooManyTlvs(usize),
    /// No TLV at all.
    #[error("no TLV")]
    Empty,
    /// A TLV stands there twice that may only stand there once.
    #[error("{0} stands there twice")]
    Twice(Item),
}

#[derive(serde::Deserialize)]
struct RawTlv<'a> {
    ope: Ope,
    #[serde(default)]
    cmp: Option<Cmp>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<Value<'a>>,
}

impl<'a> From<RawTlv<'a>> for Tlv<'a> {
    fn from(raw: RawTlv<'a>) -> Self {
        let name = match Item::parse(&raw.group, &raw.code) {
            Some(item) => TlvName::Known(item),
            None => TlvName::Unknown { group: raw.group, code: raw.code },
        };
        Self { ope: raw.ope, cmp: raw.cmp.unwrap_or_default(), name, value: raw.value }
    }
}

#[derive(serde::Deserialize)]
struct RawMessage<'a> {
    #[serde(rename = "VER", borrow)]
    ver: Value<'a>,
    #[serde(rename = "SST", borrow)]
    sst: Value<'a>,
    #[serde(rename = "DST", borrow)]
    dst: Value<'a>,
    #[serde(rename = "TLV", borrow)]
    tlv: TlvList<'a>,
}

struct TlvList<'a>(Vec<Tlv<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for TlvList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = TlvList<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of TLVs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut tlvs = Vec::with_capacity(16);
                while let Some(raw) = seq.next_element::<RawTlv<'de>>()? {
                    if tlvs.len() == TLVS_READ {
                        return Err(serde::de::Error::custom("too many TLVs"));
                    }
                    tlvs.push(raw.into());
                }
                Ok(TlvList(tlvs))
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

impl<'a> Message<'a> {
    /// Parses a frame's payload. Numbers may be decimal strings; keys come in any order; unknown keys are ignored.
    pub fn parse(payload: &'a [u8], max_tlvs: usize) -> Result<Self, MessageError> {
        let raw: RawMessage<'a> = serde_json::from_slice(payload)?;
        if raw.ver.as_u64() != Some(VERSION) {
            return Err(MessageError::Version);
        }
        // The reference can draw 2^32 as a tag, which is none: refused like any other absurd one.
        let message = Self {
            sst: raw.sst.as_u32().ok_or(MessageError::Tag("SST"))?,
            dst: raw.dst.as_u32().ok_or(MessageError::Tag("DST"))?,
            tlvs: raw.tlv.0,
        };
        if message.sst == 0 && message.dst == 0 {
            return Err(MessageError::NoTags);
        }
        if message.tlvs.is_empty() {
            return Err(MessageError::Empty);
        }
        if message.tlvs.len() > max_tlvs {
            return Err(MessageError::TooManyTlvs(message.tlvs.len()));
        }
        message.refuse_repetitions()?;
        Ok(message)
    }

    /// A TLV that may stand once must not stand twice, or two checks could look at two different ones.
    fn refuse_repetitions(&self) -> Result<(), MessageError> {
        let mut seen = [0_u64; 2];
        for tlv in &self.tlvs {
            let Some(item) = tlv.item() else { continue };
            if item.is_candidate() && tlv.ope == Ope::Info {
                continue;
            }
            let bit = 1_u64 << item as u8;
            let seen = &mut seen[tlv.ope as usize];
            if *seen & bit != 0 {
                return Err(MessageError::Twice(item));
            }
            *seen |= bit;
        }
        Ok(())
    }

    /// Which negotiation it belongs to: that of its first TLV of a known group.
    pub fn layer(&self) -> Option<Layer> {
        self.tlvs.iter().find_map(|tlv| tlv.name.layer())
    }

    /// The queries.
    pub fn queries(&self) -> impl Iterator<Item = &Tlv<'a>> {
        self.tlvs.iter().filter(|tlv| tlv.ope == Ope::Query)
    }

    /// The infos.
    pub fn infos(&self) -> impl Iterator<Item = &Tlv<'a>> {
        self.tlvs.iter().filter(|tlv| tlv.ope == Ope::Info)
    }

    /// The info of an item that is there, with a value or without.
    pub fn info(&self, item: Item) -> Option<&Tlv<'a>> {
        self.infos().find(|tlv| tlv.item() == Some(item) && tlv.cmp != Cmp::NotAvailable)
    }

    /// The query of an item.
    pub fn query(&self, item: Item) -> Option<&Tlv<'a>> {
        self.queries().find(|tlv| tlv.item() == Some(item))
    }

    /// Writes it as a frame.
    pub fn emit(&self) -> Result<Vec<u8>, FrameError> {
        let mut writer = MessageWriter::new(self.sst, self.dst);
        self.tlvs.iter().for_each(|tlv| writer.tlv(tlv));
        writer.finish()
    }
}

// The set of items seen is one word.
const _: () = assert!(Item::ALL.len() <= 64);

/// Appends text as a JSON string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let written = serde_json::to_writer(&mut *out, text);
        debug_assert!(written.is_ok());
    }
}

/// Writes one message as a frame, TLV by TLV.
#[derive(Debug)]
pub(crate) struct MessageWriter {
    out: Vec<u8>,
    first: bool,
}

impl MessageWriter {
    /// Begins a message.
    pub(crate) fn new(sst: u32, dst: u32) -> Self {
        let mut out = Vec::with_capacity(768);
        out.extend_from_slice(&[0; frame::HEADER]);
        // Writing into memory cannot fail.
        let _ = write!(out, "{{\"VER\":{VERSION},\"SST\":{sst},\"DST\":{dst},\"TLV\":[");
        Self { out, first: true }
    }

    fn separate(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// Appends TLVs rendered before; empty text is nothing.
    pub(crate) fn raw(&mut self, rendered: &str) {
        if !rendered.is_empty() {
            self.separate();
            self.out.extend_from_slice(rendered.as_bytes());
        }
    }

    /// Appends a TLV.
    pub(crate) fn tlv(&mut self, tlv: &Tlv<'_>) {
        self.separate();
        tlv.write_json(&mut self.out);
    }

    /// Appends a TLV of a known item with a value.
    pub(crate) fn item(&mut self, ope: Ope, cmp: Cmp, item: Item, value: Value<'_>) {
        self.tlv(&Tlv { ope, cmp, name: TlvName::Known(item), value: Some(value) });
    }

    /// Appends an info with a text.
    pub(crate) fn text(&mut self, item: Item, text: &str) {
        self.item(Ope::Info, Cmp::Mandatory, item, Value::Text(Cow::Borrowed(text)));
    }

    /// Answers a query with "I have none".
    pub(crate) fn not_available(&mut self, name: &TlvName<'_>) {
        self.tlv(&Tlv { ope: Ope::Info, cmp: Cmp::NotAvailable, name: name.clone(), value: None });
    }

    /// Appends a `terminate` of that layer, with the offending TLV as its value, or an empty one.
    pub(crate) fn terminate(&mut self, layer: Layer, offending: Option<&Tlv<'_>>) {
        self.separate();
        let item = match layer {
            Layer::C2c => Item::CesTerminate,
            Layer::H2h => Item::ControlTerminate,
        };
        let _ = write!(
            self.out,
            "{{\"ope\":\"info\",\"group\":\"{}\",\"code\":\"{}\",\"value\":",
            item.group(),
            item.code()
        );
        match offending {
            Some(tlv) => tlv.write_json(&mut self.out),
            None => self.out.extend_from_slice(b"\"\""),
        }
        self.out.push(b'}');
    }

    /// Ends the message; an error if it does not fit a frame.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, FrameError> {
        self.out.extend_from_slice(b"]}");
        let payload = self.out.len() - frame::HEADER;
        let length = u16::try_from(payload).map_err(|_| FrameError::TooLong(payload))?;
        self.out[..frame::HEADER].copy_from_slice(&length.to_be_bytes());
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = r#"{"TLV":[{"value":"7200","code":"ttl","group":"ces","ope":"info"},
        {"ope":"query","cmp":"optional","group":"rloc","code":"eth"},
        {"ope":"info","group":"x","code":"y","value":[1,{"a":"b\u0041"}],"more":1}],"DST":"0","SST":4294967295,"VER":"2"}"#;

    #[test]
    fn any_key_order_and_decimal_strings_are_understood() {
        let message = Message::parse(SAMPLE.as_bytes(), 8).unwrap();
        assert_eq!((message.sst, message.dst), (u32::MAX, 0));
        assert_eq!(message.info(Item::CesTtl).unwrap().value.as_ref().unwrap().as_u64(), Some(7200));
        assert_eq!(message.query(Item::RlocEth).unwrap().cmp, Cmp::Optional);
        assert_eq!(message.layer(), Some(Layer::C2c));
        let frame = message.emit().unwrap();
        assert_eq!(Message::parse(&frame[2..], 8).unwrap(), message);
    }

    #[test]
    fn truncation_at_every_byte_is_an_error() {
        for end in 0..SAMPLE.len() {
            assert!(Message::parse(&SAMPLE.as_bytes()[..end], 8).is_err(), "{end}");
        }
    }

    #[test]
    fn absurd_tags_are_refused_by_name() {
        let parse = |sst: &str, dst: &str| {
            let json = format!(
                r#"{{"VER":2,"SST":{sst},"DST":{dst},"TLV":[{{"ope":"query","group":"id","code":"fqdn"}}]}}"#
            );
            Message::parse(json.as_bytes(), 8)
                .map(|message| (message.sst, message.dst))
                .map_err(|e| e.to_string())
        };
        assert_eq!(parse("1", "\"2\""), Ok((1, 2)));
        for bad in ["4294967296", "-1", "1.5", "null", "\"\"", "\"x\"", "[1]", "true", "1e99", "\" 1\""] {
            assert!(parse(bad, "0").unwrap_err().contains("SST"), "{bad}");
            assert!(parse("1", bad).unwrap_err().contains("DST"), "{bad}");
        }
        assert!(parse("0", "0").unwrap_err().contains("both 0"));
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let fqdn = r#"{"ope":"info","group":"id","code":"fqdn","value":"a."}"#;
        for (json, text) in [
            (format!(r#"{{"VER":1,"SST":1,"DST":0,"TLV":[{fqdn}]}}"#), "VER"),
            (format!(r#"{{"VER":2,"SST":1,"DST":0,"TLV":[{fqdn},{fqdn}]}}"#), "id.fqdn stands there twice"),
            (r#"{"VER":2,"SST":1,"DST":0,"TLV":[]}"#.into(), "no TLV"),
            (r#"{"VER":2,"SST":1,"DST":0,"TLV":{}}"#.into(), "list of TLVs"),
            (r#"{"VER":2,"SST":1,"DST":0}"#.into(), "TLV"),
            (r#"{"VER":2,"SST":1,"SST":1,"DST":0,"TLV":[]}"#.into(), "duplicate"),
            (
                r#"{"VER":2,"SST":1,"DST":0,"TLV":[{"ope":"ask","group":"id","code":"fqdn"}]}"#.into(),
                "variant",
            ),
            (
                r#"{"VER":2,"SST":1,"DST":0,"TLV":[{"ope":"info","group":7,"code":"fqdn"}]}"#.into(),
                "invalid type",
            ),
            (r#"{"VER":2,"SST":1,"DST":0,"TLV":["x"]}"#.into(), "invalid type"),
            ("[".repeat(5_000), "recursion"),
            ("nonsense".into(), "expected"),
        ] {
            let error = Message::parse(json.as_bytes(), 8).unwrap_err().to_string();
            assert!(error.contains(text), "{error} for {json:.60}");
        }
        let many = [r#"{"ope":"info","group":"rloc","code":"ipv4"}"#; 9].join(",");
        let many = format!(r#"{{"VER":2,"SST":1,"DST":0,"TLV":[{many}]}}"#);
        assert!(matches!(Message::parse(many.as_bytes(), 8), Err(MessageError::TooManyTlvs(9))));
        assert!(Message::parse(b"{\"VER\":2,\"SST\":1,\"DST\":0,\"TLV\":[{\"ope\":\"info\xff", 8).is_err());
    }

    #[test]
    fn what_does_not_fit_a_frame_is_not_sent() {
        let mut writer = MessageWriter::new(1, 2);
        writer.text(Item::CesComment, &"x".repeat(70_000));
        assert!(writer.finish().is_err());
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::Number),
            (i64::MIN..0).prop_map(Value::Negative),
            ".*".prop_map(|text| Value::Text(Cow::Owned(text))),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::vec((".{0,5}".prop_map(Cow::Owned), inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    fn tlv() -> impl Strategy<Value = Tlv<'static>> {
        (
            prop_oneof![Just(Ope::Query), Just(Ope::Info)],
            prop_oneof![Just(Cmp::Mandatory), Just(Cmp::Optional), Just(Cmp::NotAvailable)],
            prop_oneof![
                prop::sample::select(Item::ALL).prop_map(TlvName::Known),
                (".{0,8}", ".{0,8}").prop_map(|(group, code)| TlvName::Unknown {
                    group: Cow::Owned(format!("x{group}")),
                    code: Cow::Owned(code)
                }),
            ],
            prop::option::of(value()),
        )
            .prop_map(|(ope, cmp, name, value)| Tlv { ope, cmp, name, value })
    }

    proptest! {
        #[test]
        fn messages_come_back(sst: u32, dst in 1u32.., tlvs in prop::collection::vec(tlv(), 1..20)) {
            let message = Message { sst, dst, tlvs };
            let frame = message.emit().unwrap();
            match Message::parse(&frame[2..], 64) {
                Ok(parsed) => prop_assert_eq!(parsed, message),
                Err(error) => prop_assert!(matches!(error, MessageError::Twice(_)), "{}", error),
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes, 64);
        }

        #[test]
        fn any_change_of_a_byte_is_parsed_or_refused(at in 0..SAMPLE.len(), byte: u8) {
            let mut bytes = SAMPLE.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Message::parse(&bytes, 64);
        }
    }
}
