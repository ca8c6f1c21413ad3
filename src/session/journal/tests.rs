//! What the journal promises, held against storage that fails and files that were changed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::engine::fact::{FACT_VERSION, Fact, Stamped};
use crate::engine::ids::{Attempt, TaskId, Time};
use crate::engine::message::Process;
use crate::session::folder::{Folder, Sessions};
use crate::session::lock::Lock;
use crate::session::{checkpoint, folder};

/// Facts of several lengths, with text that tempts a parser.
fn facts(count: u64) -> Vec<Stamped> {
    let fact = |number: u64| {
        let task = TaskId(u32::try_from(number).unwrap());
        match number % 4 {
            0 => Fact::Paused,
            1 => Fact::Held { task, why: None },
            2 => Fact::NotStarted {
                task,
                attempt: Attempt(1),
                why: Some(format!("line\n{}\u{1b}\"é", "x".repeat(number as usize % 50))),
                until: None,
            },
            _ => Fact::Running {
                task,
                attempt: Attempt(1),
                process: Process { pid: 7, start_ticks: number },
                log: number,
            },
        }
    };
    (0..count).map(|number| Stamped { at: Time(1_700_000_000_000 + number), fact: fact(number) }).collect()
}

fn opened(version: u32, program: &str) -> Stamped {
    let fact = Fact::Opened { version, program: program.into(), boot_id: "boot".into(), pid: 1 };
    Stamped { at: Time(1), fact }
}

fn encoded(facts: &[Stamped]) -> Vec<u8> {
    let (mut bytes, mut prev) = (Vec::new(), 0);
    for (index, fact) in facts.iter().enumerate() {
        prev = line::encode(&mut bytes, index as u64 + 1, prev, fact).unwrap();
    }
    bytes
}

/// Records of the tests that go over every byte. Their cost grows with its square: 40 in every run, 200 when asked for by
/// `QD_THOROUGH` (minutes in a debug build).
fn many() -> u64 {
    if std::env::var_os("QD_THOROUGH").is_some() { 200 } else { 40 }
}

/// A session in a temporary folder.
struct Bed {
    _temp: tempfile::TempDir,
    folder: Folder,
    lock: Lock,
}

impl Bed {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&temp.path().join("sessions")).unwrap();
        let folder = sessions.create(Some("s"), "", Time(0)).unwrap();
        let lock = Lock::take(&folder, Time(0), false).unwrap();
        Self { _temp: temp, folder, lock }
    }

    /// With these bytes as its journal.
    fn with(bytes: &[u8]) -> Self {
        let bed = Self::new();
        bed.put(bytes);
        bed
    }

    fn put(&self, bytes: &[u8]) {
        let _ = self.folder.remove_file(FILE);
        io::Write::write_all(&mut self.folder.create_file(FILE).unwrap(), bytes).unwrap();
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.folder.read_file(name, u64::MAX - 1).unwrap()
    }

    fn read(&self) -> Result<Read, ReadError> {
        read(&self.folder.path().join(FILE))
    }

    /// Where reading ends, and the facts if `all`: decoding each time would take minutes.
    fn look(&self, all: bool) -> (End, Option<Vec<Stamped>>) {
        if all {
            let read = self.read().unwrap();
            return (read.end, Some(read.facts));
        }
        (Reader::new(self.folder.open_file(FILE).unwrap()).unwrap().skim().unwrap(), None)
    }

    fn resume(&self, end: &End) -> Result<Resumed, ResumeError> {
        resume(&self.folder, &self.lock, end)
    }
}

#[test]
fn what_is_appended_in_batches_is_read_again_in_order() {
    let bed = Bed::new();
    let all = facts(3000);
    let mut writer = create(&bed.folder, &bed.lock).unwrap();
    let mut rest = &all[..];
    for size in (0..100).cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, later) = rest.split_at(size.min(rest.len()));
        writer.append(batch).unwrap();
        rest = later;
    }
    let position = writer.position();
    assert_eq!((position.seq, writer.next_seq()), (3000, 3001));
    writer.close().unwrap();
    assert_eq!(bed.bytes(FILE), encoded(&all));
    let read = bed.read().unwrap();
    assert_eq!((read.facts, read.end.tail, read.end.position), (all, Tail::Clean, position));
}

