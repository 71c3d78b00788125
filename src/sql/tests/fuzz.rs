//! No text panics, hangs or overflows the stack, and what binds is a valid plan.

use proptest::prelude::*;

use super::{bind, plans};
use crate::plan::assert_valid;

/// Pieces of scripts: whole clauses, so that much of the soup gets past the parser.
const PIECES: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "UNION ALL",
    "WITH",
    "AS",
    "(",
    ")",
    ",",
    ";",
    "*",
    "+",
    "-",
    "/",
    "%",
    "=",
    "<>",
    "!=",
    "<",
    "||",
    ".",
    "AND",
    "OR",
    "NOT",
    "BETWEEN",
    "IN",
    "LIKE",
    "IS NULL",
    "IS NOT DISTINCT FROM",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "NULL",
    "TRUE",
    "1",
    "1.5",
    "1e3",
    "99999999999999999999",
    "'a'",
    "''",
    "X'0",
    "`k`",
    "`",
    "'",
    "\"k\"",
    "k",
    "v",
    "ts",
    "src",
    "w",
    "out1",
    "window_start",
    "window_end",
    "window_time",
    "COUNT(*)",
    "SUM(v)",
    "COUNT(DISTINCT k)",
    "FILTER (WHERE",
    "GROUPING SETS (",
    "CUBE (k)",
    "ROLLUP (k, v)",
    "GROUPING(k)",
    "TUMBLE(",
    "TABLE(",
    "TABLE src",
    "DESCRIPTOR(ts)",
    "INTERVAL '1' SECOND",
    "INTERVAL",
    "SIZE =>",
    "TUMBLE(ts, INTERVAL '1' SECOND)",
    "TUMBLE_START(ts, INTERVAL '1' SECOND)",
    "CAST(v AS STRING)",
    "CAST(",
    "EXTRACT(DAY FROM ts)",
    "TRIM(",
    "POSITION(",
    "DATE '2024-01-01'",
    "CREATE TABLE t (",
    "CREATE VIEW w AS",
    "INSERT INTO out1",
    "SET 'a' = 'b'",
    "WATERMARK FOR ts AS",
    "TIMESTAMP(3)",
    "STRING",
    "EXECUTE STATEMENT SET BEGIN",
    "EXPLAIN",
    "DROP TABLE src",
    "LIMIT 1",
    "ORDER BY",
    "JOIN",
    "--",
    "/*",
    "*/",
    "é",
    "\u{0}",
    "\n",
    "FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND))",
    "GROUP BY window_start, window_end",
    "SELECT window_start, window_end, k, COUNT(*) AS c",
    "SELECT k, v FROM src",
    "FROM src",
];

const TABLES: &str = "\
CREATE TABLE src (ts TIMESTAMP(3), k STRING, v INT, WATERMARK FOR ts AS ts) WITH ('connector' = 'x');
CREATE TABLE out1 (k STRING, c BIGINT) WITH ('connector' = 'print');
";

