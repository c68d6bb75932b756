//! What became of CETP connections, counted.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What became of connections.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct PeeringCounters { $($(#[doc = $doc])+ pub $name: u64),+ }

        impl PeeringCounters {
            /// Label and value of each.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }
        }
    };
}

counters! {
    /// Accepted connections that the engine took.
    accepted,
    /// Connections of ours that came up.
    connected,
    /// Refused at arrival: the address is blocked.
    refused_blocked,
    /// Refused at arrival: too many connections, in all or of that address.
    refused_limit,
    /// Refused by the engine after the handshake.
    refused_engine,
    /// Connections of ours that could not be opened.
    connect_failed,
    /// TLS handshakes that failed, of either direction.
    handshake_failed,
    /// Handshakes and connections that did not come up in time.
    timed_out,
    /// Closed because the peer does not read what it is sent.
    congested,
    /// Closed by the peer, or lost.
    lost,
    /// Strangers who were shaking hands for longest when others wanted in.
    gave_way,
    /// Messages of a dead connection that were sent once more on another.
    sent_again,
}
