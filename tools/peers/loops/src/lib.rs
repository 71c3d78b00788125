//! The parts of the loops, which peers use as their operators' state too: a peer is to be beaten at its best.

pub mod groups;
mod radix;
pub mod sessions;
pub mod slices;
pub mod visitors;

pub use radix::{minutes, sessions as sessions_by_partition, visitors as visitors_by_partition};
