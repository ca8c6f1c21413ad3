//! `qd msg` and `qd ctl messages`: something is said to everybody who looks at a session, and what was said is told.

use serde_json::json;

use super::args::Msg;
use super::ctl;
use super::resume::replay;
use super::shell::print;
use crate::bus::client::{Client, Trouble};
use crate::bus::message::{MessageLine, MessageRequest};
use crate::error::{Error, Result};
use crate::server::message_lines;
use crate::session::folder::Folder;
use crate::text;

/// `qd msg`.
pub fn say(args: &Msg) -> Result<i32> {
    let within = if args.session.is_none() { ctl::within()? } else { None };
    let (folder, source, context) = match within {
        Some(within) => (within.folder, within.task, Some(within.context)),
        None => (ctl::folder(args.session.as_deref())?, ctl::who(args.who.as_deref()), None),
    };
    let mut client = Client::connect(folder.fd(), &source).map_err(|trouble| ctl::of(trouble, &folder))?;
    context.into_iter().for_each(|context| client.speak_from(context));
    let (op, text, priority) = ("post".to_owned(), args.text.join(" "), args.priority);
    let request = MessageRequest { op, text, priority, after: None };
    client.ask("message", ctl::to_value(&request)?).map_err(|trouble| ctl::of(trouble, &folder))?;
    Ok(0)
}

/// `qd ctl messages`.
pub(super) fn messages(client: &mut Client, folder: &Folder, follow: bool, as_json: bool) -> Result<i32> {
    let (mut op, mut after) = ("list", 0);
    loop {
        let request = MessageRequest { op: op.to_owned(), after: Some(after), ..MessageRequest::default() };
        let answer = match client.ask("message", ctl::to_value(&request)?) {
            Ok(answer) => answer,
            // What was said last, before the session ended, stands in its journal.
            Err(Trouble::Gone | Trouble::Nobody) if follow => return past(folder, after, as_json),
            Err(trouble) => return Err(ctl::of(trouble, folder)),
        };
        let lines = answer.get("messages").cloned().unwrap_or_default();
        let lines: Vec<MessageLine> = serde_json::from_value(lines).map_err(|error| Error::usage(error.to_string()))?;
        let code = tell(&lines, as_json);
        if !follow || code != 0 {
            return Ok(code);
        }
        (op, after) = ("watch", lines.last().map_or(after, |line| line.number));
    }
}

/// What was said after the message of this number in a session that nobody runs.
pub(super) fn past(folder: &Folder, after: u64, as_json: bool) -> Result<i32> {
    let lines = message_lines(&replay(folder)?.state, after);
    Ok(tell(&lines, as_json))
}

fn tell(lines: &[MessageLine], as_json: bool) -> i32 {
    let line = |line: &MessageLine| if as_json { format!("{}\n", json!(line)) } else { words(line) };
    print(lines.iter().map(line).collect::<String>().as_bytes())
}

/// `14:03:07  build/1  uploaded 3 files`
fn words(line: &MessageLine) -> String {
    let at = i64::try_from(line.at_ms).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let at =
        at.map_or_else(String::new, |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string());
    let urgent = if line.priority > 0 { "! " } else { "" };
    format!("{at}  {}  {urgent}{}\n", text::clean(&line.by), text::clean(&line.text))
}
