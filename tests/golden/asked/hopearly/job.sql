SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
SET 'table.exec.emit.early-fire.enabled'='true';SET 'table.exec.emit.early-fire.delay'='0 s';
CREATE TABLE print1 (`s` TIMESTAMP(3), `k` STRING, `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT HOP_START(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND) AS s, k, COUNT(*) AS c FROM src GROUP BY HOP(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND), k;
