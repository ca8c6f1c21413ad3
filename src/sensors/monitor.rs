//! The monitor: watches what runs, on one thread that begins with the first attempt that asks for it. It looks at how output
//! grows, finds in it how far the attempt has come, and tells when something is amiss and when it is not any more. Knows
//! nothing of what follows from that.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use crate::engine::ids::{Attempt, Span, TaskId, Time};
use crate::engine::message::MonitorOrder;
use crate::engine::monitors::{Observation, Trouble, Watchdog};

/// Output is looked at so often at most, and at least so often.
const LOOK_MOST: Duration = Duration::from_millis(20);
const LOOK_LEAST: Duration = Duration::from_millis(500);
/// So much of new output is read in one look; what is older than that is left out.
const READ_MOST: u64 = 64 * 1024;
/// So much of an unfinished line is kept for the next look.
const KEPT: usize = 4096;
/// How it will end is judged by its progress from this share on.
const JUDGED_FROM: f64 = 0.05;

/// What an attempt said last about its progress.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// How far it had come, from 0 to 1.
    pub share: f64,
}

/// What the monitor asks and tells.
pub trait Around: Send + Sync {
    /// Now, by the session's clock.
    fn now(&self) -> Time;
    /// What an attempt said last.
    fn heard(&self, task: TaskId, attempt: Attempt) -> Option<Heard>;
    /// Its output says how far it has come.
    fn progress(&self, task: TaskId, attempt: Attempt, done: u64, of: u64);
    /// Something is amiss with it, or is not any more.
    fn observed(&self, observation: Observation);
}

/// See the module.
pub struct Monitors {
    shared: Arc<Shared>,
}

struct Shared {
    list: Mutex<List>,
    bell: Condvar,
    /// Where outputs are.
    folder: PathBuf,
    around: Box<dyn Around>,
}

#[derive(Default)]
struct List {
    watched: BTreeMap<TaskId, Watched>,
    /// Those whose end came while they were looked at.
    gone: Vec<(TaskId, Attempt)>,
    working: bool,
    stop: bool,
}

impl Monitors {
    /// One that watches nothing yet. `folder` has the outputs.
    pub fn new(folder: PathBuf, around: Box<dyn Around>) -> Self {
        Self { shared: Arc::new(Shared { list: Mutex::default(), bell: Condvar::new(), folder, around }) }
    }

    /// Watches this from now on.
    pub fn watch(&self, order: &MonitorOrder) {
        let mut list = self.shared.lock();
        list.watched.insert(order.task, Watched::new(order));
        if list.working {
            self.shared.bell.notify_one();
            return;
        }
        let shared = self.shared.clone();
        let begun = std::thread::Builder::new().name("monitor".into()).spawn(move || shared.work());
        // Without a thread nothing is watched until there is room for one.
        list.working = begun.is_ok();
    }

    /// Watches it no more.
    pub fn forget(&self, task: TaskId, attempt: Attempt) {
        let mut list = self.shared.lock();
        if !list.working {
            return;
        }
        let is_it = list.watched.get(&task).is_some_and(|watched| watched.order.attempt == attempt);
        if is_it {
            list.watched.remove(&task);
        } else {
            list.gone.push((task, attempt));
        }
    }

    /// Ends all of it.
    pub fn finish(&self) {
        self.shared.lock().stop = true;
        self.shared.bell.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().expect("no holder panics")
    }

    fn work(&self) {
        let mut list = self.lock();
        while !list.stop {
            let mut watched = std::mem::take(&mut list.watched);
            list.gone.clear();
            drop(list);
            // The disk may take its time, and nobody waits for it here.
            for one in watched.values_mut() {
                one.look(&self.folder, &*self.around);
            }
            list = self.lock();
            let gone = std::mem::take(&mut list.gone);
            watched.retain(|task, one| !gone.contains(&(*task, one.order.attempt)));
            for (task, one) in watched {
                list.watched.entry(task).or_insert(one);
            }
            let often = list.watched.values().map(Watched::often).min();
            list = match often {
                Some(often) => self.bell.wait_timeout(list, often).expect("no holder panics").0,
                None => self.bell.wait(list).expect("no holder panics"),
            };
        }
        list.working = false;
    }
}

/// An attempt that is watched.
struct Watched {
    order: MonitorOrder,
    pattern: Option<Regex>,
    /// How much output there was at the last look.
    size: u64,
    /// Up to where it was read, and what is left of its last line.
    read: u64,
    rest: Vec<u8>,
    /// When output last grew.
    grew: Instant,
    /// Since when it is watched.
    since: Instant,
    looked: bool,
    noticed: Vec<Trouble>,
}

impl Watched {
    fn new(order: &MonitorOrder) -> Self {
        let now = Instant::now();
        // A pattern that was checked when the file was read, or else finds nothing.
        let pattern = order.monitor.progress.as_deref().and_then(|pattern| Regex::new(pattern).ok());
        let noticed = order.noticed.clone();
        let order = order.clone();
        Self { order, pattern, size: 0, read: 0, rest: Vec::new(), grew: now, since: now, looked: false, noticed }
    }

