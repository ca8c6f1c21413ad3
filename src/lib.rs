//! Quarterdeck: run, watch and steer work from your terminal. One binary, `qd`, hosts a task scheduler and its agents and
//! draws a live console over them. The modules below are in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod agents;
pub mod bus;
pub mod care;
pub mod cli;
pub mod engine;
pub mod error;
pub mod fault;
pub mod guard;
pub mod headless;
pub mod replay;
pub mod report;
pub mod runtime;
pub mod sensors;
pub mod server;
pub mod session;
pub mod sim;
pub mod snapshot;
pub mod text;
pub mod tui;
pub mod workflow;
