//! Aggregate functions that users write, over bytes: what such a function must say, and how the engine calls it.
//!
//! An accumulator is bytes of the function's own, mostly an archive that it reads in place: they begin at an address that is a
//! multiple of 16 wherever they are handed out. They lie where the strings of other aggregates lie, so windows, sessions, firing,
//! exchanges and snapshots treat such a function as any other.
//!
//! A function is called for a batch at a time and goes through the groups itself ([`Groups::each`]), so that columns are looked at
//! once a batch. What it refuses, and a panic of its own, unwinds the shard with a [`JobError`] that names it, as damaged state
//! does; whoever drives the shard ends the job with that ([`crate::state::caught`]).
//!
//! # Invariants
//!
//! 1. Rows of a group are added in the order of their arrival; what is merged counts as later.
//! 2. A group has an accumulator from its first row that counts on. Before that it shows what `create` gives.

use std::any::TypeId;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_buffer::BooleanBuffer;
use rkyv::util::AlignedVec;

use super::{AggregateFunction, Slots};
use crate::batch::{DataType, Schema};
use crate::error::{JobError, StateError, panic_text};

/// The longest accumulator: what travels counts bytes in 32 bits, many accumulators together.
pub const ACCUMULATOR_BYTES_MAX: usize = 1 << 30;

/// An aggregate function.
///
/// All methods are functions of their arguments alone: what a shard computes, another computes again after a crash.
pub trait UserAggregate: Send + Sync + fmt::Debug {
    /// Its name, for people.
    fn name(&self) -> &str;
    /// What tells it from every other function. State of another uid or version is refused.
    fn uid(&self) -> &str;
    /// Changes when its accumulators, or what it makes of rows, change.
    fn version(&self) -> u64;
    /// Its code, as far as types tell: two functions of one uid are one function.
    fn code(&self) -> TypeId
    where
        Self: 'static,
    {
        TypeId::of::<Self>()
    }
    /// The types of its arguments. They may be NULL in any row: that is for the function to see to.
    fn arg_types(&self) -> &[DataType];
    /// The type of its results.
    fn data_type(&self) -> DataType;
    /// Whether a result may be NULL.
    fn nullable(&self) -> bool;
    /// Whether results depend on the order of rows. If so, rows go to every window that they belong to one by one, in
    /// the order of their arrival; else windows that overlap share the accumulators of their slices. In a session that was
    /// merged from several the rows of one follow those of another, in an order that is the same in every run.
    fn is_order_sensitive(&self) -> bool;
    /// Whether rows may be folded before they travel to their group's owner. Not worth it where accumulators grow with
    /// their rows; not right where to merge is not exactly to add, as with sums of `f64`.
    fn folds_early(&self) -> bool;
    /// The accumulator of no rows.
    fn create(&self) -> Vec<u8>;
    /// Adds the rows of `groups`; `args` are the columns of the arguments.
    ///
    /// # Errors
    ///
    /// What ends the job, for people.
    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String>;
    /// Adds the accumulator `from` of later rows: the same as having added those, in order.
    ///
    /// # Errors
    ///
    /// What ends the job, for people.
    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String>;
    /// The results of accumulators, one a row, of [`UserAggregate::data_type`].
    ///
    /// # Errors
    ///
    /// What ends the job, for people.
    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String>;
}

impl AggregateFunction {
    /// What a call of a user's function is known by besides its name, to be put behind the arguments; of ours nothing.
    pub fn provenance(&self) -> String {
        match self {
            AggregateFunction::User(function) => function.provenance(),
            _ => String::new(),
        }
    }
}

/// A user's function in a call. Two are the same if uid and version are.
#[derive(Clone, Debug)]
pub struct UserFunction(pub Arc<dyn UserAggregate>);

impl PartialEq for UserFunction {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid() == other.0.uid() && self.0.version() == other.0.version()
    }
}

impl Eq for UserFunction {}

impl Hash for UserFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid().hash(state);
        self.0.version().hash(state);
    }
}

impl UserFunction {
    /// Uid and version: what the state of a call is known by.
    fn provenance(&self) -> String {
        format!(" of uid '{}', version {}", self.0.uid(), self.0.version())
    }

    /// Whether it can take these columns of `input`, `distinct` ones if so.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self, input: &Schema, args: &[usize], distinct: bool) -> Result<(), JobError> {
        let types: Vec<DataType> = args.iter().map(|&arg| input.fields[arg].data_type).collect();
        let wanted = self.0.arg_types();
        let same = |(a, b): (&DataType, &DataType)| a.arrow() == b.arrow();
        if types.len() != wanted.len() || !types.iter().zip(wanted).all(same) {
            let list = |types: &[DataType]| {
                types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            return Err(self
                .error("called", format!("it takes ({}), not ({})", list(wanted), list(&types))));
        }
        match distinct {
            true => Err(self.error("called", "a function of your own cannot be DISTINCT".into())),
            false => Ok(()),
        }
    }

    fn error(&self, doing: &'static str, message: String) -> JobError {
        let function = self.0.name().to_owned() + &self.provenance();
        JobError::Function { function, doing: doing.to_owned(), message }
    }

    /// Calls it; an error, or a panic of its own, unwinds.
    fn guarded<T>(&self, doing: &'static str, work: impl FnOnce() -> Result<T, String>) -> T {
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
            if payload.is::<StateError>() {
                resume_unwind(payload);
            }
            Err(format!("it panicked: {}", panic_text(&*payload)))
        });
        done.unwrap_or_else(|message| resume_unwind(Box::new(self.error(doing, message))))
    }
}

