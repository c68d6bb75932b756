//! What value of an item will do.

use crate::policy::{protocol, same_name};
use crate::tlv::Item;
use crate::value::Value;

/// The test of a requirement.
#[derive(Clone, Debug, PartialEq)]
pub enum Accept {
    /// Any value.
    Any,
    /// This one.
    Equal(Value<'static>),
    /// One of these.
    OneOf(Vec<Value<'static>>),
    /// A number within these, ends included.
    Range {
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
    },
}

impl Accept {
    pub(super) fn compile(item: Item, value: Option<Value<'static>>) -> Result<Self, &'static str> {
        let accept = match value {
            None => return Ok(Self::Any),
            // Candidates are chosen, not matched.
            Some(_) if item.is_candidate() => return Ok(Self::Any),
            Some(value @ Value::Map(_)) => {
                let known = matches!(&value, Value::Map(fields)
                    if fields.iter().all(|(key, _)| key == "min" || key == "max"));
                let bound = |key, default| match value.field(key) {
                    None => Some(default),
                    Some(value) => value.as_u64(),
                };
                match (known, bound("min", 0), bound("max", u64::MAX)) {
                    (true, Some(min), Some(max)) if min <= max => Self::Range { min, max },
                    _ => return Err("expected {min, max} with numbers, min not above max"),
                }
            }
            Some(Value::List(list)) => {
                if list.is_empty() {
                    return Err("expected at least one allowed value");
                }
                if !list.iter().all(|value| is_scalar(item, value)) {
                    return Err("expected a list of scalars of the item's type");
                }
                Self::OneOf(list)
            }
            Some(value) if is_scalar(item, &value) => Self::Equal(value),
            Some(_) => return Err("expected a scalar of the item's type, a list, or {min, max}"),
        };
        Ok(accept)
    }

    /// Whether a value will do. `None`, a missing value, never does.
    pub fn matches(&self, item: Item, value: Option<&Value<'_>>) -> bool {
        let Some(value) = value else { return false };
        match item {
            // Both sides use the smaller, so any lifetime does where only one value is asked.
            Item::ControlHardTtl | Item::ControlIdleTtl | Item::CesTtl if !matches!(self, Self::OneOf(_)) => {
                let Some(number) = value.as_u32() else { return false };
                number > 0 && self.range().is_none_or(|(min, max)| (min..=max).contains(&u64::from(number)))
            }
            // The peer's is at most ours.
            Item::CesSessionLimit => match (value.as_u64(), self) {
                (Some(number), Self::Equal(limit)) => limit.as_u64().is_some_and(|limit| number <= limit),
                (Some(number), _) => self.range().is_none_or(|(min, max)| (min..=max).contains(&number)),
                (None, _) => false,
            },
            Item::CesKeepaliveCycle if value.as_u64().is_none_or(|cycle| cycle < 2) => false,
            _ => match self {
                Self::Any => !item.is_number() || value.as_u64().is_some(),
                Self::Equal(expected) => equal(item, expected, value),
                Self::OneOf(list) => list.iter().any(|expected| equal(item, expected, value)),
                Self::Range { min, max } => {
                    value.as_u64().is_some_and(|number| (*min..=*max).contains(&number))
                }
            },
        }
    }

    /// The one number that is asked for.
    pub(crate) fn bound(&self) -> Option<u32> {
        match self {
            Self::Equal(value) => value.as_u32(),
            Self::Range { max, .. } => u32::try_from(*max).ok(),
            _ => None,
        }
    }

    fn range(&self) -> Option<(u64, u64)> {
        if let Self::Range { min, max } = self { Some((*min, *max)) } else { None }
    }
}

fn is_scalar(item: Item, value: &Value<'_>) -> bool {
    match value {
        _ if item.is_number() => value.as_u64().is_some(),
        Value::List(_) | Value::Map(_) | Value::Null => false,
        _ => true,
    }
}

fn equal(item: Item, expected: &Value<'_>, value: &Value<'_>) -> bool {
    if item == Item::ControlDpProto {
        return protocol(expected).is_some_and(|expected| protocol(value) == Some(expected));
    }
    match (expected.as_str(), value.as_str()) {
        (Some(expected), Some(value)) if item.is_name() => same_name(expected, value),
        (Some(expected), Some(value)) if expected == value => true,
        _ => match (expected.as_u64(), value.as_u64()) {
            (Some(expected), Some(value)) => expected == value,
            _ => expected == value,
        },
    }
}
