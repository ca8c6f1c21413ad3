//! The terminal itself: raw mode, alternate screen, mouse, paste, frames, keys. The only module that names crossterm's
//! terminal. It gives back what it took in `Drop`, and on a panic of the screen's thread. Knows nothing of what is drawn.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event, KeyCode,
    KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, SetTitle,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue, style};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

use crate::text;

use super::keymap::Key;
use super::update::{Message, Mouse, MouseKind};

/// No screen is larger to us than this, whatever the terminal says.
const MAX_SIZE: (u16, u16) = (1000, 500);
/// At most so much is put on the clipboard: terminals drop more, some hang on it.
const MAX_COPY: usize = 100_000;
/// At most so many messages are taken from the terminal at once.
const MAX_BATCH: usize = 1024;
/// How long crossterm is asked whether it has something. By zero it would not look at all; and up to the next millisecond
/// it does not sleep but spins, which at 20 times a second was 2 % of a core.
const ASK: Duration = Duration::from_micros(20);
/// At most so many reports of panics are kept.
const MAX_PANICS: usize = 16;

/// Whether the screen is ours just now.
static HELD: AtomicBool = AtomicBool::new(false);
/// The thread that draws.
static DRAWER: Mutex<Option<ThreadId>> = Mutex::new(None);
/// Reports of panics that would have torn the screen, to be shown on it or after it.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The terminal while it is ours.
pub struct Terminal {
    tty: OwnedFd,
    shown: Buffer,
    mouse: bool,
    /// What is shown is not known: draw everything.
    stale: bool,
}

/// What became of the terminal.
#[derive(Debug, PartialEq, Eq)]
pub enum Gone {
    /// It is there.
    No,
    /// It hung up.
    HungUp,
}

impl Terminal {
    /// Takes the terminal.
    pub fn open(mouse: bool, title: &str) -> io::Result<Self> {
        let tty = if io::stdin().is_terminal() {
            rustix::io::dup(rustix::stdio::stdin())?
        } else {
            OwnedFd::from(File::open("/dev/tty")?)
        };
        let mut this = Self { tty, shown: Buffer::empty(Rect::ZERO), mouse, stale: true };
        this.take()?;
        let title: String = text::clean(title).chars().take(80).collect();
        execute!(io::stdout(), SetTitle(format!("{title} · qd")))?;
        Ok(this)
    }

    /// Takes the terminal (again, after [`give_back`](Self::give_back)).
    pub fn take(&mut self) -> io::Result<()> {
        *DRAWER.lock().unwrap_or_else(|e| e.into_inner()) = Some(std::thread::current().id());
        HELD.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        never_wait(&self.tty)?;
        let mut out = io::stdout();
        execute!(out, EnterAlternateScreen, cursor::Hide, EnableBracketedPaste)?;
        if self.mouse {
            execute!(out, EnableMouseCapture)?;
        }
        self.stale = true;
        Ok(())
    }

    /// Gives the terminal back as it was.
    pub fn give_back(&mut self) {
        restore();
    }

