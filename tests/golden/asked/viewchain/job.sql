SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE VIEW v1 AS SELECT k, v + 1 AS w FROM src WHERE v > 1;
CREATE VIEW v2(x, y) AS SELECT k, w * 2 FROM v1 WHERE w < 7;
CREATE VIEW v3 AS SELECT x || CAST(y AS STRING) AS z FROM v2;
CREATE TABLE print1 (`z` STRING) WITH ('connector' = 'print');
INSERT INTO print1 SELECT z FROM v3;
