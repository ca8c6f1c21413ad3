//! Ids, times and amounts: the small words of the engine. Knows nothing else of it.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);
        impl $name {
            /// Its place in the table it indexes.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                Self(u32::try_from(index).expect("tables hold at most 2^32 entries"))
            }
        }
    };
}

id!(
    /// A task of the workflow, in the order of its declaration.
    TaskId
);
id!(
    /// An agent, in the order of its declaration.
    AgentId
);
id!(
    /// A named resource: of the session (`db`) or of every agent (`cpu`).
    ResourceId
);
id!(
    /// A stage, in the order of its declaration.
    StageId
);
id!(
    /// A named fallback of the workflow.
    FallbackId
);
id!(
    /// A transition between stages, in the order of the file.
    TransitionId
);
id!(
    /// A phase of the run, in the order of the file.
    PhaseId
);
id!(
    /// A milestone or an objective, in the order of the file.
    GoalId
);
id!(
    /// A barrier, in the order of the file.
    BarrierId
);
id!(
    /// A set of time windows of the workflow.
    WindowId
);
id!(
    /// The number of an attempt of one task, from 1. An attempt number is executed at most once, over all consoles.
    Attempt
);

/// Milliseconds since the Unix epoch by the session's clock, which never goes back (the runtime sees to it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Span {
    /// `seconds` as a span.
    pub const fn secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }
}

impl Time {
    /// This time and `span` more, at most the end of time.
    pub fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// An amount of a resource in thousandths of its unit: `0.5` is 500, `"2GiB"` is 2 × 1024³ × 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// The whole of a lock: what an exclusive holder takes; a shared holder takes `Amount(1)`.
    pub const WHOLE_LOCK: Amount = Amount(1 << 32);
    /// `n` whole units.
    pub const fn units(n: u64) -> Self {
        Self(n * 1000)
    }
}

impl fmt::Display for Span {
    /// To the letter, as a file would say it: `1h30m`, `90ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return write!(f, "0s");
        }
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
            }
            rest %= length;
        }
        Ok(())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
