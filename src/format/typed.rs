//! What formats whose records serde makes have in common: records archived into columns, bad ones noted.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::rows::{bad_record, line_count, skip};
use super::{BadRecord, Decoded};
use crate::batch::{BATCH_ROWS_MAX, Batch};
use crate::sys::archive::{ArchiveBuilder, Record};

/// What to write to skip bad records.
pub(super) const SKIP_HINT: &str = "call `skip_bad_records()` on the source to skip such records";

/// Why a record could not be read: at which byte of the chunk reading stopped, and what is wrong.
pub(super) type Fault = (usize, String);

/// How records become columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Archiving {
    /// Whether bad records are dropped.
    pub(super) lenient: bool,
    /// Whether the column is asked for.
    pub(super) wanted: bool,
}

impl Archiving {
    /// The records of `chunk`. Before each is made, `place` is set to where it starts and ends.
    pub(super) fn decode<T: Record>(
        self,
        chunk: &[u8],
        place: &Cell<(usize, usize)>,
        records: impl Iterator<Item = Result<T, Fault>>,
    ) -> Decoded {
        let mut decoded = Decoded { line_count: line_count(chunk), ..Decoded::default() };
        let all = || self.append(chunk, place, records, &mut decoded);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(all)) {
            let (start, end) = place.get();
            let text = format!("the type's own code panicked: {}", panic_text(panic.as_ref()));
            decoded.failure = Some(bad_record(chunk, start, end, start, text));
        }
        decoded
    }

    fn append<T: Record>(
        self,
        chunk: &[u8],
        place: &Cell<(usize, usize)>,
        records: impl Iterator<Item = Result<T, Fault>>,
        decoded: &mut Decoded,
    ) {
        let mut builder = ArchiveBuilder::<T>::default();
        let bad = |(position, reason): Fault| -> BadRecord {
            let (start, end) = place.get();
            bad_record(chunk, start, end, position, reason)
        };
        for record in records {
            match record {
                Ok(record) => {
                    if let Err(reason) = builder.push(&record) {
                        // The builder is not to be used after that, so what is in it is lost with the job.
                        decoded.failure = Some(bad((place.get().0, reason)));
                        return;
                    }
                }
                Err(fault) if self.lenient => skip(decoded, || bad(fault)),
                Err(fault) => {
                    decoded.failure = Some(bad(fault));
                    break;
                }
            }
            if builder.len() == BATCH_ROWS_MAX {
                decoded.batches.push(self.batch(&mut builder));
            }
        }
        if !builder.is_empty() {
            decoded.batches.push(self.batch(&mut builder));
        }
    }

    fn batch<T: Record>(self, builder: &mut ArchiveBuilder<T>) -> Batch {
        let rows = builder.len();
        let column = builder.finish();
        Batch::new(if self.wanted { vec![column] } else { Vec::new() }, rows)
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
