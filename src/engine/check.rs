//! Rebuilds every index and counter of a State from its tasks alone and compares. Called by tests after every step.

use std::collections::{BTreeMap, BTreeSet};

use super::care::Score;
use super::condition::Value;
use super::definition::{Requirements, ResourceKind, Trigger};
use super::ids::{AgentId, Amount, PhaseId, ResourceId, StageId, TaskId, TransitionId};
use super::locks::Locks;
use super::state::{
    Phase, Shown, State, Tally, display_key, free_key, is_troubled, preemptible, rank, senses, shown, timer,
};

type Verdict = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, kept: &T, found: &T) -> Verdict {
    if kept == found { Ok(()) } else { Err(format!("{what}: kept {kept:?}, found {found:?}")) }
}

/// See the module. `Err` names the first difference.
pub fn check(state: &State) -> Verdict {
    if !state.loaded {
        return Ok(());
    }
    tasks(state)?;
    care(state)?;
    indexes(state)?;
    graph(state)?;
    resources(state)?;
    agents(state)?;
    reservations(state)
}

fn ids(state: &State) -> impl Iterator<Item = TaskId> {
    (0..state.tasks.len()).map(TaskId::from)
}

fn tasks(state: &State) -> Verdict {
    for id in ids(state) {
        let task = state.task(id);
        let say = |what: &str| Err(format!("{}: {what} ({task:?})", state.name(id)));
        if task.phase.is_live() != task.live.is_some() {
            return say("a live attempt exactly while live");
        }
        let may_be_due = matches!(task.phase, Phase::Delayed | Phase::Waiting | Phase::Awaiting);
        if (task.phase == Phase::Delayed && task.due.is_none()) || (task.due.is_some() && !may_be_due) {
            return say("a due time while delayed, and else only while waiting or awaiting");
        }
        if !class_is_right(state, id) {
            return say("of the class of what it runs");
        }
        if matches!(task.phase, Phase::Arrived | Phase::Awaiting) && !state.arrives(id) && !state.is_escalated(id) {
            return say("arrives only if something is to be decided");
        }
        let is_waiting = task.phase == Phase::Waiting;
        if task.phase.is_open() && is_waiting != (task.unmet > 0) {
            return say("waits exactly while something is unmet");
        }
        if task.excused && task.phase != Phase::Failed {
            return say("excused only if failed");
        }
        if task.join.as_ref().is_some_and(|join| join.settled && !join.is_enough()) {
            return say("settled only if it is enough");
        }
        if task.removed && (task.phase != Phase::Skipped || task.attempt > 0) {
            return say("removed only if it never ran");
        }
        if task.held && !task.phase.is_open() {
            return say("held only while open");
        }
        if task.phase == Phase::Lingering && task.live.as_ref().is_none_or(|live| live.exited.is_none()) {
            return say("lingers only after its leader's end");
        }
    }
    Ok(())
}

/// What was published and checked, against what each task keeps.
fn care(state: &State) -> Verdict {
    let mut quality = Score::default();
    let mut last: BTreeMap<&str, (u64, TaskId, &Value)> = BTreeMap::new();
    let mut most = 0;
    for id in ids(state) {
        let Some(kept) = &state.task(id).kept else { continue };
        let score = kept.score.unwrap_or_default();
        quality = Score { passed: quality.passed + score.passed, all: quality.all + score.all };
        most = most.max(kept.sequence);
        for (name, value) in &kept.outputs {
            if last.get(name.as_str()).is_none_or(|(sequence, ..)| *sequence < kept.sequence) {
                last.insert(name, (kept.sequence, id, value));
            }
        }
    }
    same("quality", &state.quality, &quality)?;
    if state.published < most {
        return Err(format!("published: kept {}, found {most}", state.published));
    }
    let kept: BTreeMap<&str, (u64, TaskId, &Value)> =
        state.metrics().map(|(name, metric)| (name, (metric.sequence, metric.task, &metric.value))).collect();
    same("metrics", &kept, &last)
}

/// It asks for what it runs at present: of another agent than the last, any other.
fn class_is_right(state: &State, id: TaskId) -> bool {
    let (class, definition) = (state.class_of(id), state.definition(id));
    let of = |requirements: &Requirements| class.requirements == *requirements && class.estimate == definition.estimate;
    let Some(fallback) = state.task(id).fallback else { return of(&definition.requirements) };
    let agents = (0..state.agents.len()).map(|agent| Some(AgentId::from(agent)));
    std::iter::once(None).chain(agents).any(|last| of(&state.requirements_under(id, fallback, last)))
}

