//! Decodes any bytes as the payload of a message.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nats_matrix_fuzz::payload(bytes));
