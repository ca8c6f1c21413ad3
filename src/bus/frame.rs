//! Reads lines of at most a given length: a peer that never ends one takes no more memory than that.

use std::io::{self, BufRead};

use super::message::{CoordinationMessage, Request};

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A line, without its end.
    Line(Vec<u8>),
    /// The peer has gone; what it had begun is dropped.
    End,
    /// A line that is too long. Nothing after it can be told apart.
    TooLong,
}

/// The next line.
///
/// # Errors
/// Those of the reader.
pub fn read(from: &mut impl BufRead, most: usize) -> io::Result<Frame> {
    let mut line = Vec::new();
    loop {
        let seen = match from.fill_buf() {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if seen.is_empty() {
            return Ok(Frame::End);
        }
        let end = memchr::memchr(b'\n', seen);
        let taken = end.unwrap_or(seen.len());
        if line.len() + taken > most {
            return Ok(Frame::TooLong);
        }
        line.extend_from_slice(&seen[..taken]);
        from.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(Frame::Line(line));
        }
    }
}

/// What was read of some bytes, for tests and for the fuzzer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Driven {
    /// Lines.
    pub lines: usize,
    /// Of them, those that are messages.
    pub messages: usize,
    /// Of them, those that ask something that is known.
    pub requests: usize,
    /// The longest line.
    pub longest: usize,
    /// A line was too long, and reading ended there.
    pub too_long: bool,
}

/// Reads `bytes` as the session reads what a client sends, `at_once` bytes at a time and with lines of at most `most`.
pub fn drive(bytes: &[u8], at_once: usize, most: usize) -> Driven {
    let mut from = io::BufReader::with_capacity(at_once, bytes);
    let mut driven = Driven::default();
    loop {
        match read(&mut from, most) {
            Ok(Frame::Line(line)) => {
                driven.lines += 1;
                driven.longest = driven.longest.max(line.len());
                let Ok(message) = serde_json::from_slice::<CoordinationMessage>(&line) else { continue };
                driven.messages += 1;
                driven.requests += usize::from(Request::of(&message.content).is_ok());
            }
            Ok(Frame::TooLong) => return Driven { too_long: true, ..driven },
            Ok(Frame::End) | Err(_) => return driven,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_and_never_beyond_their_bound() {
        let mut from = io::BufReader::with_capacity(3, &b"one\n\ntwelve bytes\nlast"[..]);
        assert_eq!(read(&mut from, 12).unwrap(), Frame::Line(b"one".to_vec()));
        assert_eq!(read(&mut from, 12).unwrap(), Frame::Line(Vec::new()));
        assert_eq!(read(&mut from, 12).unwrap(), Frame::Line(b"twelve bytes".to_vec()));
        assert_eq!(read(&mut from, 12).unwrap(), Frame::End);
        let mut long = io::BufReader::with_capacity(3, &b"thirteen byte\n"[..]);
        assert_eq!(read(&mut long, 12).unwrap(), Frame::TooLong);
    }
}