/// A group's accumulator, where it is kept.
pub struct Stored<'a> {
    slots: &'a mut dyn Slots,
    blob: u64,
}

impl Stored<'_> {
    /// Its bytes, from a multiple of 16 on.
    pub fn bytes(&self) -> &[u8] {
        self.slots.blob(self.blob)
    }

    /// Its bytes, to change in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.slots.blob_mut(self.blob)
    }

    /// Puts `bytes` in their place.
    ///
    /// # Errors
    ///
    /// More than [`ACCUMULATOR_BYTES_MAX`].
    pub fn replace(&mut self, bytes: &[u8]) -> Result<(), String> {
        check_length(bytes.len())?;
        self.blob = self.slots.put_blob(self.blob, bytes);
        Ok(())
    }

    /// Appends to them, in amortised linear time.
    ///
    /// # Errors
    ///
    /// More than [`ACCUMULATOR_BYTES_MAX`] in all.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        check_length(self.bytes().len() + bytes.len())?;
        self.blob = self.slots.append_blob(self.blob, bytes);
        Ok(())
    }
}

fn check_length(bytes: usize) -> Result<(), String> {
    match bytes <= ACCUMULATOR_BYTES_MAX {
        true => Ok(()),
        false => {
            Err(format!("an accumulator of {bytes} bytes; {ACCUMULATOR_BYTES_MAX} are the most"))
        }
    }
}

/// Rows to add, by their groups.
pub struct Groups<'a> {
    slots: &'a mut dyn Slots,
    function: &'a dyn UserAggregate,
    /// The word of a slot that refers to the accumulator.
    word: usize,
    /// By row of the batch, its slot.
    slot_of_row: &'a [u32],
    /// The rows that count.
    rows: Vec<u32>,
}

impl Groups<'_> {
    /// Calls `add` for each run of rows of one group: with the group's accumulator, and the rows' places in the columns.
    ///
    /// # Errors
    ///
    /// What `add` says; the rows behind are not added then.
    pub fn each(
        &mut self,
        mut add: impl FnMut(&mut Stored<'_>, &[u32]) -> Result<(), String>,
    ) -> Result<(), String> {
        let slot_of = |row: &u32| self.slot_of_row[*row as usize];
        for rows in self.rows.chunk_by(|a, b| slot_of(a) == slot_of(b)) {
            let slot = slot_of(&rows[0]);
            let held = self.slots.words(slot)[self.word];
            let blob = match held {
                0 => self.slots.new_aligned(&self.function.create()),
                held => held,
            };
            let mut stored = Stored { slots: self.slots, blob };
            add(&mut stored, rows)?;
            let blob = stored.blob;
            if blob != held {
                self.slots.words_mut(slot)[self.word] = blob;
            }
        }
        Ok(())
    }
}

/// Folds rows into one call's accumulators; `filter`: the rows that FILTER keeps.
///
/// # Shapes
///
/// - `slot_of_row`: `[rows]`; `args`: a column an argument, each `[rows]`; `word`: the accumulator's word within a slot.
pub fn add<S: Slots>(
    function: &UserFunction,
    word: usize,
    table: &mut S,
    slot_of_row: &[u32],
    args: &[ArrayRef],
    filter: Option<&BooleanBuffer>,
) {
    let rows = match filter {
        None => (0..slot_of_row.len() as u32).collect(),
        Some(kept) => kept.set_indices().map(|row| row as u32).collect(),
    };
    let user = &*function.0;
    let mut groups = Groups { slots: table, function: user, word, slot_of_row, rows };
    function.guarded("adding rows", || user.add(&mut groups, args));
}

/// Merges the accumulator `from` into that of a slot.
pub(super) fn merge<S: Slots>(
    function: &UserFunction,
    word: usize,
    table: &mut S,
    slot: u32,
    from: &[u8],
) {
    let held = table.words(slot)[word];
    let blob = match held {
        0 => table.new_aligned(from),
        blob => {
            let mut into = Stored { slots: table, blob };
            function.guarded("merging", || function.0.merge(&mut into, from));
            into.blob
        }
    };
    if blob != held {
        table.words_mut(slot)[word] = blob;
    }
}

/// The results for `slots`.
pub(super) fn finish<S: Slots>(
    function: &UserFunction,
    word: usize,
    table: &S,
    slots: &[u32],
) -> ArrayRef {
    let (user, data_type) = (&*function.0, function.0.data_type().arrow());
    if slots.is_empty() {
        return new_empty_array(&data_type);
    }
    let results = function.guarded("finishing", || {
        let created = user.create();
        // Without memory of its own it would lie anywhere.
        let mut none: AlignedVec = AlignedVec::with_capacity(created.len().max(1));
        none.extend_from_slice(&created);
        let accumulators: Vec<&[u8]> = slots
            .iter()
            .map(|&slot| match table.words(slot)[word] {
                0 => none.as_slice(),
                blob => table.blob(blob),
            })
            .collect();
        user.finish(&accumulators)
    });
    let wrong = if results.len() != slots.len() {
        Some(format!("{} results of {} accumulators", results.len(), slots.len()))
    } else if *results.data_type() != data_type {
        Some(format!("a result of type {}, not {data_type}", results.data_type()))
    } else {
        (!user.nullable() && results.null_count() > 0).then(|| "NULL, which it excludes".into())
    };
    match wrong {
        None => results,
        Some(wrong) => function.guarded("finishing", || Err(format!("it gave {wrong}"))),
    }
}
