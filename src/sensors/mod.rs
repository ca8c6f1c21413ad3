//! The watcher: looks for sensors again and again, on a few threads of its own, and tells what each look saw. Knows what is
//! looked at and how often, nothing of what follows from it. Beside it the monitor, which watches what runs.

mod look;
pub mod monitor;
mod process;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::engine::message::{Sighting, Watch};

/// So many looks are under way at once at most; what is due beyond that waits for one of them to end.
pub const LOOKS_AT_ONCE: usize = 8;
/// So long the end waits for commands under way to be gone.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Where a look is told.
pub type Tell = Box<dyn Fn(Sighting) + Send + Sync>;

/// See the module. Its threads are started when there is something to look at.
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    bell: Condvar,
    tell: Tell,
    /// Where relative paths begin and commands run that name no folder.
    folder: PathBuf,
    /// Commands under way.
    commands: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    due: BTreeSet<(Instant, u64)>,
    watches: HashMap<u64, Entry>,
    threads: usize,
    /// Of them, those that wait.
    idle: usize,
    stop: bool,
}

#[derive(Clone)]
struct Entry {
    watch: Arc<Watch>,
    mark: Option<String>,
    /// It is not looked at any more: a look under way is of no use.
    over: Arc<AtomicBool>,
}

impl Watcher {
    /// One that looks at nothing yet. `folder` is the session's.
    pub fn new(folder: PathBuf, tell: Tell) -> Self {
        let (queue, bell, commands) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { queue, bell, tell, folder, commands }) }
    }

    /// Looks from now on.
    pub fn watch(&self, watch: &Watch) {
        let mut queue = self.shared.lock();
        let entry = Entry { watch: Arc::new(watch.clone()), mark: watch.mark.clone(), over: Arc::default() };
        queue.watches.insert(watch.watch, entry);
        queue.due.insert((Instant::now(), watch.watch));
        self.shared.see_to_threads(&mut queue);
    }

    /// Looks no more.
    pub fn unwatch(&self, watch: u64) {
        if let Some(entry) = self.shared.lock().watches.remove(&watch) {
            entry.over.store(true, Ordering::Release);
        }
    }

    /// Ends all looks. Commands under way are killed; what only waits for an answer is left to itself.
    pub fn finish(&self) {
        let mut queue = self.shared.lock();
        queue.stop = true;
        queue.due.clear();
        for (_, entry) in queue.watches.drain() {
            entry.over.store(true, Ordering::Release);
        }
        drop(queue);
        self.shared.bell.notify_all();
        let until = Instant::now() + LAST_WAIT;
        while self.shared.commands.load(Ordering::Acquire) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder panics")
    }

    /// Somebody is to wait for the next look that is due.
    fn see_to_threads(self: &Arc<Self>, queue: &mut Queue) {
        if queue.idle > 0 || queue.threads == LOOKS_AT_ONCE {
            self.bell.notify_one();
            return;
        }
        let shared = self.clone();
        let begun = std::thread::Builder::new().name("sensor".into()).spawn(move || shared.work());
        // Without a thread another one looks once it is free.
        queue.threads += usize::from(begun.is_ok());
    }

    fn work(self: Arc<Self>) {
        let mut queue = self.lock();
        while !queue.stop {
            let now = Instant::now();
            match queue.due.first().copied() {
                Some((at, watch)) if at <= now => {
                    queue.due.remove(&(at, watch));
                    queue = self.look(queue, watch);
                }
                next => {
                    queue.idle += 1;
                    let most = next.map_or(Duration::MAX, |(at, _)| at.saturating_duration_since(now));
                    queue = self.wait(queue, most);
                    queue.idle -= 1;
                }
            }
        }
        queue.threads -= 1;
    }

    fn wait<'q>(&'q self, queue: MutexGuard<'q, Queue>, most: Duration) -> MutexGuard<'q, Queue> {
        if most == Duration::MAX {
            return self.bell.wait(queue).expect("no holder panics");
        }
        self.bell.wait_timeout(queue, most).expect("no holder panics").0
    }

    fn look<'q>(self: &'q Arc<Self>, mut queue: MutexGuard<'q, Queue>, id: u64) -> MutexGuard<'q, Queue> {
        let Some(entry) = queue.watches.get(&id).cloned() else { return queue };
        if !queue.due.is_empty() {
            self.see_to_threads(&mut queue);
        }
        drop(queue);
        let seen = look::look(self, &entry);
        let mut queue = self.lock();
        if let Some(kept) = queue.watches.get_mut(&id) {
            kept.mark.clone_from(&seen.mark);
            queue.due.insert((Instant::now() + Duration::from_millis(entry.watch.sensor.interval.0), id));
            let look::Glimpse { met, saw, mark } = seen;
            (self.tell)(Sighting { of: entry.watch.of, watch: id, met, saw, mark });
        }
        queue
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::engine::definition::{CommandLine, CommandSpec, Probe, Sensor};
    use crate::engine::ids::{Span, TaskId};
    use crate::engine::message::Watched;

    fn watcher(folder: &std::path::Path) -> (Watcher, Receiver<Sighting>) {
        let (sender, receiver) = channel();
        let tell = Box::new(move |sighting| _ = sender.send(sighting));
        (Watcher::new(folder.to_owned(), tell), receiver)
    }

    fn watch(number: u64, probe: Probe, patience: u64) -> Watch {
        let (interval, patience) = (Span(20), Span(patience));
        let sensor = Sensor { probe, interval, patience, timeout: None, timeout_skips: false };
        Watch { watch: number, of: Watched::Task(TaskId(0)), name: "door".into(), sensor: Arc::new(sensor), mark: None }
    }

    fn next(receiver: &Receiver<Sighting>, what: &str) -> Sighting {
        receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("nothing is told: {what}"))
    }

    /// The first that is as it should be, and how many were not before it.
    fn met(receiver: &Receiver<Sighting>, what: &str) -> (usize, String) {
        let mut before = 0;
        loop {
            let sighting = next(receiver, what);
            if sighting.met {
                return (before, sighting.saw);
            }
            before += 1;
        }
    }

    fn shell(text: &str) -> Probe {
        Probe::Command(Arc::new(CommandSpec::new(CommandLine::Shell(text.into()))))
    }

    #[test]
    fn a_file_is_seen_when_it_comes_and_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (watcher, receiver) = watcher(folder.path());
        watcher.watch(&watch(1, Probe::Exists("in".into()), 1_000));
        assert_eq!(next(&receiver, "in").saw, "not there");
        std::fs::write(folder.path().join("in"), "a").unwrap();
        assert_eq!(met(&receiver, "in").1, "there");
        watcher.unwatch(1);
        watcher.watch(&watch(2, Probe::Changed("in".into()), 1_000));
        let first = std::iter::repeat_with(|| next(&receiver, "changed")).find(|told| told.watch == 2).unwrap();
        assert_eq!((first.met, first.saw.as_str()), (false, "unchanged"));
        std::fs::remove_file(folder.path().join("in")).unwrap();
        while next(&receiver, "gone").saw != "gone" {}
        std::fs::write(folder.path().join("in"), "longer").unwrap();
        assert_eq!(met(&receiver, "changed").1, "changed");
        // What a console saw that is gone now is what a later one compares with.
        watcher.unwatch(2);
        watcher.watch(&Watch { mark: first.mark, ..watch(3, Probe::Changed("in".into()), 1_000) });
        let first = std::iter::repeat_with(|| next(&receiver, "again")).find(|told| told.watch == 3).unwrap();
        assert!(first.met, "{first:?}");
        watcher.finish();
    }

    #[test]
    fn a_port_and_a_status_are_seen_once_somebody_answers() {
        use std::io::{Read, Write};
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (watcher, receiver) = watcher(folder.path());
        watcher.watch(&watch(1, Probe::Tcp(address.clone()), 5_000));
        assert_eq!(met(&receiver, "a port").1, "takes connections");
        watcher.unwatch(1);
        let answers = std::thread::spawn(move || {
            for status in ["503 Busy", "302 Found\r\nLocation: /nowhere", "204 No Content"] {
                let mut request = [0; 2048];
                loop {
                    let (mut stream, _) = listener.accept().unwrap();
                    // The look at the port says nothing.
                    if stream.read(&mut request).unwrap_or(0) > 0 {
                        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                        break;
                    }
                }
            }
        });
        watcher.watch(&watch(2, Probe::Http(format!("http://{address}/health"), (200, 299)), 5_000));
        let told = || std::iter::repeat_with(|| next(&receiver, "a status")).find(|told| told.watch == 2).unwrap();
        for (met, saw) in [(false, "status 503"), (false, "status 302"), (true, "status 204")] {
            let told = told();
            assert_eq!((told.met, told.saw.as_str()), (met, saw));
        }
        answers.join().unwrap();
        assert!(next(&receiver, "nobody").saw.contains("refused"), "nobody listens any more");
        watcher.finish();
    }

    #[test]
    fn a_command_is_asked_until_it_exits_with_0_and_killed_when_it_takes_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let (watcher, receiver) = watcher(folder.path());
        watcher.watch(&watch(1, shell("echo $QD_TASK >> asked; test $(wc -l < asked) -ge 3"), 60_000));
        assert_eq!(met(&receiver, "a command"), (2, "exit 0".into()));
        watcher.unwatch(1);
        assert!(std::fs::read_to_string(folder.path().join("asked")).unwrap().starts_with("door\ndoor\n"));
        watcher.watch(&watch(2, shell("sleep 300 & echo $! > pid; wait"), 300));
        let late = std::iter::repeat_with(|| next(&receiver, "late")).find(|told| told.watch == 2).unwrap();
        assert_eq!((late.met, late.saw.as_str()), (false, "took longer than 300ms"));
        watcher.finish();
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let alive =
            || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(!alive(), "what it began is killed with it");
    }

    #[test]
    fn slow_looks_do_not_keep_others_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (watcher, receiver) = watcher(folder.path());
        for number in 0..LOOKS_AT_ONCE as u64 - 1 {
            watcher.watch(&watch(number, shell("sleep 300"), 300_000));
        }
        watcher.watch(&watch(99, Probe::Exists(".".into()), 1_000));
        assert_eq!(next(&receiver, "beside slow ones").watch, 99);
        watcher.finish();
        assert_eq!(watcher.shared.commands.load(Ordering::Acquire), 0, "none outlives its watcher");
    }
}
