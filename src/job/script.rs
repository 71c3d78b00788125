//! Binds a script against the connectors of this build.

use std::sync::Arc;

use crate::batch::Schema;
use crate::connector::{self, Output, PrintSink, Sink, Source, resolve_sink, resolve_source};
use crate::error::{OptionError, ScriptError};
use crate::format;
use crate::shard;
use crate::sql::{Connectors, Program, Script, bind_script};

/// The connectors of this build, printing to one output, and what a program gives.
struct Catalog<'a> {
    output: &'a Output,
    program: &'a Program,
}

impl Connectors for Catalog<'_> {
    fn source(
        &self,
        options: &format::Options,
        schema: &Schema,
    ) -> Result<Arc<dyn Source>, OptionError> {
        resolve_source(options, schema)
    }

    fn sink(
        &self,
        table: &str,
        options: &format::Options,
        schema: &Schema,
    ) -> Result<Arc<dyn Sink>, OptionError> {
        resolve_sink(table, options, schema, self.output)
    }

    fn flink_refusals(&self, options: &format::Options) -> Vec<OptionError> {
        connector::flink_refusals(options)
    }

    fn program(&self) -> &Program {
        self.program
    }

    fn select_sink(&self, _schema: &Schema) -> Arc<dyn Sink> {
        Arc::new(PrintSink::new("", self.output))
    }
}

/// Binds a script; its `print` tables and bare SELECTs print to `output`.
///
/// `overrides` are settings that win over the script's.
///
/// # Errors
///
/// Everything that is wrong with the script.
pub fn bind(
    text: &str,
    output: &Output,
    overrides: &[(String, String)],
) -> Result<Script, Vec<ScriptError>> {
    bind_with(text, output, overrides, Program::EMPTY)
}

/// The same with what a program gives.
pub(super) fn bind_with(
    text: &str,
    output: &Output,
    overrides: &[(String, String)],
    program: &Program,
) -> Result<Script, Vec<ScriptError>> {
    let script = bind_script(text, &Catalog { output, program }, overrides)?;
    shard::check(&script.plan).map_err(|error| vec![ScriptError::new(error.to_string())])?;
    Ok(script)
}
