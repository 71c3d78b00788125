//! Comparisons, tests for NULL and truth, IN, GREATEST and LEAST.
//!
//! A comparison with a scalar never makes a column of it, and packs one bit a row without a branch.
//! Strings compare by their bytes; equality with a short literal compares the 16-byte views themselves.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use crate::batch::DataType;
use crate::batch::text::pow10;
use crate::expr::expression::Expr;

use super::datum::{Datum, Numbers, nulls, pack, pack_pairs, some_texts};
use super::{EvalContext, Kernel};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    fn parse(name: &str) -> Option<Op> {
        Some(match name {
            "=" => Op::Eq,
            "<>" => Op::Ne,
            "<" => Op::Lt,
            "<=" => Op::Le,
            ">" => Op::Gt,
            ">=" => Op::Ge,
            _ => return None,
        })
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Op::Eq => ordering.is_eq(),
            Op::Ne => ordering.is_ne(),
            Op::Lt => ordering.is_lt(),
            Op::Le => ordering.is_le(),
            Op::Gt => ordering.is_gt(),
            Op::Ge => ordering.is_ge(),
        }
    }
}

/// The loop for `name`, which never fails.
pub(super) fn kernel(name: &'static str, args: &[Expr]) -> Option<(Kernel, bool)> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type).collect();
    let kernel: Kernel = match name {
        "IS DISTINCT FROM" | "IS NOT DISTINCT FROM" => {
            let equal = bits_of(Op::Eq, types[0], types[1]);
            let distinct = name == "IS DISTINCT FROM";
            Box::new(move |args, rows, _| Ok(distinction(args, rows, &equal(args, rows), distinct)))
        }
        "IS NULL" => Box::new(|args, rows, _| Ok(flags(is_null(&args[0], rows)))),
        "IS NOT NULL" => Box::new(|args, rows, _| Ok(flags(!&is_null(&args[0], rows)))),
        "IS TRUE" => Box::new(|args, rows, _| Ok(flags(is(&args[0], rows, true)))),
        "IS NOT TRUE" => Box::new(|args, rows, _| Ok(flags(!&is(&args[0], rows, true)))),
        "IS FALSE" => Box::new(|args, rows, _| Ok(flags(is(&args[0], rows, false)))),
        "IS NOT FALSE" => Box::new(|args, rows, _| Ok(flags(!&is(&args[0], rows, false)))),
        "NOT" => Box::new(|args, _, _| {
            let array = args[0].array().as_boolean();
            Ok(Arc::new(BooleanArray::new(!array.values(), array.nulls().cloned())))
        }),
        "IN" => membership(&types, args),
        "GREATEST" => extreme(types[0], Op::Gt),
        "LEAST" => extreme(types[0], Op::Lt),
        _ => {
            let bits = bits_of(Op::parse(name)?, types[0], types[1]);
            Box::new(move |args, rows, _: &EvalContext| {
                Ok(Arc::new(BooleanArray::new(bits(args, rows), nulls(args, rows))))
            })
        }
    };
    Some((kernel, false))
}

type Bits = Box<dyn Fn(&[Datum], usize) -> BooleanBuffer + Send + Sync>;

/// The loop that compares columns of these types; what it says of NULL rows means nothing.
fn bits_of(op: Op, left: DataType, right: DataType) -> Bits {
    use arrow_schema::DataType as Arrow;
    if let (DataType::Decimal(_, a), DataType::Decimal(_, b)) = (left, right)
        && a != b
    {
        return Box::new(move |args, rows| {
            let (x, y) = (args[0].numbers::<Decimal128Type>(), args[1].numbers::<Decimal128Type>());
            BooleanBuffer::collect_bool(rows, |row| {
                op.holds(compare_decimals(x.get(row), a, y.get(row), b))
            })
        });
    }
    match left.arrow() {
        Arrow::Boolean => Box::new(move |args, rows| {
            let (a, b) = (args[0].booleans(), args[1].booleans());
            BooleanBuffer::collect_bool(rows, |row| op.holds(a.get(row).cmp(&b.get(row))))
        }),
        Arrow::Int8 => numbers::<Int8Type>(op),
        Arrow::Int16 => numbers::<Int16Type>(op),
        Arrow::Int32 => numbers::<Int32Type>(op),
        Arrow::Int64 => numbers::<Int64Type>(op),
        Arrow::Float32 => numbers::<Float32Type>(op),
        Arrow::Float64 => numbers::<Float64Type>(op),
        Arrow::Decimal128(..) => numbers::<Decimal128Type>(op),
        Arrow::Utf8View => Box::new(move |args, rows| texts(op, args, rows)),
        _ => Box::new(move |args, rows| {
            let (a, b) = (args[0].bytes(), args[1].bytes());
            BooleanBuffer::collect_bool(rows, |row| op.holds(a.get(row).cmp(b.get(row))))
        }),
    }
}

