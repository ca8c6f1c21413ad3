//! Preemption and wounding: what may be interrupted gives way, is queued again as it was, and loses nothing by it. What the
//! engine decides, case by case, and what the binary does; random ones are in `engine_properties`.

mod common;
mod engine_support;

use common::Place;
use engine_support::flow::{Case, check, parse};

#[test]
fn the_least_important_and_youngest_goes_first_and_no_more_than_needed() {
    check(
        "agent local slots 8
         pool seat 3
         task a prio 1 uses seat:1 preempt yes
         task b prio 1 uses seat:1 preempt yes
         task c prio 2 uses seat:1 preempt yes
         task gate
         task high prio 5 uses seat:1 after gate",
        "> load
         start c/1
         start a/1
         start b/1
         start gate/1
         > exit gate 0
         end gate/1 Succeeded
         Term b/1: Preempted high
         reserve seat for high
         > exit b 143
         end b/1 Aborted, queued
         start high/1
         > exit high 0
         end high/1 Succeeded
         start b/2",
    );
}

#[test]
fn nothing_is_stopped_in_vain() {
    check(
        "agent local slots 8
         pool seat 2
         lock db
         task holds uses db
         task low uses seat:1 preempt yes
         task equal prio 5 uses seat:1 preempt yes
         task gate
         task high prio 5 uses seat:1,db after gate
         task two prio 5 uses seat:2 after gate",
        "> load
         start equal/1
         start holds/1
         start low/1
         start gate/1
         > exit gate 0
         end gate/1 Succeeded
         > exit holds 0
         end holds/1 Succeeded
         Term low/1: Preempted high
         reserve seat for high
         reserve db for high
         > prio two 9
         prio two 9
         > exit low 143
         end low/1 Aborted, queued
         start high/1
         > end?
         goes on",
    );
}

#[test]
fn an_agent_is_made_free_where_the_fewest_have_to_go() {
    check(
        "agent one slots 2 cpu 4
         agent two slots 2 cpu 4
         task a on one uses cpu:2 preempt yes
         task b on one uses cpu:2 preempt yes
         task c on two uses cpu:4 preempt yes
         task gate on two
         task high prio 1 uses cpu:4 after gate",
        "> load
         start a/1 on one
         start b/1 on one
         start c/1 on two
         start gate/1 on two
         > exit gate 0
         end gate/1 Succeeded
         Term c/1: Preempted high
         reserve two for high
         > exit c 0
         end c/1 Aborted, queued
         start high/1 on two",
    );
}

#[test]
fn what_gives_way_keeps_its_tries_and_a_raised_priority_asks_for_it() {
    check(
        "agent local slots 1
         task low tries 2 preempt yes
         task other",
        "> load
         start low/1
         > prio other 3
         prio other 3
         Term low/1: Preempted other
         reserve local for other
         > exit low 143
         end low/1 Aborted, queued
         start other/1
         > exit other 0
         end other/1 Succeeded
         start low/2
         > exit low 1
         end low/2 Exit(1), again at 0
         start low/3
         > exit low 1
         end low/3 Exit(1)
         > end?
         finished, exit 1",
    );
}

#[test]
fn a_paused_session_interrupts_nothing() {
    check(
        "agent local slots 1
         task low preempt yes
         task other",
        "> load
         start low/1
         > pause
         paused
         > prio other 3
         prio other 3
         > resume
         resumed
         Term low/1: Preempted other
         reserve local for other",
    );
}

const RUN: [&str; 4] = ["run", "flow.ron", "--session", "s"];

/// A look at many in vain is followed by a pause; what changes meanwhile is looked at when it is over, though nothing else
/// happens.
#[test]
fn after_a_long_look_in_vain_the_next_waits_a_moment_and_comes_by_itself() {
    let many: String = (1..=60).map(|n| format!("task t{n} prio 2 uses x estimate {n}\n")).collect();
    let text = format!(
        "agent local slots 2\nlock x\ntask holder prio 3 uses x\ntask low prio 1 preempt yes\n{many}task urgent"
    );
    let mut case = Case::new(parse(&text));
    let started = case.step("load");
    assert_eq!(started, ["start holder/1", "start low/1"]);
    assert_eq!(case.step("prio urgent 9"), ["prio urgent 9"], "it is looked again in a moment");
    let pause = case.engine.next_deadline().expect("it is to be looked again").since(case.now).0;
    assert!((1..=100).contains(&pause), "{pause}");
    assert_eq!(case.step(&format!("+{pause}")), ["Term low/1: Preempted urgent", "reserve local for urgent"]);
}

#[test]
fn an_urgent_task_gets_the_machine_and_the_long_one_begins_anew_from_what_was_there() {
    let place = Place::with(
        r#"Workflow(name: "urgent", grace: "5s", agents: [Agent(name: "local", slots: 1)], stages: [Stage(id: "main", tasks: [
            Task(id: "long", preemptible: true, restore: ["data"],
                 run: "grep -q clean data || exit 9; echo half > data; touch up; until [ -e done ]; do sleep 0.05; done; echo whole > data"),
            Task(id: "urgent", priority: 9, type: Wait("1h")),
        ])])"#,
    );
    std::fs::write(place.path("data"), "clean").unwrap();
    let run = place.begin();
    place.await_file("up");
    let out = place.ends(&["spawn", "fix", "--with", "priority: 9", "--", "cp", "data", "seen"], 0);
    assert_eq!(out, "add fix\n");
    place.await_file("seen");
    place.touch("done");
    place.ends(&["ctl", "skip", "urgent"], 0);
    let mut run = run;
    assert!(run.wait().unwrap().success());
    assert_eq!(place.read("data"), "whole\n");
    let events = place.ends(&["ctl", "events", "--session", "s"], 0);
    assert!(events.contains("gives way"), "{events}");
}

#[test]
fn by_policy_the_younger_holder_is_wounded_and_the_older_goes_on() {
    let flow = r#"Workflow(name: "wound", POLICY grace: "5s", resources: { "a": Lock, "b": Lock },
        agents: [Agent(name: "local", slots: 4)], stages: [Stage(id: "main", tasks: [
            Task(id: "old", exec: ["sh", "both.sh", "a", "b"]),
            Task(id: "young", preemptible: true, exec: ["sh", "both.sh", "b", "a"]),
        ])])"#;
    let both = r#"
        "$QD_BIN" lock run "$1" -- sh -c '
            touch has-'$1'; [ '$1' = b ] || until [ -e has-b ]; do sleep 0.02; done
            [ '$1' = a ] || until [ -e has-a ]; do sleep 0.02; done
            [ '$1' = b ] && sleep 0.3
            exec "$QD_BIN" lock run '$2' -- sh -c "echo '$1' >> order"'
    "#;
    let wound = Place::with(&flow.replace("POLICY", "on_deadlock: Wound,"));
    std::fs::write(wound.path("both.sh"), both).unwrap();
    let out = wound.ends(&RUN, 0);
    assert_eq!(wound.read("order"), "a\nb\n", "{out}");
    assert!(!out.contains("failed"), "{out}");
    let refuse = Place::with(&flow.replace("POLICY", ""));
    std::fs::write(refuse.path("both.sh"), both).unwrap();
    let out = refuse.ends(&RUN, 1);
    assert!(out.contains("would deadlock"), "{out}");
}

#[test]
fn the_example_does_what_it_says() {
    let place = Place::with(include_str!("../workflows/preemption.ron"));
    let out = place.ends(&["run", "flow.ron", "--headless"], 0);
    assert!(out.contains("train (attempt 2)"), "{out}");
}
