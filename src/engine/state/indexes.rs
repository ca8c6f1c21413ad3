//! The one way a task changes: `edit` takes its place in every index and counter before and after, and moves what differs;
//! what that opens or closes for others follows at once. Knows nothing of facts.

use super::fallback::Fall;
use super::{Agent, Changed, ClassId, DisplayKey, Phase, Rank, Shown, State, Task};
use crate::engine::barriers::Stand;
use crate::engine::definition::{Settings, TaskDefinition, TaskType};
use crate::engine::fact::Target;
use crate::engine::gates::next_command;
use crate::engine::ids::{AgentId, BarrierId, Span, StageId, TaskId, Time};
use crate::engine::message::StopSignal;

/// A change of what a task waits for, on its way through the graph.
struct Delta {
    task: TaskId,
    by: By,
}

/// A task on its way from one definition to another.
pub(super) struct TakenOut {
    deltas: Vec<Delta>,
    /// It counted as one that never can be.
    dead: i32,
}

/// What it waits for that changed: how many more are not done, how many more never can be.
#[derive(Clone, Copy)]
enum By {
    /// A task, which also may be over or not any more.
    Task { unmet: i32, dead: i32, unended: i32 },
    /// The stages before its own.
    Stages { unmet: i32, dead: i32 },
}

impl By {
    /// What changes of what it needs.
    fn of(self, task: &mut Task) -> (i32, i32) {
        match (self, &mut task.join) {
            (Self::Stages { unmet, dead }, _) | (Self::Task { unmet, dead, .. }, None) => (unmet, dead),
            (Self::Task { unended, .. }, Some(join)) if join.over => join.change(unended, 0),
            (Self::Task { unmet, dead, .. }, Some(join)) => join.change(unmet, dead),
        }
    }
}

impl State {
    pub(super) fn edit(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        let mut deltas = Vec::new();
        self.edit_one(id, change, &mut deltas);
        self.follow(deltas);
    }

    /// The stage of these tasks opens.
    pub(super) fn open(&mut self, tasks: &[TaskId]) {
        let by = By::Stages { unmet: -1, dead: 0 };
        self.follow(tasks.iter().map(|task| Delta { task: *task, by }).collect());
    }

    /// A task that was added while the workflow runs: what it waits for may have come to pass, and its stage is not over
    /// before it is.
    pub(super) fn join_in(&mut self, id: TaskId) {
        let definition = self.definition(id).clone();
        self.name_task(id);
        self.wait_for_all(id, &definition);
        self.index(id);
        self.enter_barrier(id);
        let mut deltas = Vec::new();
        self.stage_changed(id, 1, 0, &mut deltas);
        self.follow(deltas);
        self.join_now(id, &definition);
    }

    /// What it waits for has come to pass in part, or never can.
    fn join_now(&mut self, id: TaskId, definition: &TaskDefinition) {
        let mut deltas = Vec::new();
        if self.changes.asked && self.changes.noted {
            self.changes.read.push(Changed::Task(id));
        }
        for before in &definition.after {
            let keys = self.keys(*before);
            let (unmet, dead) = (-i32::from(keys.satisfied), i32::from(keys.dead));
            if (unmet, dead) != (0, 0) {
                deltas.push(Delta { task: id, by: By::Task { unmet, dead, unended: unmet - dead } });
            }
        }
        let died = self.stage(definition.stage).definition.after.iter().filter(|stage| self.stage(**stage).dead > 0);
        let dead = died.count() as i32;
        deltas.push(Delta { task: id, by: By::Stages { unmet: 0, dead } });
        self.follow(deltas);
        self.may_never_be_entered(definition.stage);
    }

    /// Something waits in a stage to which perhaps nothing leads any more.
    pub(super) fn may_never_be_entered(&mut self, stage: StageId) {
        if !self.stage(stage).entered {
            self.note_stages([stage]);
        }
    }