fn numbers<T: ArrowPrimitiveType>(op: Op) -> Bits
where
    T::Native: PartialOrd,
{
    Box::new(move |args, _| {
        let (a, b) = (args[0].numbers::<T>(), args[1].numbers::<T>());
        match op {
            Op::Eq => bits(a, b, |a, b| a == b),
            Op::Ne => bits(a, b, |a, b| a != b),
            Op::Lt => bits(a, b, |a, b| a < b),
            Op::Le => bits(a, b, |a, b| a <= b),
            Op::Gt => bits(a, b, |a, b| a > b),
            Op::Ge => bits(a, b, |a, b| a >= b),
        }
    })
}

fn bits<T: Copy>(
    a: Numbers<'_, T>,
    b: Numbers<'_, T>,
    holds: impl Fn(T, T) -> bool,
) -> BooleanBuffer {
    match (a.scalar(), b.scalar()) {
        (_, Some(b)) => pack(a.values, |a| holds(a, b)),
        (Some(a), None) => pack(b.values, |b| holds(a, b)),
        (None, None) => pack_pairs(a.values, b.values, holds),
    }
}

fn texts(op: Op, args: &[Datum], rows: usize) -> BooleanBuffer {
    if matches!(op, Op::Eq | Op::Ne) {
        let equal = match (args[0].scalar_text(), args[1].scalar_text()) {
            (_, Some(literal)) => equals_literal(&args[0], literal),
            (Some(literal), None) => equals_literal(&args[1], literal),
            (None, None) => {
                let (a, b) = (args[0].texts(), args[1].texts());
                BooleanBuffer::collect_bool(rows, |row| a.get(row) == b.get(row))
            }
        };
        return if op == Op::Eq { equal } else { !&equal };
    }
    let (a, b) = (args[0].texts(), args[1].texts());
    BooleanBuffer::collect_bool(rows, |row| {
        op.holds(a.get(row).as_bytes().cmp(b.get(row).as_bytes()))
    })
}

/// Where a column of strings equals `literal`.
///
/// A view starts with the length and the first bytes; up to 12 bytes it is the whole string, padded with zeros.
fn equals_literal(column: &Datum, literal: &str) -> BooleanBuffer {
    let array = column.array().as_string_view();
    let length = literal.len();
    let mut head = [0u8; 16];
    head[..4].copy_from_slice(&(length as u32).to_le_bytes());
    if length <= 12 {
        head[4..4 + length].copy_from_slice(literal.as_bytes());
        let view = u128::from_le_bytes(head);
        return pack(array.views(), |other| other == view);
    }
    head[4..8].copy_from_slice(&literal.as_bytes()[..4]);
    let prefix = u128::from_le_bytes(head) as u64;
    let views = array.views();
    BooleanBuffer::collect_bool(views.len(), |row| {
        views[row] as u64 == prefix && array.value(row) == literal
    })
}

/// Compares decimals of different scales, exactly.
pub(super) fn compare_decimals(a: i128, scale_a: u8, b: i128, scale_b: u8) -> Ordering {
    let (unit_a, unit_b) = (pow10(scale_a.into()), pow10(scale_b.into()));
    let (whole_a, whole_b) = (a.div_euclid(unit_a), b.div_euclid(unit_b));
    whole_a.cmp(&whole_b).then_with(|| {
        let fraction = |value: i128, unit: i128, scale: u8| {
            value.rem_euclid(unit) * pow10(38 - u32::from(scale))
        };
        fraction(a, unit_a, scale_a).cmp(&fraction(b, unit_b, scale_b))
    })
}

fn flags(bits: BooleanBuffer) -> ArrayRef {
    Arc::new(BooleanArray::new(bits, None))
}

fn is_null(arg: &Datum, rows: usize) -> BooleanBuffer {
    match nulls(std::slice::from_ref(arg), rows) {
        Some(nulls) => !nulls.inner(),
        None => BooleanBuffer::new_unset(rows),
    }
}

fn is(arg: &Datum, rows: usize, wanted: bool) -> BooleanBuffer {
    let array = arg.array().as_boolean();
    let hit = if wanted { array.values().clone() } else { !array.values() };
    debug_assert_eq!(hit.len(), rows);
    match array.nulls() {
        Some(nulls) => &hit & nulls.inner(),
        None => hit,
    }
}

