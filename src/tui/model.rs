//! What the screen itself knows: where the cursor is, what is open, what was typed so far. Plain data; `update` changes
//! it, `view` draws it. Knows nothing of terminals or files.

use std::collections::VecDeque;

use jiff::tz::TimeZone;
use tui_textarea::TextArea;

use crate::engine::ids::{AgentId, ResourceId, StageId, TaskId, Time};
use crate::engine::message::Command;
use crate::snapshot::graph::Node;
use crate::snapshot::{Filter, Group, Phase, Row, Snapshot, Sort, TaskRow, View};

use super::chart::Chart;
use super::keymap::{Context, Key};
use super::layout::{self, Areas};
use super::log::{Desk, Log};
use super::marks::Marks;
use super::theme::{Depth, Theme};

/// At most so many toasts wait to be read.
pub const MAX_TOASTS: usize = 8;
/// How long a toast stays, in ms of the screen's clock.
pub const TOAST_MS: u64 = 5000;
/// How long after a prefix its popup appears, ms.
pub const WHICH_KEY_MS: u64 = 300;
/// At most so many stages are remembered by name.
pub const MAX_STAGES: usize = 4096;
/// A field takes at most so many characters.
pub const MAX_FIELD: usize = 1000;
/// A task that is written has at most so many characters.
pub const MAX_TASK: usize = 8000;

/// A pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Pane {
    Queue,
    Agents,
    Locks,
    Progress,
    Log,
    Detail,
    Timeline,
    Graph,
}

impl Pane {
    /// Those that share the screen, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Queue, Self::Agents, Self::Locks, Self::Progress, Self::Log, Self::Detail];

    /// Its number on the keyboard.
    pub fn number(self) -> usize {
        self as usize + 1
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        ["Queue", "Agents", "Locks", "Progress", "Log", "Task", "Timeline", "Graph"][self as usize]
    }
    /// It has the whole screen to itself, and no number.
    pub fn is_alone(self) -> bool {
        matches!(self, Self::Timeline | Self::Graph)
    }
}

/// What the detail pane shows. `Log` puts the log pane in its place where they share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tab {
    Why,
    Log,
    Info,
    Attempts,
}

impl Tab {
    /// In the order in which `d` goes through them.
    pub const ALL: [Self; 4] = [Self::Why, Self::Log, Self::Info, Self::Attempts];

    /// Its name.
    pub fn name(self) -> &'static str {
        ["Why", "Log", "Info", "Attempts"][self as usize]
    }
}

/// What the queue's cursor is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Nothing: there are no rows.
    Nowhere,
    /// A task.
    Task(TaskId),
    /// A stage's line.
    Group(StageId),
}

/// How the cursor finds its row in the next snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// It has its row, and follows what it is on.
    Settled,
    /// The first task there is.
    First,
    /// Whatever is at its row.
    Row,
    /// Its task, wherever that is; filters and collapsed stages give way.
    Task,
    /// The line of this stage, which was just collapsed over it.
    Fold(StageId),
}

/// The queue.
#[derive(Debug)]
#[allow(missing_docs, reason = "as in snapshot::View")]
pub struct Queue {
    pub group: Group,
    pub sort: Sort,
    pub reverse: bool,
    pub filter: Filter,
    pub filter_text: String,
    pub collapsed: Vec<StageId>,
    pub offset: usize,
    pub cursor: Cursor,
    /// Row of the cursor, from the first of all.
    pub row: usize,
    /// How many rows the last snapshot had in all.
    pub total: usize,
    pub seek: Seek,
    /// Stages whose lines have been seen, by name: at most [`MAX_STAGES`].
    pub stages: Vec<(String, StageId)>,
    /// Stages that were folded by themselves because they had not begun; they open when they do.
    pub folded_early: Vec<StageId>,
    /// The operator has not touched anything yet: the cursor goes along with what runs.
    pub untouched: bool,
    /// Stages that are not folded by themselves (again): the operator did it, or they were once.
    pub hands_off: Vec<StageId>,
}

