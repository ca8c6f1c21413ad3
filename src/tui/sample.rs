//! A session made by hand, as the drawings show one: for tests and pictures of the screen.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::ids::{AgentId, Amount, Attempt, ResourceId, Span, StageId, TaskId, Time};
use crate::engine::message::{Command, Refusal};
use crate::snapshot::build::Frozen;
use crate::snapshot::graph::around;
use crate::snapshot::marks::{MarkRow, Marking};
use crate::snapshot::record::Record;
use crate::snapshot::*;

use super::{Feed, QuitHow};

/// 12:04:31 on a day in 2026, UTC.
pub const NOW: Time = Time(1_792_584_271_000);

const STAGES: [(&str, usize); 5] = [("fetch", 12), ("build", 96), ("test", 112), ("package", 18), ("publish", 10)];

/// All tasks, as at `NOW`.
pub fn tasks() -> Vec<TaskRow> {
    let mut tasks = Vec::new();
    for (stage, count) in STAGES {
        for i in 0..count {
            tasks.push(plain(tasks.len(), stage, i));
        }
    }
    let named: [(usize, TaskRow); 11] = [
        (12, running("compile:core", 50, 192, Some(292), "", "a1")),
        (13, running("compile:net", 50, 178, Some(307), "", "a2")),
        (14, TaskRow { late: true, ..running("compile:ui", 50, 400, Some(286), "", "a3") }),
        (15, running("migrate:1", 30, 391, None, "step 4/7", "a2")),
        (16, TaskRow { reserved: true, ..waiting("link:server", Phase::Ready, 50, 1080, "lock db-schema, 2nd of 3") }),
        (17, waiting("link:cli", Phase::Waiting, 40, 1080, "needs compile:core and 1 more")),
        (18, waiting("vacuum", Phase::Ready, 10, 540, "lock db-schema, 3rd of 3")),
        (19, waiting("bench:short", Phase::Held, 30, 540, "you 11:55")),
        (
            20,
            TaskRow {
                attempt: 1,
                attempts: 3,
                ..waiting("lint:licences", Phase::Delayed, 20, 60, "exit 2, retry 2/3 in 24s")
            },
        ),
        (
            21,
            TaskRow {
                attempt: 2,
                attempts: 2,
                ran: Some(Span::secs(41)),
                ..waiting("docs:links", Phase::Failed, 20, 300, "exit 1 after 2 attempts")
            },
        ),
        (
            22,
            TaskRow {
                fallback: Some("link:cached".into()),
                adopted: true,
                ..running("link:tools", 45, 65, Some(130), "", "a1")
            },
        ),
    ];
    for (index, row) in named {
        let at = TaskRow { task: TaskId(index as u32), stage: tasks[index].stage.clone(), ..row };
        tasks[index] = at;
    }
    tasks[16].deadline = Some(Time(NOW.0 + 6_929_000));
    for (i, task) in tasks.iter_mut().enumerate().take(64).skip(23) {
        let done = i < 61;
        task.phase = if done { Phase::Succeeded } else { Phase::Blocked };
        task.note = if done { String::new() } else { "docs:links failed".into() };
        task.ran = done.then(|| Span::secs(20 + i as u64));
    }
    tasks
}

fn plain(index: usize, stage: &str, i: usize) -> TaskRow {
    let done = stage == "fetch";
    let note = match stage {
        "test" => "needs stage build",
        "package" => "needs stage test",
        "publish" => "needs stage package",
        _ => "needs link:server",
    };
    TaskRow {
        task: TaskId(index as u32),
        name: format!("{stage}:{i:02}").into(),
        stage: stage.into(),
        phase: if done { Phase::Succeeded } else { Phase::Waiting },
        priority: 20,
        since: Time(NOW.0 - 1_900_000),
        agent: None,
        attempt: u32::from(done),
        attempts: 1,
        fallback: None,
        deadline: None,
        estimate: None,
        ran: done.then_some(Span::secs(7 + i as u64)),
        note: if done { String::new() } else { note.into() },
        late: false,
        told: None,
        troubled: false,
        waits: false,
        counts_votes: false,
        reserved: false,
        adopted: false,
        pending: false,
    }
}

