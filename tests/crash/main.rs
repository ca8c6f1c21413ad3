//! Crashes: the built `qd` is killed at random moments and at each call of its own that matters, then resumed; ledger,
//! locks, journal and exit code are judged by oracles that share no code with it. `QD_CRASH_KILLS`, `QD_CRASH_TASKS` and
//! `QD_CRASH_SEED` set the size; the seed is printed, and each failure names its own.

mod cases;
mod drive;
mod flow;
mod oracles;
mod points;
mod random;
mod reader;
mod task;
mod terminal;

/// A number from the environment.
fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The seed of everything here, the same for all tests of a process.
fn seed() -> u64 {
    static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let random = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        now.as_nanos() as u64 % 1_000_000_007
    };
    let given = || std::env::var("QD_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    *SEED.get_or_init(|| given().unwrap_or_else(random))
}

/// Fails with all that is wrong, each with what is needed to see it again.
fn none_failed(seed: u64, failures: Vec<String>) {
    assert!(failures.is_empty(), "QD_CRASH_SEED={seed}: {} failed\n{}", failures.len(), failures.join("\n"));
}
