//! The real console in a real terminal, killed: modes and screen come back (O6), the shell is told how to go on.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use super::drive::{Run, send, until};
use super::flow::Flow;
use super::oracles::judge;

const SOON: Duration = Duration::from_secs(10);

fn emulated(bytes: &[u8]) -> vt100::Parser {
    let size = |cells| std::num::NonZero::new(cells).expect("not zero");
    let mut parser = vt100::Parser::new(size(30), size(100), 0);
    parser.process(bytes);
    parser
}

#[test]
fn a_killed_console_gives_the_terminal_back_and_names_the_way_on() {
    let mut run = Run::new(Flow::of(&[("alpha", "0 0", &[]), ("beta", "1500 0", &["alpha"])], "Adopt(grace: \"1m\")"));
    let (pty, pts) = pty_process::blocking::open().unwrap();
    pty.resize(pty_process::Size::new(30, 100)).unwrap();
    let plain = run.command(&[]);
    let mut command = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_qd"))
        .args(["run", "flow.ron", "--session", "s1"])
        .current_dir(&run.root)
        .env("TERM", "xterm-256color");
    for (name, value) in plain.get_envs() {
        command = match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let modes = || {
        let modes = rustix::termios::tcgetattr(pty.as_fd()).unwrap();
        (modes.input_modes.bits(), modes.output_modes.bits(), modes.local_modes.bits(), modes.control_modes.bits())
    };
    let before = modes();
    let mut child = command.spawn(pts).unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let mut reader = std::fs::File::from(pty.as_fd().try_clone_to_owned().unwrap());
    let sink = shown.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            sink.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    let screen = || emulated(&shown.lock().unwrap());
    let drawn = until(SOON, || screen().screen().alternate_screen() && screen().screen().contents().contains("beta"));
    assert!(
        drawn && until(SOON, || run.live().iter().any(|(name, ..)| name == "beta")),
        "{}",
        screen().screen().contents()
    );
    assert_ne!(modes(), before, "the console has the terminal");
    let pid = child.id() as i32;
    let only_child = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace().next().unwrap().parse::<i32>().unwrap()
    };
    let console = only_child(only_child(pid));
    assert!(send(console, Signal::KILL));
    assert_eq!(child.wait().unwrap().code(), Some(70));
    assert_eq!(modes(), before);
    assert!(until(SOON, || screen().screen().contents().contains("qd resume s1")), "{}", screen().screen().contents());
    let after = screen();
    let after = after.screen();
    assert!(!after.alternate_screen() && !after.hide_cursor() && !after.bracketed_paste(), "{}", after.contents());
    assert_eq!(after.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    let console = run.resume(&[]).unwrap();
    let code = run.finish(console).unwrap();
    judge(&run, code).unwrap_or_else(|error| panic!("{error} ({})", run.root.display()));
    run.remove();
}
