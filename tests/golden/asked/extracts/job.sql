SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`a` BIGINT, `b` BIGINT, `c` BIGINT, `d` BIGINT, `e` BIGINT, `f` BIGINT, `g` BIGINT, `h` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT EXTRACT(YEAR FROM ts) AS a, YEAR(ts) AS b, DAYOFWEEK(ts) AS c, EXTRACT(EPOCH FROM ts) AS d, HOUR(ts) AS e, QUARTER(ts) AS f, WEEK(ts) AS g, EXTRACT(DOY FROM ts) AS h FROM src WHERE v = 1;
