//! Functions as users write them, which do what some of ours do, so that every suite that judges ours can judge them.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, StringViewArray, UInt32Array};
use tidemill::agg::{
    AggregateCall, AggregateFunction, Groups, Stored, UserAggregate, UserFunction,
};
use tidemill::batch::{DataType, Keys, take_columns};
use tidemill::plan::{Op, Plan};
use tidemill::window::WindowKind;

/// Puts users' functions in the place of ours, where they do the same.
pub(crate) fn take_over(plan: &mut Plan) {
    for node in &mut plan.nodes {
        let Op::WindowAggregate { window, aggregates, emit, .. } = &mut node.op else { continue };
        // LISTAGG goes by slices where windows share them, a user's function by arrival.
        let shares = matches!(window.kind, WindowKind::Hop { .. } | WindowKind::Cumulate { .. });
        let goes_by_slices = shares
            && emit.is_once()
            && !aggregates.iter().any(|call| {
                use AggregateFunction::*;
                matches!(call.function, FirstValue | LastValue)
            });
        for call in aggregates.iter_mut().filter(|call| !call.distinct) {
            let is_list = call.function == AggregateFunction::ListAgg;
            if let Some(function) = twin(call).filter(|_| !(is_list && goes_by_slices)) {
                let user =
                    AggregateCall::user(UserFunction(function), call.args.clone(), &call.name);
                assert_eq!(user.data_type, call.data_type);
                *call = AggregateCall { filter: call.filter, ..user };
            }
        }
    }
}

/// The function that does what a call's does.
fn twin(call: &AggregateCall) -> Option<Arc<dyn UserAggregate>> {
    use AggregateFunction::*;
    let arg_types = [call.arg_type];
    let rows = |pick| Some(Arc::new(Rows { arg_types, pick }) as Arc<dyn UserAggregate>);
    match (&call.function, call.arg_type) {
        (FirstValue, _) => rows(Pick::First),
        (LastValue, _) => rows(Pick::Last),
        (ListAgg, _) => rows(Pick::All),
        (Sum, DataType::Int | DataType::BigInt) => Some(Arc::new(Sums { arg_types })),
        (Min | Max, DataType::VarChar(_)) => {
            Some(Arc::new(Extreme { arg_types, greatest: call.function == Max }))
        }
        _ => None,
    }
}

/// Whoever reads an archive in place relies on this.
fn check_place(bytes: &[u8]) {
    assert!(bytes.as_ptr().addr().is_multiple_of(16), "accumulators begin at a multiple of 16");
}

#[derive(Clone, Copy, Debug)]
enum Pick {
    First,
    Last,
    All,
}

/// FIRST_VALUE, LAST_VALUE and LISTAGG: keeps all values, and looks at them at the end.
struct Rows {
    arg_types: [DataType; 1],
    pick: Pick,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.pick, self.arg_types[0])
    }
}

/// The values that were appended.
fn values(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut values = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (value, behind) = tail.split_at(u32::from_le_bytes(*length) as usize);
        values.push(value);
        rest = behind;
    }
    values
}

impl UserAggregate for Rows {
    fn name(&self) -> &str {
        "ROWS"
    }

    fn uid(&self) -> &str {
        match self.pick {
            Pick::First => "first",
            Pick::Last => "last",
            Pick::All => "all",
        }
    }

    fn version(&self) -> u64 {
        1
    }

    fn arg_types(&self) -> &[DataType] {
        &self.arg_types
    }

    fn data_type(&self) -> DataType {
        self.arg_types[0]
    }

    fn nullable(&self) -> bool {
        true
    }

    fn is_order_sensitive(&self) -> bool {
        true
    }

    /// Some fold and some do not, so that both ways are taken.
    fn folds_early(&self) -> bool {
        !matches!(self.pick, Pick::Last)
    }

    fn create(&self) -> Vec<u8> {
        Vec::new()
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        let mut keys = Keys::default();
        keys.encode(args, args[0].len());
        groups.each(|stored, rows| {
            check_place(stored.bytes());
            for row in rows.iter().map(|&row| row as usize).filter(|&row| args[0].is_valid(row)) {
                let value = keys.get(row);
                stored.append(&(value.len() as u32).to_le_bytes())?;
                stored.append(value)?;
            }
            Ok(())
        })
    }

    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String> {
        check_place(from);
        into.append(from)
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let column =
            |values: Vec<&[u8]>| Keys::decode(&self.arg_types, values.into_iter()).remove(0);
        if let Pick::All = self.pick {
            let joined = accumulators.iter().map(|bytes| {
                let texts = column(values(bytes));
                let texts: Vec<&str> = texts.as_string_view().iter().flatten().collect();
                (!texts.is_empty()).then(|| texts.join("|"))
            });
            return Ok(Arc::new(joined.collect::<StringViewArray>()));
        }
        let (mut picked, mut places) = (Vec::new(), Vec::new());
        for bytes in accumulators {
            check_place(bytes);
            let all = values(bytes);
            let value = if matches!(self.pick, Pick::First) { all.first() } else { all.last() };
            places.push(value.map(|_| picked.len() as u32));
            picked.extend(value.copied());
        }
        Ok(take_columns(&[column(picked)], &UInt32Array::from(places)).remove(0))
    }
}

