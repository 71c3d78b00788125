//! Golden cases through the typed builder: the same rows that Flink emitted, from a job over the case's input as records.
//!
//! Every case of `tests/golden/` is one of the twins below, or stands in `tests/twins/without.md` with the reason why it has none.

mod cases;
mod twins {
    //! The twins, by what they compute.

    mod asked;
    mod chained;
    mod functions;
    mod input;
    mod sets;
    mod shapes;
    mod whole;

    pub(crate) use input::{Input, Show, Shown};

    /// The cells of a row.
    macro_rules! cells {
        ($($cell:expr),* $(,)?) => { vec![$(serde_json::json!($cell)),*] };
    }
    use cells;

    /// Makes the job, over these rows, into that sink.
    pub(crate) type Twin = fn(&Input, &Shown) -> tidemill::Job;

    /// All twins.
    pub(crate) fn all() -> impl Iterator<Item = (&'static str, Twin)> {
        [whole::TWINS, whole::FIRED, asked::TWINS, sets::TWINS, chained::TWINS].concat().into_iter()
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cases::{canonical, cases, differences, expected};
use tidemill::Options;
use tidemill::job::RuntimeKind;
use twins::{Input, Shown, Twin};

fn name(case: &Path) -> &str {
    case.file_name().unwrap().to_str().unwrap()
}

fn check(case: &Path, twin: Twin, block_rows: usize, options: Options) -> Result<(), String> {
    let (input, shown) = (Input::new(case, block_rows), Shown::new(case));
    let job = twin(&input, &shown);
    let failure = job.run(options.clone()).err();
    let name = name(case);
    if case.join("error.txt").exists() != failure.is_some() {
        return Err(format!("{name} at {options:?}: {failure:?}"));
    }
    let (ours, flinks) = (canonical(&shown.rows()), canonical(&expected(case)));
    if ours != flinks {
        let [ours, flinks] = [ours, flinks].map(|rows| rows.join("\n    "));
        return Err(format!("{name} at {options:?}:\n    {ours}\n  Flink's:\n    {flinks}"));
    }
    Ok(())
}

/// Checks every twin, and fails with all that are wrong.
fn check_all(block_rows: usize, options: &Options) {
    let cases: BTreeMap<String, PathBuf> =
        cases().into_iter().map(|case| (name(&case).to_owned(), case)).collect();
    let checked = twins::all().map(|(name, twin)| {
        let run = || check(&cases[name], twin, block_rows, options.clone());
        std::panic::catch_unwind(run).unwrap_or_else(|_| Err(format!("{name} panicked")))
    });
    let wrong: Vec<String> = checked.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} twins are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn rows_are_flinks_at_several_shard_counts() {
    for shards in [1, 3] {
        let options = Options::default().shards(shards).runtime(RuntimeKind::Poll);
        check_all(4, &options);
    }
}

#[test]
fn rows_are_flinks_under_shuffled_schedules() {
    for seed in 0..2 {
        let options = Options::default().shards(2 + seed as usize).runtime(RuntimeKind::Sim(seed));
        check_all(1, &options);
    }
}

/// The cases that are listed with a reason for having no twin.
fn without() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twins/without.md");
    let text = std::fs::read_to_string(path).unwrap();
    let lists = text.lines().filter_map(|line| line.strip_prefix("- `"));
    lists.filter_map(|line| line.split_once("`: ")).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_case_has_a_twin_or_a_reason() {
    let cases: BTreeSet<String> = cases().iter().map(|case| name(case).to_owned()).collect();
    let mut seen = BTreeSet::new();
    let reasoned = without().into_iter().chain(differences().into_keys());
    for name in twins::all().map(|(name, _)| name.to_owned()).chain(reasoned) {
        assert!(cases.contains(&name), "{name} is no case");
        assert!(seen.insert(name.clone()), "{name} stands twice");
    }
    let missing: Vec<&String> = cases.difference(&seen).collect();
    assert!(
        missing.is_empty(),
        "neither a twin nor a reason in tests/twins/without.md: {missing:?}"
    );
    eprintln!("{} of {} cases have a twin", twins::all().count(), cases.len());
}
