//! What is refused, where the caret stands, and that every refusal of a construct says what to write instead.

use super::{Catalog, bind};
use crate::error::ScriptError;
use crate::sql::bind_script;

/// A table with a rowtime `ts`, one with a processing time `p`, and a sink.
const TABLES: &str = "\
CREATE TABLE src (ts TIMESTAMP(3), k STRING, v INT, d DECIMAL(10, 2), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'x');
CREATE TABLE pt (k STRING, v INT, p AS PROCTIME()) WITH ('connector' = 'x');
CREATE TABLE out1 (k STRING, c BIGINT) WITH ('connector' = 'print');
";

/// The errors of `sql` behind [`TABLES`], with lines counted from 1 there.
pub(super) fn errors(sql: &str) -> Vec<ScriptError> {
    let mut errors = bind(&format!("{TABLES}{sql}")).err().unwrap_or_default();
    for error in &mut errors {
        if let Some(span) = &mut error.span {
            span.line -= 3;
        }
    }
    errors
}

/// The one error of `sql`: a part of its message, and the text under the caret.
fn refused(sql: &str, message: &str, marked: &str) {
    let errors = errors(sql);
    let [error] = errors.as_slice() else { panic!("{sql}\nhas the errors {errors:#?}") };
    assert!(error.message.contains(message), "{sql}\nis refused by: {}", error.message);
    let span = error.span.unwrap_or_else(|| panic!("{sql}\nis refused without a place"));
    let line = sql.lines().nth(span.line as usize - 1).unwrap_or_else(|| panic!("{sql}: {span:?}"));
    let under: String =
        line.chars().skip(span.column as usize - 1).take(span.length as usize).collect();
    assert_eq!(under, marked, "{sql}\n{}", error.message);
}

#[test]
fn constructs_that_flink_has_and_we_lack() {
    let cases = [
        ("SELECT a.k FROM src a JOIN src b ON a.k = b.k;", "joins", "JOIN"),
        ("SELECT * FROM src, pt;", "joins", ","),
        ("SELECT k FROM src LEFT JOIN pt ON TRUE;", "joins", "LEFT"),
        ("SELECT k, SUM(v) OVER (PARTITION BY k) FROM src;", "OVER", "OVER"),
        ("SELECT k FROM src ORDER BY k;", "ORDER BY", "ORDER"),
        ("SELECT k FROM src UNION SELECT k FROM pt;", "UNION without ALL", "UNION"),
        ("SELECT k FROM src INTERSECT SELECT k FROM pt;", "INTERSECT", "INTERSECT"),
        ("SELECT k FROM src EXCEPT SELECT k FROM pt;", "EXCEPT", "EXCEPT"),
        ("SELECT k FROM src WHERE k IN (SELECT k FROM pt);", "IN (subquery)", "("),
        ("SELECT k FROM src WHERE EXISTS (SELECT k FROM pt);", "EXISTS", "EXISTS"),
        ("SELECT (SELECT MAX(v) FROM pt) FROM src;", "subquery as a value", "SELECT"),
        ("VALUES (1, 2);", "VALUES", "VALUES"),
        ("SELECT 1;", "without FROM", ";"),
        ("SELECT k FROM src MATCH_RECOGNIZE (PATTERN (A));", "MATCH_RECOGNIZE", "MATCH_RECOGNIZE"),
        ("SELECT k FROM src, LATERAL TABLE(f(k));", "joins", ","),
        ("SELECT k FROM LATERAL TABLE(f(k));", "LATERAL", "LATERAL"),
        ("SELECT k FROM UNNEST(ARRAY[1]);", "UNNEST", "UNNEST"),
        ("UPDATE src SET v = 1;", "UPDATE", "UPDATE"),
        ("DELETE FROM src;", "DELETE", "DELETE"),
        ("CREATE FUNCTION f AS 'a.b';", "CREATE TABLE and CREATE VIEW", "FUNCTION"),
        ("CREATE CATALOG c WITH ('type' = 'x');", "CREATE TABLE and CREATE VIEW", "CATALOG"),
        ("CREATE DATABASE d;", "CREATE TABLE and CREATE VIEW", "DATABASE"),
        ("USE CATALOG c;", "interactive", "USE"),
        ("ALTER TABLE src RENAME TO t;", "ALTER", "ALTER"),
        ("INSERT OVERWRITE out1 SELECT k, 1 FROM src;", "OVERWRITE", "OVERWRITE"),
        ("CREATE TABLE t (a ARRAY<INT>) WITH ('connector' = 'x');", "ARRAY", "ARRAY"),
        ("CREATE TABLE t (a INT METADATA) WITH ('connector' = 'x');", "metadata", "METADATA"),
        ("SELECT k FROM src /*+ OPTIONS('a' = 'b') */ LIMIT 3 OFFSET 2;", "OFFSET", "OFFSET"),
        ("SELECT k, COUNT(*) FROM src GROUP BY k;", "without a window", "GROUP BY k"),
        ("SELECT COUNT(*) FROM src;", "without a window", "SELECT COUNT(*) FROM src"),
        ("SELECT DISTINCT k FROM src;", "DISTINCT without a window", "DISTINCT"),
        ("INSERT INTO out1 SELECT k, v FROM src LIMIT 3;", "LIMIT", "LIMIT 3"),
    ];
    for (sql, message, marked) in cases {
        refused(sql, message, marked);
    }
}

