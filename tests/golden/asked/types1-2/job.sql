SET 'parallelism.default' = '1';
SET 'pipeline.auto-watermark-interval' = '0';
SET 'table.local-time-zone' = 'UTC';
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, d DECIMAL(10,2), nn INT NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem','path'='${DIR}/../input.jsonl','format'='json');
CREATE TABLE out1 (zzz BOOLEAN, yyy BOOLEAN) WITH ('connector'='print');
INSERT INTO out1 SELECT 1, 1.5, 0.001, 00.50, .5, 5., 1e3, 3000000000, -2147483648, 2147483648, -2147483649, 9223372036854775807, 'abc', '', DATE '2024-01-01', TIMESTAMP '2024-01-01 00:00:00.1', TIMESTAMP '2024-01-01 00:00:00', TIME '10:00:00', X'00ff', TRUE, v, nn, nn+1, v+1, k||'x', src.k, v AS w, INTERVAL '1' DAY, CAST(NULL AS INT), 1.50, 100.0, 123456789012345678901234567890.5, X'' FROM src;
