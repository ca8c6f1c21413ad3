//! Reads every byte that a program wrote to a terminal and tells whatever is not on a list of what is allowed there. A
//! parser of its own reads them, so that nothing can hide behind what one terminal does not understand.

use vte::{Params, Parser, Perform};

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The console: frames between taking the terminal and giving it back.
    Console,
    /// Plain lines: no sequence at all.
    Plain,
}

/// What is not allowed among these bytes; empty if all is well.
pub fn offences(bytes: &[u8], writer: Writer) -> Vec<String> {
    let mut checker = Checker { writer, offences: Vec::new(), last: String::new() };
    Parser::new().advance(&mut checker, bytes);
    // An unterminated string sequence says nothing to a parser: look for its introducers as well.
    for (at, pair) in bytes.windows(2).enumerate() {
        let title = bytes[at..].starts_with(b"\x1b]0;");
        if pair[0] == 0x1b && (b"PX^_".contains(&pair[1]) || pair[1] == b']' && !title) {
            checker.offences.push(format!("an introducer of a string at {at}: ESC {}", char::from(pair[1])));
        }
    }
    // A lone byte of 0x80 to 0x9f is a control to some terminals: in good UTF-8 there is none.
    if let Err(error) = std::str::from_utf8(bytes) {
        checker.offences.push(format!("no UTF-8 at {}", error.valid_up_to()));
    }
    if bytes.last() == Some(&0x1b) {
        checker.offences.push("an ESC at the end".into());
    }
    checker.offences
}

/// Fails with what is not allowed.
#[track_caller]
pub fn assert_clean(what: &str, bytes: &[u8], writer: Writer) {
    let offences = offences(bytes, writer);
    assert!(offences.is_empty(), "{what} wrote {offences:#?}");
}

/// Private modes that the console sets and resets: mouse, alternate screen, paste, synchronized update, cursor.
const MODES: [u16; 9] = [25, 1000, 1002, 1003, 1006, 1015, 1049, 2004, 2026];

struct Checker {
    writer: Writer,
    offences: Vec<String>,
    /// The sequence before.
    last: String,
}

impl Checker {
    fn offend(&mut self, what: String) {
        if self.offences.len() < 20 {
            self.offences.push(what);
        }
    }
}

impl Perform for Checker {
    fn print(&mut self, c: char) {
        let hidden = matches!(u32::from(c), 0x7f..=0x9f | 0xad | 0x61c | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe0fff);
        if hidden {
            self.offend(format!("the character U+{:04X}", u32::from(c)));
        }
        self.last.clear();
    }

    fn execute(&mut self, byte: u8) {
        if !matches!(byte, b'\r' | b'\n') {
            self.offend(format!("the control byte {byte:#04x}"));
        }
        self.last.clear();
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        let numbers: Vec<u16> = params.iter().flatten().copied().collect();
        let sequence = format!("CSI {}{numbers:?}{action}", String::from_utf8_lossy(intermediates));
        let allowed = match (intermediates, action) {
            (b"?", 'h' | 'l') => numbers.iter().all(|mode| MODES.contains(mode)),
            (b"", 'H' | 'm') => true,
            // The screen is cleared by us only, at the beginning of a frame, after a reset of colours.
            (b"", 'J') => numbers == [2] && self.last == "CSI [0]m",
            _ => false,
        };
        if ignore || !allowed || self.writer == Writer::Plain {
            self.offend(sequence.clone());
        }
        self.last = sequence;
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _: bool) {
        let title = params.len() == 2 && params[0] == b"0" && params[1].ends_with("· qd".as_bytes());
        let plain = params.iter().all(|part| std::str::from_utf8(part).is_ok_and(|s| !s.chars().any(char::is_control)));
        if !title || !plain || self.writer == Writer::Plain {
            let parts: Vec<_> = params.iter().map(|part| String::from_utf8_lossy(part)).collect();
            self.offend(format!("OSC {parts:?}"));
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        self.offend(format!("ESC {}{}", String::from_utf8_lossy(intermediates), char::from(byte)));
    }

    fn hook(&mut self, _: &Params, _: &[u8], _: bool, action: char) {
        self.offend(format!("DCS {action}"));
    }
}

/// What a hostile task writes: each by itself is something that a terminal obeys.
pub const HOSTILE: &[(&str, &[u8])] = &[
    ("clipboard", b"\x1b]52;c;aGVsbG8=\x07"),
    ("clipboard, ended by ST", b"\x1b]52;c;aGVsbG8=\x1b\\"),
    ("title", b"\x1b]2;owned\x07"),
    ("link", b"\x1b]8;;http://example.org\x1b\\here\x1b]8;;\x1b\\"),
    ("clear", b"\x1b[2J\x1b[3J\x1b[H"),
    ("answer back", b"\x1b[6n\x1b[c\x1b[>c\x05"),
    ("device control", b"\x1bP$qm\x1b\\\x1bP+q544e\x1b\\"),
    ("modes", b"\x1b[?1049l\x1b[?25h\x1b[?2004l\x1b[?1003l\x1b[4h"),
    ("reset", b"\x1bc\x1b[!p\x1b#8"),
    ("C1 as bytes", b"\x9b2J\x9d52;c;aGVsbG8=\x9c\x90q\x9c\x85\x84"),
    ("C1 as characters", "\u{9b}2J\u{9d}52;c;aGVsbG8=\u{9c}\u{85}".as_bytes()),
    ("bidi", "\u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{200f}\u{61c}".as_bytes()),
    ("invisible", "a\u{200b}b\u{feff}c\u{ad}d\u{2060}e".as_bytes()),
    ("bell, backspaces, returns", b"\x07\x08\x08\x08\x0b\x0c\x0e\x0f\rover"),
    ("program strings", b"\x1b^pm\x1b\\\x1b_apc\x1b\\\x1bXsos\x1b\\"),
    ("colours", b"\x1b[31;5;7mred\x1b[8mhidden"),
    ("half a character", b"\xe2\x80"),
    ("not terminated", b"\x1b]52;c;AAAAAAAA"),
];

#[test]
fn the_checker_sees_each_of_the_hostile_bytes() {
    for (name, bytes) in HOSTILE {
        assert!(!offences(bytes, Writer::Plain).is_empty(), "{name}");
        let calm = matches!(*name, "modes" | "colours");
        assert!(calm || !offences(bytes, Writer::Console).is_empty(), "{name}");
    }
    assert_eq!(offences("✓ fine\r\n".as_bytes(), Writer::Plain), [""; 0]);
    assert_eq!(offences(b"\x1b[?2026h\x1b[0m\x1b[2J\x1b[1;1H\x1b[38;5;3mx\x1b[?2026l", Writer::Console), [""; 0]);
}
