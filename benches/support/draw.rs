//! What a frame of a large session costs the screen's thread: from a new picture to the finished buffer, with the letting
//! go of the picture before. The engine goes on between frames, so that nothing shown is the same twice. Knows no
//! processes: their reports are made up.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use quarterdeck::engine::decide::{Engine, Turn};
use quarterdeck::engine::definition::{
    AgentDefinition, CommandLine, CommandSpec, Deadline, Join, Requirements, ResourceDefinition, ResourceKind,
    ResourceRequirement, Retry, Settings, TaskDefinition, TaskType, Workflow, WorkflowStage,
};
use quarterdeck::engine::ids::{Amount, Attempt, ResourceId, Span, StageId, TaskId, Time};
use quarterdeck::engine::message::{Command, Effect, Exit, Input, News, Origin, Process, Refusal, Report, Usage, What};
use quarterdeck::snapshot::build::{Frozen, Load, Rates, build};
use quarterdeck::snapshot::{Snapshot, View};
use quarterdeck::tui::canvas::Canvas;
use quarterdeck::tui::keymap::Key;
use quarterdeck::tui::{Feed, Options, QuitHow};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// Columns and rows of the screen.
const SIZE: (u16, u16) = (160, 45);
/// Frames measured of each kind.
const FRAMES: usize = 200;
/// Frames before them that are not.
const WARM_UP: usize = 10;
/// What a frame may take, ms.
const AIM: f64 = 2.0;
/// Tasks that end, and others that start, between two frames: 600 a second at 30 frames.
const ENDED_PER_FRAME: usize = 20;
/// Time between two frames.
const BETWEEN: Span = Span(33);
const AGENTS: usize = 4;
const SLOTS: u32 = 16;
const LOCKS: usize = 8;

/// All kinds of sessions and what is looked at in them.
pub fn all() {
    let large = super::number("QD_BENCH_LARGE", 1_000_000);
    for (count, own_class) in [(100_000, false), (100_000, true), (large, false)] {
        let kind = if own_class { ", each a class of its own" } else { "" };
        println!("a frame of {}x{} with {count} tasks{kind} (aim {AIM} ms):", SIZE.0, SIZE.1);
        let mut session = Session::load(count, own_class);
        session.screen("top of the list", |_, _| {});
        session.screen("in the middle of a stage", |canvas, _| canvas.go_to(count / 4));
        session.screen("filter state:failed", typed("/state:failed"));
        session.screen("filter lock:lock-1", typed("/lock:lock-1"));
        session.screen("filter of a name in 10 %", typed("/t7"));
        session.screen("sorted by name", |canvas, session| canvas.press(session, [Key::Char('s'), Key::Char('n')]));
    }
}

fn typed(text: &'static str) -> impl Fn(&mut Canvas, &mut Session) {
    move |canvas, session| canvas.press(session, text.chars().map(Key::Char).chain([Key::Enter]))
}

/// A running session without processes, as the screen is fed from it.
struct Session {
    engine: Engine,
    now: Time,
    running: VecDeque<(TaskId, Attempt)>,
    ended: u64,
    rates: Arc<Rates>,
    /// What the loop has put out.
    fresh: Option<Arc<Frozen>>,
    /// What the screen holds.
    frozen: Arc<Frozen>,
    /// How long pictures took since this was last set to 0, ms.
    pictures: f64,
}

impl Session {
    fn load(count: usize, own_class: bool) -> Self {
        let rates = Rates {
            ended: vec![3000; 120],
            wait: Some((Span::secs(3), Span::secs(9))),
            run: Some((Span::secs(1), Span::secs(2))),
            busy: vec![vec![0.9; 120]; AGENTS],
        };
        let mut session = Self {
            engine: Engine::default(),
            now: Time(1_792_584_271_000),
            running: VecDeque::new(),
            ended: 0,
            rates: Arc::new(rates),
            fresh: None,
            frozen: Arc::default(),
            pictures: 0.0,
        };
        let load = Command::Load(Arc::new(workflow(count, own_class)));
        session.tell(What::Command { by: Origin::Operator, command: load });
        for _ in 0..count / 20 / ENDED_PER_FRAME {
            session.go_on();
        }
        session
    }

