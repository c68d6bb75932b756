//! Rules of the filter as a person writes them, for a gateway without a NIC.

use super::{HOST, OTHER};
use ces_dataplane::filter::{Filter, Ranges};
use ces_rules::{Sources, Surroundings, load};
use ces_settings::SourceFile;
use std::sync::Arc;

/// The hosts have names.
struct Realm;

impl Surroundings for Realm {
    fn host(&self, name: &str) -> Option<u32> {
        (name == "h1.a.demo").then_some(HOST)
    }

    fn group(&self, name: &str) -> Option<Ranges> {
        (name == "staff").then(|| Ranges::new(vec![(OTHER, OTHER)]))
    }

    fn port(&self, name: &str) -> Option<u8> {
        ["inside", "outside", "dmz"].iter().position(|known| *known == name).map(|place| place as u8)
    }
}

/// The rules of this text, for one worker.
pub(crate) fn filter(text: &str) -> Arc<Filter> {
    filter_of(text, 1)
}

/// The same for so many.
pub(crate) fn filter_of(text: &str, workers: usize) -> Arc<Filter> {
    let files = [SourceFile { path: "rules".to_owned(), text: text.to_owned() }];
    let none = |_: &str, _: &str| panic!("no other file");
    let book = load(&Sources { files: &files, read: &none }, &Realm).expect("good rules");
    Arc::new(Filter::new(book.rules, workers))
}
