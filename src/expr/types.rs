//! Type rules: common types, decimal results, which casts exist. After Flink's
//! `LogicalTypeMerging` and `LogicalTypeCasts`.

use crate::batch::DataType;

/// The least general type that all of `types` can be cast to implicitly: for UNION, CASE, IN, COALESCE.
///
/// `None` if there is none. A bare NULL takes any type; NULLs alone stay [`DataType::Null`].
pub fn common_type(types: &[DataType]) -> Option<DataType> {
    let mut common = DataType::Null;
    for &next in types {
        common = common_pair(common, next)?;
    }
    Some(common)
}

fn common_pair(a: DataType, b: DataType) -> Option<DataType> {
    use DataType::*;
    if a == b {
        return Some(a);
    }
    Some(match (a, b) {
        (Null, other) | (other, Null) => other,
        (a, b) if a.is_numeric() && b.is_numeric() => common_numeric(a, b),
        (Char(a) | VarChar(a), Char(b) | VarChar(b)) => VarChar(a.max(b)),
        (Binary(a) | VarBinary(a), Binary(b) | VarBinary(b)) => VarBinary(a.max(b)),
        (Time(a), Time(b)) => Time(a.max(b)),
        // With and without a zone, the first decides.
        (Timestamp(a), Timestamp(b) | TimestampLtz(b)) => Timestamp(a.max(b)),
        (TimestampLtz(a), Timestamp(b) | TimestampLtz(b)) => TimestampLtz(a.max(b)),
        _ => return None,
    })
}

fn common_numeric(a: DataType, b: DataType) -> DataType {
    use DataType::*;
    match (a, b) {
        // Flink takes the first where both are approximate.
        (Float, Double) => Float,
        (Double, _) | (_, Double) | (Float, Decimal(..)) | (Decimal(..), Float) => Double,
        (Float, _) | (_, Float) => Float,
        (Decimal(..), _) | (_, Decimal(..)) => {
            let ((p1, s1), (p2, s2)) = (decimal_of(a), decimal_of(b));
            let scale = s1.max(s2);
            let whole = (p1 - s1).max(p2 - s2);
            if whole + scale > 38 {
                Decimal(38, scale.min(38 - whole.min(38)))
            } else {
                Decimal(whole + scale, scale)
            }
        }
        _ => widest_integer(a, b),
    }
}

/// The wider of two integer types.
pub(super) fn widest_integer(a: DataType, b: DataType) -> DataType {
    if integer_bits(a) >= integer_bits(b) { a } else { b }
}

fn integer_bits(data_type: DataType) -> u8 {
    match data_type {
        DataType::TinyInt => 8,
        DataType::SmallInt => 16,
        DataType::Int => 32,
        _ => 64,
    }
}

/// Precision and scale of an exact number seen as a decimal.
///
/// # Panics
///
/// If it is neither an integer nor a decimal: a bug of the caller.
pub(super) fn decimal_of(data_type: DataType) -> (u8, u8) {
    match data_type {
        DataType::Decimal(precision, scale) => (precision, scale),
        DataType::TinyInt => (3, 0),
        DataType::SmallInt => (5, 0),
        DataType::Int => (10, 0),
        DataType::BigInt => (19, 0),
        other => panic!("{other} is no exact number"),
    }
}

/// The type of `a op b` for numbers, `op` one of `+ - * / %`.
pub(super) fn arithmetic_type(op: &str, a: DataType, b: DataType) -> DataType {
    use DataType::*;
    match (a, b) {
        (Decimal(..), Float | Double) | (Float | Double, Decimal(..)) => Double,
        // Flink takes the first where both are approximate.
        (Float | Double, _) => a,
        (_, Float | Double) => b,
        (Decimal(..), _) | (_, Decimal(..)) => decimal_arithmetic(op, decimal_of(a), decimal_of(b)),
        _ if op == "%" => b,
        _ => widest_integer(a, b),
    }
}

fn decimal_arithmetic(op: &str, (p1, s1): (u8, u8), (p2, s2): (u8, u8)) -> DataType {
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let (precision, scale) = match op {
        "*" => (p1 + p2 + 1, s1 + s2),
        "/" => {
            let scale = (s1 + p2 + 1).max(6);
            (p1 - s1 + s2 + scale, scale)
        }
        "%" => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        _ => ((p1 - s1).max(p2 - s2) + s1.max(s2) + 1, s1.max(s2)),
    };
    if precision <= 38 {
        return DataType::Decimal(precision as u8, scale as u8);
    }
    let kept = (38 - (precision - scale)).max(scale.min(6));
    DataType::Decimal(38, kept as u8)
}

