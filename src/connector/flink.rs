//! What Flink's own connectors and formats would refuse in a table that we take: `check --flink` lists it.
//!
//! # Invariants
//!
//! 1. An option that is ours alone is in [`OURS`]: a portable script must not come as a surprise.

use super::option::wrong_hint;
use crate::error::OptionError;
use crate::format::Options;

/// Our own options, by the value of `connector` or `format` that they go with.
const OURS: [(&str, &[&str]); 3] = [
    ("datagen", &["seed", "timestamp-origin", "profile", "rate", "devices", "pages", "late-ppm"]),
    ("filesystem", &["sink.changelog", "sink.overwrite"]),
    ("csv", &["csv.header", "csv-header"]),
];

/// What a Flink would refuse of a table's options; tables of connectors that we do not know are not judged.
pub fn flink_refusals(options: &Options) -> Vec<OptionError> {
    let connector = options.get("connector").map_or("", String::as_str);
    let format = options.get("format").map_or("", String::as_str);
    let mut refusals = Vec::new();
    match connector {
        "stdin" => {
            let hint = "write a table of Flink's, and say --table NAME.connector=stdin here";
            refusals.push(wrong_hint("connector", "Flink has no connector 'stdin'", hint));
        }
        "socket" => {
            let message =
                "the connector 'socket' is an example in Flink's documentation, and not part of it";
            let hint = "build the example for Flink, or write a table of Flink's and say --table NAME.connector=socket here";
            refusals.push(wrong_hint("connector", message, hint));
        }
        _ => {}
    }
    if format == "rkyv" {
        let hint = "write 'json' or 'csv', and say --table NAME.format=rkyv here";
        refusals.push(wrong_hint("format", "Flink has no format 'rkyv'", hint));
    }
    let ours = OURS.iter().filter(|(of, _)| [connector, format].contains(of));
    for (of, key) in ours.flat_map(|(of, keys)| keys.iter().map(move |key| (of, *key))) {
        if options.contains_key(key) {
            let message = format!("Flink's {of} has no such option");
            let hint = format!("leave it out, and say --table NAME.{key}=… here");
            refusals.push(wrong_hint(key, message, hint));
        }
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &[(&str, &str)]) -> Vec<String> {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        flink_refusals(&options.collect()).into_iter().map(|refusal| refusal.key).collect()
    }

    #[test]
    fn only_what_is_ours_is_refused() {
        let none: [&str; 0] = [];
        assert_eq!(
            refused(&[("connector", "filesystem"), ("format", "csv"), ("csv.null-literal", "NA")]),
            none
        );
        assert_eq!(refused(&[("connector", "kafka"), ("profile", "clicks")]), none);
        assert_eq!(
            refused(&[("connector", "datagen"), ("profile", "clicks"), ("number-of-rows", "1")]),
            ["profile"]
        );
        assert_eq!(
            refused(&[("connector", "stdin"), ("format", "csv"), ("csv-header", "true")]),
            ["connector", "csv-header"]
        );
        assert_eq!(refused(&[("connector", "socket"), ("format", "json")]), ["connector"]);
        assert_eq!(refused(&[("connector", "filesystem"), ("format", "rkyv")]), ["format"]);
    }
}
