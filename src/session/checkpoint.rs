//! A checkpoint: the State at some place of the journal, stored so that a resume reads only what came later. Merely a
//! cache: a bad one is as good as none. Knows neither what is in it nor how it was made.

use std::io::{self, Read};

use crate::engine::fact::FACT_VERSION;

use super::folder::Folder;
use super::journal::Position;

/// The checkpoint's file in a session folder.
pub const FILE: &str = "checkpoint";
/// A checkpoint has at most so many bytes.
pub const MAX_BYTES: u64 = 2 << 30;
/// The first word of the file.
const MAGIC: &str = "qd-checkpoint-1";
/// `magic program/format seq crc offset line length sum⏎`, padded with blanks before the newline.
const HEADER: usize = 192;

/// Which program makes and takes it, and the format of the facts it was made of. One of another program is of no use: its
/// State may look otherwise, and a newer one's journal must be read from its start to be known as such.
fn maker() -> String {
    format!("{}/{FACT_VERSION}", env!("CARGO_PKG_VERSION"))
}

/// Stores `payload` as the State after all facts before `position`, which must be stored themselves. Replaces the one
/// before at once or not at all.
///
/// # Errors
/// As of the file system. Nothing is lost then: the one before stays.
pub fn write(folder: &Folder, position: Position, payload: &[u8]) -> io::Result<()> {
    let Position { seq, crc, offset, line } = position;
    let text = format!("{MAGIC} {} {seq} {crc:08x} {offset} {line} {}", maker(), payload.len());
    let header = format!("{:<width$}\n", format!("{text} {:08x}", sum(&text, payload)), width = HEADER - 1);
    assert_eq!(header.len(), HEADER, "a version, four numbers of at most 20 digits and two sums fit");
    folder.replace_file(FILE, &[header.as_bytes(), payload])
}

/// The stored checkpoint, if there is a good one. Whether the journal still has its position, `Reader::from` says.
pub fn read(folder: &Folder) -> Option<(Position, Vec<u8>)> {
    let mut file = folder.open_file(FILE).ok()?;
    let size = file.metadata().ok()?.len();
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let header = std::str::from_utf8(&header).ok()?.strip_suffix('\n')?.trim_end();
    let (text, expected) = header.rsplit_once(' ')?;
    let mut words = text.split(' ');
    if words.next() != Some(MAGIC) || words.next() != Some(&maker()) {
        return None;
    }
    let mut number = |radix| u64::from_str_radix(words.next()?, radix).ok();
    let (seq, crc, offset, line, length) = (number(10)?, number(16)?, number(10)?, number(10)?, number(10)?);
    let crc = u32::try_from(crc).ok()?;
    if length > MAX_BYTES || size != HEADER as u64 + length {
        return None;
    }
    let mut payload = Vec::new();
    file.take(length).read_to_end(&mut payload).ok()?;
    let good = payload.len() as u64 == length && format!("{:08x}", sum(text, &payload)) == expected;
    good.then_some((Position { seq, crc, offset, line }, payload))
}

/// CRC-32 over the header's text and the payload.
fn sum(text: &str, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(text.as_bytes());
    hasher.update(payload);
    hasher.finalize()
}
