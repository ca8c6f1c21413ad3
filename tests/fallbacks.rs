//! What a task falls back to: each strategy and their order, by rule and by key; what the engine decides, case by case, and
//! what the binary does with the words of a file. The cases' language is that of `engine_support/flow.rs`.

mod common;
mod engine_support;

use common::{Place, until};
use engine_support::flow::check;

#[test]
fn a_retry_comes_after_its_wait_and_only_after_the_exit_codes_that_it_names() {
    check(
        "fallback later retry 2 backoff 1000 on 75
         fallback plan
         task a or later,plan
         task b or later,plan
         task c tries 3 only 75",
        "> load
         start a/1
         start b/1
         > exit a 75
         end a/1 Exit(75), then later at 1000
         start c/1
         > exit b 1
         end b/1 Exit(1), then plan
         start b/2 as plan
         > exit c 75
         end c/1 Exit(75), again at 0
         start c/2
         > exit c 2
         end c/2 Exit(2)
         > +1000 tick
         due a
         start a/2
         > exit a 75
         end a/2 Exit(75), again at 2000
         > +1000 tick
         due a
         start a/3
         > exit a 75
         end a/3 Exit(75), then plan
         start a/4 as plan
         > exit a 1
         end a/4 Exit(1)",
    );
}

#[test]
fn another_agent_is_another_than_the_last_and_is_passed_by_where_there_is_none() {
    check(
        "agent one slots 1
         agent two slots 1
         fallback away other
         fallback plan
         task a or away,plan
         task b on one or away,plan",
        "> load
         start a/1 on one
         > exit a 1
         end a/1 Exit(1), then away
         start a/2 on two
         start b/1 on one
         > exit b 1
         end b/1 Exit(1), then plan
         start b/2 on one as plan
         > exit a 1
         end a/2 Exit(1), then plan
         start a/3 on two as plan
         > crash
         ask b/2
         ask a/3
         > exit a 0
         end a/3 Succeeded",
    );
}