/// The graph as it is seen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Walk {
    /// What it is drawn around.
    pub centre: Option<Node>,
    /// What the cursor is on.
    pub cursor: Option<Node>,
}

/// A short message that goes away by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// What it says.
    pub text: String,
    /// A refusal or a problem.
    pub bad: bool,
    /// Until when, by the screen's clock.
    pub until: u64,
}

/// What lies over the panes and has the keys.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dialog {
    Help {
        scroll: usize,
    },
    Tour {
        page: usize,
    },
    Why {
        scroll: usize,
    },
    Actions {
        scroll: usize,
    },
    Shared {
        scroll: usize,
    },
    Messages {
        scroll: usize,
    },
    Waits {
        row: usize,
    },
    Alerts {
        row: usize,
    },
    Menu {
        row: usize,
    },
    Themes {
        row: usize,
        before: Box<Theme>,
    },
    Palette {
        field: Box<TextArea<'static>>,
        row: usize,
    },
    Filter {
        field: Box<TextArea<'static>>,
        before: String,
        problem: Option<String>,
    },
    Search {
        field: Box<TextArea<'static>>,
        problem: Option<String>,
    },
    Say {
        field: Box<TextArea<'static>>,
    },
    /// A task is written: a new one, or what is to be another of this one.
    Write {
        field: Box<TextArea<'static>>,
        task: Option<(TaskId, String)>,
        problem: Option<String>,
    },
    Confirm {
        title: String,
        lines: Vec<String>,
        yes: String,
        command: Command,
    },
    Quit,
}

impl Dialog {
    /// Which part of the key table holds while it is open.
    pub fn context(&self) -> Context {
        match self {
            Self::Help { .. }
            | Self::Why { .. }
            | Self::Actions { .. }
            | Self::Shared { .. }
            | Self::Messages { .. } => Context::Popup,
            Self::Tour { .. } => Context::Tour,
            Self::Alerts { .. } | Self::Waits { .. } | Self::Menu { .. } | Self::Themes { .. } => Context::Choice,
            Self::Palette { .. }
            | Self::Filter { .. }
            | Self::Search { .. }
            | Self::Say { .. }
            | Self::Write { .. } => Context::Field,
            Self::Confirm { .. } => Context::Question,
            Self::Quit => Context::Leaving,
        }
    }
}

/// Keys typed that mean nothing yet.
#[derive(Debug, Default)]
pub struct Pending {
    /// A prefix.
    pub keys: Vec<Key>,
    /// When it began, by the screen's clock.
    pub since: u64,
    /// Digits typed before a command.
    pub digits: String,
    /// Focus and zoom before the first digit, which may have been the number of a pane.
    pub before: Option<(Pane, bool, Tab, Pane)>,
}

/// A value asked for that no snapshot shows yet, so that `+ + +` adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent<Id, Value> {
    /// Of what.
    pub id: Id,
    /// What the snapshot showed.
    pub seen: Value,
    /// What was asked.
    pub asked: Value,
}

/// What the screen itself knows.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it, or their types do")]
pub struct Model {
    /// Columns and rows of the screen.
    pub size: (u16, u16),
    /// The session's clock.
    pub now: Time,
    /// Milliseconds since the screen began: for popups, toasts and double clicks.
    pub ui_ms: u64,
    pub zone: TimeZone,
    /// Who sits at the keys: whose votes are given.
    pub who: String,
    pub theme: Theme,
    pub depth: Depth,
    pub ascii: bool,
    /// It shows a recording.
    pub replay: bool,
    pub queue: Queue,
    pub marks: Marks,
    pub focus: Pane,
    /// Which of the first four panes is shown where they are tabs.
    pub upper: Pane,
    pub zoom: bool,
    pub tab: Tab,
    pub agent_row: usize,
    pub lock_row: usize,
    /// The resource on that row, while the locks pane has the keys.
    pub lock: Option<ResourceId>,
    pub detail_scroll: usize,
    /// How many agents there are: the pane is as high as it needs to be.
    pub agents: usize,
    /// How logs are shown.
    pub desk: Desk,
    /// The log that is shown.
    pub log: Log,
    /// The one beside it, if there is one.
    pub other: Log,
    /// The timeline.
    pub chart: Chart,
    /// The graph.
    pub graph: Walk,
    pub dialog: Option<Dialog>,
    pub pending: Pending,
    pub toasts: VecDeque<Toast>,
    pub mouse: bool,
    pub last_click: Option<(u64, u16, u16)>,
    pub priority: Option<Intent<TaskId, i32>>,
    pub slots: Option<Intent<AgentId, u32>>,
    /// The operator has asked to stop: once more means kill.
    pub stop_asked: bool,
    /// The operator has asked to leave in some way: how, in words.
    pub leaving: Option<&'static str>,
}

