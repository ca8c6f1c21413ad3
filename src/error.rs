//! Errors as the user meets them: a message, a hint, and a kind that fixes the exit code. Knows nothing of ours.

use std::fmt;

/// What kind of end: fixes the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Some tasks failed: 1.
    Failed,
    /// Wrong use, bad file, session busy or unknown: 2.
    Usage,
    /// Stopped, detached, or held work left: 3.
    Stopped,
    /// The console died or broke an invariant: 70.
    Internal,
}

impl Kind {
    /// The process exit code.
    pub fn code(self) -> i32 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Stopped => 3,
            Self::Internal => 70,
        }
    }
}

/// An error with its kind and what to do about it.
#[derive(Debug)]
pub struct Error {
    /// Fixes the exit code.
    pub kind: Kind,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The result of most things outside the engine.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wrong use, bad file, session busy or unknown.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into(), hint: None }
    }
    /// A defect of ours, or a machine that refuses the most basic things.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { kind: Kind::Internal, message: message.into(), hint: None }
    }
    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
