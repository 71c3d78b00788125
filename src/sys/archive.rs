//! Records in columns: rkyv archives that are validated once and read in place.
//!
//! A *record column* holds one archive a row, each an allocation of its own in bytes: relative pointers in it stay within it, so that
//! rows can be copied, filtered and shipped as bytes. Where no record of a batch has anything behind its root (no strings, no
//! vectors), all take the same room and the column is a `FixedSizeBinaryArray`; otherwise it is a `BinaryViewArray`. Some rows of the
//! former are a dictionary over it, so that a filter copies row numbers and no records.
//!
//! # Invariants
//!
//! 1. A column that the plan declares to hold records of `T` was made by [`ArchiveBuilder`] from values of `T`, or by [`read_payload`],
//!    which validates each record within its own bytes, or by copying, filtering, slicing such a column. The typed builder alone
//!    declares such columns, and reads them as the type that it declared.
//! 2. A record starts at a multiple of 16, and moves by multiples of 16 alone: what it points at, be it the empty place of an empty
//!    vector, stays aligned. So it has been serialised where it stands, zeros before it included.
//! 3. A record's root is at its end. It is at least [`RECORD_BYTES_MIN`] long, so that no view holds it inline; in a fixed column its
//!    length is a multiple of 16.

#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, DictionaryArray, FixedSizeBinaryArray, UInt32Array,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_select::take::take;
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator, to_bytes_in_with_alloc};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::{AlignedVec, with_arena};
use rkyv::{Archive, Deserialize, Portable, Serialize};

use super::memory::prefer_huge_pages;
use super::vector;

/// What a stream may carry: a type with `#[derive(Archive, Serialize)]` of [`rkyv`].
pub trait Record:
    Archive<Archived: Stored>
    + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
    + Send
    + 'static
{
}

impl<T> Record for T where
    T: Archive<Archived: Stored>
        + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
        + Send
        + 'static
{
}

/// What closures read: the archived form of a [`Record`].
pub trait Stored:
    Portable + for<'a> CheckBytes<HighValidator<'a, Error>> + Send + Sync + 'static
{
}

impl<A> Stored for A where
    A: Portable + for<'a> CheckBytes<HighValidator<'a, Error>> + Send + Sync + 'static
{
}

/// The alignment of a record in a view's buffer.
const ALIGNMENT: usize = 16;
/// The least length of a record in a view's buffer: longer than what Arrow keeps in the view itself.
pub const RECORD_BYTES_MIN: usize = 16;

