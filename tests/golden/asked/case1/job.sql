SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE out1 (zzz BOOLEAN, yyy BOOLEAN) WITH ('connector'='print');
INSERT INTO out1 SELECT CASE WHEN v > 1 THEN 'abc' ELSE 'b' END, CASE v WHEN 1 THEN 1 WHEN 2 THEN 2.5 END, COALESCE(k,'n'), NULLIF(v,1), IF(v>1,1,2), NULL, CAST(NULL AS INT), v IN (1,2), v/2, v/2.0, 5 % 2, -v, v*d, d*d, d/d, MOD(v,2), ABS(d) FROM src;
