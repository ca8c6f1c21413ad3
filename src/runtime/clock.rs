//! The session's clock: the only file that reads one. Milliseconds since the Unix epoch as they were when the console
//! opened, moved on by the monotonic clock, so that it never goes back and a jump of the wall clock changes nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::ids::{Span, Time};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Time,
    start: Instant,
}

/// What else a clock may notice: the machine slept, or somebody set its wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    boot: Duration,
    wall: SystemTime,
    monotonic: Instant,
}

/// Something that a watch noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jump {
    /// The machine was asleep so long: timers did not count that.
    Asleep(Span),
    /// The wall clock was set forward (or back, if negative) by so many milliseconds.
    Set(i64),
}

/// Jumps below this are noise.
const NOTICED: Duration = Duration::from_secs(5);

impl Clock {
    /// A clock that reads the wall clock's time now, but no earlier than just after `last` (the session's last fact).
    pub fn new(last: Time) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Self { base: Time(wall.max(last.0 + 1)), start: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.base.plus(Span(self.start.elapsed().as_millis() as u64))
    }

    /// When `at` comes, as the operating system's clock counts.
    pub fn instant(&self, at: Time) -> Instant {
        self.start + Duration::from_millis(at.0.saturating_sub(self.base.0))
    }
}

impl Watch {
    /// Starts watching.
    pub fn new() -> Self {
        Self { boot: boottime(), wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// What happened since the last look.
    pub fn look(&mut self) -> Option<Jump> {
        let now = Self::new();
        let awake = now.monotonic.duration_since(self.monotonic);
        let passed = now.boot.saturating_sub(self.boot);
        let wall = match now.wall.duration_since(self.wall) {
            Ok(forward) => forward.as_millis() as i64,
            Err(back) => -(back.duration().as_millis() as i64),
        };
        *self = now;
        let asleep = passed.saturating_sub(awake);
        if asleep >= NOTICED {
            return Some(Jump::Asleep(Span(asleep.as_millis() as u64)));
        }
        let set = wall - passed.as_millis() as i64;
        (set.unsigned_abs() >= NOTICED.as_millis() as u64).then_some(Jump::Set(set))
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32)
}