#[test]
fn names_types_and_shapes() {
    let cases = [
        ("SELECT kk FROM src;", "no column 'kk'", "kk"),
        ("SELECT t.k FROM src;", "no table 't'", "t"),
        ("SELECT k FROM sorc;", "no table 'sorc'", "sorc"),
        ("SELECT k FROM (SELECT k, v AS k FROM src);", "ambiguous", "k"),
        ("SELECT * FROM (SELECT k, k FROM src);", "ambiguous", "*"),
        ("SELECT NULL FROM src;", "no type", "NULL"),
        ("SELECT \"k\" FROM src;", "double quotes", "\"k\""),
        ("SELECT v != 1 FROM src;", "!= is no Flink SQL", "!="),
        ("SELECT 9223372036854775808 FROM src;", "out of range", "9223372036854775808"),
        ("SELECT k FROM src WHERE v;", "WHERE needs a condition", "v"),
        ("SELECT k FROM src WHERE COUNT(*) > 1;", "COUNT cannot stand here", "COUNT(*)"),
        ("SELECT nosuch(k) FROM src;", "NOSUCH", "nosuch(k)"),
        (
            "INSERT INTO out1 SELECT k FROM src;",
            "gives 1 columns, and the table 'out1' takes 2",
            "out1",
        ),
        (
            "INSERT INTO out1 SELECT v, v FROM src;",
            "column 'k' is STRING, and the query gives INT",
            "v",
        ),
        ("INSERT INTO out1 (k, z) SELECT k, v FROM src;", "no stored column 'z'", "z"),
        ("INSERT INTO nowhere SELECT k FROM src;", "no table 'nowhere'", "nowhere"),
        ("CREATE TABLE t (value INT) WITH ('connector' = 'x');", "reserved word", "value"),
        ("CREATE TABLE t (a INT, a INT) WITH ('connector' = 'x');", "declared twice", "a"),
        (
            "CREATE TABLE t (a INT, b AS a + 1, c AS b + 1) WITH ('connector' = 'x');",
            "no column 'b'",
            "b",
        ),
        ("CREATE TABLE t (a NUMBER) WITH ('connector' = 'x');", "no type NUMBER", "NUMBER"),
        ("CREATE TABLE t (a DECIMAL(39, 0)) WITH ('connector' = 'x');", "from 1 to 38", "39"),
        ("CREATE TABLE src (a INT) WITH ('connector' = 'x');", "exists already", "src"),
        ("CREATE TABLE t (a INT, PRIMARY KEY (a)) WITH ('connector' = 'x');", "NOT ENFORCED", ")"),
        ("CREATE VIEW w AS SELECT k, k FROM src;", "two columns 'k'", "SELECT k, k FROM src"),
        ("SELECT k FROM src WHERE k = 'a", "no closing quote", "'"),
        ("SELECT k FROM src WHERE (v = 1;", "')' is expected", ";"),
        ("SELECT k FROM src) ;", "closes nothing", ")"),
        ("SELECT k, FROM src;", "an expression is expected", "FROM"),
        ("DROP TABLE nothing;", "no table 'nothing'", "nothing"),
        ("SELECT CASE WHEN v THEN 1 END FROM src;", "WHEN needs a condition", "v"),
    ];
    for (sql, message, marked) in cases {
        refused(sql, message, marked);
    }
}

#[test]
fn windows_and_time() {
    let window = |call: &str| {
        format!(
            "INSERT INTO out1 SELECT k, COUNT(*) FROM TABLE({call}) GROUP BY window_start, window_end, k;"
        )
    };
    let cases = [
        (window("TUMBLE(TABLE src, DESCRIPTOR(k), INTERVAL '1' SECOND)"), "drives no window", "k"),
        (window("TUMBLE(TABLE src, DESCRIPTOR(ts), 10)"), "is an interval", "10"),
        (
            window("TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MONTH)"),
            "months",
            "INTERVAL '1' MONTH",
        ),
        (
            window("TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '0' SECOND)"),
            "more than zero",
            "INTERVAL '0' SECOND",
        ),
        (
            window("TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '7' SECOND)"),
            "offset of TUMBLE is less than its size",
            "INTERVAL '7' SECOND",
        ),
        (
            window("TUMBLE(TABLE src, DESCRIPTOR(ts))"),
            "lacks its SIZE",
            "TUMBLE(TABLE src, DESCRIPTOR(ts))",
        ),
        (
            window("TUMBLE(TABLE src, INTERVAL '1' SECOND)"),
            "lacks its time column",
            "TUMBLE(TABLE src, INTERVAL '1' SECOND)",
        ),
        (
            window("HOP(TABLE src, DESCRIPTOR(ts), INTERVAL '3' SECOND, INTERVAL '10' SECOND)"),
            "no multiple",
            "INTERVAL '10' SECOND",
        ),
        (
            window("TUMBLE(TABLE src PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' SECOND)"),
            "takes no PARTITION BY",
            "k",
        ),
        (
            window(
                "TUMBLE(DATA => TABLE src, TIMECOL => DESCRIPTOR(ts), LENGTH => INTERVAL '1' SECOND)",
            ),
            "no argument LENGTH",
            "LENGTH",
        ),
        (window("SLIDE(TABLE src)"), "no table function SLIDE", "SLIDE"),
        (
            window("SESSION(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)"),
            "other columns than their PARTITION BY",
            "GROUP BY window_start, window_end, k",
        ),
    ];
    for (sql, message, marked) in cases {
        refused(&sql, message, marked);
    }
}

