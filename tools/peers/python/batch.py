"""DuckDB, Polars and DataFusion on the workloads, as batch queries: no watermark, no late rule, no row before the last is read.

From memory: a table of numbers in the engine's own form (DuckDB: its table; Polars: a frame; DataFusion: Arrow batches) is there before time
counts. From CSV and JSON: the query reads the file. Timed until the result is there as a table; what it comes to is computed after.
"""

import argparse
import time

import numpy as np
import pyarrow as pa

import answers

CLICK = np.dtype([("ts", "<i8"), ("device", "<u8"), ("amount", "<f8"), ("page", "<u4"), ("action", "u1"), ("_", "V3")])
COLUMNS = ["ts", "page", "device", "action", "amount"]


def numbers(path):
    """The 32-byte records as a table."""
    clicks = np.fromfile(path, dtype=CLICK)
    return pa.table({name: np.ascontiguousarray(clicks[name]) for name in COLUMNS})


def sql(workload, ms, view, slices, one_order=False):
    """The query; `ms` is the time in milliseconds, `view` the filter, `slices` a join of slices with 0 … 4 as `j`.

    `one_order`: sessions by one order of all rows instead of one a device, which some engines do a hundred times slower.
    """
    start = lambda width: f"({ms} - {ms} % {width})"
    sessions = (
        f"SELECT device, {ms} AS ms, amount, CASE WHEN {ms} - LAG({ms}) OVER w > 5000 THEN 1 ELSE 0 END AS is_new "
        f"FROM clicks WINDOW w AS (PARTITION BY device ORDER BY {ms})",
        "SUM(is_new) OVER (PARTITION BY device ORDER BY ms ROWS UNBOUNDED PRECEDING)",
        "device, n",
    )
    if one_order:
        sessions = (
            f"SELECT device, {ms} AS ms, amount, CASE WHEN device = LAG(device) OVER w AND {ms} - LAG({ms}) OVER w <= 5000 THEN 0 ELSE 1 END AS is_new "
            f"FROM clicks WINDOW w AS (ORDER BY device, {ms})",
            "SUM(is_new) OVER (ORDER BY device, ms ROWS UNBOUNDED PRECEDING)",
            "n",
        )
    grouped = lambda key, width, what, where="": (
        f"SELECT {start(width)} AS start_ms, {key} AS k, {what} FROM clicks {where} GROUP BY {start(width)}, {key}"
    )
    sums = "COUNT(*) AS c, SUM(amount) AS s"
    return {
        "w0": f"SELECT page AS k, amount AS s FROM clicks WHERE {view}",
        "w1": grouped("page", 10_000, f"{sums}, MAX(amount) AS m, AVG(amount) AS a", f"WHERE {view}"),
        "w2": grouped("page", 86_400_000, "COUNT(DISTINCT device) AS c"),
        # Slices of 2 s are added up first, and each then counts in five windows.
        "w3": f"WITH slices AS ({grouped('page', 2_000, sums)}) "
        f"SELECT start_ms - 2000 * j AS start_ms, k, CAST(SUM(c) AS BIGINT) AS c, SUM(s) AS s FROM {slices} GROUP BY 1, 2",
        "w4": f"WITH gaps AS ({sessions[0]}), numbered AS (SELECT device, ms, amount, {sessions[1]} AS n FROM gaps) "
        f"SELECT MIN(ms) AS start_ms, MIN(device) AS k, {sums} FROM numbered GROUP BY {sessions[2]}",
        "w5": grouped("device", 60_000, sums),
    }[workload]


def duckdb_run(task):
    import duckdb

    connection = duckdb.connect(config={"threads": task.shards, "preserve_insertion_order": False})
    slices = "slices, range(5) AS r(j)"
    if task.input == "memory":
        records = numbers(task.data)
        connection.execute("CREATE TABLE clicks AS SELECT * FROM records")
        del records
        query = sql(task.workload, "ts", "action = 0", slices)
    else:
        kinds = {"ts": "TIMESTAMP", "page": "VARCHAR", "device": "VARCHAR", "action": "VARCHAR", "amount": "DOUBLE"}
        kinds = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in kinds.items()) + "}"
        read = {
            "csv": f"read_csv('{task.data}', header = false, auto_detect = false, columns = {kinds})",
            "json": f"read_json('{task.data}', format = 'newline_delimited', columns = {kinds})",
        }[task.input]
        connection.execute(f"CREATE VIEW clicks AS SELECT * FROM {read}")
        query = sql(task.workload, "epoch_ms(ts)", "action = 'view'", slices)
    start = time.perf_counter()
    result = connection.execute(query).to_arrow_table()
    seconds = time.perf_counter() - start
    return seconds, result


