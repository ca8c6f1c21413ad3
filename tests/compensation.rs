//! Compensation: what was done is undone, what ended last first. What the engine decides, case by case, and what the binary
//! does with `compensate` of a file. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, wait_for};
use engine_support::flow::check;

#[test]
fn a_failure_that_asks_for_it_stops_the_run_and_undoes_what_ended_last_first() {
    check(
        "agent local slots 3
         fallback all undo
         task a undo ok
         task b after a undo ok
         task c after a undo ok
         task d after b,c or all
         task e after d undo ok
         task f
         task g undo any",
        "> load
         start a/1
         start f/1
         start g/1
         > exit a 0
         end a/1 Succeeded
         start b/1
         > exit f 0
         end f/1 Succeeded
         start c/1
         > exit c 0
         end c/1 Succeeded
         > exit b 0
         end b/1 Succeeded
         start d/1
         > exit d 1
         end d/1 Exit(1), then all
         compensate all: d failed
         cancelled e: compensation: d failed
         Term g/1: Compensating
         > retry d
         refused: what d did is compensated: run the workflow anew
         > compensate
         refused: compensation has begun already: d failed
         > crash
         ask g/1
         > unborn g/1
         end g/1 Aborted
         add un-g
         add un-b
         add un-c
         add un-a
         compensations 4
         start un-g/1
         > why un-a
         after 1: un-c
         > exit un-g 0
         end un-g/1 Succeeded
         start un-b/1
         > exit un-b 1
         end un-b/1 Exit(1)
         > end?
         finished, exit 1
         > retry un-b
         requeued un-b
         start un-b/2
         > crash
         ask un-b/2
         > adopt un-b
         adopted un-b/2
         > exit un-b 0
         end un-b/2 Succeeded
         start un-c/1
         > exit un-c 0
         end un-c/1 Succeeded
         start un-a/1
         > exit un-a 0
         end un-a/1 Succeeded
         > end?
         finished, exit 1",
    );
}

#[test]
fn a_phase_undoes_only_what_it_did_and_the_rest_goes_on() {
    check(
        "stage build
         stage ship
         stage other
         phase ships stages ship end undo
         task a stage build undo ok
         task b stage ship after a undo ok
         task c stage ship after b undo ok
         task d stage ship after b
         task e stage other type ask
         task f stage other after e",
        "> load
         await e
         start a/1
         > exit a 0
         end a/1 Succeeded
         start b/1
         > exit b 0
         end b/1 Succeeded
         start c/1
         start d/1
         > up c
         runs c/1
         > exit d 1
         end d/1 Exit(1)
         Term c/1: phase ships
         phase ships ended by d
         compensate ships: phase ships failed
         > exit c 0
         end c/1 Aborted
         add un-b
         compensations 1
         start un-b/1
         > exit un-b 0
         end un-b/1 Succeeded
         > approve e ana
         vote e true by ana
         settle e Succeeded: approved by ana
         start f/1
         > retry d
         refused: what d did is compensated: run the workflow anew
         > compensate
         compensate all: asked for
         Term f/1: Compensating
         > unborn f
         end f/1 Aborted
         add un-a
         compensations 1
         start un-a/1
         > exit un-a 0
         end un-a/1 Succeeded
         > end?
         finished, exit 1",
    );
}

#[test]
fn what_was_being_stopped_or_is_held_when_it_begins_is_not_taken_up_again() {
    check(
        "agent local slots 2
         fallback all undo
         task a undo any
         task b
         task c
         task d after b trigger over
         task e after a",
        "> load
         start a/1
         start b/1
         > hold c
         held c
         > stop
         ending Stop
         Term a/1: SessionStop
         Term b/1: SessionStop
         > compensate
         refused: the session is ending
         > resume
         resumed
         > compensate
         compensate all: asked for
         cancelled c: compensation: asked for
         cancelled e: compensation: asked for
         > signal a 15
         end a/1 Aborted
         > signal b 15
         end b/1 Aborted
         add un-a
         compensations 1
         start d/1
         start un-a/1
         > undo
         refused: c is not held
         > exit un-a 0
         end un-a/1 Succeeded
         > exit d 0
         end d/1 Succeeded
         > end?
         finished, exit 3",
    );
}

