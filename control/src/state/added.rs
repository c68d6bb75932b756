//! What was added at run time as it is written down: names by UPDATE, hosts by `cesctl`.

use super::lines::{KeptLine, LineFile};
use ces_gateway::AddedRecord;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The file of them.
pub type AddedFile = LineFile<Added>;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Added {
    /// Of what is said of a name.
    Name(AddedRecord),
    /// Of a host: its section `[[host]]` as a file of the registry would have it, or none any more.
    Host(Arc<str>, Option<String>),
}

impl KeptLine for Added {
    type Key = (bool, Arc<str>);
    const FILE: &'static str = "added";
    const HEADER: &'static str = "ces-added 1\n";
    const WHAT: &'static str = "names and hosts of run time";
    const UNWRITTEN: &'static str = ", so who sets one is told that it failed until they can";
    const DAMAGED: &'static str = "names and hosts that stood there have to be set again";

    fn key(&self) -> Self::Key {
        match self {
            Self::Name(record) => (false, Arc::clone(&record.name)),
            Self::Host(name, _) => (true, Arc::clone(name)),
        }
    }

    fn stands(&self) -> bool {
        match self {
            Self::Name(record) => record.is.is_some(),
            Self::Host(_, text) => text.is_some(),
        }
    }
}
