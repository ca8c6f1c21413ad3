//! Checks what a command did: files, lines of output, values of JSON files, a command that judges. Everything that is read
//! is bounded. Knows nothing of attempts.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use regex::bytes::{Regex, RegexBuilder};

use super::files;
use crate::engine::care::{Care, Check, Checked, Findings, Is, PATTERN_BYTES, Validation};
use crate::engine::condition::Value;

/// A line is matched up to so many bytes; what is longer is judged by its beginning.
const LINE_MOST: usize = 64 * 1024;
/// A JSON file is at most so long.
pub const JSON_MOST: u64 = 16 << 20;

/// Checks all; the first that does not hold and must is what the attempt fails by.
pub fn judge(care: &Care, log: &Path, findings: &mut Findings) {
    for pattern in &care.outputs {
        match files::expand(pattern) {
            Ok(found) if found.is_empty() => fail(findings, format!("output {pattern} is missing")),
            Ok(_) => {}
            Err(why) => fail(findings, format!("output {why}")),
        }
    }
    for validation in &care.validate {
        let why = holds(validation, log).err().unwrap_or_default();
        let what = validation.words();
        if !why.is_empty() && !validation.optional {
            fail(findings, format!("{what}: {why}"));
        }
        findings.checks.push(Checked { what, passed: why.is_empty(), weight: validation.weight, why });
    }
}

/// The first failure is the one that is told.
pub fn fail(findings: &mut Findings, what: String) {
    findings.invalid.get_or_insert(what);
}

/// `Err`: why it does not hold.
fn holds(validation: &Validation, log: &Path) -> Result<(), String> {
    match &validation.check {
        Check::FileExists(path) => match fs::symlink_metadata(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        Check::FileHas { file, pattern } => has(Path::new(file), pattern),
        Check::FileLacks { file, pattern } => lacks(Path::new(file), pattern),
        Check::LogHas(pattern) => has(log, pattern),
        Check::LogLacks(pattern) => lacks(log, pattern),
        Check::Json { file, at, is } => {
            let value = json_at(&json_file(file)?, at)?;
            if fits(&value, is) { Ok(()) } else { Err(format!("it is {}", short(&value))) }
        }
        Check::Command { line, env } => command(line, env),
    }
}

fn has(path: &Path, pattern: &str) -> Result<(), String> {
    first_match(path, pattern)?.map(|_| ()).ok_or_else(|| "no line matches".into())
}

fn lacks(path: &Path, pattern: &str) -> Result<(), String> {
    match first_match(path, pattern)? {
        None => Ok(()),
        Some((number, line)) => Err(format!("line {number} matches: {}", String::from_utf8_lossy(&line))),
    }
}

/// The first line that matches, and its number from 1. The file is read as a stream, whatever its length.
fn first_match(path: &Path, pattern: &str) -> Result<Option<(u64, Vec<u8>)>, String> {
    let regex = compile(pattern)?;
    let file = files::open(path).map_err(|error| error.to_string())?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if !read_line(&mut reader, &mut line).map_err(|error| error.to_string())? {
            break;
        }
        if regex.is_match(&line) {
            return Ok(Some((number, line)));
        }
    }
    Ok(None)
}

/// A pattern with its bounds.
fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    built.map_err(|error| format!("the pattern is wrong: {error}"))
}

