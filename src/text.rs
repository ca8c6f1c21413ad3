//! Foreign text made safe to show: task names, commands, log lines, error messages. A real VT parser reads it; what is
//! left can neither move the cursor, nor reorder the line, nor hide in it. Knows nothing of screens: headless output and
//! error messages pass through here as well.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use vte::{Params, Parser, Perform};

/// Stands for an escape sequence, whatever it would have done.
pub const ESCAPE_MARK: char = '␛';
/// Stands for a character that would be invisible or would reorder the line.
pub const HIDDEN_MARK: char = '�';
/// At most so many combining marks on one character; more are dropped with a [`HIDDEN_MARK`].
const MAX_COMBINING: usize = 2;
/// Where a tab goes.
const TAB: usize = 8;

/// `text` as one safe line: escape sequences become [`ESCAPE_MARK`] (colours are dropped), control characters become
/// control pictures, bidi and zero-width characters become [`HIDDEN_MARK`]. Borrowed when there was nothing to do.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(line(text.as_bytes(), usize::MAX).text)
}

/// A safe line made from raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// The safe text.
    pub text: String,
    /// There was more than fits.
    pub cut: bool,
}

/// `bytes` (without their newline) as one safe line of at most `max_cells` cells. Invalid UTF-8 becomes U+FFFD.
pub fn line(bytes: &[u8], max_cells: usize) -> Line {
    let out = cleaned(bytes, max_cells, Look::default());
    Line { cut: out.full, text: out.text }
}

/// A safe line that keeps its colours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Styled {
    /// The safe text.
    pub text: String,
    /// From which byte of `text` on it looks how; ascending. Before the first it is plain.
    pub runs: Vec<(usize, Look)>,
    /// How it looks at its end.
    pub last: Look,
    /// There was more than fits.
    pub cut: bool,
}

/// As [`line()`], with what SGR sequences ask for told beside the text. `begin` is how the line before ended.
pub fn styled(bytes: &[u8], max_cells: usize, begin: Look) -> Styled {
    let out = cleaned(bytes, max_cells, begin);
    Styled { cut: out.full, text: out.text, runs: out.runs, last: out.look }
}

/// How text looks behind `bytes`, if it looked like `begin` before them.
pub fn look_after(bytes: &[u8], begin: Look) -> Look {
    // Only what follows an escape can change it: plain logs cost one look for that byte.
    let Some(first) = memchr::memchr(0x1b, bytes) else { return begin };
    cleaned(&bytes[first..], usize::MAX, begin).look
}

fn cleaned(bytes: &[u8], max_cells: usize, look: Look) -> Cleaner {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut parser = Parser::new();
    let mut out = Cleaner {
        text: String::new(),
        cells: 0,
        combining: 0,
        max_cells,
        answered: false,
        full: false,
        look,
        runs: if look == Look::default() { vec![] } else { vec![(0, look)] },
    };
    let mut open = false;
    for byte in bytes {
        out.answered = false;
        parser.advance(&mut out, std::slice::from_ref(byte));
        open = (open || *byte == 0x1b) && !out.answered;
        if out.full {
            return out;
        }
    }
    if open || ends_within_a_character(bytes) {
        out.push(if open { ESCAPE_MARK } else { HIDDEN_MARK });
    }
    out
}

/// What SGR sequences can ask for and is kept. Blinking and hiding are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Look {
    pub fg: Ink,
    pub bg: Ink,
    pub bold: bool,
    pub dim: bool,
    pub italic: bool,
    pub underlined: bool,
    pub reversed: bool,
    pub struck: bool,
}

/// A colour asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ink {
    /// The terminal's own.
    #[default]
    Default,
    /// Of the xterm palette.
    Index(u8),
    /// 24 bit.
    Rgb(u8, u8, u8),
}

impl Look {
    /// Takes the parameters of one SGR sequence in; what is not known changes nothing.
    fn take(&mut self, params: &Params) {
        let mut params = params.iter();
        let mut any = false;
        while let Some(param) = params.next() {
            any = true;
            match param[0] {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underlined = param.get(1) != Some(&0),
                7 => self.reversed = true,
                9 => self.struck = true,
                21 => self.underlined = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                27 => self.reversed = false,
                29 => self.struck = false,
                n @ 30..=37 => self.fg = Ink::Index((n - 30) as u8),
                n @ 90..=97 => self.fg = Ink::Index((n - 90 + 8) as u8),
                n @ 40..=47 => self.bg = Ink::Index((n - 40) as u8),
                n @ 100..=107 => self.bg = Ink::Index((n - 100 + 8) as u8),
                39 => self.fg = Ink::Default,
                49 => self.bg = Ink::Default,
                n @ (38 | 48) => {
                    let ink = if param.len() > 1 { extended(&param[1..]) } else { extended_legacy(&mut params) };
                    if let Some(ink) = ink {
                        *(if n == 38 { &mut self.fg } else { &mut self.bg }) = ink;
                    }
                }
                _ => {}
            }
        }
        if !any {
            *self = Self::default();
        }
    }
}

