SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE print1 (`w2` TIMESTAMP(3), `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT w2, COUNT(*) AS c FROM (SELECT t2.ws AS w2, t2.we AS we2 FROM (SELECT window_start AS ws, window_end AS we FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND))) t2) GROUP BY w2, we2;
