//! Every public item has an example in its own documentation, or is shown in one of another's.
//!
//! What the documentation hides is no part of the library. A type, a function or a constant is shown where its name stands in an example,
//! a method where it is called or written. Whose method it is nobody asks, so a name that several share is shown for all.

#[path = "documented/examples.rs"]
mod examples;
#[path = "documented/surface.rs"]
mod surface;

use examples::{Examples, blocks};
use surface::{Public, surface};

#[test]
fn every_public_item_is_shown() {
    let (items, examples) = (surface(), Examples::read());
    let missing = items.iter().filter(|item| !item.has_example && !examples.show(item));
    let missing: Vec<String> = missing.map(Public::to_string).collect();
    let (count, missing_count) = (items.len(), missing.len());
    assert!(
        missing.is_empty(),
        "{missing_count} of {count} are shown nowhere:\n{}",
        missing.join("\n")
    );
}

#[test]
fn what_is_public_is_found() {
    let paths: Vec<String> = surface().iter().map(Public::to_string).collect();
    let has = |path: &str| paths.iter().any(|own| own == path);
    for public in [
        "batch::RowKind", // Re-exported from a hidden folder.
        "error::JobError::class",
        "job::draft::Job",
        "job::session::query::Query::rows",
        "job::sink::connector::SinkWriter::change",
        "job::stream::Stream::flat_map",
    ] {
        assert!(has(public), "{public}");
    }
    for other in ["job::draft::Job::add", "job::field::Column::read", "op::Payload", "shard::Job"] {
        assert!(!has(other), "{other}");
    }
}

#[test]
fn what_is_shown_is_told_from_what_is_not() {
    let text = " Prose: hidden_word.\n ```\n use shown::Type;\n # concealed();\n thing.method(\"a\");\n ```\n ```text\n drawn\n ```\n";
    let [block] = &blocks(text)[..] else { panic!("one block runs") };
    let mut examples = Examples::default();
    examples.add(block);
    let shows = |name: &str, is_associated: bool| {
        let (path, name) = (name.to_owned(), name.to_owned());
        examples.show(&Public { path, name, is_associated, has_example: false })
    };
    assert!(shows("Type", false) && shows("method", true) && shows("thing", false));
    assert!(!shows("thing", true), "it is no method");
    for absent in ["hidden_word", "concealed", "drawn"] {
        assert!(!shows(absent, false), "{absent}");
    }
}
