//! Parses any text as a configuration.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nats_matrix_fuzz::config(bytes));
