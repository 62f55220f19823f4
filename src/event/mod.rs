//! (room event)