#[test]
fn a_journal_over_many_chunks_comes_in_order_and_can_be_left_at_any_time() {
    let all = facts(12_000);
    let bytes = encoded(&all);
    assert!(bytes.len() > 8 * 128 * 1024, "more chunks than are in flight");
    let bed = Bed::with(&bytes);
    let reader = || Reader::new(bed.folder.open_file(FILE).unwrap()).unwrap();
    for (index, (seq, fact)) in reader().enumerate() {
        assert_eq!((seq, &fact), (index as u64 + 1, &all[index]));
    }
    for taken in [0, 1, 1500, 11_999] {
        assert_eq!(reader().take(taken).count(), taken);
        let mut reader = reader();
        assert_eq!(reader.by_ref().take(taken).count(), taken);
        assert_eq!(reader.finish().unwrap().position.seq, 12_000);
    }
}

#[test]
fn truncated_at_every_byte_it_opens_with_the_prefix_and_the_rest_is_kept_aside() {
    let all = facts(many());
    let bytes = encoded(&all);
    let ends: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').map(|at| at + 1).collect();
    let bed = Bed::new();
    assert!(matches!(
        {
            bed.put(b"");
            bed.read()
        },
        Err(ReadError::NotASession { .. })
    ));
    for cut in 1..bytes.len() {
        bed.put(&bytes[..cut]);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let good = if whole == 0 { 0 } else { ends[whole - 1] };
        let (end, read) = bed.look(cut % 31 == 0);
        assert!(read.is_none_or(|facts| facts == all[..whole]), "cut at {cut}");
        assert_eq!((end.position.seq, end.position.offset), (whole as u64, good as u64), "cut at {cut}");
        let lost_bytes = (cut - good) as u64;
        let tail = if lost_bytes == 0 { Tail::Clean } else { Tail::Torn { lost_bytes } };
        assert_eq!(end.tail, tail, "cut at {cut}");
        // The disk work of a recovery at some of them only: it is the same code for all.
        if cut % 97 == 0 || good == cut && whole % 40 == 0 {
            recovers(&bed, &end, &bytes[..cut], good, &all[..whole]);
        }
    }
}

/// Cuts the tail off, goes on writing, and finds all in order when it is opened again.
fn recovers(bed: &Bed, end: &End, before: &[u8], good: usize, kept: &[Stamped]) {
    let mut resumed = bed.resume(end).unwrap();
    assert_eq!(bed.bytes(FILE), before[..good]);
    match &resumed.lost {
        None => assert_eq!(good, before.len()),
        Some(lost) => {
            assert_eq!(lost.bytes as usize, before.len() - good);
            assert_eq!(bed.bytes(&lost.kept_as), before[good..]);
        }
    }
    let lost_bytes = resumed.lost.map_or(0, |lost| lost.bytes);
    let more = Stamped { at: Time(9), fact: Fact::Recovered { lost_bytes } };
    resumed.writer.append(std::slice::from_ref(&more)).unwrap();
    resumed.writer.close().unwrap();
    let again = bed.read().unwrap();
    assert_eq!(again.end.tail, Tail::Clean, "the second opening is clean");
    assert_eq!(again.facts.split_last().unwrap(), (&more, kept));
    assert!(bed.resume(&again.end).unwrap().lost.is_none());
}

