SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`k` STRING, `c` BIGINT, `p` TIMESTAMP(3)) WITH ('connector' = 'print');
INSERT INTO print1 SELECT k, COUNT(*) AS c, TUMBLE_END(ts, INTERVAL '10' SECOND) AS p FROM src GROUP BY k, TUMBLE(ts, INTERVAL '10' SECOND);