/// The next line without its end, cut at [`LINE_MOST`]. False at the end of the file.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut any = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(LINE_MOST - line.len())]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// A JSON file.
pub fn json_file(path: &str) -> Result<serde_json::Value, String> {
    let said = |why: String| format!("{path}: {why}");
    let file = files::open(Path::new(path)).map_err(|error| said(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(JSON_MOST + 1).read_to_end(&mut bytes).map_err(|error| said(error.to_string()))?;
    if bytes.len() as u64 > JSON_MOST {
        return Err(said(format!("longer than {} MiB", JSON_MOST >> 20)));
    }
    serde_json::from_slice(&bytes).map_err(|error| said(format!("no JSON: {error}")))
}

/// The value at a pointer.
pub fn json_at(json: &serde_json::Value, at: &str) -> Result<serde_json::Value, String> {
    json.pointer(at).cloned().ok_or_else(|| format!("nothing is at {at:?}"))
}

/// A value in at most a few words.
pub fn short(json: &serde_json::Value) -> String {
    let mut text = json.to_string();
    if text.len() > 80 {
        text.truncate(text.floor_char_boundary(80));
        text.push('…');
    }
    text
}

fn fits(json: &serde_json::Value, is: &Is) -> bool {
    match is {
        Is::AtLeast(least) => json.as_f64().is_some_and(|number| number >= *least),
        Is::AtMost(most) => json.as_f64().is_some_and(|number| number <= *most),
        Is::Equals(value) => match value {
            Value::Bool(value) => json.as_bool() == Some(*value),
            Value::Int(value) => json.as_i64() == Some(*value) || json.as_f64() == Some(*value as f64),
            Value::Float(value) => json.as_f64() == Some(*value),
            Value::Text(value) => json.as_str() == Some(value),
            Value::Duration(_) | Value::Timestamp(_) | Value::List(_) => false,
        },
    }
}

/// Runs in the task's folder with its environment; its output goes to the task's.
fn command(line: &str, env: &[(String, String)]) -> Result<(), String> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").args(line.starts_with(['-', '+']).then_some("--")).arg(line);
    command.envs(env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(match super::sys::exit_of(status) {
            crate::engine::message::Exit::Code(code) => format!("exit {code}"),
            crate::engine::message::Exit::Signal(signal) => format!("signal {signal}"),
        }),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(check: Check, log: &Path) -> Result<(), String> {
        holds(&Validation { check, weight: 1, optional: false }, log)
    }

    #[test]
    fn lines_are_matched_one_by_one_whatever_their_length_or_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("log");
        let mut bytes = vec![b'x'; 3 * LINE_MOST];
        bytes.extend(b"END\nsecond \xff\xfe line\r\nerror: 5\nlast without end");
        fs::write(&log, bytes).unwrap();
        assert_eq!(check(Check::LogHas("^last without end$".into()), &log), Ok(()));
        assert_eq!(check(Check::LogHas("second .* line".into()), &log), Err("no line matches".into()), "no text");
        assert_eq!(check(Check::LogHas("(?-u)second .. line".into()), &log), Ok(()));
        assert_eq!(check(Check::LogHas("END".into()), &log), Err("no line matches".into()), "cut");
        assert_eq!(check(Check::LogHas("x\nsecond".into()), &log), Err("no line matches".into()));
        assert_eq!(check(Check::LogLacks("panic".into()), &log), Ok(()));
        assert_eq!(check(Check::LogLacks("error".into()), &log), Err("line 3 matches: error: 5".into()));
    }

    #[test]
    fn json_values_are_compared_by_what_they_are() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("r.json");
        fs::write(&file, r#"{"coverage": 81, "name": "x", "ok": true, "share": 0.5, "list": [1, 2]}"#).unwrap();
        let json = |at: &str, is: Is| {
            check(Check::Json { file: file.to_str().unwrap().into(), at: at.into(), is }, Path::new("/dev/null"))
        };
        assert_eq!(json("/coverage", Is::AtLeast(80.0)), Ok(()));
        assert_eq!(json("/coverage", Is::AtLeast(82.0)), Err("it is 81".into()));
        assert_eq!(json("/share", Is::AtMost(0.5)), Ok(()));
        assert_eq!(json("/name", Is::Equals("x".into())), Ok(()));
        assert_eq!(json("/name", Is::AtLeast(1.0)), Err("it is \"x\"".into()));
        assert_eq!(json("/ok", Is::Equals(Value::Bool(true))), Ok(()));
        assert_eq!(json("/list/1", Is::Equals(Value::Int(2))), Ok(()));
        assert!(json("/none", Is::AtMost(1.0)).unwrap_err().contains("nothing is at"));
    }
}
