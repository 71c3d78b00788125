SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE t (ts TIMESTAMP(3), t2 AS ts + INTERVAL '1' SECOND, WATERMARK FOR t2 AS t2 - INTERVAL '1' MINUTE) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`t2` TIMESTAMP(3), `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT t2, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(t2), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, t2;
