//! Flow control and constraints: limits, rates, the circuit breaker, windows, where tasks may run. What the binary does with
//! the words of a file, and what it says. The engine's side is in the random tests.

mod common;

use common::{Place, until, wait_for};

fn flow(more: &str, tasks: &str) -> String {
    format!(
        r#"Workflow(name: "controls", grace: "200ms", agents: [Agent(name: "a", slots: 8), Agent(name: "b", slots: 8)],
           {more} stages: [Stage(id: "main", tasks: [{tasks}])])"#
    )
}

/// The most that ran side by side, by what each task appended to `ran`: `+` at its start, `-` at its end.
fn side_by_side(place: &Place) -> usize {
    let text = std::fs::read_to_string(place.path("ran")).expect("they ran");
    let mut now = 0usize;
    let running = text.lines().map(|line| {
        now = if line == "+" { now + 1 } else { now - 1 };
        now
    });
    running.max().unwrap_or(0)
}

const NOTED: &str = "echo + >> ran; sleep 0.05; echo - >> ran";

#[test]
fn a_tag_a_stage_and_a_phase_have_limits_of_their_own() {
    for (more, task) in [
        (r#"controls: [TagLimit("db", 2)],"#, r#", tags: ["db"]"#),
        (r#"phases: [Phase(id: "p", stages: ["main"], max_running: 2)],"#, ""),
    ] {
        let task = format!(r#"Task(id: "t-{{n}}", foreach: {{ "n": Range(1, 7) }}, run: "{NOTED}"{task})"#);
        let place = Place::with(&flow(more, &task));
        place.ends(&["run", "flow.ron", "--session", "s"], 0);
        assert_eq!(side_by_side(&place), 2, "{more}");
    }
    let task = format!(r#"Task(id: "t-{{n}}", foreach: {{ "n": Range(1, 7) }}, run: "{NOTED}")"#);
    let text = flow("", &task).replace(r#"Stage(id: "main","#, r#"Stage(id: "main", max_running: 2,"#);
    let place = Place::with(&text);
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert_eq!(side_by_side(&place), 2);
}

#[test]
fn a_limit_is_named_by_why_and_kept_after_a_kill() {
    let task =
        format!(r#"Task(id: "t-{{n}}", foreach: {{ "n": [1, 2] }}, run: "touch begun-{{n}}; {}")"#, wait_for("go"));
    let text = flow("", &task).replace(r#"Stage(id: "main","#, r#"Stage(id: "main", max_running: 1,"#);
    let place = Place::with(&text);
    let run = place.begin();
    until("the first runs", || place.path("begun-1").exists());
    place.kill(run);
    let why = place.ends(&["why", "s", "t-2"], 0);
    assert!(why.contains("limit of stage main"), "{why}");
    place.touch("go");
    place.ends(&["resume", "s"], 0);
    assert!(place.path("begun-2").exists());
}

#[test]
fn tasks_that_must_not_be_beside_each_other_are_not() {
    let place = Place::with(&flow(
        "",
        &format!(
            r#"Task(id: "x", run: "{NOTED}", not_beside: ["y", "z"]), Task(id: "y", run: "{NOTED}"),
               Task(id: "z", run: "{NOTED}", not_beside: ["y"])"#
        ),
    ));
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    assert_eq!(side_by_side(&place), 1);
}

#[test]
fn a_rate_lets_no_more_start_than_it_fills_up() {
    let place = Place::with(&flow(
        r#"resources: { "api": Rate(amount: 2, per: "200ms") },"#,
        r#"Task(id: "t-{n}", foreach: { "n": Range(1, 6) }, run: "true", uses: { "api": 1 })"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--json"], 0);
    let starts: Vec<u64> = out
        .lines()
        .filter(|line| line.contains(r#""fact":"Starting""#))
        .map(|line| {
            line.split("\"at_ms\":").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).expect("a time")
        })
        .collect();
    assert_eq!(starts.len(), 6);
    // Two at once, then one each 100 ms: the last four take 400 ms at least.
    assert!(starts[5] - starts[0] >= 400, "{starts:?}");
}

#[test]
fn a_breaker_opens_after_failures_lets_one_try_and_closes() {
    let place = Place::with(&flow(
        r#"controls: [MaxRunning(1), CircuitBreaker(failures: 2, within: "1m", cool_down: "300ms")],"#,
        r#"Task(id: "a", priority: 9, run: "false"), Task(id: "b", priority: 8, run: "false"), Task(id: "c", run: "true"),
           Task(id: "d", run: "true")"#,
    ));
    let out = place.ends(&["run", "flow.ron", "--session", "s"], 1);
    for line in ["breaker   open: 2 failures, nothing starts for 0.3s", "half open: one task tries", "breaker   closed"]
    {
        assert!(out.contains(line), "nothing says `{line}`:\n{out}");
    }
    assert!(out.contains("2 done, 2 failed"), "{out}");
}

#[test]
fn where_a_task_ran_is_where_its_follower_runs() {
    let place = Place::with(&flow(
        "",
        r#"Task(id: "on", run: "true", agent: "b"), Task(id: "same", after: ["on"], run: "true", same_agent_as: "on"),
           Task(id: "not", run: "true", not_on: ["a"]), Task(id: "like", run: "true", prefer: "b")"#,
    ));
    place.ends(&["run", "flow.ron", "--session", "s"], 0);
    let journal = place.journal("s");
    let starts: Vec<&String> = journal.iter().filter(|line| line.contains("fact:Starting(")).collect();
    assert_eq!(starts.len(), 4);
    assert!(starts.iter().all(|line| line.contains("agent:1")), "{starts:?}");
}

#[test]
fn a_closed_window_waits_and_why_says_until_when() {
    // It opens in half a day, whatever the hour: it is closed for the whole test.
    let hour =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() / 3600 % 24;
    let (from, to) = ((hour + 12) % 24, (hour + 13) % 24);
    let place = Place::with(&flow(
        "",
        &format!(
            r#"Task(id: "now", run: "true"), Task(id: "late", run: "true", window: Window(from: "{from:02}:00", to: "{to:02}:00"))"#
        ),
    ));
    let run = place.begin();
    until("the first is done", || place.journal("s").iter().any(|line| line.contains("outcome:Succeeded")));
    place.kill(run);
    let why = place.ends(&["why", "s", "late"], 0);
    let line = why.lines().find(|line| line.contains(&format!(", window {from:02}:00 to {to:02}:00")));
    assert!(line.is_some_and(|line| line.contains("✗ opens in 1")), "{why}");
}

#[test]
fn a_rate_and_an_open_breaker_go_on_where_they_were_after_a_kill() {
    let place = Place::with(&flow(
        r#"controls: [MaxRunning(1), CircuitBreaker(failures: 1, within: "1m", cool_down: "600ms")],
           resources: { "api": Rate(amount: 1, per: "1s") },"#,
        r#"Task(id: "bad", priority: 9, run: "exit 1", uses: { "api": 1 }), Task(id: "next", run: "true", uses: { "api": 1 })"#,
    ));
    let run = place.begin();
    place.kill_once(run, "fact:BreakerOpened(");
    let why = place.ends(&["why", "s", "next"], 0);
    assert!(why.contains("circuit breaker open") && why.contains("api used up (1 per 1s)"), "{why}");
    let out = place.ends(&["resume", "s"], 1);
    assert!(out.contains("half open: one task tries") && out.contains("breaker   closed"), "{out}");
    let times: Vec<u64> = place
        .journal("s")
        .iter()
        .filter(|line| line.contains("fact:Starting("))
        .filter_map(|line| line.split("at:").nth(1)?.split([',', ')']).next()?.trim_start_matches('(').parse().ok())
        .collect();
    assert!(times.len() == 2 && times[1] - times[0] >= 1000, "{times:?}");
}

#[test]
fn a_try_that_fails_opens_the_breaker_again() {
    let place = Place::with(&flow(
        r#"controls: [MaxRunning(1), CircuitBreaker(failures: 1, within: "1m", cool_down: "100ms")],"#,
        r#"Task(id: "a", priority: 2, run: "false"), Task(id: "b", priority: 1, run: "false"), Task(id: "c", run: "true")"#,
    ));
    let out = place.ends(&["run", "flow.ron"], 1);
    assert_eq!(out.matches("breaker   open: 1 failure").count(), 2, "{out}");
    assert_eq!(out.matches("breaker   closed").count(), 1, "{out}");
}
