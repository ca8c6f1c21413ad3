//! The local executor with real processes: what a child gets, how its end is told, what it leaves behind, what stops it.
//! To see that the tests of stopping can fail, run them with `QD_OFF=tree_kill`: then only leaders are signalled.
#![expect(unsafe_code, reason = "a signal mask is set for a child to inherit; nothing safe does that")]

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quarterdeck::agents::Executor;
use quarterdeck::agents::adoption::Adoption;
use quarterdeck::agents::local::{Config, LocalExecutor};
use quarterdeck::engine::definition::{CommandLine, CommandSpec};
use quarterdeck::engine::ids::{AgentId, Attempt, TaskId};
use quarterdeck::engine::message::{
    Exit, News, Process, Report, StartOrder, StartProblem, StopSignal, Survivor, Usage,
};
use quarterdeck::guard::table::{Spawn, Table};
use rustix::event::{PollFd, PollFlags, Timespec};

/// What nothing here needs.
const LONG: Duration = Duration::from_secs(20);

// ── the hands: one thread per test, tests one at a time (orphans fall to the whole process) ──────────────────────────

static ONE: Mutex<()> = Mutex::new(());

struct Hands {
    executor: LocalExecutor,
    table: Arc<Table>,
    folder: tempfile::TempDir,
    news: HashMap<(u32, u32), Vec<News>>,
    next: u32,
}

/// How an attempt ended, with what it wrote.
#[derive(Debug, Clone, PartialEq)]
struct End {
    exit: Exit,
    usage: Usage,
    left: u32,
    output: Vec<u8>,
}

fn on_hands<T: Send>(test: impl FnOnce(&mut Hands) -> T + Send) -> T {
    with(false, None, test)
}

fn with<T: Send>(scan: bool, adoption: Option<Box<dyn Adoption>>, test: impl FnOnce(&mut Hands) -> T + Send) -> T {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let run = || {
        let mut hands = Hands::new(scan, adoption);
        test(&mut hands)
    };
    match std::thread::scope(|scope| scope.spawn(run).join()) {
        Ok(answer) => answer,
        Err(panic) => {
            clean_up();
            std::panic::resume_unwind(panic)
        }
    }
}

/// After a failed test: what it left would fail the next ones, too.
fn clean_up() {
    for _ in 0..200 {
        for pid in children() {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Hands {
    fn new(scan: bool, adoption: Option<Box<dyn Adoption>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("log")).unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        let table = Arc::new(Table::create().unwrap());
        let config = Config {
            token: None,
            care: None,
            table: Some(Arc::clone(&table)),
            log_dir: folder.path().join("log"),
            session: "night".into(),
            default_cwd: folder.path().join("work").canonicalize().unwrap(),
            next_log: 1,
            adoption,
            scan,
        };
        let executor = LocalExecutor::new(config).unwrap();
        Self { executor, table, folder, news: HashMap::new(), next: 0 }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Starts a command as a new task; gives the task's number.
    fn start(&mut self, spec: CommandSpec) -> u32 {
        self.next += 1;
        self.executor.start(&order(self.next, 1, spec));
        self.next
    }

    fn poll(&mut self) {
        let mut reports = Vec::new();
        self.executor.poll(&mut reports);
        for Report { task, attempt, news } in reports {
            self.news.entry((task.0, attempt.0)).or_default().push(news);
        }
    }

    /// Waits as the live loop does: on the descriptor, at most as long as the executor asked for.
    fn wait<T>(&mut self, task: u32, found: impl Fn(&[News]) -> Option<T>) -> T {
        self.wait_or(task, LONG, found).unwrap_or_else(|| panic!("task {task}: {:?}", self.news.get(&(task, 1))))
    }

    fn wait_or<T>(&mut self, task: u32, most: Duration, found: impl Fn(&[News]) -> Option<T>) -> Option<T> {
        let until = Instant::now() + most;
        loop {
            let mut reports = Vec::new();
            let again = self.executor.poll(&mut reports);
            for Report { task, attempt, news } in reports {
                self.news.entry((task.0, attempt.0)).or_default().push(news);
            }
            if let Some(answer) = self.news.get(&(task, 1)).and_then(|news| found(news)) {
                return Some(answer);
            }
            let left = until.checked_duration_since(Instant::now())?;
            let left = left.min(Duration::from_millis(again.unwrap_or(u64::MAX)));
            wait_readable(self.executor.fd(), left);
        }
    }

    fn process(&mut self, task: u32) -> (Process, u64) {
        self.wait(task, |news| {
            news.iter().find_map(|news| match news {
                News::Started { process, log } => Some((process.clone(), *log)),
                News::CouldNotStart(problem) => panic!("{problem:?}"),
                _ => None,
            })
        })
    }

    /// Waits for the leader's end, leaves it unreaped.
    fn end(&mut self, task: u32) -> End {
        let (_, log) = self.process(task);
        let (exit, usage, size, left) = self.wait(task, |news| {
            news.iter().find_map(|news| match news {
                News::Exited { exit, usage, output, left, .. } => Some((*exit, *usage, *output, *left)),
                _ => None,
            })
        });
        let path = self.folder.path().join("log").join(log.to_string());
        let output = if size == 0 { Vec::new() } else { std::fs::read(path).unwrap() };
        if left == 0 {
            assert_eq!(output.len() as u64, size);
        }
        End { exit, usage, left, output }
    }

    fn emptied(&mut self, task: u32) {
        self.wait(task, |news| news.contains(&News::Emptied).then_some(()));
    }

    fn reap(&mut self, task: u32) {
        self.executor.reap(TaskId(task), Attempt(1));
    }

    fn signal(&mut self, task: u32, signal: StopSignal) {
        self.executor.signal(TaskId(task), Attempt(1), signal);
    }

    /// Runs a shell line to its end, which leaves nothing behind.
    fn run(&mut self, line: &str) -> End {
        let task = self.start(line_spec(line));
        let end = self.end(task);
        self.reap(task);
        end
    }

    fn problem(&mut self, spec: CommandSpec) -> StartProblem {
        let task = self.start(spec);
        let problem = self.wait(task, |news| match news {
            [News::CouldNotStart(problem)] => Some(problem.clone()),
            [] => None,
            other => panic!("{other:?}"),
        });
        assert!(self.table.entries().is_empty(), "its place in the table is free again");
        problem
    }

    fn logs(&self) -> Vec<(u64, u64)> {
        let entries = std::fs::read_dir(self.folder.path().join("log")).unwrap().flatten();
        let mut logs: Vec<(u64, u64)> = entries
            .map(|entry| (entry.file_name().into_string().unwrap().parse().unwrap(), entry.metadata().unwrap().len()))
            .collect();
        logs.sort_unstable();
        logs
    }
}

fn wait_readable(fd: BorrowedFd<'_>, most: Duration) {
    let most = Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: i64::from(most.subsec_nanos()) };
    let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&most));
}

