//! Tests of the whole way from text to definition, hostile text included. What messages look like is tested by the files
//! of `tests/check`.

mod foreach;

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Diagnostics, Machine, Source, decode, load, quick};
use crate::engine::definition::{
    Backoff, CommandLine, Deadline, Durability, OnConsoleDeath, OnLost, Param, ResourceKind, ResourceRequirement,
    TaskType, Workflow,
};
use crate::engine::ids::{Amount, FallbackId, ResourceId, Span, StageId, TaskId, Time};

fn machine() -> Machine {
    let now = "2026-03-28T12:00:00+01:00[Europe/Berlin]".parse().expect("a time");
    Machine { parallelism: 4, memory: 8 << 30, now }
}

fn read_with(text: &str, params: &[(&str, &str)]) -> Result<Workflow, Diagnostics> {
    let params: Vec<(String, String)> = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    load(&Source { name: "test.ron", text }, &params, &machine())
}

fn read(text: &str) -> Workflow {
    read_with(text, &[]).unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false)))
}

fn refused(text: &str) -> String {
    read_with(text, &[]).expect_err("should be refused").render(false)
}

/// A workflow with these tasks in one stage.
fn with_tasks(tasks: &str) -> String {
    format!("Workflow(resources: {{\"db\": Lock, \"seat\": Pool(2)}}, stages: [Stage(id: \"main\", tasks: [{tasks}])])")
}

fn shell(workflow: &Workflow, task: usize) -> (&str, &[(String, String)]) {
    let TaskType::Run(spec) = &workflow.tasks[task].task_type else { panic!("a command") };
    let CommandLine::Shell(text) = &spec.run else { panic!("no shell") };
    (text, &spec.env)
}

const FULL: &str = r#"
Workflow(
    name: "full",
    params: { "target": "staging", "count": 3, "share": 0.5, "fast": true },
    agents: [
        Agent(name: "local", slots: 2, capabilities: ["shell", "rust", "shell"]),
        Agent(name: "gpu", slots: 1, capabilities: ["cuda"], resources: { "vram": "24GiB", "cpu": 16 }),
    ],
    resources: { "db": Lock, "license": Pool(3) },
    on_lost: Retry, grace: "5s", durability: Power, on_console_death: Stop, aging: "30s",
    controls: [MaxRunning(8)],
    stages: [
        Stage(id: "build", tasks: [
            Task(id: "fetch", run: "git fetch"),
            Task(id: "compile", exec: ["make", "${params.target}"], after: ["fetch", "fetch"], needs: ["rust"],
                 uses: { "license": 2, "cpu": 0.5, "mem": "2GiB", "db": Shared }, priority: -5, deadline: "10m",
                 timeout: "15m", estimate: "2m", retry: Retry(attempts: 3, backoff: Exponential(base: "2s", max: "1m", jitter: 0.2)),
                 fallback: ["other"], tags: ["prod", "prod"], env: { "T": "x-${params.count}" }, cwd: "sub"),
        ]),
        Stage(id: "test", after: ["build"], tasks: [
            Task(id: "all", run: "true", after: ["*"], deadline: "14:00", uses: { "db": Exclusive }, retry: Retry(attempts: 2, backoff: Fixed("1s"))),
        ]),
    ],
    fallbacks: { "other": Alternative(run: "echo other") },
)"#;

