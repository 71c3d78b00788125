//! What needs the kernel or `unsafe`: the lowest layer, which everything above calls through safe types.

pub mod scan;
pub mod views;
