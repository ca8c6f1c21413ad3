//! Colours by meaning, not by widget: a theme is a RON file that may inherit from another. Resolved once to what the
//! terminal can show. Knows nothing of panes.

use std::collections::BTreeMap;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::text::{Ink, Look};

/// What a style stands for. Quiet when normal: only what needs eyes has a colour of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Meaning {
    /// Ordinary text and the ground it stands on.
    Base,
    /// Labels, units, what is only of interest on a second look.
    Muted,
    /// Names and headings.
    Title,
    /// Frames.
    Border,
    /// The frame that has the keys.
    Focus,
    /// The row under the cursor.
    Selected,
    /// The row under the cursor of a pane that has not the keys.
    Marked,
    /// Runs.
    Running,
    /// Waits, in good order.
    Waiting,
    /// Done.
    Done,
    /// Failed or lost.
    Bad,
    /// Late, retried, over its estimate.
    Warn,
    /// Held by the operator.
    Held,
    /// Will not run: skipped, cancelled, blocked.
    Off,
    /// All is well, said aloud.
    Good,
    /// A key that can be pressed.
    Key,
    /// The done part of a bar.
    BarDone,
    /// The running part of a bar.
    BarRunning,
    /// The failed part of a bar.
    BarBad,
    /// The rest of a bar.
    BarRest,
    /// Small graphs.
    Graph,
    /// A popup's ground.
    Popup,
    /// What a search or filter matched.
    Match,
    /// A badge that must be seen: DISK FULL.
    Alarm,
}

/// All meanings, in the order of the table.
pub const MEANINGS: [Meaning; 24] = {
    use Meaning::*;
    [
        Base, Muted, Title, Border, Focus, Selected, Marked, Running, Waiting, Done, Bad, Warn, Held, Off, Good, Key,
        BarDone, BarRunning, BarBad, BarRest, Graph, Popup, Match, Alarm,
    ]
};

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Attributes only.
    None,
    /// The terminal's own sixteen.
    Ansi16,
    /// The xterm palette.
    Ansi256,
    /// 24 bit.
    True,
}

impl Depth {
    /// From the environment: `NO_COLOR`, `COLORTERM`, `TERM`.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        match variable("COLORTERM").as_deref() {
            _ if variable("NO_COLOR").is_some_and(|v| !v.is_empty()) || term == "dumb" => Self::None,
            Some("truecolor" | "24bit") => Self::True,
            _ if term.contains("direct") => Self::True,
            _ if term.contains("256") => Self::Ansi256,
            _ => Self::Ansi16,
        }
    }
}

/// The built-in themes: name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("dark", include_str!("../../themes/dark.ron")),
    ("light", include_str!("../../themes/light.ron")),
    ("high-contrast", include_str!("../../themes/high-contrast.ron")),
    ("colour-blind", include_str!("../../themes/colour-blind.ron")),
    ("terminal16", include_str!("../../themes/terminal16.ron")),
    ("mono", include_str!("../../themes/mono.ron")),
];

/// The theme to start with where none was asked for: by colours, and by the ground that `COLORFGBG` tells of.
pub fn default_name(depth: Depth, colorfgbg: Option<&str>) -> &'static str {
    let light = colorfgbg.and_then(|v| v.rsplit(';').next()?.parse::<u8>().ok()).is_some_and(|bg| bg == 7 || bg == 15);
    match (depth, light) {
        (Depth::None, _) => "mono",
        (Depth::Ansi16, _) => "terminal16",
        (_, true) => "light",
        (_, false) => "dark",
    }
}

/// A resolved theme.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// Its name.
    pub name: String,
    styles: [Style; MEANINGS.len()],
}

impl Theme {
    /// The style of a meaning, to be laid over the ground it is drawn on.
    pub fn of(&self, meaning: Meaning) -> Style {
        self.styles[meaning as usize]
    }