#[test]
fn a_full_file_becomes_exactly_what_it_says() {
    let workflow = read(FULL);
    let settings = &workflow.settings;
    assert_eq!(settings.name, "full");
    assert_eq!(settings.max_running, Some(8));
    assert_eq!((settings.on_lost, settings.grace, settings.aging), (OnLost::Retry, Span::secs(5), Span::secs(30)));
    assert_eq!((settings.durability, settings.on_console_death), (Durability::Power, OnConsoleDeath::Stop));
    assert_eq!(settings.params["share"], Param::Float(0.5));
    let names: Vec<&str> = workflow.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["cpu", "mem", "vram", "db", "license"]);
    assert_eq!(workflow.resources[2].kind, ResourceKind::PerAgent);
    assert_eq!(workflow.resources[4].kind, ResourceKind::Pool(Amount::units(3)));
    assert_eq!(workflow.agents[0].capabilities, ["rust", "shell"]);
    let memory = (ResourceId(1), Amount::units(8 << 30));
    assert_eq!(workflow.agents[0].resources, [(ResourceId(0), Amount::units(2)), memory]);
    let vram = (ResourceId(2), Amount::units(24 << 30));
    assert_eq!(workflow.agents[1].resources, [(ResourceId(0), Amount::units(16)), memory, vram]);
    assert_eq!(workflow.stages[1].after, [StageId(0)]);
    let task = &workflow.tasks[1];
    let uses = |resource, amount| ResourceRequirement { resource: ResourceId(resource), amount };
    assert_eq!(
        task.requirements.resources,
        [uses(0, Amount(500)), uses(1, Amount::units(2 << 30)), uses(3, Amount(1)), uses(4, Amount::units(2))]
    );
    assert_eq!((task.after.as_slice(), task.priority), ([TaskId(0)].as_slice(), -5));
    assert_eq!(task.deadline, Some(Deadline::After(Span::secs(600))));
    assert_eq!((task.timeout, task.estimate), (Some(Span::secs(900)), Some(Span::secs(120))));
    let backoff = Backoff::Exponential { base: Span::secs(2), max: Span::secs(60), jitter: 0.2 };
    assert_eq!((task.retry.attempts, task.retry.backoff), (3, backoff));
    assert_eq!((task.fallback.as_slice(), task.tags.len()), ([FallbackId(0)].as_slice(), 1));
    let TaskType::Run(spec) = &task.task_type else { panic!("a command") };
    assert_eq!(spec.run, CommandLine::Exec(vec!["make".into(), "staging".into()]));
    assert_eq!(spec.env, [("T".to_owned(), "x-3".to_owned())]);
    assert_eq!(spec.cwd.as_deref(), Some("sub"));
    let all = &workflow.tasks[2];
    assert_eq!(all.after, [TaskId(0), TaskId(1)], "a glob leaves the task itself out");
    assert_eq!(all.requirements.resources, [uses(3, Amount::WHOLE_LOCK)]);
}