fn order(task: u32, attempt: u32, spec: CommandSpec) -> StartOrder {
    StartOrder {
        care: None,
        since: Attempt(1),
        force: false,
        problem: None,
        agent: AgentId(0),
        task: TaskId(task),
        attempt: Attempt(attempt),
        name: format!("task-{task}").into(),
        command: Arc::new(spec),
    }
}

fn line_spec(line: &str) -> CommandSpec {
    CommandSpec::new(CommandLine::Shell(line.into()))
}

fn exec_spec(argv: &[&str]) -> CommandSpec {
    CommandSpec::new(CommandLine::Exec(argv.iter().map(|word| (*word).into()).collect()))
}

fn text(end: &End) -> String {
    String::from_utf8_lossy(&end.output).into_owned()
}

/// Processes whose command line holds this word, zombies aside.
fn alive_with(word: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().into_string().ok()?.parse::<i32>().ok());
    let holds = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(word.len()).any(|part| part == word.as_bytes())
    };
    pids.filter(holds).collect()
}

/// Children of any thread of this process, dead or alive.
fn children() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let list = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    threads
        .flat_map(|thread| list(thread).split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|pid| !pid.is_empty())
        .collect()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn executable(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

// ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_exit_status_and_signal_is_told_as_it_was_and_a_status_over_128_is_no_signal() {
    on_hands(|hands| {
        for code in [0, 1, 2, 3, 42, 126, 127, 128, 137, 143, 254, 255] {
            assert_eq!(hands.run(&format!("exit {code}")).exit, Exit::Code(code));
        }
        for signal in [1, 2, 6, 9, 11, 13, 15] {
            assert_eq!(hands.run(&format!("kill -{signal} $$")).exit, Exit::Signal(signal), "signal {signal}");
        }
    });
}

#[test]
fn an_end_is_looked_at_and_kept_until_it_is_stored_then_reaped_and_its_place_freed() {
    on_hands(|hands| {
        let task = hands.start(line_spec("exit 3"));
        let (process, log) = hands.process(task);
        let entries = hands.table.entries();
        assert_eq!((entries[0].task, entries[0].attempt, entries[0].log), (task, 1, log));
        assert_eq!(entries[0].spawn, Spawn::Done(process.pid, process.start_ticks));
        assert_eq!(hands.end(task).exit, Exit::Code(3));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
        assert!(stat.contains(") Z "), "still a zombie: {stat}");
        assert_eq!(stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap(), process.start_ticks.to_string());
        assert_eq!(hands.table.entries().len(), 1);
        hands.reap(task);
        assert!(!Path::new(&format!("/proc/{}", process.pid)).exists());
        assert!(hands.table.entries().is_empty());
        hands.reap(task);
        hands.signal(task, StopSignal::Kill);
        hands.poll();
        assert_eq!(hands.news[&(task, 1)].len(), 2, "late orders change nothing");
    });
}

#[test]
fn a_running_attempt_is_neither_reaped_nor_started_twice() {
    on_hands(|hands| {
        let task = hands.start(line_spec("echo x; exec sleep 3000.77"));
        hands.executor.start(&order(task, 1, line_spec("echo y")));
        hands.reap(task);
        hands.wait_or(task, Duration::from_millis(200), |_| None::<()>);
        assert_eq!(hands.table.entries().len(), 1);
        hands.signal(task, StopSignal::Kill);
        let end = hands.end(task);
        assert_eq!((text(&end).as_str(), end.exit), ("x\n", Exit::Signal(9)));
        hands.reap(task);
    });
}