    /// A task that waits leaves every index, so that its definition can be changed: what follows for others as if it
    /// could come to pass.
    pub(super) fn take_out(&mut self, id: TaskId, moves: bool) -> TakenOut {
        let keys = self.keys(id);
        self.count(&keys, -1);
        self.display.exchange(keys.row(), None);
        self.timers.exchange(keys.timer.map(|at| (at, id)), None);
        self.deadlines.exchange(keys.deadline.map(|at| (at, id)), None);
        self.sensors.exchange(keys.senses.map(|_| id), None);
        self.reready(id, keys.ready, None);
        let mut deltas = Vec::new();
        let dead = i32::from(keys.dead);
        if keys.dead {
            let by = By::Task { unmet: 0, dead: -dead, unended: dead };
            deltas.extend(self.dependents.at(id.index()).iter().map(|task| Delta { task: *task, by }));
        }
        // One that stays in its stage opens nothing meanwhile.
        if moves {
            self.stage_changed(id, -1, -dead, &mut deltas);
        }
        TakenOut { deltas, dead }
    }

    /// It enters them again, in the stage of its new definition.
    pub(super) fn put_in(&mut self, id: TaskId, moved: bool, taken: &mut TakenOut) {
        let definition = self.definition(id).clone();
        let held = self.task(id).held;
        let barrier = self.barrier_stand(id);
        let now = self.now;
        let task = self.wait_for_all(id, &definition);
        task.dead = 0;
        task.stand(Phase::Waiting, now);
        // A delay before its next attempt ends: who changes it wants to see what it does now.
        (task.due, task.held) = (None, held);
        if let (Some((barrier, was)), Some((_, is))) = (barrier, self.barrier_stand(id))
            && was != is
        {
            self.moved_at_barrier(barrier, was, is);
        }
        self.index(id);
        let mut deltas = std::mem::take(&mut taken.deltas);
        if moved {
            self.stage_changed(id, 1, 0, &mut deltas);
        } else if taken.dead != 0 {
            self.stage_changed(id, 0, -taken.dead, &mut deltas);
        }
        // Those that wait for it first: what follows from its own death would overtake that it may live.
        self.follow(deltas);
        self.join_now(id, &definition);
    }

    /// What waits for it may go on; it never can as things are.
    pub(super) fn stands(&self, id: TaskId) -> (bool, bool) {
        let keys = self.keys(id);
        (keys.satisfied, keys.dead)
    }

    /// It stands where it stood, and is to be decided anew.
    pub(super) fn ask_again(&mut self, id: TaskId) {
        if self.changes.noted {
            self.changes.arrived.push(id);
        }
    }

    /// What changes for those that wait, and for those that wait for them.
    fn follow(&mut self, mut deltas: Vec<Delta>) {
        while let Some(Delta { task, by }) = deltas.pop() {
            let now = self.now;
            let arrives = self.arrives(task);
            let escalated = self.is_escalated(task).then(|| self.declared_class(task));
            let change = |t: &mut Task| {
                let (unmet, dead) = by.of(t);
                t.unmet = t.unmet.checked_add_signed(unmet).expect("as many are met as were counted");
                t.dead = t.dead.checked_add_signed(dead).expect("as many come back as were counted");
                match t.phase {
                    Phase::Waiting if t.unmet == 0 => match t.due.filter(|due| *due > now) {
                        Some(due) => t.delay(due, now),
                        None => t.arrive(arrives, now),
                    },
                    phase if phase.is_open() && t.unmet > 0 => {
                        // What it asks a person about is to be run again anyway.
                        escalated.into_iter().for_each(|class| t.fall_forward(class));
                        t.wait(now);
                    }
                    _ => {}
                }
            };
            self.edit_one(task, change, &mut deltas);
        }
    }

