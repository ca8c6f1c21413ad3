//! A page as Markdown. What came from outside can neither control a terminal nor the page: it is cleaned, and what Markdown
//! or HTML would take as markup is escaped.

use jiff::tz::TimeZone;

use super::page::{Page, Part};
use super::{Report, diff};
use crate::text;

/// A report as Markdown.
pub fn markdown(report: &Report, zone: &TimeZone) -> String {
    write(&super::html::page(report, zone))
}

/// A comparison as Markdown.
pub fn comparison(diff: &diff::Diff, zone: &TimeZone) -> String {
    write(&diff::page(diff, zone))
}

fn write(page: &Page) -> String {
    let mut out = String::new();
    for part in &page.parts {
        if !out.is_empty() && *part != Part::Picture {
            out.push('\n');
        }
        match part {
            Part::Heading(depth, text) => {
                out += &format!("{} {}\n", "#".repeat(usize::from(*depth)), escaped(text));
            }
            Part::Words(text) => out += &format!("{}\n", escaped(text)),
            Part::Table(heads, rows) => {
                let line = |cells: &mut dyn Iterator<Item = String>| {
                    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
                };
                out += &line(&mut heads.iter().map(|(head, _)| escaped(head)));
                let rule = heads.iter().map(|(_, numbers)| if *numbers { "--:" } else { "---" });
                out += &format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
                for row in rows {
                    out += &line(&mut row.iter().map(|cell| escaped(cell)));
                }
            }
            Part::Quote(lines) => {
                for line in lines {
                    out += &format!("    {}\n", text::clean(line));
                }
            }
            Part::Picture => {}
        }
    }
    out
}

fn escaped(foreign: &str) -> String {
    let mut out = String::with_capacity(foreign.len());
    for c in text::clean(foreign).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '~' | '!') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