impl Model {
    /// A screen of this size with nothing open.
    pub fn new(size: (u16, u16), theme: Theme, depth: Depth) -> Self {
        Self {
            size,
            now: Time(0),
            ui_ms: 0,
            zone: TimeZone::UTC,
            who: "operator".to_owned(),
            theme,
            depth,
            ascii: false,
            replay: false,
            queue: Queue {
                group: Group::Stage,
                sort: Sort::Schedule,
                reverse: false,
                filter: Filter::default(),
                filter_text: String::new(),
                collapsed: Vec::new(),
                offset: 0,
                cursor: Cursor::Nowhere,
                row: 0,
                total: 0,
                seek: Seek::First,
                stages: Vec::new(),
                folded_early: Vec::new(),
                hands_off: Vec::new(),
                untouched: true,
            },
            marks: Marks::default(),
            focus: Pane::Queue,
            upper: Pane::Queue,
            zoom: false,
            tab: Tab::Log,
            agent_row: 0,
            lock_row: 0,
            lock: None,
            detail_scroll: 0,
            agents: 1,
            desk: Desk::default(),
            log: Log { follow: true, ..Log::default() },
            other: Log { follow: true, ..Log::default() },
            chart: Chart::default(),
            graph: Walk::default(),
            dialog: None,
            pending: Pending::default(),
            toasts: VecDeque::new(),
            mouse: true,
            last_click: None,
            priority: None,
            slots: None,
            stop_asked: false,
            leaving: None,
        }
    }

    /// Where everything is now.
    pub fn areas(&self) -> Areas {
        layout::areas(self)
    }

    /// How many rows of the queue can be seen.
    pub fn queue_height(&self) -> usize {
        self.areas().queue_rows()
    }

    /// What the next snapshot is asked for.
    pub fn view(&self) -> View {
        let task = self.subject();
        View {
            group: self.queue.group,
            sort: self.queue.sort,
            reverse: self.queue.reverse,
            filter: self.queue.filter.clone(),
            collapsed: self.queue.collapsed.clone(),
            offset: self.queue.offset,
            height: self.queue_height().max(1),
            cursor: task,
            follow: task.is_some()
                && !self.focus.is_alone()
                && matches!(self.queue.seek, Seek::Settled | Seek::Task | Seek::Fold(_)),
            record: self.focus == Pane::Timeline,
            graph: self.graph.centre.filter(|_| self.focus == Pane::Graph).map(|node| (node, self.graph_depth())),
            waits: matches!(self.dialog, Some(Dialog::Waits { .. })),
            marked: self.marks.tasks.clone(),
            marking: self.marks.asked,
        }
    }

    /// The task that keys act on: under the cursor of the timeline while that is shown, else under the queue's.
    pub fn subject(&self) -> Option<TaskId> {
        match (self.focus, self.queue.cursor) {
            (Pane::Timeline, _) => self.chart.bar.map(|(task, _)| task).or(self.chart.task),
            (Pane::Graph, _) => match self.graph.cursor {
                Some(Node::Task(task)) => Some(task),
                _ => None,
            },
            (_, Cursor::Task(task)) => Some(task),
            _ => None,
        }
    }

    /// How many levels of the graph to each side fit on the screen.
    fn graph_depth(&self) -> usize {
        super::update::graph_depth(self.size.0)
    }

