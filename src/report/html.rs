//! A report as one HTML file: no script, nothing fetched, light and dark. The timeline is an SVG within it. All that came
//! from outside is cleaned and escaped.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::page::{Page, Part, names};
use super::{NAMED, Report, TOP, clock, count, diff, length, link_words, moment};
use crate::engine::fact::Outcome;
use crate::engine::ids::{Span, TaskId, Time};
use crate::snapshot::record::{Bar, LEAST_WAIT, Lane, Record};
use crate::text;

/// At most so many bars are drawn, the longest.
const MAX_DRAWN: usize = 20_000;
/// At most so many lanes.
const MAX_LANES: usize = 300;

/// What a report says.
pub fn page(report: &Report, zone: &TimeZone) -> Page {
    let mut page = Page::default();
    let record = &report.record;
    page.heading(1, format!("{}: {}", report.workflow, report.session));
    let stand: Vec<String> = report.stand.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let over = if report.over { "" } else { " It is not over." };
    page.words(format!(
        "{} to {}, {}. {}: {}. {}, of all slots {:.0} % in use.{over}",
        moment(report.began, zone),
        moment(report.until, zone),
        length(report.long()),
        count(report.tasks, "task"),
        stand.join(", "),
        count(record.bars.len(), "attempt"),
        report.used * 100.0
    ));
    page.words("No forecast yet, so none is judged.");
    goals(&mut page, report, zone);
    page.heading(2, "Timeline");
    page.parts.push(Part::Picture);
    path(&mut page, report, zone);
    failures(&mut page, report);
    page.heading(2, "Where time was lost");
    if report.bill.is_empty() {
        page.words("Nowhere: nothing failed and nothing waited for room.");
    } else {
        page.words(
            "Sums over all tasks, which cost this side by side: it is more than the run would be shorter without.",
        );
    }
    let row = |cost: &super::Cost| {
        let most = cost.most.map(|(task, time)| format!("{} {}", record.name(task), length(time)));
        vec![cost.what.clone(), length(cost.time), cost.attempts.to_string(), most.unwrap_or_default()]
    };
    page.table(&["what", ">time", ">attempts", "most of it"], report.bill.iter().map(row).collect());
    longest(&mut page, report, zone);
    page
}

fn goals(page: &mut Page, report: &Report, zone: &TimeZone) {
    let row = |(name, said): &(String, super::Said)| match said {
        Some((holds, at, why)) => {
            vec![name.clone(), if *holds { "✓ holds" } else { "✗ does not" }.into(), clock(*at, zone), why.clone()]
        }
        None => vec![name.clone(), "not reached".into(), String::new(), String::new()],
    };
    if !report.goals.is_empty() {
        page.heading(2, "Milestones and objectives");
        page.table(&["goal", "stands", "since", "by"], report.goals.iter().map(row).collect());
    }
}

fn path(page: &mut Page, report: &Report, zone: &TimeZone) {
    let record = &report.record;
    let steps = &record.critical;
    if steps.is_empty() {
        page.words("Nothing has run.");
        return;
    }
    let ran: u64 = steps.iter().map(|step| record.bar(step.bar).ran(report.until).0).sum();
    page.heading(3, "Critical path");
    page.words(format!(
        "What led to {}. {} of {} something of it ran; each step is what ended last before the next could start.",
        if report.over { "what ended last" } else { "what runs longest now" },
        length(Span(ran)),
        length(report.long())
    ));
    let skipped = steps.len().saturating_sub(2 * TOP);
    let row = |step: &crate::snapshot::record::Step| {
        let bar = record.bar(step.bar);
        vec![
            record.name(bar.task).to_owned(),
            bar.attempt.to_string(),
            clock(bar.started, zone),
            length(bar.ran(report.until)),
            bar.words(),
            link_words(record, step.link),
        ]
    };
    if skipped > 0 {
        page.words(format!("The first {} of {} steps are left out.", skipped, steps.len()));
    }
    let heads = ["task", ">attempt", "started", ">ran", "ended", "because it"];
    page.table(&heads, steps.iter().skip(skipped).map(row).collect());
}

fn failures(page: &mut Page, report: &Report) {
    let record = &report.record;
    page.heading(2, "Failures by cause");
    if report.failures.is_empty() {
        page.words("None.");
    }
    for cause in &report.failures {
        let list = |tasks: &[TaskId]| names(tasks.iter().map(|task| record.name(*task).to_owned()), NAMED);
        let attempts = match cause.attempts {
            0 => String::new(),
            n => format!(": {}, {} of work", count(n, "attempt"), length(cause.ran)),
        };
        page.heading(3, format!("{}{attempts}", cause.words));
        if !cause.for_good.is_empty() {
            page.words(format!("Failed for good: {}.", list(&cause.for_good)));
        }
        if !cause.got_over.is_empty() {
            page.words(format!("Got over it by a retry, a fallback or by hand: {}.", list(&cause.got_over)));
        }
        if let Some((task, lines)) = &cause.said {
            page.words(format!("Last words of {}:", record.name(*task)));
            page.parts.push(Part::Quote(lines.clone()));
        }
    }
}

