//! Draws a model and a snapshot: pure, one frame at a time. Decides what is drawn where; how a pane looks is in `panes`,
//! what lies over them in `dialogs`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::{Mode, Snapshot};

use super::dialogs;
use super::glyphs;
use super::keymap::{self, BINDINGS};
use super::layout::{Areas, Shape};
use super::model::{Model, Pane, Tab, WHICH_KEY_MS};
use super::paint::{Pen, Words, w, width_of};
use super::panes;
use super::theme::Meaning;
use super::update::check;

/// What a pane needs to draw itself.
pub struct Scene<'a> {
    /// The screen's own state.
    pub model: &'a Model,
    /// The session's.
    pub snapshot: &'a Snapshot,
    /// Where everything is.
    pub areas: &'a Areas,
}

/// Draws everything into `buffer`, whose area is the screen.
pub fn draw(model: &Model, snapshot: &Snapshot, buffer: &mut Buffer) {
    let screen = buffer.area;
    let areas = model.areas();
    let scene = Scene { model, snapshot, areas: &areas };
    let patterned = model.ascii || model.theme.of(Meaning::BarRest).fg.is_none();
    let mut pen = Pen { buffer, theme: &model.theme, patterned };
    pen.clear(screen, Meaning::Base);
    if screen.width > 0 && screen.height > 0 {
        match areas.shape {
            Shape::Line => panes::header::line(&mut pen, &scene),
            _ => whole(&mut pen, &scene),
        }
        dialogs::draw(&mut pen, &scene);
    }
    glyphs::neutralise(buffer, screen);
    if model.ascii {
        glyphs::to_ascii(buffer, screen);
    }
}

fn whole(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    panes::header::draw(pen, scene);
    for rule in &scene.areas.rules {
        pen.rule(*rule);
    }
    for (pane, area) in &scene.areas.panes {
        let inside = if scene.areas.shape == Shape::Compact { *area } else { frame(pen, scene, *pane, *area) };
        match pane {
            Pane::Queue => panes::queue::draw(pen, scene, inside),
            Pane::Agents => panes::agents::draw(pen, scene, inside),
            Pane::Locks => panes::locks::draw(pen, scene, inside),
            Pane::Progress => panes::progress::draw(pen, scene, inside),
            Pane::Log => panes::log::draw(pen, scene, inside),
            Pane::Detail => panes::detail::draw(pen, scene, inside),
            Pane::Timeline => panes::timeline::draw(pen, scene, inside),
            Pane::Graph => panes::graph::draw(pen, scene, inside),
        }
    }
    alert_line(pen, scene);
    hint_line(pen, scene);
    if !scene.model.pending.keys.is_empty() && scene.model.ui_ms >= scene.model.pending.since + WHICH_KEY_MS {
        dialogs::which_key::draw(pen, scene);
    }
}

fn frame(pen: &mut Pen<'_>, scene: &Scene<'_>, pane: Pane, area: Rect) -> Rect {
    let focus = scene.model.focus == pane && scene.model.dialog.is_none();
    let (mut title, foot) = match pane {
        Pane::Queue => panes::queue::edges(scene),
        Pane::Agents => panes::agents::edges(scene),
        Pane::Locks => panes::locks::edges(scene),
        Pane::Progress => panes::progress::edges(scene),
        Pane::Log => panes::log::edges(scene),
        Pane::Detail => panes::detail::edges(scene),
        Pane::Timeline => panes::timeline::edges(scene),
        Pane::Graph => panes::graph::edges(scene),
    };
    let alone = pane.is_alone();
    let tabbed = scene.areas.shape == Shape::Tabs && !scene.model.zoom;
    let mut words = Words::new();
    match pane {
        _ if alone => words.push(w(pane.name(), Meaning::Title)),
        Pane::Log | Pane::Detail if shared_place(scene) => words.extend(lower_tabs(scene.model, true)),
        Pane::Queue | Pane::Agents | Pane::Locks | Pane::Progress if tabbed => {
            words.extend(upper_tabs(scene.model));
            title.retain(|(_, meaning)| *meaning != Meaning::Title);
        }
        Pane::Detail => {
            words.push(w("6 ", if focus { Meaning::Focus } else { Meaning::Muted }));
            words.extend(lower_tabs(scene.model, false));
        }
        _ => {
            let meaning = if focus { Meaning::Focus } else { Meaning::Muted };
            words.push(w(format!("{} ", pane.number()), meaning));
            words.push(w(pane.name(), Meaning::Title));
        }
    }
    words.extend(title);
    pen.frame(area, &words, &foot, focus)
}

/// Whether log and details share one place, so that tabs say which is shown.
fn shared_place(scene: &Scene<'_>) -> bool {
    scene.areas.of(Pane::Log).is_none() || scene.areas.of(Pane::Detail).is_none()
}

fn upper_tabs(model: &Model) -> Words {
    let tab = |pane: Pane| {
        let here = pane == model.upper;
        [
            w(format!("{} ", pane.number()), Meaning::Muted),
            w(pane.name(), if here { Meaning::Title } else { Meaning::Muted }),
            w("  ", Meaning::Base),
        ]
    };
    Pane::ALL[..4].iter().flat_map(|pane| tab(*pane)).collect()
}