    /// The terminal, for a program that is to have it meanwhile: see [`give_back`](Self::give_back).
    pub fn tty(&self) -> BorrowedFd<'_> {
        self.tty.as_fd()
    }

    /// Mouse reports on or off.
    pub fn set_mouse(&mut self, on: bool) -> io::Result<()> {
        self.mouse = on;
        if on { execute!(io::stdout(), EnableMouseCapture) } else { execute!(io::stdout(), DisableMouseCapture) }
    }

    /// Its size now, within bounds. A pty may say 0x0.
    pub fn size(&self) -> (u16, u16) {
        let (width, height) = size().unwrap_or((80, 24));
        (width.min(MAX_SIZE.0), height.min(MAX_SIZE.1))
    }

    /// Nothing is known of what is shown: the next frame draws every cell.
    pub fn forget(&mut self) {
        self.stale = true;
    }

    /// Shows a frame: only what changed, as one synchronized update, in one write. Returns how long the terminal took.
    pub fn show(&mut self, frame: &mut Buffer) -> io::Result<Duration> {
        let mut bytes = Vec::with_capacity(4096);
        queue!(bytes, BeginSynchronizedUpdate)?;
        if self.stale || self.shown.area != frame.area {
            self.shown = Buffer::empty(frame.area);
            // Colours are reset before, so that what is cleared has the terminal's own.
            queue!(bytes, style::ResetColor, crossterm::terminal::Clear(crossterm::terminal::ClearType::All))?;
            self.stale = false;
        }
        let changes = self.shown.diff(frame);
        let quiet = changes.is_empty();
        CrosstermBackend::new(&mut bytes).draw(changes.into_iter())?;
        queue!(bytes, EndSynchronizedUpdate)?;
        if quiet && bytes.len() < 64 {
            return Ok(Duration::ZERO);
        }
        std::mem::swap(&mut self.shown, frame);
        let began = Instant::now();
        let mut out = io::stdout().lock();
        if !HELD.load(Ordering::SeqCst) {
            // Given back by another thread, to which something happened.
            return Ok(Duration::ZERO);
        }
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(began.elapsed())
    }

    /// Puts text on the clipboard by OSC 52. Returns how many bytes were left out.
    pub fn copy(&mut self, text: &str) -> io::Result<usize> {
        let mut end = text.len().min(MAX_COPY);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(&text[..end]))?;
        Ok(text.len() - end)
    }

    /// Waits for keys at most so long; adds what came to `messages`. Never spins on a terminal that is gone: a hang-up is
    /// looked for before crossterm is asked, which would read the end of file over and over.
    pub fn read(&mut self, wait: Duration, messages: &mut Vec<Message>) -> io::Result<Gone> {
        let timeout = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.tty, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let seen = fds[0].revents();
        if seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Ok(Gone::HungUp);
        }
        // Asked even if nothing was seen: it may hold the rest of what it read before, or know of a resize.
        for _ in 0..MAX_BATCH {
            if !event::poll(ASK)? {
                break;
            }
            let event = event::read()?;
            if let Event::Resize(..) = event {
                // Even if the size is as before by now: the terminal may have moved or cut what it shows.
                self.stale = true;
                let (width, height) = self.size();
                messages.push(Message::Resize(width, height));
            }
            messages.extend(translate(event));
        }
        Ok(Gone::No)
    }
}

/// A read returns at once, whatever there is: crossterm reads on until a sequence is whole, and half of one (Alt-[, a paste
/// that does not end) would stop the screen until the next key. Raw mode's end undoes it.
fn never_wait(tty: &OwnedFd) -> io::Result<()> {
    let mut modes = tcgetattr(tty)?;
    modes.special_codes[SpecialCodeIndex::VMIN] = 0;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    Ok(tcsetattr(tty, OptionalActions::Now, &modes)?)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back if it is ours; from then on no frame is shown. Errors are not looked at: there is nobody to
/// tell. Waits for a frame that is just being written.
pub fn restore() {
    if !HELD.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout().lock();
    let _ = execute!(
        out,
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        style::ResetColor,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = disable_raw_mode();
}

/// Whether an error says that the terminal is gone.
pub fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | NotConnected | UnexpectedEof)
        || matches!(error.raw_os_error(), Some(libc::EIO | libc::ENXIO | libc::EBADF | libc::ENOTTY))
}

/// Installs our panic hook before the one that is there: while the screen is ours, a panic of the thread that draws is
/// not printed over it but kept for [`take_panics`]. Any other goes to that hook. Call it once, after it is installed.
pub fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let drawer = *DRAWER.lock().unwrap_or_else(|e| e.into_inner());
        if !HELD.load(Ordering::SeqCst) || drawer != Some(std::thread::current().id()) {
            return before(info);
        }
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let name = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let mut panics = PANICS.lock().unwrap_or_else(|e| e.into_inner());
        if panics.len() < MAX_PANICS {
            panics.push(format!("thread “{name}” panicked at {at}: {message}"));
        }
    }));
}

/// Reports of panics of the screen's thread since the last call.
pub fn take_panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(|e| e.into_inner()))
}

fn translate(event: Event) -> Option<Message> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => translate_key(key).map(Message::Key),
        Event::Paste(text) => Some(Message::Paste(text)),
        Event::Mouse(mouse) => {
            let kind = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => MouseKind::Click,
                MouseEventKind::Drag(MouseButton::Left) => MouseKind::Drag,
                MouseEventKind::Up(MouseButton::Left) => MouseKind::Release,
                MouseEventKind::ScrollUp => MouseKind::WheelUp,
                MouseEventKind::ScrollDown => MouseKind::WheelDown,
                _ => return None,
            };
            Some(Message::Mouse(Mouse { kind, x: mouse.column, y: mouse.row }))
        }
        _ => None,
    }
}

fn translate_key(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::ALT) => Key::Alt(c),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab if key.modifiers.contains(KeyModifiers::SHIFT) => Key::BackTab,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::F(n) => Key::F(n),
        _ => return None,
    })
}
