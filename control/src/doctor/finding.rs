//! What was found of one thing.

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// As it should be.
    Good,
    /// The gateway runs, but not as it could, or not for long.
    Poor,
    /// The gateway does not start, or does not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub fitness: Fitness,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
    /// The command that mends it, or what to do where there is none.
    pub mend: Option<String>,
}

impl Finding {
    pub(super) fn good(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { fitness: Fitness::Good, what: what.into(), found: found.into(), mend: None }
    }

    pub(super) fn poor(what: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { fitness: Fitness::Poor, what: what.into(), found: found.into(), mend: Some(mend.into()) }
    }

    pub(super) fn wrong(what: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { fitness: Fitness::Wrong, ..Self::poor(what, found, mend) }
    }
}
