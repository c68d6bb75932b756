//! What becomes of reservations.

use ces_dns::labelled;

labelled! {
    /// What became of a reservation, or of the wish for one.
    Fate {
        /// A client came and used it.
        Used = "used",
        /// Nobody came in time.
        Expired = "expired",
        /// There was none to be had: no address, or the host has as many as it may.
        Refused = "refused",
        /// Who had asked asked again, and has another one.
        Replaced = "replaced",
        /// A reload took the service or its host away.
        Withdrawn = "withdrawn",
    }
}

/// How often each came.
pub type Fates = [u64; Fate::COUNT];
