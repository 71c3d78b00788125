SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`c` BIGINT, `p` TIMESTAMP(3)) WITH ('connector' = 'print');
INSERT INTO print1 SELECT SUM(c) AS c, TUMBLE_END(rt, INTERVAL '20' SECOND) AS p FROM (SELECT TUMBLE_ROWTIME(ts, INTERVAL '10' SECOND) AS rt, COUNT(*) AS c FROM src GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), k) GROUP BY TUMBLE(rt, INTERVAL '20' SECOND);
