SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`m` STRING, `e` TIMESTAMP(3), `s` STRING, `x` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT DATE_FORMAT(window_start, 'yyyy-MM-dd HH:mm:ss') AS m, window_end - INTERVAL '1' SECOND AS e, CAST(window_start AS STRING) AS s, EXTRACT(SECOND FROM window_end) AS x FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