/// The rows of a record column.
#[derive(Debug)]
pub enum Archives<'a, A> {
    /// Roots alone, one after another.
    Roots(&'a [A]),
    /// All of one length.
    Fixed(&'a [u8]),
    /// Of any length.
    Views(&'a BinaryViewArray, PhantomData<A>),
    /// Some of those in another column, each by its row there.
    Picked(Box<Archives<'a, A>>, &'a [u32]),
}

/// The bytes of a column of records that are all of one length; of any other column none.
pub fn record_bytes(column: &dyn Array) -> &[u8] {
    let fixed = column.as_any().downcast_ref::<FixedSizeBinaryArray>();
    fixed.map_or(&[], FixedSizeBinaryArray::value_data)
}

/// What a record takes in a fixed column.
const fn stride<A>() -> usize {
    size_of::<A>().next_multiple_of(ALIGNMENT)
}

impl<'a, A: Stored> Archives<'a, A> {
    /// Reads a column that the plan declares to hold records whose archived form is `A` (invariant 1).
    ///
    /// # Panics
    ///
    /// If the column is none of records.
    pub fn of(column: &'a dyn Array) -> Self {
        let any = column.as_any();
        if let Some(views) = any.downcast_ref::<BinaryViewArray>() {
            return Self::Views(views, PhantomData);
        }
        if let Some(picked) = any.downcast_ref::<PickedArray>() {
            let rows = picked.keys().values();
            return Self::Picked(Box::new(Self::of(picked.values().as_ref())), rows);
        }
        let fixed = any.downcast_ref::<FixedSizeBinaryArray>().expect("a column of records");
        assert_eq!(fixed.value_length() as usize, stride::<A>(), "records of another type");
        let bytes = fixed.value_data();
        if size_of::<A>() != stride::<A>() {
            return Self::Fixed(bytes);
        }
        if bytes.is_empty() {
            return Self::Roots(&[]);
        }
        let start = bytes.as_ptr().cast::<A>();
        assert!(start.is_aligned(), "records lie aligned");
        // SAFETY: invariant 1: the bytes are `len` archives of `A`, one after another; they live as long as the column.
        Self::Roots(unsafe { std::slice::from_raw_parts(start, fixed.len()) })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Archives::Roots(records) => records.len(),
            Archives::Fixed(bytes) => bytes.len() / stride::<A>(),
            Archives::Views(views, _) => views.len(),
            Archives::Picked(_, rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record of a row.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[inline]
    pub fn get(&self, row: usize) -> &'a A {
        match self {
            Archives::Roots(records) => &records[row],
            Archives::Picked(records, rows) => records.get(rows[row] as usize),
            _ => root_of(self.bytes(row)),
        }
    }

    /// The bytes of a row's record.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[inline]
    pub fn bytes(&self, row: usize) -> &'a [u8] {
        match self {
            Archives::Roots(records) => {
                let record = std::slice::from_ref(&records[row]);
                // SAFETY: an archive is `Portable`: it was bytes before it was looked at as an `A`, all of them initialised.
                unsafe { std::slice::from_raw_parts(record.as_ptr().cast(), size_of::<A>()) }
            }
            Archives::Fixed(bytes) => &bytes[row * stride::<A>()..][..stride::<A>()],
            Archives::Views(views, _) => views.value(row),
            Archives::Picked(records, rows) => records.bytes(rows[row] as usize),
        }
    }
}

/// A column of records that are picked from another: its rows, and that column.
type PickedArray = DictionaryArray<UInt32Type>;

/// The rows at these indices of a column of records that are all of one length, without copying them. `None`: it is another column.
///
/// # Panics
///
/// If an index is out of range.
pub fn pick(column: &ArrayRef, rows: &UInt32Array) -> Option<ArrayRef> {
    let any = column.as_any();
    if let Some(picked) = any.downcast_ref::<PickedArray>() {
        let from = picked.keys().values();
        let rows = rows.values().iter().map(|&row| from[row as usize]);
        return pick(picked.values(), &UInt32Array::from_iter_values(rows));
    }
    any.downcast_ref::<FixedSizeBinaryArray>()?;
    let last = vector::widest(Last(rows.values())) as usize;
    let are_there = (rows.is_empty() || last < column.len()) && rows.null_count() == 0;
    assert!(are_there, "an index is out of range");
    // SAFETY: all rows are there, as has just been looked at.
    Some(Arc::new(unsafe { PickedArray::new_unchecked(rows.clone(), column.clone()) }))
}

/// The greatest of some rows; 0 if there are none.
struct Last<'a>(&'a [u32]);

impl vector::Loop for Last<'_> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        self.0.iter().fold(0, |last, &row| last.max(row))
    }
}

/// The same records in a column of views, for readers that keep columns of several batches together.
pub fn as_views<A: Stored>(column: &ArrayRef) -> ArrayRef {
    let any = column.as_any();
    if let Some(picked) = any.downcast_ref::<PickedArray>() {
        let views = as_views::<A>(picked.values());
        return take(&views, picked.keys(), None).expect("rows in range");
    }
    let Some(fixed) = any.downcast_ref::<FixedSizeBinaryArray>() else { return column.clone() };
    let (bytes, length) = (fixed.values().clone(), stride::<A>());
    let place = |row: usize| ((row * length) as u32, ((row + 1) * length) as u32);
    self::column(bytes, &(0..fixed.len()).map(place).collect::<Vec<_>>(), None)
}