    /// The rows of the locks pane change places: while it has the keys, its cursor stays with its resource.
    fn go_along_with_the_lock(&mut self, snapshot: &Snapshot) {
        self.lock_row = self.lock_row.min(snapshot.locks.len().saturating_sub(1));
        if self.focus != Pane::Locks {
            self.lock = None;
            return;
        }
        match self.lock.and_then(|id| snapshot.locks.iter().position(|lock| lock.resource == id)) {
            Some(row) => self.lock_row = row,
            None => self.point_at_lock(self.lock_row, snapshot),
        }
    }

    /// Puts the cursor of the locks pane on a row.
    pub fn point_at_lock(&mut self, row: usize, snapshot: &Snapshot) {
        self.lock_row = row;
        self.lock = snapshot.locks.get(row).map(|lock| lock.resource);
    }

    /// Takes note of a snapshot; `true` if another must be asked for (the cursor has moved meanwhile).
    pub fn reconcile(&mut self, snapshot: &Snapshot) -> bool {
        self.agents = snapshot.agents.len();
        self.agent_row = self.agent_row.min(snapshot.agents.len().saturating_sub(1));
        self.go_along_with_the_lock(snapshot);
        if self.focus.is_alone() {
            // The queue is out of sight, and stays as it is.
            let before = (self.subject(), self.graph.cursor);
            super::update::stay(self, snapshot);
            return (self.subject(), self.graph.cursor) != before;
        }
        if self.settle_marks(snapshot) {
            return true;
        }
        self.queue.total = snapshot.total_rows;
        self.queue.offset = snapshot.offset;
        self.remember_stages(snapshot);
        if self.fold_quiet_stages(snapshot) {
            return true;
        }
        if self.go_along(snapshot) {
            return true;
        }
        let before = self.queue.cursor;
        let again = self.settle(snapshot);
        if self.queue.cursor != before {
            self.detail_scroll = 0;
            return again || matches!(self.queue.cursor, Cursor::Task(_)) || before != Cursor::Nowhere;
        }
        again
    }

    /// Until the operator has touched anything, the cursor is on something that runs, so that its output is seen. `true` if
    /// it has moved.
    fn go_along(&mut self, snapshot: &Snapshot) -> bool {
        if !self.queue.untouched || self.queue.seek != Seek::Settled {
            return false;
        }
        let over = self.task(snapshot).is_none_or(|row| matches!(row.phase, Phase::Succeeded | Phase::Skipped));
        if over && let Some((task, stage)) = snapshot.running {
            self.queue.collapsed.retain(|folded| *folded != stage);
            self.queue.folded_early.retain(|folded| *folded != stage);
            self.jump_to(task);
            return true;
        }
        false
    }

    fn settle(&mut self, snapshot: &Snapshot) -> bool {
        let found = snapshot.rows.iter().position(|row| is_on(self.queue.cursor, row));
        match (self.queue.seek, found) {
            (Seek::Settled | Seek::Task, Some(index)) => {
                self.queue.row = snapshot.offset + index;
                self.queue.seek = Seek::Settled;
                false
            }
            (Seek::Task, None) if !self.queue.collapsed.is_empty() => {
                self.queue.collapsed.clear();
                true
            }
            (Seek::Task, None) if !self.queue.filter.terms.is_empty() => {
                self.clear_filter();
                self.toast("the filter is off, to show that task".into(), false);
                self.queue.seek = Seek::Task;
                true
            }
            (Seek::Fold(stage), _) => {
                self.queue.cursor = Cursor::Group(stage);
                let line = snapshot.rows.iter().position(|row| is_on(self.queue.cursor, row));
                self.queue.row = line.map_or(self.queue.row, |line| snapshot.offset + line);
                self.settle_row(snapshot)
            }
            (Seek::First, _) => self.settle_first(snapshot),
            _ => self.settle_row(snapshot),
        }
    }

