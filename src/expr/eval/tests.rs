//! What evaluation answers, row for row as Flink does.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::batch::DataType;
use crate::expr::{Value, call, case, cast, try_cast};

fn int(value: i64) -> Expr {
    Expr::literal(Value::Int(value), DataType::Int)
}

fn batch(columns: Vec<ArrayRef>) -> Batch {
    let rows = columns[0].len();
    Batch::new(columns, rows)
}

fn run(expr: &Expr, batch: &Batch) -> Result<ArrayRef, EvalError> {
    Evaluator::new(expr, Tz::UTC).eval(batch, &EvalContext { time_zone: Tz::UTC, now_ms: 0 })
}

#[test]
fn integers_wrap_and_divide_as_in_java() {
    let v = Expr::column(0, DataType::Int, true);
    let data =
        batch(vec![Arc::new(Int32Array::from(vec![Some(7), Some(-7), None, Some(i32::MIN)]))]);
    let half = run(&call("/", vec![v.clone(), int(2)]).unwrap(), &data).unwrap();
    assert_eq!(
        half.as_primitive::<Int32Type>(),
        &Int32Array::from(vec![Some(3), Some(-3), None, Some(-1073741824)])
    );
    let minus = run(&call("NEGATE", vec![v.clone()]).unwrap(), &data).unwrap();
    assert_eq!(minus.as_primitive::<Int32Type>().value(3), i32::MIN);
    let error = run(&call("%", vec![int(5), call("+", vec![v, int(7)]).unwrap()]).unwrap(), &data)
        .unwrap_err();
    assert_eq!(error.row_index, 1);
}

#[test]
fn branches_do_not_fail_on_rows_they_do_not_own() {
    let v = Expr::column(0, DataType::Int, true);
    let data = batch(vec![Arc::new(Int32Array::from(vec![Some(0), Some(5), None]))]);
    let share = call("/", vec![int(10), v.clone()]).unwrap();
    let zero = call("=", vec![v.clone(), int(0)]).unwrap();
    let guarded = case(vec![(zero.clone(), int(-1))], Some(share.clone())).unwrap();
    let column = run(&guarded, &data).unwrap();
    assert_eq!(
        column.as_primitive::<Int32Type>(),
        &Int32Array::from(vec![Some(-1), Some(2), None])
    );
    let or = call("OR", vec![zero, call(">", vec![share, int(1)]).unwrap()]).unwrap();
    assert_eq!(
        run(&or, &data).unwrap().as_boolean(),
        &BooleanArray::from(vec![Some(true), Some(true), None])
    );
}

#[test]
fn the_first_failing_row_is_named() {
    let s = Expr::column(0, DataType::STRING, true);
    let data = batch(vec![
        Arc::new(StringViewArray::from(vec!["1", "x", "0", "y"])),
        Arc::new(Int32Array::from(vec![0, 1, 1, 1])),
    ]);
    let number = cast(s, DataType::Int).unwrap();
    let share = call("/", vec![int(1), Expr::column(1, DataType::Int, true)]).unwrap();
    let error = run(&call("+", vec![number.clone(), share]).unwrap(), &data).unwrap_err();
    assert_eq!(error.row_index, 0);
    assert_eq!(run(&number, &data).unwrap_err().row_index, 1);
}

#[test]
fn strings_equal_literals_of_any_length() {
    let s = Expr::column(0, DataType::STRING, true);
    let values =
        vec![Some("view"), Some("views"), None, Some("a string of more than twelve"), Some("")];
    let data = batch(vec![Arc::new(StringViewArray::from(values.clone()))]);
    for literal in
        ["view", "", "a string of more than twelve", "a string of more than twelfe", "exactly12byt"]
    {
        let literal_expr =
            Expr::literal(Value::String(literal.into()), DataType::Char(literal.len() as u32));
        let column = run(&call("=", vec![s.clone(), literal_expr]).unwrap(), &data).unwrap();
        let expected: BooleanArray =
            values.iter().map(|value| value.map(|value| value == literal)).collect();
        assert_eq!(column.as_boolean(), &expected);
    }
}

#[test]
fn try_cast_forgives() {
    let s = Expr::column(0, DataType::STRING, true);
    let data = batch(vec![Arc::new(StringViewArray::from(vec![" 5 ", "3.7", "x", "2147483648"]))]);
    let column = run(&try_cast(s, DataType::Int).unwrap(), &data).unwrap();
    assert_eq!(
        column.as_primitive::<Int32Type>(),
        &Int32Array::from(vec![Some(5), Some(3), None, None])
    );
}

