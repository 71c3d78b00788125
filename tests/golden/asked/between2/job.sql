SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`v` INT, `a` BOOLEAN, `b` BOOLEAN, `c` BOOLEAN) WITH ('connector' = 'print');
INSERT INTO print1 SELECT v, v BETWEEN 2 AND 4 AS a, v NOT BETWEEN SYMMETRIC 4 AND 2 AS b, v BETWEEN 1 AND 2 OR v = 6 AS c FROM src;
