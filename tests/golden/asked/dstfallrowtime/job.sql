SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
SET 'table.local-time-zone' = 'America/New_York';
CREATE TABLE src (ms BIGINT, k STRING, ts AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/input.jsonl','format'='json');
CREATE TABLE print1 (`s` TIMESTAMP(3), `e` TIMESTAMP(3), `r` TIMESTAMP(3) WITH LOCAL TIME ZONE, `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT TUMBLE_START(ts, INTERVAL '1' HOUR) AS s, TUMBLE_END(ts, INTERVAL '1' HOUR) AS e, TUMBLE_ROWTIME(ts, INTERVAL '1' HOUR) AS r, COUNT(*) AS c FROM src GROUP BY TUMBLE(ts, INTERVAL '1' HOUR);
