//! CPU and memory of the machine and of the tasks' own trees, through sysinfo. Looks at those processes only, and is
//! meant to be asked rarely (once a second), by any thread. Knows nothing of attempts.

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::tree::{self, Processes};
use crate::engine::ids::TaskId;

/// At most so many processes are looked at in one sample, over all tasks.
const SAMPLED: usize = 2048;

/// One sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Load {
    /// Each task that was asked for and still runs, in that order.
    pub tasks: Vec<TaskLoad>,
    /// Share of all CPUs in use, 0 to 100.
    pub cpu_percent: f32,
    /// Memory in use, bytes.
    pub memory_used: u64,
    /// Memory there is, bytes.
    pub memory_total: u64,
}

/// What one task's tree uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskLoad {
    /// The task.
    pub task: TaskId,
    /// CPU since the last sample; 100 is one CPU. Zero in the first sample of a process.
    pub cpu_percent: f32,
    /// Resident memory, bytes; shared pages count for each process.
    pub memory: u64,
    /// How many processes.
    pub processes: u32,
}

/// Takes samples; each tells of the time since the one before.
pub struct Sampler {
    system: System,
    processes: Processes,
}

impl Sampler {
    /// # Errors
    /// This machine cannot be asked.
    pub fn new() -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        Ok(Self { system, processes: Processes::new(false) })
    }

    /// What these leaders' trees, and what they left behind in their sessions, use now.
    pub fn sample(&mut self, leaders: &[(TaskId, i32)]) -> Load {
        let trees = self.trees(leaders);
        let pids: Vec<Pid> = trees.iter().flat_map(|(_, pids)| pids.iter().copied()).collect();
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
        Load {
            tasks: trees.iter().filter_map(|(task, pids)| self.sum(*task, pids)).collect(),
            cpu_percent: self.system.global_cpu_usage(),
            memory_used: self.system.used_memory(),
            memory_total: self.system.total_memory(),
        }
    }

    fn trees(&self, leaders: &[(TaskId, i32)]) -> Vec<(TaskId, Vec<Pid>)> {
        let mut orphans = Vec::new();
        // Unreadable: then only what is left behind is missing from the sums.
        let _ = self.processes.orphans(&mut orphans);
        let orphans: Vec<tree::Stat> = orphans.into_iter().take(SAMPLED).filter_map(tree::stat).collect();
        let mut room = SAMPLED;
        let mut trees = Vec::with_capacity(leaders.len());
        for (task, leader) in leaders {
            let left = orphans.iter().filter(|orphan| orphan.session == *leader && orphan.pid != *leader);
            let roots: Vec<i32> = std::iter::once(*leader).chain(left.map(|orphan| orphan.pid)).collect();
            let mut found = self.processes.walk(&roots, room);
            found.truncate(room);
            room -= found.len();
            trees.push((*task, found.iter().map(|stat| Pid::from_u32(stat.pid.unsigned_abs())).collect()));
        }
        trees
    }

    fn sum(&self, task: TaskId, pids: &[Pid]) -> Option<TaskLoad> {
        let found: Vec<_> = pids.iter().filter_map(|pid| self.system.process(*pid)).collect();
        (!found.is_empty()).then(|| TaskLoad {
            task,
            cpu_percent: found.iter().map(|process| process.cpu_usage()).sum(),
            memory: found.iter().map(|process| process.memory()).sum(),
            processes: u32::try_from(found.len()).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_busy_tree_shows_its_cpu_and_all_its_processes_and_an_ended_one_is_absent() {
        let mut busy = Command::new("/bin/sh").args(["-c", "(while :; do :; done) & wait"]).spawn().unwrap();
        let mut ended = Command::new("/bin/true").spawn().unwrap();
        let gone = ended.id().cast_signed();
        ended.wait().unwrap();
        let leaders = [(TaskId(1), busy.id().cast_signed()), (TaskId(2), gone)];
        let mut sampler = Sampler::new().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let load = loop {
            std::thread::sleep(Duration::from_millis(300));
            let load = sampler.sample(&leaders);
            let seen = load.tasks.first().is_some_and(|task| task.processes == 2 && task.cpu_percent > 5.0);
            if seen || Instant::now() > until {
                break load;
            }
        };
        for stat in Processes::new(false).walk(&[busy.id().cast_signed()], 100) {
            let pid = rustix::process::Pid::from_raw(stat.pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        busy.wait().unwrap();
        assert_eq!(load.tasks.len(), 1, "{load:?}");
        assert_eq!((load.tasks[0].task, load.tasks[0].processes), (TaskId(1), 2));
        assert!(load.tasks[0].cpu_percent > 5.0 && load.tasks[0].memory > 100_000, "{load:?}");
        assert!(load.memory_total > load.memory_used && load.memory_used > 0, "{load:?}");
    }
}
