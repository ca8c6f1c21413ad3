//! One side of the talk: connects to a living session, hears its `hello`, asks and waits for the response.

use std::io::{BufReader, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::address;
use super::frame::{self, Frame};
use super::message::{Content, CoordinationMessage, ExecutionContext, MessageType, Metadata, PROTOCOL};

/// What a session says in one line is no longer than this, in bytes.
pub const ANSWER_BYTES: usize = 64 << 20;
/// So long a session may take to say hello.
const HELLO: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No console listens there.
    Nobody,
    /// The session ended, or went away, before it answered.
    Gone,
    /// The session says no.
    Refused(String),
    /// What it says cannot be understood.
    Strange(String),
}

/// A line to a session.
pub struct Client {
    reader: BufReader<UnixStream>,
    source: String,
    context: ExecutionContext,
    asked: u64,
}

impl Client {
    /// Connects to the session in this folder.
    ///
    /// # Errors
    /// Nobody is there, or speaks another protocol.
    pub fn connect(folder: BorrowedFd<'_>, source: &str) -> Result<Self, Trouble> {
        let stream = UnixStream::connect(address::within(folder)).map_err(|_| Trouble::Nobody)?;
        stream.set_read_timeout(Some(HELLO)).map_err(|error| Trouble::Strange(error.to_string()))?;
        let mut client = Self {
            reader: BufReader::new(stream),
            source: source.to_owned(),
            context: ExecutionContext::default(),
            asked: 0,
        };
        let hello = client.hear()?;
        let protocol = hello.content.parameters.get("protocol").and_then(Value::as_u64);
        if hello.content.action != "hello" {
            return Err(client.refusal(&hello));
        }
        if protocol != Some(u64::from(PROTOCOL)) {
            return Err(Trouble::Strange("it speaks another version of the protocol: use the same qd for both".into()));
        }
        client.reader.get_ref().set_read_timeout(None).map_err(|error| Trouble::Strange(error.to_string()))?;
        Ok(client)
    }

    /// From where it speaks from now on.
    pub fn speak_from(&mut self, context: ExecutionContext) {
        self.context = context;
    }

    /// Asks, and waits for the response.
    ///
    /// # Errors
    /// It is refused, or does not come.
    pub fn ask(&mut self, action: &str, parameters: Value) -> Result<Value, Trouble> {
        self.asked += 1;
        let id = self.asked.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let message = CoordinationMessage {
            kind: MessageType::Query,
            content: Content { action: action.to_owned(), parameters, context: self.context.clone() },
            metadata: Metadata {
                source: self.source.clone(),
                timestamp: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
                priority: 0,
            },
            id: id.clone(),
            in_reply_to: None,
        };
        self.reader.get_mut().write_all(&message.line()).map_err(|_| Trouble::Gone)?;
        loop {
            let answer = self.hear()?;
            if answer.in_reply_to.as_deref() != Some(&id) {
                continue;
            }
            return match answer.content.parameters.get("error") {
                Some(_) => Err(self.refusal(&answer)),
                None => Ok(answer.content.parameters),
            };
        }
    }

    fn refusal(&self, answer: &CoordinationMessage) -> Trouble {
        let why = answer.content.parameters.get("error").and_then(Value::as_str);
        why.map_or_else(|| Trouble::Strange("it does not say hello".into()), |why| Trouble::Refused(why.to_owned()))
    }

    fn hear(&mut self) -> Result<CoordinationMessage, Trouble> {
        match frame::read(&mut self.reader, ANSWER_BYTES) {
            Ok(Frame::Line(line)) => {
                serde_json::from_slice(&line).map_err(|error| Trouble::Strange(format!("no message: {error}")))
            }
            Ok(Frame::TooLong) => Err(Trouble::Strange("an answer that is too long".into())),
            Ok(Frame::End) | Err(_) => Err(Trouble::Gone),
        }
    }
}