def datafusion_run(task):
    import datafusion

    config = datafusion.SessionConfig().with_target_partitions(task.shards)
    context = datafusion.SessionContext(config)
    slices = "slices, (VALUES (0), (1), (2), (3), (4)) AS r(j)"
    if task.input == "memory":
        table = numbers(task.data)
        # Two partitions, abreast in time, of the engine's usual batches.
        batches = table.to_batches(max_chunksize=8192)
        context.register_record_batches("clicks", [batches[part :: task.shards] for part in range(task.shards)])
        query = sql(task.workload, "ts", "action = 0", slices, one_order=True)
    else:
        schema = pa.schema([("ts", pa.timestamp("ms")), ("page", pa.string()), ("device", pa.string()), ("action", pa.string()), ("amount", pa.float64())])
        if task.input == "csv":
            context.register_csv("clicks", task.data, schema=schema, has_header=False)
        else:
            context.register_json("clicks", task.data, schema=schema, file_extension=".jsonl")
        query = sql(task.workload, "CAST(ts AS BIGINT)", "action = 'view'", slices, one_order=True)
    start = time.perf_counter()
    result = pa.Table.from_batches(context.sql(query).collect()) if task.workload != "w0" else context.sql(query).to_arrow_table()
    seconds = time.perf_counter() - start
    return seconds, result


def polars_query(workload, clicks, view):
    """The query over a lazy frame whose `ts` is in milliseconds."""
    import polars as pl

    start = lambda width: (pl.col("ts") - pl.col("ts") % width).alias("start_ms")
    sums = [pl.len().alias("c"), pl.col("amount").sum().alias("s")]
    amount = pl.col("amount")
    grouped = lambda key, width, what: clicks.group_by(start(width), pl.col(key).alias("k")).agg(what)
    if workload == "w0":
        return clicks.filter(view).select(pl.col("page").alias("k"), amount.alias("s"))
    if workload == "w1":
        clicks = clicks.filter(view)
        return grouped("page", 10_000, [*sums, amount.max().alias("m"), amount.mean().alias("a")])
    if workload == "w2":
        pairs = clicks.select(start(86_400_000), pl.col("page").alias("k"), "device").unique()
        return pairs.group_by("start_ms", "k").agg(pl.len().alias("c"))
    if workload == "w3":
        slices = grouped("page", 2_000, sums)
        shifted = [slices.with_columns(pl.col("start_ms") - 2000 * j) for j in range(5)]
        return pl.concat(shifted).group_by("start_ms", "k").agg(pl.col("c").sum(), pl.col("s").sum())
    if workload == "w4":
        ordered = clicks.select("device", "ts", "amount").sort("device", "ts")
        is_new = (pl.col("device") != pl.col("device").shift(1)) | (pl.col("ts") - pl.col("ts").shift(1) > 5000)
        numbered = ordered.with_columns(is_new.fill_null(True).cast(pl.UInt32).cum_sum().alias("n"))
        return numbered.group_by("n").agg(pl.col("ts").min().alias("start_ms"), pl.col("device").first().alias("k"), *sums)
    return grouped("device", 60_000, sums)


def polars_run(task):
    import os

    os.environ["POLARS_MAX_THREADS"] = str(task.shards)
    import polars as pl

    kinds = {"ts": pl.Datetime("ms"), "page": pl.String, "device": pl.String, "action": pl.String, "amount": pl.Float64}
    view = pl.col("action") == "view"
    if task.input == "memory":
        frame = pl.from_arrow(numbers(task.data))
        view = pl.col("action") == 0
        start = time.perf_counter()
        clicks = frame.lazy()
    elif task.input == "csv":
        texts = {**kinds, "ts": pl.String}
        start = time.perf_counter()
        clicks = pl.scan_csv(task.data, has_header=False, schema=texts)
    else:
        start = time.perf_counter()
        clicks = pl.scan_ndjson(task.data, schema={**kinds, "ts": pl.String})
    if task.input != "memory":
        time_ms = pl.col("ts").str.to_datetime("%Y-%m-%d %H:%M:%S%.3f", time_unit="ms", strict=True)
        clicks = clicks.with_columns(time_ms.cast(pl.Int64))
    result = polars_query(task.workload, clicks, view).collect(engine="streaming")
    seconds = time.perf_counter() - start
    return seconds, result.to_arrow(compat_level=pl.CompatLevel.oldest())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ["--workload", "--input", "--variant", "--data"]:
        parser.add_argument(option, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True, help="how many the file has: these engines do not say how many they read")
    task = parser.parse_args()
    run = {"duckdb": duckdb_run, "polars": polars_run, "datafusion": datafusion_run}[task.variant]
    seconds, result = run(task)
    answers.report(task.workload, task.rows, seconds, result)


if __name__ == "__main__":
    main()
