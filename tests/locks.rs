//! Locks of running tasks, asked for by `qd lock` from within real shells: exclusion, waiting, circles, leases, a console that
//! is killed meanwhile. The engine's part is played in `engine_locks`.

mod common;

use std::path::Path;

use common::{Place, until, wait_for};

const RESOURCES: &str = r#"resources: { "db": Lock, "cache": Lock, "licence": Pool(2) }"#;

fn flow(tasks: &str) -> String {
    format!(
        r#"Workflow(name: "locks", grace: "200ms", {RESOURCES}, agents: [Agent(name: "local", slots: 20)],
           stages: [Stage(id: "main", tasks: [{tasks}])])"#
    )
}

const RUN: [&str; 4] = ["run", "flow.ron", "--session", "s"];
/// In a shell of a task.
const QD: &str = r#"\"$QD_BIN\""#;

/// Waits until this many facts of the kind are in the journal.
fn facts(place: &Place, kind: &str, count: usize) {
    let is = |line: &&String| line.contains(&format!("fact:{kind}("));
    until(kind, || place.journal("s").iter().filter(is).count() >= count);
}

#[test]
fn one_at_a_time_has_an_exclusive_lock_and_as_many_as_there_are_of_a_pool() {
    let place = Place::with(&flow(&format!(
        r#"Task(id: "t-{{n}}", foreach: {{ "n": [1, 2, 3, 4, 5, 6] }}, run: "for i in 1 2 3; do
                {QD} lock run db -- sh -c 'mkdir alone && echo $QD_FENCE >> fences && sleep 0.01 && rmdir alone' || exit 1
                {QD} lock run licence -- sh -c 'echo x >> n-$$; ls n-* | wc -l >> most; rm n-$$' || exit 1
           done"),
           Task(id: "many", run: "{QD} lock run licence --amount 3 -- true || {QD} lock run licence --amount 2 -- echo two > two")"#
    )));
    place.ends(&RUN, 0);
    let fences: Vec<u64> = place.read("fences").lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(fences.len(), 18);
    assert!(fences.is_sorted() && fences.windows(2).all(|two| two[0] < two[1]), "{fences:?}");
    assert!(place.read("most").lines().all(|line| line.trim().parse::<u32>().expect("a number") <= 2));
    assert_eq!(place.read("two"), "two\n");
    assert!(!place.path("alone").exists());
}

#[test]
fn readers_share_a_lock_and_a_writer_waits_for_them_and_is_not_overtaken() {
    let hold = |name: &str, go: &str| {
        let wait = wait_for(go);
        format!(
            r#"Task(id: "{name}", run: "{QD} lock acquire db --shared > /dev/null && touch {name}-has && {wait}
                    echo {name} >> order && {QD} lock release db")"#
        )
    };
    let wait = wait_for("write");
    let later = wait_for("later");
    let place = Place::with(&flow(&format!(
        r#"{}, {}, Task(id: "writer", run: "{wait}; {QD} lock run db -- sh -c 'echo writer >> order'"),
           Task(id: "late", run: "{later}; {QD} lock run --shared db -- sh -c 'echo late >> order'")"#,
        hold("one", "go"),
        hold("two", "go"),
    )));
    let run = place.begin();
    place.await_file("one-has");
    place.await_file("two-has");
    place.touch("write");
    facts(&place, "LockAsked", 3);
    // it could share what they have, but the writer was there before
    place.touch("later");
    facts(&place, "LockAsked", 4);
    let rows = place.ends(&["lock", "list", "--session", "s"], 0);
    let row = |words: &str| rows.lines().filter(|line| line.contains(words)).count();
    assert_eq!((row("held as db@"), row("waits, 1 in line"), row("waits, 2 in line")), (2, 1, 1), "{rows}");
    let why = place.ends(&["ctl", "why", "writer", "--session", "s"], 0);
    assert!(why.contains("waits for db (exclusive)") && why.contains("holder one (shared)"), "{why}");
    let note = place.ends(&["ctl", "ps", "late", "--session", "s"], 0);
    assert!(note.contains("waits for lock db 2/2"), "{note}");
    place.touch("go");
    assert!(run.wait_with_output().expect("it ends").status.success());
    let order = place.read("order");
    assert!(order.ends_with("writer\nlate\n"), "{order}");
}