    /// A built-in theme. Errors name what is known.
    pub fn built_in(name: &str, depth: Depth) -> Result<Self, String> {
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(format!("no theme “{name}”; there are {}", known.join(", ")));
        };
        Self::parse(name, text, depth)
    }

    /// A theme from its RON text. It may inherit from a built-in one. Errors name the line or the missing name.
    pub fn parse(name: &str, text: &str, depth: Depth) -> Result<Self, String> {
        let mut chain = vec![read(name, text)?];
        while let Some(parent) = chain.last().and_then(|file| file.inherits.clone()) {
            if chain.len() > BUILT_IN.len() {
                return Err(format!("theme “{name}” inherits in a circle"));
            }
            let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == parent) else {
                return Err(format!("theme “{name}” inherits from “{parent}”, which is not known"));
            };
            chain.push(read(&parent, text)?);
        }
        let mut palette = BTreeMap::new();
        let mut specs = BTreeMap::new();
        for file in chain.into_iter().rev() {
            palette.extend(file.palette);
            specs.extend(file.styles);
        }
        let mut styles = [Style::default(); MEANINGS.len()];
        for (meaning, spec) in &specs {
            styles[*meaning as usize] = spec.resolve(&palette, depth).map_err(|e| format!("theme “{name}”: {e}"))?;
        }
        Ok(Self { name: name.to_owned(), styles })
    }
}

/// The theme file's format.
#[derive(Debug, Deserialize)]
#[serde(rename = "Theme", deny_unknown_fields)]
struct ThemeFile {
    #[serde(default)]
    inherits: Option<String>,
    #[serde(default)]
    palette: BTreeMap<String, String>,
    #[serde(default)]
    styles: BTreeMap<Meaning, StyleSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "Style", default, deny_unknown_fields)]
struct StyleSpec {
    fg: Option<String>,
    bg: Option<String>,
    mods: Vec<Mod>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Mod {
    Bold,
    Dim,
    Italic,
    Underlined,
    Reversed,
}

fn read(name: &str, text: &str) -> Result<ThemeFile, String> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(text).map_err(|e| format!("theme “{name}”, line {}: {}", e.span.start.line, e.code))
}

impl StyleSpec {
    fn resolve(&self, palette: &BTreeMap<String, String>, depth: Depth) -> Result<Style, String> {
        let mut style = Style::default();
        if let Some(fg) = &self.fg {
            style.fg = colour(fg, palette, depth)?;
        }
        if let Some(bg) = &self.bg {
            style.bg = colour(bg, palette, depth)?;
        }
        let modifier = |m: &Mod| match m {
            Mod::Bold => Modifier::BOLD,
            Mod::Dim => Modifier::DIM,
            Mod::Italic => Modifier::ITALIC,
            Mod::Underlined => Modifier::UNDERLINED,
            Mod::Reversed => Modifier::REVERSED,
        };
        Ok(self.mods.iter().fold(style, |style, m| style.add_modifier(modifier(m))))
    }
}

/// A palette name, `#rrggbb`, or one of the sixteen by name (`bright-red`); `None` where no colour is wanted.
fn colour(word: &str, palette: &BTreeMap<String, String>, depth: Depth) -> Result<Option<Color>, String> {
    let word = palette.get(word).map_or(word, String::as_str);
    if depth == Depth::None {
        return parse_colour(word).map(|_| None);
    }
    Ok(Some(match (parse_colour(word)?, depth) {
        (Color::Rgb(r, g, b), Depth::Ansi256) => Color::Indexed(nearest_256(r, g, b)),
        (Color::Rgb(r, g, b), Depth::Ansi16) => SIXTEEN[nearest_16(r, g, b)].1,
        (colour, _) => colour,
    }))
}

fn parse_colour(word: &str) -> Result<Color, String> {
    if let Some(hex) = word.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.is_ascii()) {
        let part = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| format!("“{word}” is no colour"));
        return Ok(Color::Rgb(part(0)?, part(2)?, part(4)?));
    }
    if word == "default" {
        return Ok(Color::Reset);
    }
    let known = SIXTEEN.iter().find(|(name, ..)| *name == word);
    known.map(|(_, colour, _)| *colour).ok_or_else(|| format!("“{word}” is neither in the palette nor a colour"))
}