fn distinction(args: &[Datum], rows: usize, equal: &BooleanBuffer, distinct: bool) -> ArrayRef {
    let (a, b) = (is_null(&args[0], rows), is_null(&args[1], rows));
    let neither = !&(&a | &b);
    let same = &(equal & &neither) | &(&a & &b);
    flags(if distinct { !&same } else { same })
}

/// `value IN (literals)`: found, or NULL where one of them is NULL, or not found.
fn membership(types: &[DataType], args: &[Expr]) -> Kernel {
    const FEW: usize = 8;
    let data_type = types[0];
    if args.len() > FEW && data_type.is_string() {
        return Box::new(|args, rows, _| {
            let set: HashSet<&str> = args[1..].iter().filter_map(Datum::scalar_text).collect();
            let texts = args[0].texts();
            Ok(member(
                args,
                rows,
                BooleanBuffer::collect_bool(rows, |row| set.contains(texts.get(row))),
            ))
        });
    }
    let equal: Vec<Bits> =
        types[1..].iter().map(|&item| bits_of(Op::Eq, data_type, item)).collect();
    Box::new(move |args, rows, _| {
        let mut found = BooleanBuffer::new_unset(rows);
        for (item, equal) in args[1..].iter().zip(&equal) {
            if item.array().is_valid(0) {
                found = &found | &equal(&[args[0].clone(), item.clone()], rows);
            }
        }
        Ok(member(args, rows, found))
    })
}

fn member(args: &[Datum], rows: usize, found: BooleanBuffer) -> ArrayRef {
    let present = !&is_null(&args[0], rows);
    let found = &found & &present;
    let known =
        if args[1..].iter().any(|item| item.array().is_null(0)) { found.clone() } else { present };
    let nulls = (known.count_set_bits() < rows).then(|| NullBuffer::new(known));
    Arc::new(BooleanArray::new(found, nulls))
}

fn extreme(data_type: DataType, op: Op) -> Kernel {
    use arrow_schema::DataType as Arrow;
    match data_type.arrow() {
        Arrow::Int8 => extreme_number::<Int8Type>(op),
        Arrow::Int16 => extreme_number::<Int16Type>(op),
        Arrow::Int32 => extreme_number::<Int32Type>(op),
        Arrow::Int64 => extreme_number::<Int64Type>(op),
        Arrow::Float32 => extreme_number::<Float32Type>(op),
        Arrow::Float64 => extreme_number::<Float64Type>(op),
        Arrow::Decimal128(..) => {
            let inner = extreme_number::<Decimal128Type>(op);
            Box::new(move |args, rows, context| {
                let column = inner(args, rows, context)?;
                let typed = column
                    .as_primitive::<Decimal128Type>()
                    .clone()
                    .with_data_type(data_type.arrow());
                Ok(Arc::new(typed))
            })
        }
        Arrow::Utf8View => Box::new(move |args, rows, _| {
            let texts: Vec<_> = args.iter().map(Datum::texts).collect();
            Ok(some_texts(args, rows, |row, out| {
                let all = texts.iter().map(|text| text.get(row));
                let best = if op == Op::Gt {
                    all.max_by_key(|text| text.as_bytes())
                } else {
                    all.min_by_key(|text| text.as_bytes())
                };
                out.push_str(best.expect("there is an argument"));
                true
            }))
        }),
        _ => Box::new(move |args, rows, _| {
            let all: Vec<_> = args.iter().map(Datum::booleans).collect();
            super::datum::try_booleans(args, rows, |row| {
                let values = all.iter().map(|value| value.get(row));
                Ok(if op == Op::Gt { values.max() } else { values.min() })
            })
        }),
    }
}

fn extreme_number<T: ArrowPrimitiveType>(op: Op) -> Kernel
where
    T::Native: PartialOrd,
{
    Box::new(move |args, rows, _| {
        let first = args[0].numbers::<T>();
        let mut best: Vec<T::Native> = (0..rows).map(|row| first.get(row)).collect();
        for arg in &args[1..] {
            let next = arg.numbers::<T>();
            for (row, best) in best.iter_mut().enumerate() {
                let value = next.get(row);
                if if op == Op::Gt { value > *best } else { value < *best } {
                    *best = value;
                }
            }
        }
        Ok(Arc::new(PrimitiveArray::<T>::new(best.into(), nulls(args, rows))))
    })
}
