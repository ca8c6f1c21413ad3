//! Frames of the session's socket from random and from broken bytes, and clients of another user. What the fuzzer drives (see
//! `fuzz/`) is driven here from a seed: `QD_SEEDS=n cargo test --test frames` for more.

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use common::{Place, until};
use quarterdeck::bus::frame::drive;

/// Xorshift: enough for bytes that nobody chose.
struct Rng(u64);

impl Rng {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most.max(1) as u64) as usize
    }
}

const GOOD: &[&str] = &[
    r#"{"type":"query","id":"1","content":{"action":"ps"}}"#,
    r#"{"type":"notify","content":{"action":"progress","parameters":{"done":3,"of":7,"text":"é"},"context":{"token":"0.1.ff"}},"metadata":{"source":"x","timestamp":1,"priority":-3}}"#,
    r#"{"type":"query","content":{"action":"command","parameters":{"command":"prio","tasks":["a*"],"value":1.5e3}}}"#,
    r#"{"type":"sync","content":{"action":"lock","parameters":{"op":"acquire","resource":"db","ticket":"t","within":[1,2]}}}"#,
    r#"{"type":"query","content":{"action":"state","parameters":{"op":"set","key":"k","value":[1,{"a":null}]}}}"#,
    r#"{"type":"query","content":{"action":"command","parameters":{"command":"add","text":"Task(id: \"x\")","before":["y"]}}}"#,
];

#[test]
fn no_bytes_are_too_strange_and_no_line_too_long() {
    let seeds = std::env::var("QD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000_u64);
    let (mut lines, mut messages, mut requests, mut cut) = (0, 0, 0, 0);
    for seed in 1..=seeds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = Vec::new();
        for _ in 0..1 + rng.below(6) {
            let mut line = GOOD[rng.below(GOOD.len())].as_bytes().to_vec();
            for _ in 0..rng.below(4).saturating_sub(1) {
                let at = rng.below(line.len());
                match rng.below(5) {
                    0 => line[at] = rng.below(256) as u8,
                    1 => drop(line.drain(at..(at + rng.below(9)).min(line.len()))),
                    2 => line.splice(at..at, b"[{\"\\u0000\n}]".iter().copied()).for_each(drop),
                    3 => line.splice(at..at, std::iter::repeat_n(b'[', rng.below(300))).for_each(drop),
                    _ => line.truncate(at),
                }
                if line.is_empty() {
                    break;
                }
            }
            bytes.extend(line);
            if rng.below(12) > 0 {
                bytes.push(b'\n');
            }
        }
        let most = 64 + rng.below(400);
        let read = drive(&bytes, 1 + rng.below(70), most);
        // As many bytes at once as there are come to the same.
        assert_eq!(read, drive(&bytes, 1 << 16, most), "seed {seed}");
        let whole: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let ended = whole.iter().filter(|line| line.ends_with(b"\n"));
        let good = ended.take_while(|line| line.len() - 1 <= most).count();
        assert_eq!((read.lines, read.longest <= most), (good, true), "seed {seed}");
        (lines, messages, requests) = (lines + read.lines, messages + read.messages, requests + read.requests);
        cut += usize::from(read.too_long);
    }
    assert!(
        requests > 1_000 && messages > requests && lines > messages && cut > 100,
        "{lines} {messages} {requests} {cut}"
    );
}

/// Another user may not speak to a session, also where somebody has opened folder and socket to everybody.
#[test]
fn another_user_is_not_heard() {
    if !rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "not looked at: only root can become another user");
        return;
    }
    let place = Place::with(
        r#"Workflow(stages: [Stage(id: "m", tasks: [Task(id: "t", run: "touch up; until [ -e go ]; do sleep 0.02; done")])])"#,
    );
    let mut run = place.begin();
    place.await_file("up");
    until("the socket", || place.qd(&["ctl", "ps"]).status.success());
    for open in ["", "state", "state/sessions", "state/sessions/s"] {
        std::fs::set_permissions(place.path(open), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let socket = place.path("state/sessions/s/socket");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let folder = std::fs::File::open(place.path("state/sessions/s")).expect("the session is there");
    let path = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&folder));
    // Only this thread becomes somebody else.
    let heard = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
        let mut stream = std::os::unix::net::UnixStream::connect(path).expect("the socket is open to everybody");
        let _ = stream.write_all(b"{\"type\":\"query\",\"id\":\"1\",\"content\":{\"action\":\"ps\"}}\n");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time-out");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    assert_eq!(heard.join().expect("no panic"), b"", "nothing is said to it");
    // its owner is heard as before
    place.ends(&["ctl", "ps"], 0);
    place.touch("go");
    assert!(run.wait().expect("our own child").success());
}
