//! What waits long for much gets its turn: reservation with backfill, each seen starving with the feature switched off.

mod engine_support;

use engine_support::flow::{Case, parse};
use quarterdeck::engine::definition::Workflow;
use quarterdeck::engine::ids::{Span, Time};

const NEVER: Span = Span(u64::MAX);

/// Starts in order of time, by name, under agents that take as long as their task's estimate, or `usual` without one.
fn starts(mut flow: Workflow, reserve_after: Span, usual: Span, until: Time) -> Vec<(Time, String)> {
    flow.settings.reserve_after = reserve_after;
    let takes: Vec<Span> = flow.tasks.iter().map(|task| task.estimate.unwrap_or(usual)).collect();
    let names: Vec<String> = flow.tasks.iter().map(|task| task.id.clone()).collect();
    let mut case = Case::new(flow);
    let mut running: Vec<(Time, String)> = Vec::new();
    let mut started = Vec::new();
    let mut lines = case.step("load");
    loop {
        for name in lines.iter().filter_map(|line| line.strip_prefix("start ")) {
            let name = name.split('/').next().expect("split gives one").to_owned();
            let index = names.iter().position(|other| *other == name).expect("one of them");
            running.push((case.now.plus(takes[index]), name.clone()));
            started.push((case.now, name));
        }
        running.sort();
        let next = running.first().map(|(at, _)| *at);
        let deadline = case.engine.next_deadline();
        let Some(at) = next.into_iter().chain(deadline).min().filter(|at| *at <= until) else { return started };
        let wait = at.since(case.now).0;
        lines = if next == Some(at) {
            let (_, name) = running.remove(0);
            case.step(&format!("+{wait} exit {name} 0"))
        } else {
            case.step(&format!("+{wait}"))
        };
    }
}

fn start_of(starts: &[(Time, String)], name: &str) -> Option<Time> {
    starts.iter().find(|(_, other)| other == name).map(|(at, _)| *at)
}

/// A stream of small tasks: each is let in by one before it, and they end at different times, so that what they use is
/// never all free at once. But for the first few they rank behind whoever was ready at the start.
fn stream(agent: &str, count: usize, uses: &str, lanes: usize, more: &str) -> String {
    let mut text = format!("set aging 1000000000\n{agent}\n{more}");
    for n in 0..count {
        let after = if n >= 2 * lanes { format!(" after s{}", n - 2 * lanes) } else { String::new() };
        // Lanes end at different times.
        let estimate = if n < lanes { 1000 + 300 * n } else { 1000 };
        text.push_str(&format!("task s{n} uses {uses} estimate {estimate}{after}\n"));
    }
    text
}

#[test]
fn a_task_that_needs_a_whole_agent_starts_among_a_stream_of_small_ones() {
    let text = stream("agent x slots 8 cpu 4", 160, "cpu:1", 4, "task first uses cpu:1 estimate 100\n");
    let text = format!("{text}task big uses cpu:4 estimate 1000");
    let flow = parse(&text);
    let until = Time(30_000);
    let on = starts(flow.clone(), Span::secs(5), Span(1000), until);
    let off = starts(flow, NEVER, Span(1000), until);
    let at = start_of(&on, "big").expect("it starts");
    assert!(at <= Time(5_000 + 2_000), "it starts late: {at:?}");
    assert_eq!(start_of(&off, "big"), None, "without reservations it starves");
    assert!(off.iter().filter(|(at, _)| *at > Time(20_000)).count() > 10, "the stream lasts");
}

#[test]
fn a_writer_gets_its_lock_among_a_stream_of_readers() {
    let text = stream("agent x slots 8\nlock db", 400, "db:shared", 4, "task first uses db:shared estimate 100\n");
    let flow = parse(&format!("{text}task writer uses db estimate 1000"));
    let until = Time(30_000);
    let on = starts(flow.clone(), Span::secs(5), Span(1000), until);
    let off = starts(flow, NEVER, Span(1000), until);
    let at = start_of(&on, "writer").expect("it starts");
    assert!(at <= Time(5_000 + 2_000), "it starts late: {at:?}");
    assert_eq!(start_of(&off, "writer"), None, "without reservations it starves");
}

/// `long` holds half of the agent until 20 s; `big` needs all of it. What ends before then may go ahead, and nothing else.
#[test]
fn short_tasks_are_backfilled_and_do_not_delay_what_is_reserved() {
    let text = "set aging 1000000000
        agent x slots 8 cpu 4
        task long uses cpu:2 estimate 20000 prio 9
        task gate uses cpu:2 estimate 3000 prio 8
        task big uses cpu:4 estimate 1000
        task short uses cpu:2 estimate 5000 prio -1
        task fits uses cpu:2 estimate 8000 prio -2
        task slow uses cpu:2 estimate 9000 prio -3
        task vague uses cpu:2 prio -4";
    // Without a reservation each takes its turn as soon as there is room, and `big` waits for all of them.
    let off = starts(parse(text), NEVER, Span(9000), Time(100_000));
    assert!(start_of(&off, "big").expect("in the end") > Time(20_000), "{off:?}");
    let on = starts(parse(text), Span(0), Span(9000), Time(100_000));
    assert_eq!(start_of(&on, "short"), Some(Time(3_000)), "{on:?}");
    assert_eq!(start_of(&on, "fits"), Some(Time(8_000)), "{on:?}");
    assert_eq!(start_of(&on, "big"), Some(Time(20_000)), "the reserved one is not delayed: {on:?}");
    for late in ["slow", "vague"] {
        assert!(start_of(&on, late) >= Some(Time(21_000)), "{late} went ahead: {on:?}");
    }
}

