//! Renders any message with any templates.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nats_matrix_fuzz::template(bytes));
