//! (room health)
