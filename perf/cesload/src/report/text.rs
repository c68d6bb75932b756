//! The report for a terminal: aligned, without plots.

use super::document::{Section, Table};
use super::{Report, VERSION, sections};

/// The text.
pub fn written(report: &Report) -> String {
    let mut text = format!("cesload {VERSION} {}: {}\n", report.mode, sections::headline(report));
    for section in sections::of(report) {
        write_section(&mut text, &section);
    }
    text
}

fn write_section(text: &mut String, section: &Section) {
    push_line(text, "");
    push_line(text, &section.title);
    let widest = section.facts.iter().map(|(what, _)| width(what)).max().unwrap_or(0);
    for (what, value) in &section.facts {
        // A value of several lines is indented below its name.
        if value.contains('\n') {
            push_line(text, &format!("  {what}"));
            value.lines().for_each(|line| push_line(text, &format!("    {line}")));
        } else {
            push_line(text, &format!("  {}{}  {value}", what, " ".repeat(widest - width(what))));
        }
    }
    for table in &section.tables {
        write_table(text, table);
    }
}

fn write_table(text: &mut String, table: &Table) {
    let rows = || std::iter::once(&table.columns).chain(&table.rows);
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|column| rows().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    for row in rows() {
        let mut line = String::from(" ");
        for (index, (cell, &widest)) in row.iter().zip(&widths).enumerate() {
            let fill = " ".repeat(widest - width(cell));
            // The first column is aligned left.
            let parts = if index == 0 { [" ", cell, &fill] } else { ["  ", &fill, cell] };
            line.extend(parts);
        }
        push_line(text, &line);
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Characters, which is what a terminal counts for the letters that reports have.
fn width(text: &str) -> usize {
    text.chars().count()
}
