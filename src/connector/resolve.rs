//! From the options of a `WITH (…)` clause to a source or a sink.
//!
//! # Invariants
//!
//! 1. Connectors that Flink has and we have not are refused with the way to run the script on a file.

use std::sync::Arc;

use super::blackhole::Blackhole;
use super::datagen::GeneratorSource;
use super::filesystem::FileSource;
use super::option::{nearest, wrong_hint};
use super::print::{Output, PrintSink};
use super::stdin::StdinSource;
use super::{Sink, Source};
use crate::batch::Schema;
use crate::error::OptionError;
use crate::format::{self, Options};

/// Connectors that can be read.
const SOURCES: [&str; 3] = ["filesystem", "stdin", "datagen"];
/// Connectors that can be written.
const SINKS: [&str; 2] = ["print", "blackhole"];
/// Beginnings of the names of connectors that Flink has and that come later.
const LATER: [&str; 23] = [
    "kafka",
    "upsert-kafka",
    "pulsar",
    "upsert-pulsar",
    "kinesis",
    "firehose",
    "dynamodb",
    "jdbc",
    "mysql",
    "postgres",
    "oracle",
    "sqlserver",
    "mongodb",
    "elasticsearch",
    "opensearch",
    "hbase",
    "hive",
    "paimon",
    "iceberg",
    "hudi",
    "rabbitmq",
    "pubsub",
    "prometheus",
];

/// The source that the options of a table of `schema` (its physical columns) describe.
///
/// # Errors
///
/// The option that is missing, unknown or wrong, with what to write instead.
pub fn resolve_source(options: &Options, schema: &Schema) -> Result<Arc<dyn Source>, OptionError> {
    let format = || format::resolve(options, None, schema);
    Ok(match connector(options)? {
        "filesystem" => Arc::new(FileSource::resolve(options, format()?)?),
        "stdin" => Arc::new(StdinSource::resolve(options, format()?)?),
        "datagen" => Arc::new(GeneratorSource::resolve(options, schema)?),
        other => return Err(refuse(other, &SOURCES, &SINKS, "read")),
    })
}

/// The sink that the options of the table `table` (a name for messages and printed rows) describe; `output` is
/// where `print` tables print. To be called once for each INSERT and not otherwise: where several print, each row says its table.
///
/// # Errors
///
/// As [`resolve_source`].
pub fn resolve_sink(
    table: &str,
    options: &Options,
    _schema: &Schema,
    output: &Output,
) -> Result<Arc<dyn Sink>, OptionError> {
    Ok(match connector(options)? {
        "print" => Arc::new(PrintSink::resolve(table, options, output)?),
        "blackhole" => Arc::new(Blackhole::resolve(options)?),
        other => return Err(refuse(other, &SINKS, &SOURCES, "written")),
    })
}

/// The name of the connector.
fn connector(options: &Options) -> Result<&str, OptionError> {
    options.get("connector").map(String::as_str).ok_or_else(|| {
        let hint = "add 'connector' = 'filesystem' (or another) to the WITH clause";
        wrong_hint("connector", "the table does not say where its rows are", hint)
    })
}

/// Why `name` is none of the connectors that can be `used` ("read" or "written").
fn refuse(name: &str, known: &[&str], otherwise: &[&str], used: &str) -> OptionError {
    let list = known.join(", ");
    if otherwise.contains(&name) {
        let message = format!("a '{name}' table cannot be {used}");
        return wrong_hint(
            "connector",
            message,
            format!("tables that can be {used} have one of the connectors {list}"),
        );
    }
    if LATER.iter().any(|later| name.starts_with(later)) {
        let message = format!("the connector '{name}' comes later");
        let hint =
            "--table NAME.connector=filesystem --table NAME.path=FILE runs the script on a file";
        return wrong_hint("connector", message, hint);
    }
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("the connectors are {list}"),
    };
    wrong_hint("connector", format!("there is no connector '{name}'"), hint)
}
