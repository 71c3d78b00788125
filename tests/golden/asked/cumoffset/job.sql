SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (
 ts TIMESTAMP(3), k STRING, a STRING, v INT, d DOUBLE, m DECIMAL(10,2), b BIGINT, bo BOOLEAN, f FLOAT, ti TINYINT, si SMALLINT, da DATE, tt TIME(0), ts2 TIMESTAMP(3),
 WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DIR}/input.jsonl', 'format' = 'json');
CREATE TABLE print1 (`window_start` TIMESTAMP(3), `window_end` TIMESTAMP(3), `c` BIGINT) WITH ('connector' = 'print');
INSERT INTO print1 SELECT window_start, window_end, COUNT(*) AS c FROM TABLE(CUMULATE(TABLE src, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '-13' SECOND)) GROUP BY window_start, window_end;
