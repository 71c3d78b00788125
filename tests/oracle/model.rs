//! What a case is made of: rows, queries, and how both are written down for the engine.

use std::fmt::Write;

use chrono::DateTime;

/// A value as it is compared: exact, ordered, and with one text for each value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    /// Bits of a DOUBLE.
    Double(u64),
    /// Unscaled value and scale.
    Decimal(i128, u32),
    Text(String),
}

impl Cell {
    pub(crate) fn text(&self) -> String {
        match self {
            Cell::Null => "null".into(),
            Cell::Int(value) => value.to_string(),
            Cell::Double(bits) => format!("{:?}", f64::from_bits(*bits)),
            Cell::Decimal(value, 0) => value.to_string(),
            Cell::Decimal(value, scale) => {
                let unit = 10u128.pow(*scale);
                let sign = if *value < 0 { "-" } else { "" };
                let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
                format!("{sign}{whole}.{part:0width$}", width = *scale as usize)
            }
            Cell::Text(text) => format!("{text:?}"),
        }
    }

    /// What the engine printed in a column whose values look like `like`.
    pub(crate) fn parse(value: &serde_json::Value, double: bool) -> String {
        match value {
            serde_json::Value::Number(number) if double => {
                format!("{:?}", number.as_f64().unwrap())
            }
            serde_json::Value::String(text) => format!("{text:?}"),
            other => other.to_string(),
        }
    }
}

/// A row of the input table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub ts: i64,
    pub k: Option<String>,
    pub v: Option<i32>,
    pub w: Option<i64>,
    /// A multiple of 2^-20 below 2^80, so that sums are exact in an i128.
    pub d: Option<f64>,
    pub s: Option<String>,
    /// Hundredths.
    pub m: Option<i64>,
}

/// A column of the input table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    K,
    V,
    W,
    D,
    S,
    M,
}

impl Field {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Field::K => "k",
            Field::V => "v",
            Field::W => "w",
            Field::D => "d",
            Field::S => "s",
            Field::M => "m",
        }
    }
}

impl Row {
    pub(crate) fn cell(&self, field: Field) -> Cell {
        let text = |text: &Option<String>| text.clone().map_or(Cell::Null, Cell::Text);
        match field {
            Field::K => text(&self.k),
            Field::V => self.v.map_or(Cell::Null, |v| Cell::Int(v.into())),
            Field::W => self.w.map_or(Cell::Null, Cell::Int),
            Field::D => self.d.map_or(Cell::Null, |d| Cell::Double(d.to_bits())),
            Field::S => text(&self.s),
            Field::M => self.m.map_or(Cell::Null, |m| Cell::Decimal(m.into(), 2)),
        }
    }

    fn json(&self) -> String {
        let value = |field: Field| self.cell(field).text();
        format!(
            r#"{{"ts":"{}","k":{},"v":{},"w":{},"d":{},"s":{},"m":{}}}"#,
            time_text(self.ts),
            value(Field::K),
            value(Field::V),
            value(Field::W),
            value(Field::D),
            value(Field::S),
            value(Field::M)
        )
    }

