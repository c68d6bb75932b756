//! Structs of counters, each said once: their sums over streams, threads and time.

/// A struct of counters that can be added up.
macro_rules! sums {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])+ $field:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $($(#[$doc])+ pub $field: u64,)+
        }

        impl $name {
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($field)),+].len();

            /// All, in order.
            pub const fn all(&self) -> [u64; Self::COUNT] {
                [$(self.$field),+]
            }

            /// From all, in order.
            pub const fn of([$($field),+]: [u64; Self::COUNT]) -> Self {
                Self { $($field),+ }
            }

            /// Adds what another counted.
            pub const fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

pub(crate) use sums;