#[test]
fn with_less_it_fits_where_it_would_not() {
    check(
        "agent one slots 3 cpu 4
         fallback half less cpu:1
         task a uses cpu:4 or half
         task b uses cpu:3",
        "> load
         start a/1
         > exit a 1
         end a/1 Exit(1), then half
         start a/2
         start b/1
         > crash
         ask a/2
         ask b/1
         > exit a 0
         end a/2 Succeeded
         > exit b 0
         end b/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn a_skip_lets_go_on_what_waits_and_says_by_what() {
    check(
        "fallback enough skip
         task a or enough
         task b after a",
        "> load
         start a/1
         > exit a 1
         end a/1 Exit(1), then enough
         start b/1
         > why a
         Over(Skipped)
         > exit b 0
         end b/1 Succeeded
         > end?
         finished, exit 0",
    );
}

#[test]
fn a_person_who_is_asked_says_again_skip_or_fail() {
    let flow = "fallback up ask
         task a or up
         task b after a";
    let asked = "> load
         start a/1
         > exit a 1
         end a/1 Exit(1), then up
         > why a
         Awaiting
         > end?
         goes on
         > crash\n";
    let then = |script: &str| check(flow, &format!("{asked}{script}"));
    then(
        "> retry a
         requeued a
         start a/2
         > exit a 1
         end a/2 Exit(1), then up
         > approve a ana
         vote a true by ana
         requeued a
         start a/3
         > exit a 0
         end a/3 Succeeded
         start b/1",
    );
    then(
        "> skip a
         skipped a
         start b/1",
    );
    then(
        "> reject a ana
         vote a false by ana
         settle a Failed(Rejected): rejected by ana
         > end?
         finished, exit 1
         > retry a
         requeued a
         start a/2",
    );
    then(
        "> fallback a
         refused: no fallback is left for a",
    );
}

#[test]
fn silence_fails_or_skips_what_asks_and_a_hold_stops_the_clock() {
    check(
        "fallback up ask 1000
         fallback go silence 1000
         task a or up
         task b or go
         task c after b",
        "> load
         start a/1
         start b/1
         > exit a 1
         end a/1 Exit(1), then up
         > exit b 1
         end b/1 Exit(1), then go
         > hold a
         held a
         > approve a ana
         refused: a is held: release it first
         > +1000 tick
         skipped b: nobody has answered
         start c/1
         > release a
         released a
         settle a Failed(TimedOut): nobody has answered",
    );
}

#[test]
fn by_key_each_is_done_now() {
    check(
        "fallback again retry 3 backoff 9000
         fallback up ask
         fallback no skip
         task gate
         task live or up
         task wait after gate or up
         task open after gate or no
         task dead or again",
        "> load
         start gate/1
         start live/1
         > fallback live
         Term live/1: Fallback up
         > signal live 15
         end live/1 Aborted, then up
         start dead/1
         > fallback wait
         refused: wait waits for others: there is nothing to ask yet
         > fallback open
         chosen no for open
         > exit dead 1
         end dead/1 Exit(1), then again at 9000
         > fallback dead
         refused: no fallback is left for dead
         > retry dead
         due dead
         start dead/2",
    );
}

fn flow(tasks: &str, fallbacks: &str) -> String {
    format!(
        "Workflow(name: \"falls\", agents: [Agent(name: \"a1\", slots: 1), Agent(name: \"a2\", slots: 1)],
            resources: {{ \"quota\": Pool(4) }},
            stages: [Stage(id: \"main\", tasks: [{tasks}])], fallbacks: {{ {fallbacks} }})"
    )
}

#[test]
fn every_strategy_does_in_a_run_what_its_words_say() {
    let place = Place::with(&flow(
        r#"Task(id: "flaky", run: "test -e been || { touch been; exit 75; }", fallback: ["soon"]),
           Task(id: "moves", run: "echo $QD_AGENT >> where; test $(wc -l < where) = 2", fallback: ["away"]),
           Task(id: "big", run: "test \"$JOBS\" = 1", env: { "JOBS": "4" }, uses: { "quota": 4 }, fallback: ["small"]),
           Task(id: "extra", run: "exit 3", fallback: ["soon", "leave"]),
           Task(id: "end", run: "touch ended", after: ["flaky", "moves", "big", "extra"]),"#,
        r#""soon": Retry(attempts: 2, backoff: Exponential(base: "50ms", max: "1s", jitter: 0.5), on: [75]),
           "away": OtherAgent, "small": Degrade(uses: { "quota": 1 }, env: { "JOBS": "1" }), "leave": Skip"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert!(out.contains("4 done, 3 of them by a fallback, 1 skipped"), "{out}");
    assert!(out.contains("flaky: exit 75") && out.contains("fallback soon: runs it again up to 2 times"), "{out}");
    assert!(out.contains("fallback small: runs it with less: quota 1 for 4, JOBS=1"), "{out}");
    assert!(out.contains("fallback leave: skips it"), "{out}");
    assert!(place.path("ended").exists());
    let why = place.ends(&["why", "s", "extra"], 0);
    assert!(why.contains("skipped: by fallback leave"), "{why}");
    let agents =
        place.journal("s").iter().filter(|line| line.contains("fact:Starting(task:1,")).cloned().collect::<Vec<_>>();
    assert!(agents.len() == 2 && agents[0].split("agent:").nth(1) != agents[1].split("agent:").nth(1), "{agents:?}");
}

#[test]
fn what_asks_is_resumed_after_a_kill_and_takes_its_answer() {
    let place = Place::with(&flow(
        r#"Task(id: "shaky", run: "test -e mended", fallback: ["plan", "ask"]),
           Task(id: "after", run: "touch went", after: ["shaky"]),
           Task(id: "long", run: "until [ -e go ]; do sleep 0.02; done"),"#,
        r#""plan": Alternative(run: "exit 9"), "ask": Escalate("The mirror is down.")"#,
    ));
    let run = place.begin();
    until("it asks", || place.journal("s").iter().any(|line| line.contains("then:Fallback(1)")));
    place.kill(run);
    place.touch("go");
    let out = place.ends(&["resume", "s"], 3);
    assert!(out.contains("1 awaits"), "{out}");
    let why = place.ends(&["why", "s", "shaky"], 0);
    assert!(why.contains("asks: The mirror is down."), "{why}");
    assert!(why.contains("--approve (try again), --reject") && why.contains("attempt 2 by plan: exit 9"), "{why}");
    place.ends(&["resume", "s", "--approve", "after"], 2);
    place.touch("mended");
    let out = place.ends(&["resume", "s", "--approve", "shaky"], 0);
    assert!(out.contains("3 done"), "{out}");
    assert!(place.path("went").exists());
}

#[test]
fn a_no_to_what_asks_fails_it() {
    let place = Place::with(&flow(
        r#"Task(id: "shaky", run: "exit 4", fallback: ["ask"])"#,
        r#""ask": Escalate(text: "Well?")"#,
    ));
    place.ends(&["run", "flow.ron", "--session", "s"], 3);
    let out = place.ends(&["resume", "s", "--reject", "shaky", "--note", "no time"], 1);
    assert!(out.contains("rejected by") && out.contains("no time"), "{out}");
    let why = place.ends(&["why", "s", "shaky"], 0);
    assert!(why.contains("exit 4") && why.contains("rejected by"), "{why}");
}

#[test]
fn a_wait_before_a_fallback_goes_on_after_a_kill() {
    let place = Place::with(&flow(
        r#"Task(id: "flaky", run: "test -e been || { touch been; exit 1; }", fallback: ["soon"])"#,
        r#""soon": Retry(attempts: 1, backoff: Fixed("700ms"))"#,
    ));
    let run = place.begin();
    place.kill_once(run, "then:Later(");
    let out = place.ends(&["resume", "s"], 0);
    assert!(out.contains("1 of them by a fallback"), "{out}");
}