#[test]
fn usage_is_that_of_the_whole_tree_that_was_waited_for_and_not_our_own() {
    on_hands(|hands| {
        let end = hands.run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; /bin/cat /proc/self/stat; true");
        assert!(end.usage.user_ms + end.usage.system_ms > 10, "{:?}", end.usage);
        let end = hands.run("head -c 400000000 /dev/zero | tail -c 300000000 >/dev/null");
        assert!(end.usage.max_rss_kib > 290_000, "{:?}", end.usage);
        assert_eq!(hands.run("/bin/true").usage.max_rss_kib, 0, "not that of this process");
    });
}

// ── what a child gets ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_child_has_three_descriptors_its_own_session_default_signals_and_nothing_of_ours() {
    // SAFETY: plain calls on a local signal set, which they initialise.
    let block = || unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    };
    let leaked: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    on_hands(|hands| {
        block();
        let fds = text(&hands.run("/bin/ls -l /proc/self/fd"));
        let lines: Vec<&str> = fds.lines().filter(|line| line.contains(" -> ")).collect();
        assert_eq!(lines.len(), 4, "0, 1, 2 and the folder that ls reads: {fds}");
        assert!(lines[0].ends_with("0 -> /dev/null"), "{fds}");
        assert!(lines[1].contains("/log/") && lines[2].contains("/log/"), "{fds}");
        let status = text(&hands.run("/bin/cat /proc/self/status"));
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        for name in ["SigBlk:", "SigIgn:", "SigCgt:"] {
            assert_eq!(field(name), "0000000000000000", "{name} (this process ignores SIGPIPE)");
        }
        let task = hands.start(line_spec("/bin/cat /proc/self/stat"));
        let (process, _) = hands.process(task);
        let stat = text(&hands.end(task));
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let pid = process.pid.to_string();
        assert_eq!((fields[2], fields[3], fields[4]), (pid.as_str(), pid.as_str(), "0"), "group, session, no terminal");
        hands.reap(task);
    });
}

#[test]
fn a_child_runs_in_its_folder_with_its_variables_and_markers() {
    on_hands(|hands| {
        std::fs::create_dir(hands.work().join("sub")).unwrap();
        let work = hands.work().canonicalize().unwrap().into_os_string().into_string().unwrap();
        for (cwd, expected) in [
            (None, work.clone()),
            (Some("sub".to_owned()), format!("{work}/sub")),
            (Some(format!("{work}/sub")), format!("{work}/sub")),
            (Some("/".to_owned()), "/".to_owned()),
        ] {
            for line in ["/bin/pwd -P", "/usr/bin/printenv PWD", "echo $PWD"] {
                let task = hands.start(CommandSpec { cwd: cwd.clone(), ..line_spec(line) });
                assert_eq!(text(&hands.end(task)).trim_end(), expected, "{cwd:?} {line}");
                hands.reap(task);
            }
        }
        let env = vec![("A".to_owned(), "x = y ' \n z".to_owned()), ("HOME".to_owned(), "/nowhere".to_owned())];
        let task = hands.start(CommandSpec { env, ..line_spec("/usr/bin/env -0") });
        let output = hands.end(task).output;
        let found: Vec<&str> =
            output.split(|byte| *byte == 0).map(|entry| std::str::from_utf8(entry).unwrap()).collect();
        for entry in ["A=x = y ' \n z", "HOME=/nowhere", "QD_SESSION=night", "QD_ATTEMPT=1"] {
            assert_eq!(found.iter().filter(|found| **found == entry).count(), 1, "{entry}: {found:?}");
        }
        assert!(found.contains(&format!("QD_TASK_ID={task}").as_str()));
        assert!(found.contains(&format!("QD_TASK=task-{task}").as_str()));
        assert_eq!(found.iter().filter(|entry| entry.starts_with("HOME=")).count(), 1);
        hands.reap(task);
    });
}

#[test]
fn output_is_kept_byte_for_byte_and_the_file_is_ours_alone() {
    on_hands(|hands| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let bytes: Vec<u8> = (0..10 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        std::fs::write(hands.work().join("noise"), &bytes).unwrap();
        let end = hands.run("/bin/cat noise");
        assert!(end.output == bytes, "{} bytes", end.output.len());
        assert_eq!(text(&hands.run("echo out; echo err >&2; printf '\\000\\377'")), "out\nerr\n\0\u{fffd}");
        let (number, _) = *hands.logs().iter().find(|(_, size)| *size > 0).unwrap();
        let mode = std::fs::metadata(hands.folder.path().join("log").join(number.to_string())).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600);
    });
}

// ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Programs of every kind that a command line can meet, in the folder where tasks run.
fn fixtures(work: &Path) {
    executable(&work.join("script"), "#!/bin/sh\nprintf '<%s>' \"$0\" \"$@\"\nexit 7\n");
    executable(&work.join("plain"), "printf '[%s]' \"$0\" \"$@\"\nexit 8\n");
    executable(&work.join("empty"), "");
    executable(&work.join("badint"), "#!/no/such/interpreter\n");
    executable(&work.join("noint"), "#!\necho no interpreter\n");
    executable(&work.join("badelf"), "\x7fELF and no more");
    executable(&work.join("dies"), "#!/bin/sh\nkill -9 $$\n");
    executable(&work.join("sed"), "#!/bin/sh\necho not the usual one\n");
    std::fs::write(work.join("noexec"), "#!/bin/sh\n").unwrap();
    std::fs::create_dir(work.join("folder")).unwrap();
    std::os::unix::fs::symlink("loop", work.join("loop")).unwrap();
    std::os::unix::fs::symlink("/bin/echo", work.join("link")).unwrap();
}

#[test]
fn what_cannot_be_started_says_which_path_and_why_with_a_shells_code() {
    on_hands(|hands| {
        let work = hands.work();
        fixtures(&work);
        let long = "x".repeat(213 * 1024);
        let many = vec!["y".repeat(100_000); 100];
        let many: Vec<&str> = std::iter::once("/bin/echo").chain(many.iter().map(String::as_str)).collect();
        let in_folder = |cwd: &str| CommandSpec { cwd: Some(cwd.into()), ..line_spec("/bin/true") };
        let env =
            |name: &str, value: &str| CommandSpec { env: vec![(name.into(), value.into())], ..line_spec("/bin/true") };
        for (spec, words, code) in [
            (line_spec("nosuchtool -x"), "nosuchtool: command not found (looked in ", Some(127)),
            (line_spec("/no/such/tool"), "/no/such/tool: command not found", Some(127)),
            (line_spec("./noexec"), "/noexec)", Some(126)),
            (line_spec("./folder"), "/folder)", Some(126)),
            (line_spec("./badint"), "interpreter /no/such/interpreter", Some(127)),
            (exec_spec(&["nosuchtool"]), "nosuchtool: command not found", Some(127)),
            (exec_spec(&["./nosuchtool"]), "./nosuchtool", Some(127)),
            (exec_spec(&["./noexec"]), "./noexec: cannot be run (permission denied)", Some(126)),
            (exec_spec(&["./folder"]), "permission denied", Some(126)),
            (exec_spec(&["./badint"]), "interpreter /no/such/interpreter", Some(127)),
            (exec_spec(&["./plain"]), "exec format error", Some(126)),
            (exec_spec(&[]), "empty", Some(127)),
            (exec_spec(&["/bin/echo", &long]), "214 KiB > 128 KiB", Some(126)),
            (line_spec(&format!("echo '{long}'")), "214 KiB > 128 KiB", Some(126)),
            (exec_spec(&many), "command and environment together are too long: 9", Some(126)),
            (env("BIG", &long), "environment variable `BIG` is too long", Some(126)),
            (env("A=B", "x"), "`A=B`", None),
            (line_spec("echo \0"), "NUL", None),
            (in_folder("/no/such/folder"), "working folder /no/such/folder: no such file", None),
            (in_folder("gone"), "/work/gone: no such file", None),
            (in_folder("noexec"), "not a folder", None),
            (CommandSpec { cwd: Some("gone".into()), ..line_spec("./script") }, "/work/gone: no such file", None),
        ] {
            let what = format!("{:.60}", format!("{:?}", spec.run));
            let problem = hands.problem(spec);
            assert!(problem.message.contains(words), "{what}: {}", problem.message);
            assert!(problem.message.len() < 1000, "{what}: {}", problem.message.len());
            assert_eq!((problem.code, problem.transient), (code, false), "{what}: {problem:?}");
        }
        assert_eq!(hands.run("/bin/echo still works").output, b"still works\n");
    });
}

