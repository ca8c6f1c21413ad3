//! What messages cost: tasks are dispatched while eight clients notify without pause, and while none does, by turns; and how
//! long a query takes meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Bench, median};

/// So many clients notify.
const CLIENTS: u64 = 8;
/// So many messages a second they send together.
const RATE: u64 = 50_000;

/// What one run came to.
struct Run {
    wall: f64,
    sent: f64,
    /// Milliseconds, sorted.
    queries: Vec<f64>,
}

pub fn all(bench: &Bench) {
    let count = bench.tasks;
    let tasks: String =
        (0..count).map(|n| format!("Task(id: \"t{n}\", run: \"/bin/true\", after: [\"go\"]),\n")).collect();
    let flow = super::workflow(&format!(
        "Task(id: \"token\", run: \"printf %s $QD_TOKEN > token; exec sleep 600\"),\n\
         Task(id: \"go\", run: \"until [ -e go ]; do sleep 0.01; done\"),\n{tasks}"
    ));
    let file = bench.write("messages.ron", &flow);
    let (mut quiet, mut loud, mut sent, mut queries) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        quiet.push(run(bench, &file, count, false).wall);
        let run = run(bench, &file, count, true);
        loud.push(run.wall);
        sent.push(run.sent);
        queries.extend(run.queries);
    }
    queries.sort_by(f64::total_cmp);
    let at = |share: f64| queries.get((queries.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let (a, b) = (median(&mut quiet), median(&mut loud));
    println!(
        "{count} tasks: quiet {:.3} ms/task, with {:.0} notifies/s by {CLIENTS} clients {:.3}: {:.2} x (aim 1.10)",
        a * 1000.0 / count as f64,
        median(&mut sent),
        b * 1000.0 / count as f64,
        b / a
    );
    println!("query meanwhile, {} asked: p50 {:.2} ms, p99 {:.2} ms (aim 2)", queries.len(), at(0.5), at(0.99));
}

fn run(bench: &Bench, file: &Path, count: usize, loud: bool) -> Run {
    let folder = bench.folder.path();
    for name in ["go", "token"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    let mut command = bench.qd();
    command.arg("run").arg(file).args(["--headless", "--slots", "4", "--session", "bench"]).current_dir(folder);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("qd starts");
    let until = |what: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !what() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(&|| std::fs::read_to_string(folder.join("token")).is_ok_and(|token| token.len() > 30));
    let token = std::fs::read_to_string(folder.join("token")).unwrap_or_default();
    let session = std::fs::File::open(folder.join("state/sessions/bench")).expect("the session is there");
    let path = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&session));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let clients: Vec<_> = (0..if loud { CLIENTS } else { 0 })
        .map(|_| {
            let (stop, sent, token, path) = (stop.clone(), sent.clone(), token.clone(), path.clone());
            std::thread::spawn(move || notify(&path, &token, &stop, &sent))
        })
        .collect();
    let asking = loud.then(|| {
        let (stop, path) = (stop.clone(), path.clone());
        std::thread::spawn(move || ask(&path, &stop))
    });
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(folder.join("go"), "").expect("the folder takes files");
    let start = Instant::now();
    // All but `token`, which sleeps, are over when the last line says so.
    let mut wait = bench.qd();
    wait.args(["ctl", "--session", "bench", "wait", "go", "t[0-9]*"]).current_dir(folder);
    let _ = wait.status();
    let wall = start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Release);
    let queries = asking.map(|asking| asking.join().expect("no panic")).unwrap_or_default();
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    let sent = sent.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let _ = bench.qd().args(["ctl", "--session", "bench", "stop-now"]).stdout(std::process::Stdio::null()).status();
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(folder.join("state"));
    let _ = count;
    Run { wall, sent, queries }
}

fn notify(path: &str, token: &str, stop: &AtomicBool, sent: &AtomicU64) {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    let each = RATE / CLIENTS / 100;
    let line = |n: u64| {
        format!(
            "{{\"type\":\"notify\",\"content\":{{\"action\":\"progress\",\"parameters\":{{\"done\":{n},\"of\":1000}},\"context\":{{\"token\":\"{token}\"}}}},\"metadata\":{{\"source\":\"bench\"}}}}\n"
        )
    };
    let batch: String = (0..each).map(line).collect();
    let mut next = Instant::now();
    while !stop.load(Ordering::Acquire) {
        if stream.write_all(batch.as_bytes()).is_err() {
            return;
        }
        sent.fetch_add(each, Ordering::Relaxed);
        next += Duration::from_millis(10);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn ask(path: &str, stop: &AtomicBool) -> Vec<f64> {
    let stream = UnixStream::connect(path).expect("somebody listens");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let _ = reader.read_line(&mut line);
    let mut all = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let began = Instant::now();
        let question = "{\"type\":\"query\",\"id\":\"1\",\"content\":{\"action\":\"state\",\"parameters\":{\"op\":\"get\",\"key\":\"x\"}}}\n";
        if reader.get_mut().write_all(question.as_bytes()).is_err() {
            break;
        }
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            break;
        }
        all.push(began.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(Duration::from_millis(1));
    }
    all
}
