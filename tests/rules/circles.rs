//! Which files of a crate use which, read from their own `use` lines and paths, and whether they use one another in a circle.
//!
//! A file that declares or re-exports another does not use it, and a name that a file only re-exports is used where it stands.
//! What macros are given is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::Visit;

/// The path of a module from its crate's root.
type Name = Vec<String>;

/// A crate's modules that have a file of their own.
#[derive(Default)]
pub(crate) struct Modules {
    files: BTreeMap<Name, File>,
}

#[derive(Default)]
struct File {
    /// Names that it re-exports, and what for. A re-export of everything has no name.
    aliases: Vec<(Option<String>, Vec<String>)>,
    /// Paths that it uses, from the crate's root.
    uses: Vec<Vec<String>>,
}

impl Modules {
    /// Reads a crate from its root file on.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Self::default();
        let directory = root.parent().expect("a directory").to_owned();
        modules.file(&[], root, &directory);
        modules
    }

    fn file(&mut self, name: &[String], path: &Path, children: &Path) {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = Reader { name: name.to_vec(), file: File::default(), declared: Vec::new() };
        reader.visit_file(&syntax);
        self.files.insert(name.to_vec(), reader.file);
        for child in reader.declared {
            let path = [children.join(format!("{child}.rs")), children.join(&child).join("mod.rs")]
                .into_iter()
                .find(|path| path.exists())
                .unwrap_or_else(|| panic!("{}: mod {child} has no file", path.display()));
            let name: Name = name.iter().cloned().chain([child.clone()]).collect();
            self.file(&name, &path, &children.join(&child));
        }
    }

    /// The file in which what a path names stands.
    fn owner(&self, path: &[String], depth: usize) -> Option<Name> {
        let length = (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
        let (module, rest) = path.split_at(length);
        if let Some(item) = rest.first()
            && depth < 8
        {
            let file = &self.files[module];
            for (alias, target) in &file.aliases {
                if alias.as_ref() == Some(item) {
                    let onward: Vec<String> = target.iter().chain(&rest[1..]).cloned().collect();
                    return self.owner(&onward, depth + 1);
                }
            }
        }
        Some(module.to_vec())
    }

    /// File to files that it uses.
    fn edges(&self) -> BTreeMap<&Name, BTreeSet<Name>> {
        let mut edges = BTreeMap::new();
        for (name, file) in &self.files {
            let used = file.uses.iter().filter_map(|path| self.owner(path, 0)).filter(|used| used != name);
            edges.insert(name, used.collect());
        }
        edges
    }

    /// Each set of files that use one another, by name.
    pub(crate) fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reached: BTreeMap<&Name, BTreeSet<&Name>> = edges
            .keys()
            .map(|&start| {
                let mut seen = BTreeSet::new();
                let mut open: Vec<&Name> = edges[start].iter().collect();
                while let Some(next) = open.pop() {
                    if seen.insert(next) {
                        open.extend(&edges[next]);
                    }
                }
                (start, seen)
            })
            .collect();
        let mut circles = BTreeSet::new();
        for (&name, seen) in reached.iter().filter(|&(name, seen)| seen.contains(*name)) {
            let circle = seen.iter().copied().filter(|other| reached[*other].contains(name));
            let mut names: Vec<String> = circle.map(|name| shown(name)).collect();
            names.sort();
            circles.insert(names);
        }
        circles.into_iter().collect()
    }
}

fn shown(name: &[String]) -> String {
    if name.is_empty() { "the root".to_owned() } else { name.join("::") }
}

/// Collects what one file uses.
struct Reader {
    name: Name,
    file: File,
    declared: Vec<String>,
}

impl Reader {
    /// A path from the crate's root, if it is one within the crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "super" => self.name.split_last()?.1.to_vec(),
            "self" => self.name.clone(),
            child if self.declared.iter().any(|declared| declared == child) => {
                return Some([self.name.as_slice(), path].concat());
            }
            _ => return None,
        };
        let mut rest = &path[1..];
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}

/// The names that a `use` brings, and where each stands; everything of a module has no name.
fn tree(tree: &syn::UseTree, before: &[String], found: &mut Vec<(Option<String>, Vec<String>)>) {
    let with = |part: &syn::Ident| [before, &[part.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => self::tree(&path.tree, &with(&path.ident), found),
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.push((before.last().cloned(), before.to_vec()));
        }
        syn::UseTree::Name(name) => found.push((Some(name.ident.to_string()), with(&name.ident))),
        syn::UseTree::Rename(rename) => found.push((Some(rename.rename.to_string()), with(&rename.ident))),
        syn::UseTree::Glob(_) => found.push((None, before.to_vec())),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                self::tree(tree, before, found);
            }
        }
    }
}

/// Whether something is there for tests or models alone.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && ["test", "loom"].contains(&list.tokens.to_string().as_str())
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_file(&mut self, file: &'ast syn::File) {
        for item in &file.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && !for_tests(&module.attrs)
            {
                self.declared.push(module.ident.to_string());
            }
        }
        syn::visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !for_tests(&function.attrs) {
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        if !for_tests(&block.attrs) {
            syn::visit::visit_item_impl(self, block);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if for_tests(&item.attrs) {
            return;
        }
        let mut found = Vec::new();
        tree(&item.tree, &[], &mut found);
        let private = matches!(item.vis, syn::Visibility::Inherited);
        for (alias, path) in found {
            if let Some(path) = self.absolute(&path) {
                if private {
                    self.file.uses.push(path);
                } else {
                    self.file.aliases.push((alias, path));
                }
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1
            && let Some(path) = self.absolute(&parts)
        {
            self.file.uses.push(path);
        }
        syn::visit::visit_path(self, path);
    }
}

/// A crate that is written down for a test: files by name.
#[cfg(test)]
fn crate_of(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    let root = directory.path().join("lib.rs");
    (directory, root)
}

#[test]
fn circles_are_found_and_re_exports_are_none() {
    let (_kept, root) = crate_of(&[
        ("lib.rs", "mod a; mod b; pub mod c; pub use a::A;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; impl B { fn f(a: crate::A) {} }"),
        ("c/mod.rs", "mod d; mod e; pub use d::D;"),
        ("c/d.rs", "use super::e::E; pub struct D(E);"),
        ("c/e.rs", "pub struct E; #[cfg(test)] mod tests { use crate::c::D; }"),
    ]);
    assert_eq!(Modules::read(&root).circles(), [vec!["a".to_owned(), "b".to_owned()]]);
}

#[test]
fn a_parent_that_uses_its_child_must_not_be_used_by_it() {
    let (_kept, root) = crate_of(&[
        ("lib.rs", "mod p;"),
        ("p.rs", "mod child; use child::part; pub struct P; fn f() { part() }"),
        ("p/child.rs", "use super::P; pub fn part() {}"),
    ]);
    assert_eq!(Modules::read(&root).circles(), [vec!["p".to_owned(), "p::child".to_owned()]]);
}
