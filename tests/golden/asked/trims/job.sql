SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`a` VARCHAR(4), `b` VARCHAR(4), `c` VARCHAR(4), `d` VARCHAR(4), `e` VARCHAR(3), `f` VARCHAR(5), `g` VARCHAR(8), `h` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT TRIM(BOTH 'a' FROM 'abca') AS a, TRIM(LEADING FROM '  x ') AS b, TRIM(TRAILING 'c' FROM 'abcc') AS c, TRIM('  q ') AS d, TRIM('x' FROM 'xyx') AS e, SUBSTRING('hello' FROM 2) AS f, OVERLAY('abcdef' PLACING 'XX' FROM 2 FOR 3) AS g, POSITION('b' IN 'abc') AS h FROM src WHERE v = 1;
