//! Replays the corpus of the fuzz targets, with their own checks.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

#[path = "../../fuzz/src/lib.rs"]
pub mod checks;