fn check(text: &str) {
    match bind(text) {
        Ok(script) => assert_valid(&script.plan),
        Err(errors) => {
            for error in &errors {
                assert!(!error.message.is_empty(), "an error says nothing: {text}");
                error.render("fuzz", text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn token_soup(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
        check(&format!("{TABLES}{}", pieces.join(" ")));
    }

    #[test]
    fn arbitrary_text(text in "\\PC{0,80}") {
        check(&text);
    }

    #[test]
    fn mutated_scripts(
        which in 0_usize..SCRIPTS.len(),
        at in any::<prop::sample::Index>(),
        removed in 0_usize..12,
        piece in prop::sample::select(PIECES),
    ) {
        let text: Vec<char> = SCRIPTS[which].chars().collect();
        let start = at.index(text.len());
        let end = (start + removed).min(text.len());
        let mutated: String = text[..start].iter().chain(&piece.chars().collect::<Vec<_>>()).chain(&text[end..]).collect();
        check(&format!("{TABLES}{mutated}"));
    }
}

const SCRIPTS: &[&str] = &[
    "INSERT INTO out1 SELECT k, COUNT(*) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE v > 1 GROUP BY window_start, window_end, k HAVING SUM(v) > 3;",
    "SELECT TUMBLE_START(ts, INTERVAL '1' HOUR), k, SUM(v) FILTER (WHERE v > 1) FROM src GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), k;",
    "WITH a AS (SELECT k, v, ts FROM src UNION ALL SELECT UPPER(k), v + 1, ts FROM src) SELECT window_start, k, GROUPING(k) FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end, CUBE (k);",
    "CREATE TABLE t (a INT NOT NULL, b AS a + 1, ts TIMESTAMP_LTZ(3), WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE, PRIMARY KEY (a) NOT ENFORCED) WITH ('connector' = 'x'); SELECT CASE a WHEN 1 THEN 'x' ELSE CAST(b AS STRING) END, a BETWEEN 1 AND 2, b IN (1, 2), ts + INTERVAL '1' DAY FROM t;",
    "SELECT DISTINCT window_start, window_end, k FROM TABLE(SESSION(TABLE src PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND));",
];

/// The scripts that are mutated bind, or mutating them would show little.
#[test]
fn mutated_scripts_start_valid() {
    for text in SCRIPTS {
        let text = format!("{TABLES}{text}");
        if let Err(errors) = bind(&text) {
            panic!(
                "{}",
                errors.iter().map(|error| error.render("fuzz", &text)).collect::<String>()
            );
        }
    }
}

/// Deep nesting is refused, and long chains bind, without a deep stack or much time.
#[test]
fn depth_and_length_are_bounded() {
    let deep = 100_000;
    let nested = [
        format!("SELECT {}1{} FROM src;", "(".repeat(deep), ")".repeat(deep)),
        format!("SELECT {} v FROM src;", "NOT ".repeat(deep)),
        format!("SELECT {} v FROM src;", "- ".repeat(deep)),
        format!("SELECT {}1 FROM src;", "CASE WHEN ".repeat(deep)),
        format!("SELECT {}1 FROM src;", "POSITION(".repeat(deep)),
        format!("SELECT {}v FROM src;", "CAST(".repeat(deep)),
        format!("SELECT * FROM {}src;", "(".repeat(deep)),
        format!("SELECT * FROM {}src;", "(SELECT * FROM ".repeat(deep)),
        format!("{}SELECT 1", "WITH a AS (".repeat(deep)),
        format!("SELECT 1 FROM src GROUP BY {}", "GROUPING SETS (".repeat(deep)),
        format!("SELECT v{} FROM src;", " + v".repeat(deep)),
        format!("SELECT v{} FROM src;", " IS NULL".repeat(deep)),
        format!("SELECT TRUE{} FROM src;", " BETWEEN TRUE AND TRUE".repeat(50)),
        format!(
            "SELECT {}v{} FROM src;",
            "CASE ".repeat(40),
            " WHEN 1 THEN 2 WHEN 3 THEN 4 END".repeat(40)
        ),
        format!("SELECT {}v{} FROM src;", "NULLIF(".repeat(50), ", 1)".repeat(50)),
    ];
    for text in nested {
        let errors =
            bind(&format!("{TABLES}{text}")).err().unwrap_or_else(|| panic!("{:.60} binds", text));
        assert!(!errors.is_empty());
    }
    plans::script(&format!(
        "SELECT k FROM src WHERE v = 0{};",
        " OR v = 1 AND k = 'a'".repeat(2_000)
    ));
    let list: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    plans::script(&format!("SELECT k FROM src WHERE v IN ({});", list.join(", ")));
    let views: String = (1..60)
        .map(|n| {
            format!("CREATE VIEW v{n} AS SELECT k FROM v{0} UNION ALL SELECT k FROM v{0};", n - 1)
        })
        .collect();
    let doubling = format!("{TABLES}CREATE VIEW v0 AS SELECT k FROM src;{views}");
    assert!(bind(&doubling).is_err());
}