    fn edit_one(&mut self, id: TaskId, change: impl FnOnce(&mut Task), deltas: &mut Vec<Delta>) {
        let before = self.keys(id);
        change(self.tasks.at_mut(id.index()));
        let after = self.keys(id);
        self.reindex(id, &before, &after);
        self.note_ends(id, &before, &after);
        self.note_arrival(id, &before, &after);
        let unmet = i32::from(before.satisfied) - i32::from(after.satisfied);
        let dead = i32::from(after.dead) - i32::from(before.dead);
        if unmet != 0 || dead != 0 {
            let by = By::Task { unmet, dead, unended: unmet - dead };
            deltas.extend(self.dependents.at(id.index()).iter().map(|task| Delta { task: *task, by }));
        }
        let excused = i32::from(after.excused) - i32::from(before.excused);
        if unmet != excused || dead != excused {
            self.stage_changed(id, unmet - excused, dead - excused, deltas);
        }
        if let (Some((barrier, was)), Some((_, is))) = (before.barrier, after.barrier)
            && was != is
        {
            self.moved_at_barrier(barrier, was, is);
        }
        let failed = i32::from(after.has_failed()) - i32::from(before.has_failed());
        if failed != 0
            && let Some(phase) = self.stages.at(after.display.stage.index()).phase
        {
            self.phase_changed(phase, failed);
        }
    }

    /// What [`Graph`](crate::engine::graph::Graph) has to look at.
    fn note_ends(&mut self, id: TaskId, before: &Keys, after: &Keys) {
        if !self.changes.noted {
            return;
        }
        // Also one that is cancelled excuses failures, as long as enough of those before it can still come to pass.
        let is_lost = after.hopeless && !before.hopeless;
        // The runs of one that is skipped or cancelled are outvoted by nobody.
        let is_off = before.outvotes && !after.outvotes;
        if is_lost || is_off || (after.enough && !before.enough) {
            self.changes.enough.push(id);
        }
        if after.shown == Shown::Failed && before.shown != Shown::Failed {
            self.changes.fallen.push(id);
        }
    }

    fn note_arrival(&mut self, id: TaskId, before: &Keys, after: &Keys) {
        if !self.changes.noted {
            return;
        }
        if after.arrived && !before.arrived {
            self.changes.arrived.push(id);
        }
        if after.senses != before.senses {
            self.changes.sensors.push(id);
        }
        if self.changes.asked && before.shown != after.shown {
            self.changes.read.push(Changed::Task(id));
        }
    }

    /// A task of a stage was done (or not any more): stages after it may open or close.
    fn stage_changed(&mut self, id: TaskId, unmet: i32, dead: i32, deltas: &mut Vec<Delta>) {
        let stage_id = self.definition(id).stage;
        let stage = self.stages.at_mut(stage_id.index());
        let (was_over, was_dead, was_settled) = (stage.remaining == 0, stage.dead > 0, stage.is_settled());
        stage.remaining = stage.remaining.checked_add_signed(unmet).expect("counted");
        stage.dead = stage.dead.checked_add_signed(dead).expect("counted");
        let over = i32::from(was_over) - i32::from(stage.remaining == 0);
        let died = i32::from(stage.dead > 0) - i32::from(was_dead);
        let (is_settled, later) = (stage.is_settled(), stage.later.clone());
        if !self.transitions.is_empty() && (was_settled != is_settled || died != 0) {
            if !is_settled {
                self.undecide(stage_id);
            }
            self.note_stages([stage_id]);
            if died != 0 {
                self.note_stages(later.iter().copied());
            }
        }
        if over == 0 && died == 0 {
            return;
        }
        for later in later {
            let next = self.stages.at_mut(later.index());
            let was_closed = next.is_closed();
            next.unmet = next.unmet.checked_add_signed(over).expect("counted");
            let closed = i32::from(next.is_closed()) - i32::from(was_closed);
            if closed != 0 || died != 0 {
                let by = By::Stages { unmet: closed, dead: died };
                deltas.extend(next.tasks.iter().map(|task| Delta { task: *task, by }));
            }
        }
    }

