//! Rust values in columns: what closures may return, and what results are read as.
//!
//! | Rust | column |
//! |---|---|
//! | `bool` | BOOLEAN |
//! | `i8` … `i64` | TINYINT … BIGINT |
//! | `u8`, `u16`, `u32` | SMALLINT, INT, BIGINT |
//! | `u64` | BIGINT, bit by bit: for keys and distinct counts, not for sums |
//! | `f32`, `f64` | FLOAT, DOUBLE |
//! | `String`, `&str` | STRING |
//! | `Vec<u8>` | BYTES |
//! | `Option` of these | the same, NULL for `None` |
//!
//! The archived forms of numbers (`i64_le` and so on) are as good as the numbers.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, PrimitiveArray, StringViewArray, make_array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, NullBufferBuilder};
use rkyv::option::ArchivedOption;
use rkyv::rend::{f32_le, f64_le, i16_le, i32_le, i64_le, u16_le, u32_le, u64_le};

use crate::batch::DataType;
use crate::sys::filled::filled;

/// A value of one column.
pub trait Column: Clone + Debug + Send + 'static {
    /// The column's type.
    #[doc(hidden)]
    const DATA_TYPE: DataType;
    /// Whether it may be NULL.
    #[doc(hidden)]
    const NULLABLE: bool = false;
    /// What builds a column of it.
    #[doc(hidden)]
    type Builder: ColumnBuilder<Self>;
    /// A column of it, known for what it is: that is looked at once, not in every row.
    #[doc(hidden)]
    type View<'a>: Copy;

    /// Looks at a column.
    #[doc(hidden)]
    fn view(column: &dyn Array) -> Self::View<'_>;

    /// The value in a row of a column.
    #[doc(hidden)]
    fn get(column: Self::View<'_>, row: usize) -> Self;

    /// The value in a row.
    #[doc(hidden)]
    fn read(column: &dyn Array, row: usize) -> Self {
        Self::get(Self::view(column), row)
    }

    /// Whether a column of [`Column::DATA_TYPE`] that was not made of such values has one that is none: SQL has no unsigned types.
    #[doc(hidden)]
    fn is_out_of_range(column: &dyn Array) -> bool {
        let _ = column;
        false
    }
}

/// Builds a column, value by value.
pub trait ColumnBuilder<C>: Sized {
    /// The column of `rows` values.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    fn of(rows: usize, values: impl Iterator<Item = C>) -> ArrayRef {
        let mut builder = Self::with_capacity(rows);
        values.for_each(|value| builder.push(value));
        let column = builder.finish();
        assert_eq!(column.len(), rows, "a value for every row");
        column
    }
    /// An empty column with room for `rows`.
    fn with_capacity(rows: usize) -> Self;
    /// Appends a value.
    fn push(&mut self, value: C);
    /// Appends something that a NULL will cover.
    fn push_blank(&mut self);
    /// The column.
    fn finish(self) -> ArrayRef;
}

/// What a closure may return for a column.
///
/// ```
/// use rkyv::rend::i64_le;
/// use tidemill::job::{Column, Field, Key, Number, Row};
///
/// /// What a closure returns for a column, and what it is read as.
/// fn column<F: Field<Column = C>, C: Column>(_: F) {}
/// column::<_, i64>(i64_le::from_native(1)); // A number of an archive.
/// column::<_, String>("a text");
/// column::<_, Option<f64>>(Some(0.5));
///
/// /// What a closure returns as a key, and what it is read as.
/// fn key<K: Key<Owned = R>, R: Row>(_: K) {}
/// key::<_, u32>(7_u32);
/// key::<_, (u32, String)>((7_u32, "seven"));
///
/// /// What can be added up, and what sum and mean are read as.
/// fn number<N: Number<Sum = S, Mean = M>, S: Column, M: Column>(_: N) {}
/// number::<_, i64, f64>(7_u8);
/// number::<_, Option<f64>, Option<f64>>(Some(0.5_f32));
/// ```
pub trait Field {
    /// The value that it stands for.
    type Column: Column;
    /// That value.
    #[doc(hidden)]
    fn into_column(self) -> Self::Column;
}

/// A number, which can be added up.
pub trait Number: Field {
    /// The type of its sum.
    type Sum: Column;
    /// The number as it is added.
    #[doc(hidden)]
    fn into_sum(self) -> Self::Sum;
    /// The type of its mean.
    type Mean: Column;
    /// The number as it is averaged.
    #[doc(hidden)]
    fn into_mean(self) -> Self::Mean;
}

