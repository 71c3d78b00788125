SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (
  ts TIMESTAMP(3), k STRING, v INT,
  WATERMARK FOR ts AS ts - INTERVAL '6' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DIR}/input.jsonl', 'format' = 'json');
CREATE TABLE out1 (`window_start` TIMESTAMP(3), `window_end` TIMESTAMP(3), `wt` TIMESTAMP(3), `ts` TIMESTAMP(3), `k` STRING, `v` INT) WITH ('connector' = 'print');
INSERT INTO out1 SELECT window_start, window_end, CAST(window_time AS TIMESTAMP(3)) AS wt, CAST(ts AS TIMESTAMP(3)) AS ts, k, v FROM TABLE(SESSION(TABLE src PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND));
