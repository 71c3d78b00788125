//! The jobs that are killed: between them they keep every kind of state, and publish in every way.
//!
//! In a script `$IN` is the folder of the inputs and `$OUT` that of the outputs. What a job writes below `$OUT` is its result: files
//! and folders there are compared, whatever they are called.

use crate::input::{Input, Shape};

/// A job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// For people, and for `--only`.
    pub name: &'static str,
    /// What it reads.
    pub input: Input,
    /// Time between two snapshots.
    pub interval_ms: u64,
    /// Bytes in a chunk.
    pub chunk_bytes: u64,
    /// What all its state files together may measure at most: frames that are free must be used again.
    pub state_bytes_max: u64,
    /// Behind the tables of [`Job::script`].
    queries: &'static str,
}

const CSV: &str = "'path' = '$IN/clicks.csv', 'format' = 'csv'";
const FILES: &str = "'path' = '$IN', 'format' = 'json', 'json.ignore-parse-errors' = 'true'";

impl Job {
    /// The same with so many times as many rows, as fast as before, and room for what they hold.
    pub(crate) fn scaled(self, scale: u64) -> Self {
        let input = Input { rows: self.input.rows * scale, ..self.input };
        let state_bytes_max = self.state_bytes_max * scale;
        Self { input, state_bytes_max, ..self }
    }

    /// The whole script.
    pub fn script(&self, inputs: &str, outputs: &str) -> String {
        let options = if self.input.shape == Shape::Files { FILES } else { CSV };
        let text = format!(
            "SET 'execution.checkpointing.interval' = '{} ms';\nSET 'tidemill.chunk-bytes' = '{}';\n\
             CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE, note STRING,\n  \
             WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', {options});\n{}",
            self.interval_ms, self.chunk_bytes, self.queries
        );
        text.replace("$IN", inputs).replace("$OUT", outputs)
    }
}

const fn csv(rows: u64, per_second: u64, devices: u64) -> Input {
    Input { rows, per_second, devices, shape: Shape::Csv }
}

const fn job(name: &'static str, input: Input, queries: &'static str) -> Job {
    Job { name, input, interval_ms: 2, chunk_bytes: 2048, state_bytes_max: 16 << 20, queries }
}

/// All jobs.
pub const JOBS: [Job; 16] = [
    job("tumble", csv(8000, 100, 500), TUMBLE),
    job("distinct", csv(8000, 200, 2000), DISTINCT),
    job("hop", csv(6000, 100, 300), HOP),
    job("cumulate", csv(6000, 100, 300), CUMULATE),
    job("session", csv(6000, 100, 200), SESSION),
    job("changelog", csv(6000, 100, 300), CHANGELOG),
    job("nested", csv(8000, 100, 300), NESTED),
    job(
        "files",
        Input { rows: 6000, per_second: 100, devices: 300, shape: Shape::Files },
        FILES_SUM,
    ),
    job("uv-early", csv(6000, 100, 1000), UV_EARLY),
    job("generated", csv(0, 1, 1), GENERATED),
    job("filter", csv(8000, 100, 300), FILTER),
    job(
        "quoted",
        Input { rows: 6000, per_second: 100, devices: 300, shape: Shape::QuotedCsv },
        QUOTED,
    ),
    job("two-sinks", csv(6000, 100, 300), TWO_SINKS),
    Job {
        chunk_bytes: 4096,
        state_bytes_max: 64 << 20,
        ..job(
            "shrink",
            Input { rows: 8000, per_second: 1500, devices: 1_000_000, shape: Shape::Burst },
            SHRINK,
        )
    },
    Job {
        chunk_bytes: 8192,
        state_bytes_max: 24 << 20,
        ..job("spill", csv(6000, 400, 5000), SPILL)
    },
    Job {
        chunk_bytes: 8192,
        // Each of the partitions of a slice that waits has a page at least. Windows overlap, so that slices are compacted.
        state_bytes_max: 64 << 20,
        ..job("backlog", csv(6000, 400, 800), BACKLOG)
    },
];

