SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`v` INT, `a` TIMESTAMP(3), `b` TIMESTAMP(3), `c` TIMESTAMP(3), `d` TIMESTAMP(3), `e` TIMESTAMP(3), `f` TIMESTAMP(3)) WITH ('connector' = 'print');
INSERT INTO print1 SELECT v, ts + INTERVAL '1 02:03:04.5' DAY TO SECOND AS a, ts - INTERVAL '1-2' YEAR TO MONTH AS b, ts + INTERVAL '90' MINUTE AS c, ts + INTERVAL '10:30' MINUTE TO SECOND AS d, ts + INTERVAL -'1' DAY AS e, ts + INTERVAL '-1' HOUR AS f FROM src WHERE v = 1;