#[test]
fn three_valued_logic_and_constants() {
    let b = Expr::column(0, DataType::Boolean, true);
    let data = batch(vec![Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))]);
    let null = Expr::literal(Value::Null, DataType::Boolean);
    let and = run(&call("AND", vec![b.clone(), null.clone()]).unwrap(), &data).unwrap();
    assert_eq!(and.as_boolean(), &BooleanArray::from(vec![None, Some(false), None]));
    let or = run(&call("OR", vec![b, null]).unwrap(), &data).unwrap();
    assert_eq!(or.as_boolean(), &BooleanArray::from(vec![Some(true), None, None]));
    let folded = fold(call("+", vec![int(1), int(2)]).unwrap(), Tz::UTC);
    assert_eq!(folded, int(3));
    let fails = call("/", vec![int(1), int(0)]).unwrap();
    assert_eq!(fold(fails.clone(), Tz::UTC), fails);
}

/// The naive twin of a comparison.
fn compare_naively(op: &str, a: Option<i64>, b: Option<i64>) -> Option<bool> {
    let (a, b) = (a?, b?);
    Some(match op {
        "=" => a == b,
        "<>" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    })
}

proptest! {
    #[test]
    fn comparisons_agree_with_the_naive_ones(
        a in proptest::collection::vec(proptest::option::of(-3i64..3), 1..200),
        scalar in -3i64..3,
        op in 0usize..6,
        start in 0usize..100,
    ) {
        let op = ["=", "<>", "<", "<=", ">", ">="][op];
        let b: Vec<Option<i64>> = a.iter().rev().copied().collect();
        let data = batch(vec![Arc::new(Int64Array::from(a.clone())), Arc::new(Int64Array::from(b.clone()))]);
        let start = start.min(a.len() - 1);
        let data = data.slice(start, a.len() - start);
        let (x, y) = (Expr::column(0, DataType::BigInt, true), Expr::column(1, DataType::BigInt, true));
        let columns = run(&call(op, vec![x.clone(), y]).unwrap(), &data).unwrap();
        let expected: BooleanArray = a.iter().zip(&b).skip(start).map(|(a, b)| compare_naively(op, *a, *b)).collect();
        prop_assert_eq!(columns.as_boolean(), &expected);
        let literal = Expr::literal(Value::Int(scalar), DataType::BigInt);
        let against = run(&call(op, vec![x, literal]).unwrap(), &data).unwrap();
        let expected: BooleanArray = a.iter().skip(start).map(|a| compare_naively(op, *a, Some(scalar))).collect();
        prop_assert_eq!(against.as_boolean(), &expected);
    }

    #[test]
    fn equality_of_strings_agrees(values in proptest::collection::vec("[ab]{0,14}", 1..40), literal in "[ab]{0,14}") {
        let data = batch(vec![Arc::new(StringViewArray::from_iter_values(&values))]);
        let s = Expr::column(0, DataType::STRING, false);
        let wanted = Expr::literal(Value::String(literal.clone()), DataType::Char(14));
        let column = run(&call("=", vec![s, wanted]).unwrap(), &data).unwrap();
        let expected: BooleanArray = values.iter().map(|value| Some(*value == literal)).collect();
        prop_assert_eq!(column.as_boolean(), &expected);
    }

    #[test]
    fn decimal_division_agrees_with_whole_numbers(a in -1_000_000i64..1_000_000, b in -1_000i64..1_000) {
        prop_assume!(b != 0);
        let column = |value: i64| -> ArrayRef {
            Arc::new(Decimal128Array::from(vec![i128::from(value)]).with_precision_and_scale(10, 2).unwrap())
        };
        let data = batch(vec![column(a), column(b)]);
        let side = |index| Expr::column(index, DataType::Decimal(10, 2), true);
        let share = call("/", vec![side(0), side(1)]).unwrap();
        prop_assert_eq!(share.data_type, DataType::Decimal(23, 13));
        let scaled = i128::from(a) * 10i128.pow(13);
        let (whole, rest) = (scaled / i128::from(b), scaled % i128::from(b));
        let up = rest.abs() * 2 >= i128::from(b).abs();
        let expected = whole + if up { scaled.signum() * i128::from(b).signum() } else { 0 };
        prop_assert_eq!(run(&share, &data).unwrap().as_primitive::<Decimal128Type>().value(0), expected);
    }

    #[test]
    fn text_of_any_kind_is_cast_without_panic(texts in proptest::collection::vec("[-+0-9:. eETZ/a-cé]{0,25}", 1..20)) {
        let data = batch(vec![Arc::new(StringViewArray::from_iter_values(&texts))]);
        let s = Expr::column(0, DataType::STRING, false);
        let targets = [
            DataType::Int, DataType::Double, DataType::Float, DataType::Decimal(20, 5), DataType::Date, DataType::Time(3),
            DataType::Timestamp(9), DataType::TimestampLtz(3), DataType::Boolean, DataType::Char(3),
        ];
        for target in targets {
            prop_assert_eq!(run(&try_cast(s.clone(), target).unwrap(), &data).unwrap().len(), texts.len());
        }
        for pattern in ["yyyy-MM-dd HH:mm:ss", "yyyyMMddHHmm", "d MMM yy h a", "y-D S"] {
            let pattern = Expr::literal(Value::String(pattern.into()), DataType::Char(20));
            for name in ["TO_TIMESTAMP", "TO_DATE", "UNIX_TIMESTAMP"] {
                run(&call(name, vec![s.clone(), pattern.clone()]).unwrap(), &data).unwrap();
            }
        }
    }
}

