SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE VIEW w AS SELECT window_start, window_end, window_time, k FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, window_time, k;
CREATE TABLE out1 (zzz BOOLEAN, yyy BOOLEAN) WITH ('connector'='print');
INSERT INTO out1 SELECT * FROM TABLE(TUMBLE(TABLE w, DESCRIPTOR(window_time), INTERVAL '10' SECOND));
