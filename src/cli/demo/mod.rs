//! demo
pub mod repository;