#[test]
fn a_command_run_directly_ends_and_writes_as_under_a_shell() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config as Cases, TestRunner};
    let program = prop::sample::select(vec![
        "script",
        "./script",
        "plain",
        "./plain",
        "empty",
        "./empty",
        "badint",
        "./badint",
        "noint",
        "./noint",
        "badelf",
        "./badelf",
        "dies",
        "noexec",
        "./noexec",
        "folder",
        "./folder",
        "folder/",
        "loop",
        "./loop",
        "link",
        "./link",
        "link/",
        "nosuch",
        "./nosuch",
        "folder/nosuch",
        "script/nosuch",
        "sed",
        "/bin/echo",
        "echo",
        "cat",
        "basename",
        "dirname",
        "printenv HOME",
        "printenv PWD",
        "expr",
        "wc",
        "head",
        "true",
        "/bin/true",
        "false",
        "/bin/false",
        "if",
        "test",
        ":",
        "..",
        ".",
        "-c",
        "+c",
        "--",
        "%1",
        "@x",
        "exec",
        "/",
        "/bin",
        "./",
        "../work/script",
        ".//script",
    ]);
    let word = "[A-Za-z0-9_@%+:,./-]{1,6}";
    let line = (prop::sample::select(vec!["", " ", "  "]), program, prop::collection::vec((" {1,3}", word), 0..4));
    let line = line.prop_map(|(before, program, words)| {
        let words: String = words.into_iter().map(|(space, word)| space + &word).collect();
        format!("{before}{program}{words}")
    });
    on_hands(|hands| {
        let work = hands.work().canonicalize().unwrap();
        fixtures(&work);
        let path = format!("{}:/usr/bin:/bin", work.display());
        let hands = std::cell::RefCell::new(hands);
        let mut runner = TestRunner::new(Cases { cases: 700, failure_persistence: None, ..Cases::default() });
        let same = |line: String| {
            let mut said = tempfile::tempfile().unwrap();
            let shell = std::process::Command::new("/bin/sh")
                .args(["-c", "--", &line])
                .current_dir(&work)
                .env("PATH", &path)
                .env("PWD", &work)
                .stdin(std::process::Stdio::null())
                .stdout(said.try_clone().unwrap())
                .stderr(said.try_clone().unwrap())
                .status()
                .unwrap();
            let expected = shell.code().unwrap();
            let hands = &mut *hands.borrow_mut();
            let task = hands.start(CommandSpec { env: vec![("PATH".into(), path.clone())], ..line_spec(&line) });
            let problem = hands.wait(task, |news| match news.first()? {
                News::CouldNotStart(problem) => Some(Some(problem.clone())),
                _ => Some(None),
            });
            if let Some(problem) = problem {
                prop_assert_eq!(problem.code, Some(expected), "{:?}: {:?}", line, problem);
                return Ok(());
            }
            let end = hands.end(task);
            hands.reap(task);
            let code = match end.exit {
                Exit::Code(code) => code,
                // A shell says it so when it stands between.
                Exit::Signal(signal) => 128 + signal,
            };
            prop_assert_eq!(code, expected, "{:?}", line);
            let mut both = Vec::new();
            std::io::Seek::rewind(&mut said).unwrap();
            std::io::Read::read_to_end(&mut said, &mut both).unwrap();
            // A shell says "Killed" where a program of its own died.
            if code < 128 {
                let (got, both) = (String::from_utf8_lossy(&end.output), String::from_utf8_lossy(&both));
                prop_assert_eq!(got.replace("/bin/sh: ", "sh: "), both.replace("/bin/sh: ", "sh: "), "{:?}", line);
            }
            Ok(())
        };
        runner.run(&line, same).unwrap();
    });
}

#[test]
fn an_exec_command_gets_its_arguments_as_they_are() {
    on_hands(|hands| {
        fixtures(&hands.work());
        let task = hands.start(exec_spec(&["./script", "", "a b", "$HOME", "*", "é\n"]));
        let end = hands.end(task);
        assert_eq!(text(&end), "<./script><><a b><$HOME><*><é\n>");
        assert_eq!(end.exit, Exit::Code(7));
        hands.reap(task);
        let env = vec![("PATH".to_owned(), format!("{}:/bin", hands.work().display()))];
        let task = hands.start(CommandSpec { env, ..exec_spec(&["sed", "-n", "p"]) });
        assert_eq!(text(&hands.end(task)), "not the usual one\n", "looked up in the task's PATH");
        hands.reap(task);
    });
}

// ── output files ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn silent_tasks_make_no_file_each_and_none_stays() {
    let folder = on_hands(|hands| {
        for _ in 0..50 {
            assert_eq!(hands.run("/bin/true").output, b"");
        }
        assert!(hands.logs().iter().all(|(number, size)| *number <= 5 && *size == 0), "{:?}", hands.logs());
        hands.run("/bin/echo one");
        let path = hands.folder.path().join("log");
        let keep = std::mem::replace(&mut hands.folder, tempfile::tempdir().unwrap());
        (path, keep)
    });
    let left: Vec<_> = std::fs::read_dir(folder.0).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only what was written to: {left:?}");
}

#[test]
fn a_file_is_not_handed_on_while_a_process_left_behind_may_write_to_it() {
    on_hands(|hands| {
        let writer = hands.start(line_spec("(sleep 0.4; echo late) & exit 0"));
        let end = hands.end(writer);
        assert_eq!((end.left >= 1, end.output.len()), (true, 0));
        let (_, log) = hands.process(writer);
        hands.reap(writer);
        let others: Vec<(u32, u64)> = (0..12)
            .map(|_| {
                let task = hands.start(line_spec("echo mine"));
                assert_eq!(text(&hands.end(task)), "mine\n");
                hands.reap(task);
                (task, hands.process(task).1)
            })
            .collect();
        hands.emptied(writer);
        assert!(others.iter().all(|(_, other)| *other != log));
        let read = |number: u64| std::fs::read_to_string(hands.folder.path().join("log").join(number.to_string()));
        assert_eq!(read(log).unwrap(), "late\n");
        assert!(others.iter().all(|(_, other)| read(*other).unwrap() == "mine\n"));
    });
}