    /// Where not all rows fit, stages that are done or have not begun are one line, until the operator says otherwise.
    fn fold_quiet_stages(&mut self, snapshot: &Snapshot) -> bool {
        if self.queue.group != Group::Stage || !self.queue.filter.terms.is_empty() {
            return false;
        }
        // Once one is folded because it has not begun, all that have not begun are: a list of two kinds is hard to read.
        let crowded = snapshot.total_rows > self.queue_height();
        let alike = crowded || !self.queue.folded_early.is_empty();
        let home = self
            .task(snapshot)
            .map(|row| row.stage.clone())
            .filter(|_| self.queue.seek != Seek::First && !self.queue.untouched);
        let mut changed = false;
        for row in &snapshot.rows {
            let Row::Group(group) = row else { continue };
            let counts = &group.counts;
            let done = counts.total > 0 && counts.succeeded + counts.skipped == counts.total;
            let begun = counts.total != counts.waiting + counts.held;
            if begun && let Some(at) = self.queue.folded_early.iter().position(|stage| *stage == group.stage) {
                self.queue.folded_early.swap_remove(at);
                self.queue.collapsed.retain(|stage| *stage != group.stage);
                changed = true;
            } else if !group.collapsed
                && (crowded && done || alike && !begun && group.why.is_some())
                && home.as_ref() != Some(&group.name)
                && !self.queue.hands_off.contains(&group.stage)
                && !self.queue.folded_early.contains(&group.stage)
                && self.queue.hands_off.len() + self.queue.folded_early.len() < MAX_STAGES
            {
                if done { &mut self.queue.hands_off } else { &mut self.queue.folded_early }.push(group.stage);
                self.queue.collapsed.push(group.stage);
                changed = true;
            }
        }
        changed
    }

    fn remember_stages(&mut self, snapshot: &Snapshot) {
        for row in &snapshot.rows {
            if let Row::Group(group) = row
                && self.queue.stages.len() < MAX_STAGES
                && !self.queue.stages.iter().any(|(_, stage)| *stage == group.stage)
            {
                self.queue.stages.push((group.name.clone(), group.stage));
            }
        }
    }

    fn settle_first(&mut self, snapshot: &Snapshot) -> bool {
        let first = snapshot.rows.iter().position(|row| matches!(row, Row::Task(_)));
        self.queue.row = snapshot.offset + first.unwrap_or(0);
        self.settle_row(snapshot)
    }

    fn settle_row(&mut self, snapshot: &Snapshot) -> bool {
        if snapshot.total_rows == 0 {
            self.queue.cursor = Cursor::Nowhere;
            self.queue.row = 0;
            // A first task may still come.
            self.queue.seek = Seek::First;
            return false;
        }
        self.queue.row = self.queue.row.min(snapshot.total_rows - 1);
        match self.queue.row.checked_sub(snapshot.offset).and_then(|index| snapshot.rows.get(index)) {
            Some(row) => {
                self.queue.cursor = cursor_on(row);
                self.queue.seek = Seek::Settled;
                false
            }
            None => {
                self.queue.seek = Seek::Row;
                self.show_row();
                true
            }
        }
    }

    /// Moves the window by as little as needed to show the cursor's row.
    pub fn show_row(&mut self) {
        let height = self.queue_height().max(1);
        let row = self.queue.row;
        self.queue.offset = self.queue.offset.clamp((row + 1).saturating_sub(height), row);
    }

    /// Puts the cursor on this row of all.
    pub fn point_at(&mut self, row: usize, snapshot: &Snapshot) {
        self.queue.row = row.min(self.queue.total.saturating_sub(1));
        self.show_row();
        self.queue.seek = Seek::Row;
        let here = self.queue.row.checked_sub(snapshot.offset).and_then(|index| snapshot.rows.get(index));
        if let Some(here) = here {
            let cursor = cursor_on(here);
            if cursor != self.queue.cursor {
                self.detail_scroll = 0;
            }
            self.queue.cursor = cursor;
            self.queue.seek = Seek::Settled;
        }
    }

    /// The stage whose outputs are shown as one, while the cursor stays where it was when that was asked for.
    pub fn merged(&self) -> Option<&str> {
        self.desk.merged.as_deref().filter(|_| self.desk.merged_at == self.queue.cursor)
    }

