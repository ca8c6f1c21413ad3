//! Popups that want an answer: fields, yes or no, the quit menu. They are drawn from our own words and the session's names
//! only, quoted and on one line: a log cannot draw one.

use ratatui::layout::Rect;
use ratatui::widgets::Widget;
use tui_textarea::TextArea;

use super::super::format;
use super::super::keymap::Context;
use super::super::layout::Shape;
use super::super::paint::{Pen, Words, w, width_of, wrap};
use super::super::theme::Meaning;
use super::super::view::Scene;
use super::{framed, keys, popup};

/// A field in the first row of an area, after a prompt.
pub(super) fn field(pen: &mut Pen<'_>, area: Rect, field: &TextArea<'_>, hint: &str) {
    if area.height == 0 || area.width < 4 {
        return;
    }
    pen.text(area.x, area.y, 2, "> ", Meaning::Key);
    let place = Rect { x: area.x + 2, width: area.width - 2, height: 1, ..area };
    let mut shown = field.clone();
    let base = pen.theme.of(Meaning::Base).patch(pen.theme.of(Meaning::Popup));
    shown.set_style(base);
    shown.set_cursor_line_style(base);
    shown.set_cursor_style(base.patch(ratatui::style::Style::new().add_modifier(ratatui::style::Modifier::REVERSED)));
    (&shown).render(place, pen.buffer);
    if field.lines().iter().all(String::is_empty) && !hint.is_empty() {
        pen.text(place.x + 1, place.y, place.width - 1, hint, Meaning::Muted);
    }
}

/// At the foot of the screen, so that the rows it filters stay in sight.
fn at_foot(pen: &mut Pen<'_>, scene: &Scene<'_>, height: u16, title: &str) -> Rect {
    let screen = pen.buffer.area;
    let height = height.min(screen.height);
    let bottom = if scene.areas.shape == Shape::Line { screen.height } else { scene.areas.alert.y };
    let area = Rect::new(0, bottom.saturating_sub(height), screen.width, height);
    framed(pen, area, title, &keys(Context::Field))
}

/// A task as text, and below it what is wrong with that.
pub(super) fn write(
    pen: &mut Pen<'_>,
    scene: &Scene<'_>,
    text: &TextArea<'_>,
    name: Option<&str>,
    problem: Option<&str>,
) {
    let lines: Vec<&str> = problem.unwrap_or_default().lines().collect();
    let title = name.map_or_else(|| "New task".to_owned(), |name| format!("Edit {name}"));
    // As high with a mistake as without: nothing jumps while somebody writes.
    let inside = at_foot(pen, scene, 14, &title);
    field(pen, inside, text, "id: \"smoke\", run: \"make smoke\", after: [\"build\"], stage: \"test\"");
    let room = inside.width.saturating_sub(2);
    if lines.is_empty() && inside.height > 1 {
        let hint = match name {
            Some(_) => "only what differs is changed; None takes a field away; stage: \"…\" moves it",
            None => "as a workflow file says it; [Task(…), Task(…)] for several",
        };
        pen.text(inside.x + 2, inside.y + 1, room, hint, Meaning::Muted);
    }
    for (i, line) in lines.iter().enumerate().take(usize::from(inside.height.saturating_sub(1))) {
        let meaning = if i == 0 { Meaning::Warn } else { Meaning::Muted };
        let mark = if i == 0 { "▲ " } else { "" };
        pen.text(inside.x + 2, inside.y + 1 + i as u16, room, &format!("{mark}{}", crate::text::clean(line)), meaning);
    }
}

pub(super) fn filter(pen: &mut Pen<'_>, scene: &Scene<'_>, text: &TextArea<'_>, problem: Option<&str>) {
    let inside = at_foot(pen, scene, 4, "Filter");
    field(pen, inside, text, "state:failed  stage:build  prio>40  lock:db  tag:slow  -not  words of the name");
    let y = inside.y + 1;
    if y >= inside.bottom() {
        return;
    }
    match problem {
        Some(problem) => {
            pen.text(inside.x + 2, y, inside.width.saturating_sub(2), &format!("▲ {problem}"), Meaning::Warn)
        }
        None => {
            let n = format::count(scene.snapshot.matching);
            let of = format!("{n} of {}", format::plural(scene.snapshot.counts.total, "task"));
            pen.text(inside.x + 2, y, inside.width.saturating_sub(2), &of, Meaning::Muted)
        }
    };
}

