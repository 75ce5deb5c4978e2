//! A stand-in for containers where the testbed was built without them.

use std::convert::Infallible;

use anyhow::{Result, bail};

use super::Image;
use crate::setup::{Placement, Setup};

/// A container that cannot exist.
#[derive(Debug)]
pub(crate) struct Container(Infallible);

pub(crate) async fn create(
    _name: &str,
    _image: &Image,
    _port: u16,
    _setup: impl Fn(&Placement) -> Setup,
) -> Result<Container> {
    bail!(
        "NATS_MATRIX_TESTBED=containers needs the testbed built for it: add \
         `--features nats-matrix-testbed/containers` to the cargo command"
    );
}

#[expect(clippy::unused_async, reason = "they stand in for methods that are")]
impl Container {
    pub(crate) async fn start(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn kill(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn pause(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn exit_code(&self) -> Result<Option<i32>> {
        match self.0 {}
    }

    pub(crate) async fn log(&self) -> String {
        match self.0 {}
    }
}
