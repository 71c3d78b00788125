//! Calls of the program's functions: their arguments, as the types that they take.

use crate::batch::DataType;
use crate::error::{ScriptError, Span};
use crate::expr::{self, Expr};
use crate::sql::syntax::ast::Call;

/// The arguments of a call as the types that the function takes.
pub(crate) fn arguments(
    call: &Call,
    args: Vec<Expr>,
    wanted: &[(DataType, bool)],
    span: Span,
) -> Result<Vec<Expr>, ScriptError> {
    let name = &call.name.name;
    if args.len() != wanted.len() {
        let plural = if wanted.len() == 1 { "argument" } else { "arguments" };
        let (wanted, given) = (wanted.len(), args.len());
        let message = format!("{name} takes {wanted} {plural}, not {given}");
        return Err(ScriptError::new(message).at(span));
    }
    let cast = |(index, (arg, &(target, _))): (usize, (Expr, &(DataType, bool)))| {
        let from = arg.data_type;
        expr::implicit_sink_cast(arg, target).map_err(|error| ScriptError {
            message: format!("argument {} of {name} is {target}, and this is {from}", index + 1),
            span: Some(call.args[index].span),
            hint: error.hint,
        })
    };
    args.into_iter().zip(wanted).enumerate().map(cast).collect()
}
