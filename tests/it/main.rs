//! The integration suite: one binary, so that what it starts is shared, and one module a subject.

mod counts;
mod genuine;
mod hygiene;
mod sandbox;
mod stack;