/// A colour that output asks for, as the terminal can show it.
pub fn ink(ink: Ink, depth: Depth) -> Option<Color> {
    match (ink, depth) {
        (Ink::Default, _) | (_, Depth::None) => None,
        (Ink::Index(n @ 0..16), _) => Some(SIXTEEN[usize::from(n)].1),
        (Ink::Index(n), Depth::Ansi16) => {
            let [r, g, b] = xterm_rgb(n);
            Some(SIXTEEN[nearest_16(r, g, b)].1)
        }
        (Ink::Index(n), _) => Some(Color::Indexed(n)),
        (Ink::Rgb(r, g, b), Depth::Ansi16) => Some(SIXTEEN[nearest_16(r, g, b)].1),
        (Ink::Rgb(r, g, b), Depth::Ansi256) => Some(Color::Indexed(nearest_256(r, g, b))),
        (Ink::Rgb(r, g, b), Depth::True) => Some(Color::Rgb(r, g, b)),
    }
}

/// How output asks to look, over the ground it is drawn on. What could not be seen is not coloured: a log has nothing to
/// hide.
pub fn look(look: Look, depth: Depth, ground: Option<Color>) -> Style {
    let (mut fg, mut bg) = (ink(look.fg, depth), ink(look.bg, depth));
    let near = |a: Option<Color>, b: Option<Color>| match (a.and_then(rgb), b.and_then(rgb)) {
        (Some(a), Some(b)) => distance(a, b) < 3 * 28 * 28,
        _ => false,
    };
    if near(fg, bg.or(ground)) {
        (fg, bg) = (None, None);
    }
    let mut style = Style { fg, bg, ..Style::default() };
    for (on, modifier) in [
        (look.bold, Modifier::BOLD),
        (look.dim, Modifier::DIM),
        (look.italic, Modifier::ITALIC),
        (look.underlined, Modifier::UNDERLINED),
        (look.reversed, Modifier::REVERSED),
        (look.struck, Modifier::CROSSED_OUT),
    ] {
        if on {
            style = style.add_modifier(modifier);
        }
    }
    style
}

/// The sixteen, as xterm draws them.
#[rustfmt::skip]
const SIXTEEN: [(&str, Color, [u8; 3]); 16] = [
    ("black", Color::Black, [0, 0, 0]), ("red", Color::Red, [205, 0, 0]),
    ("green", Color::Green, [0, 205, 0]), ("yellow", Color::Yellow, [205, 205, 0]),
    ("blue", Color::Blue, [0, 0, 238]), ("magenta", Color::Magenta, [205, 0, 205]),
    ("cyan", Color::Cyan, [0, 205, 205]), ("white", Color::Gray, [229, 229, 229]),
    ("bright-black", Color::DarkGray, [127, 127, 127]), ("bright-red", Color::LightRed, [255, 0, 0]),
    ("bright-green", Color::LightGreen, [0, 255, 0]), ("bright-yellow", Color::LightYellow, [255, 255, 0]),
    ("bright-blue", Color::LightBlue, [92, 92, 255]), ("bright-magenta", Color::LightMagenta, [255, 0, 255]),
    ("bright-cyan", Color::LightCyan, [0, 255, 255]), ("bright-white", Color::White, [255, 255, 255]),
];

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

fn nearest_16(r: u8, g: u8, b: u8) -> usize {
    (0..16).min_by_key(|i| distance(SIXTEEN[*i].2, [r, g, b])).expect("there are sixteen")
}

/// The nearest of the 6×6×6 cube and the grey ramp.
fn nearest_256(r: u8, g: u8, b: u8) -> u8 {
    (16..=255).min_by_key(|i| distance(xterm_rgb(*i), [r, g, b])).expect("the range is not empty")
}

/// What an index of the xterm palette looks like.
pub fn xterm_rgb(index: u8) -> [u8; 3] {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    match index {
        0..16 => SIXTEEN[usize::from(index)].2,
        16..232 => {
            let i = usize::from(index - 16);
            [STEPS[i / 36], STEPS[i / 6 % 6], STEPS[i % 6]]
        }
        232.. => [8 + (index - 232) * 10; 3],
    }
}