fn indexes(state: &State) -> Verdict {
    let mut counts = Tally::default();
    let mut stage_counts = vec![Tally::default(); state.stages.len()];
    let (mut ready, mut timers, mut display, mut deadlines) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut live, mut excused) = (0, 0);
    let mut sensors = BTreeSet::new();
    let mut troubled = BTreeSet::new();
    let mut preempt = BTreeSet::new();
    for id in ids(state) {
        let (task, definition) = (state.task(id), state.definition(id));
        let how = shown(task);
        counts.0[how as usize] += u32::from(!task.removed);
        stage_counts[definition.stage.index()].0[how as usize] += u32::from(!task.removed);
        live += u32::from(task.phase.is_live());
        excused += u32::from(task.excused);
        display.extend((!task.removed).then(|| display_key(&state.settings, definition.stage, id, task)));
        sensors.extend(senses(definition, task).map(|_| id));
        troubled.extend(is_troubled(task).then_some(id));
        preempt.extend(preemptible(definition, task).map(|priority| (priority, id)));
        timers.extend(timer(&state.settings, &definition.timeout, task).map(|at| (at, id)));
        let over = task.phase.is_satisfied() || task.phase.is_dead();
        deadlines.extend(task.deadline.filter(|_| !over).map(|at| (at, id)));
        if how == Shown::Ready {
            ready.insert((task.class, rank(&state.settings, id, task)));
        }
    }
    same("counts", &state.counts, &counts)?;
    same("live", &state.live, &live)?;
    same("excused", &state.excused, &excused)?;
    for (index, counts) in stage_counts.iter().enumerate() {
        same("stage counts", &state.stages.at(index).counts, counts)?;
    }
    same("ready", &state.ready.iter().copied().collect(), &ready)?;
    same("sensors", &state.sensors.iter().copied().collect(), &sensors)?;
    same("preemptible", &state.preemptible.iter().copied().collect(), &preempt)?;
    same("troubled", &state.troubled.iter().copied().collect(), &troubled)?;
    same("timers", &state.timers.iter().copied().collect(), &timers)?;
    same("display", &state.display.iter().copied().collect(), &display)?;
    same("deadlines", &state.deadlines.iter().copied().collect(), &deadlines)
}

fn graph(state: &State) -> Verdict {
    let dead = |id: TaskId| {
        let task = state.task(id);
        task.phase.is_dead() || task.phase == Phase::Waiting && task.dead > 0
    };
    for index in 0..state.stages.len() {
        let stage = state.stage(StageId::from(index));
        let counts = |id: &&TaskId| !state.task(**id).excused;
        let remaining = stage.tasks.iter().filter(|id| !state.task(**id).phase.is_satisfied()).filter(counts).count();
        same("stage remaining", &stage.remaining, &(remaining as u32))?;
        let stage_dead = stage.tasks.iter().filter(|id| dead(**id)).filter(counts).count();
        same("stage dead", &stage.dead, &(stage_dead as u32))?;
        let unmet = stage.definition.after.iter().filter(|before| state.stage(**before).remaining > 0).count() as u32;
        same("stage unmet", &stage.unmet, &unmet)?;
    }
    rounds(state)?;
    for id in ids(state) {
        let definition = state.definition(id);
        let stage = state.stage(definition.stage);
        let over = definition.join.trigger == Trigger::AllOver;
        let unmet = definition.after.iter().filter(|before| {
            let satisfied = state.task(**before).phase.is_satisfied();
            !(satisfied || (over && dead(**before)))
        });
        let (unmet, all) = (unmet.count(), definition.after.len());
        let never = definition.after.iter().filter(|before| !over && dead(**before)).count();
        let spare = all - definition.join.enough.map_or(all, |enough| (enough as usize).min(all));
        let task = state.task(id);
        if let Some(join) = &task.join {
            same("join", &(join.spare, join.over), &(spare as u32, over))?;
            same("join unmet and dead", &(join.unmet, join.dead), &(unmet as u32, never as u32))?;
        }
        let missing = unmet.saturating_sub(spare) as u32;
        same("unmet", &task.unmet, &(missing + u32::from(stage.is_closed())))?;
        let dead_stages = stage.definition.after.iter().filter(|before| state.stage(**before).dead > 0).count();
        same("dead", &task.dead, &((never.saturating_sub(spare) + dead_stages) as u32))?;
    }
    Ok(())
}

