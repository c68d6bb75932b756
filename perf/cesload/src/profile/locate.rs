//! Where in the text a key stands, for a person to look at.

use toml::de::{DeTable, DeValue};

/// The line of a byte, from 1.
pub fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|&character| character == b'\n').count() + 1
}

/// The line of a dotted key such as `stream[1].ces.bindings`; of as much of it as the text has.
pub fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (mut table, mut line) = (document.get_ref(), None);
    for part in key.split('.') {
        let (name, index) = part.split_once('[').unwrap_or((part, ""));
        let Some((at, mut found)) = table.iter().find(|(own, _)| own.get_ref().as_ref() == name) else {
            break;
        };
        // A section that is written as such starts at its header; a plain value at its key.
        let inline = !found.get_ref().is_table();
        line = Some(line_at(text, if inline { at.span().start } else { found.span().start }));
        if let Ok(index) = index.trim_end_matches(']').parse::<usize>() {
            let Some(element) = found.get_ref().as_array().and_then(|array| array.get(index)) else { break };
            line = Some(line_at(text, element.span().start));
            found = element;
        }
        let DeValue::Table(deeper) = found.get_ref() else { break };
        table = deeper;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_path() {
        const TEXT: &str = "top = 1\n[a]\nb = 2\n\n[[p]]\nx = 1\n[[p]]\nx = 2\n[p.c]\ny = 3\n";
        for (key, line) in [
            ("top", 1),
            ("a", 2),
            ("a.b", 3),
            ("p[0].x", 6),
            ("p[1]", 7),
            ("p[1].x", 8),
            ("p[1].missing", 7),
            ("p[1].c.y", 10),
            ("a.missing.deeper", 2),
        ] {
            assert_eq!(line_of(TEXT, key), Some(line), "{key}");
        }
        assert_eq!(line_of(TEXT, "nothing"), None);
    }
}
