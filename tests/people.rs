//! What people and the clock settle: approvals and waits. What the engine decides, case by case, and what the binary does
//! with the words of a file and the answers of a command line. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, until};
use engine_support::flow::check;

#[test]
fn a_task_that_asks_holds_nothing_and_goes_on_by_a_yes() {
    check(
        "agent local slots 1
         task a type ask
         task b after a
         task c",
        "> load
         await a
         start c/1
         > approve a ana
         vote a true by ana
         settle a Succeeded: approved by ana
         > exit c 0
         end c/1 Succeeded
         start b/1
         > approve a bo
         refused: a has its answer: it is done
         > exit b 0
         end b/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn a_no_fails_the_task_and_a_retry_asks_again() {
    check(
        "task a type ask
         task b after a",
        "> load
         await a
         > reject a ana
         vote a false by ana
         settle a Failed(Rejected): rejected by ana
         > end?
         finished, exit 1
         > retry a
         requeued a
         await a
         > crash
         > approve a bo
         vote a true by bo
         settle a Succeeded: approved by bo
         start b/1",
    );
}

#[test]
fn an_answer_can_come_before_the_question_and_silence_has_a_meaning() {
    check(
        "task w type wait:500
         task a after w type ask
         task b after w type ask:1000
         task c after w type silence:1000",
        "> load
         await w until 500
         > approve a ana
         vote a true by ana
         > +500 tick
         settle w Succeeded
         settle a Succeeded: approved by ana
         await b until 1500
         await c until 1500
         > hold b
         held b
         > +1500 tick
         settle c Succeeded: approved by silence: nobody has answered
         > release b
         released b
         settle b Failed(TimedOut): nobody has answered
         > end?
         finished, exit 1",
    );
}

const FLOW: &str = r#"Workflow(name: "people", agents: [Agent(name: "local", slots: 2)], stages: [Stage(id: "main", tasks: [
    Task(id: "build", run: "touch built"),
    Task(id: "sign-off", type: Approval("Ship it?"), after: ["build"]),
    Task(id: "ship", run: "touch shipped", after: ["sign-off"]),
])])"#;

#[test]
fn without_a_screen_a_question_ends_the_run_and_resume_takes_the_answer() {
    let place = Place::with(FLOW);
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 3);
    assert!(out.contains("asks      sign-off: Ship it?"), "{out}");
    assert!(out.contains("1 awaits approval"), "{out}");
    assert!(place.ends(&["why", "s", "sign-off"], 0).contains("asks: Ship it?"));
    place.ends(&["resume", "s", "--approve", "build"], 2);
    let out = place.ends(&["resume", "s", "--approve", "sign-off", "--note", "looks good"], 0);
    assert!(out.contains("3 done"), "{out}");
    assert!(place.path("shipped").exists());
    let why = place.ends(&["why", "s", "sign-off"], 0);
    assert!(why.contains("approved by") && why.contains("looks good"), "{why}");
}

#[test]
fn an_answer_given_before_goes_on_at_once_and_a_no_blocks_what_waits() {
    let place = Place::with(FLOW);
    place.ends(&["run", "flow.ron", "--session", "yes", "--approve", "sign-off"], 0);
    let out = place.ends(&["run", "flow.ron", "--session", "no", "--reject", "sign-off"], 1);
    assert!(out.contains("failed    sign-off: rejected"), "{out}");
    assert!(out.contains("1 behind a failure"), "{out}");
    place.ends(&["run", "flow.ron", "--approve", "sign-of"], 2);
}

#[test]
fn a_wait_goes_on_where_it_was_after_a_kill() {
    let place = Place::with(
        r#"Workflow(name: "people", stages: [Stage(id: "main", tasks: [
            Task(id: "rest", type: Wait("700ms")), Task(id: "go", run: "touch went", after: ["rest"]),
            Task(id: "late", type: Approval(text: "Well?", timeout: "100ms", on_timeout: Approve)),
        ])])"#,
    );
    let run = place.begin();
    until("it waits", || place.journal("s").iter().any(|line| line.contains("fact:Awaiting(")));
    place.kill(run);
    assert!(!place.path("went").exists());
    let out = place.ends(&["resume", "s"], 0);
    assert!(out.contains("3 done"), "{out}");
    assert!(place.path("went").exists());
}