#[test]
fn who_would_close_a_circle_is_refused_with_it_and_gets_on_by_trying_again() {
    let task = |name: &str, first: &str, then: &str| {
        format!(
            r#"Task(id: "{name}", run: "until
                {QD} lock acquire {first} > /dev/null || exit 1
                touch {name}-has; n=0; while [ ! -e a-has ] || [ ! -e b-has ]; do sleep 0.02; done
                {QD} lock acquire {then} 2>> refused > /dev/null
            do
                {QD} lock release {first}; echo again >> again; sleep 0.1
            done; echo {name} >> done")"#
        )
    };
    let place = Place::with(&flow(&format!("{}, {}", task("a", "db", "cache"), task("b", "cache", "db"))));
    place.ends(&RUN, 0);
    let refused = place.read("refused");
    let one = |first: &str, then: &str, x: &str, y: &str| {
        format!("would deadlock: {first} waits for {x}, which {then} has; {then} waits for {y}, which {first} has")
    };
    assert!(
        refused.contains(&one("a", "b", "cache", "db")) || refused.contains(&one("b", "a", "db", "cache")),
        "{refused}"
    );
    assert_eq!(place.read("done").lines().count(), 2);
    assert!(place.path("again").exists());
}

#[test]
fn a_wait_has_an_end_if_it_is_given_one_and_a_lease_runs_out() {
    let wait = wait_for("go");
    let place = Place::with(&flow(&format!(
        r#"Task(id: "has", run: "{QD} lock acquire db --lease 600ms > fence && touch has && {wait}
                {QD} lock renew db 2> gone; {QD} lock release db; true"),
           Task(id: "asks", run: "while [ ! -e has ]; do sleep 0.02; done
                {QD} lock run db --timeout 0s -- true; echo $? > at-once
                {QD} lock run db --timeout 100ms -- true; echo $? > soon
                {QD} lock acquire db > next && touch go"),
           Task(id: "wrong", run: "{QD} lock run nothing -- true; echo $? > wrong; {QD} lock run db --amount 2 -- true; echo $? >> wrong")"#
    )));
    let out = place.ends(&RUN, 0);
    assert_eq!((place.read("at-once"), place.read("soon")), ("75\n".to_owned(), "75\n".to_owned()));
    assert_eq!(place.read("wrong"), "2\n2\n");
    let fence = |name: &str| place.read(name).trim().parse::<u64>().expect("a fence");
    assert!(fence("next") > fence("fence"));
    assert!(place.read("gone").contains("its lease ran out"), "{}", place.read("gone"));
    assert!(out.contains("lease     has: that of db ran out"), "{out}");
}

#[test]
fn what_is_to_start_comes_after_what_runs_and_an_end_gives_all_back() {
    let wait = wait_for("go");
    let place = Place::with(&flow(&format!(
        r#"Task(id: "first", run: "{QD} lock acquire db > /dev/null && touch has && {wait}; echo first >> order"),
           Task(id: "second", run: "while [ ! -e has ]; do sleep 0.02; done; {QD} lock acquire db > /dev/null && echo second >> order"),
           Task(id: "starts", uses: {{ "db": Exclusive }}, after: ["late"], run: "echo starts >> order"),
           Task(id: "late", run: "while [ ! -e has ]; do sleep 0.02; done")"#
    )));
    let run = place.begin();
    facts(&place, "LockAsked", 2);
    until("late is done", || place.journal("s").iter().any(|line| line.contains("fact:Ended(")));
    let why = place.ends(&["ctl", "why", "starts", "--session", "s"], 0);
    assert!(why.contains("second runs and asks for it: it comes first"), "{why}");
    place.touch("go");
    assert!(run.wait_with_output().expect("it ends").status.success());
    assert_eq!(place.read("order"), "first\nsecond\nstarts\n");
}

#[test]
fn a_console_that_is_killed_takes_no_lock_with_it_and_who_waits_goes_on_waiting() {
    let wait = wait_for("go");
    let place = Place::with(&flow(&format!(
        r#"Task(id: "has", run: "{QD} lock acquire db > fence-1 && touch has && {wait}; echo has >> order; {QD} lock release db"),
           Task(id: "waits", run: "while [ ! -e has ]; do sleep 0.02; done; {QD} lock acquire db > fence-2 && echo waits >> order")"#
    )));
    let run = place.begin();
    facts(&place, "LockAsked", 2);
    place.kill(run);
    let again = place.resume();
    // it asks again by itself once the session is back
    facts(&place, "LockAsked", 3);
    let rows = place.ends(&["lock", "list", "--session", "s"], 0);
    assert!(rows.contains("held as db@") && rows.contains("waits, 1 in line"), "{rows}");
    place.touch("go");
    assert!(again.wait_with_output().expect("it ends").status.success());
    assert_eq!(place.read("order"), "has\nwaits\n");
    let fence = |name: &str| place.read(name).trim().parse::<u64>().expect("a fence");
    assert!(fence("fence-2") > fence("fence-1"));
}

#[test]
fn who_dies_while_it_waits_is_not_given_what_it_asked_for() {
    let wait = wait_for("go");
    let place = Place::with(&flow(&format!(
        r#"Task(id: "has", run: "{QD} lock acquire db > /dev/null && touch has && {wait}; {QD} lock release db"),
           Task(id: "dies", run: "while [ ! -e has ]; do sleep 0.02; done; {QD} lock run db -- touch never & pid=$!
                while [ ! -e kill ]; do sleep 0.02; done; kill -9 $pid; touch killed; while [ ! -e end ]; do sleep 0.02; done"),
           Task(id: "next", run: "while [ ! -e killed ]; do sleep 0.02; done; {QD} lock run db -- touch next; touch end")"#
    )));
    let run = place.begin();
    facts(&place, "LockAsked", 2);
    place.touch("kill");
    place.await_file("killed");
    facts(&place, "LockOver", 1);
    place.touch("go");
    assert!(run.wait_with_output().expect("it ends").status.success());
    assert!(place.path("next").exists() && !place.path("never").exists());
}

/// Random programs of nested locks in real shells: who is refused gives all back and tries again. None hangs, and no two
/// are where one may be. `QD_RUNS=500` for more.
#[test]
fn random_programs_of_real_processes_end() {
    let runs = std::env::var("QD_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(4);
    for seed in 1..=runs {
        let mut state: u64 = seed;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut tasks = Vec::new();
        for task in 0..5 {
            let mut lines = Vec::new();
            for _ in 0..2 {
                let names = ["db", "cache", "other"];
                let (a, b) = (names[below(3) as usize], names[below(3) as usize]);
                let inner = format!("sh in.sh {b} sleep 0.01");
                lines.push(format!("until sh in.sh {a} {inner}; do sleep 0.0$(( $$ % 9 + 1 )); done"));
            }
            tasks.push(format!(r#"Task(id: "p{task}", timeout: "60s", run: "{}")"#, lines.join("\n")));
        }
        let place = Place::with(&flow(&tasks.join(",\n")).replace(r#""licence": Pool(2)"#, r#""other": Lock"#));
        // exactly one is within, unless it is asked for twice by one: then it is refused, and the program goes on without
        let script = r#"name=$1; shift; "$QD_BIN" lock run "$name" -- sh inner.sh "$name" "$@" 2>> errors; code=$?
if [ $code = 75 ] && [ "$HAS" = "$name" ]; then exit 0; fi; exit $code
"#;
        let inner = r#"name=$1; shift; HAS=$name; export HAS; mkdir "in-$name" || { echo "$name twice" >> broken; exit 0; }
"$@"; code=$?; rmdir "in-$name"; exit $code
"#;
        std::fs::write(place.path("in.sh"), script).expect("written");
        std::fs::write(place.path("inner.sh"), inner).expect("written");
        let out = place.ends(&RUN, 0);
        assert!(!place.path("broken").exists(), "seed {seed}: {out}");
        let errors = std::fs::read_to_string(place.path("errors")).unwrap_or_default();
        assert!(errors.lines().all(|line| line.contains("would deadlock")), "seed {seed}: {errors}");
        assert!(!Path::new(&place.path("in-db")).exists());
    }
}

#[test]
fn what_is_held_from_the_start_can_be_given_back_before_the_end() {
    let place = Place::with(
        r#"Workflow(resources: { "db": Lock, "seat": Pool(2) }, agents: [Agent(name: "local", slots: 4)], stages: [Stage(id: "s", tasks: [
            Task(id: "first", uses: { "db": Exclusive, "seat": 2 }, exec: ["sh", "first.sh"]),
            Task(id: "second", uses: { "db": Exclusive, "seat": 1 }, priority: -1, run: "touch second"),
        ])])"#,
    );
    let script = r#"
        "$QD_BIN" lock release nothing 2> wrong && exit 9
        "$QD_BIN" lock release db && "$QD_BIN" lock release db 2>> wrong && exit 8
        [ -e second ] && exit 7
        "$QD_BIN" lock release seat
        until [ -e second ]; do sleep 0.02; done
        "$QD_BIN" lock run db -- true
    "#;
    std::fs::write(place.path("first.sh"), script).unwrap();
    let out = place.ends(&["run", "flow.ron"], 0);
    assert!(out.contains("gives     db back: first") && out.contains("gives     seat back: first"), "{out}");
    let wrong = place.read("wrong");
    assert!(wrong.contains("no resource is called nothing") && wrong.contains("has given it back"), "{wrong}");
}

#[test]
fn who_waits_for_whom_is_one_picture() {
    use quarterdeck::engine::decide::Engine;
    use quarterdeck::engine::ids::*;
    use quarterdeck::engine::locks::LockRequest;
    use quarterdeck::engine::message::*;
    use quarterdeck::snapshot::View;
    use quarterdeck::snapshot::build::{Frozen, build};
    use std::sync::Arc;

    let text = r#"Workflow(resources: { "db": Lock, "api": Lock }, agents: [Agent(name: "local", slots: 9)],
        stages: [Stage(id: "s", tasks: [Task(id: "a", run: "x"), Task(id: "b", run: "x"), Task(id: "c", run: "x"),
            Task(id: "d", run: "x", uses: { "api": Exclusive }, after: ["go"]), Task(id: "go", run: "x")])])"#;
    let machine = quarterdeck::workflow::Machine { parallelism: 4, memory: 1 << 30, now: jiff::Zoned::now() };
    let source = quarterdeck::workflow::Source { name: "t", text };
    let flow = quarterdeck::workflow::load(&source, &[], &machine).expect("a good workflow");
    let mut engine = Engine::default();
    let mut at = 1_000;
    let mut tell = |engine: &mut Engine, what: What| {
        at += 1_000;
        engine.decide(&Input { at: Time(at), what })
    };
    let load = Command::Load(Arc::new(flow));
    tell(&mut engine, What::Command { by: Origin::Rule, command: load });
    let ask = |task: u32, resource: u32| {
        let (resource, ticket) = (ResourceId(resource), format!("{resource}").into());
        let request =
            LockRequest { resource, amount: Amount::WHOLE_LOCK, ticket, holder: 0, within: vec![], lease: None };
        What::Command { by: Origin::Task(TaskId(task), Attempt(1)), command: Command::Lock(Arc::new(request)) }
    };
    // cpu and mem are the first two
    for (task, resource) in [(0, 2), (1, 3), (1, 2), (2, 3)] {
        tell(&mut engine, ask(task, resource)).answer.expect("it is answered").expect("it is taken");
    }
    let exit = News::Exited { exit: Exit::Code(0), usage: Usage::default(), output: 0, left: 0, findings: None };
    tell(&mut engine, What::Report(Report { task: TaskId(4), attempt: Attempt(1), news: exit }));
    let now = engine.state.now;
    let frozen = Frozen { engine, ..Frozen::default() };
    let rows = build(&frozen, &View { waits: true, ..View::default() }, now).waits;
    let lines: Vec<String> =
        rows.iter().map(|row| format!("{:1$}{2}: {3}", "", row.depth, row.name, row.text)).collect();
    assert_eq!(
        lines,
        [
            "a: runs 5s, holds db (exclusive)",
            " b: waits 2s for db (exclusive), 1 of 1",
            "  c: waits 1s for api (exclusive), 1 of 1",
            "  d: waits 0s to start for api, 2 of 2",
        ]
    );
    assert!(build(&frozen, &View::default(), now).waits.is_empty(), "nobody pays for what is not shown");
}
