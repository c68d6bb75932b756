//! Closed lists whose members are counters and metric labels.

/// Declares an enum whose variants carry a metric label, and how many there are.
#[macro_export]
macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])+ $variant),+ }

        impl $name {
            /// All of them, in counter order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// How many there are: the length of a counter array.
            pub const COUNT: usize = Self::ALL.len();

            /// The metric label.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label),+ }
            }
        }
    };
}
