SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
SET 'table.local-time-zone' = 'America/New_York';
CREATE TABLE src (ms BIGINT, k STRING, ts AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/input.jsonl','format'='json');
CREATE TABLE print1 (`window_start` TIMESTAMP(3), `window_end` TIMESTAMP(3), `window_time` TIMESTAMP(3) WITH LOCAL TIME ZONE, `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT window_start, window_end, window_time, COUNT(*) AS c FROM TABLE(HOP(TABLE src, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '2' HOUR)) GROUP BY window_start, window_end, window_time;
