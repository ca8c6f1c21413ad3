//! Sensors: what the engine decides of what is seen, case by case, and what the binary does with files, ports, URLs and
//! commands that it looks at. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Place, until};
use engine_support::flow::check;

#[test]
fn a_sensor_holds_nothing_and_is_done_when_it_sees_what_it_waits_for() {
    check(
        "agent local slots 1
         task s type sensor
         task a after s
         task b",
        "> load
         await s
         start b/1
         watch s/1
         > see s/1 absent
         sees s absent
         > why s
         Awaiting
         > see s/1 absent
         > +5000 see s/1 half
         > +10000 see s/1 half
         sees s half
         > met s/1 there
         settle s Succeeded: there
         unwatch 1
         > exit b 0
         end b/1 Succeeded
         start a/1
         > see s/1 absent
         > exit a 0
         end a/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn a_sensor_that_sees_nothing_fails_in_its_time_or_is_skipped() {
    check(
        "task s type sensor:3000
         task t type skips:5000
         task a after s
         task b after t",
        "> load
         await s until 3000
         await t until 5000
         watch s/1
         watch t/2
         > +1000 see s/1 absent
         sees s absent
         > +2000 tick
         settle s Failed(TimedOut): waited in vain for file door, last seen: absent
         unwatch 1
         > +2000 tick
         skipped t: waited in vain for file door
         start b/1
         unwatch 2
         > retry s
         requeued s
         await s until 8000
         watch s/3
         > see s/1 late
         > met s/3 there
         settle s Succeeded: there
         start a/1
         unwatch 3",
    );
}

#[test]
fn nothing_is_looked_at_while_held_or_ending_and_everything_again_after_a_crash() {
    check(
        "task s type sensor
         task t type sensor",
        "> load
         await s
         await t
         watch s/1
         watch t/2
         > hold s
         held s
         unwatch 1
         > met s/1 there
         > release s
         released s
         watch s/3
         > drain
         ending Drain
         unwatch 3
         unwatch 2
         > resume
         resumed
         watch s/4
         watch t/5
         > see t/5 absent
         sees t absent
         > crash
         > tick
         watch s/1
         watch t/2
         > see t/2 absent
         > skip s
         skipped s
         unwatch 1
         > met t/2 there
         settle t Succeeded: there
         unwatch 2
         > end?
         finished, exit 0",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow(tasks: &str) -> String {
    format!(
        r#"Workflow(name: "sensors", params: {{ "port": "9" }}, agents: [Agent(name: "local", slots: 1)],
           stages: [Stage(id: "main", tasks: [{tasks}])])"#
    )
}

#[test]
fn files_commands_ports_and_urls_let_what_waits_go_on() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("it has one").port().to_string();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let (mut stream, mut request) = (stream.expect("a caller"), [0; 2048]);
            if stream.read(&mut request).unwrap_or(0) > 0 {
                write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .expect("it hears");
            }
        }
    });
    // One slot: what looks holds none.
    let place = Place::with(&flow(
        r#"Task(id: "see-{n}", foreach: { "n": ["a", "b"] }, type: Sensor(file: "{n}.txt", interval: "100ms")),
           Task(id: "port", type: Sensor(tcp: "127.0.0.1:${params.port}", interval: "100ms")),
           Task(id: "url", type: Sensor(http: "http://127.0.0.1:${params.port}/", status: 404, interval: "100ms")),
           Task(id: "ask", type: Sensor(run: "test -e b.txt", interval: "100ms")),
           Task(id: "make", run: "sleep 0.3; touch a.txt b.txt"),
           Task(id: "all", after: ["see-*", "port", "url", "ask"], run: "touch all")"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s", "--param", &format!("port={port}")], 0);
    assert!(place.path("all").exists());
    for line in [
        "watches   see-a: file a.txt, every 100ms",
        "sees      see-b: not there",
        "done      see-a: there",
        "done      port: takes connections",
        "done      url: status 404",
        "sees      ask: exit 1",
        "done      ask: exit 0",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(place.ends(&["why", "s", "url"], 0).contains("status 404"));
}

#[test]
fn what_is_never_seen_fails_says_what_was_seen_and_json_has_it() {
    let place = Place::with(&flow(
        r#"Task(id: "wait", type: Sensor(tcp: "127.0.0.1:${params.port}", interval: "100ms", timeout: "400ms")),
           Task(id: "soft", type: Sensor(file: "never", interval: "100ms", timeout: "200ms", on_timeout: Skip)),
           Task(id: "go", run: "true", after: ["wait"]), Task(id: "on", run: "touch on", after: ["soft"])"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    let why = "waited in vain for tcp 127.0.0.1:9, last seen: connection refused";
    assert!(out.contains(&format!("failed    wait: timed out: {why}")), "{out}");
    assert!(out.contains("skipped   soft: waited in vain for file never"), "{out}");
    assert!(place.path("on").exists());
    assert!(place.ends(&["why", "s", "wait"], 0).contains(why));
    let json = place.ends(&["run", "flow.ron", "--json"], 1);
    assert!(json.contains(r#""fact":"Sensed","task":"wait","#) && json.contains("connection refused"), "{json}");
}

#[test]
fn after_a_kill_it_is_looked_at_again_and_a_change_meanwhile_is_seen() {
    let place = Place::with(&flow(
        r#"Task(id: "change", type: Sensor(changed: "config", interval: "100ms")),
           Task(id: "slow", type: Sensor(run: "touch asked; sleep 30", interval: "100ms", patience: "1m", timeout: "2m")),
           Task(id: "go", run: "touch went", after: ["change"])"#,
    ));
    std::fs::write(place.path("config"), "a").expect("a file");
    let run = place.begin();
    place.await_file("asked");
    place.kill_once(run, "fact:Sensed(task:0,saw:\"unchanged\"");
    std::fs::write(place.path("config"), "bb").expect("a file");
    let why = place.ends(&["why", "s", "change"], 0);
    assert!(why.contains("watches a change of file config: unchanged") && why.contains("looks every 100ms"), "{why}");
    std::fs::write(place.path("asked"), "").expect("a file");
    let mut run = place.resume();
    until("the change is seen", || place.path("went").exists());
    // What is asked is ended with the console, however long it takes.
    let asked =
        || std::process::Command::new("kill").args(["-TERM", &run.id().to_string()]).status().expect("kill runs");
    assert!(asked().success());
    assert_eq!(run.wait().expect("our own child").code(), Some(3));
}
