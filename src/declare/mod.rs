//! (room declare)