// ── trees ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_process_left_behind_is_told_until_it_ends_by_itself() {
    on_hands(|hands| {
        let task = hands.start(line_spec("sleep 0.5 & sleep 0.3 & exit 4"));
        let end = hands.end(task);
        assert_eq!((end.exit, end.left), (Exit::Code(4), 2));
        assert!(!hands.news[&(task, 1)].contains(&News::Emptied));
        hands.emptied(task);
        hands.reap(task);
        assert_eq!(children(), Vec::<String>::new());
    });
}

/// The ways in which tasks arrange their processes; `UNIQUE` marks them all.
const SHAPES: [(&str, &str); 7] = [
    ("simple", "/bin/sleep UNIQUE"),
    ("pipeline", "sleep UNIQUE | cat | sleep UNIQUE"),
    ("background", "sleep UNIQUE & sleep UNIQUE"),
    ("setsid daemon", "setsid sleep UNIQUE </dev/null >/dev/null 2>&1 & sleep UNIQUE"),
    ("double-fork daemon", "(setsid sh -c '(sleep UNIQUE &)' >/dev/null 2>&1); sleep UNIQUE"),
    (
        "env -i daemon",
        "/usr/bin/env -i /usr/bin/setsid /bin/sh -c '/bin/sleep UNIQUE &' </dev/null >/dev/null 2>&1; sleep UNIQUE",
    ),
    ("ignores TERM", "trap '' TERM HUP INT; while :; do sleep UNIQUE; done"),
];

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails under `QD_OFF=tree_kill`, where only the leader is killed: the other processes are still there.
fn kill_finds_every_shape(scan: bool) {
    with(scan, None, |hands| {
        for (number, (name, line)) in SHAPES.iter().enumerate() {
            let unique = format!("3{}00.0{number}", u8::from(scan));
            let expected = line.matches("UNIQUE").count();
            let task = hands.start(line_spec(&line.replace("UNIQUE", &unique)));
            hands.process(task);
            wait_until(name, || {
                let sleeps = alive_with(&unique).into_iter();
                let sleeping = |pid: &i32| {
                    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
                };
                sleeps.filter(sleeping).count() == expected
            });
            if *name == "ignores TERM" {
                hands.signal(task, StopSignal::Term);
                hands.wait_or(task, Duration::from_millis(300), |_| None::<()>);
                assert!(!alive_with(&unique).is_empty(), "TERM did not stop it");
            }
            hands.signal(task, StopSignal::Kill);
            let end = hands.wait_or(task, Duration::from_secs(3), |news| {
                let ended = news.iter().find_map(|news| match news {
                    News::Exited { exit, left, .. } => Some((*exit, *left)),
                    _ => None,
                });
                ended.filter(|(_, left)| *left == 0 || news.contains(&News::Emptied))
            });
            let left = alive_with(&unique);
            for pid in &left {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(*pid).unwrap(),
                    rustix::process::Signal::KILL,
                );
            }
            assert_eq!(left, Vec::<i32>::new(), "{name}: outlived its kill");
            assert_eq!(end.map(|(exit, _)| exit), Some(Exit::Signal(9)), "{name}");
            hands.reap(task);
        }
        wait_until("all reaped", || {
            hands.poll();
            children().is_empty()
        });
    });
}

#[test]
fn kill_finds_every_process_of_every_shape() {
    kill_finds_every_shape(false);
}

#[test]
fn kill_finds_every_process_of_every_shape_without_the_kernels_lists() {
    kill_finds_every_shape(true);
}

/// Fails under `QD_OFF=tree_kill`: a daemon whose leader has ended is not found at all.
#[test]
fn a_daemon_is_found_and_killed_after_its_leader_has_ended_and_was_reaped() {
    on_hands(|hands| {
        for (number, (name, line)) in SHAPES.iter().enumerate().skip(2).take(4) {
            let unique = format!("3200.0{number}");
            let line = line.replace("UNIQUE", &unique);
            let (daemon, _) = line.rsplit_once("sleep").unwrap();
            let line = format!("{daemon} sleep 0.1; exit 5");
            let task = hands.start(line_spec(&line));
            let end = hands.end(task);
            assert!(end.exit == Exit::Code(5) && end.left >= 1, "{name}: {end:?}");
            if number % 2 == 0 {
                hands.reap(task);
            }
            hands.signal(task, StopSignal::Kill);
            let emptied =
                hands.wait_or(task, Duration::from_secs(3), |news| news.contains(&News::Emptied).then_some(()));
            let left = alive_with(&unique);
            for pid in &left {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(*pid).unwrap(),
                    rustix::process::Signal::KILL,
                );
            }
            assert_eq!((emptied, left), (Some(()), vec![]), "{name}");
            hands.reap(task);
        }
        assert!(hands.table.entries().is_empty());
    });
}