#[test]
fn with_a_bit_flipped_at_every_byte_nothing_wrong_is_read_and_nothing_is_lost() {
    let all = facts(many());
    let bytes = encoded(&all);
    let begins: Vec<usize> =
        std::iter::once(0).chain((0..bytes.len() - 1).filter(|&at| bytes[at] == b'\n').map(|at| at + 1)).collect();
    let bed = Bed::new();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        bed.put(&bad);
        let hit = begins.iter().rposition(|&begin| begin <= at).unwrap();
        let (end, read) = bed.look(at % 31 == 0);
        assert!(read.is_none_or(|facts| facts == all[..hit]), "byte {at}");
        assert_eq!((end.position.seq, end.position.offset), (hit as u64, begins[hit] as u64), "byte {at}");
        if hit + 1 == all.len() {
            assert_eq!(end.tail, Tail::Torn { lost_bytes: (bytes.len() - begins[hit]) as u64 }, "byte {at}");
            // It waits for the disk: not at each of them.
            if at % 8 == 0 {
                recovers(&bed, &end, &bad, begins[hit], &all[..hit]);
            }
        } else {
            let (seq, byte, good_after) = (hit as u64 + 1, begins[hit] as u64, (all.len() - hit - 1) as u64);
            assert_eq!(end.tail, Tail::Damaged(Damage { seq, byte, good_after }), "byte {at}");
            assert!(matches!(bed.resume(&end), Err(ResumeError::Damaged(_))));
            assert_eq!(bed.bytes(FILE), bad, "as it was");
        }
    }
}

#[test]
fn lines_missing_doubled_or_swapped_in_the_middle_are_damage_and_not_a_torn_tail() {
    let all = facts(9);
    let bytes = encoded(&all);
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let cases: [(&str, Vec<usize>, u64); 4] = [
        ("missing", vec![0, 1, 3, 4, 5, 6, 7, 8], 3),
        ("doubled", vec![0, 1, 2, 2, 3, 4, 5, 6, 7, 8], 4),
        ("swapped", vec![0, 2, 1, 3, 4, 5, 6, 7, 8], 2),
        ("last doubled", vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 8], 10),
    ];
    for (name, order, bad) in cases {
        let bed = Bed::with(&order.iter().flat_map(|&index| lines[index].to_vec()).collect::<Vec<_>>());
        let Tail::Damaged(damage) = bed.read().unwrap().end.tail else { panic!("{name}") };
        assert_eq!((damage.seq, damage.good_after), (bad, order.len() as u64 + 1 - bad), "{name}");
    }
}

#[test]
fn lines_of_another_journal_with_the_right_numbers_do_not_follow() {
    let mut other = facts(9);
    other[3].at = Time(1_600_000_000_000);
    let (ours, theirs) = (encoded(&facts(9)), encoded(&other));
    assert_eq!(ours.len(), theirs.len());
    let cut = ours.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(5).unwrap().0 + 1;
    let bed = Bed::with(&[&ours[..cut], &theirs[cut..]].concat());
    let Tail::Damaged(damage) = bed.read().unwrap().end.tail else { panic!() };
    assert_eq!((damage.seq, damage.good_after), (7, 3));
}

#[test]
fn repair_keeps_the_whole_journal_aside_and_the_good_beginning_in_place() {
    let all = facts(50);
    let mut bad = encoded(&all);
    let at = bad.len() / 2;
    bad[at] ^= 1;
    let bed = Bed::with(&bad);
    let repaired = repair(&bed.folder, &bed.lock).unwrap().unwrap();
    assert_eq!(bed.bytes(&repaired.kept_as), bad);
    let read = bed.read().unwrap();
    assert_eq!((read.end.tail, read.facts.len() as u64), (Tail::Clean, repaired.facts));
    assert_eq!(repaired.lost_bytes, bad.len() as u64 - read.end.position.offset);
    assert_eq!(repair(&bed.folder, &bed.lock).unwrap(), None, "nothing to repair any more");
}

#[test]
fn what_is_no_journal_is_said_and_left_alone() {
    let texts: [&[u8]; 5] = [b"\0", b"hello\n", b"(tasks: [])", &[0xff; 100_000], b"0000004x 00000000 "];
    for text in texts {
        let bed = Bed::with(text);
        assert!(matches!(bed.read(), Err(ReadError::NotASession { .. })), "{:?}", &text[..1]);
        assert_eq!(bed.bytes(FILE), text);
    }
    let bed = Bed::new();
    assert!(matches!(read(bed.folder.path()), Err(ReadError::NotASession { .. })), "a folder");
}