/// `38:5:n`, `38:2:r:g:b`, `38:2:space:r:g:b`.
fn extended(rest: &[u16]) -> Option<Ink> {
    let byte = |n: u16| u8::try_from(n).ok();
    match rest {
        [5, n, ..] => Some(Ink::Index(byte(*n)?)),
        [2, _, r, g, b, ..] | [2, r, g, b] => Some(Ink::Rgb(byte(*r)?, byte(*g)?, byte(*b)?)),
        _ => None,
    }
}

/// `38;5;n`, `38;2;r;g;b`.
fn extended_legacy<'a>(params: &mut impl Iterator<Item = &'a [u16]>) -> Option<Ink> {
    let mut next = || params.next().map(|param| param[0]);
    match next()? {
        5 => extended(&[5, next()?]),
        2 => extended(&[2, next()?, next()?, next()?]),
        _ => None,
    }
}

/// The last bytes begin a character of UTF-8 that does not end.
fn ends_within_a_character(bytes: &[u8]) -> bool {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(lead) = tail.iter().rposition(|b| *b >= 0xc0) else { return false };
    std::str::from_utf8(&tail[lead..]).is_err_and(|e| e.error_len().is_none())
}

/// Whether a character may stand in a line that is shown: neither control, nor bidi, nor invisible.
pub fn is_plain(c: char) -> bool {
    !c.is_control() && !is_hidden(c)
}

