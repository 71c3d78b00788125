//! Flink SQL: the text of a script to a bound [`Plan`].
//!
//! ```text
//!   text ── syntax: tokens, statements with places ── bind: names, types, windows ── plan: optimised
//! ```
//!
//! What is accepted means what it means in Flink; anything else is refused here, before anything runs,
//! with its place and what to write instead. What only we accept is listed in
//! [`Script::flink_refusals`].
//!
//! # Invariants
//!
//! 1. No text panics or overflows the stack: nesting is bounded where it is parsed.
//! 2. Every statement is bound by itself: one error hides no other.
//! 3. No concrete connector is known here; [`Connectors`] makes them.

mod bind;
mod near;
mod program;
mod syntax;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::batch::Schema;
use crate::connector::{Sink, Source};
use crate::error::{OptionError, ScriptError};
use crate::format::Options;
use crate::plan::Plan;

pub use program::{Program, ProgramAggregate, ProgramFunction, ProgramTable};

/// A bound script.
#[derive(Debug)]
pub struct Script {
    /// The dataflow of all its queries. Empty if it only explains.
    pub plan: Plan,
    /// What has no effect here.
    pub warnings: Vec<ScriptError>,
    /// What a Flink would refuse: `check --flink` lists it.
    pub flink_refusals: Vec<ScriptError>,
    /// How many `print` tables are written, bare SELECTs included: output names its table where it is more than one.
    pub print_sink_count: usize,
    /// Whether a bare SELECT takes back what it has shown.
    pub select_changes: bool,
    /// The texts that EXPLAIN statements ask for, in order.
    pub explains: Vec<String>,
}

/// Makes sources and sinks from the options of a `WITH (…)` clause.
pub trait Connectors {
    /// A source of records of `schema`, the stored columns.
    ///
    /// # Errors
    ///
    /// Options that are missing, wrong or unknown.
    fn source(&self, options: &Options, schema: &Schema) -> Result<Arc<dyn Source>, OptionError>;

    /// The sink of the table named `table`, which takes rows of `schema`.
    ///
    /// # Errors
    ///
    /// Options that are missing, wrong or unknown.
    fn sink(
        &self,
        table: &str,
        options: &Options,
        schema: &Schema,
    ) -> Result<Arc<dyn Sink>, OptionError>;

    /// What a Flink would refuse of a table's options.
    fn flink_refusals(&self, options: &Options) -> Vec<OptionError> {
        let _ = options;
        Vec::new()
    }

    /// What the program gives besides.
    fn program(&self) -> &Program {
        Program::EMPTY
    }

    /// Where the rows of a bare SELECT go.
    fn select_sink(&self, schema: &Schema) -> Arc<dyn Sink>;
}

/// Binds the statements of `text` to one plan.
///
/// `overrides` are settings from the command line: they win over every SET of the script.
///
/// # Errors
///
/// All errors that could be found, in the order of the text.
pub fn bind_script(
    text: &str,
    catalog: &dyn Connectors,
    overrides: &[(String, String)],
) -> Result<Script, Vec<ScriptError>> {
    bind::bind_script(text, catalog, overrides)
}
