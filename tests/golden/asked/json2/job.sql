SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`a` INT, `b` DOUBLE, `c` BOOLEAN, `d` STRING) WITH ('connector' = 'print');
INSERT INTO print1 SELECT JSON_VALUE('{"a":"12","b":12.5,"c":true,"d":[1],"e":null,"f":7}', '$.f' RETURNING INTEGER) AS a, JSON_VALUE('{"a":"12","b":12.5,"c":true,"d":[1],"e":null,"f":7}', '$.b' RETURNING DOUBLE) AS b, JSON_VALUE('{"a":"12","b":12.5,"c":true,"d":[1],"e":null,"f":7}', '$.c' RETURNING BOOLEAN) AS c, JSON_VALUE('{"a":"12","b":12.5,"c":true,"d":[1],"e":null,"f":7}', '$.f' RETURNING STRING) AS d FROM src WHERE v = 1;
