//! The session's socket: a thread that accepts clients of our own user, and one for each client, that reads what it asks and
//! writes what it hears. A client that is slow, silent, loud or wrong costs its own thread and nothing else: the loop is asked
//! by its inbox and never waits for anybody. Knows nothing of how a command is decided.

mod answer;
mod locks;
pub mod orders;
pub mod surgery;

pub use answer::message_lines;

use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use serde_json::{Value, json};

use crate::bus::address;
use crate::bus::frame::{self, Frame};
use crate::bus::message::{CoordinationMessage, ExecutionContext, MessageType, PROTOCOL, Request};
use crate::bus::token::Secret;
use crate::runtime::Handle;
use crate::session::folder::Folder;
use crate::workflow::Machine;

/// No more clients than this at once.
pub const MAX_CLIENTS: usize = 256;
/// What a client says in one line is no longer than this, in bytes.
pub const REQUEST_BYTES: usize = 64 << 10;
/// The thread of a client has a stack of so many bytes: it may wait for long, and many may.
const STACK: usize = 512 << 10;
/// A client that takes nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long nobody is accepted after the machine had no descriptor or no thread for one.
const BREATH: Duration = Duration::from_millis(100);

/// The socket of a living session. It is gone with it.
pub struct Server {
    folder: OwnedFd,
}

/// What each client's thread knows.
#[derive(Clone)]
struct Session {
    handle: Handle,
    name: Arc<str>,
    clients: Arc<AtomicUsize>,
    /// By which it is known for whom a client speaks.
    secret: Option<Secret>,
    /// What the machine has, for tasks that are added.
    machine: fn() -> Machine,
}

impl Server {
    /// Listens in the session's folder, which this console has locked: a socket that lies there is one of a console that died.
    ///
    /// # Errors
    /// There can be no socket there.
    pub fn start(
        folder: &Folder,
        handle: &Handle,
        secret: Option<Secret>,
        machine: fn() -> Machine,
    ) -> io::Result<Self> {
        let own = folder.fd().try_clone_to_owned()?;
        match folder.remove_file(address::SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let path = address::within(own.as_fd());
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let session =
            Session { handle: handle.clone(), name: folder.name().into(), clients: Arc::default(), secret, machine };
        thread::Builder::new().name("server".into()).spawn(move || accept_all(&listener, &session))?;
        Ok(Self { folder: own })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever finds it after us finds nobody there.
        let _ = rustix::fs::unlinkat(&self.folder, address::SOCKET, rustix::fs::AtFlags::empty());
    }
}

fn accept_all(listener: &UnixListener, session: &Session) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            thread::sleep(BREATH);
            continue;
        };
        if !is_ours(&stream) {
            continue;
        }
        let one = session.clone();
        if one.clients.fetch_add(1, Ordering::AcqRel) >= MAX_CLIENTS {
            let why = format!("{MAX_CLIENTS} clients are connected already");
            let _ = stream
                .set_nonblocking(true)
                .and_then(|()| say(&stream, &one.message("hello", json!({ "error": why }))));
            one.clients.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let clients = one.clients.clone();
        let talk = move || {
            // A client that has gone is no error of ours.
            let _ = serve(&stream, &one);
            one.clients.fetch_sub(1, Ordering::AcqRel);
        };
        if thread::Builder::new().name("client".into()).stack_size(STACK).spawn(talk).is_err() {
            clients.fetch_sub(1, Ordering::AcqRel);
            thread::sleep(BREATH);
        }
    }
}

/// The folder lets nobody else in; this is for a folder that somebody opened to others.
fn is_ours(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid == rustix::process::geteuid() || peer.uid.is_root())
}

/// The client has hung up, or its process has ended.
fn has_gone(stream: &UnixStream) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut fds, Some(&now)).is_ok()
        && fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

fn say(mut stream: &UnixStream, message: &CoordinationMessage) -> io::Result<()> {
    stream.write_all(&message.line())
}

fn serve(stream: &UnixStream, session: &Session) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let hello = json!({ "protocol": PROTOCOL, "program": env!("CARGO_PKG_VERSION"), "session": &*session.name });
    say(stream, &session.message("hello", hello))?;
    let mut reader = BufReader::new(stream);
    let mut known = None;
    loop {
        let line = match frame::read(&mut reader, REQUEST_BYTES)? {
            Frame::Line(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Frame::Line(line) => line,
            Frame::End => return Ok(()),
            Frame::TooLong => {
                let why = format!("a line is at most {REQUEST_BYTES} bytes long");
                return say(stream, &session.message("error", json!({ "error": why })));
            }
        };
        let mut asked: CoordinationMessage = match serde_json::from_slice(&line) {
            Ok(asked) => asked,
            Err(error) => {
                say(stream, &session.message("error", json!({ "error": format!("no message: {error}") })))?;
                continue;
            }
        };
        let handle = session.handle.with_priority(asked.metadata.priority);
        let identified = session.identify(&mut asked.content.context, &mut known);
        let result = match asked.kind {
            _ if identified.is_err() => identified.map(|()| Value::Null),
            MessageType::Query | MessageType::Notify | MessageType::Sync => {
                let request = Request::of(&asked.content);
                request.and_then(|request| match request {
                    Request::Command(order) if surgery::is_one(&order) => {
                        surgery::answer(&handle, &order, &asked, session.machine)
                    }
                    request => answer::to(&handle, request, &asked, &|| has_gone(stream)),
                })
            }
            MessageType::Response => Err("nothing was asked".to_owned()),
        };
        if asked.kind == MessageType::Notify && result.is_ok() {
            continue;
        }
        let parameters = result.unwrap_or_else(|why| json!({ "error": why }));
        say(stream, &session.response(&asked, parameters))?;
    }
}

/// A token that a client has shown, and whose it is.
type Known = Option<(String, (u32, u32))>;

impl Session {
    /// For which attempt a client speaks, by its token and by nothing else.
    /// `known` is the token that it showed last.
    fn identify(&self, context: &mut ExecutionContext, known: &mut Known) -> Result<(), String> {
        let said = (context.task_id, context.attempt);
        let Some(token) = context.token.take() else {
            return match said {
                (None, None) => Ok(()),
                _ => Err("who speaks for a task shows its token in `context`: it is in $QD_TOKEN".into()),
            };
        };
        let (task, attempt) = match known {
            Some((shown, holder)) if *shown == token => *holder,
            _ => {
                let holder = self.secret.as_ref().and_then(|secret| secret.holder(&token));
                let holder = holder.ok_or("this token is none of this session")?;
                *known = Some((token, holder));
                holder
            }
        };
        if said.0.is_some_and(|said| said != task) || said.1.is_some_and(|said| said != attempt) {
            return Err(format!("this token is that of task {task}, attempt {attempt}"));
        }
        (context.task_id, context.attempt) = (Some(task), Some(attempt));
        Ok(())
    }

    fn message(&self, action: &str, parameters: Value) -> CoordinationMessage {
        let now = self.handle.clock.now().0;
        CoordinationMessage::of_session(MessageType::Notify, &self.name, action, parameters, now)
    }

    fn response(&self, to: &CoordinationMessage, parameters: Value) -> CoordinationMessage {
        let mut message = self.message(&to.content.action, parameters);
        message.kind = MessageType::Response;
        message.in_reply_to = Some(to.id.clone());
        message
    }
}