#[test]
fn groups_and_time_columns() {
    let cases: [(String, &str, &str); 7] = [
        (
            "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start;".into(),
            "without a window",
            "GROUP BY window_start",
        ),
        (
            "SELECT k, v FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, k;".into(),
            "'v' is neither grouped nor aggregated",
            "v",
        ),
        (
            "SELECT k FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, 1;".into(),
            "positions mean nothing",
            "1",
        ),
        (
            "SELECT TUMBLE_END(ts, INTERVAL '2' SECOND) FROM src GROUP BY TUMBLE(ts, INTERVAL '1' SECOND);".into(),
            "other arguments",
            "TUMBLE_END(ts, INTERVAL '2' SECOND)",
        ),
        ("SELECT TUMBLE_END(ts, INTERVAL '2' SECOND) FROM src;".into(), "without a window", "SELECT TUMBLE_END(ts, INTERVAL '2' SECOND) FROM src"),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a AS a) WITH ('connector' = 'x');".into(),
            "TIMESTAMP(3)",
            "a",
        ),
        (
            "CREATE TABLE t (a TIMESTAMP(6), WATERMARK FOR a AS a) WITH ('connector' = 'x');".into(),
            "precise to milliseconds",
            "a",
        ),
    ];
    for (sql, message, marked) in cases {
        refused(&sql, message, marked);
    }
}

#[test]
fn settings_and_options() {
    let cases = [
        (
            "SET 'tidemill.emit.mod' = 'discarding';",
            "no setting 'tidemill.emit.mod'",
            "'tidemill.emit.mod'",
        ),
        ("SET 'tidemill.emit.mode' = 'never';", "cannot be 'never'", "'never'"),
        ("SET 'table.local-time-zone' = 'Mars/Base';", "cannot be 'Mars/Base'", "'Mars/Base'"),
        ("SET 'table.exec.emit.allow-lateness' = 'soon';", "cannot be 'soon'", "'soon'"),
        ("SET 'execution.runtime-mode' = 'batch';", "cannot be 'batch'", "'batch'"),
        ("SET 'tidemill.table.sorc.path' = 'x';", "no table 'sorc'", "'x'"),
        (
            "CREATE TABLE t (a INT) WITH ('connector' = 'x', 'bad' = '1'); SELECT a FROM t;",
            "option 'bad'",
            "'bad'",
        ),
        ("CREATE TABLE t (a INT) WITH ('a' = 'x', 'a' = '1');", "given twice", "'a'"),
    ];
    for (sql, message, marked) in cases {
        let sql = if sql.contains("SELECT") {
            sql.to_string()
        } else {
            format!("{sql} SELECT k FROM src;")
        };
        refused(&sql, message, marked);
    }
    let errors = bind_script(
        &format!("{TABLES} SELECT k FROM src;"),
        &Catalog,
        &[("tidemill.nothing".into(), "1".into())],
    );
    assert!(errors.is_err_and(|errors| errors[0].message.contains("tidemill.nothing")));
}

/// Every statement is bound by itself, and what reads a broken table is not blamed for it.
#[test]
fn one_error_hides_no_other() {
    let sql = "CREATE TABLE t (a NUMBER) WITH ('connector' = 'x');\nSELECT a FROM t;\nSELECT nothing FROM src;\nSELEC 1;\nSELECT k FROM src;";
    let errors = errors(sql);
    let lines: Vec<u64> =
        errors.iter().filter_map(|error| error.span).map(|span| span.line).collect();
    assert_eq!(lines, [1, 3, 4], "{errors:#?}");
}

#[test]
fn errors_show_their_place() {
    let text = "CREATE TABLE t (k STRING) WITH ('connector' = 'x');\nSELECT kk\nFROM t;";
    let errors = bind(text).expect_err("there is no column kk");
    let shown = errors[0].render("job.sql", text);
    assert_eq!(
        shown,
        "error: there is no column 'kk' here\n --> job.sql:2:8\n  |\n2 | SELECT kk\n  |        ^^\nhint: did you mean 'k'?\n"
    );
}
