//! Decodes any message with any shape.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nats_matrix_fuzz::shape(bytes));