/// Values of consecutive columns: one, or a tuple of up to twelve.
pub trait Row: Clone + Debug + Send + 'static {
    /// How many columns.
    #[doc(hidden)]
    const WIDTH: usize;
    /// Such columns, known for what they are.
    #[doc(hidden)]
    type View<'a>: Copy;
    /// Their types, and whether they may be NULL.
    #[doc(hidden)]
    fn types() -> Vec<(DataType, bool)>;
    /// Looks at columns.
    #[doc(hidden)]
    fn view(columns: &[ArrayRef]) -> Self::View<'_>;
    /// The values in a row of columns.
    #[doc(hidden)]
    fn get(columns: Self::View<'_>, row: usize) -> Self;
    /// The values in a row.
    #[doc(hidden)]
    fn read(columns: &[ArrayRef], row: usize) -> Self {
        Self::get(Self::view(columns), row)
    }
    /// The first of the columns that [is out of range](Column::is_out_of_range).
    #[doc(hidden)]
    fn misfit(columns: &[ArrayRef]) -> Option<usize>;
}

/// What a closure may return as a key: a [`Field`], or a tuple of up to six.
pub trait Key: 'static {
    /// The key as results show it.
    type Owned: Row;
    /// The column `part` of the keys.
    #[doc(hidden)]
    fn column(part: usize, rows: usize, keys: impl Iterator<Item = Self>) -> ArrayRef;
}

/// The column of these values.
pub(super) fn column_of<F: Field>(rows: usize, values: impl Iterator<Item = F>) -> ArrayRef {
    <F::Column as Column>::Builder::of(rows, values.map(Field::into_column))
}

/// A column of Arrow's numbers.
#[derive(Debug)]
pub struct Numbers<T: ArrowPrimitiveType>(Vec<T::Native>);

macro_rules! number {
    ($rust:ty, $arrow:ty, $sql:ident $(, $range:ident)?) => {
        impl Column for $rust {
            const DATA_TYPE: DataType = DataType::$sql;
            type Builder = Numbers<$arrow>;
            type View<'a> = &'a [<$arrow as ArrowPrimitiveType>::Native];

            fn view(column: &dyn Array) -> Self::View<'_> {
                column.as_primitive::<$arrow>().values()
            }

            #[inline]
            fn get(column: Self::View<'_>, row: usize) -> Self {
                column[row] as $rust
            }

            $(fn is_out_of_range(column: &dyn Array) -> bool {
                $range::<$arrow>(column, (<$rust>::MIN.into(), <$rust>::MAX.into()))
            })?
        }

        impl ColumnBuilder<$rust> for Numbers<$arrow> {
            fn of(rows: usize, values: impl Iterator<Item = $rust>) -> ArrayRef {
                let native = |value: $rust| value as <$arrow as ArrowPrimitiveType>::Native;
                ColumnBuilder::<$rust>::finish(Self(filled(rows, values.map(native))))
            }

            fn with_capacity(rows: usize) -> Self {
                Self(Vec::with_capacity(rows))
            }

            #[inline]
            fn push(&mut self, value: $rust) {
                self.0.push(value as <$arrow as ArrowPrimitiveType>::Native);
            }

            fn push_blank(&mut self) {
                self.0.push(Default::default());
            }

            fn finish(self) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::new(self.0.into(), None))
            }
        }

        itself!($rust);
    };
}

/// Whether a value of the column is none of those from `least` to `most`.
fn beyond<T: ArrowPrimitiveType>(column: &dyn Array, (least, most): (T::Native, T::Native)) -> bool
where
    T::Native: PartialOrd,
{
    let values = column.as_primitive::<T>().iter().flatten();
    values.into_iter().any(|value| value < least || value > most)
}

/// A type that is its own column.
macro_rules! itself {
    ($rust:ty) => {
        impl Field for $rust {
            type Column = $rust;

            #[inline]
            fn into_column(self) -> $rust {
                self
            }
        }
    };
}

/// A number in an archive.
macro_rules! archived {
    ($archived:ty, $rust:ty) => {
        impl Field for $archived {
            type Column = $rust;

            #[inline]
            fn into_column(self) -> $rust {
                self.to_native()
            }
        }
    };
}

macro_rules! addable {
    ($sum:ty; $($number:ty)*) => {$(
        impl Number for $number {
            type Sum = $sum;
            type Mean = f64;

            #[inline]
            fn into_sum(self) -> $sum {
                self.into_column() as $sum
            }

            #[inline]
            fn into_mean(self) -> f64 {
                self.into_column() as f64
            }
        }
    )*};
}