pub(super) fn search(pen: &mut Pen<'_>, scene: &Scene<'_>, text: &TextArea<'_>, problem: Option<&str>) {
    let inside = at_foot(pen, scene, 4, "Search the whole log");
    field(pen, inside, text, "words, or re:pattern");
    let y = inside.y + 1;
    if y < inside.bottom() {
        let (line, meaning) = match problem {
            Some(problem) => (format!("▲ {problem}"), Meaning::Warn),
            None => (
                "words as they are, or re:pattern; capitals count if there are any; nothing: the last one again".into(),
                Meaning::Muted,
            ),
        };
        pen.text(inside.x + 2, y, inside.width.saturating_sub(2), &line, meaning);
    }
}

pub(super) fn say(pen: &mut Pen<'_>, scene: &Scene<'_>, text: &TextArea<'_>) {
    let inside = at_foot(pen, scene, 4, "Say to everybody who looks");
    field(pen, inside, text, "a message");
    let y = inside.y + 1;
    if y < inside.bottom() {
        let line = "it is stored with the session; g m shows all messages";
        pen.text(inside.x + 2, y, inside.width.saturating_sub(2), line, Meaning::Muted);
    }
}

pub(super) fn confirm(pen: &mut Pen<'_>, scene: &Scene<'_>, title: &str, lines: &[String], yes: &str) {
    let width = scene.model.size.0.saturating_sub(2).min(68);
    let room = usize::from(width.saturating_sub(4));
    let mut out: Vec<Words> = wrap(title, room).into_iter().map(|line| vec![w(line, Meaning::Title)]).collect();
    out.push(Words::new());
    for line in lines {
        out.extend(wrap(line, room).into_iter().map(|line| vec![w(line, Meaning::Base)]));
    }
    out.push(Words::new());
    let answers = vec![
        w(" [ No, keep ] ", Meaning::Selected),
        w("     ", Meaning::Base),
        w("y", Meaning::Key),
        w(format!("  yes, {yes}"), Meaning::Base),
    ];
    let height = (out.len() as u16 + 3).min(scene.model.size.1);
    let foot = vec![w("Enter, n or Esc", Meaning::Key), w(" = No", Meaning::Muted)];
    let inside = popup(pen, (width, height), "Confirm", &foot);
    // The answers are always seen, whatever must be left out above them.
    let above = usize::from(inside.height.saturating_sub(1));
    for (i, words) in out.iter().take(above).enumerate() {
        pen.words(inside.x, inside.y + i as u16, inside.width, words);
    }
    if inside.height > 0 {
        pen.words(inside.x, inside.bottom() - 1, inside.width, &answers);
    }
}

pub(super) fn quit(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let counts = &scene.snapshot.counts;
    let n = counts.running + counts.stopping;
    let screen = pen.buffer.area;
    if screen.width < 50 || screen.height < 8 {
        let inside = popup(pen, (screen.width, 6), "Quit", &[]);
        for (i, (key, text)) in
            [("d", "detach: they run on"), ("w", "finish, then quit"), ("s", "stop, then quit"), ("Esc", "stay")]
                .iter()
                .enumerate()
        {
            if (i as u16) < inside.height {
                let words = [w(format!("{key:<4}"), Meaning::Key), w(*text, Meaning::Base)];
                pen.words(inside.x, inside.y + i as u16, inside.width, &words);
            }
        }
        return;
    }
    let (are, them, they_keep) = if n == 1 { ("is", "it", "it keeps") } else { ("are", "them", "they keep") };
    let key = |key: &str, text: &str| vec![w(format!("  {key:<5}"), Meaning::Key), w(text, Meaning::Base)];
    let more = |text: &str| vec![w(format!("       {text}"), Meaning::Muted)];
    let lines = [
        vec![w(format!("{} {are} running. What should happen to {them}?", format::plural(n, "task")), Meaning::Title)],
        Words::new(),
        key("d", &format!("detach: {they_keep} running, supervised  (default)")),
        more(&format!("qd resume {}  comes back; no new task starts", scene.snapshot.header.session)),
        key(
            "w",
            &format!("finish {}, start no more, then quit", if n == 1 { "it".into() } else { format!("the {n}") }),
        ),
        key("s", &format!("stop {them} now (SIGTERM, grace, SIGKILL), then quit")),
        key("Esc", "stay"),
    ];
    let foot = vec![w("Ctrl-C", Meaning::Key), w(" again = s, a third time = kill now", Meaning::Muted)];
    let widest = lines.iter().map(|words| width_of(words)).max();
    let width = u16::try_from(widest.unwrap_or(0) + 5).unwrap_or(u16::MAX).max(66);
    let inside = popup(pen, (width, 9), "Quit", &foot);
    for (i, words) in lines.iter().enumerate().take(usize::from(inside.height)) {
        pen.words(inside.x, inside.y + i as u16, inside.width, words);
    }
}
