//! What is wrong in a file that a person wrote, and where.
//!
//! `cesd`, its files of hosts and policies, and `cesload` read TOML in the same manner: serde finds wrong keys and types, a
//! check of the reader's own finds what does not fit together, and every complaint names the file, the line, the key, and
//! what was expected. Files are opened by whoever reads them: here are only their texts.

#![forbid(unsafe_code)]

mod locate;

use serde::de::DeserializeOwned;
use std::fmt;

pub use locate::Lines;

/// The longest name that a person gives to a group, a set or a rule.
const NAME: usize = 63;

/// Whether a text is such a name: letters, digits, `-`, `_` and `.`.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME).contains(&text.len()) && text.chars().all(fits)
}

/// A file that a person wrote, as text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its name, for messages.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl FileError {
    /// A file that could not be read at all.
    pub fn unreadable(path: impl Into<String>, error: &std::io::Error) -> Self {
        Self { path: path.into(), line: None, message: format!("cannot be read: {error}") }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for FileError {}

/// Something that does not fit together, and the key to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path in the file, such as `realm.proxy_pool` or `cetp.endpoints[1].port`.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Problem {
    /// A problem.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Problems as a check finds them.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One more.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }

    /// A number must lie within bounds.
    pub fn within(&mut self, key: impl Into<String>, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(key, format!("{value}: {least} to {most} was expected"));
        }
    }

    /// No value may be there twice.
    pub fn distinct<T: PartialEq + fmt::Display>(&mut self, values: &[(String, T)]) {
        for (i, (key, value)) in values.iter().enumerate() {
            if let Some((other, _)) = values[..i].iter().find(|(_, earlier)| earlier == value) {
                self.add(key.as_str(), format!("{value} is taken by {other} already"));
            }
        }
    }

    /// All that were found, in the order in which they were.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// Reads a text as the TOML file `path`. The first error in its form ends it.
pub fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, FileError> {
    toml::from_str(text).map_err(|wrong| {
        let byte = wrong.span().map(|span| span.start);
        let line = byte.map(|byte| Lines::new(text).at(byte));
        let message = words(&wrong.message().trim().replace('\n', "; "));
        let message = match byte.and_then(|byte| locate::key_at(text, byte)) {
            Some(key) => format!("{key}: {message}"),
            // No key: it is not even TOML, or a key of the file itself is missing.
            None => match line.and_then(|line| text.lines().nth(line - 1)).map(str::trim) {
                Some(content) if !content.is_empty() => format!("{message} in \"{content}\""),
                _ => message,
            },
        };
        FileError { path: path.to_owned(), line, message }
    })
}

/// What serde expected, and how a person calls it.
const WORDS: &[(&str, &str)] = &[
    ("expected u8", "expected a number from 0 to 255"),
    ("expected u16", "expected a number from 0 to 65535"),
    ("expected u32", "expected a number from 0 to 4294967295"),
    ("expected u64", "expected a number, 0 or above"),
    ("expected usize", "expected a number, 0 or above"),
    ("expected i64", "expected a number"),
    ("expected f64", "expected a number"),
    ("expected a sequence", "expected a list"),
    ("expected a boolean", "expected true or false"),
    ("expected a map", "expected a section"),
    ("expected a borrowed string", "expected text in quotes"),
    ("expected a string", "expected text in quotes"),
    ("expected path string", "expected a path in quotes"),
    ("invalid type: map", "invalid type: section"),
    ("invalid type: sequence", "invalid type: list"),
];

/// A complaint of serde's without the names that only its programmers know.
fn words(message: &str) -> String {
    let mut message = message.to_owned();
    for (theirs, ours) in WORDS {
        // A word that only begins like theirs is another one.
        if let Some(at) = message.find(theirs)
            && !message[at + theirs.len()..].starts_with(|next: char| next.is_ascii_alphanumeric())
        {
            message.replace_range(at..at + theirs.len(), ours);
        }
    }
    // "expected struct Port": the name is the source's, not the file's.
    if let Some(at) = message.find("expected struct ") {
        let end = message[at + 16..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        message.replace_range(at..end.map_or(message.len(), |end| at + 16 + end), "expected a section");
    }
    message
}

/// Problems with their lines in the text of the file `path`, in the order of the file.
pub fn place(path: &str, text: &str, problems: &[Problem]) -> Vec<FileError> {
    let (document, lines) = (toml::de::DeTable::parse(text).ok(), Lines::new(text));
    let line_of = |key| locate::line_of(document.as_ref()?.get_ref(), &lines, key);
    let mut errors: Vec<_> = problems
        .iter()
        .map(|problem| FileError {
            path: path.to_owned(),
            line: line_of(&problem.key),
            message: problem.to_string(),
        })
        .collect();
    errors.sort_by_key(|error| error.line);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at")]
    struct File {
        port: Vec<Port>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at")]
    struct Port {
        name: String,
        mtu: u16,
    }

    #[test]
    fn an_error_of_form_names_its_line_and_its_key_or_what_stands_there() {
        for (text, expected) in [
            (
                "[[port]]\nname = \"a\"\nmtu = -1\n",
                "f.toml:3: port[0].mtu: invalid value: integer `-1`, expected a number from 0 to 65535",
            ),
            (
                "[[port]]\nname = \"a\"\nmtu = 1\nspeed = 1\n",
                "f.toml:4: port[0].speed: unknown field `speed`, expected `name` or `mtu`",
            ),
            ("\n[[port]]\nname = \"a\"\n", "f.toml:2: port[0]: missing field `mtu`"),
            (
                "[[port]]\nname = 5\nmtu = 1\n",
                "f.toml:2: port[0].name: invalid type: integer `5`, expected text in quotes",
            ),
            (
                "[[port]]\nname = \"a\"\nmtu = [1]\n",
                "f.toml:3: port[0].mtu: invalid type: list, expected a number from 0 to 65535",
            ),
            ("port = [1]\n", "f.toml:1: port[0]: invalid type: integer `1`, expected a section"),
            ("port = 1\n", "f.toml:1: port: invalid type: integer `1`, expected a list"),
            ("[[port]\nname = \"a\"\n", "f.toml:1: unclosed array table, expected `]` in \"[[port]\""),
            ("", "f.toml:1: missing field `port`"),
        ] {
            assert_eq!(parse::<File>("f.toml", text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let text = "[[port]]\nname = \"a\"\nmtu = 1\n[[port]]\nname = \"a\"\nmtu = 70000\n";
        let mut found = Problems::default();
        found.within("port[1].mtu", 70_000, 68, 2022);
        found.distinct(&[("port[0].name".to_owned(), "a"), ("port[1].name".to_owned(), "a")]);
        found.within("port[0].mtu", 1, 1, 1);
        found.add("nowhere", "is missing");
        let placed: Vec<_> =
            place("f.toml", text, &found.into_vec()).iter().map(ToString::to_string).collect();
        assert_eq!(
            placed,
            [
                "f.toml: nowhere: is missing",
                "f.toml:5: port[1].name: a is taken by port[0].name already",
                "f.toml:6: port[1].mtu: 70000: 68 to 2022 was expected",
            ]
        );
    }
}
