//! Scripts against a catalog that takes any option: what binds, what is refused, and where.

mod fuzz;
mod plans;
mod refusals;

use std::sync::Arc;

use super::{Connectors, Script, bind_script};
use crate::batch::Schema;
use crate::connector::{Sink, SinkPart, Source, Split};
use crate::error::{JobError, OptionError, ScriptError};
use crate::format::{Format, Options};
use crate::plan::assert_valid;

/// A connector that takes any option but `bad`.
#[derive(Debug)]
struct Fake {
    accepts_changes: bool,
}

impl Source for Fake {
    fn format(&self) -> Option<Arc<dyn Format>> {
        None
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(Vec::new())
    }
}

impl Sink for Fake {
    fn accepts_changes(&self) -> bool {
        self.accepts_changes
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Err(JobError::Internal("the fake sink writes nothing".into()))
    }
}

/// Makes [`Fake`]s.
pub(super) struct Catalog;

impl Connectors for Catalog {
    fn source(&self, options: &Options, _: &Schema) -> Result<Arc<dyn Source>, OptionError> {
        refuse_bad(options)?;
        Ok(Arc::new(Fake { accepts_changes: true }))
    }

    fn sink(&self, _: &str, options: &Options, _: &Schema) -> Result<Arc<dyn Sink>, OptionError> {
        refuse_bad(options)?;
        Ok(Arc::new(Fake {
            accepts_changes: options.get("connector").is_some_and(|c| c == "print"),
        }))
    }

    fn flink_refusals(&self, options: &Options) -> Vec<OptionError> {
        let ours = options.contains_key("ours").then(|| OptionError {
            key: "ours".into(),
            message: "is not Flink's".into(),
            hint: Some("leave it out".into()),
        });
        ours.into_iter().collect()
    }

    fn select_sink(&self, _: &Schema) -> Arc<dyn Sink> {
        Arc::new(Fake { accepts_changes: true })
    }
}

fn refuse_bad(options: &Options) -> Result<(), OptionError> {
    let refused = |key: &str, message: &str| {
        Err(OptionError { key: key.into(), message: message.into(), hint: None })
    };
    if !options.contains_key("connector") {
        return refused("connector", "is missing");
    }
    if options.contains_key("bad") { refused("bad", "is unknown") } else { Ok(()) }
}

pub(super) fn bind(text: &str) -> Result<Script, Vec<ScriptError>> {
    bind_script(text, &Catalog, &[])
}

/// Every case of `tests/golden` binds, or is refused where Flink refused it before it ran.
#[test]
fn flink_cases_bind_or_are_refused() {
    // Flink fails these while they run; refuses 066 and 067, which we run.
    let binds_here = ["052", "053", "055", "094", "066", "067"];
    let seen = check_cases("flink", &binds_here);
    assert!(seen >= 60, "only {seen} cases were found");
    let seen = check_cases("asked", &["notnullfail", "json7"]);
    assert!(seen >= 150, "only {seen} cases were found");
}

/// Binds the cases of one folder; how many there are.
fn check_cases(folder: &str, binds_here: &[&str]) -> usize {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the golden cases are there") {
        let path = entry.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(path.join("job.sql")) else { continue };
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let refused = path.join("error.txt").exists()
            && !binds_here.iter().any(|case| name.starts_with(case));
        match bind(&text) {
            Ok(script) => {
                assert!(!refused, "{name} binds, and Flink refuses it");
                assert_valid(&script.plan);
            }
            Err(errors) => {
                let shown: String = errors.iter().map(|error| error.render(&name, &text)).collect();
                assert!(refused, "{name} is refused:\n{shown}");
                let placed = errors.iter().all(|error| error.span.is_some());
                assert!(placed, "{name}: an error has no place:\n{shown}");
            }
        }
        seen += 1;
    }
    seen
}