    /// A task's place in every index, as it is now.
    fn keys(&self, id: TaskId) -> Keys {
        let task = self.tasks.at(id.index());
        let definition = self.definitions.at(id.index());
        let how = shown(task);
        let dead = task.phase.is_dead() || (task.phase == Phase::Waiting && task.dead > 0);
        let over = task.phase.is_satisfied() || task.phase.is_dead();
        Keys {
            shown: how,
            live: task.phase.is_live(),
            arrived: task.phase == Phase::Arrived && !task.held,
            senses: senses(definition, task),
            troubled: is_troubled(task),
            satisfied: task.phase.is_satisfied(),
            dead,
            excused: task.excused,
            removed: task.removed,
            preemptible: preemptible(definition, task),
            outvotes: task.phase.is_open() && definition.task_type.majority().is_some(),
            barrier: self.barrier_stand(id),
            hopeless: task.join.as_ref().is_some_and(|join| join.dead > join.spare),
            enough: task.join.as_ref().is_some_and(|join| join.is_enough() && !join.settled),
            display: display_key(&self.settings, definition.stage, id, task),
            timer: timer(&self.settings, &definition.timeout, task),
            deadline: task.deadline.filter(|_| !over),
            ready: (how == Shown::Ready).then(|| (task.class, rank(&self.settings, id, task))),
        }
    }

    /// Enters a new task into every index.
    pub(in crate::engine) fn index(&mut self, id: TaskId) {
        let keys = self.keys(id);
        if keys.arrived && self.changes.noted {
            self.changes.arrived.push(id);
        }
        self.count(&keys, 1);
        self.display.exchange(None, keys.row());
        self.timers.exchange(None, keys.timer.map(|at| (at, id)));
        self.deadlines.exchange(None, keys.deadline.map(|at| (at, id)));
        self.sensors.exchange(None, keys.senses.map(|_| id));
        self.troubled.exchange(None, keys.troubled.then_some(id));
        self.preemptible.exchange(None, keys.preemptible.map(|priority| (priority, id)));
        self.reready(id, None, keys.ready);
    }

    /// Moves a task in those indexes in which its place changed.
    fn reindex(&mut self, id: TaskId, before: &Keys, after: &Keys) {
        let counted = |keys: &Keys| (keys.shown, keys.live, keys.excused, keys.removed);
        if counted(before) != counted(after) {
            self.count(before, -1);
            self.count(after, 1);
        }
        self.display.exchange(before.row(), after.row());
        self.timers.exchange(before.timer.map(|at| (at, id)), after.timer.map(|at| (at, id)));
        self.deadlines.exchange(before.deadline.map(|at| (at, id)), after.deadline.map(|at| (at, id)));
        self.sensors.exchange(before.senses.map(|_| id), after.senses.map(|_| id));
        self.troubled.exchange(before.troubled.then_some(id), after.troubled.then_some(id));
        let entry = |keys: &Keys| keys.preemptible.map(|priority| (priority, id));
        self.preemptible.exchange(entry(before), entry(after));
        self.reready(id, before.ready, after.ready);
    }

    fn count(&mut self, keys: &Keys, by: i32) {
        if keys.removed {
            return;
        }
        let add = |count: &mut u32| *count = count.checked_add_signed(by).expect("counted");
        add(&mut self.counts.0[keys.shown as usize]);
        add(&mut self.stages.at_mut(keys.display.stage.index()).counts.0[keys.shown as usize]);
        if keys.live {
            add(&mut self.live);
        }
        if keys.excused {
            add(&mut self.excused);
        }
    }

    fn reready(&mut self, id: TaskId, before: Option<(ClassId, Rank)>, after: Option<(ClassId, Rank)>) {
        if before == after {
            return;
        }
        self.ready.exchange(before, after);
        if self.changes.noted {
            // A task that falls back while it is ready leaves one class for another: both have another head.
            let (left, entered) = (before.map(|(class, _)| class), after.map(|(class, _)| class));
            self.changes.classes.extend(left.filter(|left| Some(*left) != entered).into_iter().chain(entered));
        }
        if before.is_some() && !self.reservations.is_empty() {
            self.end_reservations(id);
        }
    }

    fn end_reservations(&mut self, id: TaskId) {
        let ended: Vec<Target> =
            self.reservations.iter().filter(|(_, held)| held.task == id).map(|(target, _)| *target).collect();
        for target in &ended {
            self.reservations.remove(target);
        }
        self.note_reservations(ended);
    }

    pub(in crate::engine) fn change_agent(&mut self, id: AgentId, change: impl FnOnce(&mut Agent)) {
        let now = self.now;
        let agent = self.agents.at_mut(id.index());
        if let Some(key) = free_key(agent, id) {
            self.free_agents.remove(&key);
        }
        agent.busy_ms += u64::from(agent.busy) * now.since(agent.busy_since).0;
        agent.busy_since = now;
        change(agent);
        if let Some(key) = free_key(agent, id) {
            self.free_agents.insert(key);
        }
    }
}