#[test]
fn ten_gigabytes_of_nothing_are_judged_at_once_alone_and_behind_a_journal() {
    let began = std::time::Instant::now();
    let bed = Bed::with(b"");
    let file = bed.folder.open_file_for_appending(FILE).unwrap();
    file.set_len(10 << 30).unwrap();
    assert!(matches!(bed.read(), Err(ReadError::NotASession { .. })));
    let all = facts(20);
    bed.put(&encoded(&all));
    bed.folder.open_file_for_appending(FILE).unwrap().set_len(10 << 30).unwrap();
    let read = bed.read().unwrap();
    let Tail::Torn { lost_bytes } = read.end.tail else { panic!("{:?}", read.end) };
    let resumed = bed.resume(&read.end).unwrap();
    let kept = bed.folder.open_file(&resumed.lost.unwrap().kept_as).unwrap().metadata().unwrap();
    assert_eq!(kept.len(), lost_bytes);
    assert!(std::os::unix::fs::MetadataExt::blocks(&kept) < 1000, "holes stay holes");
    assert_eq!(bed.read().unwrap().facts, all);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_newer_journal_is_read_as_far_as_it_is_understood_and_never_written() {
    let newer = [opened(FACT_VERSION, "1.0"), opened(FACT_VERSION + 1, "2.3"), facts(1).remove(0)];
    let bed = Bed::with(&encoded(&newer));
    let read = bed.read().unwrap();
    let version = FACT_VERSION + 1;
    assert_eq!(read.facts, newer, "all of it is understood");
    assert_eq!(read.end.tail, Tail::Newer { program: "2.3".into(), version, unknown: None });
    let error = bed.resume(&read.end).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("2.3") && error.contains(env!("CARGO_PKG_VERSION")), "{error}");

    // A fact of a name that this program does not know, with a right checksum, and a torn tail behind it.
    let mut bytes = encoded(&newer[..1]);
    let prev = crc_of_last(&bytes);
    let summed = format!("0000000002 {prev:08x} (at:9,fact:Teleported(task:3))");
    let line = format!("{:08} {:08x} {summed}\n0000", summed.len(), crc32fast::hash(summed.as_bytes()));
    bytes.extend_from_slice(line.as_bytes());
    bed.put(&bytes);
    let read = bed.read().unwrap();
    assert_eq!(read.facts, newer[..1]);
    assert_eq!(read.end.tail, Tail::Newer { program: "1.0".into(), version: FACT_VERSION, unknown: Some(2) });
    assert!(matches!(bed.resume(&read.end), Err(ResumeError::Newer { .. })));
    assert_eq!(bed.bytes(FILE), bytes, "as it was");
}

fn crc_of_last(bytes: &[u8]) -> u32 {
    let last = bytes.split_inclusive(|&byte| byte == b'\n').next_back().unwrap();
    u32::from_str_radix(std::str::from_utf8(&last[9..17]).unwrap(), 16).unwrap()
}

#[test]
fn a_journal_written_by_somebody_else_since_it_was_read_is_not_resumed() {
    let all = facts(20);
    let bytes = encoded(&all);
    let bed = Bed::with(&bytes[..bytes.len() - 3]);
    let end = bed.read().unwrap().end;
    bed.put(&bytes);
    assert!(matches!(bed.resume(&end), Err(ResumeError::Changed)));
    assert_eq!(bed.bytes(FILE), bytes);
}

#[test]
fn a_linked_journal_is_neither_read_nor_written_nor_created() {
    let bed = Bed::new();
    let target = bed.folder.path().join("target");
    std::fs::write(&target, encoded(&facts(3))).unwrap();
    std::os::unix::fs::symlink(&target, bed.folder.path().join(FILE)).unwrap();
    assert!(matches!(bed.read(), Err(ReadError::Io(_))));
    assert!(create(&bed.folder, &bed.lock).is_err());
    let end = read(&target).unwrap().end;
    assert!(matches!(bed.resume(&end), Err(ResumeError::Io(_))));
    assert_eq!(std::fs::read(&target).unwrap(), encoded(&facts(3)));
}

