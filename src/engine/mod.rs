//! The engine: a pure function of what it is told. `decide` takes one input and gives facts and effects; `apply` folds a
//! fact into the State. Time, randomness and ids come in with the input. It knows no clock, file, thread, terminal or
//! environment, and names nothing of ours outside this folder.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod alarms;
pub mod arrival;
pub mod barriers;
pub mod breaker;
pub mod bucket;
pub mod care;
pub mod check;
pub mod checkpoint;
pub mod condition;
pub mod decide;
pub mod definition;
pub mod dispatch;
pub mod explain;
pub mod fact;
pub mod fallback;
pub mod foreach;
pub mod gates;
pub mod goals;
pub mod graph;
pub mod health;
pub mod ids;
pub mod interests;
pub mod launch;
mod limits;
pub mod locks;
pub mod majority;
pub mod meetings;
pub mod message;
pub mod monitors;
pub mod order;
pub mod overload;
pub mod place;
pub mod policy;
pub mod posts;
mod preempt;
pub mod sensors;
pub mod shared;
pub mod state;
pub mod subworkflow;
pub mod surgery;
pub mod table;
pub mod trial;
pub mod values;
pub mod window;