impl Task {
    pub(super) fn stand(&mut self, phase: Phase, now: Time) {
        if !phase.is_open() || !self.phase.is_open() {
            self.because = None;
        }
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
        if !matches!(phase, Phase::Delayed | Phase::Waiting) {
            self.due = None;
        }
        self.excused &= phase == Phase::Failed;
        if !phase.is_open() {
            self.held = false;
            self.because = None;
        }
    }
    /// It is to be run as soon as everything before it is done: ready then, or to be decided if it `arrives`.
    pub(super) fn arrive(&mut self, arrives: bool, now: Time) {
        self.queue(now);
        if arrives && self.phase == Phase::Ready {
            self.stand(Phase::Arrived, now);
        }
    }
    /// What it waits for is not done any more. A delay goes on meanwhile; what it awaited does not.
    fn wait(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Delayed | Phase::Waiting) {
            self.due = None;
        }
        self.stand(Phase::Waiting, now);
    }
    pub(super) fn queue(&mut self, now: Time) {
        self.due = None;
        let phase = if self.unmet == 0 { Phase::Ready } else { Phase::Waiting };
        self.stand(phase, now);
        self.ready_at = now;
    }
    /// It is to be run again, not before `until`, and not before what it waits for is done.
    pub(super) fn delay(&mut self, until: Time, now: Time) {
        self.stand(if self.unmet == 0 { Phase::Delayed } else { Phase::Waiting }, now);
        self.due = Some(until);
    }
    pub(super) fn fall_back(&mut self, fall: &Fall) {
        self.fallback = Some(fall.fallback);
        self.fallbacks_taken = fall.nth;
        self.tries = 0;
        self.class = fall.class;
    }
    /// It runs its own command again, and may come to the fallback that it is at once more.
    pub(super) fn fall_forward(&mut self, class: ClassId) {
        self.fallback = None;
        self.fallbacks_taken = self.fallbacks_taken.saturating_sub(1);
        self.class = class;
    }
}

/// A task's place in every index, and what of it matters to those that wait for it.
struct Keys {
    shown: Shown,
    live: bool,
    /// Arrived and not held: to be decided.
    arrived: bool,
    /// It looks at something: since when, and for which of its checks.
    senses: Option<(Time, u32)>,
    /// Its monitor sees something amiss.
    troubled: bool,
    satisfied: bool,
    dead: bool,
    excused: bool,
    /// It is no part of the workflow any more.
    removed: bool,
    /// Enough of what it waits for is done, and nothing has followed from that yet.
    enough: bool,
    /// So many of those that its join waits for never can be that it never can have enough.
    hopeless: bool,
    /// It runs and may be interrupted: its priority.
    preemptible: Option<i32>,
    /// It waits for runs of which the most decide.
    outvotes: bool,
    /// How it stands to its barrier.
    barrier: Option<(BarrierId, Stand)>,
    display: DisplayKey,
    timer: Option<Time>,
    deadline: Option<Time>,
    ready: Option<(ClassId, Rank)>,
}

impl Keys {
    /// Its place on the screen, if it has one.
    fn row(&self) -> Option<DisplayKey> {
        (!self.removed).then_some(self.display)
    }

    /// It failed for good, and that counts.
    fn has_failed(&self) -> bool {
        self.shown == Shown::Failed && !self.excused
    }
}

/// Since when a sensor looks, or a gate asks a command, and which of its checks that is: what is held does not.
pub(in crate::engine) fn senses(definition: &TaskDefinition, task: &Task) -> Option<(Time, u32)> {
    if task.phase != Phase::Awaiting || task.held {
        return None;
    }
    let check = match &definition.task_type {
        TaskType::Sensor(_) => 0,
        TaskType::QualityGate(gate) => next_command(gate, task.heard.as_deref())?,
        _ => return None,
    };
    Some((task.since, check))
}

