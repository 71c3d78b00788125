SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`v` INT, `a` VARCHAR(4), `b` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT v, CASE v WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE 'more' END AS a, CASE k WHEN 'a' THEN 1 END AS b FROM src;
