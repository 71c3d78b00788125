//! Windows: the table functions TUMBLE, HOP, CUMULATE, SESSION, and the older group windows.

use super::expression::bind;
use super::query::{Ctes, From, Output, Relation};
use super::scope::Scope;
use super::script::Binder;
use crate::batch::{DataType, Field, TimeAttribute};
use crate::error::{ScriptError, Span};
use crate::expr::{ExprKind, Value};
use crate::plan::{Op, window_fields};
use crate::sql::syntax::ast::{self, Call, Ident, WindowCall};
use crate::window::{TimeDomain, WindowKind, WindowSpec};

/// The window that an earlier window function attached to the rows, and the columns that show it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Carried {
    pub(crate) spec: WindowSpec,
    pub(crate) starts: Vec<usize>,
    pub(crate) ends: Vec<usize>,
    pub(crate) times: Vec<usize>,
    /// The type of `window_time`.
    pub(crate) time_type: DataType,
    /// Of sessions: the columns of PARTITION BY, while all of them are there.
    pub(crate) partition: Option<Vec<usize>>,
}

impl Carried {
    /// The same window behind a projection; `None` if its start or end is not projected.
    pub(crate) fn through(&self, outputs: &[Output]) -> Option<Carried> {
        let shows = |sources: &[usize]| -> Vec<usize> {
            let shown = outputs.iter().enumerate().filter(|(_, output)| {
                output.expr.as_column().is_some_and(|column| sources.contains(&column))
            });
            shown.map(|(index, _)| index).collect()
        };
        let place = |column: &usize| {
            outputs.iter().position(|output| output.expr.as_column() == Some(*column))
        };
        let partition =
            self.partition.as_ref().and_then(|partition| partition.iter().map(place).collect());
        let carried = Carried {
            partition,
            starts: shows(&self.starts),
            ends: shows(&self.ends),
            times: shows(&self.times),
            ..self.clone()
        };
        (!carried.starts.is_empty() && !carried.ends.is_empty()).then_some(carried)
    }
}

/// A window function over a relation whose columns `window_start`, `window_end`, `window_time` follow the input's.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) spec: WindowSpec,
    pub(crate) partition_by: Vec<usize>,
    /// How many columns the input has.
    pub(crate) width: usize,
}

/// The type of `window_time` for a time column of this type.
pub(crate) fn window_time_type(data_type: DataType) -> DataType {
    if matches!(data_type, DataType::TimestampLtz(_)) {
        DataType::TimestampLtz(3)
    } else {
        DataType::Timestamp(3)
    }
}

/// The window without its time column, which means nothing behind a projection.
pub(crate) fn without_column(spec: &WindowSpec) -> WindowSpec {
    WindowSpec { time_column: 0, ..spec.clone() }
}

