SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
SET 'table.local-time-zone' = 'America/New_York';
CREATE TABLE lz (v BIGINT, t AS TO_TIMESTAMP_LTZ(v * 20000000, 3), WATERMARK FOR t AS t - INTERVAL '1' HOUR) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`window_start` TIMESTAMP(3), `window_end` TIMESTAMP(3), `window_time` TIMESTAMP(3) WITH LOCAL TIME ZONE, `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT window_start, window_end, window_time, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE lz, DESCRIPTOR(t), INTERVAL '1' DAY)) GROUP BY window_start, window_end, window_time;
