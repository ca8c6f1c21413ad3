//! Gates: conditions, commands and people that must hold before anything goes on. What the engine decides, case by case, and
//! what the binary does with the words of a file and the votes of a command line. The cases' language is that of
//! `engine_support/flow.rs`.

mod common;
mod engine_support;

use std::sync::Arc;

use common::{Place, until, wait_for};
use engine_support::flow::{check, parse};
use engine_support::run::Run;
use engine_support::{Rng, SaySeed, random_gate, seeds};
use quarterdeck::engine::definition::{GateAction, GateCheck, TaskType};
use quarterdeck::engine::fact::Fact;
use quarterdeck::engine::ids::Span;

#[test]
fn a_quorum_opens_with_enough_votes_of_those_that_are_asked() {
    check(
        "agent local slots 1
         task g type gate:2of=ana,bo,cy
         task a after g
         task b",
        "> load
         await g
         start b/1
         > approve g dan
         refused: dan is none of those that g asks: ana, bo, cy
         > approve g ana
         vote g true by ana
         > approve g ana
         vote g true by ana
         > reject g bo
         vote g false by bo
         > crash
         ask b/1
         > approve g bo
         vote g true by bo
         settle g Succeeded: 2 of 2 votes, yes: ana, bo
         > approve g cy
         refused: g has its answer: it is done
         > unborn b/1
         unborn b/1
         start a/1",
    );
}

#[test]
fn a_quorum_fails_by_a_veto_or_once_it_can_not_be_reached() {
    check(
        "task g type gate:2of=ana,bo,cy!cy
         task h type gate:2of=ana,bo,cy
         task a after g",
        "> load
         await g
         await h
         > reject h ana
         vote h false by ana
         > abstain h bo
         vote h abstains by bo
         settle h Failed(Rejected): 0 of 2 votes, no: ana, abstain: bo
         > approve g ana
         vote g true by ana
         > reject g cy
         vote g false by cy
         settle g Failed(Rejected): veto by cy: 1 of 2 votes, yes: ana, no: cy
         > end?
         finished, exit 1
         > retry g
         requeued g
         await g
         > approve g cy
         vote g true by cy
         > approve g bo
         vote g true by bo
         settle g Succeeded: 2 of 2 votes, yes: cy, bo
         start a/1",
    );
}

#[test]
fn conditions_are_asked_first_then_commands_one_by_one_and_people_meanwhile() {
    check(
        "task t
         task g type gate:expr=task.t.ok+run=one+run=two+ask
         task a after g",
        "> load
         start t/1
         > approve g ana
         vote g true by ana
         > exit t 0
         end t/1 Succeeded
         await g
         watch g/1
         > met g/1 zero
         checked g 1 true: zero
         unwatch 1
         watch g/2
         > crash
         > tick
         watch g/1
         > met g/1 zero
         checked g 2 true: zero
         settle g Succeeded: task.t.ok (task.t.ok = true); command one: zero; command two: zero; approved by ana
         start a/1
         unwatch 1",
    );
}

#[test]
fn a_check_that_does_not_hold_closes_the_gate_as_it_says() {
    check(
        "task t
         task f after t type gate:expr=run.failures>0
         task c after t type gate:run=one onfail continue
         task e after t type gate:run=one+ask onfail escalate
         task a after c,e",
        "> load
         start t/1
         > exit t 0
         end t/1 Succeeded
         settle f Failed(Gate): run.failures>0 (run.failures = 0)
         await c
         await e
         watch c/1
         watch e/2
         > see c/1 one
         checked c 0 false: one
         settle c Succeeded: went on though: command one: one
         unwatch 1
         > see e/2 one
         checked e 0 false: one
         held e: gate closed: command one: one
         unwatch 2
         > approve e ana
         refused: e is held: release it first
         > end?
         finished, exit 3
         > release e
         released e
         await e
         watch e/3
         > met e/3 zero
         checked e 0 true: zero
         unwatch 3
         > skip e
         skipped e
         start a/1",
    );
}

#[test]
fn when_the_time_is_up_it_says_what_is_open() {
    check(
        "task g type gate:2of=ana,bo within 1000
         task h type gate:ask within 1000 ontime continue
         task i type gate:ask within 2000 ontime escalate
         task a after h",
        "> load
         await g until 1000
         await h until 1000
         await i until 2000
         > approve g bo
         vote g true by bo
         > +1000 tick
         settle g Failed(TimedOut): the time is up: 1 of 2 votes, yes: bo, to come: ana
         settle h Succeeded: went on though: the time is up: nobody has answered
         start a/1
         > +1000 tick
         held i: gate closed: the time is up: nobody has answered
         > release i
         released i
         await i until 4000",
    );
}

#[test]
fn what_runs_nothing_goes_on_when_its_window_opens() {
    check(
        "window night 500 900
         task g type gate:ask window night
         task n type noop window night
         task h type ask window night
         task a after n",
        "> load
         > +499 tick
         > approve h bo
         vote h true by bo
         > hold g
         held g
         > +1 tick
         settle n Succeeded
         settle h Succeeded: approved by bo
         start a/1
         > +100 release g
         released g
         await g
         > +400 approve g ana
         vote g true by ana
         settle g Succeeded: approved by ana
         > exit a/1 0
         end a/1 Succeeded",
    );
}

