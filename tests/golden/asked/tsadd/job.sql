SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`a` TIMESTAMP(3), `b` INT, `c` TIMESTAMP(3), `d` INT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT TIMESTAMPADD(DAY, 1, ts) AS a, TIMESTAMPDIFF(SECOND, TIMESTAMP '2024-01-01 00:00:00', ts) AS b, CEIL(ts TO MINUTE) AS c, TIMESTAMPDIFF(HOUR, ts, ts + INTERVAL '1' DAY) AS d FROM src WHERE v < 3;
