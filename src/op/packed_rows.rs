//! Rows on their way to where they wait, as they will lie there: packed, in the order of their partitions.
//!
//! Partitions are those of [`Backlog`], so the rows of a batch are partitioned once, for shards and for what waits alike, and an owner
//! copies runs without looking at a row.
//!
//! ```text
//! words:   partition 0: row │ row │ …   partition 1: …        row: key … │ times … │ arguments …
//! ```
//!
//! Rows of sessions have their time with them, and where it counts the watermark at their arrival; others have neither.
//!
//! # Invariants
//!
//! 1. Rows of one partition come in the order of their arrival.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Float64Array, Int64Array, PrimitiveArray,
};
use arrow_buffer::Buffer;

use super::partition::buckets;
use super::shape::Shape;
use crate::batch::hash::shard_of;
use crate::batch::{DataType, KeyWords, Keys, Packing};
use crate::state::{Backlog, PARTITIONS, Rows};

/// Rows for one shard.
#[derive(Clone, Debug)]
pub struct PackedRows {
    packing: Packing,
    /// Words of times.
    time_count: usize,
    stride: usize,
    /// Those of all shards, which share them.
    words: Arc<Vec<u64>>,
    /// Where each partition's rows begin, and the last's end.
    starts: Vec<u32>,
}

impl PackedRows {
    /// The rows of a batch, by the shards that own their keys, with `times` of each. `None`: keys are too long, or not all arguments are
    /// numbers.
    pub(super) fn by_shard(
        shape: &Shape,
        keys: &KeyWords<'_>,
        (times, columns): (&[&[i64]], &[ArrayRef]),
        shard_count: usize,
    ) -> Option<Vec<Self>> {
        let KeyWords { packing, words, hashes } = keys;
        let arguments = words_of_columns(shape, columns)?;
        let times = times.iter().map(|times| bytemuck::cast_slice(times));
        let time_count = times.len();
        let arguments: Vec<&[u64]> = times.chain(arguments.iter().map(|words| &**words)).collect();
        if !Backlog::runs_hold(packing.length) {
            return None;
        }
        let bucket =
            |&hash: &u64| shard_of(hash, shard_count) * PARTITIONS + Backlog::partition_of(hash);
        let (buckets, starts) = buckets(hashes.iter().map(bucket), shard_count * PARTITIONS);
        let to = Places { buckets: &buckets, starts: &starts };
        let stride = packing.words() + arguments.len();
        let words = Arc::new(packed(&to, (packing.words(), words), &arguments));
        let of_shard = |shard: usize| Self {
            packing: *packing,
            time_count,
            stride,
            words: Arc::clone(&words),
            starts: starts[shard * PARTITIONS..=(shard + 1) * PARTITIONS].to_vec(),
        };
        Some((0..shard_count).map(of_shard).collect())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        (self.starts[PARTITIONS] - self.starts[0]) as usize
    }

    /// How their keys lie.
    pub(super) fn packing(&self) -> Packing {
        self.packing
    }

    /// How many words of times each row has.
    pub(super) fn time_count(&self) -> usize {
        self.time_count
    }

    /// How many a partition has.
    pub(super) fn count_in(&self, partition: usize) -> usize {
        (self.starts[partition + 1] - self.starts[partition]) as usize
    }

    /// The words of the rows of some partitions.
    fn words_of(&self, partitions: Range<usize>) -> &[u64] {
        let at = |partition: usize| self.starts[partition] as usize * self.stride;
        &self.words[at(partitions.start)..at(partitions.end)]
    }

    /// The rows of a partition.
    pub(super) fn run(&self, partition: usize) -> Rows<'_> {
        let words = self.words_of(partition..partition + 1);
        Rows { packing: self.packing, words, stride: self.stride }
    }

    /// The partitions that have rows, with these.
    pub(super) fn runs(&self) -> impl Iterator<Item = (usize, Rows<'_>)> {
        let rows = (0..PARTITIONS).map(|partition| (partition, self.run(partition)));
        rows.filter(|(_, rows)| !rows.words.is_empty())
    }

    fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.words_of(0..PARTITIONS).chunks_exact(self.stride)
    }

    /// Times `index` of all rows.
    pub(super) fn times(&self, index: usize) -> Vec<i64> {
        let at = self.packing.words() + index;
        self.rows().map(|row| row[at].cast_signed()).collect()
    }

    /// Keys and columns, as if the rows had come in this order.
    pub(super) fn unpack(&self, shape: &Shape) -> (Keys, Vec<ArrayRef>) {
        let (mut keys, mut key) = (Keys::default(), Vec::new());
        let key_words = self.packing.words();
        for row in self.rows() {
            key.clear();
            self.packing.unpack(&row[..key_words], &mut key);
            keys.push(self.packing.hash(&row[..key_words]), &key);
        }
        let column = |(argument, &data_type): (usize, &DataType)| {
            let words: Vec<u64> = self.rows().map(|row| row[argument]).collect();
            column_of(data_type, words.into())
        };
        let arguments = (key_words + self.time_count..).zip(&shape.shipped_types);
        (keys, arguments.map(column).collect())
    }
}

