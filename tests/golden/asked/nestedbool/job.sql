SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`v` INT, `b` BOOLEAN, `c` BOOLEAN, `d` BOOLEAN, `e` BOOLEAN) WITH ('connector' = 'print');
INSERT INTO print1 SELECT v, v > 1 AND v < 5 OR v = 6 AS b, NOT v > 3 AND TRUE AS c, (v > 1) = (v > 2) AS d, v > 1 IS TRUE AS e FROM src;
