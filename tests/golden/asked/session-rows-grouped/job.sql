SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (
  ts TIMESTAMP(3), k STRING, v INT,
  WATERMARK FOR ts AS ts - INTERVAL '6' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DIR}/input.jsonl', 'format' = 'json');
CREATE VIEW s AS SELECT * FROM TABLE(SESSION(TABLE src PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND));
CREATE TABLE out1 (`window_start` TIMESTAMP(3), `window_end` TIMESTAMP(3), `k` STRING, `c` BIGINT, `s` INT) WITH ('connector' = 'print');
INSERT INTO out1 SELECT window_start, window_end, k, COUNT(*) AS c, SUM(v) AS s FROM s GROUP BY window_start, window_end, k;
