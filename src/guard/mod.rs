//! Front and guard: the two small processes around the console. Single-threaded; names only `error` and `fault`.
//! `docs/guard.md` says what each does and gives the formats.
//!
//! ```text
//! shell ── front ── guard ── console ── tasks
//! ```

mod console;
mod family;
mod front;
mod past;
mod record;
mod roll;
mod serve;
mod store;
mod supervise;
mod sys;
pub mod table;
mod watch;
mod wire;

pub use console::{ConsoleSide, OnDeath, Policy, launch};
pub use family::{boot_id, stat};
pub use past::{GuardLink, Order, PastGuard, Verdict, inquire};
pub use record::{ConsoleEnd, Exit, Key, Process, Record, Stamped, StopCause, Usage, VERSION};
