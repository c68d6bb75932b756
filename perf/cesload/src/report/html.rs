//! The report as one page: no script, nothing from elsewhere, light or dark as the reader's system is.

use super::document::{Plot, Section, Style, Table};
use super::{Report, VERSION, sections, svg};
use crate::mode::Verdict;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(report: &Report) -> String {
    let verdict = match &report.ended.verdict {
        Verdict::Done | Verdict::Passed => "good",
        Verdict::Failed(_) | Verdict::Error(_) => "bad",
        Verdict::Interrupted => "part",
    };
    let title = format!("cesload {}", report.mode);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}: {profile}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<p class=\"kind\">{title} · {profile}</p>\n<h1 class=\"{verdict}\">{headline}</h1>\n</header>\n<main>\n",
        title = escaped(&title),
        profile = escaped(&report.profile_path),
        headline = escaped(&sections::headline(report)),
    );
    for section in sections::of(report).into_iter().chain([sections::profile_section(report)]) {
        write_section(&mut page, &section);
    }
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "</main>\n<footer>cesload {VERSION}, {}</footer>\n</body>\n</html>\n",
        escaped(&report.started)
    );
    page
}

fn write_section(page: &mut String, section: &Section) {
    let _ = writeln!(page, "<section>\n<h2>{}</h2>", escaped(&section.title));
    if !section.facts.is_empty() {
        page.push_str("<dl>\n");
        for (what, value) in &section.facts {
            let value = escaped(value);
            let value = if value.contains('\n') { format!("<pre>{value}</pre>") } else { value };
            let _ = writeln!(page, "<dt>{}</dt><dd>{value}</dd>", escaped(what));
        }
        page.push_str("</dl>\n");
    }
    for table in &section.tables {
        write_table(page, table);
    }
    for plot in &section.plots {
        write_plot(page, plot);
    }
    page.push_str("</section>\n");
}

fn write_plot(page: &mut String, plot: &Plot) {
    let _ =
        writeln!(page, "<figure>\n<figcaption>{}</figcaption>\n{}", escaped(&plot.title), svg::drawn(plot));
    if plot.series.len() > 1 {
        page.push_str("<p class=\"legend\">");
        for (index, series) in plot.series.iter().enumerate() {
            let colour = svg::colour(index);
            let mark = match series.style {
                Style::Line => "line",
                Style::Points => "point",
                Style::Dashed => "dashes",
            };
            let _ = write!(page, "<span class=\"{mark} k{colour}\">{}</span>", escaped(&series.name));
        }
        page.push_str("</p>\n");
    }
    page.push_str("</figure>\n");
}

fn write_table(page: &mut String, table: &Table) {
    let row = |cells: &[String], tag: &str| -> String {
        cells.iter().fold(String::new(), |row, cell| row + &format!("<{tag}>{}</{tag}>", escaped(cell)))
    };
    let _ = writeln!(
        page,
        "<div class=\"wide\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>",
        row(&table.columns, "th")
    );
    for cells in &table.rows {
        let _ = writeln!(page, "<tr>{}</tr>", row(cells, "td"));
    }
    page.push_str("</tbody>\n</table></div>\n");
}

/// Text in a page: nothing in it is markup.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What a command may print and a page must not hold.
            letter if letter.is_control() && letter != '\n' && letter != '\t' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
