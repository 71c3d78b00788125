SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
SET 'table.local-time-zone' = 'Asia/Tokyo';
CREATE TABLE lz (v BIGINT, t AS TO_TIMESTAMP_LTZ(v * 20000000, 3), WATERMARK FOR t AS t - INTERVAL '1' HOUR) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`r` TIMESTAMP(3) WITH LOCAL TIME ZONE, `e` TIMESTAMP(3), `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT TUMBLE_ROWTIME(t, INTERVAL '1' DAY) AS r, TUMBLE_END(t, INTERVAL '1' DAY) AS e, COUNT(*) AS c FROM lz GROUP BY TUMBLE(t, INTERVAL '1' DAY);
