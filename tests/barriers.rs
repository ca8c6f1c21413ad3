//! Barriers: tasks that start together. What the engine decides, case by case, and what the binary does with `barriers` of a
//! file. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, until, wait_for};
use engine_support::flow::check;

#[test]
fn none_passes_before_all_have_come_and_a_retry_does_not_wait_again() {
    check(
        "barrier both
         task p
         task a at both tries 2
         task b after p at both",
        "> load
         at barrier a
         start p/1
         > why a
         Awaiting
         > exit p 0
         end p/1 Succeeded
         at barrier b
         pass both
         start a/1
         start b/1
         > exit a 1
         end a/1 Exit(1), again at 0
         start a/2
         > crash
         ask a/2
         ask b/1",
    );
}

#[test]
fn one_that_will_not_come_breaks_it_and_those_before_it_are_tried_again_together() {
    check(
        "barrier all
         task p
         task a at all
         task b at all
         task c after p at all
         task d after a",
        "> load
         at barrier a
         at barrier b
         start p/1
         > hold b
         held b
         > exit p 1
         end p/1 Exit(1)
         break all: c will not come
         settle a Failed(BrokenBarrier): barrier all is broken: c will not come
         > release b
         released b
         break all: a, c will not come
         settle b Failed(BrokenBarrier): barrier all is broken: a, c will not come
         > retry p
         requeued p
         start p/2
         > exit p 0
         end p/2 Succeeded
         at barrier c
         break all: a, b will not come
         settle c Failed(BrokenBarrier): barrier all is broken: a, b will not come
         > retry b
         requeued b
         requeued a
         requeued c
         at barrier a
         at barrier b
         at barrier c
         pass all
         start a/1
         start b/1
         > exit b 0
         end b/1 Succeeded
         start c/1",
    );
}

#[test]
fn the_time_of_the_first_is_up_for_all_and_it_may_go_on_without_the_rest() {
    check(
        "barrier fails 1000
         barrier goes 1000 go
         task p
         task a at fails
         task b after p at fails
         task c at goes
         task d at goes
         task e after p at goes",
        "> load
         at barrier a until 1000
         at barrier c until 1000
         at barrier d until 1000
         start p/1
         > crash
         ask p/1
         > +1000 tick
         break fails: the time is up: 1/2, missing b
         break goes: the time is up: 2/3, missing e
         settle a Failed(BrokenBarrier): barrier fails is broken: the time is up: 1/2, missing b
         pass goes: barrier goes is broken: the time is up: 2/3, missing e
         start c/1
         > exit p 0
         end p/1 Succeeded
         at barrier b until 2000
         at barrier e until 2000
         break fails: a will not come
         settle b Failed(BrokenBarrier): barrier fails is broken: a will not come
         pass goes
         start d/1",
    );
}

#[test]
fn what_is_before_one_that_stands_there_may_be_run_again_and_a_new_round_waits_anew() {
    check(
        "barrier both
         stage s
         transition s to s on over most 1
         task p stage s
         task a stage s after p at both
         task b stage s at both",
        "> load
         at barrier b
         start p/1
         > skip b
         skipped b
         > unskip b
         requeued b
         at barrier b
         > exit p 0
         end p/1 Succeeded
         at barrier a
         pass both
         start a/1
         start b/1
         > exit a 0
         end a/1 Succeeded
         > exit b 0
         end b/1 Succeeded
         take s → s round 2: s succeeded
         at barrier b
         start p/2",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow(barrier: &str, slow: &str) -> String {
    format!(
        r#"Workflow(name: "barriers", agents: [Agent(name: "local", slots: 4)], stages: [Stage(id: "s", tasks: [
            Task(id: "slow", run: "{slow}"),
            Task(id: "a", barrier: "ready", run: "test -e came && touch a-ran"),
            Task(id: "b", barrier: "ready", after: ["slow"], run: "touch b-ran"),
        ])], barriers: {{ "ready": {barrier} }})"#
    )
}

#[test]
fn tasks_wait_for_one_another_and_go_on_after_a_kill() {
    let place = Place::with(&flow("2", &format!("{}; touch came", wait_for("go-on"))));
    let run = place.begin();
    place.kill_once(run, "fact:AtBarrier(");
    let why = place.ends(&["why", "s", "a"], 0);
    assert!(why.contains("barrier ready 1/2, missing b"), "{why}");
    place.touch("go-on");
    let out = place.ends(&["resume", "s"], 0);
    assert!(out.contains("barrier   ready: all have come"), "{out}");
    assert!(place.path("a-ran").exists() && place.path("b-ran").exists());
}