/// How many cells `text` takes.
pub fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// `text` in at most `cells` cells; `…` says that some is missing.
pub fn fit(text: &str, cells: usize) -> Cow<'_, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used + 1 > cells {
            break;
        }
        end = at + c.len_utf8();
    }
    if cells == 0 {
        return Cow::Borrowed("");
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

/// Bidi controls, zero-width and other characters that show nothing of their own.
fn is_hidden(c: char) -> bool {
    matches!(u32::from(c),
        0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
        | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff9..=0xfffb
        | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

struct Cleaner {
    text: String,
    cells: usize,
    combining: usize,
    max_cells: usize,
    /// The parser called us for the byte it was last given.
    answered: bool,
    full: bool,
    look: Look,
    runs: Vec<(usize, Look)>,
}

impl Cleaner {
    fn push(&mut self, c: char) {
        let cells = c.width().unwrap_or(0);
        if cells == 0 {
            return self.push_combining(c);
        }
        if self.cells + cells > self.max_cells {
            self.full = true;
            return;
        }
        self.combining = 0;
        self.cells += cells;
        self.text.push(c);
    }

    fn push_combining(&mut self, c: char) {
        self.combining += 1;
        if self.text.is_empty() || self.combining == MAX_COMBINING + 1 {
            self.combining = self.combining.max(MAX_COMBINING + 1);
            let combining = self.combining;
            self.push(HIDDEN_MARK);
            self.combining = combining;
        } else if self.combining <= MAX_COMBINING {
            self.text.push(c);
        }
    }

    fn mark_escape(&mut self) {
        self.answered = true;
        self.push(ESCAPE_MARK);
    }
}

impl Perform for Cleaner {
    fn print(&mut self, c: char) {
        self.answered = true;
        match c {
            '\u{7f}' => self.push('␡'),
            // Emoji presentation: dropped without a mark, for it is common and harmless once dropped.
            '\u{fe00}'..='\u{fe0f}' => {}
            c if c.is_control() || is_hidden(c) => self.push(HIDDEN_MARK),
            c => self.push(c),
        }
    }

    fn execute(&mut self, byte: u8) {
        self.answered = true;
        match byte {
            b'\t' => {
                let stop = (self.cells / TAB + 1) * TAB;
                while self.cells < stop && !self.full {
                    self.push(' ');
                }
            }
            b'\n' => self.push('⏎'),
            0..0x20 => self.push(char::from_u32(0x2400 + u32::from(byte)).expect("control pictures are characters")),
            _ => self.push(HIDDEN_MARK),
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignored: bool, action: char) {
        self.answered = true;
        if action != 'm' || !intermediates.is_empty() {
            return self.mark_escape();
        }
        if !ignored {
            self.look.take(params);
            let at = self.text.len();
            self.runs.pop_if(|(from, _)| *from == at);
            self.runs.push((at, self.look));
        }
    }

    fn hook(&mut self, _: &Params, _: &[u8], _: bool, _: char) {
        self.mark_escape();
    }

    fn put(&mut self, _: u8) {
        self.answered = true;
    }

    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.mark_escape();
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        self.answered = true;
        // The end of a string sequence that has its mark already.
        if byte != b'\\' {
            self.mark_escape();
        }
    }
}

/// Text that has hurt terminals elsewhere: for the tests of every place that shows foreign text.
#[cfg(test)]
pub const HOSTILE: &[&str] = &[
    "\x1b]52;c;cm0gLXJmIH4=\x07paste",
    "\x1b[2J\x1b[Hcleared",
    "\x1b[6nreport",
    "\x1b]0;title\x1b\\t",
    "\x1b]8;;http://evil/\x1b\\good.example\x1b]8;;\x1b\\",
    "\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\dcs",
    "\x1b_apc\x1b\\ \x1b^pm\x1b\\ \x1bXsos\x1b\\",
    "\x1b]never ended",
    "\x1b[31",
    "\x1b",
    "bell\x07back\x08\x08\x08cr\rover",
    "c1 \u{9b}2J \u{9d}52;c;x\u{9c} \u{85}",
    "bidi \u{202e}txt.exe\u{202c} \u{2066}iso\u{2069} \u{200f}rlm \u{61c}alm",
    "zero\u{200b}width\u{200d}joiner\u{feff}bom\u{2060}wj\u{ad}shy",
    "tags \u{e0041}\u{e0042} filler \u{3164} sep \u{2028}\u{2029}",
    "zalgo a\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}",
    "\u{301}first",
    "new\nline\ttab\u{0}nul\u{7f}del",
    "wide 日本語 テスト 🦀 ⚠\u{fe0f}",
    "┌─ Gate ─┐ approve? [y]",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(clean(text), want);
    }

    #[test]
    fn plain_text_is_borrowed_and_other_languages_pass() {
        assert!(matches!(clean("cargo build --release"), Cow::Borrowed(_)));
        check("日本語 é ü", "日本語 é ü");
        check("e\u{301}", "e\u{301}");
    }

    #[test]
    fn what_could_control_a_terminal_becomes_a_mark() {
        check("\x1b[31mred\x1b[0m", "red");
        check("\x1b[2Jx", "␛x");
        check("\x1b]52;c;eA==\x07x", "␛x");
        check("\x1b]0;t\x1b\\x", "␛x");
        check("a\rb", "a␍b");
        check("a\r", "a");
        check("a\nb", "a⏎b");
        check("a\tb", "a       b");
        check("\u{202e}evil", "�evil");
        check("\u{9b}2J", "�2J");
        check("x\x1b[3", "x␛");
        check("x\x1b]52;c;", "x␛");
        check("a\u{301}\u{302}\u{303}\u{304}b", "a\u{301}\u{302}�b");
    }

    #[test]
    fn a_line_is_cut_at_its_cells_and_says_so() {
        assert_eq!(line(b"abcdef", 3), Line { text: "abc".into(), cut: true });
        assert_eq!(line(b"abc", 3), Line { text: "abc".into(), cut: false });
        assert_eq!(line("日本".as_bytes(), 3).text, "日");
        assert_eq!(line(&[0xff, b'a', 0xe6, 0x97], 9).text, "�a�");
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn colours_are_told_beside_the_text_and_carried_on() {
        let red = Look { fg: Ink::Index(1), ..Look::default() };
        let line = styled(b"a\x1b[31mb\x1b[1;4mc\x1b[md", 9, Look::default());
        let bold = Look { bold: true, underlined: true, ..red };
        assert_eq!((line.text.as_str(), line.cut), ("abcd", false));
        assert_eq!(line.runs, [(1, red), (2, bold), (3, Look::default())]);
        assert_eq!(
            styled(b"x\x1b[38;5;200my\x1b[48:2::1:2:3m", 9, red).last,
            Look { fg: Ink::Index(200), bg: Ink::Rgb(1, 2, 3), ..red }
        );
        assert_eq!(look_after(b"plain\n", red), red);
        assert_eq!(look_after(b"\x1b[8;5;99999m\x1b[38;5;999m\x1b[38m\x1b[91mx\n", red).fg, Ink::Index(9));
    }

    #[test]
    fn the_hostile_corpus_split_at_each_byte_stays_safe() {
        for text in HOSTILE {
            for at in 0..=text.len() {
                let (a, b) = text.as_bytes().split_at(at);
                for part in [a, b] {
                    let safe = line(part, 4096).text;
                    assert!(safe.chars().all(is_plain), "{text:?} at {at}: {safe:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_plain_line_within_its_cells(bytes in prop::collection::vec(any::<u8>(), 0..200), max in 0usize..60) {
            let safe = line(&bytes, max);
            prop_assert!(safe.text.chars().all(is_plain));
            prop_assert!(safe.text.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>() <= max);
        }

        #[test]
        fn fit_never_exceeds_its_cells(text in ".{0,40}", cells in 0usize..30) {
            let safe = clean(&text);
            prop_assert!(fit(&safe, cells).chars().map(|c| c.width().unwrap_or(0)).sum::<usize>() <= cells);
        }
    }
}
