//! What needs the kernel or `unsafe`: the lowest layer, which everything above calls through safe types.

pub mod clock;
pub mod descriptor;
pub mod random;
pub mod scan;
pub mod uring;
pub mod views;
