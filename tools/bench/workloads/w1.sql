-- W1 tumble: views by page, 10 s.
CREATE TABLE results (window_start TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE, m DOUBLE, a DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT window_start, page, COUNT(*), SUM(amount), MAX(amount), AVG(amount)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE action = 'view'
GROUP BY window_start, window_end, page;