/// Where rows go: each behind those of its bucket that came before it.
struct Places<'a> {
    /// `[rows]`
    buckets: &'a [u32],
    /// Where each bucket begins, and the last ends.
    starts: &'a [u32],
}

impl Places<'_> {
    /// Calls `put` with every row and its place.
    #[inline(always)]
    fn each(&self, mut put: impl FnMut(usize, usize)) {
        let mut next = self.starts.to_vec();
        for (row, &bucket) in self.buckets.iter().enumerate() {
            let place = &mut next[bucket as usize];
            put(row, *place as usize);
            *place += 1;
        }
    }
}

/// Rows in the order of their places, each a key's words before those of its arguments.
fn packed(to: &Places<'_>, (key_words, keys): (usize, &[u64]), arguments: &[&[u64]]) -> Vec<u64> {
    // Of the commonest shapes the compiler knows how many words it copies.
    match (key_words, arguments) {
        (1, &[a]) => packed_fixed::<1, 1, 2>(to, keys, [a]),
        (1, &[a, b]) => packed_fixed::<1, 2, 3>(to, keys, [a, b]),
        (1, &[a, b, c]) => packed_fixed::<1, 3, 4>(to, keys, [a, b, c]),
        (2, &[a]) => packed_fixed::<2, 1, 3>(to, keys, [a]),
        (2, &[a, b]) => packed_fixed::<2, 2, 4>(to, keys, [a, b]),
        (2, &[a, b, c]) => packed_fixed::<2, 3, 5>(to, keys, [a, b, c]),
        _ => {
            let stride = key_words + arguments.len();
            let mut packed = vec![0; to.buckets.len() * stride];
            to.each(|row, place| {
                let (key, rest) = packed[place * stride..][..stride].split_at_mut(key_words);
                key.copy_from_slice(&keys[row * key_words..][..key_words]);
                rest.iter_mut().zip(arguments).for_each(|(word, argument)| *word = argument[row]);
            });
            packed
        }
    }
}

/// The same, of `WORDS` words, which are `KEY` of the key and one of each argument.
fn packed_fixed<const KEY: usize, const ARGUMENTS: usize, const WORDS: usize>(
    to: &Places<'_>,
    keys: &[u64],
    arguments: [&[u64]; ARGUMENTS],
) -> Vec<u64> {
    let row_count = to.buckets.len();
    let (keys, arguments) =
        (&keys.as_chunks::<KEY>().0[..row_count], arguments.map(|words| &words[..row_count]));
    let mut packed = vec![[0; WORDS]; row_count];
    to.each(|row, place| {
        let words = &mut packed[place];
        words[..KEY].copy_from_slice(&keys[row]);
        for (word, argument) in words[KEY..].iter_mut().zip(arguments) {
            *word = argument[row];
        }
    });
    packed.into_flattened()
}

/// Columns as words, if they are, and no value is NULL.
fn words_of_columns<'a>(shape: &Shape, columns: &'a [ArrayRef]) -> Option<Vec<Cow<'a, [u64]>>> {
    if columns.len() != shape.shipped_types.len() {
        return None;
    }
    columns.iter().map(words_of).collect()
}

fn words_of(column: &ArrayRef) -> Option<Cow<'_, [u64]>> {
    use arrow_schema::DataType as Arrow;
    if column.null_count() > 0 {
        return None;
    }
    Some(match column.data_type() {
        Arrow::Boolean => column.as_boolean().values().iter().map(u64::from).collect(),
        Arrow::Int8 => widened(column.as_primitive::<Int8Type>().values(), |value| value as u64),
        Arrow::Int16 => widened(column.as_primitive::<Int16Type>().values(), |value| value as u64),
        Arrow::Int32 => widened(column.as_primitive::<Int32Type>().values(), |value| value as u64),
        Arrow::Int64 => bytemuck::cast_slice(column.as_primitive::<Int64Type>().values()).into(),
        Arrow::Float32 => {
            widened(column.as_primitive::<Float32Type>().values(), |value| value.to_bits().into())
        }
        Arrow::Float64 => {
            bytemuck::cast_slice(column.as_primitive::<Float64Type>().values()).into()
        }
        _ => return None,
    })
}

fn widened<T: Copy>(values: &[T], to_word: impl Fn(T) -> u64) -> Cow<'static, [u64]> {
    values.iter().map(|&value| to_word(value)).collect()
}

/// The column that was words.
pub(super) fn column_of(data_type: DataType, words: Cow<'_, [u64]>) -> ArrayRef {
    use arrow_schema::DataType as Arrow;
    match data_type.arrow() {
        Arrow::Boolean => {
            Arc::new(words.iter().map(|&word| Some(word != 0)).collect::<BooleanArray>())
        }
        Arrow::Int8 => narrowed::<Int8Type>(&words, |word| word as i8),
        Arrow::Int16 => narrowed::<Int16Type>(&words, |word| word as i16),
        Arrow::Int32 => narrowed::<Int32Type>(&words, |word| word as i32),
        Arrow::Float32 => narrowed::<Float32Type>(&words, |word| f32::from_bits(word as u32)),
        Arrow::Float64 => {
            Arc::new(Float64Array::new(Buffer::from_vec(words.into_owned()).into(), None))
        }
        _ => Arc::new(Int64Array::new(Buffer::from_vec(words.into_owned()).into(), None)),
    }
}

