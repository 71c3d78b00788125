SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`k` STRING, `x` INT, `y` INT, `z` BIGINT, `w` DECIMAL(38, 6), `l` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT k, SUM(CASE WHEN a = 'x' THEN v ELSE 0 END) AS x, SUM(v) FILTER (WHERE a = 'y') AS y, COUNT(CASE WHEN v > 2 THEN 1 END) AS z, AVG(v * 1.0) AS w, MAX(CHAR_LENGTH(a)) AS l FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k;
