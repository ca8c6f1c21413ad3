//! Quarterdeck: run, watch and steer work from your terminal. One binary, `qd`, hosts a task scheduler and its agents and
//! draws a live console over them. The modules below are in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod engine;
pub mod workflow;
pub mod session;
pub mod guard;
pub mod agents;
pub mod runtime;
pub mod snapshot;
pub mod headless;
pub mod text;
pub mod tui;
pub mod error;
pub mod fault;