/// SUM of integers, changed in place: the sum and the count.
struct Sums {
    arg_types: [DataType; 1],
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sum of {}", self.arg_types[0])
    }
}

impl Sums {
    fn add_to(stored: &mut Stored<'_>, sum: i64, count: u64) {
        check_place(stored.bytes());
        let words: &mut [u64] = bytemuck::cast_slice_mut(stored.bytes_mut());
        words[0] = words[0].wrapping_add(sum.cast_unsigned());
        words[1] += count;
    }
}

impl UserAggregate for Sums {
    fn name(&self) -> &str {
        "SUMS"
    }

    fn uid(&self) -> &str {
        "sums"
    }

    fn version(&self) -> u64 {
        2
    }

    fn arg_types(&self) -> &[DataType] {
        &self.arg_types
    }

    fn data_type(&self) -> DataType {
        self.arg_types[0]
    }

    fn nullable(&self) -> bool {
        true
    }

    fn is_order_sensitive(&self) -> bool {
        false
    }

    fn folds_early(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<u8> {
        vec![0; 16]
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        let value = |row: usize| match self.arg_types[0] {
            DataType::Int => args[0].as_primitive::<Int32Type>().value(row).into(),
            _ => args[0].as_primitive::<Int64Type>().value(row),
        };
        groups.each(|stored, rows| {
            for row in rows.iter().map(|&row| row as usize).filter(|&row| args[0].is_valid(row)) {
                Self::add_to(stored, value(row), 1);
            }
            Ok(())
        })
    }

    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String> {
        check_place(from);
        let words: &[u64] = bytemuck::cast_slice(from);
        Self::add_to(into, words[0].cast_signed(), words[1]);
        Ok(())
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let sums = accumulators.iter().map(|bytes| {
            check_place(bytes);
            let words: &[u64] = bytemuck::cast_slice(bytes);
            (words[1] > 0).then_some(words[0].cast_signed())
        });
        Ok(match self.arg_types[0] {
            DataType::Int => {
                Arc::new(sums.map(|sum| sum.map(|sum| sum as i32)).collect::<Int32Array>())
            }
            _ => Arc::new(sums.collect::<Int64Array>()),
        })
    }
}

/// MIN and MAX of strings: replaced, or left alone. A first byte says whether there is one.
struct Extreme {
    arg_types: [DataType; 1],
    greatest: bool,
}

impl fmt::Debug for Extreme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uid())
    }
}

impl Extreme {
    fn offer(&self, stored: &mut Stored<'_>, value: &[u8]) -> Result<(), String> {
        let held = stored.bytes();
        check_place(held);
        let better = if self.greatest { *value > held[1..] } else { *value < held[1..] };
        match held[0] == 0 || better {
            true => stored.replace(&[&[1], value].concat()),
            false => Ok(()),
        }
    }
}

impl UserAggregate for Extreme {
    fn name(&self) -> &str {
        "EXTREME"
    }

    fn uid(&self) -> &str {
        if self.greatest { "greatest" } else { "least" }
    }

    fn version(&self) -> u64 {
        1
    }

    fn arg_types(&self) -> &[DataType] {
        &self.arg_types
    }

    fn data_type(&self) -> DataType {
        self.arg_types[0]
    }

    fn nullable(&self) -> bool {
        true
    }

    fn is_order_sensitive(&self) -> bool {
        false
    }

    fn folds_early(&self) -> bool {
        self.greatest
    }

    fn create(&self) -> Vec<u8> {
        vec![0]
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        let texts = args[0].as_string_view();
        groups.each(|stored, rows| {
            let mut rows = rows.iter().map(|&row| row as usize).filter(|&row| texts.is_valid(row));
            rows.try_for_each(|row| self.offer(stored, texts.value(row).as_bytes()))
        })
    }

    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String> {
        match from[0] {
            0 => Ok(()),
            _ => self.offer(into, &from[1..]),
        }
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let text = |bytes: &&[u8]| {
            (bytes[0] == 1).then(|| std::str::from_utf8(&bytes[1..]).unwrap().to_owned())
        };
        Ok(Arc::new(accumulators.iter().map(text).collect::<StringViewArray>()))
    }
}