fn waiting(name: &str, phase: Phase, priority: i32, age: u64, note: &str) -> TaskRow {
    let since = Time(NOW.0 - age * 1000);
    TaskRow { name: name.into(), phase, priority, since, note: note.into(), ..plain(0, "build", 0) }
}

fn running(name: &str, priority: i32, age: u64, estimate: Option<u64>, note: &str, agent: &str) -> TaskRow {
    let row = waiting(name, Phase::Running, priority, age, note);
    TaskRow { estimate: estimate.map(Span::secs), agent: Some(agent.into()), attempt: 1, ..row }
}

/// A log as a migration writes one.
pub const LOG: &str = "\
12:03:41 db: connected to primary, schema v40
12:03:44 migrate: plan has 7 steps
12:03:52 migrate: 2 of 7 steps applied
12:03:58 db: waiting for exclusive lock on schema v41
12:04:02 migrate: 3 of 7 steps applied
12:04:11 \x1b[1mmigrate: step 4\x1b[0m  ALTER TABLE orders ADD COLUMN region
12:04:29 W slow statement 17.1 s
";

/// A log as cargo writes one to a terminal.
pub const LOG_COLOURED: &str = concat!(
    "\x1b[1m\x1b[92m   Compiling\x1b[0m core v0.1.0 (/srv/build/core)\n",
    "\x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m: unused variable: `step`\x1b[0m\n",
    "  \x1b[1m\x1b[94m--> \x1b[0msrc/main.rs:3:9\n",
    "   \x1b[1m\x1b[94m|\x1b[0m\n",
    "\x1b[1m\x1b[94m3\x1b[0m  \x1b[1m\x1b[94m|\x1b[0m     let step = 1;\n",
    "   \x1b[1m\x1b[94m|\x1b[0m         \x1b[1m\x1b[33m^^^^\x1b[0m \x1b[1m\x1b[33mhelp: if this is intentional, prefix it: `_step`\x1b[0m\n",
    "\x1b[31mred \x1b[32mgreen \x1b[33myellow \x1b[34mblue \x1b[35mmagenta \x1b[36mcyan \x1b[90mgrey \x1b[97mwhite\x1b[0m plain\n",
    "\x1b[7m reversed \x1b[0m \x1b[41;97m on red \x1b[0m \x1b[2mdim\x1b[0m \x1b[3mitalic\x1b[0m \x1b[4munderlined\x1b[0m \x1b[38;5;208morange\x1b[0m\n",
    "\x1b[1m\x1b[92m    Finished\x1b[0m `dev` profile in 2.14s, step 7 of 7\n",
);

/// The log of its first attempt.
pub const LOG_FAILED: &str = "\
12:01:02 db: connected to primary, schema v40
12:01:05 migrate: plan has 7 steps
12:01:11 migrate: 2 of 7 steps applied
12:01:12 \x1b[31merror\x1b[0m: lost connection to primary
12:01:12 migrate: rolled back
";

/// A session that answers views as the real one does.
pub struct Sample {
    tasks: Vec<TaskRow>,
    /// The session's clock.
    pub now: Time,
    /// Output of the cursor's task.
    pub log: Option<PathBuf>,
    /// What was sent.
    pub sent: Vec<Command>,
    /// How it was left.
    pub left: Option<QuitHow>,
    answers: VecDeque<(u64, Result<String, Refusal>)>,
    changed: bool,
    mode: Mode,
    /// What has run.
    pub record: Arc<Record>,
    /// What the graph is made of.
    pub frozen: Option<Frozen>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            tasks: tasks(),
            now: NOW,
            log: None,
            sent: Vec::new(),
            left: None,
            answers: VecDeque::new(),
            changed: true,
            mode: Mode::Running,
            record: Arc::default(),
            frozen: None,
        }
    }
}

impl Sample {
    /// The picture for a view.
    pub fn picture(&self, view: &View) -> Snapshot {
        let rows = self.rows(view);
        let matching = self.tasks.iter().filter(|row| passes(row, &view.filter)).count();
        let height = view.height.max(1);
        let mut offset = view.offset.min(rows.len().saturating_sub(1));
        if let Some(task) = view.cursor.filter(|_| view.follow) {
            let stage = self.tasks.get(task.index()).map(|row| row.stage.clone()).unwrap_or_default();
            let at = rows.iter().position(|row| matches!(row, Row::Task(row) if row.task == task));
            let line =
                || rows.iter().position(|row| matches!(row, Row::Group(row) if row.name == stage && row.collapsed));
            if let Some(at) = at.or_else(line) {
                offset = offset.clamp((at + 1).saturating_sub(height), at);
            }
        }
        Snapshot {
            compensation: Default::default(),
            header: self.header(),
            counts: counts(self.tasks.iter()),
            matching,
            total_rows: rows.len(),
            offset,
            rows: rows.into_iter().skip(offset).take(height).collect(),
            running: None,
            agents: agents(),
            locks: locks(),
            progress: progress(),
            detail: view.cursor.and_then(|task| self.tasks.get(task.index())).map(|row| self.detail(row)),
            alerts: alerts(),
            shared: Default::default(),
            posts: Vec::new(),
            actions: actions(),
            record: if view.record { self.record.clone() } else { Arc::default() },
            waits: Arc::default(),
            marked: Arc::new(view.marked.iter().filter_map(|task| self.marked(*task)).collect()),
            to_mark: view.marking.map(|marking| Arc::new(self.to_mark(view, marking))),
            graph: match (view.graph, &self.frozen) {
                (Some((node, depth)), Some(frozen)) => Arc::new(around(frozen, node, depth, NOW)),
                _ => Arc::default(),
            },
        }
    }

    fn marked(&self, task: TaskId) -> Option<MarkRow> {
        let row = self.tasks.get(task.index())?;
        Some(MarkRow {
            task,
            name: row.name.clone(),
            phase: row.phase,
            since: row.since,
            priority: row.priority,
            attempt: row.attempt,
            falls_back: false,
        })
    }

    fn to_mark(&self, view: &View, marking: Marking) -> Vec<TaskId> {
        let open = View { collapsed: vec![], ..view.clone() };
        let rows = self.rows(if matches!(marking, Marking::Range(..)) { view } else { &open });
        let place = |task: TaskId| rows.iter().position(|row| matches!(row, Row::Task(row) if row.task == task));
        let rows: Vec<&Row> = match marking {
            Marking::Range(from, to) => match (place(from), place(to)) {
                (Some(from), Some(to)) => rows[from.min(to)..=from.max(to)].iter().collect(),
                _ => vec![],
            },
            _ => rows.iter().collect(),
        };
        let mut within = true;
        let mut list = Vec::new();
        for row in rows {
            match (row, marking) {
                (Row::Group(group), Marking::Stage(stage)) => within = group.stage == stage,
                (Row::Task(row), _) if within => list.push(row.task),
                _ => {}
            }
        }
        list
    }

    fn header(&self) -> Header {
        Header {
            workflow: "nightly-build".into(),
            session: "nightly-7f3a".into(),
            at: self.now,
            started: Time(NOW.0 - 2_530_000),
            mode: self.mode,
            due: Some((Time(NOW.0 + 6_929_000), "link:server".into())),
            undo: Some("priority of link:server 45 → 50".into()),
            log_dir: self.log.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default(),
            ..Header::default()
        }
    }

    fn rows(&self, view: &View) -> Vec<Row> {
        let shown = |stage: Option<&str>| {
            let mut rows: Vec<&TaskRow> = self
                .tasks
                .iter()
                .filter(|row| stage.is_none_or(|stage| row.stage == stage) && passes(row, &view.filter))
                .collect();
            match view.sort {
                Sort::Schedule => rows.sort_by_key(|row| (row.phase, Reverse(row.priority))),
                Sort::Name => rows.sort_by_key(|row| row.name.clone()),
                Sort::Priority => rows.sort_by_key(|row| Reverse(row.priority)),
                Sort::Deadline => rows.sort_by_key(|row| row.deadline.unwrap_or(Time(u64::MAX))),
                Sort::Age => rows.sort_by_key(|row| row.since),
            }
            if view.reverse {
                rows.reverse();
            }
            rows
        };
        if view.group == Group::None {
            return shown(None).into_iter().cloned().map(Row::Task).collect();
        }
        let mut out = Vec::new();
        for (i, (stage, _)) in STAGES.iter().enumerate() {
            let rows = shown(Some(stage));
            if rows.is_empty() {
                continue;
            }
            let collapsed = view.collapsed.contains(&StageId(i as u32));
            out.push(Row::Group(GroupRow {
                stage: StageId(i as u32),
                name: (*stage).into(),
                collapsed,
                counts: counts(self.tasks.iter().filter(|row| row.stage == *stage)),
                why: (i > 1).then(|| format!("needs {}", STAGES[i - 1].0)),
                round: 1,
            }));
            if !collapsed {
                out.extend(rows.into_iter().cloned().map(Row::Task));
            }
        }
        out
    }

    fn detail(&self, row: &TaskRow) -> Detail {
        let line = |met: bool, text: &str, more: &[&str]| WhyLine {
            met,
            text: text.into(),
            more: more.iter().map(|line| (*line).to_owned()).collect(),
        };
        let why = match row.phase {
            Phase::Running => {
                vec![line(true, &format!("runs on {}, pid 8812", row.agent.clone().unwrap_or_default()), &[])]
            }
            Phase::Succeeded => vec![line(true, "exit 0 on its first attempt", &[])],
            Phase::Failed => {
                vec![line(false, "exit 1, both attempts used up", &["last words: 3 dead links in docs/guide.md"])]
            }
            _ => vec![
                line(true, "needs compile:server: done 12:01", &[]),
                line(true, "needs gen:proto: done 11:40", &[]),
                line(
                    false,
                    "lock db-schema (exclusive): 1 of 1 in use",
                    &[
                        "holder  migrate:1  pid 8812 on a2 since 11:58",
                        "line    1 release:notes (55)  2 link:server (50)  3 vacuum (10)",
                    ],
                ),
                line(true, "an agent with “linker”: a1 or a2", &[]),
                line(true, "the session is not paused", &[]),
            ],
        };
        let attempt = |n: u32, ran: Option<u64>, outcome: &str| AttemptLine {
            attempt: Attempt(n),
            agent: "a3".into(),
            started: Time(NOW.0 - 600_000 * u64::from(4 - n)),
            ran: ran.map(Span::secs),
            outcome: outcome.into(),
            good: outcome == "exit 0",
            log: Some(n.into()),
        };
        let attempts = match row.phase {
            Phase::Running => vec![attempt(2, None, "running"), attempt(1, Some(12), "exit 2")],
            Phase::Failed => vec![attempt(2, Some(41), "exit 1"), attempt(1, Some(39), "exit 1")],
            Phase::Succeeded => vec![attempt(1, Some(19), "exit 0")],
            _ => vec![],
        };
        let facts = [
            ("uses", "db-schema exclusive, cpu 2, mem 2GiB"),
            ("needs", "linker"),
            ("timeout", "15m00"),
            ("retry", "3 attempts, 2s doubling to 1m"),
        ];
        let mut facts: Vec<(String, String)> = facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        if row.name.starts_with("link") {
            facts.push(("fallback".into(), "link:cached".into()));
        }
        Detail {
            row: row.clone(),
            why,
            command: format!("make -C server {} LDFLAGS=-flto=thin", row.name),
            fallbacks: match row.name.starts_with("link") {
                true => vec!["now    link:cached: runs in its place: cp cache/link.a out/".into()],
                false => vec![],
            },
            replaced_by: row.fallback.as_ref().map(|_| "cp cache/link.a out/".into()),
            facts,
            attempts,
            log: self.log.clone().filter(|_| !matches!(row.phase, Phase::Waiting | Phase::Ready)),
            after: vec!["compile:server".into(), "gen:proto".into()],
            before: vec!["test:e2e".into(), "package:deb".into(), "98 more".into()],
        }
    }

    fn task(&mut self, task: TaskId) -> &mut TaskRow {
        &mut self.tasks[task.index()]
    }

    fn apply(&mut self, command: &Command) -> Result<String, Refusal> {
        let name = |sample: &mut Self, task: TaskId| sample.task(task).name.clone();
        Ok(match command {
            Command::SetPriority { task, priority } => {
                self.task(*task).priority = *priority;
                format!("priority of {} is {priority}", name(self, *task))
            }
            Command::Hold { task } => {
                self.task(*task).phase = Phase::Held;
                format!("{} is held", name(self, *task))
            }
            Command::Release { task } => {
                self.task(*task).phase = Phase::Ready;
                format!("{} is released", name(self, *task))
            }
            Command::Cancel { task } | Command::Kill { task } => {
                self.task(*task).phase = Phase::Cancelled;
                format!("{} is cancelled", name(self, *task))
            }
            Command::Retry { task } => {
                self.task(*task).phase = Phase::Ready;
                format!("{} is queued again", name(self, *task))
            }
            Command::Pause => {
                self.mode = Mode::Paused;
                "paused: nothing new starts".into()
            }
            Command::Resume => {
                self.mode = Mode::Running;
                "going on".into()
            }
            other => return Err(Refusal(format!("the sample cannot do {other:?}"))),
        })
    }
}

impl Feed for Sample {
    fn snapshot(&mut self, view: &View) -> Arc<Snapshot> {
        Arc::new(self.picture(view))
    }
    fn changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
    fn send(&mut self, command: Command) -> u64 {
        let answer = self.apply(&command);
        self.sent.push(command);
        self.changed = true;
        self.answers.push_back((self.sent.len() as u64, answer));
        self.sent.len() as u64
    }
    fn answers(&mut self) -> Vec<(u64, Result<String, Refusal>)> {
        self.answers.drain(..).collect()
    }
    fn now(&self) -> Time {
        self.now
    }
    fn suspend(&mut self) {}
    fn outputs(&mut self, stage: &str, most: usize) -> (Vec<Output>, usize) {
        let folder = self.header().log_dir;
        let tasks = self.tasks.iter().filter(|row| row.stage == stage && row.attempt > 0);
        let output = |row: &TaskRow| Output {
            name: row.name.clone(),
            log: folder.join(row.name.replace(':', "-")),
            started: row.since,
            ended: (row.phase != Phase::Running).then_some(self.now),
        };
        (tasks.map(output).filter(|output| output.log.exists()).take(most).collect(), 0)
    }
    fn quit(&mut self, how: QuitHow) {
        self.left = Some(how);
    }
    fn ended(&self) -> Option<i32> {
        self.left.map(|_| 3)
    }
}

fn passes(row: &TaskRow, filter: &Filter) -> bool {
    filter.terms.iter().all(|term| {
        let holds = match &term.test {
            FilterTest::Text(text) => row.name.contains(text.as_str()),
            FilterTest::State(phases) => phases.contains(&row.phase),
            FilterTest::Stage(stage) => row.stage.contains(stage.as_str()),
            FilterTest::Priority(order, value) => row.priority.cmp(value) == *order,
            FilterTest::Lock(lock) => row.note.contains(lock.as_str()),
            FilterTest::Tag(_) => false,
        };
        holds != term.negated
    })
}

fn counts<'a>(rows: impl Iterator<Item = &'a TaskRow>) -> Counts {
    let mut counts = Counts { retries: 2, ..Counts::default() };
    for row in rows {
        counts.total += 1;
        *match row.phase {
            Phase::Running => &mut counts.running,
            Phase::Stopping => &mut counts.stopping,
            Phase::Ready => &mut counts.ready,
            Phase::Delayed => &mut counts.delayed,
            Phase::Awaiting => &mut counts.awaiting,
            Phase::Waiting => &mut counts.waiting,
            Phase::Held => &mut counts.held,
            Phase::Blocked => &mut counts.blocked,
            Phase::Failed => &mut counts.failed,
            Phase::Lost => &mut counts.lost,
            Phase::Cancelled => &mut counts.cancelled,
            Phase::Skipped => &mut counts.skipped,
            Phase::Succeeded => &mut counts.succeeded,
        } += 1;
    }
    counts
}

fn agents() -> Vec<AgentRow> {
    let agent = |n: u32, busy: u32, tasks: &[&str], cpu: f32, load: [f32; 8]| AgentRow {
        name: format!("a{n}"),
        id: Some(AgentId(n - 1)),
        busy,
        slots: 2,
        resources: vec![],
        tasks: tasks.iter().map(|task| (*task).to_owned()).collect(),
        cpu_percent: Some(cpu),
        memory: Some(1_400_000_000 * u64::from(busy)),
        load: load.to_vec(),
        capabilities: vec!["shell".into()],
        lost: None,
        ran: None,
    };
    vec![
        agent(1, 2, &["compile:core", "link:tools"], 198.0, [1.0, 1.0, 1.0, 1.0, 0.8, 0.8, 1.0, 1.0]),
        agent(2, 2, &["compile:net", "migrate:1"], 81.0, [0.5, 0.7, 1.0, 1.0, 0.5, 0.5, 0.8, 1.0]),
        agent(3, 1, &["compile:ui"], 100.0, [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        agent(4, 0, &[], 0.0, [0.3, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ]
}

fn locks() -> Vec<LockRow> {
    let lock = |n: u32, name: &str, used: &str, share: f64, holders: &[&str], waiting: usize, line: &[&str]| LockRow {
        resource: ResourceId(n),
        name: name.into(),
        used: used.into(),
        share,
        holders: holders.iter().map(|name| ((*name).to_owned(), "exclusive".to_owned())).collect(),
        waiting,
        line: line.iter().map(|name| (*name).to_owned()).collect(),
        reserved_for: (n == 2).then(|| "link:server".to_owned()),
        capacity: (used != "1/1" && used != "free").then(|| Amount::units(4)),
    };
    vec![
        lock(2, "db-schema", "1/1", 1.0, &["migrate:1"], 3, &["release:notes", "link:server", "vacuum"]),
        lock(
            3,
            "licence:vcs",
            "4/4",
            1.0,
            &["compile:core", "compile:net", "compile:ui", "link:tools"],
            2,
            &["test:03", "test:04"],
        ),
        lock(4, "gpu", "1/2", 0.5, &["train:a"], 0, &[]),
        lock(5, "port:8080", "0/1", 0.0, &[], 0, &[]),
    ]
}

fn progress() -> Progress {
    Progress {
        quality: None,
        goals: vec![("tested".into(), Some(true)), ("shipped".into(), None)],
        phases: Vec::new(),
        throughput: vec![0.5, 1.0, 1.0, 1.5, 2.0, 1.5, 2.5, 3.0, 2.5, 2.0, 2.5, 2.4],
        per_minute: 2.4,
        wait: Some((Span::secs(370), Span::secs(1260))),
        run: Some((Span::secs(33), Span::secs(410))),
        critical: ["migrate:1", "link:server", "test:e2e"].map(String::from).to_vec(),
        limits: vec![("db-schema".into(), 0.38), ("licence:vcs".into(), 0.21), ("slots".into(), 0.17)],
        utilisation: 0.82,
        attempts: (50, 4),
        eta: None,
        eta_why_not: Some("184 tasks have no estimate".into()),
    }
}

fn alerts() -> Vec<Alert> {
    let alert = |ago: u64, text: &str, count, task, bad| Alert {
        at: Time(NOW.0 - ago * 1000),
        text: text.into(),
        count,
        task: Some(TaskId(task)),
        bad,
    };
    vec![
        alert(91, "compile:ui is over its estimate", 1, 14, false),
        alert(300, "docs:links failed: exit 1", 1, 21, true),
        alert(320, "3 tasks are blocked behind docs:links", 3, 61, false),
    ]
}

fn actions() -> Vec<Action> {
    let action =
        |ago: u64, who: &str, text: &str| Action { at: Time(NOW.0 - ago * 1000), who: who.into(), text: text.into() };
    vec![
        action(40, "you", "priority of link:server 45 → 50"),
        action(65, "rule", "link:tools falls back to link:cached"),
        action(551, "you", "hold bench:short"),
    ]
}

/// A model on the sample, settled, for pictures and tests.
pub(super) fn model(
    size: (u16, u16),
    theme: &str,
    depth: super::theme::Depth,
) -> (super::model::Model, Sample, Arc<Snapshot>) {
    let mut sample = Sample::default();
    let theme = super::theme::Theme::built_in(theme, depth).expect("a built-in theme");
    let mut model = super::model::Model::new(size, theme, depth);
    model.now = NOW;
    model.ui_ms = 100_000;
    let mut snapshot = Arc::default();
    super::settle(&mut sample, &mut model, &mut snapshot);
    (model, sample, snapshot)
}

/// What has run in it: facts that fit the rows, folded as a journal is. Names are changed before.
pub fn record(name: impl Fn(&str) -> String) -> Record {
    Record::of(&frozen(name), NOW)
}

/// The State that these facts fold into.
pub fn frozen(name: impl Fn(&str) -> String) -> Frozen {
    use crate::engine::decide::Engine;
    use crate::engine::definition::*;
    use crate::engine::fact::{Cause, Fact, Outcome, Stamped, Then};
    use crate::engine::message::Usage;
    use crate::engine::state::State;

    let began = Time(NOW.0 - 2_530_000);
    let rows = tasks();
    let mut facts: Vec<(Time, Fact)> = vec![
        (began, Fact::Configured(Box::new(Settings { name: name("nightly-build"), ..Settings::default() }))),
        (began, Fact::ResourceAdded(ResourceDefinition::new(name("db-schema"), ResourceKind::Lock))),
    ];
    for agent in ["a1", "a2", "a3", "a4"] {
        let agent = AgentDefinition {
            name: name(agent),
            slots: 2,
            capabilities: vec![],
            resources: vec![],
            launcher: Vec::new(),
            health: None,
        };
        facts.push((began, Fact::AgentAdded(agent)));
    }
    for (stage, _) in STAGES {
        facts.push((began, Fact::StageAdded(WorkflowStage { name: name(stage), after: vec![], when: None })));
    }
    for (n, row) in rows.iter().enumerate() {
        let waits = matches!(row.phase, Phase::Waiting | Phase::Blocked | Phase::Held);
        let locks = [15, 16, 18, 60].contains(&n);
        let need = ResourceRequirement { resource: ResourceId(0), amount: Amount::WHOLE_LOCK };
        let command = CommandSpec::new(CommandLine::Shell("true".into()));
        let stage = STAGES.iter().position(|(name, _)| *name == row.stage).unwrap_or(0);
        let definition = TaskDefinition {
            care: None,
            compensation: None,
            compensates: None,
            barrier: None,
            monitor: None,
            made_by: None,
            added_by: None,
            preemptible: false,
            id: name(&row.name),
            stage: StageId::from(stage),
            task_type: TaskType::Run(Arc::new(command)),
            requirements: Requirements {
                resources: if locks { vec![need] } else { vec![] },
                ..Requirements::default()
            },
            priority: row.priority,
            deadline: None,
            after: match n {
                16 => vec![TaskId(11), TaskId(23), TaskId(24)],
                17 => vec![TaskId(12), TaskId(16)],
                _ if waits => vec![TaskId(16)],
                12.. => vec![TaskId(11)],
                _ => vec![],
            },
            timeout: None,
            estimate: None,
            retry: Retry { attempts: 2, backoff: Backoff::default(), on: Vec::new() },
            fallback: vec![],
            tags: vec![],
            join: Join::default(),
            entry: None,
        };
        facts.push((began, Fact::TaskAdded(Arc::new(definition))));
    }
    facts.push((began, Fact::Loaded { tasks: rows.len() as u32 }));
    let mut free = [began; 8];
    let mut run = |facts: &mut Vec<(Time, Fact)>, task: usize, attempt: u32, ran: u64, outcome: Outcome, then: Then| {
        let lane = (0..8).min_by_key(|lane| free[*lane]).unwrap_or(0);
        let (task, attempt, agent) = (TaskId(task as u32), Attempt(attempt), AgentId(lane as u32 % 4));
        facts.push((free[lane], Fact::Starting { task, attempt, agent }));
        free[lane] = free[lane].plus(Span::secs(ran));
        facts.push((free[lane], Fact::Ended { task, attempt, outcome, usage: Usage::default(), output: 1, then }));
    };
    for n in (0..12).chain(23..61) {
        run(&mut facts, n, 1, 60 + 37 * (n as u64 % 9), Outcome::Succeeded, Then::Rest);
    }
    let failed = Outcome::Failed(Cause::Exit(1));
    run(&mut facts, 21, 1, 39, failed.clone(), Then::Retry(Time(0)));
    run(&mut facts, 21, 2, 41, failed, Then::Rest);
    for (task, ago, agent) in [(14, 400, 2), (15, 391, 1), (12, 192, 0), (13, 178, 1), (22, 65, 0)] {
        let (task, attempt, agent) = (TaskId(task), Attempt(1), AgentId(agent));
        facts.push((Time(NOW.0 - ago * 1000), Fact::Starting { task, attempt, agent }));
    }
    facts.sort_by_key(|(at, _)| *at);
    let mut state = State::default();
    facts.into_iter().for_each(|(at, fact)| state.apply(&Stamped { at, fact }));
    let mut engine = Engine::new(state);
    engine.look_around();
    Frozen { engine, ..Frozen::default() }
}
