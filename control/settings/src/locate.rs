//! Where in the text a key stands, for a person to look at.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the lines of a text begin: found once, for as many questions as there are complaints.
#[derive(Debug)]
pub struct Lines {
    /// The ends of all lines but the last.
    ends: Vec<usize>,
}

impl Lines {
    /// The lines of this text.
    pub fn new(text: &str) -> Self {
        Self { ends: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The line of a byte, from 1.
    pub fn at(&self, byte: usize) -> usize {
        self.ends.partition_point(|end| *end < byte) + 1
    }
}

/// The line of a dotted key, such as `cetp.endpoints[1].port`; of as much of it as the document has.
pub(crate) fn line_of(document: &DeTable<'_>, lines: &Lines, key: &str) -> Option<usize> {
    let mut line = None;
    let mut value: Option<&DeValue<'_>> = None;
    for part in key.split('.') {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        let table = match value {
            None => document,
            Some(value) => match value.as_table() {
                Some(table) => table,
                None => break,
            },
        };
        let Some((at, found)) = table.iter().find(|(own, _)| own.get_ref().as_ref() == name) else { break };
        // A section that is written as such starts at its header; a plain value at its key.
        line = Some(lines.at(start(at.span().start, found)));
        value = Some(found.get_ref());
        for index in indices.split('[').filter_map(|index| index.trim_end_matches(']').parse::<usize>().ok())
        {
            let element = value.and_then(DeValue::as_array).and_then(|array| array.get(index));
            let Some(element) = element else { break };
            line = Some(lines.at(element.span().start));
            value = Some(element.get_ref());
        }
    }
    line
}

/// The dotted key of the value that this byte belongs to.
pub(crate) fn key_at(text: &str, byte: usize) -> Option<String> {
    fn within(table: &DeTable<'_>, byte: usize, path: &str) -> Option<String> {
        for (key, value) in table {
            let name = key.get_ref();
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            if key.span().contains(&byte) {
                return Some(path);
            }
            if let Some(found) = value_at(value, byte, &path) {
                return Some(found);
            }
        }
        None
    }
    fn value_at(value: &Spanned<DeValue<'_>>, byte: usize, path: &str) -> Option<String> {
        let deeper = match value.get_ref() {
            DeValue::Table(table) => within(table, byte, path),
            DeValue::Array(array) => array
                .iter()
                .enumerate()
                .find_map(|(index, element)| value_at(element, byte, &format!("{path}[{index}]"))),
            _ => None,
        };
        deeper.or_else(|| value.span().contains(&byte).then(|| path.to_owned()))
    }
    within(DeTable::parse(text).ok()?.get_ref(), byte, "")
}

fn start(key: usize, value: &Spanned<DeValue<'_>>) -> usize {
    if value.get_ref().is_table() { value.span().start } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "top = 1\n[a]\nb = 2\nc = [\n  3,\n  4,\n]\n\n[[p]]\nx = 1\n[[p]]\nx = 2\n";

    #[test]
    fn a_key_is_found_by_its_path() {
        let document = DeTable::parse(TEXT).unwrap();
        let of = |key| line_of(document.get_ref(), &Lines::new(TEXT), key);
        for (key, line) in [
            ("top", 1),
            ("a", 2),
            ("a.b", 3),
            ("a.c", 4),
            ("a.c[1]", 6),
            ("p[0].x", 10),
            ("p[1]", 11),
            ("p[1].x", 12),
            ("p[1].missing", 11),
            ("a.missing.deeper", 2),
        ] {
            assert_eq!(of(key), Some(line), "{key}");
        }
        assert_eq!(of("nothing"), None);
    }

    #[test]
    fn lines_begin_after_the_end_of_the_one_before() {
        let lines = Lines::new("ab\n\nc");
        let all: Vec<_> = (0..5).map(|byte| lines.at(byte)).collect();
        assert_eq!(all, [1, 1, 1, 2, 3]);
    }

    #[test]
    fn a_byte_is_led_back_to_its_key() {
        for (part, key) in [("1", "top"), ("b = 2", "a.b"), ("4,", "a.c[1]"), ("x = 2", "p[1].x")] {
            assert_eq!(key_at(TEXT, TEXT.find(part).unwrap()).as_deref(), Some(key), "{part}");
        }
        assert_eq!(key_at(TEXT, TEXT.len()), None);
    }
}
