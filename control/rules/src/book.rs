//! All files together: names become addresses, and lines the rules that the workers ask.

use crate::line::{self, Member, Parsed, Party, Written};
use crate::members;
use ces_filter::{Action, AddressSet, Condition, End, PortSet, Ranges, Rule, Rules, Who, Zone, ZonePairs};
use ces_settings::{FileError, SourceFile};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

/// The most rules.
const RULES: usize = 100_000;
/// The most names that rules have: each is a label of a metric.
const NAMES: usize = 1000;
/// Addresses of so many pieces are looked up in a set of their own.
const LARGE: usize = 1024;
/// The most such sets, 256 KiB each and 4 bytes an address.
const SETS: usize = 64;

/// Who the hosts are, and which ports the gateway has.
pub trait Surroundings {
    /// The address of a host, by its name or a service's.
    fn host(&self, name: &str) -> Option<u32>;
    /// The addresses of a group.
    fn group(&self, name: &str) -> Option<Ranges>;
    /// The number of a port of the gateway.
    fn port(&self, name: &str) -> Option<u8>;
}

/// What is read: the rules files in their order, and the files that they name.
pub struct Sources<'s> {
    /// The rules files.
    pub files: &'s [SourceFile],
    /// Reads a file that a rules file (the first path) names (the second).
    pub read: &'s dyn Fn(&str, &str) -> Result<SourceFile, FileError>,
}

/// A rule's place, for whoever asks which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of its file.
    pub file: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
    /// As it is written, without what is no part of it.
    pub text: String,
}

/// The rules of all files.
#[derive(Debug)]
pub struct Book {
    /// The files, in order.
    pub files: Vec<String>,
    /// The rules, in order.
    pub lines: Vec<Line>,
    /// What the workers ask; its rules have the numbers of the lines.
    pub rules: Arc<Rules>,
    /// The hashes of the lines' texts with their numbers, in order: what is the same in another book is found side by side.
    texts: Vec<(u64, u32)>,
}

impl Book {
    /// What was counted for the rules of another book, for those here whose text is the same.
    pub fn carry(&self, other: &Self, counts: &[u64]) -> Vec<u64> {
        let mut carried = vec![0; self.lines.len()];
        let mut theirs = other.texts.iter().peekable();
        for &(text, number) in &self.texts {
            while theirs.next_if(|their| their.0 < text).is_some() {}
            if let Some(&(_, their)) = theirs.next_if(|their| their.0 == text) {
                carried[number as usize] = counts.get(their as usize).copied().unwrap_or(0);
            }
        }
        carried
    }
}

/// Reads all files. All errors are found before any is reported.
pub fn load(sources: &Sources<'_>, names: &dyn Surroundings) -> Result<Book, Vec<FileError>> {
    let mut writer = Writer::new(sources, names);
    for (number, file) in sources.files.iter().enumerate() {
        writer.file(number, file);
    }
    let Writer { lines, rules, large, mut errors, .. } = writer;
    let whole = |message| FileError { path: last(sources), line: None, message };
    if rules.len() > RULES {
        errors.push(whole(format!("{} rules; there may be {RULES}", rules.len())));
    }
    let labels: FxHashSet<_> = lines.iter().filter_map(|line: &Line| line.name.as_deref()).collect();
    if labels.len() > NAMES {
        errors.push(whole(format!("rules have {} names; there may be {NAMES}", labels.len())));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let sets = large.list.iter().map(AddressSet::new).collect();
    let rules = Rules::new(&rules, sets).map_err(|_| {
        vec![whole("the rules cut addresses and ports into too many pieces: 256 MiB".to_owned())]
    })?;
    let hashed = |(number, line): (usize, &Line)| (FxBuildHasher.hash_one(&line.text), number as u32);
    let mut texts: Vec<_> = lines.iter().enumerate().map(hashed).collect();
    texts.sort_unstable();
    let files = sources.files.iter().map(|file| file.path.clone()).collect();
    Ok(Book { files, lines, rules: Arc::new(rules), texts })
}

fn last(sources: &Sources<'_>) -> String {
    sources.files.last().map(|file| file.path.clone()).unwrap_or_default()
}

/// Sets that are too large to be cut up.
#[derive(Default)]
struct Large {
    list: Vec<Ranges>,
    numbers: FxHashMap<Ranges, usize>,
}

impl Large {
    fn number(&mut self, ranges: &Ranges) -> Option<usize> {
        if let Some(&number) = self.numbers.get(ranges) {
            return Some(number);
        }
        if self.list.len() == SETS {
            return None;
        }
        self.numbers.insert(ranges.clone(), self.list.len());
        self.list.push(ranges.clone());
        Some(self.list.len() - 1)
    }
}

struct Writer<'s> {
    sources: &'s Sources<'s>,
    names: &'s dyn Surroundings,
    sets: FxHashMap<String, Ranges>,
    large: Large,
    lines: Vec<Line>,
    rules: Vec<Rule>,
    errors: Vec<FileError>,
}

