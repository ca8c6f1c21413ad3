//! Front and guard: the two small processes around the console. Single-threaded; names only `error`.

pub mod table;
