SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
SET 'table.local-time-zone' = 'Asia/Shanghai';
CREATE TABLE src (ms BIGINT, k STRING, v INT, ts AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/input.jsonl','format'='json');
CREATE TABLE print1 (`window_start` TIMESTAMP(3), `window_end` TIMESTAMP(3), `k` STRING, `c` BIGINT, `sv` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT window_start, window_end, k, COUNT(*) AS c, SUM(v) AS sv FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' DAY)) GROUP BY window_start, window_end, k;