    /// How often it is to be looked at.
    fn often(&self) -> Duration {
        let monitor = &self.order.monitor;
        let dogs = [monitor.stall, monitor.heartbeat, monitor.drift].into_iter().flatten();
        let quarter = |dog: Watchdog| Duration::from_millis(dog.after.0 / 4);
        dogs.map(quarter).min().unwrap_or(LOOK_LEAST).clamp(LOOK_MOST, LOOK_LEAST)
    }

    fn look(&mut self, folder: &Path, around: &dyn Around) {
        let (task, attempt) = (self.order.task, self.order.attempt);
        let path = folder.join(self.order.log.to_string());
        let size = std::fs::metadata(&path).map_or(0, |found| found.len());
        if size != self.size {
            (self.size, self.grew) = (size, Instant::now());
            if let Some((done, of)) = self.read(&path) {
                around.progress(task, attempt, done, of);
            }
        }
        if !std::mem::replace(&mut self.looked, true) {
            // What was there at the first look was written by then, nobody knows when.
            self.since = Instant::now();
            self.grew = self.since;
        }
        let heard = around.heard(task, attempt);
        let spoke = heard.map_or(self.since, |heard| heard.at.max(self.since));
        let so_long = |trouble: Trouble, last: Instant| match last.elapsed().as_millis() {
            // What another console knew to be amiss is so until there is a sign of life.
            _ if last == self.since && self.noticed.contains(&trouble) => Span(u64::MAX),
            so_long => Span(u64::try_from(so_long).unwrap_or(u64::MAX)),
        };
        let silent = so_long(Trouble::Stalled, self.grew.max(spoke));
        let unheard = so_long(Trouble::NoHeartbeat, spoke);
        let monitor = self.order.monitor.clone();
        self.judge(around, Trouble::Stalled, monitor.stall, |dog| {
            (silent >= dog.after).then(|| format!("it wrote and said nothing for {}", dog.after))
        });
        self.judge(around, Trouble::NoHeartbeat, monitor.heartbeat, |dog| {
            (unheard >= dog.after).then(|| format!("it did not say how far it is for {}", dog.after))
        });
        let ran = around.now().since(self.order.since);
        let share = heard.map(|heard| heard.share);
        if !self.noticed.contains(&Trouble::Drifting) {
            self.judge(around, Trouble::Drifting, monitor.drift, |dog| drift(ran, dog.after, share));
        }
    }

    fn judge(
        &mut self,
        around: &dyn Around,
        trouble: Trouble,
        dog: Option<Watchdog>,
        see: impl FnOnce(Watchdog) -> Option<String>,
    ) {
        let Some(dog) = dog else { return };
        let (saw, known) = (see(dog), self.noticed.contains(&trouble));
        if saw.is_some() == known {
            return;
        }
        let holds = saw.is_some();
        if holds {
            self.noticed.push(trouble);
        } else {
            self.noticed.retain(|other| *other != trouble);
        }
        let (task, attempt, saw) = (self.order.task, self.order.attempt, saw.unwrap_or_default());
        around.observed(Observation { task, attempt, trouble, holds, saw });
    }

    /// The last match in what is new.
    fn read(&mut self, path: &Path) -> Option<(u64, u64)> {
        let pattern = self.pattern.as_ref()?;
        let mut file = std::fs::File::open(path).ok()?;
        let from = self.size.saturating_sub(READ_MOST);
        // What was truncated is read from its start.
        if self.read > self.size {
            self.read = 0;
        }
        if self.read < from {
            (self.read, self.rest) = (from, Vec::new());
        }
        file.seek(SeekFrom::Start(self.read)).ok()?;
        let mut text = std::mem::take(&mut self.rest);
        let kept = text.len() as u64;
        file.take(READ_MOST).read_to_end(&mut text).ok()?;
        self.read += text.len() as u64 - kept;
        let found = pattern.captures_iter(&text).filter_map(|captures| progress_of(&captures)).last();
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let start = text.iter().rposition(is_end).map_or(0, |at| at + 1).max(text.len().saturating_sub(KEPT));
        self.rest = text.split_off(start);
        found
    }
}

/// What a match says: one group is a percentage, two are so much of so much.
fn progress_of(captures: &regex::bytes::Captures<'_>) -> Option<(u64, u64)> {
    let text = |index: usize| std::str::from_utf8(captures.get(index)?.as_bytes()).ok();
    let number = |index: usize| text(index)?.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    match number(2) {
        Some(of) if of >= 1.0 => Some((number(1)? as u64, of as u64)),
        Some(_) => None,
        None => Some((number(1)?.round() as u64, 100)),
    }
}

