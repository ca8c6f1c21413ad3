//! Identity, state, clock, what is due and how far it is: the first two lines, or the only one.

use crate::engine::ids::Time;
use crate::snapshot::{Counts, Mode, Storage};

use super::super::format;
use super::super::layout::Shape;
use super::super::paint::{Pen, Words, w, width_of};
use super::super::theme::Meaning;
use super::super::view::Scene;

/// The header of a screen of some size.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let area = scene.areas.header;
    if scene.areas.shape == Shape::Compact {
        let mut words = vec![w(&scene.snapshot.header.workflow, Meaning::Title), w(" ", Meaning::Base)];
        words.extend(mode(scene));
        words.push(w(format!("  {}", ratio(&scene.snapshot.counts)), Meaning::Base));
        words.extend(eta(scene, true));
        words.extend(badges(scene));
        pen.words(area.x + 1, area.y, area.width.saturating_sub(1), &words);
        return;
    }
    first(pen, scene);
    second(pen, scene);
}

fn first(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let area = scene.areas.header;
    let header = &scene.snapshot.header;
    let wide = area.width >= 100;
    let end = header.ended.unwrap_or(scene.model.now);
    let right = badges(scene);
    let used = pen.words_right(area.right() - 1, area.y, area.width / 2, &right);
    let room = area.width.saturating_sub(used + 3);
    let mut identity = vec![w(&header.workflow, Meaning::Title), w(" ▸ ", Meaning::Muted)];
    identity.extend(mode(scene));
    identity.push(w("  ", Meaning::Base));
    if area.width >= 140 && header.session != header.workflow {
        identity.push(w(format!("{}  ", header.session), Meaning::Muted));
    }
    identity.push(w(format::clock(scene.model.now, &scene.model.zone), Meaning::Base));
    identity.push(w(if wide { "  elapsed " } else { "  " }, Meaning::Muted));
    identity.push(w(format::stopwatch(end.since(header.started)), Meaning::Base));
    // What explains is the first to go where there is no room.
    for (short, named) in [(false, true), (false, false), (true, false)] {
        let mut words = identity.clone();
        words.extend(eta(scene, short));
        words.extend(due(scene, named));
        if short || width_of(&words) <= usize::from(room) {
            pen.words(area.x + 1, area.y, room, &words);
            break;
        }
    }
}

fn second(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let area = scene.areas.header;
    let y = area.y + 1;
    let counts = &scene.snapshot.counts;
    let width = (area.width * 2 / 5).clamp(10, 64);
    bar(pen, area.x + 1, y, width, counts);
    let mut right = Words::new();
    let progress = &scene.snapshot.progress;
    if counts.total > 0 {
        let unit = if area.width >= 100 { " tasks/min" } else { "/min" };
        right.push(w(format!("{:.1}", progress.per_minute), Meaning::Base));
        right.push(w(unit, Meaning::Muted));
    }
    let used = pen.words_right(area.right() - 1, y, area.width / 3, &right);
    let x = area.x + width + 3;
    let room = area.right().saturating_sub(x + used + 3);
    pen.words(x, y, room, &summary(counts, area.width >= 140));
}

/// One segmented bar: done, failed, running, the rest.
pub fn bar(pen: &mut Pen<'_>, x: u16, y: u16, width: u16, counts: &Counts) {
    let share = |n: usize| if counts.total == 0 { 0.0 } else { n as f64 / counts.total as f64 };
    let parts = [
        (share(counts.succeeded + counts.skipped), "█", Meaning::BarDone),
        (share(counts.failed + counts.lost), "▒", Meaning::BarBad),
        (share(counts.running + counts.stopping), "▓", Meaning::BarRunning),
    ];
    pen.bar(x, y, width, &parts, "░");
}

fn ratio(counts: &Counts) -> String {
    format!("{}/{}", format::count(counts.succeeded + counts.skipped), format::count(counts.total))
}

/// Counts with their glyphs; what is normal is quiet.
fn summary(counts: &Counts, words: bool) -> Words {
    let mut out = vec![w(ratio(counts), Meaning::Base), w(" ✓", Meaning::Good)];
    let parts = [
        (counts.failed, "✗", "failed", Meaning::Bad),
        (counts.lost, "‽", "lost", Meaning::Bad),
        (counts.running, "●", "running", Meaning::Running),
        (counts.stopping, "◍", "stopping", Meaning::Warn),
        (counts.ready, "◎", "ready", Meaning::Base),
        (counts.awaiting, "◔", "awaiting", Meaning::Warn),
        (counts.waiting, "○", "waiting", Meaning::Base),
        (counts.delayed, "↻", "delayed", Meaning::Warn),
        (counts.held, "⊘", "held", Meaning::Held),
        (counts.blocked, "◌", "blocked", Meaning::Off),
        (counts.cancelled, "⊗", "cancelled", Meaning::Off),
        (counts.skipped, "»", "skipped", Meaning::Off),
    ];
    for (n, glyph, word, meaning) in parts.into_iter().filter(|(n, ..)| *n > 0) {
        let quiet = matches!(meaning, Meaning::Base | Meaning::Running);
        out.push(w("  ", Meaning::Base));
        out.push(w(glyph, meaning));
        out.push(w(format!(" {}", format::count(n)), if quiet { Meaning::Base } else { meaning }));
        if words {
            out.push(w(format!(" {word}"), Meaning::Muted));
        }
    }
    out
}