    fn tell(&mut self, what: What) {
        let turn = self.engine.decide(&Input { at: self.now, what });
        self.carry_out(turn);
    }

    /// What is to start has started; that there is nothing to signal is not looked at.
    fn carry_out(&mut self, turn: Turn) {
        for effect in turn.effects {
            let Effect::Start(order) = effect else { continue };
            let (task, attempt) = (order.task, order.attempt);
            let process = Process { pid: 1000 + (task.0 % 30_000) as i32, start_ticks: 1 };
            self.running.push_back((task, attempt));
            let news = News::Started { process, log: u64::from(task.0) + 1 };
            self.tell(What::Report(Report { task, attempt, news }));
        }
    }

    /// The time of one frame passes: some tasks end (one in 20 badly), others start.
    fn go_on(&mut self) {
        self.now = self.now.plus(BETWEEN);
        for _ in 0..ENDED_PER_FRAME {
            let Some((task, attempt)) = self.running.pop_front() else { return };
            self.ended += 1;
            let exit = Exit::Code(if self.ended.is_multiple_of(20) { 1 + (self.ended / 20 % 5) as i32 } else { 0 });
            let news = News::Exited { exit, usage: Usage::default(), output: 100, left: 0, findings: None };
            self.tell(What::Report(Report { task, attempt, news }));
        }
    }

    /// As the loop does it: a clone of everything for the screen.
    fn publish(&mut self) {
        let tasks = self.running.iter().map(|(task, _)| (*task, (50.0, 1 << 24)));
        self.fresh = Some(Arc::new(Frozen {
            engine: self.engine.clone(),
            session: "bench".into(),
            log_dir: PathBuf::from("logs"),
            rates: self.rates.clone(),
            load: Arc::new(Load { tasks: tasks.collect(), sampled: true }),
            ..Frozen::default()
        }));
    }

    /// Measures frames of a screen that was brought to what is to be seen.
    fn screen(&mut self, what: &str, bring: impl Fn(&mut Canvas, &mut Self)) {
        let variable = |name: &str| (name == "LANG").then(|| "C.UTF-8".to_owned());
        let options = Options::detect(Some("dark"), variable).expect("a built-in theme");
        let mut terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1)).expect("a backend in memory");
        let mut canvas = Canvas::new(&options, SIZE);
        self.publish();
        terminal.draw(|frame| _ = canvas.draw(self, frame.buffer_mut())).expect("drawn in memory");
        bring(&mut canvas, self);
        let (mut frames, mut cpu, mut pictures, mut clones, mut rows) = (vec![], vec![], vec![], vec![], 0);
        for _ in 0..WARM_UP + FRAMES {
            self.go_on();
            let began = Instant::now();
            self.publish();
            clones.push(ms(began));
            self.pictures = 0.0;
            let (began, used) = (Instant::now(), cpu_ms());
            terminal.draw(|frame| rows = canvas.draw(self, frame.buffer_mut()).rows.len()).expect("drawn in memory");
            frames.push(ms(began));
            cpu.push(cpu_ms() - used);
            pictures.push(self.pictures);
        }
        assert!(rows > 10, "{what}: the queue shows {rows} rows: that is no frame to measure");
        let of = |all: &mut Vec<f64>| {
            all.drain(..WARM_UP);
            (super::median(all), all[all.len() - 1])
        };
        let ((frame, worst), (cpu, worst_cpu)) = (of(&mut frames), of(&mut cpu));
        let ((picture, _), (clone, _)) = (of(&mut pictures), of(&mut clones));
        println!(
            "  {what:26} median {frame:.2} ms (cpu {cpu:.2}), worst {worst:.2} (cpu {worst_cpu:.2}); \
             of it the picture {picture:.2}; the loop's clone {clone:.2}"
        );
    }
}

