//! Scalar functions in Rust, for SQL.
//!
//! # Invariants
//!
//! 1. A function is called with no NULL for an argument that is no `Option`: a row with one is NULL without a call.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::NullBuffer;

use crate::batch::DataType;
use crate::error::EvalError;
use crate::expr::{Native, NativeFunction};
use crate::job::field::{Column, ColumnBuilder, Field};
use crate::sql::ProgramFunction;

/// An argument of a function: a [`Column`], `&str` or `&[u8]`, or an `Option` of one.
pub trait Argument {
    /// The column that it stands in.
    #[doc(hidden)]
    type Column: Column;
    /// The same for any lifetime.
    #[doc(hidden)]
    type Value<'a>;

    /// The value in a row.
    #[doc(hidden)]
    fn value(column: &dyn Array, row: usize) -> Self::Value<'_>;
}

macro_rules! owned {
    ($($rust:ty)*) => {$(
        impl Argument for $rust {
            type Column = $rust;
            type Value<'a> = $rust;

            fn value(column: &dyn Array, row: usize) -> $rust {
                <$rust as Column>::read(column, row)
            }
        }
    )*};
}

owned!(bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 String Vec<u8>);

impl Argument for &str {
    type Column = String;
    type Value<'a> = &'a str;

    fn value(column: &dyn Array, row: usize) -> &str {
        column.as_string_view().value(row)
    }
}

impl Argument for &[u8] {
    type Column = Vec<u8>;
    type Value<'a> = &'a [u8];

    fn value(column: &dyn Array, row: usize) -> &[u8] {
        column.as_binary_view().value(row)
    }
}

impl<A: Argument> Argument for Option<A> {
    type Column = Option<A::Column>;
    type Value<'a> = Option<A::Value<'a>>;

    fn value(column: &dyn Array, row: usize) -> Option<A::Value<'_>> {
        column.is_valid(row).then(|| A::value(column, row))
    }
}

/// What a function returns: a [`Field`], or a `Result` of one, whose error ends the job.
pub trait Returned {
    /// The value.
    type Field: Field;
    /// The value, or what is wrong.
    ///
    /// # Errors
    ///
    /// What the function said.
    #[doc(hidden)]
    fn returned(self) -> Result<Self::Field, String>;
}

impl<F: Field> Returned for F {
    type Field = F;

    fn returned(self) -> Result<F, String> {
        Ok(self)
    }
}

impl<F: Field, E: fmt::Display> Returned for Result<F, E> {
    type Field = F;

    fn returned(self) -> Result<F, String> {
        self.map_err(|error| error.to_string())
    }
}

/// The column of what a function returns.
type ColumnOf<R> = <<R as Returned>::Field as Field>::Column;

/// A closure or function that SQL can call: of one to four arguments ([`Argument`]), returning a [`Field`] or a `Result` of one.
///
/// ```
/// use tidemill::Session;
/// use tidemill::job::{Argument, Field, Function, Returned, ScalarFunction};
///
/// /// A function for several types, called `name` in scripts.
/// fn identity<'s, T: Argument + Field + 'static>(session: &'s mut Session, name: &str) -> Function<'s>
/// where
///     fn(T) -> T: ScalarFunction<fn(T) -> T>,
/// {
///     session.function(name, (|value| value) as fn(T) -> T)
/// }
///
/// /// What a function may return.
/// fn returns<R: Returned>(_: R) {}
///
/// let mut session = Session::new();
/// identity::<i64>(&mut session, "same_number").version(1);
/// identity::<String>(&mut session, "same_text").version(1);
/// returns("a text");
/// returns("7".parse::<i64>());
/// ```
pub trait ScalarFunction<Signature>: Send + Sync + 'static {
    /// The types of its arguments, and whether they may be NULL.
    #[doc(hidden)]
    fn arguments() -> Vec<(DataType, bool)>;
    /// The type of its result, and whether it may be NULL where no argument is.
    #[doc(hidden)]
    fn result() -> (DataType, bool);
    /// Its value in each row; `progress` is the row that is worked on.
    ///
    /// # Errors
    ///
    /// An argument that is not in the range of its type, and what the function itself says.
    #[doc(hidden)]
    fn eval(
        &self,
        args: &[ArrayRef],
        rows: usize,
        progress: &Cell<usize>,
    ) -> Result<ArrayRef, EvalError>;
}

