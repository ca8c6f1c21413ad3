//! (text harness; see below)
