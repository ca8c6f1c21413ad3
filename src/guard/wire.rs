//! Packets between front, guard and console: words separated by NUL over a socket that keeps packet boundaries. Knows no
//! meaning of the words.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// No packet is longer.
pub const MAX_PACKET: usize = 16 << 10;

/// Two connected ends, close-on-exec, both non-blocking.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one packet. An error means that the other end is gone (or hopelessly behind).
pub fn tell(to: BorrowedFd<'_>, words: &[&str]) -> io::Result<()> {
    let packet = words.join("\0");
    if packet.len() > MAX_PACKET {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too long for a packet"));
    }
    send(to, packet.as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// A packet's words.
    Packet(Vec<String>),
    /// Nothing yet.
    Nothing,
    /// The other end is gone.
    Gone,
}

/// The next packet, without waiting.
pub fn hear(from: BorrowedFd<'_>) -> Got {
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        return match recv(from, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => Got::Gone,
            Ok((length, _)) => {
                let text = String::from_utf8_lossy(&buffer[..length]);
                Got::Packet(text.split('\0').map(str::to_owned).collect())
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Got::Nothing,
            Err(_) => Got::Gone,
        };
    }
}

/// The next packet, waiting at most so long.
pub fn hear_within(from: BorrowedFd<'_>, limit: Duration) -> Got {
    let until = Instant::now() + limit;
    loop {
        let got = hear(from);
        let left = until.saturating_duration_since(Instant::now());
        if got != Got::Nothing || left.is_zero() {
            return got;
        }
        wait(&[from.as_fd()], Some(left));
    }
}

/// Waits until one of these is readable (or hung up) or the time is over. Returns which are.
pub fn wait(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> Vec<bool> {
    let wanted: Vec<(BorrowedFd<'_>, PollFlags)> = fds.iter().map(|fd| (*fd, PollFlags::IN)).collect();
    wait_for(&wanted, limit)
}

/// As [`wait`], for these conditions each.
pub fn wait_for(fds: &[(BorrowedFd<'_>, PollFlags)], limit: Option<Duration>) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, flags)| PollFd::new(fd, *flags)).collect();
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    // Interrupted or failed: nobody is ready, the caller looks at everything again.
    match poll(&mut polled, limit.as_ref()) {
        Ok(_) => polled.iter().map(|fd| !fd.revents().is_empty()).collect(),
        Err(_) => vec![false; fds.len()],
    }
}

/// A word that is a number.
pub fn number<T: std::str::FromStr>(words: &[String], at: usize) -> Option<T> {
    words.get(at)?.parse().ok()
}