fn longest(page: &mut Page, report: &Report, zone: &TimeZone) {
    let record = &report.record;
    let wait = |wait: &crate::snapshot::record::Wait| {
        let still = if wait.bar.is_none() { " (still)" } else { "" };
        let name = format!("{}{still}", record.name(wait.task));
        vec![name, length(wait.long), clock(wait.from, zone), wait.why.clone()]
    };
    if !record.waits.is_empty() {
        page.heading(2, "Longest waits for room");
        let rows = record.waits.iter().take(TOP).map(wait).collect();
        page.table(&["task", ">waited", "since", "for"], rows);
    }
    let slow = |index: u32| {
        let bar = record.bar(index);
        let attempt = bar.attempt.to_string();
        let agent = record.agent(bar.agent).to_owned();
        vec![record.name(bar.task).to_owned(), attempt, length(bar.ran(report.until)), bar.words(), agent]
    };
    page.heading(2, "Longest runs");
    let rows = report.slowest().into_iter().map(slow).collect();
    page.table(&["task", ">attempt", ">ran", "ended", "on"], rows);
}

// ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const STYLE: &str = "
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2128;--quiet:#6a737d;--line:#d8dee4;--done:#8b9eb0;--run:#3178c6;--bad:#c93c37;--off:#c9ced4;--path:#1c2128;--good:#2a7d4f}
@media(prefers-color-scheme:dark){:root{--ground:#14181d;--ink:#d7dde3;--quiet:#8b949e;--line:#30363d;--done:#5b6b7a;--run:#58a0e8;--bad:#f0655f;--off:#3d444d;--path:#e6edf3;--good:#5fbf8a}}
body{font:15px/1.5 system-ui,sans-serif;background:var(--ground);color:var(--ink);max-width:1240px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}h3{font-size:1em}
table{border-collapse:collapse;margin:.5em 0}th{text-align:left;color:var(--quiet);font-weight:normal}
td,th{padding:.15em 1em .15em 0;border-bottom:1px solid var(--line);vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums}
pre{border-left:3px solid var(--line);padding:.2em 1em;overflow-x:auto}
svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--quiet)}svg .name{fill:var(--ground);pointer-events:none}
.done{fill:var(--done)}.run{fill:var(--run)}.bad{fill:var(--bad)}.off{fill:var(--off)}.path{stroke:var(--path);stroke-width:1.5}
.grid{stroke:var(--line)}.mark{stroke:var(--good)}.load{fill:none;stroke:var(--run)}
";

/// A report as one HTML file.
pub fn html(report: &Report, zone: &TimeZone) -> String {
    let title = format!("{}: {}", report.workflow, report.session);
    write(&page(report, zone), &title, &picture(report, zone))
}

/// A comparison as one HTML file.
pub fn comparison(diff: &diff::Diff, zone: &TimeZone) -> String {
    write(&diff::page(diff, zone), &diff.title(), "")
}

fn write(page: &Page, title: &str, picture: &str) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        escaped(title)
    );
    for part in &page.parts {
        match part {
            Part::Heading(depth, text) => {
                let _ = writeln!(out, "<h{depth}>{}</h{depth}>", escaped(text));
            }
            Part::Words(text) => {
                let _ = writeln!(out, "<p>{}</p>", escaped(text));
            }
            Part::Table(heads, rows) => {
                let class = |numbers: bool| if numbers { " class=\"n\"" } else { "" };
                out += "<table>\n<tr>";
                for (head, numbers) in heads {
                    let _ = write!(out, "<th{}>{}</th>", class(*numbers), escaped(head));
                }
                out += "</tr>\n";
                for row in rows {
                    out += "<tr>";
                    for (cell, (_, numbers)) in row.iter().zip(heads) {
                        let _ = write!(out, "<td{}>{}</td>", class(*numbers), escaped(cell));
                    }
                    out += "</tr>\n";
                }
                out += "</table>\n";
            }
            Part::Quote(lines) => {
                let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
                let _ = writeln!(out, "<pre>{}</pre>", lines.join("\n"));
            }
            Part::Picture => out += picture,
        }
    }
    out += "</body>\n</html>\n";
    out
}

