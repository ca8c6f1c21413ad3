//! What the machine is like, for conditions that read `system`: read once a second on a thread of its own, which is there only
//! if some condition does. Knows nothing of conditions.

use std::time::Duration;

use super::Handle;
use crate::engine::overload::Figures;

/// The kernel's own averages change no faster than every five seconds; memory does.
const EVERY: Duration = Duration::from_secs(1);

/// Reads and tells until the session has ended.
pub(super) fn start(handle: Handle) {
    let run = move || {
        let mut last = None;
        while handle.ended().is_none() {
            let figures = look();
            if figures.is_some() && figures != last {
                figures.into_iter().for_each(|figures| handle.set_figures(figures));
                last = figures;
            }
            std::thread::sleep(EVERY);
        }
    };
    // Without a thread there are no figures, and conditions that read them have no answer.
    let _ = std::thread::Builder::new().name("machine".into()).spawn(run);
}

/// One look, if the kernel says all of it.
pub(super) fn look() -> Option<Figures> {
    #[cfg(debug_assertions)]
    if let Some(path) = std::env::var_os("QD_FIGURES") {
        return told(&std::fs::read_to_string(path).ok()?);
    }
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    of(&load, &memory, std::thread::available_parallelism().map_or(1, |count| count.get()))
}

/// `QD_FIGURES` in a debug build: a file with the load in the place of the kernel's, for tests.
#[cfg(debug_assertions)]
fn told(text: &str) -> Option<Figures> {
    let load1 = text.trim().parse().ok()?;
    Some(Figures { load1, load5: load1, mem_free: 1 << 30, cpus: 4 })
}

fn of(load: &str, memory: &str, cpus: usize) -> Option<Figures> {
    let mut averages = load.split_whitespace().map(str::parse);
    let (load1, load5) = (averages.next()?.ok()?, averages.next()?.ok()?);
    let free = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = free.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Figures { load1, load5, mem_free: kib * 1024, cpus: u32::try_from(cpus).unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_kernel() {
        let memory = "MemTotal:       24608384 kB\nMemFree:        1000 kB\nMemAvailable:   2048 kB\n";
        let seen = of("1.50 0.75 0.20 2/345 6789\n", memory, 2).unwrap();
        assert_eq!(seen, Figures { load1: 1.5, load5: 0.75, mem_free: 2 << 20, cpus: 2 });
        assert_eq!(of("", memory, 2), None);
        assert!(look().is_some_and(|real| real.cpus >= 1 && real.mem_free > 0));
    }
}
