//! The task under the cursor: why it is where it is, what it is, what its attempts did.

use ratatui::layout::Rect;

use crate::snapshot::{Detail, Phase, Snapshot};

use super::super::format;
use super::super::glyphs;
use super::super::model::{Model, Tab};
use super::super::paint::{Pen, Words, w, wrap};
use super::super::theme::Meaning;
use super::super::view::Scene;

/// Title: which task; foot: the way to the next tab.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let mut title = Words::new();
    if let Some(row) = scene.model.task(scene.snapshot) {
        title.push(w(format!("  {}", row.name), Meaning::Base));
    }
    (title, vec![w("d", Meaning::Key), w(" next", Meaning::Muted)])
}

/// The tab that is shown.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    let lines = lines(scene.model, scene.snapshot, usize::from(area.width.saturating_sub(2)));
    let rows = usize::from(area.height);
    let skip = scene.model.detail_scroll.min(lines.len().saturating_sub(rows));
    for (i, words) in lines.iter().skip(skip).take(rows).enumerate() {
        pen.words(area.x + 1, area.y + i as u16, area.width.saturating_sub(1), words);
    }
}

/// The lines of the tab, for a pane of this width.
pub fn lines(model: &Model, snapshot: &Snapshot, width: usize) -> Vec<Words> {
    let Some(detail) = model.detail(snapshot) else {
        return vec![vec![w("choose a task to see why it waits or what it did", Meaning::Muted)]];
    };
    match model.tab {
        Tab::Why | Tab::Log => why_within(model, snapshot, width),
        Tab::Info => info(model, detail, width),
        Tab::Attempts => attempts(model, detail),
    }
}

/// [`why`] for so many cells: long lines go on below, indented.
pub fn why_within(model: &Model, snapshot: &Snapshot, width: usize) -> Vec<Words> {
    why(model, snapshot).into_iter().flat_map(|words| wrapped(words, width)).collect()
}

fn wrapped(words: Words, width: usize) -> Vec<Words> {
    let (mark, text, meaning) = match words.as_slice() {
        [(text, meaning)] => {
            let indent = text.len() - text.trim_start().len();
            ((" ".repeat(indent), *meaning), text.trim_start(), *meaning)
        }
        [mark, (text, meaning)] => (mark.clone(), text.as_str(), *meaning),
        _ => return vec![words],
    };
    let indent = crate::text::width(&mark.0);
    let parts = wrap(text, width.saturating_sub(indent));
    let line = |(i, part): (usize, String)| {
        let head = if i == 0 { mark.0.clone() } else { " ".repeat(indent) };
        vec![w(head, mark.1), w(part, meaning)]
    };
    parts.into_iter().enumerate().map(line).collect()
}

/// The check-list: met and unmet, in the order in which it clears.
pub fn why(model: &Model, snapshot: &Snapshot) -> Vec<Words> {
    let Some(detail) = model.detail(snapshot) else { return vec![] };
    let row = &detail.row;
    let (_, word, meaning) = glyphs::phase(row.phase);
    let age = format::short(model.now.since(row.since));
    let mut first = vec![
        w(row.name.to_string(), Meaning::Title),
        w(format!("  {word}"), if meaning == Meaning::Done { Meaning::Muted } else { meaning }),
        w(format!(" {age}"), Meaning::Base),
        w(format!("   priority {}   stage {}", row.priority, row.stage), Meaning::Muted),
    ];
    if let Some(estimate) = row.estimate {
        first.push(w(format!("   estimate {}", format::short(estimate)), Meaning::Muted));
    }
    let mut out = vec![first];
    for line in &detail.why {
        let over = matches!(row.phase, Phase::Failed | Phase::Lost);
        let (glyph, mark, text) = match line.met {
            true => ("✓ ", Meaning::Good, Meaning::Muted),
            false if over => ("✗ ", Meaning::Bad, Meaning::Base),
            false => ("✗ ", Meaning::Warn, Meaning::Base),
        };
        out.push(vec![w(format!(" {glyph}"), mark), w(&line.text, text)]);
        out.extend(line.more.iter().map(|more| vec![w(format!("     {more}"), Meaning::Muted)]));
    }
    if detail.why.is_empty() {
        out.push(vec![w(" nothing stands in its way", Meaning::Muted)]);
    }
    if !detail.before.is_empty() {
        out.push(vec![w(" before ", Meaning::Muted), w(detail.before.join(", "), Meaning::Base)]);
    }
    out
}

fn info(model: &Model, detail: &Detail, width: usize) -> Vec<Words> {
    const LABEL: usize = 11;
    let mut out = Vec::new();
    let mut put = |label: &str, text: &str, meaning: Meaning| {
        for (i, part) in wrap(text, width.saturating_sub(LABEL)).into_iter().enumerate().take(40) {
            let label = if i == 0 { label } else { "" };
            let label = crate::text::fit(&crate::text::clean(label), LABEL - 1).into_owned();
            let pad = " ".repeat(LABEL - crate::text::width(&label).min(LABEL));
            out.push(vec![w(format!("{label}{pad}"), Meaning::Muted), w(part, meaning)]);
        }
    };
    put("command", &detail.command, Meaning::Base);
    if let Some(replaced) = &detail.replaced_by {
        put("runs", &format!("{replaced} (by fallback)"), Meaning::Held);
    }
    for (name, value) in &detail.facts {
        put(name, value, Meaning::Base);
    }
    if let Some(at) = detail.row.deadline {
        let meaning = if detail.row.late { Meaning::Warn } else { Meaning::Base };
        put("deadline", &format::clock(at, &model.zone), meaning);
    }
    if !detail.after.is_empty() {
        put("after", &detail.after.join(", "), Meaning::Base);
    }
    if !detail.before.is_empty() {
        put("before", &detail.before.join(", "), Meaning::Base);
    }
    if let Some(log) = &detail.log {
        put("log", &log.display().to_string(), Meaning::Muted);
    }
    out
}

fn attempts(model: &Model, detail: &Detail) -> Vec<Words> {
    if detail.attempts.is_empty() {
        return vec![vec![w("not started yet", Meaning::Muted)]];
    }
    let mut out =
        vec![vec![w(format!("{:<4}{:<10}{:<10}{:>6}  OUTCOME", "#", "STARTED", "AGENT", "RAN"), Meaning::Muted)]];
    for attempt in &detail.attempts {
        let ran = attempt.ran.map_or_else(|| "…".into(), format::short);
        let started = format::clock(attempt.started, &model.zone);
        let agent = crate::text::clean(&attempt.agent);
        let agent = crate::text::fit(&agent, 9);
        let meaning = match (attempt.good, attempt.ran) {
            (_, None) => Meaning::Running,
            (true, _) => Meaning::Muted,
            (false, _) => Meaning::Bad,
        };
        out.push(vec![
            w(format!("{:<4}{started:<10}{agent:<10}{ran:>6}  ", attempt.attempt.0), Meaning::Base),
            w(&attempt.outcome, meaning),
        ]);
    }
    out
}