    /// Strings in quotes, `<null>` for NULL.
    fn csv(&self) -> String {
        let mut line = time_text(self.ts);
        for field in [Field::K, Field::V, Field::W, Field::D, Field::S, Field::M] {
            match self.cell(field) {
                Cell::Null => line.push_str(",<null>"),
                Cell::Text(text) => write!(line, ",\"{}\"", text.replace('"', "\"\"")).unwrap(),
                other => write!(line, ",{}", other.text()).unwrap(),
            }
        }
        line
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

impl Format {
    /// The file of these rows, a record a piece, with so many bytes before each that no column reads.
    pub(crate) fn records(self, rows: &[Row], padding: usize) -> Vec<String> {
        let blanks = " ".repeat(padding);
        let record = |row: &Row| match self {
            Format::Json => blanks.clone() + &row.json(),
            Format::Csv => row.csv(),
        };
        rows.iter().map(|row| record(row) + "\n").collect()
    }

    fn options(self) -> &'static str {
        match self {
            Format::Json => "'format' = 'json'",
            Format::Csv => "'format' = 'csv', 'csv.null-literal' = '<null>'",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Tumble { size: i64, offset: i64 },
    Hop { slide: i64, size: i64, offset: i64 },
    Cumulate { step: i64, size: i64, offset: i64 },
    Session { gap: i64 },
}

/// How the window is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    TableFunction,
    GroupWindow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    CountRows,
    Count,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    ListAgg,
    /// COUNT(DISTINCT v, s)
    CountPairs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    None,
    /// `v > 0`
    Positive,
    /// `s IS NOT NULL`
    Known,
    /// `v < 0 OR w > 3`
    Either,
}

impl Filter {
    fn sql(self) -> &'static str {
        match self {
            Filter::None => "",
            Filter::Positive => "v > 0",
            Filter::Known => "s IS NOT NULL",
            Filter::Either => "v < 0 OR w > 3",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub function: Function,
    pub field: Field,
    pub distinct: bool,
    pub filter: Filter,
}

impl Call {
    pub(crate) fn is_double(self) -> bool {
        self.field == Field::D
            && !matches!(
                self.function,
                Function::CountRows | Function::Count | Function::CountPairs
            )
    }

    fn sql(self) -> String {
        let name = self.field.name();
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let call = match self.function {
            Function::CountRows => "COUNT(*)".into(),
            Function::Count => format!("COUNT({distinct}{name})"),
            Function::Sum => format!("SUM({distinct}{name})"),
            Function::Avg => format!("AVG({distinct}{name})"),
            Function::Min => format!("MIN({name})"),
            Function::Max => format!("MAX({name})"),
            Function::First => format!("FIRST_VALUE({distinct}{name})"),
            Function::Last => format!("LAST_VALUE({distinct}{name})"),
            Function::CountPairs => "COUNT(DISTINCT v, s)".into(),
            Function::ListAgg => format!("LISTAGG({distinct}{name}, '|')"),
        };
        match self.filter.sql() {
            "" => call,
            condition => format!("{call} FILTER (WHERE {condition})"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Retracting,
    Accumulating,
    Discarding,
}

/// When windows show results besides their end. Only what does not depend on the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emit {
    /// Early firing by event time with this delay; 0: after every row.
    pub early: Option<i64>,
    /// Late firing after every row, with this lateness.
    pub lateness: Option<i64>,
    pub mode: Mode,
}

impl Emit {
    pub(crate) fn is_once(self) -> bool {
        self.early.is_none() && self.lateness.is_none()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub window: Window,
    pub form: Form,
    pub keys: Vec<Field>,
    pub calls: Vec<Call>,
    pub emit: Emit,
    /// The watermark's delay.
    pub delay: i64,
    /// WHERE, before any window.
    pub condition: Filter,
    /// The query reads the results of this window, by k, in the place of the table.
    pub inner: Option<Window>,
}

/// `INTERVAL` of so many milliseconds.
pub(crate) fn interval(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, part) = (ms.abs() / 1000, ms.abs() % 1000);
    let digits =
        if seconds > 99 { format!("({})", seconds.to_string().len()) } else { String::new() };
    format!("INTERVAL '{sign}{seconds}.{part:03}' SECOND{digits}")
}

pub(crate) fn time_text(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The inverse of [`time_text`].
pub(crate) fn time_of(text: &str) -> i64 {
    let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.3f").unwrap();
    time.and_utc().timestamp_millis()
}

impl Query {
    /// How many of the result's columns say which group it is.
    pub(crate) fn key_columns(&self) -> usize {
        3 + self.keys.len()
    }

    /// The script that reads one table for each of `paths`, unites them, and selects.
    #[allow(dead_code)]
    pub(crate) fn script(&self, paths: &[String], format: Format) -> String {
        self.views(paths, format) + &self.select() + ";\n"
    }

    /// What the script says before it selects.
    pub(crate) fn views(&self, paths: &[String], format: Format) -> String {
        let mut text = self.settings();
        for (index, path) in paths.iter().enumerate() {
            write!(
                text,
                "CREATE TABLE t{index} (ts TIMESTAMP(3), k STRING, v INT, w BIGINT, d DOUBLE, s STRING, m DECIMAL(10, 2),\n  \
                 WATERMARK FOR ts AS ts - {}\n) WITH ('connector' = 'filesystem', 'path' = '{path}', {});\n",
                interval(self.delay),
                format.options()
            )
            .unwrap();
        }
        let tables: Vec<String> =
            (0..paths.len()).map(|index| format!("SELECT * FROM t{index}")).collect();
        let condition = match self.condition.sql() {
            "" => String::new(),
            condition => format!(" WHERE {condition}"),
        };
        let union = format!("SELECT * FROM ({}){condition}", tables.join(" UNION ALL "));
        match self.inner {
            None => writeln!(text, "CREATE VIEW src AS {union};").unwrap(),
            Some(inner) => writeln!(
                text,
                "CREATE VIEW base AS {union};\nCREATE VIEW src AS SELECT window_time AS ts, k, SUM(v) AS v, COUNT(*) AS w, \
                 SUM(d) AS d, MAX(s) AS s, MIN(m) AS m\nFROM TABLE({}) GROUP BY window_start, window_end, window_time, k;",
                table_function(inner, "base", &["k"])
            )
            .unwrap(),
        }
        text
    }

    fn settings(&self) -> String {
        let mut text = String::from("SET 'pipeline.auto-watermark-interval' = '0';\n");
        let mut set =
            |key: &str, value: String| writeln!(text, "SET '{key}' = '{value}';").unwrap();
        if let Some(early) = self.emit.early {
            set("table.exec.emit.early-fire.enabled", "true".into());
            set("table.exec.emit.early-fire.delay", format!("{early} ms"));
            set("tidemill.emit.early-fire.clock", "event-time".into());
        }
        if let Some(lateness) = self.emit.lateness {
            set("table.exec.emit.late-fire.enabled", "true".into());
            set("table.exec.emit.late-fire.delay", "0 ms".into());
            set("table.exec.emit.allow-lateness", format!("{lateness} ms"));
        }
        match self.emit.mode {
            Mode::Retracting => {}
            Mode::Accumulating => set("tidemill.emit.mode", "accumulating".into()),
            Mode::Discarding => set("tidemill.emit.mode", "discarding".into()),
        }
        text
    }

    /// The query alone.
    pub(crate) fn select(&self) -> String {
        let mut columns: Vec<String> = match self.form {
            Form::TableFunction => ["window_start AS ws", "window_end AS we", "window_time AS wt"]
                .map(String::from)
                .into(),
            Form::GroupWindow => {
                let of = |what: &str, name: &str| self.group_window(what) + " AS " + name;
                vec![of("_START", "ws"), of("_END", "we"), of("_ROWTIME", "wt")]
            }
        };
        columns.extend(
            self.keys.iter().enumerate().map(|(index, key)| format!("{} AS g{index}", key.name())),
        );
        columns.extend(
            self.calls
                .iter()
                .enumerate()
                .map(|(index, call)| format!("{} AS a{index}", call.sql())),
        );
        let keys: Vec<&str> = self.keys.iter().map(|key| key.name()).collect();
        let (from, mut group) = match self.form {
            Form::TableFunction => (
                format!("TABLE({})", table_function(self.window, "src", &keys)),
                ["window_start", "window_end", "window_time"].map(String::from).to_vec(),
            ),
            Form::GroupWindow => ("src".into(), vec![self.group_window("")]),
        };
        group.extend(keys.iter().map(|&key| key.into()));
        format!("SELECT {}\nFROM {from}\nGROUP BY {}", columns.join(", "), group.join(", "))
    }

    fn group_window(&self, what: &str) -> String {
        match self.window {
            Window::Tumble { size, .. } => format!("TUMBLE{what}(ts, {})", interval(size)),
            Window::Hop { slide, size, .. } => {
                format!("HOP{what}(ts, {}, {})", interval(slide), interval(size))
            }
            Window::Session { gap } => format!("SESSION{what}(ts, {})", interval(gap)),
            Window::Cumulate { .. } => unreachable!("not drawn"),
        }
    }
}

fn table_function(window: Window, table: &str, keys: &[&str]) -> String {
    let offset =
        |offset: i64| if offset == 0 { String::new() } else { format!(", {}", interval(offset)) };
    match window {
        Window::Tumble { size, offset: by } => {
            format!("TUMBLE(TABLE {table}, DESCRIPTOR(ts), {}{})", interval(size), offset(by))
        }
        Window::Hop { slide, size, offset: by } => {
            format!(
                "HOP(TABLE {table}, DESCRIPTOR(ts), {}, {}{})",
                interval(slide),
                interval(size),
                offset(by)
            )
        }
        Window::Cumulate { step, size, offset: by } => {
            format!(
                "CUMULATE(TABLE {table}, DESCRIPTOR(ts), {}, {}{})",
                interval(step),
                interval(size),
                offset(by)
            )
        }
        Window::Session { gap } => {
            let partition = if keys.is_empty() {
                String::new()
            } else {
                format!(" PARTITION BY ({})", keys.join(", "))
            };
            format!("SESSION(TABLE {table}{partition}, DESCRIPTOR(ts), {})", interval(gap))
        }
    }
}
