//! Declaration and revision to desired objects, in the order of their application, and the identity of the version that they make.
//!
//! In: a [`crate::model::declaration::Declaration`], the commit that brought it, the tree of its watched paths and the platform's
//! defaults. Out: a [`crate::model::desired::Desired`]. Pure: same inputs, same bytes; it may use `model` and `declare`'s values, and no
//! clock, file, network or client.

mod body;

pub use body::{Stamp, canary_of, content_hash, pin, stamp};
