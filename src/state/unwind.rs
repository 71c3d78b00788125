//! Damage on its way out of a page space.
//!
//! A frame that turns out to be damaged unwinds the shard with its [`StateError`] as the payload (`resume_unwind`): whoever
//! drives the shard catches it there ([`caught`]) and ends the job with that error. The structures above so need no error path
//! in their inner loops, and nobody ever sees a wrong word. What a user's function fails with takes the same way.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::{JobError, StateError};

/// Does `work`; damage that unwinds it becomes its error, and so does what a user's function unwound it with.
///
/// # Errors
///
/// As `work`, and the [`StateError`] or [`JobError`] that it was unwound with.
pub fn caught<T>(work: impl FnOnce() -> Result<T, JobError>) -> Result<T, JobError> {
    let worked = catch_unwind(AssertUnwindSafe(work));
    let error = |payload: Box<dyn Any + Send>| match payload.downcast::<StateError>() {
        Ok(error) => JobError::State(*error),
        Err(payload) => {
            *payload.downcast::<JobError>().unwrap_or_else(|other| resume_unwind(other))
        }
    };
    worked.unwrap_or_else(|payload| Err(error(payload)))
}

/// Unwinds the shard; see the module's header.
pub(super) fn fail(error: StateError) -> ! {
    resume_unwind(Box::new(error))
}