#[test]
fn a_gate_without_an_answer_yet_is_asked_when_what_it_reads_changes() {
    check(
        "task g type gate:expr=task.t.ok
         task t",
        "> load
         start t/1
         > why g
         undecided task.t.ok (task.t.ok = not known yet)
         > exit t 1
         end t/1 Exit(1)
         settle g Failed(Gate): task.t.ok (task.t.ok = false)",
    );
}

/// What is before it was undone meanwhile: people's words hold, what a command said is old.
#[test]
fn a_gate_that_is_reached_again_asks_its_commands_anew() {
    check(
        "task p
         task g after p type gate:run=one+ask
         task a after g",
        "> load
         start p/1
         > exit p 1
         end p/1 Exit(1)
         > skip p
         skipped p
         await g
         watch g/1
         > met g/1 zero
         checked g 0 true: zero
         unwatch 1
         > unskip p
         requeued p
         start p/2
         > approve g ana
         vote g true by ana
         > exit p 0
         end p/2 Succeeded
         await g
         watch g/2
         > met g/2 zero
         checked g 0 true: zero
         settle g Succeeded: command one: zero; approved by ana
         start a/1
         unwatch 2",
    );
}

/// The checker of facts counts votes by itself.
#[test]
fn no_random_gate_opens_or_closes_by_itself_whatever_is_voted_and_wherever_it_crashes() {
    for seed in seeds(300) {
        let _say = SaySeed("gates", seed);
        let mut rng = Rng(seed);
        let mut flow = parse("task a\ntask b\ntask c\ntask d after a");
        for task in &mut flow.tasks {
            let mut gate = random_gate(&mut rng);
            if task.id != "a" {
                // People alone, who have time.
                gate.checks.retain(|check| matches!(check, GateCheck::Quorum(_)));
                (gate.timeout, gate.on_fail) = (Some(Span(600_000)), GateAction::Fail);
            }
            task.task_type = TaskType::QualityGate(Arc::new(gate));
        }
        let mut run = Run::of(flow, rng);
        (0..25).for_each(|_| run.random_step());
        let loaded = run.facts.iter().position(|stamped| matches!(stamped.fact, Fact::Loaded { .. })).expect("it is");
        let cut = loaded + 1 + run.rng.below((run.facts.len() - loaded) as u64) as usize;
        run.crash_at(cut);
        (0..10).for_each(|_| run.random_step());
        run.compare_with_replay();
        run.go_to_the_end();
    }
}

// ── the binary ───────────────────────────────────────────────────────────────────────────────────────────────────────

fn flow(gate: &str) -> String {
    format!(
        r#"Workflow(name: "gates", params: {{ "most": 0 }}, agents: [Agent(name: "local", slots: 2)],
           stages: [
               Stage(id: "test", tasks: [Task(id: "unit", run: "touch unit-ran")]),
               Stage(id: "ship", after: ["test"], tasks: [Task(id: "ship", run: "touch shipped")]),
           ],
           gates: [QualityGate(id: "ready", after: "test", {gate})])"#
    )
}

const QUORUM: &str = r#"checks: [
    Expr("run.failures <= params.most"),
    Command("test -e unit-ran"),
    Quorum(votes: 2, of: ["lead", "qa", "ops"], veto: ["qa"], text: "Ship it?"),
]"#;

