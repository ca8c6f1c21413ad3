//! A second reader of the journal, from `docs/journal.md` alone: it shares no code with the program, and folds only what
//! the oracles ask for.

use std::collections::{BTreeMap, BTreeSet};

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub seq: u64,
    pub name: String,
    /// Everything behind the name, parentheses included.
    pub rest: String,
}

impl Record {
    /// The value of a number field, wherever it stands first.
    pub fn number(&self, field: &str) -> Option<u32> {
        let (_, rest) = self.rest.split_once(&format!("{field}:"))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }

    /// The end of an attempt in the ledger's words: `0`, `7`, `s9`, else the outcome's name.
    pub fn outcome(&self) -> Option<String> {
        let (_, rest) = self.rest.split_once("outcome:")?;
        let number = |rest: &str| rest.split(')').next().unwrap_or_default().to_owned();
        Some(if rest.starts_with("Succeeded") {
            "0".into()
        } else if let Some(rest) = rest.strip_prefix("Failed(Exit(") {
            number(rest)
        } else if let Some(rest) = rest.strip_prefix("Failed(Signal(") {
            format!("s{}", number(rest))
        } else {
            rest.chars().take_while(char::is_ascii_alphanumeric).collect()
        })
    }
}

/// CRC-32 (IEEE) bit by bit, from its polynomial.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// All good lines from the start, and how many bytes they take; what follows is torn.
pub fn read(bytes: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut good, mut before) = (Vec::new(), 0, "00000000".to_owned());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = parse(line, records.len() as u64 + 1, &before) else { break };
        before = String::from_utf8_lossy(&line[9..17]).into_owned();
        records.push(record);
        good += line.len();
    }
    (records, good)
}

fn parse(line: &[u8], number: u64, before: &str) -> Option<Record> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let [len, crc, seq, prev, ron] = text.splitn(5, ' ').collect::<Vec<_>>()[..] else { return None };
    let summed = format!("{seq} {prev} {ron}");
    let right = len == format!("{:08}", summed.len())
        && crc == format!("{:08x}", crc32(summed.as_bytes()))
        && seq == format!("{number:010}")
        && prev == before;
    let (_, fact) = ron.strip_prefix("(at:")?.strip_suffix(')')?.split_once(",fact:")?;
    let name: String = fact.chars().take_while(char::is_ascii_alphanumeric).collect();
    let rest = fact[name.len()..].to_owned();
    right.then_some(Record { seq: number, name, rest })
}

/// What the journal says of a session.
#[derive(Debug, Default)]
pub struct Fold {
    /// Names in order.
    pub tasks: Vec<String>,
    /// Every `Ended` by task and attempt, in order.
    pub ended: BTreeMap<(String, u32), Vec<String>>,
    /// Every `Starting`.
    pub started: BTreeMap<(String, u32), u32>,
    /// Every `Running`.
    pub running: BTreeSet<(String, u32)>,
    /// How each task ended last, if nothing follows from it: in the ledger's words.
    pub last: BTreeMap<String, String>,
    /// Code of the last `Closed`, if nothing opened it since.
    pub closed: Option<i32>,
    /// How often it was opened.
    pub opened: u32,
}

pub fn fold(records: &[Record]) -> Fold {
    let mut fold = Fold::default();
    for record in records {
        let key = |fold: &Fold| Some((fold.tasks[record.number("task")? as usize].clone(), record.number("attempt")?));
        match record.name.as_str() {
            "Opened" => (fold.opened, fold.closed) = (fold.opened + 1, None),
            "Closed" => fold.closed = record.number("code").map(|code| code as i32),
            "TaskAdded" => {
                let id = record.rest.split_once("id:\"").unwrap().1.split('"').next().unwrap();
                fold.tasks.push(id.to_owned());
            }
            "Starting" => {
                let key = key(&fold).unwrap();
                fold.last.remove(&key.0);
                *fold.started.entry(key).or_default() += 1;
            }
            "Running" => {
                fold.running.insert(key(&fold).unwrap());
            }
            "Ended" => {
                let key = key(&fold).unwrap();
                if !record.rest.contains("then:") {
                    fold.last.insert(key.0.clone(), record.outcome().unwrap());
                }
                fold.ended.entry(key).or_default().push(record.outcome().unwrap());
            }
            _ => {}
        }
    }
    fold
}

/// Writes the journal anew with its facts' text changed: an old session, or one from elsewhere.
pub fn rewrite(bytes: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let (mut out, mut before) = (String::new(), "00000000".to_owned());
    for (index, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
        let ron = change(line.splitn(5, ' ').nth(4).expect("a line of a journal"));
        let summed = format!("{:010} {before} {ron}", index + 1);
        before = format!("{:08x}", crc32(summed.as_bytes()));
        out.push_str(&format!("{:08} {before} {summed}\n", summed.len()));
    }
    out.into_bytes()
}

/// The journal with one more fact at its end, at the time of the last.
pub fn rewrite_with(bytes: &[u8], fact: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let at = text.lines().last().and_then(|line| line.split_once("(at:")?.1.split_once(',')).expect("a journal").0;
    rewrite(format!("{text}0 0 0 0 (at:{at},{fact})\n").as_bytes(), str::to_owned)
}