impl Feed for Session {
    fn snapshot(&mut self, view: &View) -> Arc<Snapshot> {
        let began = Instant::now();
        if let Some(frozen) = self.fresh.take() {
            self.frozen = frozen;
        }
        let snapshot = Arc::new(build(&self.frozen, view, self.now));
        self.pictures += ms(began);
        snapshot
    }
    fn changed(&mut self) -> bool {
        self.fresh.is_some()
    }
    fn send(&mut self, _: Command) -> u64 {
        0
    }
    fn answers(&mut self) -> Vec<(u64, Result<String, Refusal>)> {
        Vec::new()
    }
    fn now(&self) -> Time {
        self.now
    }
    fn suspend(&mut self) {}
    fn quit(&mut self, _: QuitHow) {}
    fn ended(&self) -> Option<i32> {
        None
    }
}

/// CPU time of this thread so far: what a busy machine does not lengthen.
fn cpu_ms() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1000.0 + now.tv_nsec as f64 / 1e6
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}

/// Two stages of tasks, some of which share locks, wait for others, have tags, deadlines, priorities.
fn workflow(count: usize, own_class: bool) -> Workflow {
    let command = Arc::new(CommandSpec::new(CommandLine::Shell("make it".into())));
    let cpu = ResourceDefinition::new("cpu", ResourceKind::PerAgent);
    let lock = |n| ResourceDefinition::new(format!("lock-{n}"), ResourceKind::Lock);
    let task = |n: usize| {
        let mut resources = vec![ResourceRequirement { resource: ResourceId(0), amount: Amount::units(1) }];
        if n.is_multiple_of(10) {
            let resource = ResourceId::from(1 + n / 10 % LOCKS);
            resources.push(ResourceRequirement { resource, amount: Amount::WHOLE_LOCK });
        }
        TaskDefinition {
            id: format!("t{n}"),
            stage: StageId(u32::from(n >= count / 2)),
            task_type: TaskType::Run(command.clone()),
            requirements: Requirements { resources, ..Requirements::default() },
            priority: (n % 7) as i32,
            deadline: n.is_multiple_of(100).then_some(Deadline::After(Span::secs(3600 + n as u64))),
            after: if n >= count / 2 { vec![TaskId::from(n - count / 2)] } else { Vec::new() },
            timeout: None,
            estimate: own_class.then(|| Span(1000 + n as u64)),
            retry: Retry::default(),
            fallback: Vec::new(),
            tags: if n.is_multiple_of(5) { vec!["slow".into()] } else { Vec::new() },
            join: Join::default(),
            entry: None,
            care: None,
            compensation: None,
            compensates: None,
            barrier: None,
            monitor: None,
            made_by: None,
            added_by: None,
            preemptible: false,
        }
    };
    let agent = |n| AgentDefinition {
        launcher: Vec::new(),
        health: None,
        name: format!("agent-{n}"),
        slots: SLOTS,
        capabilities: Vec::new(),
        resources: vec![(ResourceId(0), Amount::units(u64::from(SLOTS)))],
    };
    let stage = |name: &str| WorkflowStage { name: name.into(), after: Vec::new(), when: None };
    Workflow {
        windows: Vec::new(),
        goals: Vec::new(),
        barriers: Vec::new(),
        settings: Settings { name: "bench".into(), ..Settings::default() },
        resources: std::iter::once(cpu).chain((0..LOCKS).map(lock)).collect(),
        agents: (0..AGENTS).map(agent).collect(),
        stages: vec![stage("build"), stage("test")],
        transitions: Vec::new(),
        phases: Vec::new(),
        fallbacks: Vec::new(),
        tasks: (0..count).map(task).collect(),
    }
}