/// Its priority, if it runs, may be interrupted, and is not being stopped.
pub(in crate::engine) fn preemptible(definition: &TaskDefinition, task: &Task) -> Option<i32> {
    let live = task.live.as_ref()?;
    let runs = definition.preemptible && live.stop.is_none() && live.exited.is_none();
    runs.then_some(task.priority)
}

/// Its monitor sees something amiss with what runs of it.
pub(in crate::engine) fn is_troubled(task: &Task) -> bool {
    task.live.as_ref().is_some_and(|live| !live.troubles.is_empty())
}

/// How a task is shown.
pub(in crate::engine) fn shown(task: &Task) -> Shown {
    match task.phase {
        Phase::Waiting if task.dead > 0 => Shown::Blocked,
        phase if phase.is_open() && task.held => Shown::Held,
        Phase::Waiting | Phase::Arrived => Shown::Waiting,
        Phase::Awaiting => Shown::Awaiting,
        Phase::Ready => Shown::Ready,
        Phase::Delayed => Shown::Delayed,
        Phase::Starting | Phase::Running => Shown::Running,
        Phase::Stopping | Phase::Lingering => Shown::Stopping,
        Phase::Succeeded => Shown::Succeeded,
        Phase::Failed => Shown::Failed,
        Phase::Skipped => Shown::Skipped,
        Phase::Cancelled => Shown::Cancelled,
        Phase::Lost => Shown::Lost,
    }
}

pub(in crate::engine) fn rank(settings: &Settings, id: TaskId, task: &Task) -> Rank {
    let steps = i64::try_from(task.ready_at.0 / settings.aging.0.max(1)).unwrap_or(i64::MAX);
    Rank {
        step: steps.saturating_sub(i64::from(task.priority)),
        deadline: task.deadline.unwrap_or(Time(u64::MAX)),
        ready_at: task.ready_at,
        task: id,
    }
}

pub(in crate::engine) fn display_key(settings: &Settings, stage: StageId, id: TaskId, task: &Task) -> DisplayKey {
    let how = shown(task);
    let key = match how {
        Shown::Ready => {
            let rank = rank(settings, id, task);
            (rank.step, rank.deadline.0, rank.ready_at.0)
        }
        Shown::Succeeded | Shown::Skipped => (0, u64::MAX - task.since.0, 0),
        Shown::Running | Shown::Stopping => (0, task.live.as_ref().map_or(0, |live| live.started.0), 0),
        Shown::Delayed | Shown::Awaiting => (0, task.due.unwrap_or_default().0, 0),
        _ => (-i64::from(task.priority), 0, 0),
    };
    DisplayKey { stage, shown: how, key, task: id }
}

/// When something is due for a task: the end of its delay, its time-out, its grace.
pub(in crate::engine) fn timer(settings: &Settings, timeout: &Option<Span>, task: &Task) -> Option<Time> {
    match task.phase {
        Phase::Delayed => task.due,
        // What is held is not settled by time.
        Phase::Awaiting => task.due.filter(|_| !task.held),
        Phase::Starting | Phase::Running => {
            let since = task.live.as_ref()?.process.as_ref()?.1;
            timeout.map(|span| since.plus(span))
        }
        Phase::Stopping => match task.live.as_ref()?.stop? {
            (_, StopSignal::Term, since) => Some(since.plus(settings.grace)),
            (_, StopSignal::Kill, _) => None,
        },
        Phase::Lingering => match task.live.as_ref()?.stop {
            None => Some(task.since.plus(settings.leak_grace)),
            Some((_, StopSignal::Term, since)) => Some(since.plus(settings.grace)),
            Some((_, StopSignal::Kill, _)) => None,
        },
        _ => None,
    }
}

/// An agent's key among those with a free slot.
pub(in crate::engine) fn free_key(agent: &Agent, id: AgentId) -> Option<(u32, AgentId)> {
    (agent.busy < agent.slots && agent.lost.is_none()).then(|| (agent.busy * 1000 / agent.slots, id))
}

/// The task's key in [`State::display`].
pub fn display_key_of(state: &State, id: TaskId) -> DisplayKey {
    display_key(&state.settings, state.definition(id).stage, id, state.task(id))
}
