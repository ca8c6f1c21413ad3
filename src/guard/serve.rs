//! The guard's socket in the session folder: it tells resumed consoles every line so far and every new one, and takes
//! orders. A client can be slow, silent, rude or many: it never blocks the guard nor makes it grow.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{AtFlags, Mode, unlinkat};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with,
};
use rustix::process::{geteuid, umask};

use super::past::Order;

/// At most so many clients; a further one takes the place of the oldest that has not adopted.
const MAX_CLIENTS: usize = 8;
/// No order is longer; a client that sends a longer one is dropped.
const MAX_ORDER: usize = 128;

struct Client {
    fd: OwnedFd,
    /// What is said before the lines.
    prelude: Vec<u8>,
    /// How many bytes of the lines it has.
    sent: usize,
    input: Vec<u8>,
    adopted: bool,
    left: bool,
    broken: bool,
}

/// The listening socket and its clients.
pub struct Server {
    listener: OwnedFd,
    name: String,
    clients: Vec<Client>,
    /// The living console's pid, until it is dead.
    living: Option<i32>,
}

impl Server {
    /// Binds `name` in the folder, 0600, whatever the length of the folder's path.
    pub fn bind(folder: BorrowedFd<'_>, name: String, console: i32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let _ = unlinkat(folder, &name, AtFlags::empty());
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = bind(&listener, &address(folder, &name)?);
        umask(before);
        bound?;
        listen(&listener, MAX_CLIENTS as i32)?;
        Ok(Self { listener, name, clients: Vec::new(), living: Some(console) })
    }

    /// The console is dead; so many bytes of lines were recorded before anybody is told any.
    pub fn console_ended(&mut self, backlog: usize) {
        self.living = None;
        for client in &mut self.clients {
            client.prelude.extend_from_slice(backlog_line(backlog).as_bytes());
        }
    }

    /// What to wait for; `behind` is the length of the lines, to wait for room where a client has not got them all.
    pub fn wanted(&self, length: usize) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut wanted = vec![(self.listener.as_fd(), PollFlags::IN)];
        for client in &self.clients {
            let behind = !client.prelude.is_empty() || (self.living.is_none() && client.sent < length);
            wanted.push((client.fd.as_fd(), if behind { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }));
        }
        wanted
    }

    /// Takes new clients, sends what there is room for, reads orders. Never waits.
    #[must_use = "an order that is not obeyed is lost"]
    pub fn turn(&mut self, lines: &[u8]) -> Vec<Order> {
        self.accept(lines.len());
        let mut orders = Vec::new();
        for client in &mut self.clients {
            client.send(if self.living.is_none() { lines } else { &[] });
            client.read(&mut orders);
            if client.broken && client.adopted && !client.left {
                orders.push(Order::Gone);
            }
        }
        self.clients.retain(|client| !client.broken);
        orders
    }

    /// Whether every client has got every line.
    pub fn all_told(&self, length: usize) -> bool {
        self.clients.iter().all(|client| client.prelude.is_empty() && client.sent >= length)
    }

    /// Takes the socket out of the folder.
    pub fn unbind(&self, folder: BorrowedFd<'_>) {
        let _ = unlinkat(folder, &self.name, AtFlags::empty());
    }

    fn accept(&mut self, length: usize) {
        // Bounded: at most so many newcomers a turn.
        for _ in 0..MAX_CLIENTS {
            let Ok(fd) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
            if !socket_peercred(&fd).is_ok_and(|peer| peer.uid == geteuid()) {
                continue;
            }
            if self.clients.len() >= MAX_CLIENTS {
                match self.clients.iter().position(|client| !client.adopted) {
                    Some(oldest) => drop(self.clients.remove(oldest)),
                    None => continue,
                }
            }
            let prelude = match self.living {
                Some(console) => format!("% living {console}\n"),
                None => backlog_line(length),
            };
            let (prelude, input) = (prelude.into_bytes(), Vec::new());
            self.clients.push(Client { fd, prelude, sent: 0, input, adopted: false, left: false, broken: false });
        }
    }
}

fn backlog_line(length: usize) -> String {
    format!("% backlog {length}\n")
}

/// The address of a socket in an open folder: short, whatever the folder's path.
pub fn address(folder: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?)
}

impl Client {
    fn send(&mut self, lines: &[u8]) {
        while !self.broken {
            let first = !self.prelude.is_empty();
            let bytes = if first { &self.prelude[..] } else { &lines[self.sent.min(lines.len())..] };
            if bytes.is_empty() {
                return;
            }
            match send(&self.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) if first => drop(self.prelude.drain(..count)),
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
    }

    fn read(&mut self, orders: &mut Vec<Order>) {
        let mut buffer = [0; 4096];
        match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.broken = true,
            Ok((count, _)) => self.input.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match std::str::from_utf8(&line[..end]).ok().and_then(Order::parse) {
                Some(order) if end <= MAX_ORDER => self.take(order, orders),
                _ => self.broken = true,
            }
        }
        self.broken |= self.input.len() > MAX_ORDER;
    }

    fn take(&mut self, order: Order, orders: &mut Vec<Order>) {
        match order {
            Order::Adopt => (self.adopted, self.left) = (true, false),
            Order::Leave => self.left = true,
            Order::Term(_) | Order::Kill(_) | Order::Gone => {}
        }
        orders.push(order);
    }
}
