-- Sessions: clicks of a device belong together until it is silent for 5 seconds.
--
--   cargo run --release -- run examples/session.sql
--
-- Needs no data: the clicks are generated, of only 100,000 devices so that they come again.

CREATE TABLE clicks (
  ts      TIMESTAMP(3),
  page    STRING,
  device  STRING,
  action  STRING,
  amount  DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  'connector' = 'datagen',
  'profile' = 'clicks',
  'devices' = '100000',
  'number-of-rows' = '1000000'
);

-- The longest sessions. A session is shown when the watermark has passed its end: its last click
-- and 5 seconds.
SELECT window_start, window_end, device, COUNT(*) AS clicks, SUM(amount) AS total
FROM TABLE(SESSION(TABLE clicks PARTITION BY device, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY window_start, window_end, device
HAVING COUNT(*) >= 21;
