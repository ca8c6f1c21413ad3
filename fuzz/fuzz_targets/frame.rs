//! Whatever a client sends: frames are read to the end, each line is taken for a message and its request read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarterdeck::bus::frame;

fuzz_target!(|bytes: &[u8]| {
    let read = frame::drive(bytes, 1 + bytes.len() % 97, 512);
    assert!(read.longest <= 512);
});
