//! What needs the kernel or `unsafe`: the lowest layer, which everything above calls through safe types.

pub mod archive;
pub mod checksum;
pub mod clock;
pub mod crash;
pub mod descriptor;
pub mod filled;
pub mod memory;
pub mod prefetch;
pub mod random;
pub mod scan;
pub mod schedule;
pub mod storage;
pub mod uring;
pub mod vector;
pub mod views;