#[test]
fn term_reaches_every_process_and_one_that_is_stopped() {
    on_hands(|hands| {
        let line = "trap 'echo sh; exit 3' TERM; (trap 'echo sub; exit' TERM; while :; do sleep 0.05; done) & \
                    while :; do sleep 0.05; done";
        let task = hands.start(line_spec(line));
        hands.wait_or(task, Duration::from_millis(300), |_| None::<()>);
        hands.signal(task, StopSignal::Term);
        let end = hands.end(task);
        assert_eq!(end.exit, Exit::Code(3));
        if end.left > 0 {
            hands.emptied(task);
        }
        let (_, log) = hands.process(task);
        let said = std::fs::read_to_string(hands.folder.path().join("log").join(log.to_string())).unwrap();
        assert!(said.contains("sh\n") && said.contains("sub\n"), "{said:?}");
        hands.reap(task);
        let task = hands.start(line_spec("kill -STOP $$; echo went on"));
        hands.wait_or(task, Duration::from_millis(200), |_| None::<()>);
        hands.signal(task, StopSignal::Term);
        assert_eq!(hands.end(task).exit, Exit::Signal(15));
        hands.reap(task);
    });
}

#[test]
fn an_orphan_that_may_be_of_either_keeps_both_waiting_and_is_not_killed_while_one_runs() {
    on_hands(|hands| {
        let other = hands.start(line_spec("/bin/sleep 3300.1"));
        hands.process(other);
        std::thread::sleep(Duration::from_millis(30));
        // Escapes session, environment and output file: nothing tells whose it is.
        let daemon = "/usr/bin/env -i /usr/bin/setsid /bin/sh -c '/bin/sleep 3300.2 &' </dev/null >/dev/null 2>&1";
        let task = hands.start(line_spec(daemon));
        assert!(hands.end(task).left >= 1);
        hands.reap(task);
        hands.signal(task, StopSignal::Kill);
        let early = hands.wait_or(task, Duration::from_millis(700), |news| news.contains(&News::Emptied).then_some(()));
        assert_eq!((early, alive_with("3300.2").len()), (None, 1));
        hands.signal(other, StopSignal::Kill);
        hands.end(other);
        hands.emptied(task);
        assert_eq!(alive_with("3300."), Vec::<i32>::new());
        hands.reap(other);
    });
}

#[test]
fn orphans_that_die_while_their_task_runs_are_reaped() {
    on_hands(|hands| {
        let line = "i=0; while [ $i -lt 200 ]; do (/bin/true &); i=$((i+1)); done; echo all; exec sleep 3000.5";
        let task = hands.start(line_spec(line));
        let (process, _) = hands.process(task);
        // The words of the shell itself have a blank between them.
        wait_until("the loop is over", || alive_with("sleep\x003000.5").len() == 1);
        let until = Instant::now() + LONG;
        while children() != [process.pid.to_string()] {
            assert!(Instant::now() < until, "{} children left", children().len());
            hands.wait_or(task, Duration::from_millis(50), |_| None::<()>);
        }
        hands.signal(task, StopSignal::Kill);
        assert_eq!(hands.end(task).left, 0);
        hands.reap(task);
    });
}

#[test]
fn a_program_that_we_started_ourselves_is_nobodys_orphan_and_not_reaped() {
    // The leader thread's children are meant; a test cannot run there, so a scan shows those of every thread.
    with(true, None, |hands| {
        let mut helper = std::process::Command::new("/bin/sleep").arg("0.2").spawn().unwrap();
        assert_eq!(hands.run("/bin/true").left, 0);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(hands.run("/bin/true").left, 0);
        assert!(helper.wait().unwrap().success());
    });
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// Fails under `QD_OFF=tree_kill`.
#[test]
fn a_tree_that_grows_while_it_is_killed_is_killed_to_the_last() {
    on_hands(|hands| {
        // Each in a session of its own, with two more below, 255 in all: bounded, should the kill fail.
        let bomb = "#!/bin/sh\nif [ $1 -gt 0 ]; then\n  setsid $0 $(($1-1)) 3400.1 &\n  setsid $0 $(($1-1)) 3400.1 &\nfi\n\
                    /bin/sleep 3400.1\n";
        executable(&hands.work().join("bomb"), bomb);
        // And one that hops: each starts the next and is gone, 20,000 times at most.
        let hopper = "#!/bin/sh\nif [ $1 -gt 0 ]; then\n  setsid $0 $(($1-1)) 3400.2 &\nfi\n";
        executable(&hands.work().join("hopper"), hopper);
        for (line, after) in
            [("./bomb 7 3400.1", 20), ("./bomb 7 3400.1", 150), ("./hopper 20000 3400.2; sleep 3400.3", 50)]
        {
            let task = hands.start(line_spec(line));
            hands.wait_or(task, Duration::from_millis(after), |_| None::<()>);
            // This thread's own time: how long 255 runnable processes keep it waiting is not in its hands.
            let before = cpu();
            hands.signal(task, StopSignal::Kill);
            let took = cpu().checked_sub(before).unwrap();
            assert!(took < Duration::from_millis(100), "one order took {took:?}");
            let end = hands.end(task);
            if end.left > 0 {
                hands.emptied(task);
            }
            assert_eq!(alive_with("3400."), Vec::<i32>::new(), "{line}");
            hands.reap(task);
        }
    });
}

// ── many, and too few ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn two_thousand_tasks_two_at_a_time_leave_no_descriptor_and_no_zombie() {
    on_hands(|hands| {
        hands.run("/bin/true");
        let before = descriptors();
        let mut running = std::collections::VecDeque::new();
        for number in 0..2000 {
            let spec = if number % 10 == 0 { line_spec("/bin/echo x") } else { line_spec("/bin/true") };
            running.push_back((hands.start(spec), number % 10 == 0));
            if running.len() == 2 {
                let (task, loud) = running.pop_front().unwrap();
                let end = hands.end(task);
                assert_eq!((end.exit, end.left), (Exit::Code(0), 0));
                assert_eq!(end.output, if loud { b"x\n".as_slice() } else { b"" });
                hands.reap(task);
            }
        }
        let (task, _) = running.pop_front().unwrap();
        hands.end(task);
        hands.reap(task);
        assert!(descriptors() <= before + 2, "one spare file more for each that ran at once");
        assert_eq!(children(), Vec::<String>::new());
        assert!(hands.table.entries().is_empty());
        assert_eq!(hands.logs().iter().filter(|(_, size)| *size > 0).count(), 200);
    });
}

