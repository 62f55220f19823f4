//! A cluster in one process: for tests, simulation and `idp demo`.

pub mod api;
pub mod clock;
pub(crate) mod controllers;
pub(crate) mod http;
pub(crate) mod json;
pub mod node;
pub mod registry;
