//! Sessions on disk: where they lie, who may write, what was stored, and how it is read again after any kind of end.
//! Knows the engine's facts as a stored format and nothing else of the engine: it neither decides nor folds.
//!
//! In reading order: `folder` (a session is a folder), `lock` (one writer), `journal` (a line per fact), `checkpoint` (a
//! cache of the journal), `trust` (which workflow files were seen and allowed).

pub mod checkpoint;
pub mod folder;
pub mod journal;
pub mod lock;
pub mod summary;
pub mod trust;