/// What a colour looks like; `None` for the terminal's own default.
pub fn rgb(colour: Color) -> Option<[u8; 3]> {
    match colour {
        Color::Rgb(r, g, b) => Some([r, g, b]),
        Color::Indexed(i) => Some(xterm_rgb(i)),
        Color::Reset => None,
        named => SIXTEEN.iter().find(|(_, c, _)| *c == named).map(|(_, _, rgb)| *rgb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_theme_resolves_at_every_depth() {
        for (name, _) in BUILT_IN {
            for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
                let theme = Theme::built_in(name, depth).unwrap();
                let coloured = |s: &Style| s.fg.is_some() || s.bg.is_some();
                assert!(depth != Depth::None || !theme.styles.iter().any(coloured), "{name} has colours in mono");
            }
        }
    }

    #[test]
    fn a_typo_an_unknown_parent_and_an_unknown_colour_are_errors_that_name_it() {
        let fails = |text: &str| Theme::parse("mine", text, Depth::True).unwrap_err();
        assert!(fails("Theme(stiles: {})").contains("stiles"));
        assert!(fails("Theme(styles: { Base: (foreground: \"red\") })").contains("foreground"));
        assert!(fails("Theme(styles: { Basic: () })").contains("Basic"));
        assert!(fails("Theme(inherits: \"none\")").contains("none"));
        assert!(fails("Theme(styles: { Base: (fg: \"mauve\") })").contains("mauve"));
        assert!(Theme::built_in("nope", Depth::True).unwrap_err().contains("high-contrast"));
    }

    #[test]
    fn an_heir_changes_only_what_it_names() {
        let dark = Theme::built_in("dark", Depth::True).unwrap();
        let mine = Theme::parse("mine", r##"Theme(inherits: "dark", styles: { Bad: (fg: "#0072b2") })"##, Depth::True);
        let mine = mine.unwrap();
        assert_eq!(mine.of(Meaning::Bad).fg, Some(Color::Rgb(0, 0x72, 0xb2)));
        assert_eq!(mine.of(Meaning::Base), dark.of(Meaning::Base));
    }

    #[test]
    fn colours_follow_the_environment() {
        let detect = |pairs: &'static [(&str, &str)]| {
            Depth::detect(|name| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(detect(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]), Depth::None);
        assert_eq!(detect(&[("COLORTERM", "truecolor"), ("TERM", "xterm")]), Depth::True);
        assert_eq!(detect(&[("TERM", "screen-256color")]), Depth::Ansi256);
        assert_eq!(detect(&[("TERM", "linux")]), Depth::Ansi16);
        assert_eq!(default_name(Depth::True, Some("0;15")), "light");
        assert_eq!(default_name(Depth::True, Some("15;0")), "dark");
    }

    #[test]
    fn text_stands_out_from_its_ground_in_every_rgb_theme() {
        for name in ["dark", "light", "high-contrast"] {
            let theme = Theme::built_in(name, Depth::True).unwrap();
            let ground = theme.of(Meaning::Base).bg.and_then(rgb).unwrap();
            for meaning in MEANINGS {
                let style = theme.of(meaning);
                let fg = style.fg.or(theme.of(Meaning::Base).fg).and_then(rgb).unwrap();
                let bg = style.bg.and_then(rgb).unwrap_or(ground);
                // Frames and the empty part of a bar are shapes, not text (WCAG asks 4.5 of text).
                let shape = matches!(meaning, Meaning::Border | Meaning::BarRest);
                let least = if shape { 1.3 } else { 4.5 };
                assert!(contrast(fg, bg) >= least, "{name} {meaning:?}: {:.1}", contrast(fg, bg));
            }
        }
    }

    fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
        let luminance = |c: [u8; 3]| {
            let part = |v: u8| {
                let v = f64::from(v) / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2])
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }
}