fn escaped(foreign: &str) -> String {
    let mut out = String::with_capacity(foreign.len());
    for c in text::clean(foreign).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

// ── the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────────

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 110.0;
const ROW: f64 = 18.0;
const LOAD: f64 = 40.0;

/// Where times are.
struct Scale {
    from: Time,
    long: f64,
}

impl Scale {
    fn x(&self, at: Time) -> f64 {
        LEFT + (WIDTH - LEFT) * (at.since(self.from).0 as f64 / self.long).min(1.0)
    }
}

fn picture(report: &Report, zone: &TimeZone) -> String {
    let record = &report.record;
    if record.bars.is_empty() {
        return String::new();
    }
    let scale = Scale { from: report.began, long: report.long().0.max(1) as f64 };
    let lanes: Vec<&Lane> = record.by_agent.iter().take(MAX_LANES).collect();
    let height = 30.0 + ROW * lanes.len() as f64 + LOAD + 10.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"timeline\">\n");
    grid(&mut svg, report, &scale, height, zone);
    let least = shortest_drawn(record, report.until);
    let mut left_out = 0;
    for (n, lane) in lanes.iter().enumerate() {
        let y = 24.0 + ROW * n as f64;
        if !lane.more {
            let _ = writeln!(
                svg,
                "<text x=\"0\" y=\"{:.0}\">{}</text>",
                y + 12.0,
                escaped(&text::fit(&text::clean(&lane.label), 18))
            );
        }
        for index in &lane.bars {
            let bar = record.bar(*index);
            if bar.ran(report.until) < least {
                left_out += 1;
                continue;
            }
            one_bar(&mut svg, report, bar, &scale, y, zone);
        }
    }
    load(&mut svg, report, 24.0 + ROW * lanes.len() as f64 + 6.0);
    svg += "</svg>\n";
    if left_out > 0 {
        let _ = writeln!(svg, "<p>{left_out} shorter attempts are not drawn.</p>");
    }
    if record.by_agent.len() > lanes.len() {
        let _ = writeln!(svg, "<p>{} more lanes are not drawn.</p>", record.by_agent.len() - lanes.len());
    }
    svg += "<p>A lane is a slot of an agent. Grey ran and succeeded, red failed or was lost, pale was stopped, blue runs; outlined: \
            the critical path. Below: how many ran at once. No forecast yet.</p>\n";
    svg
}

/// What is shorter than this is not drawn, so that at most [`MAX_DRAWN`] are.
fn shortest_drawn(record: &Record, until: Time) -> Span {
    let mut lengths: Vec<Span> = record.bars.iter().map(|bar| bar.ran(until)).collect();
    if lengths.len() <= MAX_DRAWN {
        return Span(0);
    }
    let at = lengths.len() - MAX_DRAWN;
    let (_, least, _) = lengths.select_nth_unstable(at);
    Span(least.0 + 1)
}

fn grid(svg: &mut String, report: &Report, scale: &Scale, height: f64, zone: &TimeZone) {
    for n in 0..=10 {
        let at = Time(report.began.0 + report.long().0 * n / 10);
        let x = scale.x(at);
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"16\" x2=\"{x:.1}\" y2=\"{height:.0}\"/>");
        if n < 10 {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"12\">{}</text>", clock(at, zone));
        }
    }
    for (at, name) in &report.record.marks {
        let x = scale.x(*at);
        let _ = writeln!(
            svg,
            "<line class=\"mark\" x1=\"{x:.1}\" y1=\"16\" x2=\"{x:.1}\" y2=\"{height:.0}\"><title>{} {}</title></line>",
            escaped(name),
            clock(*at, zone)
        );
    }
}

fn one_bar(svg: &mut String, report: &Report, bar: &Bar, scale: &Scale, y: f64, zone: &TimeZone) {
    let record = &report.record;
    let (x, end) = (scale.x(bar.started), scale.x(bar.ended.unwrap_or(report.until)));
    let width = (end - x).max(0.6);
    let class = match &bar.outcome {
        None => "run",
        Some(Outcome::Succeeded | Outcome::UpToDate) => "done",
        Some(Outcome::Failed(_) | Outcome::Lost(_)) => "bad",
        Some(Outcome::Cancelled | Outcome::Aborted(_)) => "off",
    };
    let path = if bar.critical { " path" } else { "" };
    let name = text::clean(record.name(bar.task));
    let waited = if bar.waited() >= LEAST_WAIT { format!(", waited {}", length(bar.waited())) } else { String::new() };
    let told = format!(
        "{name} attempt {}: {}, {} from {} on {}{waited}",
        bar.attempt,
        bar.words(),
        length(bar.ran(report.until)),
        clock(bar.started, zone),
        record.agent(bar.agent)
    );
    let _ = writeln!(
        svg,
        "<rect class=\"{class}{path}\" x=\"{x:.1}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"15\"><title>{}</title></rect>",
        escaped(&told)
    );
    let cells = (width / 6.5) as usize;
    if cells >= 4 {
        let short = text::fit(&name, cells);
        let _ =
            writeln!(svg, "<text class=\"name\" x=\"{:.1}\" y=\"{:.0}\">{}</text>", x + 3.0, y + 11.0, escaped(&short));
    }
}

fn load(svg: &mut String, report: &Report, top: f64) {
    const POINTS: u64 = 300;
    let at = |n: u64| Time(report.began.0 + report.long().0 * n / POINTS);
    let counts: Vec<usize> = (0..=POINTS).map(|n| report.record.running_at(at(n))).collect();
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let _ = writeln!(svg, "<text x=\"0\" y=\"{:.0}\">at once, up to {most}</text>", top + 12.0);
    let point = |(n, count): (usize, &usize)| {
        let x = LEFT + (WIDTH - LEFT) * n as f64 / POINTS as f64;
        format!("{x:.1},{:.1}", top + LOAD - 4.0 - (LOAD - 6.0) * *count as f64 / most as f64)
    };
    let points: Vec<String> = counts.iter().enumerate().map(point).collect();
    let _ = writeln!(svg, "<polyline class=\"load\" points=\"{}\"/>", points.join(" "));
}