    /// Puts the cursor on this task, wherever it is.
    pub fn jump_to(&mut self, task: TaskId) {
        self.queue.cursor = Cursor::Task(task);
        self.queue.seek = Seek::Task;
        self.detail_scroll = 0;
    }

    /// Shows everything again.
    pub fn clear_filter(&mut self) {
        self.queue.filter = Filter::default();
        self.queue.filter_text.clear();
        self.refind();
    }

    /// The rows will be others: the cursor looks for its task among them, or stays where it was.
    pub fn refind(&mut self) {
        self.queue.seek = if self.queue.cursor == Cursor::Nowhere { Seek::First } else { Seek::Settled };
    }

    /// The line of the task under the cursor, if a snapshot has it.
    pub fn task<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s TaskRow> {
        let task = self.subject()?;
        let shown = snapshot.rows.iter().find_map(|row| match row {
            Row::Task(row) if row.task == task => Some(row),
            _ => None,
        });
        shown.or_else(|| snapshot.detail.as_ref().map(|detail| &detail.row).filter(|row| row.task == task))
    }

    /// The details of the task under the cursor, if the snapshot has them.
    pub fn detail<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s crate::snapshot::Detail> {
        let task = self.subject()?;
        snapshot.detail.as_ref().filter(|detail| detail.row.task == task)
    }

    /// Says something for a while.
    pub fn toast(&mut self, text: String, bad: bool) {
        self.toasts.push_back(Toast { text, bad, until: self.ui_ms + TOAST_MS });
        while self.toasts.len() > MAX_TOASTS {
            self.toasts.pop_front();
        }
    }

    /// When the screen must be drawn again though nothing happens, by its own clock.
    pub fn wake_at(&self) -> Option<u64> {
        let popup = (!self.pending.keys.is_empty()).then_some(self.pending.since + WHICH_KEY_MS);
        let toast = self.toasts.iter().map(|toast| toast.until).min();
        popup.filter(|at| *at > self.ui_ms).into_iter().chain(toast).min()
    }

    /// Which parts of the key table hold, first things first.
    pub fn contexts(&self) -> Vec<Context> {
        if let Some(dialog) = &self.dialog {
            return vec![dialog.context()];
        }
        let mut contexts = self.contexts_of_pane();
        if self.replay {
            // What moves in a log, a timeline or a graph comes first, as everywhere.
            let own = |context: &Context| matches!(context, Context::Task | Context::Anywhere);
            let at = contexts.iter().position(own).unwrap_or(contexts.len());
            contexts.insert(at, Context::Replay);
        }
        contexts
    }

    fn contexts_of_pane(&self) -> Vec<Context> {
        match self.focus {
            Pane::Queue | Pane::Detail => vec![Context::Task, Context::Anywhere],
            Pane::Log if self.log.selection.is_some() => {
                vec![Context::Select, Context::Log, Context::Task, Context::Anywhere]
            }
            Pane::Log => vec![Context::Log, Context::Task, Context::Anywhere],
            Pane::Agents => vec![Context::Agents, Context::Anywhere],
            Pane::Locks => vec![Context::Locks, Context::Anywhere],
            Pane::Progress => vec![Context::Anywhere],
            Pane::Timeline => vec![Context::Timeline, Context::Task, Context::Anywhere],
            Pane::Graph => vec![Context::Graph, Context::Task, Context::Anywhere],
        }
    }
}

/// A field to type into.
pub fn field(text: &str) -> Box<TextArea<'static>> {
    let mut field = TextArea::new(vec![text.to_owned()]);
    field.move_cursor(tui_textarea::CursorMove::End);
    field.set_max_histories(50);
    Box::new(field)
}

fn cursor_on(row: &Row) -> Cursor {
    match row {
        Row::Task(row) => Cursor::Task(row.task),
        Row::Group(row) => Cursor::Group(row.stage),
    }
}

fn is_on(cursor: Cursor, row: &Row) -> bool {
    cursor == cursor_on(row)
}
