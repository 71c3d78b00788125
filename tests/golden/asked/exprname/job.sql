SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`EXPR$0` INT, `EXPR$1` STRING, `EXPR$2` STRING, `v` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT * FROM (SELECT v + 1, UPPER(k), CAST(v AS STRING), v FROM src WHERE v = 1);
