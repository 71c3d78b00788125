-- W2 uv with early results every minute of event time.
SET 'table.exec.emit.early-fire.enabled' = 'true';
SET 'table.exec.emit.early-fire.delay' = '60 s';
SET 'tidemill.emit.early-fire.clock' = 'event-time';
SET 'tidemill.emit.mode' = 'discarding';
CREATE TABLE results (window_start TIMESTAMP(3), page STRING, c BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO results
SELECT window_start, page, COUNT(DISTINCT device)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end, page;
