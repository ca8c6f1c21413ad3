//! The journal on real files, held against a second reader that was written from `docs/journal.md` alone and shares no
//! code with the first; and the writer under a real full disk, a real file size limit and an open umask. Part of it runs
//! in children of this test: a limit or a umask is a whole process's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use quarterdeck::engine::fact::{Fact, Stamped};
use quarterdeck::engine::ids::{Attempt, TaskId, Time};
use quarterdeck::engine::message::Process;
use quarterdeck::session::checkpoint;
use quarterdeck::session::folder::{Sessions, Surroundings, WORKFLOW};
use quarterdeck::session::journal::{self, Space, WriteError};
use quarterdeck::session::lock::Lock;
use quarterdeck::session::trust::Trust;

// ── the second reader ────────────────────────────────────────────────────────────────────────────────────────────────

/// A line as the documentation has it.
#[derive(Debug, PartialEq)]
struct Record {
    seq: u64,
    at: u64,
    name: String,
}

/// CRC-32 (IEEE) bit by bit, from its polynomial.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Reads a whole journal, or says what is wrong in which line.
fn read_again(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let mut before = String::from("00000000");
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let wrong = |what: &str| format!("line {}: {what}", index + 1);
        let text = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?;
        let text = text.strip_suffix('\n').ok_or_else(|| wrong("no newline"))?;
        let [len, crc, seq, prev, ron] = text.splitn(5, ' ').collect::<Vec<_>>()[..] else {
            return Err(wrong("fewer than five fields"));
        };
        if [len.len(), crc.len(), seq.len(), prev.len()] != [8, 8, 10, 8] {
            return Err(wrong("width of a field"));
        }
        let summed = format!("{seq} {prev} {ron}");
        if len != format!("{:08}", summed.len()) || crc != format!("{:08x}", crc32(summed.as_bytes())) {
            return Err(wrong("length or checksum"));
        }
        if seq != format!("{:010}", index + 1) || prev != before {
            return Err(wrong("number or chain"));
        }
        before = crc.to_owned();
        let (at, name) = fact(ron).ok_or_else(|| wrong("not a fact"))?;
        records.push(Record { seq: index as u64 + 1, at, name });
    }
    Ok(records)
}

/// Time and name of a fact: `(at:N,fact:Name…)`.
fn fact(ron: &str) -> Option<(u64, String)> {
    let (at, rest) = ron.strip_prefix("(at:")?.split_once(",fact:")?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    let rest = rest.strip_prefix(&*name)?.strip_suffix(')')?;
    let closed = rest.is_empty() || rest.starts_with('(') && rest.ends_with(')');
    (closed && !name.is_empty()).then_some((at.parse().ok()?, name))
}

// ── the tests ────────────────────────────────────────────────────────────────────────────────────────────────────────

fn stamped(number: u64) -> Stamped {
    let task = TaskId(u32::try_from(number).unwrap());
    let process = Process { pid: 1, start_ticks: number };
    let fact = match number % 3 {
        0 => Fact::Held { task, why: None },
        1 => Fact::NotStarted {
            task,
            attempt: Attempt(1),
            why: Some(format!("a b\n00000041 2659b298 0000000001 00000000 ({number})\n")),
            until: None,
        },
        _ => Fact::Running { task, attempt: Attempt(1), process, log: number },
    };
    Stamped { at: Time(1000 + number), fact }
}

const NAMES: [&str; 3] = ["Held", "NotStarted", "Running"];

fn session(root: &Path) -> (quarterdeck::session::folder::Folder, Lock) {
    let folder = Sessions::open(&root.join("sessions")).unwrap().create(Some("s"), "", Time(0)).unwrap();
    let lock = Lock::take(&folder, Time(0), false).unwrap();
    (folder, lock)
}

#[test]
fn a_second_reader_with_no_code_in_common_reads_what_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, lock) = session(temp.path());
    let mut writer = journal::create(&folder, &lock).unwrap();
    let syncer = writer.syncer(Duration::from_millis(5)).unwrap();
    let all: Vec<_> = (0..5000).map(stamped).collect();
    for batch in all.chunks(7) {
        writer.append(batch).unwrap();
    }
    syncer.finish();
    writer.close().unwrap();
    let records = read_again(&std::fs::read(folder.path().join("journal")).unwrap()).unwrap();
    let expected = (0..5000).map(|n| Record { seq: n + 1, at: 1000 + n, name: NAMES[(n % 3) as usize].into() });
    assert_eq!(records, expected.collect::<Vec<_>>());
}

