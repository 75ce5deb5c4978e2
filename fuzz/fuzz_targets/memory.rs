//! Measures the memory that any large message takes.

#![no_main]

use nats_matrix_fuzz::memory::{self, Recipe};

libfuzzer_sys::fuzz_target!(init: memory::prepare(), |bytes: &[u8]| {
    let payload = Recipe::read(bytes).cook();
    let info = allocation_counter::measure(|| memory::work(&payload));
    let taken = memory::taken(info.bytes_max, info.count_max);
    assert!(taken <= memory::allowed(payload.len()), "{} bytes take {taken}", payload.len());
});