#[test]
fn a_broken_barrier_fails_those_before_it_and_says_who_is_missing() {
    let place = Place::with(&flow("2", "exit 1"));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    for line in [
        "barrier   a: ready 1/2, missing b",
        "barrier   ready is broken: b will not come",
        "failed    a: a broken barrier: barrier ready is broken: b will not come",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    assert!(!place.path("a-ran").exists());
    let why = place.ends(&["why", "s", "a"], 0);
    assert!(why.contains("barrier ready is broken: b will not come"), "{why}");
    let json = place.ends(&["run", "flow.ron", "--json"], 1);
    assert!(json.contains(r#""fact":"BarrierBroken","message":"b will not come","name":"ready""#), "{json}");
    let place =
        Place::with(&flow(r#"Barrier(parties: 2, timeout: "200ms", on_broken: Continue)"#, "touch came; sleep 1"));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("barrier   ready: goes on though: barrier ready is broken: the time is up"), "{out}");
    assert!(place.path("a-ran").exists() && place.path("b-ran").exists());
}

// ── barriers within ──────────────────────────────────────────────────────────────────────────────────────────────────

/// Tasks that run these, and wait for each other at `met`.
fn within(tasks: &[(&str, &str)], more: &str) -> Place {
    let task = |(id, run): &(&str, &str)| {
        let run = run.replace("WAIT", r#"\"$QD_BIN\" barrier wait met"#);
        format!(r#"Task(id: "{id}", timeout: "20s", run: "{run}"),"#)
    };
    Place::with(&format!(
        r#"Workflow(name: "within", grace: "200ms", agents: [Agent(name: "a", slots: 5)],
           barriers: {{ "met": Barrier(parties: {}, inside: true{more}) }}, stages: [Stage(id: "s", tasks: [{}])])"#,
        tasks.len(),
        tasks.iter().map(task).collect::<String>()
    ))
}

const MEET: [&str; 4] = ["run", "flow.ron", "--session", "s"];

#[test]
fn running_tasks_wait_for_each_other_round_by_round() {
    let run =
        "for i in 1 2 3; do echo $QD_TASK >> round-$i; WAIT || exit 1; [ $(wc -l < round-$i) = 3 ] || exit 9; done";
    let place = within(&[("a", run), ("b", run), ("c", run)], "");
    let out = place.ends(&MEET, 0);
    assert_eq!(out.matches("barrier   met: all have come").count(), 3, "{out}");
}

#[test]
fn a_barrier_within_breaks_when_one_ends_gives_up_or_the_time_is_up() {
    let place = within(
        &[("a", "WAIT; echo $? > a; exit 0"), ("b", "WAIT; echo $? > b; exit 0"), ("c", "exit 0")],
        ", timeout: \"300ms\"",
    );
    let out = place.ends(&MEET, 0);
    assert_eq!((place.read("a"), place.read("b")), ("1\n".to_owned(), "1\n".to_owned()), "{out}");
    assert!(out.contains("the time is up, and 2 of 3 have come"), "{out}");

    let place = within(
        &[("a", "WAIT; echo $? > a; exit 0"), ("b", "WAIT & while [ ! -e a-waits ]; do sleep 0.02; done; exit 3")],
        "",
    );
    let flow = place.read("flow.ron").replace("parties: 2", "parties: 3");
    std::fs::write(place.path("flow.ron"), flow).expect("written");
    let run = place.begin();
    until("both wait", || place.journal("s").iter().filter(|line| line.contains("fact:AtMeeting(")).count() == 2);
    let why = place.ends(&["ctl", "why", "a", "--session", "s"], 0);
    assert!(why.contains("waits at barrier met") && why.contains("2 of 3 have come"), "{why}");
    place.touch("a-waits");
    run.wait_with_output().expect("it ends");
    assert_eq!(place.read("a"), "1\n");
    let out = place.ends(&["ctl", "events", "--session", "s"], 0);
    assert!(out.contains("barrier   met is broken: b "), "{out}");

    let place = within(&[("a", "WAIT; echo $? > a; exit 0"), ("b", "WAIT --timeout 100ms; echo $? > b; exit 0")], "");
    let flow = place.read("flow.ron").replace("parties: 2", "parties: 3");
    std::fs::write(place.path("flow.ron"), flow).expect("written");
    place.ends(&MEET, 0);
    assert_eq!((place.read("a"), place.read("b")), ("1\n".to_owned(), "1\n".to_owned()));
}

#[test]
fn who_waits_within_goes_on_waiting_when_the_console_is_killed() {
    let place = within(
        &[("a", "WAIT && echo a >> met"), ("b", "until [ -e go ]; do sleep 0.02; done; WAIT && echo b >> met")],
        "",
    );
    let run = place.begin();
    until("a waits", || place.journal("s").iter().any(|line| line.contains("fact:AtMeeting(")));
    place.kill(run);
    let run = place.resume();
    place.touch("go");
    assert!(run.wait_with_output().expect("it ends").status.success());
    assert_eq!(place.read("met").lines().count(), 2);
    let came = place.journal("s").iter().filter(|line| line.contains("fact:AtMeeting(")).count();
    assert_eq!(came, 2, "who asks again by its ticket has come once");
}