number!(i8, Int8Type, TinyInt);
number!(i16, Int16Type, SmallInt);
number!(i32, Int32Type, Int);
number!(i64, Int64Type, BigInt);
number!(u8, Int16Type, SmallInt, beyond);
number!(u16, Int32Type, Int, beyond);
number!(u32, Int64Type, BigInt, beyond);
number!(u64, Int64Type, BigInt);
number!(f32, Float32Type, Float);
number!(f64, Float64Type, Double);
archived!(i16_le, i16);
archived!(i32_le, i32);
archived!(i64_le, i64);
archived!(u16_le, u16);
archived!(u32_le, u32);
archived!(u64_le, u64);
archived!(f32_le, f32);
archived!(f64_le, f64);
addable!(i64; i8 i16 i32 i64 u8 u16 u32 i16_le i32_le i64_le u16_le u32_le);
addable!(f64; f32 f64 f32_le f64_le);

impl Column for bool {
    const DATA_TYPE: DataType = DataType::Boolean;
    type Builder = Bits;
    type View<'a> = &'a BooleanArray;

    fn view(column: &dyn Array) -> &BooleanArray {
        column.as_boolean()
    }

    fn get(column: &BooleanArray, row: usize) -> Self {
        column.value(row)
    }
}

/// A column of booleans: a byte each until it is finished, for bits would wait for each other.
#[derive(Debug)]
pub struct Bits(Vec<u8>);

impl ColumnBuilder<bool> for Bits {
    fn of(rows: usize, values: impl Iterator<Item = bool>) -> ArrayRef {
        Self(filled(rows, values.map(u8::from))).finish()
    }

    fn with_capacity(rows: usize) -> Self {
        Self(Vec::with_capacity(rows))
    }

    #[inline]
    fn push(&mut self, value: bool) {
        self.0.push(value.into());
    }

    fn push_blank(&mut self) {
        self.push(false);
    }

    fn finish(self) -> ArrayRef {
        // The lowest bits of eight bytes, the first lowest.
        let packed = |bytes: &[u8; 8]| {
            (u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
        };
        let (eights, rest) = self.0.as_chunks();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let bits: Vec<u8> = eights.iter().chain([&last]).map(packed).collect();
        let bits = BooleanBuffer::new(bits.into(), 0, self.0.len());
        Arc::new(BooleanArray::new(bits, None))
    }
}

impl Column for String {
    const DATA_TYPE: DataType = DataType::STRING;
    type Builder = StringViewBuilder;

    type View<'a> = &'a StringViewArray;

    fn view(column: &dyn Array) -> &StringViewArray {
        column.as_string_view()
    }

    fn get(column: &StringViewArray, row: usize) -> Self {
        column.value(row).to_owned()
    }
}

/// Texts are appended whether they are owned or not.
impl<S: AsRef<str>> ColumnBuilder<S> for StringViewBuilder {
    fn with_capacity(rows: usize) -> Self {
        StringViewBuilder::with_capacity(rows)
    }

    fn push(&mut self, value: S) {
        self.append_value(value);
    }

    fn push_blank(&mut self) {
        self.append_value("");
    }

    fn finish(mut self) -> ArrayRef {
        Arc::new(StringViewBuilder::finish(&mut self))
    }
}

impl Column for Vec<u8> {
    const DATA_TYPE: DataType = DataType::BYTES;
    type Builder = BinaryViewBuilder;

    type View<'a> = &'a BinaryViewArray;

    fn view(column: &dyn Array) -> &BinaryViewArray {
        column.as_binary_view()
    }

    fn get(column: &BinaryViewArray, row: usize) -> Self {
        column.value(row).to_owned()
    }
}

impl ColumnBuilder<Vec<u8>> for BinaryViewBuilder {
    fn with_capacity(rows: usize) -> Self {
        BinaryViewBuilder::with_capacity(rows)
    }

    fn push(&mut self, value: Vec<u8>) {
        self.append_value(value);
    }

    fn push_blank(&mut self) {
        self.append_value([]);
    }

    fn finish(mut self) -> ArrayRef {
        Arc::new(BinaryViewBuilder::finish(&mut self))
    }
}

itself!(bool);
itself!(String);
itself!(Vec<u8>);

impl Field for &'static str {
    type Column = String;

    fn into_column(self) -> String {
        self.to_owned()
    }
}

