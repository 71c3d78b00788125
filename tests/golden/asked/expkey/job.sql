SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`p` INT, `n` BIGINT, `s` TIMESTAMP(3)) WITH ('connector' = 'print');
INSERT INTO print1 SELECT v + 1 AS p, COUNT(*) AS n, TUMBLE_START(ts, INTERVAL '10' SECOND) + INTERVAL '1' SECOND AS s FROM src GROUP BY v + 1, TUMBLE(ts, INTERVAL '10' SECOND);
