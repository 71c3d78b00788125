-- W5 many keys: by device, 60 s.
CREATE TABLE results (window_start TIMESTAMP(3), device STRING, c BIGINT, s DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT window_start, device, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '60' SECOND))
GROUP BY window_start, window_end, device;