/// The type of ROUND and TRUNCATE of a decimal to `digits`.
pub(super) fn round_type(precision: u8, scale: u8, digits: i64) -> DataType {
    if digits >= i64::from(scale) {
        DataType::Decimal(precision, scale)
    } else if digits < 0 {
        DataType::Decimal((1 + precision - scale).min(38), 0)
    } else {
        DataType::Decimal(1 + precision - scale + digits as u8, digits as u8)
    }
}

/// Whether CAST knows the way.
pub(super) fn castable(from: DataType, to: DataType) -> bool {
    use DataType::*;
    if from == to || from == Null {
        return true;
    }
    match to {
        Null => false,
        Char(_) | VarChar(_) => true,
        Binary(_) | VarBinary(_) => from.is_string() || from.is_binary(),
        Boolean => {
            from.is_string() || from.is_integer() || matches!(from, Decimal(..)) || from.is_float()
        }
        to if to.is_numeric() => from.is_numeric() || from.is_string() || from == Boolean,
        Date => from.is_string() || from.is_timestamp(),
        Time(_) => from.is_string() || from.is_timestamp() || matches!(from, Time(_)),
        Timestamp(_) | TimestampLtz(_) => {
            from.is_string() || from.is_timestamp() || matches!(from, Date | Time(_))
        }
        _ => false,
    }
}

/// Whether INSERT casts by itself.
pub(super) fn implicitly_castable(from: DataType, to: DataType) -> bool {
    use DataType::*;
    if from == to || from == Null {
        return true;
    }
    match to {
        SmallInt | Int | BigInt => from.is_integer() && integer_bits(from) <= integer_bits(to),
        Decimal(..) | Double => from.is_numeric(),
        Float => from.is_integer() || matches!(from, Decimal(..)),
        Date => matches!(from, Timestamp(_)),
        Time(_) => matches!(from, Time(_) | Timestamp(_)),
        Timestamp(_) | TimestampLtz(_) => from.is_timestamp(),
        Char(_) => matches!(from, Char(_)),
        VarChar(_) => from.is_string(),
        Binary(_) => matches!(from, Binary(_)),
        VarBinary(_) => from.is_binary(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    #[test]
    fn arithmetic_has_flinks_types() {
        let cases = [
            ("+", Decimal(10, 2), Decimal(8, 3), Decimal(12, 3)),
            ("*", Decimal(10, 2), Decimal(8, 3), Decimal(19, 5)),
            ("/", Decimal(10, 2), Decimal(8, 3), Decimal(22, 11)),
            ("%", Decimal(10, 2), Decimal(8, 3), Decimal(8, 3)),
            ("/", Int, Decimal(2, 1), Decimal(17, 6)),
            ("+", BigInt, Decimal(2, 1), Decimal(21, 1)),
            ("+", Decimal(10, 2), Decimal(38, 10), Decimal(38, 9)),
            ("*", Decimal(10, 2), Decimal(38, 10), Decimal(38, 6)),
            ("/", Decimal(10, 2), Decimal(38, 10), Decimal(38, 20)),
            ("/", Int, Decimal(10, 2), Decimal(23, 11)),
            ("/", Decimal(10, 2), Int, Decimal(21, 13)),
            ("+", Decimal(38, 10), Int, Decimal(38, 9)),
            ("%", Int, Decimal(10, 2), Decimal(10, 2)),
            ("%", Int, SmallInt, SmallInt),
            ("%", BigInt, Int, Int),
            ("/", TinyInt, SmallInt, SmallInt),
            ("*", Float, Double, Float),
            ("+", BigInt, Float, Float),
            ("*", Decimal(10, 2), Float, Double),
        ];
        for (op, a, b, expected) in cases {
            assert_eq!(arithmetic_type(op, a, b), expected, "{a} {op} {b}");
        }
    }

    #[test]
    fn common_types_are_flinks() {
        assert_eq!(common_type(&[Int, Decimal(2, 1)]), Some(Decimal(11, 1)));
        assert_eq!(common_type(&[Char(1), Char(3)]), Some(VarChar(3)));
        assert_eq!(common_type(&[Char(3), Null, Char(3)]), Some(Char(3)));
        assert_eq!(common_type(&[Timestamp(3), TimestampLtz(3)]), Some(Timestamp(3)));
        assert_eq!(common_type(&[Float, Decimal(10, 2)]), Some(Double));
        assert_eq!(common_type(&[Float, BigInt]), Some(Float));
        assert_eq!(common_type(&[Date, Timestamp(3)]), None);
        assert_eq!(common_type(&[DataType::STRING, Int]), None);
        assert_eq!(common_type(&[]), Some(Null));
    }
}
