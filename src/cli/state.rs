//! `qd state`: the shared state of a session, read and changed over its socket, from within a task or from another terminal.

use serde_json::{Value, json};

use super::args::{State, StateVerb};
use super::ctl;
use super::shell::print;
use crate::bus::client::{Client, Trouble};
use crate::bus::message::{StateLine, StateRequest};
use crate::error::{Error, Result};
use crate::session::folder::Folder;
use crate::text;

/// `add` tries so often to be the one whose change counts.
const TRIES: usize = 1_000;
/// What it says when there is no such value, or it has another version.
const NO: i32 = 1;

/// `qd state`.
pub fn state(args: &State) -> Result<i32> {
    let mut talk = Talk::begin(args)?;
    match &args.what {
        StateVerb::Get { key } => {
            let line = talk.get(key)?;
            if args.json {
                return Ok(ctl::print_json(&json!(line)).max(i32::from(line.version == 0)));
            }
            match line.version {
                0 => Ok(NO),
                _ => Ok(say(&line.value)),
            }
        }
        StateVerb::List => {
            let answer = talk.ask(&StateRequest { op: "list".into(), ..StateRequest::default() })?;
            if args.json { Ok(ctl::print_json(&answer)) } else { table(&answer) }
        }
        StateVerb::Set { key, value, text } => {
            talk.set(key, read(value, *text), None)?;
            Ok(0)
        }
        StateVerb::Cas { key, version, value, text } => talk.cas(key, *version, read(value, *text)),
        StateVerb::Add { key, by } => talk.add(key, *by),
        StateVerb::Delete { key } => {
            talk.ask(&StateRequest { op: "delete".into(), key: key.clone(), ..StateRequest::default() })?;
            Ok(0)
        }
        StateVerb::Watch { key, until, since } => {
            let line = talk.watch(key, until.as_deref(), *since)?;
            if args.json { Ok(ctl::print_json(&json!(line))) } else { Ok(say(&line.value)) }
        }
    }
}

struct Talk {
    client: Client,
    folder: Folder,
}

impl Talk {
    fn begin(args: &State) -> Result<Self> {
        let within = if args.session.is_none() { ctl::within()? } else { None };
        let (folder, source, context) = match within {
            Some(within) => (within.folder, within.task, Some(within.context)),
            None => (ctl::folder(args.session.as_deref())?, ctl::who(args.who.as_deref()), None),
        };
        let mut client = Client::connect(folder.fd(), &source).map_err(|trouble| ctl::of(trouble, &folder))?;
        context.into_iter().for_each(|context| client.speak_from(context));
        Ok(Self { client, folder })
    }

    fn ask(&mut self, request: &StateRequest) -> Result<Value> {
        self.try_ask(request)?.map_err(Error::usage)
    }

    /// A no of the session is no error yet.
    fn try_ask(&mut self, request: &StateRequest) -> Result<std::result::Result<Value, String>> {
        match self.client.ask("state", ctl::to_value(request)?) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Trouble::Refused(why)) => Ok(Err(why)),
            Err(trouble) => Err(ctl::of(trouble, &self.folder)),
        }
    }

    fn get(&mut self, key: &str) -> Result<StateLine> {
        let answer = self.ask(&StateRequest { op: "get".into(), key: key.to_owned(), ..StateRequest::default() })?;
        serde_json::from_value(answer).map_err(|error| Error::usage(error.to_string()))
    }

    fn set(&mut self, key: &str, value: Value, version: Option<u64>) -> Result<Value> {
        self.ask(&StateRequest { op: "set".into(), key: key.to_owned(), value, version })
    }

    fn cas(&mut self, key: &str, version: u64, value: Value) -> Result<i32> {
        let request = StateRequest { op: "set".into(), key: key.to_owned(), value, version: Some(version) };
        let Err(why) = self.try_ask(&request)? else { return Ok(0) };
        if self.get(key)?.version == version {
            return Err(Error::usage(why));
        }
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{}\n", text::clean(&why)).as_bytes());
        Ok(NO)
    }

    fn add(&mut self, key: &str, by: i64) -> Result<i32> {
        for _ in 0..TRIES {
            let line = self.get(key)?;
            let old = match &line.value {
                Value::Null => 0,
                value => value.as_i64().ok_or_else(|| Error::usage(format!("{key} is no whole number: {value}")))?,
            };
            let new = old.checked_add(by).ok_or_else(|| Error::usage(format!("{key} would be too large")))?;
            let request =
                StateRequest { op: "set".into(), key: key.to_owned(), value: new.into(), version: Some(line.version) };
            match self.try_ask(&request)? {
                Ok(_) => return Ok(say(&new.into())),
                Err(why) if self.get(key)?.version == line.version => return Err(Error::usage(why)),
                // Somebody else was faster.
                Err(_) => {}
            }
        }
        Err(Error::usage(format!("{key} is changed by others too often")))
    }

    fn watch(&mut self, key: &str, until: Option<&str>, since: Option<u64>) -> Result<StateLine> {
        let mut line = self.get(key)?;
        let wanted = until.map(|until| (read(until, false), Value::from(until)));
        let mut known = since.unwrap_or(line.version);
        loop {
            let is_it = match &wanted {
                Some((value, text)) => line.value == *value || line.value == *text,
                None => line.version != known,
            };
            if is_it {
                return Ok(line);
            }
            known = line.version;
            let request = StateRequest {
                op: "watch".into(),
                key: key.to_owned(),
                version: Some(known),
                ..StateRequest::default()
            };
            let answer = self.ask(&request)?;
            line = serde_json::from_value(answer).map_err(|error| Error::usage(error.to_string()))?;
        }
    }
}

/// A value as it was typed: JSON of a number, true, false or a text in quotes; anything else is a text.
fn read(typed: &str, is_text: bool) -> Value {
    let scalar = |value: &Value| value.is_number() || value.is_boolean() || value.is_string();
    let json = serde_json::from_str(typed).ok().filter(scalar);
    json.filter(|_| !is_text).unwrap_or_else(|| typed.into())
}

fn say(value: &Value) -> i32 {
    // A script reads it: a text comes as it is, but for what could control a terminal.
    let words = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines: Vec<_> = words.split('\n').map(text::clean).collect();
    print(format!("{}\n", lines.join("\n")).as_bytes())
}

fn table(answer: &Value) -> Result<i32> {
    let rows = answer.get("state").cloned().unwrap_or_default();
    let rows: Vec<StateLine> = serde_json::from_value(rows).map_err(|error| Error::usage(error.to_string()))?;
    let width = rows.iter().map(|row| text::width(&row.key)).max().unwrap_or(0).clamp(3, 40);
    let mut out = format!("{:width$}  {:>7}  {:<20}  VALUE\n", "KEY", "VERSION", "BY");
    for row in &rows {
        let value = row.value.to_string();
        let line =
            format!("{:width$}  {:>7}  {:<20}  {}", row.key, row.version, text::clean(&row.by), text::clean(&value));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    Ok(print(out.as_bytes()))
}