/// It takes longer than it should, or will.
fn drift(ran: Span, most: Span, share: Option<f64>) -> Option<String> {
    if ran > most {
        return Some(format!("it runs for longer than {most}"));
    }
    let share = share.filter(|share| *share >= JUDGED_FROM && *share < 1.0)?;
    let whole = Span((ran.0 as f64 / share) as u64);
    let seconds = Span(whole.0 / 1000 * 1000);
    (whole > most).then(|| format!("{:.0} % done, at this pace it takes {seconds}, more than {most}", share * 100.0))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::engine::monitors::{MonitorAction, ProgressMonitor};

    struct Ear {
        said: Mutex<Option<Heard>>,
        to: Sender<String>,
    }

    impl Around for Arc<Ear> {
        fn now(&self) -> Time {
            Time(1_000)
        }
        fn heard(&self, _: TaskId, _: Attempt) -> Option<Heard> {
            *self.said.lock().unwrap()
        }
        fn progress(&self, _: TaskId, _: Attempt, done: u64, of: u64) {
            *self.said.lock().unwrap() = Some(Heard { at: Instant::now(), share: done as f64 / of as f64 });
            let _ = self.to.send(format!("{done}/{of}"));
        }
        fn observed(&self, seen: Observation) {
            let _ = self.to.send(format!("{:?} {}", seen.trouble, if seen.holds { &seen.saw } else { "over" }));
        }
    }

    fn start(folder: &Path, monitor: ProgressMonitor) -> (Monitors, Receiver<String>, Arc<Ear>) {
        let (to, from) = channel();
        let ear = Arc::new(Ear { said: Mutex::default(), to });
        let monitors = Monitors::new(folder.to_owned(), Box::new(ear.clone()));
        let (task, attempt, monitor) = (TaskId(0), Attempt(1), Arc::new(monitor));
        monitors.watch(&MonitorOrder { task, attempt, monitor, log: 1, since: Time(900), noticed: Vec::new() });
        (monitors, from, ear)
    }

    fn next(from: &Receiver<String>) -> String {
        from.recv_timeout(Duration::from_secs(60)).expect("the monitor tells something")
    }

    fn warn(after: u64) -> Option<Watchdog> {
        Some(Watchdog { after: Span(after), then: MonitorAction::Warn })
    }

    #[test]
    fn what_stands_last_in_the_output_is_how_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("1");
        let progress = Some(r"\((\d+)/(\d+)\)".to_owned());
        let (monitors, from, _) = start(folder.path(), ProgressMonitor { progress, ..Default::default() });
        std::fs::write(&log, "(1/7) a\n(2/7) b\rshort (3/").unwrap();
        assert_eq!(next(&from), "2/7");
        // A line that is written in two parts counts once it is whole.
        std::fs::write(&log, "(1/7) a\n(2/7) b\rshort (3/7) c\n(1/0)").unwrap();
        assert_eq!(next(&from), "3/7");
        monitors.finish();
    }

    #[test]
    fn one_group_is_a_percentage() {
        let pattern = Regex::new(r"([\d.]+) ?%").unwrap();
        let of = |text: &str| pattern.captures(text.as_bytes()).and_then(|found| progress_of(&found));
        assert_eq!(of("at 42.6 % now"), Some((43, 100)));
        assert_eq!(of("... %"), None);
    }

    #[test]
    fn silence_is_told_once_and_that_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let monitor = ProgressMonitor { stall: warn(300), ..Default::default() };
        let (monitors, from, _) = start(folder.path(), monitor);
        assert_eq!(next(&from), "Stalled it wrote and said nothing for 300ms");
        std::fs::write(folder.path().join("1"), "a").unwrap();
        assert_eq!(next(&from), "Stalled over");
        assert_eq!(next(&from), "Stalled it wrote and said nothing for 300ms");
        monitors.forget(TaskId(0), Attempt(1));
        monitors.finish();
    }

    #[test]
    fn output_is_no_heartbeat_and_a_word_is() {
        let folder = tempfile::tempdir().unwrap();
        let monitor = ProgressMonitor { heartbeat: warn(300), stall: warn(3_600_000), ..Default::default() };
        let (monitors, from, ear) = start(folder.path(), monitor);
        std::fs::write(folder.path().join("1"), "a").unwrap();
        assert_eq!(next(&from), "NoHeartbeat it did not say how far it is for 300ms");
        *ear.said.lock().unwrap() = Some(Heard { at: Instant::now(), share: 0.5 });
        assert_eq!(next(&from), "NoHeartbeat over");
        monitors.finish();
    }

    #[test]
    fn what_goes_too_slowly_is_told_before_it_is_too_late() {
        let second = Span(1_000);
        assert_eq!(drift(second, Span(10_000), None), None);
        assert_eq!(drift(second, Span(10_000), Some(0.1)), None);
        assert_eq!(drift(second, Span(10_000), Some(0.01)), None, "too early to judge");
        let late = drift(Span(3_000), Span(10_000), Some(0.2)).unwrap();
        assert_eq!(late, "20 % done, at this pace it takes 15s, more than 10s");
        assert_eq!(drift(Span(10_001), Span(10_000), Some(0.99)).unwrap(), "it runs for longer than 10s");
    }
}
