//! A defect of ours: one report on the normal screen, what to do about it, exit code 70. Whatever thread panics, the
//! console stops at once, as if it had been killed: the journal is safe and its guard keeps what runs. Only the screen's
//! own thread may panic and go on (`tui` starts it anew a few times). Knows nothing of the session but its name.

use std::fmt;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use color_eyre::config::{HookBuilder, Theme};

use crate::error::Kind;
use crate::tui::terminal;

/// So long a terminal may take for its screen to be given back and the report; front restores what is not done by then.
const TERMINAL_LIMIT: Duration = Duration::from_secs(2);

/// Name of the session that is open.
static SESSION: OnceLock<String> = OnceLock::new();
/// Somebody reports already: the first report is the one that counts.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Installs the report as the panic hook. Call it once, first thing.
pub fn install() {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && super::live::colour(super::args::Color::Auto);
    let theme = if colours { Theme::dark() } else { Theme::new() };
    let builder = HookBuilder::default().theme(theme).display_env_section(false).panic_section(WhatToDo);
    let (panic_hook, eyre_hook) = builder.into_hooks();
    // Fails only if there is one already: then that one is as good.
    let _ = eyre_hook.install();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        die(format!("{}\n", panic_hook.panic_report(info)));
    }));
    terminal::install_panic_hook();
}

/// Says which session is open, for the report.
pub fn session(name: &str) {
    let _ = SESSION.set(name.to_owned());
}

/// The screen has panicked too often to be started again.
pub fn screen_gave_up() -> ! {
    let reports = terminal::take_panics().join("\n");
    die(format!("The screen failed again and again:\n{reports}\n\n{WhatToDo}\n"))
}

/// Gives the screen back, reports, and ends the process. Nothing is unwound: other threads must not act on what is broken.
fn die(report: String) -> ! {
    if REPORTED.swap(true, Ordering::SeqCst) {
        // Another thread is about to end the process.
        loop {
            std::thread::park();
        }
    }
    // On a thread of its own: a terminal that takes nothing must not keep a broken console.
    let (told, done) = channel();
    let run = move || {
        terminal::restore();
        let _ = std::io::stderr().write_all(report.as_bytes());
        let _ = told.send(());
    };
    if std::thread::Builder::new().name("report".into()).spawn(run).is_ok() {
        let _ = done.recv_timeout(TERMINAL_LIMIT);
    }
    std::process::exit(Kind::Internal.code())
}

/// What the operator does next.
struct WhatToDo;

impl fmt::Display for WhatToDo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(f, "This is a defect of qd {version}; please report it with the lines above.")?;
        match SESSION.get() {
            Some(name) => {
                let name = crate::text::clean(name);
                write!(
                    f,
                    "The session is safe: what is done is stored, what runs goes on under its guard.\n  go on with: qd resume {name}"
                )
            }
            None => write!(f, "No session was open."),
        }
    }
}