impl<'s> Writer<'s> {
    fn new(sources: &'s Sources<'s>, names: &'s dyn Surroundings) -> Self {
        let (lines, rules, errors) = (Vec::new(), Vec::new(), Vec::new());
        Self { sources, names, sets: FxHashMap::default(), large: Large::default(), lines, rules, errors }
    }

    fn file(&mut self, number: usize, file: &SourceFile) {
        for (index, text) in file.text.lines().enumerate() {
            let line = index + 1;
            let said = line::parse(text).and_then(|parsed| match parsed {
                None => Ok(()),
                Some(Parsed::Set(name, members)) => {
                    let ranges = self.all(&members)?;
                    self.define(name, ranges)
                }
                Some(Parsed::FileSet(name, path)) => match self.listed(&file.path, path) {
                    Some(ranges) => self.define(name, ranges),
                    None => Ok(()),
                },
                Some(Parsed::Rule(rule)) => self.rule(&rule, number, line, text),
            });
            if let Err(message) = said {
                self.errors.push(FileError { path: file.path.clone(), line: Some(line), message });
            }
        }
    }

    fn define(&mut self, name: &str, ranges: Ranges) -> Result<(), String> {
        match self.sets.insert(name.to_owned(), ranges) {
            Some(_) => Err(format!("the set {name:?} is defined already")),
            None => Ok(()),
        }
    }

    /// The addresses in a file; `None`: there were errors.
    fn listed(&mut self, by: &str, path: &str) -> Option<Ranges> {
        let file = match (self.sources.read)(by, path) {
            Ok(file) => file,
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        match members::list(&file.text) {
            Ok(ranges) => Some(ranges),
            Err(wrong) => {
                let at = |(line, message)| FileError { path: file.path.clone(), line: Some(line), message };
                self.errors.extend(wrong.into_iter().map(at));
                None
            }
        }
    }

    fn rule(&mut self, rule: &Written<'_>, file: usize, line: usize, text: &str) -> Result<(), String> {
        let zones = |side: &Party<'_>| side.zone.map_or(Zone::ALL.to_vec(), |zone| vec![zone]);
        let from_everywhere = rule.from.zone.is_none() && rule.to.zone.is_none();
        let (source, destination) = (self.end(&rule.from)?, self.end(&rule.to)?);
        self.rules.push(Rule {
            action: rule.action,
            zones: if from_everywhere {
                ZonePairs::all()
            } else {
                ZonePairs::new(&zones(&rule.from), &zones(&rule.to))
            },
            protocols: rule.protocols,
            source,
            destination,
            condition: Condition {
                comes_by: self.interfaces(&rule.from)?,
                goes_by: self.interfaces(&rule.to)?,
                ..rule.condition
            },
            log: rule.log,
            limits: rule.limits,
        });
        let text = text.split('#').next().unwrap_or_default();
        self.lines.push(Line {
            file,
            line,
            name: rule.name.map(str::to_owned),
            action: rule.action,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        });
        Ok(())
    }

    fn end(&mut self, side: &Party<'_>) -> Result<End, String> {
        let who = if side.who.is_empty() {
            Who::Anybody
        } else {
            let ranges = self.all(&side.who)?;
            let large = if ranges.len() > LARGE { self.large.number(&ranges) } else { None };
            large.map_or(Who::Among(ranges), Who::Member)
        };
        Ok(End { who, ports: side.ports.clone() })
    }

    fn interfaces(&self, side: &Party<'_>) -> Result<PortSet, String> {
        let mut all = if side.interfaces.is_empty() { PortSet::ALL } else { PortSet::NONE };
        for name in &side.interfaces {
            all.add(self.names.port(name).ok_or_else(|| format!("the gateway has no port {name:?}"))?);
        }
        Ok(all)
    }

    fn all(&self, members: &[Member<'_>]) -> Result<Ranges, String> {
        let mut all = Vec::new();
        for member in members {
            match *member {
                Member::Addresses(first, last) => all.push((first, last)),
                Member::Set(name) => {
                    let set = self
                        .sets
                        .get(name)
                        .ok_or_else(|| format!("there is no set {name:?} above this line"))?;
                    all.extend(set.iter());
                }
                Member::Host(name) => {
                    let host = self.names.host(name).ok_or_else(|| format!("there is no host {name}"))?;
                    all.push((host, host));
                }
                Member::Group(name) => {
                    let group =
                        self.names.group(name).ok_or_else(|| format!("no host is in a group {name:?}"))?;
                    all.extend(group.iter());
                }
            }
        }
        Ok(Ranges::new(all))
    }
}
