//! From the options of a `WITH (…)` clause to a source or a sink.
//!
//! # Invariants
//!
//! 1. Connectors that Flink has and we have not are refused with the way to run the script on a file.

use std::sync::Arc;

use super::blackhole::Blackhole;
use super::datagen::GeneratorSource;
use super::filesystem::{FileSink, FileSource};
use super::option::{nearest, wrong_hint};
use super::print::{Output, PrintSink};
use super::socket::SocketSource;
use super::stdin::StdinSource;
use super::{Sink, Source};
use crate::batch::Schema;
use crate::error::OptionError;
use crate::format::{self, Options};

/// Connectors that can be read.
const SOURCES: [&str; 4] = ["filesystem", "stdin", "socket", "datagen"];
/// Connectors that can be written.
const SINKS: [&str; 3] = ["filesystem", "print", "blackhole"];
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
        "socket" => Arc::new(SocketSource::resolve(options, format()?)?),
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
    schema: &Schema,
    output: &Output,
) -> Result<Arc<dyn Sink>, OptionError> {
    Ok(match connector(options)? {
        "filesystem" => Arc::new(FileSink::new(options, format::resolve(options, None, schema)?)?),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{DataType, Field};
    use crate::connector::Style;

    fn source(pairs: &[(&str, &str)]) -> Result<Arc<dyn Source>, OptionError> {
        let options: Options =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        resolve_source(&options, &Schema::new(vec![Field::new("a", DataType::BigInt)]))
    }

    fn sink(pairs: &[(&str, &str)]) -> Result<Arc<dyn Sink>, OptionError> {
        let options: Options =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let schema = Schema::new(vec![Field::new("a", DataType::BigInt)]);
        resolve_sink("t", &options, &schema, &Output::new(Box::new(std::io::sink()), Style::Table))
    }

    #[test]
    fn every_connector_is_found() {
        let file = [("connector", "filesystem"), ("path", "x"), ("format", "json")];
        let socket =
            [("connector", "socket"), ("hostname", "h"), ("port", "1"), ("format", "json")];
        assert!(source(&file).unwrap().format().is_some());
        assert!(source(&[("connector", "stdin"), ("format", "csv")]).unwrap().format().is_some());
        assert!(source(&socket).is_ok());
        assert!(source(&[("connector", "datagen")]).unwrap().format().is_none());
        assert!(!sink(&file).unwrap().accepts_changes());
        assert!(sink(&[("connector", "print")]).unwrap().accepts_changes());
        assert!(sink(&[("connector", "blackhole")]).unwrap().accepts_changes());
    }

    #[test]
    fn others_are_refused_with_a_way_around() {
        let hint = |result: Result<(), OptionError>| result.unwrap_err().hint.unwrap();
        let source = |pairs: &[(&str, &str)]| source(pairs).map(|_| ());
        let sink = |pairs: &[(&str, &str)]| sink(pairs).map(|_| ());
        assert!(hint(source(&[])).contains("'connector' = "));
        assert_eq!(hint(source(&[("connector", "filesytem")])), "did you mean 'filesystem'?");
        let kafka = [("connector", "kafka"), ("topic", "x")];
        assert!(
            hint(source(&kafka))
                .contains("--table NAME.connector=filesystem --table NAME.path=FILE")
        );
        assert!(hint(sink(&kafka)).contains("--table NAME.path=FILE"));
        assert!(
            hint(source(&[("connector", "print")])).contains("filesystem, stdin, socket, datagen")
        );
        assert!(hint(sink(&[("connector", "datagen")])).contains("filesystem, print, blackhole"));
        assert!(hint(sink(&[("connector", "carrier-pigeon")])).contains("the connectors are"));
        assert_eq!(
            source(&[("connector", "filesystem"), ("path", "x")]).unwrap_err().key,
            "format"
        );
    }
}