fn lower_tabs(model: &Model, log: bool) -> Words {
    let mut words = Words::new();
    for tab in Tab::ALL.into_iter().filter(|tab| log || *tab != Tab::Log) {
        if !words.is_empty() {
            words.push(w(" │ ", Meaning::Border));
        }
        let here = tab == model.tab || !log && model.tab == Tab::Log && tab == Tab::Why;
        words.push(w(tab.name(), if here { Meaning::Title } else { Meaning::Muted }));
    }
    words.push(w("  ", Meaning::Base));
    words
}

/// Which pane a click on the tabs in a title means; `x` is counted from the pane's left edge.
pub fn tab_at(pane: Pane, x: u16) -> Option<Pane> {
    let x = usize::from(x).checked_sub(2)?;
    let upper = !matches!(pane, Pane::Log | Pane::Detail);
    let mut at = 0;
    if upper {
        return Pane::ALL[..4].iter().copied().find(|pane| {
            at += pane.name().len() + 4;
            x < at
        });
    }
    let tab = Tab::ALL.into_iter().find(|tab| {
        at += tab.name().len() + 3;
        x < at
    });
    tab.map(|tab| if tab == Tab::Log { Pane::Log } else { Pane::Detail })
}

/// Alerts, or what was just done.
fn alert_line(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let area = scene.areas.alert;
    if let (Some(strip), None) = (&scene.snapshot.header.replay, scene.model.toasts.back()) {
        return panes::replay::draw(pen, scene, strip, area);
    }
    let alerts = &scene.snapshot.alerts;
    let badge = match alerts.len() {
        0 => Words::new(),
        n => vec![w("!", Meaning::Key), w(format!(" {} ", super::format::plural(n, "alert")), Meaning::Warn)],
    };
    let right = pen.words_right(area.right(), area.y, area.width / 2, &badge);
    let room = area.width.saturating_sub(right + 3);
    if let Some(toast) = scene.model.toasts.back() {
        let (mark, meaning) = if toast.bad { ("▲ ", Meaning::Warn) } else { ("✓ ", Meaning::Good) };
        pen.words(area.x + 1, area.y, room, &[w(mark, meaning), w(&toast.text, meaning)]);
        return;
    }
    if alerts.is_empty() && scene.snapshot.header.mode == Mode::Finished {
        let words =
            [w("✓ ", Meaning::Good), w("finished: ", Meaning::Base), w("q", Meaning::Key), w(" leaves", Meaning::Base)];
        pen.words(area.x + 1, area.y, room, &words);
        return;
    }
    let mut used = 0;
    for alert in alerts.iter().take(3) {
        let at = super::format::minute(alert.at, &scene.model.zone);
        let meaning = if alert.bad { Meaning::Bad } else { Meaning::Warn };
        let words = [
            w(if alert.bad { "✗ " } else { "▲ " }, meaning),
            w(format!("{at} "), Meaning::Muted),
            w(&alert.text, Meaning::Base),
            w("    ", Meaning::Base),
        ];
        // A second one only if it is seen whole: half a sentence is noise.
        if used > 0 && used + width_of(&words) > usize::from(room) {
            break;
        }
        used += usize::from(pen.words(area.x + 1 + used as u16, area.y, room - used as u16, &words));
    }
}

/// The keys that hold now, from the table; what cannot be done now is left out.
fn hint_line(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let area = scene.areas.hint;
    let model = scene.model;
    let mut right = Words::new();
    let typed: String = model.pending.keys.iter().map(|key| keymap::show(*key)).collect();
    let count = if model.pending.digits.len() > 1 { model.pending.digits.as_str() } else { "" };
    if !typed.is_empty() || !count.is_empty() {
        right.push(w(format!("{count}{typed}… "), Meaning::Key));
    } else if let Some(leaving) = model.leaving {
        right.push(w(format!("{leaving}… "), Meaning::Warn));
    }
    let tight = area.width < 60;
    let mut seen: Vec<String> = Vec::new();
    if right.is_empty() && model.dialog.is_none() {
        // The way out and the way to help have a place of their own.
        for (key, word) in [("?", "keys"), ("q", "quit")] {
            seen.push(key.into());
            right.push(w(key, Meaning::Key));
            right.push(w(if tight { " ".into() } else { format!(" {word} ") }, Meaning::Muted));
        }
    }
    let used = pen.words_right(area.right(), area.y, area.width / 2, &right);
    let end = area.right().saturating_sub(used + 1);
    let mut x = area.x + 1;
    let contexts = model.contexts();
    for context in &contexts {
        for binding in BINDINGS.iter().filter(|b| b.context == *context && !b.hint.is_empty()) {
            let key = keymap::label(binding);
            if seen.contains(&key) || check(binding.act, model, scene.snapshot).is_err() {
                continue;
            }
            let words = if tight {
                vec![w(&key, Meaning::Key), w(" ", Meaning::Base)]
            } else {
                vec![w(&key, Meaning::Key), w(format!(" {}  ", binding.hint), Meaning::Muted)]
            };
            seen.push(key);
            if usize::from(x) + width_of(&words) > usize::from(end) {
                return;
            }
            x += pen.words(x, area.y, end - x, &words);
        }
    }
}