impl Binder<'_> {
    /// A window function in FROM.
    pub(crate) fn window_call(
        &mut self,
        call: &WindowCall,
        ctes: &Ctes,
    ) -> Result<From, ScriptError> {
        let input = self.from(&call.input, ctes)?;
        let mut relation = self.materialise(input)?;
        self.refuse_changes(&relation, call.span)?;
        let time_column = relation.scope.find_ident(&call.time)?;
        let partition_by = call
            .partition_by
            .iter()
            .map(|column| relation.scope.find_ident(column))
            .collect::<Result<Vec<_>, _>>()?;
        let name = call.function.name.to_ascii_uppercase();
        if !partition_by.is_empty() && name != "SESSION" {
            return Err(ScriptError::new(format!("{name} takes no PARTITION BY"))
                .at(call.partition_by[0].span)
                .hint("write the columns in GROUP BY"));
        }
        let kind = self.function_kind(call, &name, &relation.scope)?;
        let spec = self.spec(kind, &relation.scope, time_column, call.time.span, false)?;
        let width = relation.scope.fields.len();
        let time_type = window_time_type(relation.scope.fields[time_column].data_type);
        relation.scope.fields.extend(window_fields(time_type, spec.domain));
        relation.window = None;
        relation.scope.qualifier = None;
        Ok(From { relation, pending: Some(Pending { spec, partition_by, width }) })
    }

    /// The operator of a window function that nothing aggregates.
    pub(crate) fn materialise(&mut self, from: From) -> Result<Relation, ScriptError> {
        let From { mut relation, pending } = from;
        let Some(pending) = pending else { return Ok(relation) };
        let window = pending.spec.clone();
        let time_type = relation.scope.fields[pending.width + 2].data_type;
        let partition_by = pending.partition_by.clone();
        let op = Op::WindowTable { input: relation.node, window, partition_by };
        relation.node = self.add(op, relation.scope.fields.clone());
        relation.window = Some(Carried {
            spec: without_column(&pending.spec),
            partition: Some(pending.partition_by.clone()),
            starts: vec![pending.width],
            ends: vec![pending.width + 1],
            times: vec![pending.width + 2],
            time_type,
        });
        Ok(relation)
    }

    /// Updates cannot be windowed again.
    pub(crate) fn refuse_changes(
        &self,
        relation: &Relation,
        span: Span,
    ) -> Result<(), ScriptError> {
        if !relation.changes {
            return Ok(());
        }
        Err(ScriptError::new("this reads a window's early or late results, which are updates, and windows take only inserts")
            .at(span)
            .hint("switch early and late firing off for this query, or SET 'tidemill.emit.mode' = 'discarding'"))
    }

    /// Checks the time column and puts the window together.
    pub(crate) fn spec(
        &mut self,
        kind: WindowKind,
        scope: &Scope,
        time_column: usize,
        span: Span,
        group_window: bool,
    ) -> Result<WindowSpec, ScriptError> {
        let field = &scope.fields[time_column];
        let domain = match field.time_attribute {
            Some(TimeAttribute::Rowtime) => TimeDomain::Event,
            Some(TimeAttribute::Proctime) => TimeDomain::Processing,
            None => return Err(no_time_attribute(field, span)),
        };
        let local = matches!(field.data_type, DataType::TimestampLtz(_));
        let time_zone = local.then(|| self.configuration.time_zone());
        Ok(WindowSpec { kind, domain, time_column, time_zone, group_window })
    }

    /// The kind of a window function's window, from its arguments.
    fn function_kind(
        &mut self,
        call: &WindowCall,
        name: &str,
        scope: &Scope,
    ) -> Result<WindowKind, ScriptError> {
        let parameters: &[&str] = match name {
            "TUMBLE" => &["SIZE", "OFFSET"],
            "HOP" => &["SLIDE", "SIZE", "OFFSET"],
            "CUMULATE" => &["STEP", "SIZE", "OFFSET"],
            _ => &["GAP"],
        };
        let values = self.arguments(call, name, parameters, scope)?;
        let ms = |index: usize| values.get(index).copied().flatten().map_or(0, |(ms, _)| ms);
        let span_of = |index: usize| values[index].map_or(call.span, |(_, span)| span);
        let kind = match name {
            "TUMBLE" => WindowKind::Tumble { size_ms: ms(0), offset_ms: ms(1) },
            // Windows begin every so often: a longer offset is a shorter one.
            "HOP" => WindowKind::Hop { slide_ms: ms(0), size_ms: ms(1), offset_ms: ms(2) % ms(0) },
            "CUMULATE" => {
                let (step_ms, size_ms) = (ms(0), ms(1));
                WindowKind::Cumulate { step_ms, size_ms, offset_ms: ms(2) % size_ms }
            }
            _ => return Ok(WindowKind::Session { gap_ms: ms(0) }),
        };
        if name == "TUMBLE" && ms(1).unsigned_abs() >= ms(0).unsigned_abs() {
            return Err(ScriptError::new(
                "the offset of TUMBLE is less than its size, as in Flink",
            )
            .at(span_of(1)));
        }
        if matches!(name, "HOP" | "CUMULATE") && ms(1) % ms(0) != 0 {
            let part = parameters[0].to_lowercase();
            let message =
                format!("{name}'s size, {} ms, is no multiple of its {part}, {} ms", ms(1), ms(0));
            return Err(ScriptError::new(message).at(span_of(1)).hint(
                "as in Flink; the arguments are first the smaller interval, then the larger",
            ));
        }
        Ok(kind)
    }

    /// The milliseconds and places of a window function's intervals, one for each parameter.
    fn arguments(
        &mut self,
        call: &WindowCall,
        name: &str,
        parameters: &[&str],
        scope: &Scope,
    ) -> Result<Vec<Option<(i64, Span)>>, ScriptError> {
        let mut values: Vec<Option<(i64, Span)>> = vec![None; parameters.len()];
        for (position, (argument, expr)) in call.args.iter().enumerate() {
            let slot = match argument {
                Some(argument) => parameter(parameters, argument, name)?,
                None if position < parameters.len() => position,
                None => {
                    return Err(ScriptError::new(format!(
                        "{name} takes {} intervals at most",
                        parameters.len()
                    ))
                    .at(expr.span)
                    .hint(usage(name)));
                }
            };
            if values[slot].is_some() {
                return Err(
                    ScriptError::new(format!("{} is given twice", parameters[slot])).at(expr.span)
                );
            }
            let ms = self.interval_ms(expr, parameters[slot], scope)?;
            if ms <= 0 && parameters[slot] != "OFFSET" {
                let message = format!("a window's {} is more than zero", parameters[slot]);
                return Err(ScriptError::new(message).at(expr.span));
            }
            values[slot] = Some((ms, expr.span));
        }
        let mut required =
            parameters.iter().zip(&values).filter(|(parameter, _)| **parameter != "OFFSET");
        match required.find(|(_, value)| value.is_none()) {
            Some((parameter, _)) => Err(ScriptError::new(format!("{name} lacks its {parameter}"))
                .at(call.span)
                .hint(usage(name))),
            None => Ok(values),
        }
    }

    /// The milliseconds of an interval argument.
    fn interval_ms(
        &mut self,
        expr: &ast::Expr,
        what: &str,
        scope: &Scope,
    ) -> Result<i64, ScriptError> {
        let bound = bind(expr, &mut &*scope, &mut self.notes)?;
        let wrong = |message: String| {
            ScriptError::new(message).at(expr.span).hint("write INTERVAL '10' SECOND")
        };
        match (&bound.kind, bound.data_type) {
            (ExprKind::Literal(Value::Int(ms)), DataType::IntervalDay) => {
                if ms.unsigned_abs() > i64::MAX as u64 / 4 {
                    return Err(wrong(format!("the window's {what} is too long")));
                }
                Ok(*ms)
            }
            (_, DataType::IntervalMonth) => Err(wrong(format!(
                "the window's {what} is in months, which have no fixed length; days, hours, minutes and seconds have"
            ))),
            (_, DataType::IntervalDay) => {
                Err(wrong(format!("the window's {what} is an interval literal")))
            }
            (_, other) => {
                Err(wrong(format!("the window's {what} is an interval, and this is {other}")))
            }
        }
    }

    /// `TUMBLE(ts, INTERVAL …)` in GROUP BY.
    pub(crate) fn group_window(
        &mut self,
        call: &Call,
        span: Span,
        scope: &Scope,
    ) -> Result<WindowSpec, ScriptError> {
        let name = call.name.name.to_ascii_uppercase();
        let count = if name == "HOP" { 3 } else { 2 };
        if call.args.len() != count || call.star || call.distinct || call.filter.is_some() {
            let example = match name.as_str() {
                "HOP" => "HOP(ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND)",
                "SESSION" => "SESSION(ts, INTERVAL '5' SECOND)",
                _ => "TUMBLE(ts, INTERVAL '10' SECOND)",
            };
            return Err(ScriptError::new(format!(
                "the group window {name} takes {count} arguments"
            ))
            .at(span)
            .hint(format!("write {example}; offsets are for TABLE({name}(…))")));
        }
        let ast::ExprKind::Column(column) = &call.args[0].kind else {
            return Err(ScriptError::new("a group window's first argument is a time column")
                .at(call.args[0].span));
        };
        let time_column = scope.find(column)?;
        let mut sizes = Vec::new();
        for arg in &call.args[1..] {
            let ms = self.interval_ms(arg, "length", scope)?;
            if ms <= 0 {
                return Err(ScriptError::new("a window's length is more than zero").at(arg.span));
            }
            sizes.push(ms);
        }
        let kind = match name.as_str() {
            "TUMBLE" => WindowKind::Tumble { size_ms: sizes[0], offset_ms: 0 },
            "HOP" => WindowKind::Hop { slide_ms: sizes[0], size_ms: sizes[1], offset_ms: 0 },
            _ => WindowKind::Session { gap_ms: sizes[0] },
        };
        self.spec(kind, scope, time_column, call.args[0].span, true)
    }
}

