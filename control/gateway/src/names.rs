//! Host names as the gateway keeps them: lower case, absolute, shared.
//!
//! Every map of the gateway is keyed by this one form, so that a name is normalised once, at the edge, and compared
//! by bytes ever after.

use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest name in its textual form with the trailing dot (RFC 1035 §2.3.4: 255 octets on the wire).
pub const NAME_MAX: usize = 254;
/// The longest label (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name must not be empty")]
    Empty,
    /// Beyond [`NAME_MAX`].
    #[error("a name has at most 254 characters")]
    TooLong,
    /// Two dots in a row, or one at the beginning.
    #[error("a name must not contain an empty label")]
    EmptyLabel,
    /// Beyond [`LABEL_MAX`].
    #[error("a label (the part between dots) has at most 63 characters")]
    LabelTooLong,
    /// Something else than letters, digits, `-` and `_`.
    #[error("a name consists of letters, digits, '-', '_' and dots, not {0:?}")]
    Character(char),
}

/// A domain name: lower case, with its trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// Reads a name as a person writes it: any case, with or without the trailing dot.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let body = text.strip_suffix('.').unwrap_or(text);
        if body.is_empty() {
            return Err(NameError::Empty);
        }
        if body.len() + 1 > NAME_MAX {
            return Err(NameError::TooLong);
        }
        for label in body.split('.') {
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            if label.len() > LABEL_MAX {
                return Err(NameError::LabelTooLong);
            }
            if let Some(bad) = label.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')) {
                return Err(NameError::Character(bad));
            }
        }
        let mut name = String::with_capacity(body.len() + 1);
        name.extend(body.chars().map(|c| c.to_ascii_lowercase()));
        name.push('.');
        Ok(Self(name.into()))
    }

    /// The text, with the trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|e| serde::de::Error::custom(format!("{text:?} is not a name: {e}")))
    }
}

/// Whether `name` is `zone` or lies below it. Both in the form of [`Name`].
pub fn is_within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_absolute() {
        assert_eq!(Name::parse("WWW.b.Demo").unwrap().as_str(), "www.b.demo.");
        assert_eq!(Name::parse("b.demo.").unwrap().as_str(), "b.demo.");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse("."), Err(NameError::Empty));
        assert_eq!(Name::parse("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse("a b"), Err(NameError::Character(' ')));
        assert_eq!(Name::parse(&"x".repeat(64)), Err(NameError::LabelTooLong));
        assert_eq!(Name::parse(&"x.".repeat(140)), Err(NameError::TooLong));
    }

    #[test]
    fn a_zone_holds_itself_and_what_is_below() {
        assert!(is_within("a.demo.", "a.demo."));
        assert!(is_within("h1.a.demo.", "a.demo."));
        assert!(!is_within("ba.demo.", "a.demo."));
        assert!(!is_within("demo.", "a.demo."));
    }
}