/// The record column of archives that [`to_bytes`] made and that stand anywhere now, each validated.
///
/// # Errors
///
/// The first row that holds no archive of `A`, and why.
pub fn realigned<A: Stored>(archives: &BinaryViewArray) -> Result<ArrayRef, (usize, String)> {
    let mut bytes = AlignedVec::<ALIGNMENT>::new();
    let mut places = Vec::with_capacity(archives.len());
    for row in 0..archives.len() {
        let start = bytes.len();
        bytes.extend_from_slice(archives.value(row));
        places.push((start as u32, bytes.len() as u32));
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    for (row, &(start, end)) in places.iter().enumerate() {
        if ((end - start) as usize) < RECORD_BYTES_MIN {
            return Err((row, "an archive that is cut off".into()));
        }
        access::<A>(&bytes[start as usize..end as usize]).map_err(|message| (row, message))?;
    }
    Ok(column(shared(bytes), &places, None))
}

/// The root of a record of a view.
#[inline]
fn root_of<A: Stored>(bytes: &[u8]) -> &A {
    let start = bytes.len().checked_sub(size_of::<A>()).expect("a record holds its root");
    let root = bytes[start..].as_ptr().cast::<A>();
    assert!(root.is_aligned(), "records lie aligned");
    // SAFETY: invariants 1 and 3: these bytes hold a valid archive whose root stands there.
    unsafe { &*root }
}

/// What can be made whole again from its archive.
pub trait Owned: Record<Archived: Deserialize<Self, HighDeserializer<Error>>> + Sized {}

impl<T: Record<Archived: Deserialize<T, HighDeserializer<Error>>>> Owned for T {}

/// The value of an archive.
///
/// # Errors
///
/// What the type's own deserialisation says; of derived ones nothing.
pub fn to_owned<T: Owned>(archive: &T::Archived) -> Result<T, String> {
    rkyv::deserialize::<T, Error>(archive).map_err(|error| error.to_string())
}

/// The archive of a value, at least [`RECORD_BYTES_MIN`] long.
///
/// # Errors
///
/// What the type's own serialisation says; of derived ones nothing.
pub fn to_bytes<T: Record>(value: &T) -> Result<AlignedVec, String> {
    let bytes = append(value, AlignedVec::new())?;
    match RECORD_BYTES_MIN.checked_sub(bytes.len()) {
        None | Some(0) => Ok(bytes),
        Some(missing) => append(value, zeros(AlignedVec::new(), missing)),
    }
}

/// The archive of `value` behind `bytes`, which are lost with an error.
fn append<T: Record>(value: &T, bytes: AlignedVec) -> Result<AlignedVec, String> {
    let written =
        with_arena(|arena| to_bytes_in_with_alloc::<_, _, Error>(value, bytes, arena.acquire()));
    written.map_err(|error| error.to_string())
}

fn zeros(mut bytes: AlignedVec, count: usize) -> AlignedVec {
    bytes.resize(bytes.len() + count, 0);
    bytes
}

/// An archive whose bytes come from elsewhere: an accumulator or a state of user code, read in place.
///
/// # Errors
///
/// What is wrong with the bytes.
pub fn access<A: Stored>(bytes: &[u8]) -> Result<&A, String> {
    rkyv::access::<A, Error>(bytes).map_err(|error| error.to_string())
}

/// Builds a record column.
#[derive(Debug)]
pub struct ArchiveBuilder<T> {
    bytes: AlignedVec,
    /// Where each record starts and ends.
    places: Vec<(u32, u32)>,
    /// All records are as long as a root needs.
    fixed: bool,
    _type: PhantomData<fn(T)>,
}

impl<T: Record> Default for ArchiveBuilder<T> {
    fn default() -> Self {
        Self {
            bytes: AlignedVec::new(),
            places: Vec::new(),
            fixed: size_of::<T::Archived>() > 0,
            _type: PhantomData,
        }
    }
}

impl<T: Record> ArchiveBuilder<T> {
    /// An empty one with room for `byte_count` bytes of records that will be kept, in huge pages if there are any: reading them all then
    /// asks for fewer addresses, and freeing them takes no time to speak of.
    pub fn with_room(byte_count: usize) -> Self {
        let mut bytes = AlignedVec::with_capacity(byte_count);
        // SAFETY: the vector has allocated them.
        unsafe { prefer_huge_pages(bytes.as_mut_ptr(), bytes.capacity()) };
        Self { bytes, ..Self::default() }
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many bytes they take.
    pub fn byte_count(&self) -> usize {
        self.bytes.len() + if self.fixed { 0 } else { self.places.len() * 8 }
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// What the type's own serialisation says; of derived ones nothing. The builder is empty then.
    pub fn push(&mut self, record: &T) -> Result<(), String> {
        let start = self.bytes.len();
        let before =
            if self.fixed { stride::<T::Archived>() - size_of::<T::Archived>() } else { 0 };
        let mut length = self.append(record, start, before)?;
        if self.fixed && length != stride::<T::Archived>() {
            self.bytes.resize(start, 0);
            self.fixed = false;
            return self.push(record);
        }
        if let Some(missing @ 1..) = RECORD_BYTES_MIN.checked_sub(length) {
            length = self.append(record, start, missing)?;
        }
        self.close(start, length);
        Ok(())
    }

    /// Writes a record at `start`, behind so many zeros; its length with them.
    fn append(&mut self, record: &T, start: usize, zero_count: usize) -> Result<usize, String> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(start, 0);
        let written = append(record, zeros(bytes, zero_count));
        match written {
            Ok(bytes) => self.bytes = bytes,
            Err(message) => {
                *self = Self::default();
                return Err(message);
            }
        }
        Ok(self.bytes.len() - start)
    }

    /// Appends a record that is an archive of `T` already.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn push_archive(&mut self, archives: &Archives<'_, T::Archived>, row: usize) {
        let archive = archives.bytes(row);
        if self.fixed && archive.len() != stride::<T::Archived>() {
            self.fixed = false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(archive);
        self.close(start, archive.len());
    }

    /// Notes the record of that length which begins at `start`.
    fn close(&mut self, start: usize, length: usize) {
        let end = u32::try_from(start + length).expect("less than 4 GiB of records in a batch");
        self.places.push((start as u32, end));
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// The column; the builder is empty after that.
    pub fn finish(&mut self) -> ArrayRef {
        let Self { bytes, places, fixed, .. } = std::mem::take(self);
        column(shared(bytes), &places, fixed.then_some(stride::<T::Archived>()))
    }

    /// The records as the payload of a block, see [`read_payload`]; the builder is empty after that.
    pub fn finish_payload(&mut self) -> Vec<u8> {
        let Self { bytes, places, fixed, .. } = std::mem::take(self);
        let length = if fixed { stride::<T::Archived>() as u32 } else { 0 };
        let mut payload = Vec::with_capacity(bytes.len() + places.len() * 8 + 2 * ALIGNMENT);
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(&(places.len() as u32).to_le_bytes());
        if !fixed {
            for (start, end) in places {
                payload.extend_from_slice(&start.to_le_bytes());
                payload.extend_from_slice(&end.to_le_bytes());
            }
        }
        payload.resize(payload.len().next_multiple_of(ALIGNMENT), 0);
        payload.extend_from_slice(&bytes);
        payload
    }
}

/// A buffer of these bytes, not copied.
fn shared(bytes: AlignedVec) -> Buffer {
    let length = bytes.len();
    let start = NonNull::new(bytes.as_ptr().cast_mut()).expect("a vector's pointer is not null");
    // SAFETY: the buffer reads `length` bytes at `start`, which belong to the vector that it keeps alive and nobody changes.
    unsafe { Buffer::from_custom_allocation(start, length, Arc::new(bytes)) }
}

/// The column of the records at `places`; `length`: all have it, and lie one after another.
fn column(bytes: Buffer, places: &[(u32, u32)], length: Option<usize>) -> ArrayRef {
    if let Some(length) = length {
        return Arc::new(FixedSizeBinaryArray::new(length as i32, bytes, None));
    }
    let view =
        |&(start, end): &(u32, u32)| make_view(&bytes[start as usize..end as usize], 0, start);
    let views: ScalarBuffer<u128> = places.iter().map(view).collect();
    Arc::new(BinaryViewArray::new(views, Arc::from([bytes]), None))
}

/// The record column of a block's payload, every record validated within its own bytes.
///
/// ```text
/// length of each record u32, 0: they differ │ records u32 │ if they differ: start u32, end u32 of each │ … to a multiple of 16 │ records
/// ```
///
/// # Errors
///
/// What is wrong with it.
pub fn read_payload<A: Stored>(payload: &Buffer, rows: usize) -> Result<ArrayRef, String> {
    if payload.as_ptr().align_offset(ALIGNMENT) != 0 {
        return read_payload::<A>(&Buffer::from(payload.as_slice()), rows);
    }
    let word = |at: usize| {
        let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
        bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or("a block of records is cut off")
    };
    let (length, count) = (word(0)? as usize, word(4)? as usize);
    if count != rows {
        return Err(format!("a block holds {count} records, its header says {rows}"));
    }
    let table_bytes = if length == 0 { count.saturating_mul(8) } else { 0 };
    let start = (8 + table_bytes).next_multiple_of(ALIGNMENT);
    let bytes = match payload.len().checked_sub(start) {
        Some(rest) => payload.slice_with_length(start, rest),
        None => return Err("a block of records is cut off".into()),
    };
    let places: Vec<(u32, u32)> = match length {
        0 => (0..count)
            .map(|row| Ok((word(8 + 8 * row)?, word(12 + 8 * row)?)))
            .collect::<Result<_, String>>()?,
        length if length != stride::<A>() => {
            return Err(format!("records of {length} bytes where the type has {}", stride::<A>()));
        }
        length if bytes.len() != length.saturating_mul(count) => {
            return Err("a block's records are not as long as it says".into());
        }
        length => {
            (0..count).map(|row| ((row * length) as u32, ((row + 1) * length) as u32)).collect()
        }
    };
    for (row, &(start, end)) in places.iter().enumerate() {
        let bytes = bytes
            .get(start as usize..end as usize)
            .filter(|bytes| {
                length > 0
                    || (start as usize).is_multiple_of(ALIGNMENT) && bytes.len() >= RECORD_BYTES_MIN
            })
            .ok_or_else(|| format!("record {row} of a block lies outside of it"))?;
        access::<A>(bytes)
            .map_err(|error| format!("record {row} of a block is not valid: {error}"))?;
    }
    Ok(column(bytes, &places, (length > 0).then_some(length)))
}