/// Calls every function of times and roundings on the ends of the types: an answer or NULL, never a panic.
#[test]
fn the_ends_of_the_types_do_not_panic() {
    let ends: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX, i64::MIN + 1, 0, -1]));
    let days: ArrayRef = Arc::new(Int32Array::from(vec![i32::MIN, i32::MAX, i32::MIN + 1, 0, -1]));
    let data = batch(vec![ends.clone(), days.clone(), ends, days]);
    let text = |text: &str| Expr::literal(Value::String(text.into()), DataType::Char(9));
    let (long, int) =
        (Expr::column(2, DataType::BigInt, true), Expr::column(3, DataType::Int, true));
    let mut calls = Vec::new();
    for precision in [0, 3, 6, 9] {
        for time in
            [DataType::Timestamp(precision), DataType::TimestampLtz(precision), DataType::Date]
        {
            let time = Expr::column(usize::from(time == DataType::Date), time, true);
            let pattern = text("y-MM-dd D w e a");
            for unit in [
                "MILLENNIUM",
                "CENTURY",
                "DECADE",
                "YEAR",
                "QUARTER",
                "MONTH",
                "WEEK",
                "DAY",
                "HOUR",
                "SECOND",
            ] {
                calls.push(call("EXTRACT", vec![text(unit), time.clone()]));
                calls.push(call("FLOOR TO", vec![time.clone(), text(unit)]));
                calls.push(call("CEIL TO", vec![time.clone(), text(unit)]));
            }
            for unit in ["YEAR", "MONTH", "WEEK", "DAY", "HOUR", "SECOND"] {
                calls.push(call("TIMESTAMPADD", vec![text(unit), long.clone(), time.clone()]));
                calls.push(call("TIMESTAMPDIFF", vec![text(unit), time.clone(), time.clone()]));
            }
            if time.data_type != DataType::Date {
                calls.push(call("DATE_FORMAT", vec![time.clone(), pattern]));
            }
            for target in [
                DataType::STRING,
                DataType::Date,
                DataType::Time(0),
                DataType::Timestamp(0),
                DataType::TimestampLtz(9),
            ] {
                if crate::expr::types::castable(time.data_type, target) {
                    calls.push(cast(time.clone(), target));
                }
            }
        }
    }
    for number in [
        long.clone(),
        int.clone(),
        cast(long.clone(), DataType::Decimal(38, 10)).unwrap(),
        cast(long, DataType::Double).unwrap(),
    ] {
        calls.push(call("ROUND", vec![number.clone(), int.clone()]));
        calls.push(call("TRUNCATE", vec![number.clone(), int.clone()]));
        calls.push(call("TO_TIMESTAMP_LTZ", vec![number.clone()]));
        calls.push(call("FROM_UNIXTIME", vec![cast(number.clone(), DataType::BigInt).unwrap()]));
        calls.push(call(
            "REPEAT",
            vec![
                text("x"),
                call("LEAST", vec![int.clone(), Expr::literal(Value::Int(9), DataType::Int)])
                    .unwrap(),
            ],
        ));
        for name in ["ABS", "SIGN", "FLOOR", "CEIL", "NEGATE"] {
            calls.push(call(name, vec![number.clone()]));
        }
    }
    for zone in [Tz::UTC, Tz::America__New_York] {
        for bound in &calls {
            let expr = bound.as_ref().unwrap();
            let context = EvalContext { time_zone: zone, now_ms: i64::MAX };
            Evaluator::new(expr, zone).eval(&data, &context).unwrap();
        }
    }
}

#[test]
fn evaluators_move_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Evaluator>();
}