/// Stages, transitions and phases as each other has them.
fn rounds(state: &State) -> Verdict {
    for (index, transition) in state.transitions.iter().enumerate() {
        let (id, definition) = (TransitionId::from(index), &transition.definition);
        let (from, to) = (state.stage(definition.from), state.stage(definition.to));
        if !from.leads.contains(&id) || !to.led_by.contains(&id) {
            return Err(format!("a transition that its stages do not know: {definition:?}"));
        }
        if transition.decided && !from.is_settled() {
            return Err(format!("decided before its stage is over: {definition:?}"));
        }
        if definition.at_most.is_some_and(|most| transition.taken > most) {
            return Err(format!("taken too often: {transition:?}"));
        }
    }
    for index in 0..state.stages.len() {
        let stage = state.stage(StageId::from(index));
        let taken: u32 = stage.led_by.iter().map(|lead| state.transition(*lead).taken).sum();
        let by_transition = stage.led_by.iter().any(|lead| !state.transition(*lead).definition.is_backward());
        let round = taken + u32::from(!by_transition);
        same("round", &(stage.round, stage.entered), &(round, round > 0))?;
    }
    for (index, phase) in state.phases.iter().enumerate() {
        let of_phase = |task: &TaskId| state.stage(state.definition(*task).stage).phase == Some(PhaseId::from(index));
        let failed = |task: &TaskId| state.task(*task).phase == Phase::Failed && !state.task(*task).excused;
        same("failed of a phase", &phase.failed, &(ids(state).filter(of_phase).filter(failed).count() as u32))?;
        if phase.ended && phase.failed == 0 {
            return Err(format!("ended without a failure: {}", phase.definition.name));
        }
    }
    Ok(())
}

fn resources(state: &State) -> Verdict {
    let mut holders = BTreeSet::new();
    for index in 0..state.resources.len() {
        let id = ResourceId::from(index);
        let entry = state.resource(id);
        let mut used = 0;
        let locks = state.locks.all().filter(|lock| lock.request.resource == id && lock.grant.is_some());
        used += locks.map(|lock| lock.request.amount.0).sum::<u64>();
        for task in ids(state) {
            let Some(live) = &state.task(task).live else { continue };
            for (resource, amount) in live.holds.iter().filter(|(resource, _)| *resource == id) {
                holders.insert((*resource, task));
                used += amount.0;
            }
        }
        if entry.definition.kind == ResourceKind::PerAgent {
            continue;
        }
        same(&format!("used of {}", entry.definition.name), &entry.used, &Amount(used))?;
        if used > entry.peak.0
            || entry.bucket.is_some_and(|bucket| bucket.free(entry.capacity, state.now) > entry.capacity)
        {
            return Err(format!("{} is over its capacity: {used}", entry.definition.name));
        }
    }
    same("holders", &state.holders.iter().copied().collect(), &holders)?;
    locks(state)
}

/// What running tasks ask, and hold.
fn locks(state: &State) -> Verdict {
    let kept = &state.locks;
    let made = Locks::of(kept.all().cloned().collect(), kept.count, kept.fences);
    same("locks", &**kept, &made)?;
    for lock in kept.all() {
        let task = state.task(lock.task);
        if task.attempt != lock.attempt.0 || task.live.is_none() {
            return Err(format!("a lock of an attempt that is over: {lock:?}"));
        }
        if lock.number > kept.count || lock.grant.is_some_and(|grant| grant.fence > kept.fences) {
            return Err(format!("a number that was not given: {lock:?}"));
        }
    }
    Ok(())
}

fn agents(state: &State) -> Verdict {
    let (mut free, mut on_agent) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..state.agents.len() {
        let id = AgentId::from(index);
        let agent = state.agent(id);
        let here: Vec<TaskId> =
            ids(state).filter(|task| state.task(*task).live.as_ref().is_some_and(|live| live.agent == id)).collect();
        same("busy", &agent.busy, &(here.len() as u32))?;
        for (resource, _, used) in &agent.resources {
            let held = here.iter().filter_map(|task| state.task(*task).live.as_ref());
            let found: u64 = held.map(|live| super::place::amount_in(&live.holds, *resource).0).sum();
            same("used on an agent", used, &Amount(found))?;
        }
        on_agent.extend(here.into_iter().map(|task| (id, task)));
        free.extend(free_key(agent, id));
    }
    same("on_agent", &state.on_agent.iter().copied().collect(), &on_agent)?;
    same("free_agents", &state.free_agents.iter().copied().collect(), &free)
}

fn reservations(state: &State) -> Verdict {
    for (target, held) in &state.reservations {
        if state.shown(held.task) != Shown::Ready {
            return Err(format!("{target:?} is reserved for {}, which is not ready", state.name(held.task)));
        }
    }
    Ok(())
}
