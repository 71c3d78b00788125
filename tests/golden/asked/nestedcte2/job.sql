SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`q` INT) WITH ('connector' = 'print');
INSERT INTO print1 WITH a AS (SELECT k, v FROM src), b AS (WITH a AS (SELECT v AS q FROM a) SELECT q FROM a) SELECT q FROM b;