#[test]
fn backward_transitions_do_not_begin_another_round_of_what_is_undone_and_a_report_is_still_led_to() {
    check(
        "fallback all undo
         stage s
         stage report
         transition s to s on failure most 3
         transition s to report on failure
         task a stage s undo ok
         task b stage s after a or all
         task c stage report",
        "> load
         start a/1
         > exit a 0
         end a/1 Succeeded
         start b/1
         > exit b 1
         end b/1 Exit(1), then all
         compensate all: b failed
         add un-a
         compensations 1
         take s → report round 1: s failed
         pass s → s: s failed, but what s did is compensated
         start c/1
         start un-a/1
         > exit c 0
         end c/1 Succeeded
         > exit un-a 0
         end un-a/1 Succeeded
         > end?
         finished, exit 1",
    );
}

#[test]
fn the_key_of_the_fallback_begins_it_and_what_was_up_to_date_or_skipped_is_left() {
    check(
        "fallback all undo
         task a undo any
         task b after a or all undo ok",
        "> load
         start a/1
         > skip a
         refused: a is starting: too late to skip
         > exit a 1
         end a/1 Exit(1)
         > skip a
         skipped a
         start b/1
         > fallback b
         Term b/1: Fallback all
         > signal b 15
         end b/1 Aborted, then all
         compensate all: b failed
         add un-a
         compensations 1
         start un-a/1
         > fallback b
         refused: no fallback is left for b",
    );
}

#[test]
fn what_undoes_takes_the_locks_of_what_it_undoes_and_not_the_limits_of_its_stage() {
    check(
        "lock db
         limit stage-s 1
         agent local slots 3
         fallback all undo
         task a uses db,stage-s:1 undo ok
         task b after a uses stage-s:1 or all
         task c after b trigger over uses stage-s:1
         task d after c uses db trigger over",
        "> load
         start a/1
         > exit a 0
         end a/1 Succeeded
         start b/1
         > exit b 1
         end b/1 Exit(1), then all
         compensate all: b failed
         add un-a
         compensations 1
         start c/1
         start un-a/1
         > exit c 0
         end c/1 Succeeded
         > why d
         db 4294967296 of 0 by un-a
         > exit un-a 0
         end un-a/1 Succeeded
         start d/1",
    );
}

/// Chaos 149, before there were lists of tasks.
#[test]
fn a_join_that_was_cancelled_excuses_nothing_once_it_never_can_have_enough() {
    check(
        "set grace 0
         stage s
         stage t
         phase p stages s end undo
         task a stage s
         task b stage s
         task j stage t after a,b enough 1",
        "> load
         start a/1
         start b/1
         > up b
         runs b/1
         > exit a 1
         end a/1 Exit(1)
         > compensate
         compensate all: asked for
         Term b/1: Compensating
         cancelled j: compensation: asked for
         Kill b/1: Compensating
         > signal b 9
         end b/1 Aborted
         phase p ended by a
         compensate p: phase p failed
         compensations 0
         compensations 0
         > end?
         finished, exit 1",
    );
}

/// Chaos 9053.
#[test]
fn what_an_earlier_round_did_is_undone_though_this_one_has_not_come_to_it() {
    check(
        "stage s
         transition s to s on failure most 1
         task a stage s undo ok
         task b stage s after a",
        "> load
         start a/1
         > exit a 0
         end a/1 Succeeded
         start b/1
         > pause
         paused
         > exit b 1
         end b/1 Exit(1)
         take s → s round 2: s failed
         > compensate
         compensate all: asked for
         cancelled a: compensation: asked for
         cancelled b: compensation: asked for
         add un-a
         compensations 1
         pass s → s: s failed, but it was taken once already (at_most: 1)
         > skip a
         skipped a
         > resume
         resumed
         start un-a/1",
    );
}

