//! Which configuration is in force, for whoever looks.

/// What the last reload came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastReload {
    /// When the configuration in force was taken, in nanoseconds since 1970.
    pub(super) in_force_since: u64,
    /// Whether the last one that was read is in force.
    pub(super) succeeded: bool,
}