fn no_time_attribute(field: &Field, span: Span) -> ScriptError {
    let error = ScriptError::new(format!(
        "the column '{}' drives no window: it is {} and no time attribute",
        field.name, field.data_type
    ))
    .at(span);
    if field.data_type.is_timestamp() {
        error.hint(
            "declare WATERMARK FOR it in CREATE TABLE; a CAST, a function or a join loses the watermark, \
             and window_time, not window_end, carries it on",
        )
    } else {
        error.hint("compute a TIMESTAMP(3) column in CREATE TABLE and declare WATERMARK FOR it, or use PROCTIME()")
    }
}

fn parameter(parameters: &[&str], argument: &Ident, name: &str) -> Result<usize, ScriptError> {
    let found =
        parameters.iter().position(|parameter| argument.name.eq_ignore_ascii_case(parameter));
    found.ok_or_else(|| {
        ScriptError::new(format!("{name} has no argument {}", argument.name))
            .at(argument.span)
            .hint(format!("its arguments are DATA, TIMECOL, {}", parameters.join(", ")))
    })
}

fn usage(name: &str) -> &'static str {
    match name {
        "TUMBLE" => "write TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset])",
        "HOP" => "write HOP(TABLE t, DESCRIPTOR(ts), slide, size [, offset])",
        "CUMULATE" => "write CUMULATE(TABLE t, DESCRIPTOR(ts), step, size [, offset])",
        _ => "write SESSION(TABLE t [PARTITION BY k], DESCRIPTOR(ts), gap)",
    }
}
