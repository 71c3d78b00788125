SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
SET 'table.local-time-zone' = 'America/New_York';
CREATE TABLE src (ms BIGINT, k STRING, ts AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/input.jsonl','format'='json');
CREATE TABLE print1 (`s` TIMESTAMP(3), `e` TIMESTAMP(3), `r` TIMESTAMP(3) WITH LOCAL TIME ZONE, `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT SESSION_START(ts, INTERVAL '90' MINUTE) AS s, SESSION_END(ts, INTERVAL '90' MINUTE) AS e, SESSION_ROWTIME(ts, INTERVAL '90' MINUTE) AS r, COUNT(*) AS c FROM src GROUP BY SESSION(ts, INTERVAL '90' MINUTE);
