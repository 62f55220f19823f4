//! (room reconcile)
