//! The server through a `kube::Client`, as the daemon sees it.

mod apply;
mod basics;
mod custom;
mod doors;
mod watching;