#[test]
fn a_lack_of_descriptors_is_transient_and_nothing_that_was_started_is_lost() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    on_hands(|hands| {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).unwrap();
        let mut started = 0;
        for free in (0..8).chain(0..3) {
            let mut hoard: Vec<OwnedFd> = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                hoard.push(file.into());
            }
            hoard.truncate(hoard.len() - free);
            let mut all = Vec::new();
            for _ in 0..6 {
                let task = hands.start(line_spec("exit 9"));
                let problem = hands.wait(task, |news| match news.first()? {
                    News::CouldNotStart(problem) => Some(Some(problem.clone())),
                    _ => Some(None),
                });
                match problem {
                    Some(problem) => assert!(problem.transient && problem.code.is_none(), "{problem:?}"),
                    None => all.push(task),
                }
            }
            for task in &all {
                let exit = hands.wait(*task, |news| {
                    news.iter().find_map(|news| match news {
                        News::Exited { exit, .. } => Some(*exit),
                        _ => None,
                    })
                });
                assert_eq!(exit, Exit::Code(9));
                hands.reap(*task);
            }
            started += all.len();
            drop(hoard);
        }
        assert_eq!(hands.run("exit 9").exit, Exit::Code(9));
        setrlimit(Resource::Nofile, before).unwrap();
        assert!(started > 0, "with some free, some start");
        assert!(hands.table.entries().is_empty());
        assert_eq!(children(), Vec::<String>::new());
    });
}

// ── attempts of an earlier console ───────────────────────────────────────────────────────────────────────────────────

fn survivor(task: u32) -> Survivor {
    Survivor { agent: AgentId(0), task: TaskId(task), attempt: Attempt(1), process: None, exited: false }
}

#[test]
fn without_a_guard_to_ask_an_earlier_attempt_is_lost_with_a_reason() {
    on_hands(|hands| {
        hands.executor.reconcile(&survivor(40));
        let why = hands.wait(40, |news| match news {
            [News::Lost { why }] => Some(why.clone()),
            _ => None,
        });
        assert!(why.contains("guard"), "{why}");
    });
}

struct Asked {
    orders: Arc<Mutex<Vec<String>>>,
    fd: OwnedFd,
    answer: Option<TaskId>,
}

impl Adoption for Asked {
    fn reconcile(&mut self, survivor: &Survivor) {
        self.orders.lock().unwrap().push(format!("reconcile {}", survivor.task));
        self.answer = Some(survivor.task);
        rustix::io::write(&self.fd, &1_u64.to_ne_bytes()).unwrap();
    }
    fn signal(&mut self, task: TaskId, _: Attempt, signal: StopSignal) {
        self.orders.lock().unwrap().push(format!("{signal:?} {task}"));
    }
    fn reap(&mut self, task: TaskId, _: Attempt) {
        self.orders.lock().unwrap().push(format!("reap {task}"));
    }
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
    fn poll(&mut self, reports: &mut Vec<Report>) -> Option<u64> {
        let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
        reports.extend(self.answer.take().map(|task| Report { task, attempt: Attempt(1), news: News::NotStarted }));
        None
    }
}

#[test]
fn what_is_not_ours_goes_to_whoever_speaks_for_it() {
    let orders = Arc::new(Mutex::new(Vec::new()));
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    let asked = Asked { orders: Arc::clone(&orders), fd: rustix::event::eventfd(0, flags).unwrap(), answer: None };
    with(false, Some(Box::new(asked)), |hands| {
        hands.executor.reconcile(&survivor(40));
        wait_readable(hands.executor.fd(), LONG);
        hands.wait(40, |news| (news == [News::NotStarted]).then_some(()));
        hands.signal(40, StopSignal::Term);
        hands.reap(40);
        let own = hands.start(line_spec("exit 0"));
        hands.end(own);
        hands.reap(own);
    });
    assert_eq!(*orders.lock().unwrap(), ["reconcile #40", "Term #40", "reap #40"]);
}
