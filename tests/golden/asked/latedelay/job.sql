SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
SET 'table.exec.emit.late-fire.enabled' = 'true';
SET 'table.exec.emit.late-fire.delay' = '20 s';
SET 'table.exec.emit.allow-lateness' = '10 s';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, v INT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/input.jsonl','format'='json');
CREATE TABLE print1 (`s` TIMESTAMP(3), `k` STRING, `c` BIGINT, `sv` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT TUMBLE_START(ts, INTERVAL '10' SECOND) AS s, k, COUNT(*) AS c, SUM(v) AS sv FROM src GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), k;
