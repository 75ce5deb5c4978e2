//! Parses any answer of a homeserver.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nats_matrix_fuzz::homeserver(bytes));
