//! What can follow the keys typed so far.

use ratatui::layout::Rect;

use super::super::keymap;
use super::super::paint::{Pen, w};
use super::super::theme::Meaning;
use super::super::view::Scene;
use super::framed;

/// A column of the popup, in cells.
const COLUMN: u16 = 38;

/// Draws the popup in the lower right corner.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>) {
    let model = scene.model;
    let next = keymap::continuations(&model.pending.keys, &model.contexts());
    let screen = pen.buffer.area;
    let columns = if screen.width >= 2 * COLUMN + 6 && next.len() > 4 { 2 } else { 1 };
    let rows = u16::try_from(next.len()).unwrap_or(u16::MAX).div_ceil(columns);
    let width = (columns * COLUMN + 4).min(screen.width);
    let height = (rows + 2).min(screen.height);
    let bottom = scene.areas.alert.y.clamp(height, screen.height.max(height));
    let area = Rect::new(screen.width - width, bottom - height, width, height);
    let title: String = model.pending.keys.iter().map(|key| keymap::show(*key)).collect();
    let inside = framed(pen, area, &format!("{title} …"), &[]);
    for (i, (key, help)) in next.iter().enumerate() {
        let (column, row) = (i as u16 / rows, i as u16 % rows);
        if row >= inside.height {
            continue;
        }
        let x = inside.x + column * (COLUMN + 1);
        let room = COLUMN.min(inside.right().saturating_sub(x));
        pen.words(x, inside.y + row, room, &[w(format!("{key:<3}"), Meaning::Key), w(*help, Meaning::Base)]);
    }
}