/// Crash 7759.
#[test]
fn a_retry_of_others_that_failed_at_a_barrier_leaves_what_is_compensated() {
    check(
        "barrier both 1000
         task p
         task a at both
         task c after p trigger over at both",
        "> load
         at barrier a until 1000
         start p/1
         > +1000 tick
         break both: the time is up: 1/2, missing c
         settle a Failed(BrokenBarrier): barrier both is broken: the time is up: 1/2, missing c
         > exit p 0
         end p/1 Succeeded
         at barrier c until 2000
         break both: a will not come
         settle c Failed(BrokenBarrier): barrier both is broken: a will not come
         > compensate
         compensate all: asked for
         compensations 0
         > retry c
         requeued c
         at barrier c until 2000
         break both: a will not come
         settle c Failed(BrokenBarrier): barrier both is broken: a will not come",
    );
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// Each command writes its name into a file, in the order in which they run.
fn flow(last: &str) -> String {
    format!(
        r#"Workflow(name: "saga", params: {{ "who": "ana" }}, agents: [Agent(name: "local", slots: 2)], stages: [Stage(id: "s", tasks: [
            Task(id: "make", run: "echo make >> order; echo id-7", env: {{ "PLACE": "here" }}, publishes: {{ "id": LastLine(Text) }},
                 compensate: "echo unmake ${{task.make.out.id}} $PLACE ${{params.who}} >> order"),
            Task(id: "fill-{{n}}", foreach: {{ "n": [1, 2] }}, after: ["make"], run: "sleep 0.{{n}}; echo fill {{n}} >> order",
                 compensate: Compensation(exec: ["sh", "-c", "echo empty {{n}} >> order"], timeout: "1m")),
            Task(id: "last", after: ["fill-*"], {last}),
        ])], fallbacks: {{ "undo": Compensate }})"#
    )
}

const UNDONE: &str = "make\nfill 1\nfill 2\nempty 2\nempty 1\nunmake id-7 here ana\n";

#[test]
fn a_failed_run_is_undone_in_reverse_and_says_so() {
    let place = Place::with(&flow(r#"run: "exit 1", fallback: ["undo"]"#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    assert_eq!(place.read("order"), UNDONE, "{out}");
    for line in [
        "failed    last",
        "undoes    the run: last failed",
        "undoes    the run: 3 tasks, what ended last first",
        "started   undo-fill-2",
        "finished  undo-make",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let why = place.ends(&["why", "s", "undo-fill-1"], 0);
    assert!(why.contains("undoes fill-1"), "{why}");
    let why = place.ends(&["why", "s", "last"], 0);
    assert!(why.contains("exit 1"), "{why}");
    place.ends(&["resume", "s", "--compensate"], 2);
    let json = place.ends(&["run", "flow.ron", "--json", "--session", "t"], 1);
    for part in [
        r#""fact":"Compensating","message":"last failed","name":"the run""#,
        r#""fact":"CompensationsAdded""#,
        r#""fact":"TaskAdded","task":"undo-make""#,
    ] {
        assert!(json.contains(part), "{part}\n{json}");
    }
}

#[test]
fn what_is_done_can_be_undone_later_and_goes_on_after_a_kill() {
    let place = Place::with(&flow(r#"run: "true""#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("4 done"), "{out}");
    let out = place.ends(&["resume", "s", "--compensate"], 0);
    assert!(out.contains("undoes    the run: asked for"), "{out}");
    assert_eq!(place.read("order"), UNDONE);
}

#[test]
fn undoing_goes_on_where_it_was_after_a_kill() {
    let last = r#"run: "exit 1", fallback: ["undo"]"#;
    let waits = format!("touch undoing; {}; echo empty {{n}}", wait_for("go-on"));
    let place = Place::with(&flow(last).replace("echo empty {n}", &waits));
    let run = place.begin();
    place.await_file("undoing");
    place.kill_once(run, "fact:CompensationsAdded(");
    let why = place.ends(&["why", "s", "undo-fill-1"], 0);
    assert!(why.contains("needs 1 task that is not done") && why.contains("undo-fill-2: "), "{why}");
    place.touch("go-on");
    place.ends(&["resume", "s"], 1);
    assert_eq!(place.read("order"), UNDONE);
}

/// Chaos 3218, before tasks could be replicated: the phase had ended, and nothing followed from the key.
#[test]
fn a_failed_task_that_is_told_to_fall_back_to_it_undoes_what_was_done() {
    check(
        "agent local slots 3
         fallback all undo
         stage s
         phase p stages s end finish
         task a stage s undo ok
         task b stage s or all
         task c stage s",
        "> load
         start a/1
         start b/1
         start c/1
         > exit a 0
         end a/1 Succeeded
         > exit c 1
         end c/1 Exit(1)
         phase p ended by c
         > exit b 1
         end b/1 Exit(1)
         > fallback b
         chosen all for b
         compensate all: b failed
         add un-a
         compensations 1
         start un-a/1",
    );
}
