//! Agents that are lost and come back, and what they offer changed while a workflow runs. What the engine decides, case by case,
//! and what the binary does with real checks; random ones are in `engine_properties`.

mod common;
mod engine_support;

use common::{Place, until};
use engine_support::flow::check;

#[test]
fn after_so_many_looks_in_vain_its_work_is_queued_again_and_nothing_starts_there() {
    check(
        "agent far slots 2 health requeue
         agent near slots 1
         task a on far tries 1
         task b on far
         task c
         task d on far",
        "> load
         start a/1 on far
         start b/1 on far
         start c/1 on near
         watch far/1
         > miss far
         > reach far
         > miss far
         > miss far
         lost far
         Term a/1: AgentLost far
         Term b/1: AgentLost far
         > miss far
         > exit a 143
         end a/1 Aborted, queued
         > lost b
         end b/1 Lost
         > why a
         AgentsLost { agents: [AgentId(0)] }
         > crash
         ask c/1
         > miss far
         watch far/1
         > exit c 0
         end c/1 Succeeded
         > end?
         goes on
         > reach far
         back far
         start a/2 on far
         start d/1 on far",
    );
}

#[test]
fn by_rule_what_runs_there_fails_or_goes_on() {
    check(
        "agent far slots 2 health fail
         agent left slots 1 health let
         fallback other other
         task a on left
         task b needs x or other
         task c needs x tries 2",
        "> load
         start a/1 on left
         watch far/1
         watch left/2
         > offer far x
         offers x
         start b/1 on far
         start c/1 on far
         > miss left
         > miss left
         lost left
         > miss far
         > miss far
         lost far
         Term b/1: AgentLost far
         Term c/1: AgentLost far
         > exit b 143
         end b/1 AgentLost
         > exit c 143
         end c/1 AgentLost, again at 0
         > exit a 0
         end a/1 Succeeded",
    );
}

#[test]
fn what_an_agent_offers_changes_what_waits_for_it() {
    check(
        "agent one slots 1 can x
         agent two slots 2
         task a needs x
         task b needs x
         task c needs y",
        "> load
         start a/1 on one
         > why c
         no agent with y
         > offer two y,x
         offers x,y
         start b/1 on two
         start c/1 on two
         > offer two x,y
         refused: two offers that already
         > undo
         undone
         offers nothing
         > redo
         redone
         offers x,y
         > end?
         goes on",
    );
}

#[test]
fn a_real_check_loses_an_agent_and_brings_it_back() {
    let place = Place::with(
        r#"Workflow(name: "health", grace: "5s", agents: [
            Agent(name: "far", slots: 1, capabilities: ["far"], health: Health(run: "test -e alive", interval: "100ms", failures: 2)),
            Agent(name: "near", slots: 1)],
          stages: [Stage(id: "main", tasks: [
            Task(id: "work", needs: ["far"], run: "echo $QD_ATTEMPT >> tries; touch up; [ -e fast ] || exec sleep 60"),
            Task(id: "own", agent: "near", run: "until [ -e fast ]; do sleep 0.02; done"),
          ])])"#,
    );
    place.touch("alive");
    let mut run = place.begin();
    place.await_file("up");
    std::fs::remove_file(place.path("alive")).unwrap();
    let why = || place.ends(&["ctl", "why", "work"], 0);
    until("the agent is lost", || why().contains("agent far is lost"));
    assert!(why().contains("far: exit 1"), "{}", why());
    place.touch("fast");
    place.touch("alive");
    assert!(run.wait().unwrap().success());
    assert_eq!(place.read("tries"), "1\n2\n");
    let events = place.ends(&["ctl", "events", "--session", "s"], 0);
    assert!(
        events.contains("lost      agent far: exit 1") && events.contains("back      agent far: exit 0"),
        "{events}"
    );
}

#[test]
fn what_is_wrong_with_a_check_is_told_with_its_place() {
    for (health, words) in [
        ("Health()", "one of run, exec, tcp and http"),
        ("Health(tcp: \"x\")", "expected host:port"),
        ("Health(http: \"ftp://x\")", "expected http://"),
        ("Health(run: \"true\", exec: [\"true\"])", "one of run, exec, tcp and http"),
        ("Health(run: \"true\", failures: 0)", "failures"),
        ("Health(run: \"true\", interval: \"1ms\")", "at least 100ms"),
        ("Health(run: \"true\", on_lost: Retry)", "on_lost"),
        ("Health(exec: [])", "nothing to look at"),
    ] {
        let flow = format!(
            "Workflow(agents: [Agent(name: \"a\", health: {health})], stages: [Stage(id: \"m\", tasks: [Task(id: \"t\", run: \"true\")])])"
        );
        let place = Place::with(&flow);
        let output = place.qd(&["check", "flow.ron"]);
        let err = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(2) && err.contains(words), "{health}: {err}");
    }
    let place = Place::with(r#"Workflow(stages: [Stage(id: "m", tasks: [Task(id: "t", type: Wait("1h"))])])"#);
    let run = place.begin();
    until("it runs", || place.qd(&["ctl", "ps"]).status.success());
    place.ends(&["ctl", "capabilities", "local", "gpu", "cuda"], 0);
    let output = place.qd(&["ctl", "capabilities", "locl", "gpu"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no agent is called locl"));
    place.ends(&["spawn", "x", "--with", "needs: [\"cuda\"]", "--", "touch", "made"], 0);
    place.await_file("made");
    place.kill(run);
}

#[test]
fn the_example_does_what_it_says() {
    let place = Place::with(include_str!("../workflows/health.ron"));
    let out = place.ends(&["run", "flow.ron", "--headless"], 0);
    assert!(out.contains("back      agent gpu01"), "{out}");
}
