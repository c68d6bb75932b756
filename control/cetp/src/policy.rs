//! CETP policies.

use serde::{Deserialize, Serialize};

/// A policy: what is asked, what is offered, what is told when asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {}
