//! What a second terminal, a script or a task says to a living session and hears from it: lines of JSON over the session's
//! Unix socket. `message` is what they say, `frame` how a line is read without trusting its length, `address` where the socket
//! is, `client` one side of the talk, `token` by which a task shows who it is. Knows nothing of how anything is answered.

pub mod address;
pub mod client;
pub mod frame;
pub mod message;
pub mod token;
