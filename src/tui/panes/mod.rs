//! How each pane looks. Each draws only what is in the snapshot's window, so a frame costs what the screen shows.

pub mod agents;
pub mod detail;
pub mod graph;
pub mod header;
pub mod locks;
pub mod log;
pub mod progress;
pub mod queue;
pub mod replay;
pub mod timeline;
