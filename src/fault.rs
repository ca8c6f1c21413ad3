//! Faults on demand, for crash tests: `QD_FAULT=write:17` kills this process by SIGKILL at its 17th write. Counted calls
//! are the ones that matter to a promise: `write`, `sync`, `spawn`, `reap`, `rename`. Debug builds only: in a release
//! build `hit` is empty. `QD_FAULT_IN` names the role it is meant for (`console`, the default, or `guard`).

/// Which kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A write to the journal or a survivors file.
    Write,
    /// fsync or fdatasync of one.
    Sync,
    /// A task's spawn: hit both just before and just after it.
    Spawn,
    /// A task's reaping: hit both just before and just after it.
    Reap,
    /// A rename into place.
    Rename,
}

/// Says that a call of this kind is about to be made (or, for `Spawn` and `Reap`, also that it was just made).
#[cfg(debug_assertions)]
pub fn hit(call: Call) {
    enabled::hit(call);
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_call: Call) {}

/// Panics if `QD_PANIC` names this place: `loop`, `hands` or `screen`. Debug builds only.
#[cfg(debug_assertions)]
#[track_caller]
pub fn panic_at(place: &str) {
    enabled::panic_at(place);
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn panic_at(_place: &str) {}

/// Sets which role this process has; faults of another role are ignored.
pub fn role(_role: &'static str) {
    #[cfg(debug_assertions)]
    enabled::role(_role);
}

#[cfg(debug_assertions)]
mod enabled {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Call;

    static ROLE: OnceLock<&'static str> = OnceLock::new();
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);

    pub fn role(role: &'static str) {
        let _ = ROLE.set(role);
    }

    #[track_caller]
    pub fn panic_at(place: &str) {
        static WANTED: OnceLock<Option<String>> = OnceLock::new();
        let wanted = WANTED.get_or_init(|| std::env::var("QD_PANIC").ok());
        assert!(wanted.as_deref() != Some(place), "a fault was asked for in the {place}");
    }

    pub fn hit(call: Call) {
        let plan = PLAN.get_or_init(|| {
            let meant_for = std::env::var("QD_FAULT_IN").unwrap_or_else(|_| "console".into());
            if ROLE.get().is_none_or(|role| *role != meant_for) {
                return None;
            }
            let text = std::env::var("QD_FAULT").ok()?;
            let (name, count) = text.split_once(':')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        let Some((name, at)) = plan else { return };
        let this = match call {
            Call::Write => "write",
            Call::Sync => "sync",
            Call::Spawn => "spawn",
            Call::Reap => "reap",
            Call::Rename => "rename",
        };
        if name == this && COUNT.fetch_add(1, Ordering::SeqCst) + 1 == *at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