#[test]
fn both_readers_refuse_the_same_changed_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, lock) = session(temp.path());
    let mut writer = journal::create(&folder, &lock).unwrap();
    writer.append(&(0..12).map(stamped).collect::<Vec<_>>()).unwrap();
    writer.close().unwrap();
    let path = folder.path().join("journal");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let ours = journal::read(&path).map(|read| read.end.tail);
        assert!(!matches!(ours, Ok(journal::Tail::Clean)), "byte {at}");
        assert!(read_again(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn the_worked_example_of_the_documentation_is_a_journal() {
    let page = include_str!("../docs/journal.md");
    let begin = page.find("```journal\n").unwrap() + "```journal\n".len();
    let example = &page[begin..begin + page[begin..].find("```").unwrap()];
    let names: Vec<_> = read_again(example.as_bytes()).unwrap().into_iter().map(|record| record.name).collect();
    assert_eq!(names, ["Opened", "Starting", "NotStarted", "Closed"]);
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("journal");
    std::fs::write(&path, example).unwrap();
    let read = journal::read(&path).unwrap();
    assert_eq!((read.facts.len(), read.end.tail), (4, journal::Tail::Clean));
}

// ── in a child ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// Runs one of the ignored tests below under a shell's `setup`. `None` if the setup is not allowed here.
fn child(test: &str, setup: &str, root: &Path) -> Option<()> {
    let script = format!("{setup} || exit 77; exec \"$0\" --exact \"$1\" --ignored --nocapture");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env("QD_TEST_ROOT", root)
        .stdin(Stdio::null())
        // Through pipes: a limit on files would stop what it prints where our own output is a file.
        .output()
        .unwrap();
    if output.status.code() == Some(77) {
        return None;
    }
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{test}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    Some(())
}

fn root_of_child() -> PathBuf {
    std::env::var_os("QD_TEST_ROOT").expect("run by the test that is its parent").into()
}

#[test]
fn a_file_size_limit_is_a_full_disk_and_no_end() {
    let temp = tempfile::tempdir().unwrap();
    // 512-byte blocks, in dash and bash alike in POSIX mode; SIGXFSZ is ignored as qd does.
    child("child_fills_the_disk", "trap '' XFSZ; ulimit -f 40", temp.path()).expect("a limit can always be lowered");
    after_full(temp.path());
}

#[test]
fn a_full_disk_is_told_ahead_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    // In a mount namespace of its own, gone with the child; so the child looks at what is left, too.
    let mount = format!("mount -t tmpfs -o size=3m tmpfs {}", temp.path().display());
    let inside = format!(
        "unshare -m {mount} || exit 77; \
         exec env QD_MOUNTED=1 unshare -m sh -c '{mount} && exec \"$0\" --exact \"$1\" --ignored' \"$0\" \"$1\"; false"
    );
    if child("child_fills_the_disk", &inside, temp.path()).is_none() {
        eprintln!("not run: no mount allowed here");
    }
}

#[test]
#[ignore = "run in a child by the tests above"]
fn child_fills_the_disk() {
    let root = root_of_child();
    let (folder, lock) = session(&root);
    let mut writer = journal::create(&folder, &lock).unwrap();
    let mounted = std::env::var_os("QD_MOUNTED").is_some();
    if mounted {
        // Somebody else takes all the room there is.
        let hog = std::fs::File::create(root.join("hog")).unwrap();
        while std::io::Write::write(&mut &hog, &[1; 4096]).is_ok_and(|taken| taken > 0) {}
    }
    let mut stored = 0;
    let mut told_after = None;
    loop {
        let batch: Vec<_> = (stored..stored + 10).map(stamped).collect();
        match writer.append(&batch) {
            Ok(()) => stored += 10,
            Err(WriteError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        if told_after.is_none() && matches!(writer.space(), Space::Low { .. }) {
            told_after = Some(stored);
        }
    }
    if mounted {
        let told_after = told_after.expect("the disk filled up");
        assert!(stored - told_after > 3000, "half of the reserve was left: {stored} of which {told_after} before");
        std::fs::remove_file(root.join("hog")).unwrap();
        writer.append(&(stored..stored + 10).map(stamped).collect::<Vec<_>>()).expect("there is room again");
        writer.close().unwrap();
        after_full(&root);
    }
}

/// What was acknowledged is there, whole.
fn after_full(root: &Path) {
    let path = root.join("sessions/s/journal");
    let records = read_again(&std::fs::read(&path).unwrap()).unwrap();
    assert!(records.len() > 50 && records.len().is_multiple_of(10), "{}: whole batches", records.len());
    assert_eq!(journal::read(&path).unwrap().end.tail, journal::Tail::Clean);
}

#[test]
fn whatever_the_umask_all_is_the_owners_alone() {
    for umask in ["000", "022", "077"] {
        let temp = tempfile::tempdir().unwrap();
        child("child_makes_everything", &format!("umask {umask}"), temp.path()).unwrap();
        let mut seen = 0;
        let mut folders = vec![temp.path().join("state")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                let mode = std::os::unix::fs::MetadataExt::mode(&entry.metadata().unwrap()) & 0o7777;
                let is_dir = entry.file_type().unwrap().is_dir();
                assert_eq!(mode, if is_dir { 0o700 } else { 0o600 }, "umask {umask}: {:?}", entry.path());
                folders.extend(is_dir.then(|| entry.path()));
                seen += 1;
            }
        }
        assert_eq!(seen, 10, "sessions, s, its log and five files, trust, its entry");
    }
}

#[test]
#[ignore = "run in a child by the test above"]
fn child_makes_everything() {
    let root = root_of_child();
    let state_dir = Some(root.join("state").into_os_string());
    let surroundings = Surroundings { state_dir, cwd: root.clone(), ..Surroundings::default() };
    Trust::open(&surroundings).unwrap().trust(&root.join("a.ron"), b"x").unwrap();
    let sessions = Sessions::open(&surroundings.sessions().unwrap()).unwrap();
    let folder = sessions.create(Some("s"), "", Time(0)).unwrap();
    let lock = Lock::take(&folder, Time(0), false).unwrap();
    let mut writer = journal::create(&folder, &lock).unwrap();
    writer.append(&[stamped(0), stamped(1)]).unwrap();
    checkpoint::write(&folder, writer.position(), b"x").unwrap();
    folder.replace_file(WORKFLOW, &[b"()"]).unwrap();
    drop(writer);
    // A torn tail, to have a `damaged-1` as well.
    let path = folder.path().join("journal");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let end = journal::read(&path).unwrap().end;
    assert!(journal::resume(&folder, &lock, &end).unwrap().lost.is_some());
}
