//! A drawn screen as a picture (SVG), for the README. Knows cells, not what is in them.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::theme::rgb;

/// Size of a cell in pixels; the font is 16 px high.
const CELL: (f64, f64) = (8.79, 17.0);
/// Room around the screen.
const MARGIN: f64 = 12.0;

/// The screen as SVG text. `ground` and `ink` stand for the terminal's own colours where a cell leaves them alone.
pub fn render(buffer: &Buffer, ground: [u8; 3], ink: [u8; 3]) -> String {
    let area = buffer.area;
    let (width, height) =
        (f64::from(area.width) * CELL.0 + 2.0 * MARGIN, f64::from(area.height) * CELL.1 + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.1} {height:.1}\" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"14.6\" xml:space=\"preserve\">\n"
    );
    let first = (area.width > 0 && area.height > 0).then(|| colours(&buffer[(area.x, area.y)], ground, ink).1);
    let _ = writeln!(out, "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>", hex(first.unwrap_or(ground)));
    for y in area.top()..area.bottom() {
        row(&mut out, buffer, y, first.unwrap_or(ground), (ground, ink));
    }
    out.push_str("</svg>\n");
    out
}

/// Runs of cells of one colour become one rectangle; each glyph has its own place, so that no font can shift a column.
fn row(out: &mut String, buffer: &Buffer, y: u16, page: [u8; 3], (ground, ink): ([u8; 3], [u8; 3])) {
    let area = buffer.area;
    let left = |x: u16| MARGIN + f64::from(x - area.x) * CELL.0;
    let top = MARGIN + f64::from(y - area.y) * CELL.1;
    let mut x = area.left();
    while x < area.right() {
        let (_, bg) = colours(&buffer[(x, y)], ground, ink);
        let end = (x..area.right()).find(|x| colours(&buffer[(*x, y)], ground, ink).1 != bg).unwrap_or(area.right());
        if bg != page {
            let width = f64::from(end - x) * CELL.0;
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                left(x),
                CELL.1,
                hex(bg)
            );
        }
        x = end;
    }
    for x in area.left()..area.right() {
        let cell = &buffer[(x, y)];
        if cell.symbol().trim().is_empty() {
            continue;
        }
        let (fg, bg) = colours(cell, ground, ink);
        let fg = if cell.modifier.contains(Modifier::DIM) { blend(fg, bg) } else { fg };
        let mut look = String::new();
        if cell.modifier.contains(Modifier::BOLD) {
            look += " font-weight=\"bold\"";
        }
        if cell.modifier.contains(Modifier::ITALIC) {
            look += " font-style=\"italic\"";
        }
        if cell.modifier.contains(Modifier::UNDERLINED) {
            look += " text-decoration=\"underline\"";
        }
        let base = top + CELL.1 * 0.8;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{base:.1}\" fill=\"{}\"{look}>{}</text>",
            left(x),
            hex(fg),
            escape(cell.symbol())
        );
    }
}

fn colours(cell: &Cell, ground: [u8; 3], ink: [u8; 3]) -> ([u8; 3], [u8; 3]) {
    let of = |colour: Color, default| rgb(colour).unwrap_or(default);
    let (fg, bg) = (of(cell.fg, ink), of(cell.bg, ground));
    if cell.modifier.contains(Modifier::REVERSED) { (bg, fg) } else { (fg, bg) }
}

fn blend(a: [u8; 3], b: [u8; 3]) -> [u8; 3] {
    std::array::from_fn(|i| ((u16::from(a[i]) * 3 + u16::from(b[i]) * 2) / 5) as u8)
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn glyphs_are_escaped_and_grounds_are_drawn_once_a_run() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 1));
        buffer.set_string(1, 0, "<&", Style::new().bg(Color::Rgb(1, 2, 3)));
        let svg = render(&buffer, [0; 3], [255; 3]);
        assert!(svg.contains("&lt;") && svg.contains("&amp;"));
        assert_eq!(svg.matches("#010203").count(), 1);
    }
}
