//! One line of the journal: framing and checksum, both ways. The format is told in the parent module. Knows no file.

use std::fmt;
use std::io::Write;

use crate::engine::fact::Stamped;

use super::MAX_LINE;

mod quick;

/// Bytes of `len crc `.
const FRAME: usize = 18;
/// Bytes of `len crc seq prev `.
pub const HEADER: usize = FRAME + 20;
/// The highest number that fits into `seq`.
const MAX_SEQ: u64 = 9_999_999_999;

/// A line whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number.
    pub seq: u64,
    /// Checksum of the line before it.
    pub prev: u32,
    /// Its own checksum.
    pub crc: u32,
    /// The fact, as RON.
    pub body: &'a [u8],
    /// Bytes of the whole line, newline included.
    pub size: usize,
}

/// What stands at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A line.
    Good(Line<'a>),
    /// Perhaps a line: so many bytes are needed to tell.
    Short(usize),
    /// No line.
    Bad,
}

/// Looks for a line at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    if bytes.len() < FRAME {
        return if bytes.is_empty() || could_begin(bytes) { Parsed::Short(FRAME) } else { Parsed::Bad };
    }
    let (Some(len), Some(crc)) = (decimal(&bytes[..8]), hex(&bytes[9..17])) else { return Parsed::Bad };
    let len = len as usize;
    if bytes[8] != b' ' || bytes[17] != b' ' || !(HEADER - FRAME..=MAX_LINE).contains(&len) {
        return Parsed::Bad;
    }
    let size = FRAME + len + 1;
    if bytes.len() < size {
        return Parsed::Short(size);
    }
    let summed = &bytes[FRAME..size - 1];
    if bytes[size - 1] != b'\n' || summed[10] != b' ' || summed[19] != b' ' {
        return Parsed::Bad;
    }
    let (Some(seq), Some(prev)) = (decimal(&summed[..10]), hex(&summed[11..19])) else { return Parsed::Bad };
    if crc32fast::hash(summed) != crc {
        return Parsed::Bad;
    }
    Parsed::Good(Line { seq, prev, crc, body: &bytes[HEADER..size - 1], size })
}

/// Whether these bytes, fewer than a header or more, look like the beginning of a line.
pub fn could_begin(bytes: &[u8]) -> bool {
    bytes.iter().take(HEADER).enumerate().all(|(at, &byte)| match at {
        8 | 17 | 28 | 37 => byte == b' ',
        0..8 | 18..28 => byte.is_ascii_digit(),
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, &byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u32::from(digit))
    })
}

/// Appends the line of `fact` to `buffer` and returns its checksum. On an error `buffer` is as before.
///
/// # Errors
/// Text for the operator, if the fact has no stored form or is longer than [`MAX_LINE`]: a defect of ours.
pub fn encode(buffer: &mut Vec<u8>, seq: u64, prev: u32, fact: &Stamped) -> Result<u32, String> {
    let start = buffer.len();
    encode_at(buffer, start, seq, prev, fact).inspect_err(|_| buffer.truncate(start))
}

fn encode_at(buffer: &mut Vec<u8>, start: usize, seq: u64, prev: u32, fact: &Stamped) -> Result<u32, String> {
    if seq > MAX_SEQ {
        return Err(format!("fact {seq} is beyond the last number"));
    }
    buffer.extend_from_slice(&[b' '; FRAME]);
    write!(buffer, "{seq:010} {prev:08x} ").expect("a Vec takes every byte");
    let mut ron = ron::ser::Serializer::new(Text(buffer), None).map_err(|error| error.to_string())?;
    serde::Serialize::serialize(fact, &mut ron).map_err(|error| format!("fact {seq} cannot be stored: {error}"))?;
    let summed = &buffer[start + FRAME..];
    if summed.len() > MAX_LINE {
        return Err(format!("fact {seq} is longer than {MAX_LINE} bytes"));
    }
    assert!(!summed.contains(&b'\n'), "RON escapes newlines in strings and writes none of its own here");
    let (len, crc) = (summed.len(), crc32fast::hash(summed));
    buffer.push(b'\n');
    let mut frame = &mut buffer[start..start + FRAME];
    write!(frame, "{len:08} {crc:08x} ").expect("it has just this size");
    Ok(crc)
}

/// Lets ron write text into bytes.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The fact of a line.
///
/// # Errors
/// If this program does not know it: a newer one wrote it.
pub fn decode(body: &[u8]) -> Result<Stamped, String> {
    quick::decode(body).map_or_else(|| decode_ron(body), Ok)
}

/// The same without the short way.
pub(super) fn decode_ron(body: &[u8]) -> Result<Stamped, String> {
    ron::de::from_bytes(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fact::Fact;
    use crate::engine::ids::Time;

    fn opened(program: &str) -> Stamped {
        let fact = Fact::Opened { version: 1, program: program.into(), boot_id: "b".into(), pid: 1 };
        Stamped { at: Time(5), fact }
    }

    #[test]
    fn the_line_of_the_documentation_is_what_is_written() {
        let mut buffer = Vec::new();
        encode(&mut buffer, 1, 0, &Stamped { at: Time(1000), fact: Fact::Paused }).unwrap();
        assert_eq!(String::from_utf8(buffer).unwrap(), "00000041 2659b298 0000000001 00000000 (at:1000,fact:Paused)\n");
    }

    #[test]
    fn hostile_text_stays_on_its_line_and_comes_back() {
        let whole: String = (0..=0x2_ffff).filter_map(char::from_u32).collect();
        for text in ["", "a\nb\r\n", "\u{2028}\u{85}\0\u{1b}[2J", "\"\\#\"#", "/* // */", &whole] {
            let fact = opened(text);
            let mut buffer = Vec::new();
            encode(&mut buffer, 7, 9, &fact).unwrap();
            assert_eq!(buffer.iter().position(|&byte| byte == b'\n'), Some(buffer.len() - 1));
            let Parsed::Good(line) = parse(&buffer) else { panic!("{:?}", parse(&buffer)) };
            assert_eq!((line.seq, line.prev, line.size), (7, 9, buffer.len()));
            assert_eq!(decode(line.body).unwrap(), fact);
        }
    }

    #[test]
    fn each_flipped_bit_is_found_and_each_prefix_is_short() {
        let mut good = Vec::new();
        encode(&mut good, 3, 0xfeed_beef, &opened("1.0")).unwrap();
        for cut in 0..good.len() {
            assert!(matches!(parse(&good[..cut]), Parsed::Short(size) if size > cut), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A longer `len` needs more bytes to tell; that is no line either at the end of a file.
            assert!(!matches!(parse(&bad), Parsed::Good(_)), "bit {bit}");
        }
    }

    #[test]
    fn what_cannot_be_stored_leaves_the_buffer_as_it_was() {
        use crate::engine::message::{Command, Origin};
        let command = Command::Load(std::sync::Arc::default());
        let fact = Stamped { at: Time(0), fact: Fact::Commanded { by: Origin::Rule, command, inverse: None } };
        let mut buffer = b"before".to_vec();
        assert!(encode(&mut buffer, 1, 0, &fact).is_err());
        assert!(encode(&mut buffer, MAX_SEQ + 1, 0, &opened("")).is_err());
        assert_eq!(buffer, b"before");
    }
}
