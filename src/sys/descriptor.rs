//! Descriptors by number.
//!
//! # Invariants
//!
//! 1. A number that is passed here belongs to a stream that stays open for as long as the borrow is used.

use std::os::fd::{BorrowedFd, RawFd};

/// The descriptor `descriptor`, for one call of `poll(2)`.
///
/// A number that was closed in the meantime makes `poll` report an error on it, nothing worse.
///
/// # Panics
///
/// If it is negative.
pub fn borrow<'a>(descriptor: RawFd) -> BorrowedFd<'a> {
    assert!(descriptor >= 0);
    // SAFETY: it is not -1 (asserted), and by invariant 1 its owner, a reader of the same shard, keeps it open during the call.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}