fn mode(scene: &Scene<'_>) -> Words {
    let counts = &scene.snapshot.counts;
    if scene.snapshot.header.replay.is_some() {
        return vec![w("REPLAY", Meaning::Warn)];
    }
    let (word, meaning) = match scene.snapshot.header.mode {
        Mode::Running => ("RUNNING", Meaning::Running),
        Mode::Paused => ("PAUSED", Meaning::Warn),
        Mode::Overloaded => ("WAITING", Meaning::Warn),
        Mode::Draining => ("DRAINING", Meaning::Warn),
        Mode::Stopping => ("STOPPING", Meaning::Warn),
        Mode::Finished if counts.failed - counts.excused + counts.lost + counts.blocked > 0 => {
            ("FINISHED", Meaning::Bad)
        }
        Mode::Finished => ("FINISHED", Meaning::Good),
    };
    vec![w(word, meaning)]
}

/// When all will be done, or honestly why that cannot be said.
fn eta(scene: &Scene<'_>, short: bool) -> Words {
    let progress = &scene.snapshot.progress;
    if scene.snapshot.header.mode == Mode::Finished {
        return Words::new();
    }
    let mut words = vec![w("   ETA ", Meaning::Muted)];
    match (progress.eta, &progress.eta_why_not) {
        (Some(at), _) => words.push(w(format::minute(at, &scene.model.zone), Meaning::Title)),
        (None, _) if short => words.push(w("—", Meaning::Muted)),
        (None, Some(why)) => words.push(w(format!("— ({why})"), Meaning::Muted)),
        (None, None) => words.push(w("no forecast yet", Meaning::Muted)),
    }
    words
}

/// The next deadline and whether it will be kept.
fn due(scene: &Scene<'_>, named: bool) -> Words {
    let Some((at, task)) = &scene.snapshot.header.due else { return Words::new() };
    let mut words = vec![w("   due ", Meaning::Muted), w(format::minute(*at, &scene.model.zone), Meaning::Base)];
    if named {
        words.push(w(format!(" {task}"), Meaning::Muted));
    }
    let header = &scene.snapshot.header;
    let (word, meaning) = risk(*at, header.started, scene.model.now, scene.snapshot.progress.eta);
    words.push(w(format!(" {word}"), meaning));
    words
}

fn risk(due: Time, started: Time, now: Time, eta: Option<Time>) -> (String, Meaning) {
    match eta {
        _ if now > due => (format!("✗ {} late", format::short(now.since(due))), Meaning::Bad),
        Some(eta) if eta > due => (format!("▲ late by {}", format::short(eta.since(due))), Meaning::Warn),
        Some(_) => ("on time".into(), Meaning::Good),
        // Without a forecast, the last fifth of the time is a reason to look.
        None if due.since(now).0 < due.since(started).0 / 5 => {
            (format!("▲ in {}", format::short(due.since(now))), Meaning::Warn)
        }
        None => (format!("in {}", format::short(due.since(now))), Meaning::Muted),
    }
}

/// What must be seen whatever else is on the screen.
fn badges(scene: &Scene<'_>) -> Words {
    let header = &scene.snapshot.header;
    let mut words = Words::new();
    let clock = |at: Time| format::minute(at, &scene.model.zone);
    match &header.storage {
        Storage::Good => {}
        Storage::Slow(span) => words.push(w(format!(" storage slow {:.1} s ", span.0 as f64 / 1000.0), Meaning::Warn)),
        Storage::Full { since, .. } => {
            words.push(w(format!(" DISK FULL since {}, no new starts ", clock(*since)), Meaning::Alarm));
        }
        Storage::Broken { since, why } => {
            words.push(w(format!(" STORAGE ERROR since {}: {why}, no new starts ", clock(*since)), Meaning::Alarm));
        }
    }
    if header.guard_lost {
        words.push(w(" no guard: a crash would lose outcomes ", Meaning::Alarm));
    }
    if header.attached {
        words.push(w(" attached ", Meaning::Running));
    }
    if header.read_only.is_some() && header.replay.is_none() {
        words.push(w(" read-only ", Meaning::Warn));
    }
    words
}

/// All there is on a screen too small for more: one centred line. Keys still work.
pub fn line(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let area = scene.areas.header;
    let counts = &scene.snapshot.counts;
    let mut words = vec![w(ratio(counts), Meaning::Title)];
    if area.width >= 20 && area.height >= 3 {
        if counts.failed + counts.lost > 0 {
            words.push(w(format!("  ✗ {}", counts.failed + counts.lost), Meaning::Bad));
        }
        words.extend(eta(scene, true));
        let alerts = scene.snapshot.alerts.len();
        if alerts > 0 {
            words.push(w(format!("  {}", format::plural(alerts, "alert")), Meaning::Warn));
        }
        words.push(w("  (need 40x12)", Meaning::Muted));
    }
    let x = usize::from(area.width).saturating_sub(width_of(&words)) / 2;
    pen.words(x as u16, area.height / 2, area.width, &words);
}
