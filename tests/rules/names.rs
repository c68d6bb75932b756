//! Which types that more than one file may name, public ones and those of a whole crate, have the same name.
//!
//! What macros make is not seen.

use std::collections::BTreeMap;
use std::path::Path;

/// Names that stand for more than one type. In `ces-wire` and the modes of `ces-load` they are said with their module
/// (`tcp::Header`, `ladder::Wanted`); the others mean the same in crates that may not know one another.
const SHARED: &[&str] =
    &["Cipher", "Encapsulation", "Endpoint", "Findings", "Header", "Message", "Nanos", "Proto", "Wanted"];

/// The type, or trait, that an item makes, if it is public or the whole crate's.
fn shared_type(item: &syn::Item) -> Option<String> {
    let (visibility, name) = match item {
        syn::Item::Struct(item) => (&item.vis, &item.ident),
        syn::Item::Enum(item) => (&item.vis, &item.ident),
        syn::Item::Union(item) => (&item.vis, &item.ident),
        syn::Item::Trait(item) => (&item.vis, &item.ident),
        syn::Item::Type(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    let is_shared = match visibility {
        syn::Visibility::Public(_) => true,
        syn::Visibility::Restricted(within) => within.path.is_ident("crate"),
        syn::Visibility::Inherited => false,
    };
    is_shared.then(|| name.to_string())
}

/// Each name that more than one of these files gives to such a type, with the files.
pub(crate) fn collisions(sources: &[(impl AsRef<Path>, String)]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources {
        let path = path.as_ref().display().to_string();
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        for name in syntax.items.iter().filter_map(shared_type) {
            places.entry(name).or_default().push(path.clone());
        }
    }
    places.retain(|name, files| files.len() > 1 && !SHARED.contains(&name.as_str()));
    places.into_iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
}

#[test]
fn a_name_that_two_files_give_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let found = collisions(&[
        file("a.rs", "pub struct Side; pub(super) struct Port; pub type Nanos = u64;"),
        file("b.rs", "pub(crate) enum Side {} pub struct Port; pub type Nanos = u64;"),
    ]);
    assert_eq!(found, ["Side: a.rs, b.rs"]);
}
