//! The rows of filtered Views against the unfiltered list: the same tasks in the same order, less those that do not pass.

mod engine_support;

use engine_support::Rng;
use engine_support::run::Run;
use quarterdeck::engine::ids::TaskId;
use quarterdeck::snapshot::build::{Frozen, build};
use quarterdeck::snapshot::{Filter, FilterTerm, FilterTest, Group, Phase, Row, Snapshot, TaskRow, View};

const PHASES: [Phase; 12] = [
    Phase::Running,
    Phase::Stopping,
    Phase::Ready,
    Phase::Delayed,
    Phase::Waiting,
    Phase::Held,
    Phase::Blocked,
    Phase::Failed,
    Phase::Lost,
    Phase::Cancelled,
    Phase::Skipped,
    Phase::Succeeded,
];

fn tasks(snapshot: &Snapshot) -> Vec<&TaskRow> {
    let mut tasks = Vec::new();
    for row in &snapshot.rows {
        if let Row::Task(row) = row {
            tasks.push(row);
        }
    }
    tasks
}

fn random_filter(rng: &mut Rng) -> Filter {
    let terms = (0..1 + rng.below(3)).map(|_| {
        let test = match rng.below(3) {
            0 => FilterTest::Text(rng.below(10).to_string()),
            _ => FilterTest::State((0..1 + rng.below(4)).map(|_| *rng.pick(&PHASES)).collect()),
        };
        FilterTerm { negated: rng.chance(30), test }
    });
    Filter { terms: terms.collect() }
}

fn passes(filter: &Filter, row: &TaskRow) -> bool {
    filter.terms.iter().all(|term| {
        let holds = match &term.test {
            FilterTest::Text(part) => row.name.contains(part.as_str()),
            FilterTest::State(phases) => phases.contains(&row.phase),
            other => panic!("{other:?} is not made here"),
        };
        holds != term.negated
    })
}

#[test]
fn a_filter_leaves_out_what_does_not_pass_and_moves_nothing() {
    let (mut some_left, mut some_out) = (0, 0);
    for seed in 0..60 {
        let mut run = Run::begin(seed);
        for _ in 0..40 {
            run.random_step();
            let frozen = Frozen { engine: run.engine.clone(), ..Frozen::default() };
            let mut view = View { height: 1000, reverse: run.rng.chance(20), ..View::default() };
            let all = build(&frozen, &view, run.now);
            view.filter = random_filter(&mut run.rng);
            let filtered = build(&frozen, &view, run.now);
            let want: Vec<TaskId> =
                tasks(&all).into_iter().filter(|row| passes(&view.filter, row)).map(|row| row.task).collect();
            let have: Vec<TaskId> = tasks(&filtered).into_iter().map(|row| row.task).collect();
            assert_eq!(have, want, "seed {seed}: {:?}", view.filter);
            assert_eq!(filtered.matching, want.len(), "seed {seed}: {:?}", view.filter);
            some_left += usize::from(!want.is_empty());
            some_out += usize::from(want.len() < tasks(&all).len());
            view.group = Group::None;
            let flat = build(&frozen, &view, run.now);
            assert_eq!(flat.matching, want.len(), "seed {seed}, ungrouped: {:?}", view.filter);
        }
    }
    assert!(some_left > 500 && some_out > 500, "the filters tell nothing: {some_left} {some_out}");
}

#[test]
fn alerts_count_every_failed_and_lost_task_once() {
    let mut seen = 0;
    for seed in 0..40 {
        let mut run = Run::begin(seed);
        for _ in 0..60 {
            run.random_step();
        }
        let frozen = Frozen { engine: run.engine.clone(), ..Frozen::default() };
        let snapshot = build(&frozen, &View::default(), run.now);
        // A gate that a person has to look at is bad too, and has not failed.
        let failed = snapshot.alerts.iter().filter(|alert| alert.bad && !alert.text.contains("is held: gate closed"));
        let counted: usize = failed.map(|alert| alert.count).sum();
        assert_eq!(counted, snapshot.counts.failed + snapshot.counts.lost, "seed {seed}: {:?}", snapshot.alerts);
        seen += counted;
    }
    assert!(seen > 20, "hardly anything failed: {seen}");
}
