//! Progress and rates: how fast it goes, what holds it back, when it ends.

use ratatui::layout::Rect;

use super::super::format;
use super::super::paint::{Pen, Words, w};
use super::super::theme::Meaning;
use super::super::view::Scene;
use crate::snapshot::PhaseLine;

const LABEL: u16 = 10;

/// Nothing beside its name.
pub fn edges(_: &Scene<'_>) -> (Words, Words) {
    (Words::new(), Words::new())
}

/// A line a number; the most useful first, so that a low pane loses the least.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    if area.width < LABEL + 4 {
        return;
    }
    let mut rows = rows(scene);
    let phases = &scene.snapshot.progress.phases;
    if !phases.is_empty() {
        rows.insert(0, ("phases", strip(phases)));
    }
    let goals = &scene.snapshot.progress.goals;
    if !goals.is_empty() {
        rows.insert(usize::from(!phases.is_empty()), ("goals", aims(goals)));
    }
    for (i, (label, words)) in rows.iter().enumerate().take(usize::from(area.height)) {
        let y = area.y + i as u16;
        pen.text(area.x + 1, y, LABEL, label, Meaning::Muted);
        let mut x = area.x + 1 + LABEL;
        let mut room = area.width - 1 - LABEL;
        if *label == "flow" && room > 24 {
            let width = (room / 3).min(20);
            let flow = &scene.snapshot.progress.throughput;
            let top = flow.iter().copied().fold(1.0f32, f32::max);
            pen.graph(x, y, width, flow, top, Meaning::Graph);
            x += width + 1;
            room -= width + 1;
        }
        pen.words(x, y, room, words);
    }
}

/// Milestones and objectives: `◆ tested  ◇ shipped  ✗ fast`.
fn aims(goals: &[(String, Option<bool>)]) -> Words {
    let mut words = Words::new();
    for (name, holds) in goals {
        let (mark, meaning) = match holds {
            Some(true) => ("◆ ", Meaning::Good),
            Some(false) => ("✗ ", Meaning::Bad),
            None => ("◇ ", Meaning::Muted),
        };
        words.push(w(mark, meaning));
        words.push(w(format!("{name}  "), if holds.is_some() { Meaning::Base } else { Meaning::Muted }));
    }
    words
}

/// The phases side by side: `verify ●2 5/8 ▸ ship 0/3`.
fn strip(phases: &[PhaseLine]) -> Words {
    let mut words = Words::new();
    for (index, phase) in phases.iter().enumerate() {
        if index > 0 {
            words.push(w(" ▸ ", Meaning::Muted));
        }
        let (mark, meaning) = match phase {
            PhaseLine { failed, .. } if *failed > 0 => (format!(" ✗{failed}"), Meaning::Bad),
            PhaseLine { running, .. } if *running > 0 => (format!(" ●{running}"), Meaning::Running),
            PhaseLine { done, total, .. } if done == total => (" ✓".to_owned(), Meaning::Good),
            _ => (String::new(), Meaning::Base),
        };
        words.push(w(phase.name.clone(), if phase.running > 0 { Meaning::Title } else { Meaning::Base }));
        words.push(w(mark, meaning));
        words.push(w(format!(" {}/{}", format::count(phase.done), format::count(phase.total)), Meaning::Muted));
        if phase.ended {
            words.push(w(" ended", Meaning::Bad));
        }
    }
    words
}

fn rows(scene: &Scene<'_>) -> Vec<(&'static str, Words)> {
    let progress = &scene.snapshot.progress;
    let number = |text: String| w(text, Meaning::Base);
    let quiet = |text: &str| w(text, Meaning::Muted);
    let mut rows = vec![("flow", vec![number(format!("{:.1}", progress.per_minute)), quiet(" tasks/min")])];
    // Without one, the header says so; a line here would be a line less for what is known.
    if let Some(at) = progress.eta {
        rows.push(("ETA", vec![number(format::minute(at, &scene.model.zone))]));
    }
    if !progress.limits.is_empty() {
        let mut words = Words::new();
        for (name, share) in &progress.limits {
            words.push(number(name.clone()));
            words.push(quiet(&format!(" {:.0} %   ", share * 100.0)));
        }
        rows.push(("limits", words));
    }
    if !progress.critical.is_empty() {
        rows.push(("critical", vec![number(progress.critical.join(" → "))]));
    }
    let pair = |(median, high): (crate::engine::ids::Span, crate::engine::ids::Span)| {
        vec![quiet("p50 "), number(format!("{:<6}", format::fine(median))), quiet(" p90 "), number(format::fine(high))]
    };
    if let Some(wait) = progress.wait {
        rows.push(("wait", pair(wait)));
    }
    if let Some(run) = progress.run {
        rows.push(("run", pair(run)));
    }
    let (good, bad) = progress.attempts;
    let mut attempts = vec![number(format::count(good)), quiet(" good  ")];
    attempts.push(if bad > 0 { w(format::count(bad), Meaning::Warn) } else { number("0".into()) });
    attempts.push(quiet(" failed  "));
    attempts.push(number(format::count(scene.snapshot.counts.retries)));
    attempts.push(quiet(" retried"));
    rows.push(("attempts", attempts));
    if let Some(percent) = progress.quality {
        let meaning = if percent == 100 { Meaning::Good } else { Meaning::Warn };
        rows.push(("quality", vec![w(format!("{percent} %"), meaning), quiet(" of what is checked holds")]));
    }
    if scene.snapshot.counts.by_fallback > 0 {
        let n = scene.snapshot.counts.by_fallback;
        rows.push((
            "fallbacks",
            vec![number(format::count(n)), quiet(if n == 1 { " task done by one" } else { " tasks done by one" })],
        ));
    }
    rows.push((
        "slots",
        vec![number(format!("{:.0} %", progress.utilisation * 100.0)), quiet(" in use since the start")],
    ));
    rows
}
