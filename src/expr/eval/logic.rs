//! AND, OR, CASE and COALESCE: the nodes that decide which rows their arguments see.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Scalar};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_select::zip::zip;

use crate::error::EvalError;

use super::datum::Datum;
use super::{Frame, Node};

/// A boolean column as two bit sets: where it is true, and where it is false. Neither is NULL.
struct Truth {
    yes: BooleanBuffer,
    no: BooleanBuffer,
}

fn truth(datum: Datum, rows: usize) -> Truth {
    let column = datum.into_column(rows);
    let array = column.as_boolean();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => Truth { yes: array.values().clone(), no: !array.values() },
        Some(valid) => {
            Truth { yes: array.values() & valid.inner(), no: &!array.values() & valid.inner() }
        }
    }
}

/// Three-valued AND or OR; an argument that can fail sees only the rows that those before it leave open.
pub(super) fn junction(and: bool, args: &[Node], frame: &Frame<'_>) -> Result<Datum, EvalError> {
    let rows = frame.rows;
    let mut all = truth(args[0].eval(frame)?, rows);
    for arg in &args[1..] {
        let open = if and { !&all.no } else { !&all.yes };
        if open.count_set_bits() == 0 {
            break;
        }
        let next = truth(arg.eval_owned(frame, &open)?, rows);
        all = if and {
            Truth { yes: &all.yes & &next.yes, no: &all.no | &next.no }
        } else {
            Truth { yes: &all.yes | &next.yes, no: &all.no & &next.no }
        };
    }
    let known = &all.yes | &all.no;
    let nulls = (known.count_set_bits() < rows).then(|| NullBuffer::new(known));
    Ok(Datum::Column(Arc::new(BooleanArray::new(all.yes, nulls))))
}

/// Searched CASE. Each row belongs to the first branch whose condition is true.
pub(super) fn case(
    branches: &[(Node, Node)],
    otherwise: &Node,
    frame: &Frame<'_>,
) -> Result<Datum, EvalError> {
    let mut open = BooleanBuffer::new_set(frame.rows);
    let mut owned = Vec::with_capacity(branches.len());
    for (condition, result) in branches {
        let yes = &truth(condition.eval_owned(frame, &open)?, frame.rows).yes & &open;
        open = &open & &!&yes;
        let value = result.eval_owned(frame, &yes)?;
        owned.push((yes, value));
    }
    let mut value = otherwise.eval_owned(frame, &open)?;
    for (yes, result) in owned.into_iter().rev() {
        value = choose(yes, result, value);
    }
    Ok(value)
}

/// `yes` where set, else `no`.
fn choose(mask: BooleanBuffer, yes: Datum, no: Datum) -> Datum {
    let rows = mask.len();
    match mask.count_set_bits() {
        0 => return no,
        count if count == rows => return yes,
        _ => {}
    }
    let mask = BooleanArray::new(mask, None);
    let column: ArrayRef = match (yes, no) {
        (Datum::Column(yes), Datum::Column(no)) => zip(&mask, &yes, &no),
        (Datum::Column(yes), Datum::Scalar(no)) => zip(&mask, &yes, &Scalar::new(no)),
        (Datum::Scalar(yes), Datum::Column(no)) => zip(&mask, &Scalar::new(yes), &no),
        (Datum::Scalar(yes), Datum::Scalar(no)) => zip(&mask, &Scalar::new(yes), &Scalar::new(no)),
    }
    .expect("the branches of CASE have one type");
    Datum::Column(column)
}

/// The first argument that is not NULL.
pub(super) fn coalesce(args: &[Node], frame: &Frame<'_>) -> Result<Datum, EvalError> {
    let mut open = BooleanBuffer::new_set(frame.rows);
    let mut owned = Vec::with_capacity(args.len());
    for arg in args {
        if open.count_set_bits() == 0 {
            break;
        }
        let value = arg.eval_owned(frame, &open)?;
        let present = present(&value, frame.rows);
        owned.push((&present & &open, value));
        open = &open & &!&present;
    }
    let Some((_, mut value)) = owned.pop() else { return args[0].eval(frame) };
    for (mask, result) in owned.into_iter().rev() {
        value = choose(mask, result, value);
    }
    Ok(value)
}

fn present(value: &Datum, rows: usize) -> BooleanBuffer {
    match value {
        Datum::Scalar(value) if value.is_null(0) => BooleanBuffer::new_unset(rows),
        Datum::Scalar(_) => BooleanBuffer::new_set(rows),
        Datum::Column(column) => match column.nulls() {
            Some(nulls) => nulls.inner().clone(),
            None => BooleanBuffer::new_set(rows),
        },
    }
}