#[test]
fn votes_come_in_over_several_runs_and_open_the_gate_of_a_stage() {
    let place = Place::with(&flow(QUORUM));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 3);
    for line in [
        "gate      ready asks: run.failures <= params.most; command test -e unit-ran; Ship it? (2 of lead, qa, ops)",
        "checked   ready: command test -e unit-ran: exit 0",
        "1 awaits approval",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    place.ends(&["resume", "s", "--approve", "ready"], 2);
    place.ends(&["resume", "s", "--approve", "ready", "--as", "lead", "--note", "looks good"], 3);
    place.ends(&["resume", "s", "--abstain", "ready", "--as", "ops"], 3);
    let why = place.ends(&["why", "s", "ready"], 0);
    for line in
        ["✓ command test -e unit-ran: exit 0", "1 of 2 votes, yes: lead (looks good), abstain: ops, to come: qa"]
    {
        assert!(why.contains(line), "{line}\n{why}");
    }
    assert!(!place.path("shipped").exists());
    let json = place.ends(&["resume", "s", "--json", "--approve", "ready", "--as", "qa"], 0);
    assert!(json.contains(r#""fact":"Voted","task":"ready""#) && json.contains(r#""by":"qa""#), "{json}");
    assert!(place.path("shipped").exists());
    let why = place.ends(&["why", "s", "ready"], 0);
    assert!(why.contains("approved by lead: looks good") && why.contains("abstained by ops"), "{why}");
}

#[test]
fn a_veto_blocks_the_stage_and_all_votes_at_once_open_it_without_asking() {
    let place = Place::with(&flow(QUORUM));
    let out = place.ends(&["run", "flow.ron", "--session", "no", "--reject", "ready", "--as", "qa"], 1);
    assert!(out.contains("failed    ready: rejected: veto by qa: 0 of 2 votes, no: qa"), "{out}");
    assert!(out.contains("1 behind a failure") && !place.path("shipped").exists(), "{out}");
    let place = Place::with(&flow(r#"checks: [Approval("Ship?")]"#));
    let out = place.ends(&["run", "flow.ron", "--approve", "ready", "--as", "ana"], 0);
    assert!(out.contains("voted     ready: ana: yes") && out.contains("done      ready: approved by ana"), "{out}");
}

#[test]
fn a_threshold_that_does_not_hold_closes_it_and_escalation_waits_for_the_operator() {
    let place = Place::with(&flow(r#"checks: [Expr("run.failures > params.most")]"#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    let why = "run.failures > params.most (run.failures = 0, params.most = 0)";
    assert!(out.contains(&format!("failed    ready: a check does not hold: {why}")), "{out}");
    assert!(place.ends(&["why", "s", "ready"], 0).contains(why));
    let place = Place::with(&flow(r#"checks: [Command("exit 7")], on_fail: Escalate"#));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 3);
    assert!(out.contains("held      ready: gate closed: command exit 7: exit 7"), "{out}");
    let why = place.ends(&["why", "s", "ready"], 0);
    assert!(why.contains("held: gate closed: command exit 7: exit 7"), "{why}");
}

#[test]
fn a_gate_asks_nobody_before_its_window_opens() {
    // It opens in half a day, whatever the hour: it is closed for the whole test.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let hour = since.as_secs() / 3600 % 24;
    let (from, to) = ((hour + 12) % 24, (hour + 13) % 24);
    let window = format!(r#"window: Window(from: "{from:02}:00", to: "{to:02}:00")"#);
    let place = Place::with(&flow(&format!(r#"{window}, checks: [Approval("Ship?")]"#)));
    let run = place.begin();
    until("the first is done", || place.journal("s").iter().any(|line| line.contains("outcome:Succeeded")));
    let why = place.ends(&["why", "s", "ready"], 0);
    let line = why.lines().find(|line| line.contains(&format!(", window {from:02}:00 to {to:02}:00")));
    assert!(line.is_some_and(|line| line.contains("✗ opens in 1")), "{why}");
    place.kill(run);
    assert!(!place.journal("s").iter().any(|line| line.contains("fact:Awaiting(")), "it has asked");
    let run = place.resume();
    let ctl = || place.qd(&["ctl", "skip", "ready", "--session", "s"]).status.success();
    until("the console listens", ctl);
    assert_eq!(run.wait_with_output().expect("waits").status.code(), Some(0));
    assert!(place.path("shipped").exists());
}

#[test]
fn a_gate_goes_on_where_it_was_after_a_kill() {
    let gate = format!(
        r#"checks: [Command("touch asked-1"), Command(run: "touch asked-2; {}", patience: "1m")]"#,
        wait_for("go-on")
    );
    let place = Place::with(&flow(&gate));
    let run = place.begin();
    place.await_file("asked-2");
    place.kill_once(run, "fact:Checked(");
    let why = place.ends(&["why", "s", "ready"], 0);
    assert!(why.contains("✓ command touch asked-1: exit 0") && why.contains("not answered yet"), "{why}");
    std::fs::remove_file(place.path("asked-1")).expect("it was made");
    place.touch("go-on");
    let out = place.ends(&["resume", "s"], 0);
    assert!(out.contains("3 done"), "{out}");
    assert!(place.path("shipped").exists());
    assert!(!place.path("asked-1").exists(), "what was answered is not asked again");
}

#[test]
fn tasks_vote_on_a_gate_as_themselves() {
    let place = Place::with(
        r#"Workflow(agents: [Agent(name: "a", slots: 4)], stages: [
            Stage(id: "build", tasks: [Task(id: "make", run: "true")]),
            Stage(id: "try", tasks: [
                Task(id: "smoke", run: "\"$QD_BIN\" vote yes ready --note 'all well'"),
                // whose word comes after the second yes is told that it is too late
                Task(id: "load", run: "\"$QD_BIN\" vote abstain ready || true"),
                Task(id: "stranger", run: "\"$QD_BIN\" vote no ready; echo $? > refused"),
                Task(id: "for-ana", run: "\"$QD_BIN\" vote yes ready --as ana")]),
            Stage(id: "ship", after: ["build"], tasks: [Task(id: "go", run: "touch shipped")])],
           gates: [QualityGate(id: "ready", after: "build", checks: [Quorum(votes: 2, of: ["smoke", "load", "ana"])])])"#,
    );
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(place.path("shipped").exists(), "{out}");
    assert!(
        out.contains("voted     ready: smoke: yes (all well)") && out.contains("voted     ready: ana: yes"),
        "{out}"
    );
    assert_eq!(place.read("refused"), "2\n", "it is not one of those that are asked");
}
