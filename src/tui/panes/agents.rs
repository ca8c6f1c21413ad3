//! The agents: how busy each is, with what.

use ratatui::layout::Rect;

use crate::engine::ids::Time;
use crate::snapshot::AgentRow;

use super::super::format;
use super::super::model::Pane;
use super::super::paint::{Pen, Words, w};
use super::super::theme::Meaning;
use super::super::view::Scene;

/// Title and foot: how many are busy, cpu and memory of all.
pub fn edges(scene: &Scene<'_>) -> (Words, Words) {
    let agents = &scene.snapshot.agents;
    let busy: u32 = agents.iter().map(|agent| agent.busy).sum();
    let slots: u32 = agents.iter().map(|agent| agent.slots).sum();
    let title = vec![w(format!("  {busy} of {} busy", format::plural(slots as usize, "slot")), Meaning::Muted)];
    let cpu: f32 = agents.iter().filter_map(|agent| agent.cpu_percent).sum();
    let memory: u64 = agents.iter().filter_map(|agent| agent.memory).sum();
    let sampled = busy > 0 && agents.iter().any(|agent| agent.cpu_percent.is_some());
    let foot = if sampled && memory > 0 {
        vec![w(format!("cpu {:.1} cores  mem {}", cpu / 100.0, format::bytes(memory)), Meaning::Muted)]
    } else {
        Words::new()
    };
    (title, foot)
}

/// A line an agent; the chosen one is kept in sight.
pub fn draw(pen: &mut Pen<'_>, scene: &Scene<'_>, area: Rect) {
    if area.height == 0 {
        return;
    }
    // As wide as the longest name: agents seldom change, so the columns stay where they are.
    let longest = scene.snapshot.agents.iter().take(100).map(|agent| crate::text::width(&agent.name)).max();
    let name = u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX).clamp(6, (area.width / 3).max(6));
    // Few cells of load leave room for the names of what runs.
    let load = match area.width {
        0..34 => 0,
        34..44 => 4,
        44..60 => 8,
        _ => 16,
    };
    let at_load = name + 2 + 6;
    let at_task = at_load + if load > 0 { load + 1 } else { 0 };
    let top = area.y + scene.areas.heading();
    if scene.areas.heading() > 0 {
        let heads =
            [(1, "AGENT"), (name + 2, "SLOTS"), (at_load, if load > 0 { "LOAD" } else { "" }), (at_task, "RUNS")];
        for (x, text) in heads {
            pen.text(area.x + x, area.y, 8, text, Meaning::Muted);
        }
        pen.right(area.right(), area.y, 4, "CPU", Meaning::Muted);
    }
    let rows = usize::from(area.bottom().saturating_sub(top));
    let first = (scene.model.agent_row + 1).saturating_sub(rows);
    for (i, agent) in scene.snapshot.agents.iter().enumerate().skip(first).take(rows) {
        let line = Rect { y: top + (i - first) as u16, height: 1, ..area };
        let idle = agent.busy == 0;
        let meaning = if idle { Meaning::Muted } else { Meaning::Base };
        pen.text(line.x + 1, line.y, name, &agent.name, meaning);
        let full = agent.busy > agent.slots || agent.lost.is_some();
        let slots = format!("{}/{}", agent.busy, agent.slots);
        pen.text(line.x + name + 2, line.y, 6, &slots, if full { Meaning::Warn } else { meaning });
        pen.graph(line.x + at_load, line.y, load, &agent.load, 1.0, Meaning::Graph);
        let cpu = agent.cpu_percent.filter(|_| !idle).map(|cpu| format!("{cpu:.0}%")).unwrap_or_default();
        let used = pen.right(line.right(), line.y, 6, &cpu, Meaning::Muted);
        let room = line.width.saturating_sub(at_task + used.max(4) + 1);
        pen.words(line.x + at_task, line.y, room, &runs(agent, room, scene.model.now));
        if i == scene.model.agent_row && scene.model.focus == Pane::Agents {
            pen.select(line, true);
        }
    }
}

fn runs(agent: &AgentRow, room: u16, now: Time) -> Words {
    let mut words = Words::new();
    if let Some((since, saw)) = &agent.lost {
        words.push(w(format!("lost {}", format::short(now.since(*since))), Meaning::Bad));
        words.push(w(format!("  {saw}"), Meaning::Muted));
        return words;
    }
    match agent.tasks.split_first() {
        None => match agent.ran {
            Some((count, mean)) if room >= 22 => {
                words.push(w(format!("idle  {count} ran, {} each", format::short(mean)), Meaning::Muted));
            }
            _ => words.push(w("idle", Meaning::Muted)),
        },
        Some((first, more)) => {
            let others = (agent.busy as usize).max(agent.tasks.len()) - 1;
            let tail = if others > 0 { format!(" +{others}") } else { String::new() };
            let first_room = usize::from(room).saturating_sub(tail.len());
            words.push(w(crate::text::fit(&crate::text::clean(first), first_room).into_owned(), Meaning::Base));
            words.push(w(tail, Meaning::Muted));
            let _ = more;
        }
    }
    for (name, used, share) in agent.resources.iter().filter(|_| room >= 30) {
        let meaning = if *share >= 1.0 { Meaning::Warn } else { Meaning::Muted };
        words.push(w(format!("  {name} {used}"), meaning));
    }
    words
}
