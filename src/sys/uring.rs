//! Whether io_uring is to be had.
//!
//! # Invariants
//!
//! 1. The ring made to find out is closed at once; nothing is mapped.

use rustix::io_uring::{io_uring_params, io_uring_setup};

/// Whether the kernel lets this process make an io_uring.
pub fn is_allowed() -> bool {
    let mut params = io_uring_params::default();
    // SAFETY: `params` is a valid, zeroed parameter block that outlives the call; by invariant 1 the ring is dropped here.
    unsafe { io_uring_setup(4, &mut params) }.is_ok()
}
