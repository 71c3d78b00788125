//! Scalar functions in Rust, called from SQL.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::error::Class;
use tidemill::{Options, Records, Session};

use super::events::{Event, SECONDS, Written, events, mistake, nothing, second};

fn initial(name: &str) -> Option<String> {
    name.chars().next().map(String::from)
}

fn mixed(key: u32, amount: i64, note: Option<i64>) -> i64 {
    i64::from(key) * 1000 + amount * 10 + note.unwrap_or(-7)
}

fn with_functions(written: &Written) -> Session {
    let mut session = written.session();
    session.function("first_letter", initial);
    session.function("mixed", mixed);
    session.function("doubled", |n: i64| n * 2);
    session.function("spread", |a: i64, b: i64, c: i64, d: i64| {
        a.max(b).max(c.max(d)) - a.min(b).min(c.min(d))
    });
    session.function("is_short", |name: &str, most: i32| name.len() <= most as usize);
    session
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// In SELECT lists, within each other and within ours; NULL where an argument that is no Option is.
    #[test]
    fn values_are_what_the_functions_say(events in events()) {
        type Line = (Option<String>, i64, Option<i64>, i64, Option<bool>);
        let written = Written::new(&events);
        let session = with_functions(&written);
        let text = "SELECT first_letter(name), MIXED(k, amount, note), doubled(note + doubled(1)), spread(amount, k, 1, -1), \
                    is_short(CASE WHEN note > 0 THEN name END, 3) FROM events WHERE is_short(name, 9)";
        let line = |event: &Event| -> Line {
            let all = [event.amount, i64::from(event.key), 1, -1];
            (
                initial(&event.name),
                mixed(event.key, event.amount, event.note),
                event.note.map(|note| (note + 2) * 2),
                all.iter().max().unwrap() - all.iter().min().unwrap(),
                event.note.filter(|note| *note > 0).map(|_| event.name.len() <= 3),
            )
        };
        let mut expected: Vec<Line> = events.iter().filter(|event| event.name.len() <= 9).map(line).collect();
        expected.sort();
        prop_assert_eq!(written.rows::<Line>(&session, text), expected);
    }

    /// As a key, in an aggregate's argument and FILTER, in HAVING, and over results.
    #[test]
    fn groups_are_what_the_functions_say(events in events()) {
        type Line = (Option<String>, i64, Option<i64>, i64);
        let written = Written::new(&events);
        let session = with_functions(&written);
        let text = "SELECT first_letter(name), window_start, doubled(SUM(doubled(amount))), COUNT(*) FILTER (WHERE is_short(name, 5)) \
                    FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND)) \
                    GROUP BY first_letter(name), window_start, window_end HAVING doubled(COUNT(*)) > 2";
        let mut groups = BTreeMap::new();
        for event in &events {
            let group = groups.entry((initial(&event.name), second(event))).or_insert((0, 0, 0));
            group.0 += 1;
            group.1 += event.amount * 4;
            group.2 += i64::from(event.name.len() <= 5);
        }
        let groups = groups.into_iter().filter(|(_, group)| group.0 > 1);
        let expected = groups.map(|((name, start), (_, sum, short))| (name, start, Some(sum), short));
        prop_assert_eq!(written.rows::<Line>(&session, text), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_function_that_panics_is_named() {
    let mut session = Session::new();
    session.table("t", Records::new(0..100_i64)).column("n", |n| *n);
    session.function("picky", |n: i64| -> i64 {
        assert!(n != 42, "not that");
        n
    });
    let rows = |text: &str| {
        let rows = session.query(text).unwrap().rows::<i64>(Options::default().shards(2)).unwrap();
        rows.collect::<Result<Vec<_>, _>>()
    };
    let error = rows("SELECT picky(n) FROM t").unwrap_err().to_string();
    assert!(error.ends_with("picky panicked: not that"), "{error}");
    let guarded = rows("SELECT CASE WHEN n = 42 THEN 0 ELSE picky(n) END FROM t").unwrap();
    assert_eq!(guarded.len(), 100);
}

/// An error is that of its row: those before it come, and a row that is not asked for has none. NULL is not asked.
#[test]
fn an_error_ends_the_job_at_its_row() {
    let mut session = Session::new();
    let texts = (0..5000).map(|n| if n == 4321 { "x".to_owned() } else { n.to_string() });
    session
        .table("t", Records::new(texts))
        .text("s", |s| s)
        .column("maybe", |s| (s.len() > 3).then(|| s.to_string()));
    session.function("parsed", |s: &str| s.parse::<i64>());
    session.function("parsed_or_null", |s: &str| -> Result<Option<i64>, String> {
        if s == "x" { Err(format!("'{s}' is no number")) } else { Ok(s.parse().ok()) }
    });
    let query = |text: &str| session.query(text).unwrap();
    let options = || Options::default().shards(1);
    let mut rows = query("SELECT parsed(s) FROM t").rows::<i64>(options()).unwrap();
    let good: Vec<i64> = rows.by_ref().map_while(Result::ok).collect();
    assert!(good.into_iter().eq(0..4321));
    let error = query("SELECT parsed_or_null(s) FROM t").for_each(|_, _: Option<i64>| {});
    let error = error.unwrap().run(Options::default().shards(2)).unwrap_err();
    assert_eq!(error.class(), Class::User);
    assert!(error.to_string().contains(", record 4322 of t: "), "{error}");
    assert!(error.to_string().ends_with("parsed_or_null: 'x' is no number"), "{error}");
    let rows = query("SELECT parsed(maybe) FROM t WHERE CHAR_LENGTH(s) > 1")
        .rows::<Option<i64>>(options());
    let rows = rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!((rows.len(), rows.iter().flatten().count()), (4989, 3999));
}

#[test]
fn an_argument_out_of_range_is_named() {
    let mut session = Session::new();
    session.table("t", Records::new([1_i64, -1])).column("n", |n| *n);
    session.function("half", |n: u32| n / 2);
    let query = session.query("SELECT half(n) FROM t").unwrap();
    let mut rows = query.rows::<u32>(Options::default()).unwrap();
    let error = rows.find_map(Result::err).unwrap().to_string();
    assert!(error.ends_with("argument 1 is not in the range of its type"), "{error}");
}

#[test]
fn mistakes_in_calls_have_their_places() {
    let written = nothing();
    let session = with_functions(&written);
    let refused = |text: &str| mistake(session.query(text));
    assert_eq!(
        refused("SELECT k,\n first_letter(name, 1) FROM events"),
        "2:2: first_letter takes 1 argument, not 2"
    );
    assert_eq!(
        refused("SELECT first_letter() FROM events"),
        "1:8: first_letter takes 1 argument, not 0"
    );
    assert_eq!(
        refused("SELECT is_short(name, amount) FROM events"),
        "1:23: argument 2 of is_short is INT, and this is BIGINT"
    );
    assert_eq!(
        refused("SELECT first_letter(k) FROM events"),
        "1:21: argument 1 of first_letter is STRING, and this is BIGINT"
    );
    assert_eq!(
        refused("SELECT first_letter(DISTINCT name) FROM events"),
        "1:8: FIRST_LETTER is no aggregate, so it takes no DISTINCT"
    );
    assert_eq!(
        refused("SELECT first_leter(name) FROM events"),
        "1:8: there is no function FIRST_LETER"
    );
}

#[test]
fn names_that_are_taken_are_refused() {
    let refused = |names: &[&str]| {
        let mut session = Session::new();
        session.table("t", Records::new(0..3_i64)).column("n", |n| *n);
        names.iter().for_each(|name| {
            session.function(*name, |n: i64| n);
        });
        mistake(session.query("SELECT n FROM t"))
    };
    for taken in ["upper", "Count", "TUMBLE", "case", "array_agg", "md5", "from", "initial"] {
        assert_eq!(refused(&[taken]), format!("the function '{taken}' has a name of SQL's own"));
    }
    assert_eq!(refused(&["f", "F"]), "there are two functions 'F'");
    assert_eq!(refused(&["two words"]), "'two words' is no name for a function");
}

/// A sum hangs on the function, a filter too; of another version they are others.
#[test]
fn a_function_of_another_version_does_not_go_on() {
    let written = Written::new(&[]);
    let folder = tempfile::tempdir().unwrap();
    let run = |version: u64| {
        let mut session = written.session();
        session.function("weight", |n: i64| n * 3).version(version);
        let text = format!("SELECT k, SUM(weight(amount)) {SECONDS}");
        let job = session.query(&text).unwrap().for_each(|_, _: (u32, Option<i64>)| {}).unwrap();
        job.run(Options::default().shards(1).state(folder.path().join("state")))
    };
    run(1).unwrap();
    run(1).unwrap();
    let error = run(2).unwrap_err().to_string();
    assert!(error.contains("weight@1") && error.contains("weight@2"), "{error}");
}