/// A column some of whose values are NULL.
#[derive(Debug)]
pub struct Optional<B> {
    values: B,
    nulls: NullBufferBuilder,
}

impl<C: Column> Column for Option<C> {
    const DATA_TYPE: DataType = C::DATA_TYPE;
    const NULLABLE: bool = true;
    type Builder = Optional<C::Builder>;

    type View<'a> = (Option<&'a NullBuffer>, C::View<'a>);

    fn view(column: &dyn Array) -> Self::View<'_> {
        (column.nulls(), C::view(column))
    }

    #[inline]
    fn get((nulls, column): Self::View<'_>, row: usize) -> Self {
        nulls.is_none_or(|nulls| nulls.is_valid(row)).then(|| C::get(column, row))
    }

    fn is_out_of_range(column: &dyn Array) -> bool {
        C::is_out_of_range(column)
    }
}

impl<C, B: ColumnBuilder<C>> ColumnBuilder<Option<C>> for Optional<B> {
    fn with_capacity(rows: usize) -> Self {
        Self { values: B::with_capacity(rows), nulls: NullBufferBuilder::new(rows) }
    }

    fn push(&mut self, value: Option<C>) {
        match value {
            Some(value) => {
                self.values.push(value);
                self.nulls.append_non_null();
            }
            None => self.push_blank(),
        }
    }

    fn push_blank(&mut self) {
        self.values.push_blank();
        self.nulls.append_null();
    }

    fn finish(mut self) -> ArrayRef {
        let values = self.values.finish().to_data().into_builder();
        let nulls = self.nulls.finish();
        make_array(values.nulls(nulls).build().expect("a bit for each value"))
    }
}

impl<F: Field> Field for Option<F> {
    type Column = Option<F::Column>;

    fn into_column(self) -> Self::Column {
        self.map(Field::into_column)
    }
}

impl<F: Field> Field for ArchivedOption<F> {
    type Column = Option<F::Column>;

    fn into_column(self) -> Self::Column {
        match self {
            ArchivedOption::Some(value) => Some(value.into_column()),
            ArchivedOption::None => None,
        }
    }
}

impl<N: Number> Number for Option<N> {
    type Sum = Option<N::Sum>;
    type Mean = Option<N::Mean>;

    fn into_sum(self) -> Self::Sum {
        self.map(Number::into_sum)
    }

    fn into_mean(self) -> Self::Mean {
        self.map(Number::into_mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back<F: Field>(values: Vec<F>) -> Vec<F::Column> {
        let rows = values.len();
        let column = column_of(rows, values.into_iter());
        assert_eq!(*column.data_type(), F::Column::DATA_TYPE.arrow());
        (0..rows).map(|row| <F::Column as Column>::read(&column, row)).collect()
    }

    #[test]
    fn values_come_back() {
        assert_eq!(
            back(vec![i64_le::from_native(-3), i64_le::from_native(i64::MAX)]),
            [-3, i64::MAX]
        );
        assert_eq!(back(vec![u64::MAX, 0]), [u64::MAX, 0]);
        assert_eq!(back(vec![u32::MAX, 7]), [u32::MAX, 7]);
        assert_eq!(back(vec![Some(1u8), None, Some(255)]), [Some(1), None, Some(255)]);
        assert_eq!(back(vec!["a", "a text that is longer than twelve bytes"])[1].len(), 39);
        assert_eq!(back(vec![Some("x".to_owned()), None]), [Some("x".to_owned()), None]);
        for count in [0, 1, 2, 7, 8, 9, 64, 131] {
            let bools: Vec<bool> = (0..count).map(|n: u32| n.count_ones() > 2).collect();
            assert_eq!(back(bools.clone()), bools);
            let some: Vec<Option<bool>> = bools.iter().map(|&b| b.then_some(!b)).collect();
            assert_eq!(back(some.clone()), some);
        }
        assert_eq!(back(vec![vec![1u8, 2], vec![]]), [vec![1, 2], vec![]]);
        assert_eq!(
            back(vec![ArchivedOption::Some(f64_le::from_native(0.5)), ArchivedOption::None]),
            [Some(0.5), None]
        );
    }

    #[test]
    fn parts_of_a_key_are_columns() {
        let keys = vec![(1u32, "a"), (2, "b")];
        let columns = [0, 1].map(|part| <(u32, &str)>::column(part, 2, keys.clone().into_iter()));
        let rows = [0, 1].map(|row| <(u32, String)>::read(&columns, row));
        assert_eq!(rows, [(1, "a".to_owned()), (2, "b".to_owned())]);
    }
}
