-- W4 session: by device, gap 5 s.
CREATE TABLE results (window_start TIMESTAMP(3), device STRING, c BIGINT, s DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT window_start, device, COUNT(*), SUM(amount)
FROM TABLE(SESSION(TABLE clicks PARTITION BY device, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY window_start, window_end, device;