#[test]
fn some_and_none_can_be_written_or_left_out() {
    let plain = read(&with_tasks(r#"Task(id: "a", run: "x", deadline: "10m")"#));
    let explicit = with_tasks(r#"Task(id: "a", run: "x", deadline: Some("10m"), timeout: None)"#);
    assert_eq!(read(&explicit), plain);
    assert_eq!(read(&format!("#![enable(implicit_some)]\n{explicit}")), plain);
    assert_eq!(read(&format!("\u{feff}{}", explicit.replace(' ', "\r\n"))), plain);
}

#[test]
fn without_agents_this_machine_is_one() {
    let workflow = read(&with_tasks(r#"Task(id: "a", run: "x", needs: ["shell"], uses: {"cpu": 4, "mem": "8GiB"})"#));
    assert_eq!(workflow.agents.len(), 1);
    assert_eq!((workflow.agents[0].name.as_str(), workflow.agents[0].slots), ("local", 4));
    assert_eq!(workflow.agents[0].capabilities, ["shell"]);
    assert!(read(&with_tasks(r#"Task(id: "a", run: "x")"#)).tasks[0].requirements.capabilities.is_empty());
}

#[test]
fn a_clock_time_is_the_next_one_and_survives_the_gap_of_a_summer_time() {
    let at = |clock: &str| {
        let workflow = read(&with_tasks(&format!("Task(id: \"a\", run: \"x\", deadline: \"{clock}\")")));
        workflow.tasks[0].deadline
    };
    let time = |text: &str| {
        let zoned: jiff::Zoned = text.parse().expect("a time");
        Some(Deadline::At(Time(u64::try_from(zoned.timestamp().as_millisecond()).expect("after 1970"))))
    };
    assert_eq!(at("14:00"), time("2026-03-28T14:00:00[Europe/Berlin]"));
    assert_eq!(at("12:00"), time("2026-03-29T12:00:00[Europe/Berlin]"), "now is not ahead");
    assert_eq!(at("02:30"), time("2026-03-29T03:30:00[Europe/Berlin]"), "02:30 does not exist that night");
}

#[test]
fn a_parameter_is_never_read_as_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = [
        "echo ${params.x}",
        "echo \\\"${params.x}\\\"",
        "echo '${params.x}'",
        "echo \\\"$(echo ${params.x})\\\"",
        "echo `echo ${params.x}`",
        "printf %s\\\\n --to=${params.x} # it's ${params.x}",
        "case a in a) echo ${params.x};; esac; echo \\\"a ( b\\\" ${params.x}",
        "echo ${HOME:-${params.x}} \\\"${HOME:+\\\"${params.x}\\\"}\\\"",
    ];
    let values = [
        "; touch X",
        "$(touch X)",
        "`touch X`",
        "'; touch X; '",
        "\"; touch X; \"",
        "\n touch X\n",
        "a' \"$(touch X)\" 'b",
        "\\",
    ];
    for run in runs {
        for value in values {
            let text = format!(
                "Workflow(params: {{\"x\": \"default\"}}, stages: [Stage(id: \"s\", tasks: [Task(id: \"a\", run: \"{run}\")])])"
            );
            let workflow =
                read_with(&text, &[("x", value)]).unwrap_or_else(|told| panic!("{run}\n{}", told.render(false)));
            let (script, env) = shell(&workflow, 0);
            assert!(!script.contains("touch"), "{script}");
            let output = Command::new("/bin/sh")
                .args(["-c", script])
                .envs(env.iter().cloned())
                .current_dir(folder.path())
                .output()
                .expect("a shell");
            assert!(output.status.success(), "{script} with {value:?}: {output:?}");
            assert!(!folder.path().join("X").exists(), "{script} ran {value:?}");
        }
    }
}

#[test]
fn a_parameter_arrives_in_one_piece() {
    for (run, printed) in [
        ("printf '[%s]' ${params.x} ${params.n}", "[a  b;*][3]"),
        ("printf '[%s]' \\\"1 ${params.x}\\\"", "[1 a  b;*]"),
        ("printf '[%s]' 'it is ${params.x}'", "[it is a  b;*]"),
        ("printf '[%s]' --x=${params.x}${params.x}", "[--x=a  b;*a  b;*]"),
        ("printf '[%s]' \\\"$(printf '%s' ${params.x})\\\"", "[a  b;*]"),
    ] {
        let text = format!(
            "Workflow(params: {{\"x\": \"a  b;*\", \"n\": 3}}, stages: [Stage(id: \"s\", tasks: [Task(id: \"a\", run: \"{run}\")])])"
        );
        let workflow = read(&text);
        let (script, env) = shell(&workflow, 0);
        let output = Command::new("/bin/sh").args(["-c", script]).envs(env.iter().cloned()).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{script}");
    }
}

#[test]
fn the_command_line_overrides_by_the_type_of_the_default() {
    let text = r#"Workflow(params: {"n": 3, "f": 0.5, "b": true, "t": "x"}, stages: [Stage(id: "s", tasks: [Task(id: "a", run: "true")])])"#;
    let workflow =
        read_with(text, &[("n", "-4"), ("f", "2"), ("b", "false"), ("t", "5 = y")]).expect("all of their type");
    let params = &workflow.settings.params;
    assert_eq!(params["n"], Param::Int(-4));
    assert_eq!(params["f"], Param::Float(2.0));
    assert_eq!(params["b"], Param::Bool(false));
    assert_eq!(params["t"], Param::Text("5 = y".into()));
    for (name, value) in [("n", "4.5"), ("f", "inf"), ("b", "yes"), ("nn", "1"), ("n", ""), ("\x1b[31m", "x")] {
        let told = read_with(text, &[(name, value)]).expect_err(name);
        assert_eq!(told.iter().next().expect("one").source(), "command line");
        assert!(!told.render(false).contains('\x1b'));
    }
}

#[test]
fn what_is_nested_without_end_is_refused_at_once() {
    let comments = "/*".repeat(2_000_000);
    for text in ["(".repeat(100_000), "[".repeat(100_000), "{".repeat(1_000_000), "Some(".repeat(100_000), comments] {
        let start = Instant::now();
        let told = refused(&text);
        assert!(start.elapsed() < Duration::from_millis(1000), "{:?}", start.elapsed());
        assert!(told.contains("deeper than") || told.contains("does not end"), "{told}");
    }
    let nested =
        format!("{}{}{}", "/*".repeat(2_000_000), "*/".repeat(2_000_000), with_tasks(r#"Task(id: "a", run: "x")"#));
    assert_eq!(read(&nested).tasks.len(), 1);
}

#[test]
fn a_command_longer_than_the_kernel_takes_is_refused() {
    let fits = "x".repeat(super::MAX_COMMAND_BYTES - 1);
    read(&with_tasks(&format!("Task(id: \"a\", run: \"{fits}\")")));
    assert!(refused(&with_tasks(&format!("Task(id: \"a\", run: \"{fits}x\")"))).contains("131072 bytes long"));
    assert!(
        refused(&with_tasks(&format!("Task(id: \"a\", run: \"x\", env: {{\"A\": \"{fits}\"}})")))
            .contains("bytes long")
    );
}

#[test]
fn a_file_that_is_too_long_is_refused_before_it_is_read() {
    let told = decode("big.ron", vec![b' '; super::MAX_FILE_BYTES + 1]).expect_err("too long").render(false);
    assert!(told.contains("longer than 64 MiB"), "{told}");
}

#[test]
fn too_many_dependencies_are_refused_before_they_are_made() {
    let mut tasks = String::new();
    for index in 0..8000 {
        _ = write!(
            tasks,
            "Task(id: \"t{index}\", run: \"x\", after: [\"u*\", \"t*\"]), Task(id: \"u{index}\", run: \"x\"),"
        );
    }
    let start = Instant::now();
    let told = refused(&with_tasks(&tasks));
    assert!(told.contains("more than 10000000 dependencies"), "{told}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn many_diagnostics_are_counted_and_the_first_are_shown() {
    let tasks: String = (0..1000).map(|index| format!("Task(id: \"t{index}\", run: \"x\", nedes: []),\n")).collect();
    let told = read_with(&with_tasks(&tasks), &[]).expect_err("a thousand wrong words");
    assert_eq!(told.len(), 1000);
    assert_eq!(told.iter().count(), super::MAX_DIAGNOSTICS);
    assert!(told.render(false).contains("and 960 more"));
    assert!(told.render(true).contains('\x1b'), "colours are wanted here");
}

#[test]
fn places_are_counted_in_lines_and_characters() {
    let text = "Workflow(\r\n  name: \"é€😀\", stagse: [],\n)";
    let told = read_with(text, &[]).expect_err("a slip");
    let positions: Vec<_> = told.iter().map(super::Diagnostic::position).collect();
    assert_eq!(positions, [Some((1, 1)), Some((2, 16))]);
}

#[test]
fn commands_alone_are_a_workflow_whose_names_are_told_apart() {
    let commands = ["cargo test", "cargo test", "", "cargo test #2", "rm -f *.o\n\techo", &"x".repeat(300), "\u{202e}"];
    let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
    let workflow = quick(&commands, &machine()).expect("good commands");
    let names: Vec<&str> = workflow.tasks.iter().map(|task| task.id.as_str()).collect();
    let long = format!("{}…", "x".repeat(48));
    assert_eq!(names, ["cargo test", "cargo test #2", "cargo test #2 #2", "rm -f _.o echo", &long, "command"]);
    assert_eq!(shell(&workflow, 3).0, "rm -f *.o\n\techo", "the command itself is left alone");
    assert!(quick(&[], &machine()).is_err());
    assert!(quick(&["a\0b".to_owned()], &machine()).is_err());
    assert!(quick(&["x".repeat(200_000)], &machine()).is_err());
}

/// A hundred thousand tasks as a person would write them.
fn many_tasks(count: usize) -> String {
    let mut tasks = String::new();
    for index in 0..count {
        let after =
            if index == 0 { String::new() } else { format!(", after: [\"task-{}\"]", index - 1 - index % 7 / 2) };
        _ = writeln!(
            tasks,
            "            Task(id: \"task-{index}\", run: \"cargo build --release -p part{index}\", uses: {{ \"cpu\": 1, \"mem\": \"64MiB\" }}, priority: {}{after}),",
            index % 50
        );
    }
    with_tasks(&tasks)
}

/// With the processor time that it took: what else the machine does is not measured.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(time.tv_sec).expect("positive"), u32::try_from(time.tv_nsec).expect("positive"))
    };
    let start = now();
    let result = work();
    (result, now() - start)
}

#[test]
#[ignore = "a measurement: run it with --release -- --ignored --nocapture"]
fn a_hundred_thousand_tasks_are_read_in_well_under_a_second() {
    let text = many_tasks(100_000);
    let mut best = Duration::MAX;
    for _ in 0..7 {
        let (_, theirs) = timed(|| ron::from_str::<serde::de::IgnoredAny>(&text).expect("good text"));
        let (_, tree) = timed(|| drop(super::syntax::parse(&text).expect("good text")));
        let (workflow, all) = timed(|| read(&text));
        let count = workflow.tasks.len();
        println!("{count} tasks, {} bytes: {all:?}, the tree {tree:?}, ron alone {theirs:?}", text.len());
        best = best.min(all);
    }
    assert!(best < Duration::from_millis(600) || cfg!(debug_assertions), "{best:?}");
}

/// Whether a graph has a circle, judged by taking away what waits for nothing until nothing can be taken.
fn has_cycle(after: &[Vec<usize>]) -> bool {
    let mut left: Vec<usize> = (0..after.len()).collect();
    loop {
        let before = left.len();
        let still = left.clone();
        left.retain(|task| after[*task].iter().any(|other| still.contains(other)));
        if left.len() == before {
            return before > 0;
        }
    }
}

/// Pieces that make text look like a workflow.
fn piece() -> impl Strategy<Value = String> {
    const FIXED: &[&str] = &[
        "Workflow(",
        "Stage(",
        "Task(",
        "Agent(",
        "Retry(",
        "Exponential(",
        "Alternative(",
        "Some(",
        "Pool(",
        "Adopt(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "id:",
        "run:",
        "after:",
        "tasks:",
        "stages:",
        "uses:",
        "params:",
        "needs:",
        "foreach:",
        "\"x-{n}\"",
        "\"n\"",
        "Range(1, 3)",
        "retry:",
        "deadline:",
        "env:",
        "\"a\"",
        "\"b*\"",
        "\"${params.x}\"",
        "\"10m\"",
        "\"14:00\"",
        "\"cpu\"",
        "\"\\u{0}\"",
        "1",
        "-1",
        "1e999",
        "NaN",
        "Lock",
        "Shared",
        "None",
        "r#\"x\"#",
        "'c'",
        "b\"x\"",
        "/*",
        "*/",
        "// x\n",
        "#![enable(implicit_some)]",
        "\u{feff}",
        "\r\n",
        "\\",
        "é",
        "\u{202e}",
    ];
    prop_oneof![10 => prop::sample::select(FIXED).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

/// Values of any shape, in RON.
fn value() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "\"a\"",
        "\"b\"",
        "\"a*\"",
        "\"10m\"",
        "\"${params.p}\"",
        "\"cpu\"",
        "1",
        "-3",
        "0.5",
        "Lock",
        "Shared",
        "None",
        "true",
    ];
    const NAMES: &[&str] = &[
        "id",
        "name",
        "run",
        "exec",
        "after",
        "needs",
        "uses",
        "tasks",
        "stages",
        "agents",
        "params",
        "resources",
        "retry",
        "attempts",
        "backoff",
        "fallback",
        "fallbacks",
        "foreach",
        "controls",
        "env",
        "cwd",
        "deadline",
        "x",
    ];
    const TYPES: &[&str] = &["Workflow", "Stage", "Task", "Agent", "Retry", "Alternative", "Some", "Pool", ""];
    prop::sample::select(WORDS).prop_map(str::to_owned).prop_recursive(6, 60, 5, move |inner| {
        let fields = prop::collection::vec((prop::sample::select(NAMES), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(|entries| {
                format!("{{{}}}", entries.iter().map(|(k, v)| format!("{k}: {v}")).collect::<Vec<_>>().join(", "))
            }),
            (prop::sample::select(TYPES), fields).prop_map(|(name, fields)| {
                let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{name}({})", fields.join(", "))
            }),
        ]
    })
}

fn survives(text: &str) {
    match load(&Source { name: "any\x1b.ron", text }, &[("p".into(), "q".into())], &machine()) {
        Ok(workflow) => assert!(!workflow.tasks.is_empty()),
        Err(told) => {
            assert!(!told.is_empty());
            let drawn = told.render(false);
            let harmless = |c: char| {
                c == '\n' || !(c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            };
            assert!(drawn.chars().all(harmless), "{drawn:?}");
        }
    }
}

/// `ron` takes exactly the same texts; but for `Some(…)`, which to it is no tuple like others.
fn agrees_with_ron(text: &str) {
    let theirs = ron::from_str::<serde::de::IgnoredAny>(text);
    let ours = super::syntax::parse(text);
    let lenient = text.contains("Some") && theirs.is_err();
    assert!(ours.is_ok() == theirs.is_ok() || lenient, "{text}: {:?} {:?}", theirs.err(), ours.err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match decode("any.ron", bytes) {
            Ok(text) => survives(&text),
            Err(told) => prop_assert!(!told.render(false).is_empty()),
        }
    }

    #[test]
    fn any_pieces_of_a_workflow_are_read_or_refused(pieces in prop::collection::vec(piece(), 0..60)) {
        survives(&pieces.concat());
    }

    #[test]
    fn any_structure_is_read_or_refused(value in value()) {
        survives(&value);
        survives(&format!("Workflow(params: {{\"p\": \"x\"}}, stages: [{value}])"));
        survives(&with_tasks(&format!("Task(id: \"b-{{n}}-{{m}}\", run: \"x {{n}}\", after: [\"b-{{m}}\"], foreach: {{\"n\": {value}, \"m\": [1, {value}]}})")));
        survives(&format!("Workflow(params: {{\"p\": \"x\"}}, stages: [Stage(id: \"a\", tasks: [Task(id: \"b\", run: \"x\", uses: {value}, retry: {value})])])"));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused(cut in 1..FULL.len() - 1) {
        refused(&FULL[..FULL.floor_char_boundary(cut)]);
    }

    #[test]
    fn our_grammar_is_that_of_ron(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        agrees_with_ron(&text);
    }

    #[test]
    fn every_value_of_ron_is_read_by_our_grammar(value in value()) {
        agrees_with_ron(&value);
    }

    #[test]
    fn circles_are_found_exactly_where_a_plain_check_finds_them(
        after in prop::collection::vec(prop::collection::vec(0usize..8, 0..3), 1..8)
    ) {
        let count = after.len();
        let after: Vec<Vec<usize>> = after.iter().enumerate()
            .map(|(own, list)| list.iter().map(|other| other % count).filter(|other| *other != own).collect())
            .collect();
        let tasks: String = after.iter().enumerate().map(|(own, list)| {
            let names: Vec<String> = list.iter().map(|other| format!("\"t{other}\"")).collect();
            format!("Task(id: \"t{own}\", run: \"x\", after: [{}]),", names.join(", "))
        }).collect();
        let found = read_with(&with_tasks(&tasks), &[]).is_err_and(|told| told.render(false).contains("circle of waiting"));
        prop_assert_eq!(found, has_cycle(&after));
    }
}
