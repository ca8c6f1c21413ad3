//! What the local executor costs per `/bin/true`, against a bare loop of `posix_spawn` and `wait` with the same two in
//! flight. Run with `--release`; rounds are interleaved, and only the ratios within one run mean anything.
#![expect(unsafe_code, reason = "the bare loop is made of the bare calls")]

use std::ffi::CStr;
use std::ptr;
use std::time::Instant;

use quarterdeck::agents::Executor;
use quarterdeck::agents::local::{Config, LocalExecutor};
use quarterdeck::engine::definition::{CommandLine, CommandSpec};
use quarterdeck::engine::ids::{AgentId, Attempt, TaskId};
use quarterdeck::engine::message::{News, StartOrder};
use quarterdeck::guard::table::Table;
use rustix::event::{PollFd, PollFlags};

const TASKS: u32 = 2000;
const ROUNDS: usize = 5;
const PROGRAM: &CStr = c"/bin/true";

/// Wall time and this thread's CPU time per task, µs.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

fn main() {
    // Not the leader: what tasks leave behind must not mix with the tasks.
    std::thread::spawn(hands).join().expect("the loops do not panic");
}

fn hands() {
    let folder = std::env::temp_dir().join(format!("qd-spawn-cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for output files");
    let config = Config {
        token: None,
        table: Some(Table::create().expect("a table").into()),
        log_dir: folder.clone(),
        session: "cost".into(),
        default_cwd: "/".into(),
        next_log: 1,
        adoption: None,
        scan: false,
        care: None,
    };
    let mut executor = LocalExecutor::new(config).expect("an executor");
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bare.push(measure(bare_loop));
        ours.push(measure(|| our_loop(&mut executor, u32::try_from(round).expect("few rounds") * TASKS)));
    }
    drop(executor);
    let _ = std::fs::remove_dir(folder);
    let (bare, ours) = (median(&bare), median(&ours));
    println!("per task, median of {ROUNDS} rounds of {TASKS}, 2 in flight");
    println!("bare   {:7.1} µs wall   {:6.1} µs CPU of this thread", bare.wall, bare.cpu);
    println!("ours   {:7.1} µs wall   {:6.1} µs CPU of this thread", ours.wall, ours.cpu);
    println!("ratio  {:7.3}           {:+6.1} µs", ours.wall / bare.wall, ours.cpu - bare.cpu);
}

fn measure(work: impl FnOnce()) -> Cost {
    let (cpu, wall) = (cpu_us(), Instant::now());
    work();
    let tasks = f64::from(TASKS);
    Cost { wall: wall.elapsed().as_secs_f64() * 1e6 / tasks, cpu: (cpu_us() - cpu) / tasks }
}

fn cpu_us() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost {
        wall: middle(costs.iter().map(|cost| cost.wall).collect()),
        cpu: middle(costs.iter().map(|cost| cost.cpu).collect()),
    }
}

fn bare_loop() {
    let argv = [PROGRAM.as_ptr().cast_mut(), ptr::null_mut()];
    let env = [ptr::null_mut()];
    let (mut started, mut running) = (0, 0);
    while started < TASKS || running > 0 {
        if started < TASKS && running < 2 {
            let mut pid = 0;
            // SAFETY: NUL-terminated strings in null-terminated lists; no actions, no attributes.
            let answer = unsafe {
                libc::posix_spawn(&raw mut pid, PROGRAM.as_ptr(), ptr::null(), ptr::null(), argv.as_ptr(), env.as_ptr())
            };
            assert_eq!(answer, 0);
            (started, running) = (started + 1, running + 1);
        } else {
            // SAFETY: no status is asked for.
            assert!(unsafe { libc::waitpid(-1, ptr::null_mut(), 0) } > 0);
            running -= 1;
        }
    }
}

fn our_loop(executor: &mut LocalExecutor, first: u32) {
    let run = CommandLine::Shell("/bin/true".into());
    let command = std::sync::Arc::new(CommandSpec::new(run));
    let name: std::sync::Arc<str> = "true".into();
    let (mut started, mut running) = (0, 0);
    let mut reports = Vec::new();
    while started < TASKS || running > 0 {
        while started < TASKS && running < 2 {
            executor.start(&StartOrder {
                agent: AgentId(0),
                task: TaskId(first + started),
                attempt: Attempt(1),
                name: name.clone(),
                command: command.clone(),
                care: None,
                since: Attempt(1),
                force: false,
                problem: None,
            });
            (started, running) = (started + 1, running + 1);
        }
        executor.poll(&mut reports);
        let before = running;
        for report in reports.drain(..) {
            match report.news {
                News::Started { .. } => {}
                News::Exited { left: 0, .. } => {
                    executor.reap(report.task, report.attempt);
                    running -= 1;
                }
                other => panic!("{other:?}"),
            }
        }
        if running == before {
            let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(executor.fd(), PollFlags::IN)], None);
        }
    }
}