#[test]
fn a_reservation_for_what_can_no_longer_start_holds_nobody_back() {
    let text = "set aging 1000000000
        set reserve_after 0
        agent x slots 2 cpu 2
        agent y slots 2 cpu 4
        pool conn 2
        task a uses cpu:2,conn:1 on x
        task big uses cpu:4,conn:2 prio 5
        task small uses conn:1 on x
        task small2 uses conn:1 on x after small";
    let mut case = Case::new(parse(text));
    assert_eq!(case.step("load"), ["start big/1 on y", "reserve conn for a"]);
    assert_eq!(case.step("lost big"), ["end big/1 Lost", "start a/1 on x", "start small/1 on x"]);
    assert_eq!(case.step("retry big"), ["requeued big", "reserve conn for big"]);
    assert_eq!(case.step("exit small 0"), ["end small/1 Succeeded"]);
    assert_eq!(case.step("why small2"), ["reserved for big"]);
    assert_eq!(case.step("slots y 0"), ["slots y 0", "start small2/1 on x"]);
    assert_eq!(case.step("why big"), ["conn 2000 of 0 by a,small2", "agents full"]);
    assert_eq!(case.step("exit a 0"), ["end a/1 Succeeded"]);
    assert_eq!(case.step("exit small2 0"), ["end small2/1 Succeeded"]);
    assert_eq!(case.step("end?"), ["finished, exit 3"]);
    assert_eq!(case.step("undo"), ["undone", "slots y 2", "start big/2 on y"]);
}

#[test]
fn a_task_reserves_one_agent_and_leaves_the_others_to_those_behind_it() {
    let text = "set aging 1000000000
        set reserve_after 0
        agent x slots 4 cpu 4
        agent y slots 4 cpu 4
        task a uses cpu:1 on x prio 9
        task b uses cpu:1 on y prio 9
        task big uses cpu:4 prio 5
        task s1 uses cpu:1
        task s2 uses cpu:1";
    let mut case = Case::new(parse(text));
    let lines = case.step("load");
    assert_eq!(lines[..2], ["start a/1 on x", "start b/1 on y"]);
    let reserved: Vec<&String> = lines.iter().filter(|line| line.starts_with("reserve")).collect();
    assert_eq!(reserved.len(), 1, "{lines:?}");
    assert!(lines.iter().filter(|line| line.starts_with("start s")).count() == 2, "{lines:?}");
}

/// A start ahead of what is reserved puts off the time at which that can start: what did not end before it may do now.
#[test]
fn what_may_be_backfilled_is_judged_anew_after_a_start() {
    let text = "set aging 1000000000
        set reserve_after 0
        agent x slots 9
        pool conn 4
        task hog uses conn:2 estimate 10000 prio 9
        task gate prio 9
        task ahead uses conn:1 estimate 20000 prio -9 after gate
        task big uses conn:4 estimate 1000 prio 5
        task behind uses conn:1 estimate 15000 after gate";
    let mut case = Case::new(parse(text));
    assert_eq!(case.step("load"), ["start hog/1", "start gate/1", "reserve conn for big"]);
    assert_eq!(case.step("exit gate 0"), ["end gate/1 Succeeded"]);
    assert_eq!(case.step("why behind"), ["reserved for big"]);
    assert_eq!(case.step("prio ahead 8"), ["prio ahead 8", "start ahead/1", "start behind/1"]);
}

#[test]
fn one_starving_task_after_the_other_gets_its_turn() {
    let text = stream("agent x slots 8 cpu 4", 200, "cpu:1", 4, "");
    let flow = parse(&format!("{text}task big1 uses cpu:4 estimate 1000\ntask big2 uses cpu:3.5 estimate 1000"));
    let on = starts(flow, Span::secs(5), Span(1000), Time(40_000));
    for (name, bound) in [("big1", 7_000), ("big2", 9_000)] {
        assert!(start_of(&on, name).is_some_and(|at| at <= Time(bound)), "{name} starves: {on:?}");
    }
}

/// Small ones started since the reservation count against what is left for it.
#[test]
fn what_was_backfilled_counts_against_more_of_it() {
    let text = "set aging 1000000000
        set reserve_after 10
        agent x slots 9
        pool conn 6
        task hog uses conn:4 prio 9
        task gate prio 9
        task big uses conn:5 prio 5
        task s1 uses conn:1 after gate
        task s2 uses conn:1 after gate
        task s3 uses conn:1 after gate";
    let mut case = Case::new(parse(text));
    assert_eq!(case.step("load"), ["start hog/1", "start gate/1"]);
    assert_eq!(case.step("+10"), ["reserve conn for big"]);
    assert_eq!(case.step("+1 exit gate 0"), ["end gate/1 Succeeded", "start s1/1"]);
    assert_eq!(case.step("why s2"), ["reserved for big"]);
    assert_eq!(case.step("+1 exit s1 0"), ["end s1/1 Succeeded", "start s2/1"]);
    assert_eq!(case.step("+1 exit hog 0"), ["end hog/1 Succeeded", "start big/1"]);
}

#[test]
fn the_next_in_line_gets_a_reservation_when_the_first_is_cancelled() {
    let text = "set aging 1000000000
        set reserve_after 10
        agent x slots 9 cpu 4
        task holder uses cpu:1
        task big1 uses cpu:4
        task big2 uses cpu:4";
    let mut case = Case::new(parse(text));
    assert_eq!(case.step("load"), ["start holder/1"]);
    assert_eq!(case.step("+10"), ["reserve x for big1"]);
    assert_eq!(case.step("cancel big1"), ["cancelled big1", "reserve x for big2"]);
}