// ── storage that fails ───────────────────────────────────────────────────────────────────────────────────────────────

/// Bytes in memory that fail as they are told.
#[derive(Default)]
struct Failing {
    bytes: Mutex<Vec<u8>>,
    /// Bytes there is room for.
    room: AtomicU64,
    /// Bytes beyond which a file may not grow although there is room.
    reserved: AtomicU64,
    /// The k-th write from now on fails with this (k from 1).
    write_fails: Mutex<Option<(u32, Errno)>>,
    sync_fails: Mutex<Option<Errno>>,
    truncate_fails: Mutex<Option<Errno>>,
    calls: AtomicU64,
    syncs: AtomicU64,
}

impl Failing {
    fn with_room(room: u64) -> Arc<Self> {
        Arc::new(Self { room: AtomicU64::new(room), ..Self::default() })
    }
    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Storage for Failing {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut plan = self.write_fails.lock().unwrap();
        if let Some((count, errno)) = plan.as_mut() {
            *count -= 1;
            if *count == 0 {
                let errno = *errno;
                *plan = None;
                return Err(errno.into());
            }
        }
        let mut file = self.bytes.lock().unwrap();
        let room = (self.room.load(Ordering::SeqCst) as usize).saturating_sub(file.len());
        if room == 0 {
            return Err(Errno::NOSPC.into());
        }
        let taken = bytes.len().min(room);
        file.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        if let Some(errno) = *self.truncate_fails.lock().unwrap() {
            return Err(errno.into());
        }
        self.bytes.lock().unwrap().truncate(len as usize);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.sync_fails.lock().unwrap().map_or(Ok(()), |errno| Err(errno.into()))
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        if offset + len > self.room.load(Ordering::SeqCst) {
            return Err(Errno::NOSPC.into());
        }
        self.reserved.store(offset + len, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn on_a_full_disk_at_every_byte_the_batch_is_taken_back_and_stored_whole_later() {
    let all = facts(6);
    let whole = encoded(&all);
    let first = encoded(&all[..3]).len();
    for room in first as u64..whole.len() as u64 {
        let storage = Failing::with_room(room);
        let mut writer = Writer::new(storage.clone(), Position::default());
        writer.append(&all[..3]).unwrap();
        let before = writer.position();
        for _ in 0..2 {
            assert!(matches!(writer.append(&all[3..]), Err(WriteError::Full { .. })));
            assert_eq!(storage.bytes(), whole[..first], "room {room}");
            assert_eq!(writer.position(), before);
        }
        storage.room.store(u64::MAX / 2, Ordering::SeqCst);
        writer.append(&all[3..]).unwrap();
        assert_eq!(storage.bytes(), whole);
        assert_eq!(*writer.space(), Space::Reserved);
    }
}

#[test]
fn each_errno_at_each_write_is_full_or_broken_and_what_was_acknowledged_is_there() {
    let all = facts(5);
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    let broken = [Errno::IO, Errno::ROFS, Errno::BADF];
    for errno in full.into_iter().chain(broken) {
        for k in 1..=5 {
            let storage = Failing::with_room(u64::MAX / 2);
            *storage.write_fails.lock().unwrap() = Some((k, errno));
            let mut writer = Writer::new(storage.clone(), Position::default());
            let mut acknowledged = 0;
            for fact in &all {
                match writer.append(std::slice::from_ref(fact)) {
                    Ok(()) => acknowledged += 1,
                    Err(WriteError::Full { .. }) => {
                        assert!(full.contains(&errno));
                        writer.append(std::slice::from_ref(fact)).unwrap();
                        acknowledged += 1;
                    }
                    Err(WriteError::Broken { .. }) => {
                        assert!(broken.contains(&errno));
                        break;
                    }
                }
            }
            assert_eq!(storage.bytes(), encoded(&all[..acknowledged]), "{errno:?} at {k}");
            if broken.contains(&errno) {
                let calls = storage.calls();
                assert!(matches!(writer.append(&all), Err(WriteError::Broken { .. })));
                assert!(matches!(writer.sync(), Err(WriteError::Broken { .. })));
                assert_eq!(storage.calls(), calls, "the descriptor is not used again");
            }
        }
    }
}

#[test]
fn an_interrupted_write_is_called_again_and_a_partial_line_that_stays_breaks_the_writer() {
    let all = facts(2);
    let storage = Failing::with_room(u64::MAX / 2);
    *storage.write_fails.lock().unwrap() = Some((1, Errno::INTR));
    let mut writer = Writer::new(storage.clone(), Position::default());
    writer.append(&all).unwrap();
    assert_eq!(storage.bytes(), encoded(&all));
    storage.room.store(storage.bytes().len() as u64 + 3, Ordering::SeqCst);
    *storage.truncate_fails.lock().unwrap() = Some(Errno::IO);
    assert!(matches!(writer.append(&all), Err(WriteError::Broken { .. })));
    assert!(writer.health().broken().is_some());
}

#[test]
fn a_failed_sync_is_never_followed_by_another_or_by_an_acknowledgement() {
    let storage = Failing::with_room(u64::MAX / 2);
    let mut writer = Writer::new(storage.clone(), Position::default());
    writer.append(&facts(1)).unwrap();
    writer.sync().unwrap();
    assert_eq!(writer.health().synced(), 1);
    assert!(writer.health().last_sync_us() > 0);
    *storage.sync_fails.lock().unwrap() = Some(Errno::IO);
    writer.append(&facts(1)).unwrap();
    let syncer = writer.syncer(Duration::from_millis(1)).unwrap();
    wait_until(|| writer.health().broken().is_some());
    *storage.sync_fails.lock().unwrap() = None;
    let calls = storage.calls();
    assert!(matches!(writer.append(&facts(1)), Err(WriteError::Broken { .. })));
    assert!(matches!(writer.sync(), Err(WriteError::Broken { .. })));
    syncer.finish();
    assert_eq!((storage.calls(), writer.health().synced()), (calls, 1));
}

#[test]
fn the_syncer_syncs_what_is_appended_at_most_once_in_its_interval_and_nothing_when_idle() {
    let storage = Failing::with_room(u64::MAX / 2);
    let mut writer = Writer::new(storage.clone(), Position::default());
    let syncer = writer.syncer(Duration::from_millis(50)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(storage.syncs.load(Ordering::SeqCst), 0, "nothing to sync");
    let began = std::time::Instant::now();
    for fact in &facts(300) {
        writer.append(std::slice::from_ref(fact)).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
    wait_until(|| writer.health().synced() == 300);
    let allowed = began.elapsed().as_millis() as u64 / 50 + 2;
    let syncs = storage.syncs.load(Ordering::SeqCst);
    assert!((1..=allowed).contains(&syncs), "{syncs} of {allowed}");
    std::thread::sleep(Duration::from_millis(120));
    assert_eq!(storage.syncs.load(Ordering::SeqCst), syncs, "idle again");
    syncer.finish();
}

fn wait_until(condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_full_disk_is_known_before_a_fact_is_refused() {
    let storage = Failing::with_room(3 << 20);
    let mut writer = Writer::new(storage.clone(), Position::default());
    assert_eq!(*writer.space(), Space::Reserved);
    // Somebody else takes what is not reserved.
    storage.room.store(storage.reserved.load(Ordering::SeqCst), Ordering::SeqCst);
    let batch = facts(100);
    while *writer.space() == Space::Reserved {
        writer.append(&batch).unwrap();
    }
    let length = storage.bytes().len() as u64;
    assert!((1 << 19..2 << 19).contains(&length), "{length}: half of the reserve is left");
    writer.append(&batch).expect("and it can be written");
    storage.room.store(9 << 20, Ordering::SeqCst);
    assert_eq!(*writer.look_for_space(), Space::Reserved);
}

// ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_resume_from_a_checkpoint_reads_only_what_came_later() {
    let bed = Bed::new();
    let all = facts(40);
    let mut writer = create(&bed.folder, &bed.lock).unwrap();
    writer.append(&all[..25]).unwrap();
    checkpoint::write(&bed.folder, writer.position(), b"state").unwrap();
    writer.append(&all[25..]).unwrap();
    let (position, payload) = checkpoint::read(&bed.folder).unwrap();
    assert_eq!(payload, b"state");
    let mut reader = Reader::from(bed.folder.open_file(FILE).unwrap(), position).unwrap().unwrap();
    let later: Vec<_> = reader.by_ref().collect();
    assert_eq!(later, (26..=40).zip(all[25..].iter().cloned()).collect::<Vec<_>>());
    let end = reader.finish().unwrap();
    assert_eq!((end.position, end.tail), (writer.position(), Tail::Clean));
}

#[test]
fn a_checkpoint_of_another_or_a_shorter_journal_is_ignored() {
    let bed = Bed::new();
    let all = facts(40);
    let mut writer = create(&bed.folder, &bed.lock).unwrap();
    writer.append(&all).unwrap();
    let good = writer.position();
    let mut other = all.clone();
    other[39].at = Time(1_600_000_000_000);
    let from = |position| Reader::from(bed.folder.open_file(FILE).unwrap(), position).unwrap().is_some();
    assert!(from(good));
    for wrong in [
        Position { seq: 39, ..good },
        Position { crc: 1, ..good },
        Position { line: good.line - 1, ..good },
        Position { offset: good.offset - 1, ..good },
        Position { offset: 0, ..good },
        Position { offset: u64::MAX, line: 0, ..good },
        Position::default(),
    ] {
        assert!(!from(wrong), "{wrong:?}");
    }
    bed.put(&encoded(&other));
    assert!(!from(good), "the journal was cut off and went another way");
    bed.put(&encoded(&all[..39]));
    assert!(!from(good));
}

#[test]
fn a_checkpoint_damaged_at_any_byte_or_left_half_written_is_as_good_as_none() {
    let bed = Bed::new();
    let position = Position { seq: u64::MAX, crc: u32::MAX, offset: u64::MAX, line: u64::MAX };
    checkpoint::write(&bed.folder, position, b"payload").unwrap();
    let good = bed.bytes(checkpoint::FILE);
    assert_eq!(checkpoint::read(&bed.folder), Some((position, b"payload".to_vec())));
    let put = |bytes: &[u8]| std::fs::write(bed.folder.path().join(checkpoint::FILE), bytes).unwrap();
    for at in 0..good.len() {
        put(&good[..at]);
        assert_eq!(checkpoint::read(&bed.folder), None, "cut at {at}");
        let mut bad = good.clone();
        bad[at] ^= 1;
        put(&bad);
        let read = checkpoint::read(&bed.folder);
        assert!(read.is_none() || read == Some((position, b"payload".to_vec())), "bit at {at}");
        assert!(read.is_none() || bad[at].is_ascii_whitespace() || bad[at] == b'!', "bit at {at}");
    }
    // With the right sum for each version: only that of this program is taken.
    let header = good.len() - b"payload".len();
    let text = std::str::from_utf8(&good[..header]).unwrap().trim_end().rsplit_once(' ').unwrap().0;
    for (format, taken) in [(FACT_VERSION, true), (FACT_VERSION + 1, false)] {
        let text = text.replacen(&format!("/{FACT_VERSION} "), &format!("/{format} "), 1);
        let sum = crc32fast::hash(&[text.as_bytes(), b"payload"].concat());
        let padded = format!("{:<width$}\n", format!("{text} {sum:08x}"), width = header - 1);
        put(&[padded.as_bytes(), b"payload"].concat());
        assert_eq!(checkpoint::read(&bed.folder).is_some(), taken, "format {format}");
    }
    put(&vec![0; good.len()]);
    assert_eq!(checkpoint::read(&bed.folder), None);
    for leftover in ["checkpoint.tmp", "workflow.ron.tmp"] {
        std::fs::write(bed.folder.path().join(leftover), "garbage").unwrap();
    }
    checkpoint::write(&bed.folder, position, b"new").unwrap();
    assert_eq!(checkpoint::read(&bed.folder).unwrap().1, b"new");
    bed.put(&encoded(&facts(2)));
    bed.resume(&bed.read().unwrap().end).unwrap();
    let left: Vec<_> = std::fs::read_dir(bed.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

// ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_list_tells_of_each_session_and_a_bad_one_does_not_spoil_it() {
    let temp = tempfile::tempdir().unwrap();
    let sessions = Sessions::open(&temp.path().join("sessions")).unwrap();
    let make = |name: &str, bytes: &[u8]| {
        let folder = sessions.create(Some(name), "", Time(0)).unwrap();
        io::Write::write_all(&mut folder.create_file(FILE).unwrap(), bytes).unwrap();
        folder
    };
    let closed = Stamped { at: Time(1_900_000_000_000), fact: Fact::Closed { code: 1 } };
    let settings = crate::engine::definition::Settings { name: "nightly".into(), ..Default::default() };
    let configured = Stamped { at: Time(2), fact: Fact::Configured(Box::new(settings)) };
    let long = [vec![opened(1, "0.1.0"), configured], facts(2000), vec![closed]].concat();
    make("long", &encoded(&long));
    let live = make("live", &encoded(&facts(3)));
    let _lock = Lock::take(&live, Time(5), false).unwrap();
    make("empty", b"");
    make("zeros", &[0; 70_000]);
    let torn = encoded(&facts(5));
    make("torn", &torn[..torn.len() - 3]);
    sessions.create(Some("no-journal"), "", Time(0)).unwrap();
    std::os::unix::fs::symlink("/", sessions.path().join("link")).unwrap();
    std::fs::write(sessions.path().join("file"), "").unwrap();
    let list = sessions.list().unwrap();
    let names: Vec<_> = list.iter().map(|summary| &*summary.name).collect();
    assert_eq!(names, ["long", "torn", "live", "empty", "zeros"]);
    let long = &list[0];
    assert_eq!((long.workflow.as_deref(), long.facts, long.closed), (Some("nightly"), 2003, Some(1)));
    assert_eq!((long.began, long.last), (Some(Time(1)), Some(Time(1_900_000_000_000))));
    assert_eq!((&long.problem, &long.program), (&None, &Some("0.1.0".into())));
    let problems: Vec<_> = list.iter().map(|summary| summary.problem.is_some()).collect();
    assert_eq!(problems, [false, true, false, true, true]);
    let holders: Vec<_> = list.iter().map(|summary| summary.holder.is_some()).collect();
    assert_eq!(holders, [false, false, true, false, false]);
}

#[test]
fn every_name_in_a_session_folder_is_its_owners_alone() {
    use std::os::unix::fs::MetadataExt;
    let bed = Bed::new();
    let mut writer = create(&bed.folder, &bed.lock).unwrap();
    writer.append(&facts(2)).unwrap();
    checkpoint::write(&bed.folder, writer.position(), b"x").unwrap();
    bed.folder.replace_file(folder::WORKFLOW, &[b"()"]).unwrap();
    assert_eq!(std::fs::metadata(bed.folder.path()).unwrap().mode() & 0o7777, 0o700);
    let mut seen = 0;
    for entry in std::fs::read_dir(bed.folder.path()).unwrap() {
        let meta = entry.unwrap().metadata().unwrap();
        assert_eq!(meta.mode() & 0o7777, if meta.is_dir() { 0o700 } else { 0o600 });
        seen += 1;
    }
    assert_eq!(seen, 5);
}
