-- W2 uv: exact distinct devices by page and day.
CREATE TABLE results (window_start TIMESTAMP(3), page STRING, c BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT window_start, page, COUNT(DISTINCT device)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end, page;