macro_rules! arity {
    ($($name:ident $index:tt),*) => {
        impl<Function, Output, $($name),*> ScalarFunction<fn($($name),*) -> Output> for Function
        where
            Function: Fn($($name),*) -> Output + Send + Sync + 'static,
            Function: for<'a> Fn($($name::Value<'a>),*) -> Output,
            Output: Returned,
            $($name: Argument),*
        {
            fn arguments() -> Vec<(DataType, bool)> {
                vec![$(($name::Column::DATA_TYPE, $name::Column::NULLABLE)),*]
            }

            fn result() -> (DataType, bool) {
                (ColumnOf::<Output>::DATA_TYPE, ColumnOf::<Output>::NULLABLE)
            }

            fn eval(
                &self,
                args: &[ArrayRef],
                rows: usize,
                progress: &Cell<usize>,
            ) -> Result<ArrayRef, EvalError> {
                let mut nulls = None;
                $(nulls = strict_nulls::<$name::Column>(nulls, $index, &args[$index])?;)*
                filled::<Output>(rows, nulls, progress, |row| {
                    self($($name::value(args[$index].as_ref(), row)),*)
                })
            }
        }
    };
}

arity!(A 0);
arity!(A 0, B 1);
arity!(A 0, B 1, C 2);
arity!(A 0, B 1, C 2, D 3);

/// `nulls`, and those of an argument that cannot be NULL.
fn strict_nulls<C: Column>(
    nulls: Option<NullBuffer>,
    index: usize,
    column: &ArrayRef,
) -> Result<Option<NullBuffer>, EvalError> {
    if C::is_out_of_range(column) {
        let is_it = |row: &usize| C::is_out_of_range(&column.slice(*row, 1));
        return Err(out_of_range(index, column.len(), is_it));
    }
    Ok(if C::NULLABLE { nulls } else { NullBuffer::union(nulls.as_ref(), column.nulls()) })
}

/// The error of argument `index`, which is not in the range of its type in the first of `rows` rows that `is_it`.
pub(super) fn out_of_range(
    index: usize,
    rows: usize,
    is_it: impl FnMut(&usize) -> bool,
) -> EvalError {
    let row_index = (0..rows).find(is_it).expect("one of them is");
    EvalError {
        row_index,
        message: format!("argument {} is not in the range of its type", index + 1),
    }
}

/// The column of what `f` makes of each row, NULL where `nulls` says.
fn filled<R: Returned>(
    rows: usize,
    nulls: Option<NullBuffer>,
    progress: &Cell<usize>,
    f: impl Fn(usize) -> R,
) -> Result<ArrayRef, EvalError> {
    let mut builder = <ColumnOf<R> as Column>::Builder::with_capacity(rows);
    for row in 0..rows {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            builder.push_blank();
            continue;
        }
        progress.set(row);
        let value = f(row).returned();
        let value = value.map_err(|message| EvalError { row_index: row, message })?;
        builder.push(value.into_column());
    }
    let column = builder.finish();
    let Some(nulls) = nulls else { return Ok(column) };
    let nulls = NullBuffer::union(column.nulls(), Some(&nulls));
    let data = column.to_data().into_builder().nulls(nulls);
    Ok(make_array(data.build().expect("a bit for each value")))
}

/// What a function makes of columns.
type Eval = dyn Fn(&[ArrayRef], usize, &Cell<usize>) -> Result<ArrayRef, EvalError> + Send + Sync;

/// A function under construction.
pub(super) struct Draft {
    eval: Arc<Eval>,
    arguments: Vec<(DataType, bool)>,
    result: (DataType, bool),
    version: u64,
}

impl Draft {
    pub(super) fn new<S, F: ScalarFunction<S>>(function: F) -> Self {
        let eval: Arc<Eval> =
            Arc::new(move |args, rows, progress| function.eval(args, rows, progress));
        Self { eval, arguments: F::arguments(), result: F::result(), version: 1 }
    }

    /// The function called `name`.
    pub(super) fn function(&self, name: &str) -> ProgramFunction {
        let (name, eval) = (name.to_owned(), Arc::clone(&self.eval));
        let called = Called { name, version: self.version, eval };
        ProgramFunction {
            function: NativeFunction(Arc::new(called)),
            arguments: self.arguments.clone(),
            result: self.result,
        }
    }
}

/// A function by its name.
struct Called {
    name: String,
    version: u64,
    eval: Arc<Eval>,
}

impl Native for Called {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> Option<u64> {
        Some(self.version)
    }

    fn eval(
        &self,
        args: &[ArrayRef],
        rows: usize,
        progress: &Cell<usize>,
    ) -> Result<ArrayRef, EvalError> {
        let named = |error: EvalError| {
            let message = format!("{}: {}", self.name, error.message);
            EvalError { message, ..error }
        };
        (self.eval)(args, rows, progress).map_err(named)
    }
}

/// A function of a [`Session`](super::Session), which can be given a version.
pub struct Function<'s> {
    draft: &'s mut Draft,
}

impl fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("version", &self.draft.version).finish()
    }
}

impl<'s> Function<'s> {
    pub(super) fn of(draft: &'s mut Draft) -> Self {
        Self { draft }
    }

    /// To be changed when the function answers otherwise than before: a job whose state hangs on it then does not go on from an
    /// older one's, which is refused by name. At first it is 1.
    pub fn version(self, version: u64) -> Self {
        self.draft.version = version;
        self
    }
}
