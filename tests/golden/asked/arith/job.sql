SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`v` INT, `a` INT, `b` INT, `c` INT, `d` INT, `e` INT, `f` INT, `g` DECIMAL(13, 1), `h` DECIMAL(13, 1), `i` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT v, v + 1 * 2 - 3 AS a, (v + 1) * 2 AS b, -v * -1 AS c, v / 2 * 2 AS d, 7 / 2 AS e, 7 % 4 AS f, 1.0 * v AS g, v * 1.5 AS h, - - v AS i FROM src;
