//! (room render)
