//! Takes the values that a task publishes from its output, from JSON files or from what it said. Each is of its declared
//! type and bounded. A value that is missing or of another type fails the attempt. Knows nothing of who reads them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::files;
use super::judge::{fail, json_at, json_file, short};
use super::said::{self, Said};
use crate::engine::care::{Care, Findings, Publish, Source};
use crate::engine::condition::{LIST_MAX, TEXT_VALUE_MAX, Type, Value};

/// All values of a task together take at most so many bytes.
const BYTES_MOST: usize = 256 * 1024;

/// Takes all of them, those that were said from the file `said`; none counts if one is wrong.
pub fn publish(care: &Care, log: &Path, said: &Path, findings: &mut Findings) {
    let words = match said_by(care, said) {
        Ok(words) => words,
        Err(why) => return fail(findings, why),
    };
    let mut values = Vec::with_capacity(care.publishes.len());
    let mut bytes = 0;
    for publish in &care.publishes {
        let value = match &publish.from {
            Source::Publish => heard(publish, &words),
            _ => take(publish, log),
        };
        let value = value.and_then(|value| {
            bytes += size(&value);
            if bytes > BYTES_MOST {
                Err(format!("all values together are longer than {BYTES_MOST} bytes"))
            } else {
                Ok(value)
            }
        });
        match value {
            Ok(value) => values.push((publish.name.clone(), value)),
            Err(why) => return fail(findings, format!("publishes `{}`: {why}", publish.name)),
        }
    }
    if findings.invalid.is_none() {
        findings.published = values;
    }
}

/// What was said; a name that is not declared to be is a mistake.
fn said_by(care: &Care, said: &Path) -> Result<BTreeMap<String, Said>, String> {
    let declared = |name: &str| care.publishes.iter().any(|one| one.name == name && one.from == Source::Publish);
    if !care.publishes.iter().any(|one| one.from == Source::Publish) {
        return Ok(BTreeMap::new());
    }
    let words = said::read(said)?;
    match words.keys().find(|name| !declared(name)) {
        Some(name) => Err(format!("publishes `{name}`, which is not declared as Publish")),
        None => Ok(words),
    }
}

fn heard(publish: &Publish, words: &BTreeMap<String, Said>) -> Result<Value, String> {
    let said = words.get(&publish.name).ok_or("it was never said: qd publish NAME=VALUE")?;
    match (&publish.of, &said.text) {
        // What looks like a number is a text where a text is wanted.
        (Type::Text, Some(text)) if !said.value.is_string() => typed(&Type::Text, &text.as_str().into()),
        _ => typed(&publish.of, &said.value),
    }
}

fn take(publish: &Publish, log: &Path) -> Result<Value, String> {
    match &publish.from {
        Source::LastLine => {
            let line = last_line(log)?;
            publish.of.read(&line).filter(is_clean).ok_or_else(|| wrong(&publish.of, &format!("{:?}", Cut(&line))))
        }
        Source::JsonLine { at } => {
            let line = last_line(log)?;
            let json = serde_json::from_str(&line).map_err(|error| format!("the last line is no JSON: {error}"))?;
            typed(&publish.of, &json_at(&json, at)?)
        }
        Source::Digest { file } => {
            let path = file.as_ref().map_or(log, Path::new);
            let shown = || file.as_deref().unwrap_or("the output");
            let digest = files::digest(path).map_err(|error| format!("{} cannot be read: {error}", shown()))?;
            Ok(Value::from(digest.as_str()))
        }
        Source::Publish => Err("it is said, not found".into()),
        Source::JsonFile { file, at } => typed(&publish.of, &json_at(&json_file(file)?, at)?),
    }
}

fn wrong(of: &Type, found: &str) -> String {
    format!("{found} is no {of}")
}

/// Shown up to some length.
struct Cut<'t>(&'t str);

impl std::fmt::Debug for Cut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.0.floor_char_boundary(80);
        write!(f, "{:?}{}", &self.0[..end], if end < self.0.len() { "…" } else { "" })
    }
}

/// The last line of a file that is not blank, without what ends it. Only the end of the file is read.
fn last_line(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file: File = files::open(path)?;
        let length = file.metadata()?.len();
        // A longest value, and as much again for blank lines behind it.
        let most = 2 * TEXT_VALUE_MAX as u64;
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| error.to_string())?;
    let blank = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
    let line = bytes.rsplit(|byte| *byte == b'\n').find(|line| !blank(line));
    let line = line.ok_or("there is no output")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > TEXT_VALUE_MAX {
        return Err(format!("the last line is longer than {TEXT_VALUE_MAX} bytes"));
    }
    String::from_utf8(line.to_vec()).map_err(|_| "the last line is not UTF-8".into())
}

