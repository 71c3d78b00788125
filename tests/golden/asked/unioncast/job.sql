SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`k` STRING, `v` DECIMAL(20, 1)) WITH ('connector' = 'print');
INSERT INTO print1 SELECT k, v FROM src UNION ALL SELECT a, CAST(v AS BIGINT) + 1 FROM src UNION ALL SELECT 'lit', 3.5 FROM src WHERE v = 1;
