//! Calls of the program's functions: their arguments, as the types that they take.

use super::Notes;
use super::expression::{bind_all, bind_condition, placed};
use super::grouping::Aggregate;
use super::scope::Scope;
use crate::agg::AggregateFunction;
use crate::batch::DataType;
use crate::error::{ScriptError, Span};
use crate::expr::{self, Expr};
use crate::sql::ProgramAggregate;
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

/// A call of an aggregate over the columns of `scope`, and whether its result may be NULL.
pub(crate) fn aggregate(
    scope: &Scope,
    given: &ProgramAggregate,
    call: &Call,
    span: Span,
    notes: &mut Notes,
) -> Result<(Aggregate, bool), ScriptError> {
    let name = &call.name.name;
    if call.star {
        return Err(ScriptError::new(format!("{name} takes no *")).at(span));
    }
    if call.distinct {
        let message = format!("{name} is the program's own, and takes no DISTINCT");
        let hint = "group by the value in a subquery, or let the function keep what it has seen";
        return Err(ScriptError::new(message).at(span).hint(hint));
    }
    let args = bind_all(&call.args, &mut &*scope, notes)?;
    let args = arguments(call, args, &given.arguments, span)?;
    let filter = call.filter.as_ref();
    let filter = filter.map(|filter| bind_condition(filter, "FILTER", &mut &*scope, notes));
    let mut filter = filter.transpose()?;
    // As of ours, rows in which an argument is NULL do not count; those that an Option takes do.
    for (arg, (_, nullable)) in args.iter().zip(&given.arguments) {
        if !arg.nullable || *nullable {
            continue;
        }
        let counts = expr::call("IS NOT NULL", vec![arg.clone()]);
        let both = counts.and_then(|counts| match filter.take() {
            Some(filter) => expr::call("AND", vec![filter, counts]),
            None => Ok(counts),
        });
        filter = Some(both.map_err(|error| placed(error, span))?);
    }
    let (function, args) = (given.function.clone(), vec![given.record(args)]);
    let (data_type, nullable) = (function.0.data_type(), function.0.nullable());
    let function = AggregateFunction::User(function);
    let (distinct, separator, arg_type) = (false, String::new(), DataType::BYTES);
    let aggregate = Aggregate { function, args, distinct, filter, separator, arg_type, data_type };
    Ok((aggregate, nullable))
}