fn narrowed<T: ArrowPrimitiveType>(words: &[u64], to: impl Fn(u64) -> T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(words.iter().map(|&word| to(word))))
}

#[cfg(test)]
mod tests {
    use arrow_array::{StringViewArray, UInt32Array};
    use proptest::prelude::*;

    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction};
    use crate::batch::{Field, Schema, take_columns};

    fn shape() -> Shape {
        let types = [DataType::Double, DataType::Int, DataType::Boolean];
        let call = |(arg, arg_type): (usize, DataType)| {
            AggregateCall::new(AggregateFunction::Count, vec![arg], arg_type, DataType::BigInt)
        };
        let fields = types.iter().map(|&data_type| Field::new("n", data_type)).collect();
        let calls: Vec<AggregateCall> = types.into_iter().enumerate().map(call).collect();
        Shape::new(&Schema::new(fields), &[], &calls)
    }

    /// Keys of one column: numbers, or strings of so many characters.
    fn keys(kind: u8, numbers: &[i64]) -> Keys {
        let texts = |width: usize| -> ArrayRef {
            let text = |number: &i64| format!("{number:0width$}");
            Arc::new(StringViewArray::from_iter_values(numbers.iter().map(text)))
        };
        let column: ArrayRef = match kind {
            0 => Arc::new(Int64Array::from(numbers.to_vec())),
            1 => texts(16),
            _ => texts(30),
        };
        let mut keys = Keys::default();
        keys.encode(&[column], numbers.len());
        keys
    }

    proptest! {
        /// Every row comes to its shard and its partition, in order, and as it was.
        #[test]
        fn rows_are_packed_where_they_belong(
            kind in 0..3u8,
            rows in prop::collection::vec((0..300i64, any::<i32>(), any::<bool>()), 1..400),
            shard_count in 1..4usize,
            time_count in 0..2usize,
        ) {
            let numbers: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let (shape, keys) = (shape(), keys(kind, &numbers));
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| Some(f64::from(row.1) / 3.0)).collect::<Float64Array>()),
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<PrimitiveArray<Int32Type>>()),
                Arc::new(rows.iter().map(|row| Some(row.2)).collect::<BooleanArray>()),
            ];
            let times = [numbers.as_slice()];
            let times = &times[..time_count];
            let packed = PackedRows::by_shard(&shape, &KeyWords::of_keys(&keys).unwrap(), (times, &columns), shard_count).unwrap();
            prop_assert_eq!(packed.len(), shard_count);
            for (shard, packed) in packed.iter().enumerate() {
                let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
                expected.retain(|&row| shard_of(keys.hashes[row as usize], shard_count) == shard);
                expected.sort_by_key(|&row| Backlog::partition_of(keys.hashes[row as usize]));
                prop_assert_eq!(packed.is_empty(), expected.is_empty());
                let (unpacked, unpacked_columns) = packed.unpack(&shape);
                let taken = keys.take(&expected);
                prop_assert_eq!(&unpacked.hashes, &taken.hashes);
                for index in 0..expected.len() {
                    prop_assert_eq!(unpacked.get(index), taken.get(index));
                }
                let mut at = 0;
                for (partition, run) in packed.runs() {
                    for row in run.words.chunks_exact(run.stride) {
                        let hash = run.packing.hash(&row[..run.packing.words()]);
                        prop_assert_eq!((hash, Backlog::partition_of(hash)), (taken.hashes[at], partition));
                        at += 1;
                    }
                }
                prop_assert_eq!(at, expected.len());
                if time_count == 1 {
                    let taken: Vec<i64> = expected.iter().map(|&row| numbers[row as usize]).collect();
                    prop_assert_eq!(packed.times(0), taken);
                }
                prop_assert_eq!(unpacked_columns, take_columns(&columns, &UInt32Array::from(expected)));
            }
        }
    }

    #[test]
    fn what_has_nulls_is_not_packed() {
        let (shape, numbers) = (shape(), [1, 10]);
        let columns = |null: bool| -> Vec<ArrayRef> {
            vec![
                Arc::new(Float64Array::from(vec![Some(1.0), (!null).then_some(2.0)])),
                Arc::new(PrimitiveArray::<Int32Type>::from(vec![1, 2])),
                Arc::new(BooleanArray::from(vec![true, false])),
            ]
        };
        let keys = keys(0, &numbers);
        let key_words = KeyWords::of_keys(&keys).unwrap();
        let packs =
            |null| PackedRows::by_shard(&shape, &key_words, (&[], &columns(null)), 1).is_some();
        assert!(packs(false) && !packs(true));
    }
}