const TUMBLE: &str = "
CREATE TABLE sums (ws TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE, m DOUBLE, a DOUBLE, f STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums.jsonl', 'format' = 'json');
INSERT INTO sums
SELECT window_start, page, COUNT(*), SUM(amount), MAX(amount), AVG(amount), FIRST_VALUE(note)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, page;";

const DISTINCT: &str = "
CREATE TABLE visitors (ws TIMESTAMP(3), page STRING, c BIGINT, uv BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/visitors.csv', 'format' = 'csv', 'csv-header' = 'true');
INSERT INTO visitors
SELECT window_start, page, COUNT(*), COUNT(DISTINCT device)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY window_start, window_end, page;";

const HOP: &str = "
CREATE TABLE sums (ws TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums', 'format' = 'json');
INSERT INTO sums
SELECT window_start, page, COUNT(*), SUM(amount)
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, page;";

const CUMULATE: &str = "
CREATE TABLE sums (ws TIMESTAMP(3), we TIMESTAMP(3), page STRING, c BIGINT, m DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums.jsonl', 'format' = 'json');
INSERT INTO sums
SELECT window_start, window_end, page, COUNT(*), MIN(amount)
FROM TABLE(CUMULATE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, page;";

const SESSION: &str = "
CREATE TABLE visits (ws TIMESTAMP(3), we TIMESTAMP(3), device STRING, pages BIGINT, notes STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/visits', 'format' = 'json', 'sink.rolling-policy.file-size' = '2kb');
INSERT INTO visits
SELECT window_start, window_end, device, COUNT(DISTINCT page), LISTAGG(note)
FROM TABLE(SESSION(TABLE clicks PARTITION BY device, DESCRIPTOR(ts), INTERVAL '3' SECOND))
GROUP BY window_start, window_end, device;";

const CHANGELOG: &str = "
SET 'table.exec.emit.early-fire.enabled' = 'true';
SET 'table.exec.emit.early-fire.delay' = '2 s';
SET 'tidemill.emit.early-fire.clock' = 'event-time';
SET 'table.exec.emit.late-fire.enabled' = 'true';
SET 'table.exec.emit.late-fire.delay' = '0 s';
SET 'table.exec.emit.allow-lateness' = '30 s';
CREATE TABLE changes (ws TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/changes', 'format' = 'json', 'sink.changelog' = 'true');
INSERT INTO changes
SELECT TUMBLE_START(ts, INTERVAL '10' SECOND), page, COUNT(*), SUM(amount)
FROM clicks
GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), page;";

const NESTED: &str = "
CREATE TABLE tops (ws TIMESTAMP(3), pages BIGINT, most BIGINT, total DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/tops.jsonl', 'format' = 'json');
INSERT INTO tops
SELECT window_start, COUNT(page), MAX(c), SUM(s)
FROM TABLE(TUMBLE((SELECT page, window_time AS wt, COUNT(*) AS c, SUM(amount) AS s
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND))
  GROUP BY window_start, window_end, window_time, page), DESCRIPTOR(wt), INTERVAL '4' SECOND))
GROUP BY window_start, window_end;";

const UV_EARLY: &str = "
SET 'table.exec.emit.early-fire.enabled' = 'true';
SET 'table.exec.emit.early-fire.delay' = '5 s';
SET 'tidemill.emit.early-fire.clock' = 'event-time';
CREATE TABLE visitors (ws TIMESTAMP(3), page STRING, uv BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/visitors.jsonl', 'format' = 'json', 'sink.changelog' = 'true');
INSERT INTO visitors
SELECT window_start, page, COUNT(DISTINCT device)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end, page;";

const GENERATED: &str = "
CREATE TABLE made (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'datagen', 'profile' = 'clicks', 'devices' = '1000', 'number-of-rows' = '150000');
CREATE TABLE sums (ws TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums', 'format' = 'json');
INSERT INTO sums
SELECT window_start, page, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE made, DESCRIPTOR(ts), INTERVAL '1' SECOND))
WHERE action = 'buy'
GROUP BY window_start, window_end, page;";

const FILES_SUM: &str = "
CREATE TABLE sums (ws TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE, l STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums.jsonl', 'format' = 'json');
INSERT INTO sums
SELECT window_start, page, COUNT(*), SUM(amount), LAST_VALUE(note)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND))
GROUP BY window_start, window_end, page;";

const FILTER: &str = "
CREATE TABLE sold (ts TIMESTAMP(3), page STRING, amount DOUBLE, note STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sold', 'format' = 'csv');
INSERT INTO sold SELECT ts, page, amount, note FROM clicks WHERE action = 'buy';";

const QUOTED: &str = "
CREATE TABLE notes (ts TIMESTAMP(3), note STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/notes.csv', 'format' = 'csv');
CREATE TABLE counts (ws TIMESTAMP(3), c BIGINT, note STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/counts', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO notes SELECT ts, note FROM clicks WHERE action <> 'buy';
INSERT INTO counts
SELECT window_start, COUNT(*), MAX(note)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end;
END;";

const TWO_SINKS: &str = "
CREATE TABLE big (ts TIMESTAMP(3), device STRING, amount DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/big', 'format' = 'json', 'sink.rolling-policy.file-size' = '1kb');
CREATE TABLE sums (ws TIMESTAMP(3), action STRING, uv BIGINT, s DOUBLE)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums.jsonl', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO big SELECT ts, device, amount FROM clicks WHERE amount > 800;
INSERT INTO sums
SELECT window_start, action, COUNT(DISTINCT device), SUM(amount)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, action;
END;";

/// The first seconds hold some 15 MB of text and the last ones next to nothing; what stays lies between.
const SHRINK: &str = "
SET 'execution.checkpointing.num-retained' = '2';
CREATE TABLE sizes (ws TIMESTAMP(3), device STRING, size BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sizes.jsonl', 'format' = 'json');
CREATE TABLE pages (ws TIMESTAMP(3), page STRING, size BIGINT)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/pages.jsonl', 'format' = 'json');
EXECUTE STATEMENT SET BEGIN
INSERT INTO sizes
SELECT window_start, device, MAX(CHAR_LENGTH(l)) FROM (
  SELECT window_start, window_end, device, LISTAGG(RPAD(note, 2600, 'x')) AS l
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND))
  GROUP BY window_start, window_end, device)
GROUP BY window_start, window_end, device;
INSERT INTO pages
SELECT window_start, page, COUNT(DISTINCT device)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, page;
END;";

const SPILL: &str = "
SET 'tidemill.state.memory-bytes' = '1048576';
SET 'execution.checkpointing.num-retained' = '3';
CREATE TABLE notes (ws TIMESTAMP(3), device STRING, c BIGINT, notes STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/notes.jsonl', 'format' = 'json');
INSERT INTO notes
SELECT window_start, device, COUNT(DISTINCT page), LISTAGG(RPAD(note, 200, 'y'))
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '12' SECOND))
GROUP BY window_start, window_end, device;";

/// A window's groups do not fit into the memory, and nothing in them keeps an owner from having its rows wait.
const BACKLOG: &str = "
SET 'tidemill.state.memory-bytes' = '1048576';
SET 'execution.checkpointing.num-retained' = '2';
CREATE TABLE sums (ws TIMESTAMP(3), device STRING, c BIGINT, s DOUBLE, l STRING)
  WITH ('connector' = 'filesystem', 'path' = '$OUT/sums.jsonl', 'format' = 'json');
INSERT INTO sums
SELECT window_start, device, COUNT(*), SUM(amount), LISTAGG(RPAD(note, 300, 'z'))
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, device;";
