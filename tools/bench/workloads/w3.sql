-- W3 slide: by page, 10 s every 2 s.
CREATE TABLE results (window_start TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT window_start, page, COUNT(*), SUM(amount)
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end, page;
