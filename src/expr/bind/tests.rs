//! What binding answers: types, coercions, and refusals with their hints.

use super::*;

fn column(data_type: DataType) -> Expr {
    Expr::column(0, data_type, true)
}

fn int(value: i64) -> Expr {
    Expr::literal(Value::Int(value), DataType::Int)
}

fn text(value: &str) -> Expr {
    Expr::literal(Value::String(value.into()), DataType::Char(value.chars().count() as u32))
}

#[test]
fn a_case_over_literals_is_as_long_as_the_longest() {
    let branches =
        vec![(column(DataType::Boolean), text("big")), (column(DataType::Boolean), text("small"))];
    let bound = case(branches, Some(text("none"))).unwrap();
    assert_eq!(bound.data_type, DataType::VarChar(5));
    assert!(!bound.nullable);
}

#[test]
fn misspelt_names_get_a_hint() {
    let error = call("uper", vec![column(DataType::STRING)]).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean UPPER?"));
    assert_eq!(call("xyzzy_plugh", vec![]).unwrap_err().hint, None);
}

#[test]
fn sinks_widen_but_do_not_narrow() {
    assert_eq!(
        implicit_sink_cast(column(DataType::Int), DataType::BigInt).unwrap().data_type,
        DataType::BigInt
    );
    let error = implicit_sink_cast(column(DataType::STRING), DataType::Int).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("write CAST(… AS INT)"));
    assert!(implicit_sink_cast(column(DataType::BigInt), DataType::Int).is_err());
}

#[test]
fn operands_are_cast_to_a_common_type() {
    let sum = call("+", vec![column(DataType::Int), column(DataType::BigInt)]).unwrap();
    assert_eq!(sum.data_type, DataType::BigInt);
    let modulo = call("MOD", vec![column(DataType::BigInt), int(3)]).unwrap();
    assert_eq!(modulo.data_type, DataType::Int);
    let later = call("+", vec![int(1), text("a")]).unwrap_err();
    assert!(later.hint.is_some());
    let difference =
        call("-", vec![column(DataType::Timestamp(3)), column(DataType::Timestamp(3))])
            .unwrap_err();
    assert_eq!(difference.hint.as_deref(), Some("write TIMESTAMPDIFF(SECOND, a, b)"));
}

#[test]
fn wrong_counts_are_named() {
    let error = call("REPLACE", vec![text("a")]).unwrap_err();
    assert_eq!(error.message, "REPLACE takes 3 arguments, not 1");
}