fn typed(of: &Type, json: &serde_json::Value) -> Result<Value, String> {
    let value = match (of, json) {
        (Type::Bool, serde_json::Value::Bool(value)) => Some(Value::Bool(*value)),
        (Type::Int, serde_json::Value::Number(number)) => whole(number).map(Value::Int),
        (Type::Float, serde_json::Value::Number(number)) => number.as_f64().map(Value::Float),
        (Type::Text, serde_json::Value::String(text)) if text.len() <= TEXT_VALUE_MAX => {
            Some(Value::from(text.as_str()))
        }
        (Type::List(of), serde_json::Value::Array(items)) => {
            if items.len() > LIST_MAX {
                return Err(format!("{} elements, {LIST_MAX} are possible", items.len()));
            }
            Some(Value::List(items.iter().map(|item| typed(of, item)).collect::<Result<_, _>>()?))
        }
        _ => None,
    };
    value.filter(is_clean).ok_or_else(|| wrong(of, &short(json)))
}

/// A whole number, also as `5.0`.
fn whole(number: &serde_json::Number) -> Option<i64> {
    /// Beyond this a float is not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT).map(|n| n as i64))
}

/// No command can be given a NUL.
fn is_clean(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.contains('\0'),
        _ => true,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 16,
        Value::List(items) => items.iter().map(size).sum::<usize>() + 16,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_from(bytes: &[u8], from: Source, of: Type) -> Result<Value, String> {
        let temp = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(temp.path(), bytes).unwrap();
        take(&Publish { name: "x".into(), from, of }, temp.path())
    }

    #[test]
    fn the_last_line_that_is_not_blank_is_a_value_of_its_type() {
        let last = |text: &[u8], of| take_from(text, Source::LastLine, of);
        assert_eq!(last(b"a\n 87 \n\n  \n", Type::Int), Ok(Value::Int(87)));
        assert_eq!(last(b"8.5\r\n", Type::Float), Ok(Value::Float(8.5)));
        assert_eq!(last(b"true", Type::Bool), Ok(Value::Bool(true)));
        assert_eq!(last(b"'; touch X\x1b[2J\n", Type::Text), Ok("'; touch X\u{1b}[2J".into()));
        assert!(last(b"87%", Type::Int).unwrap_err().contains("is no Int"));
        assert!(last(b"inf", Type::Float).is_err());
        assert!(last(b"\n \n", Type::Text).unwrap_err().contains("no output"));
        assert!(last(b"a\0b", Type::Text).is_err());
        assert!(last(b"\xff\n", Type::Text).unwrap_err().contains("UTF-8"));
        let long = vec![b'y'; TEXT_VALUE_MAX + 1];
        assert!(last(&long, Type::Text).unwrap_err().contains("longer than"));
        assert!(last(&long[1..], Type::Text).is_ok());
    }

    #[test]
    fn json_values_are_of_their_declared_type_or_refused() {
        let line = |text: &str, of| take_from(text.as_bytes(), Source::JsonLine { at: "/v".into() }, of);
        assert_eq!(line("{\"v\": 5.0}", Type::Int), Ok(Value::Int(5)));
        assert_eq!(line("{\"v\": 5}", Type::Float), Ok(Value::Float(5.0)));
        let list = Value::List(vec![Value::Int(1), Value::Int(2)].into());
        assert_eq!(line("log\n{\"v\": [1, 2]}", Type::list(Type::Int)), Ok(list));
        assert!(line("{\"v\": [1, \"a\"]}", Type::list(Type::Int)).unwrap_err().contains("is no Int"));
        assert!(line("{\"v\": 5.5}", Type::Int).is_err());
        assert!(line("{\"v\": null}", Type::Text).is_err());
        assert!(line("{\"w\": 1}", Type::Int).unwrap_err().contains("nothing is at"));
        assert!(line("{\"v\": \"a\\u0000b\"}", Type::Text).is_err());
        let many = format!("{{\"v\": [{}1]}}", "1,".repeat(LIST_MAX));
        assert!(line(&many, Type::list(Type::Int)).unwrap_err().contains("elements"));
    }
}
