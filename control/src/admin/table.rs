//! Aligned tables for a person's terminal.

use std::fmt::Write as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Rows of cells under headings. Numbers go to the right.
#[derive(Debug, Default)]
pub struct TextTable {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { headings: headings.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, a line for each row.
    pub fn text(&self) -> String {
        let columns = self.headings.len();
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let rows = self.rows.iter().map(|row| width(&cell(row, column))).max().unwrap_or(0);
                rows.max(width(&self.headings[column]))
            })
            .collect();
        let numeric: Vec<bool> = (0..columns)
            .map(|column| {
                let mut filled = self
                    .rows
                    .iter()
                    .map(|row| cell(row, column))
                    .filter(|text| !text.is_empty() && text != "-");
                let mut any = false;
                filled.all(|text| {
                    any = true;
                    text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                        && !text.contains(['.', ':', '/'])
                        || is_quantity(&text)
                }) && any
            })
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&self.headings).chain(&self.rows) {
            let mut line = String::new();
            for column in 0..columns {
                let content = cell(row, column);
                let pad = " ".repeat(widths[column] - width(&content));
                let gap = if column == 0 { "" } else { "  " };
                let (before, after) = if numeric[column] { (pad.as_str(), "") } else { ("", pad.as_str()) };
                let _ = write!(line, "{gap}{before}{content}{after}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A number with a unit, such as `1.5 MB` or `12.0 %`.
fn is_quantity(text: &str) -> bool {
    let number = text.split(' ').next().unwrap_or_default();
    number.parse::<f64>().is_ok()
}

/// A count, in plain digits: people grep and add up what they see.
pub fn count(value: u64) -> String {
    value.to_string()
}

/// Bytes with a unit of powers of 1000, such as `1.2 MB`.
pub fn bytes(value: u64) -> String {
    scaled(value, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Bits a second with a unit of powers of 1000.
pub fn bit_rate(value: u64) -> String {
    scaled(value, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
}

fn scaled(value: u64, units: &[&str]) -> String {
    let mut scaled = value as f64;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{value} {}", units[0]) } else { format!("{scaled:.1} {}", units[unit]) }
}

/// Milliseconds since 1970, as a person reads them.
pub fn time(at_ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| at_ms.to_string())
}

/// Seconds as a person says them, such as `2 h 05 min`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_right_and_words_left() {
        let mut table = TextTable::new(&["port", "packets", "address"]);
        table.row(vec!["inside".into(), "7".into(), "10.0.0.1".into()]);
        table.row(vec!["out".into(), "1234".into(), "192.0.2.1".into()]);
        assert_eq!(
            table.text(),
            "port    packets  address\ninside        7  10.0.0.1\nout        1234  192.0.2.1\n"
        );
    }

    #[test]
    fn quantities_have_units() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(bit_rate(10_000_000_000), "10.0 Gbit/s");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3661), "1 h 01 min");
        assert_eq!(duration(90_000), "1 d 01 h");
    }
}
