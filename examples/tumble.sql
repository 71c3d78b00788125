-- Sales by page and ten seconds, from a CSV file: where more than 400,000 was sold.
--
--   cargo run --release -- generate clicks --rows 1000000 --format csv --out /tmp/clicks.csv
--   cargo run --release -- run examples/tumble.sql
--
-- Paths are relative to the current directory. To read another file without editing the script:
-- --table clicks.path=other.csv

CREATE TABLE clicks (
  ts      TIMESTAMP(3),
  page    STRING,
  device  STRING,
  action  STRING,
  amount  DOUBLE,
  -- A row that comes more than 5 seconds (of event time) after a newer one may be late. The summary says
  -- how many were: try the script on a file made with --late-ppm 1000.
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = '/tmp/clicks.csv',
  'format' = 'csv'
);

-- A window is shown once, when the watermark has passed its end. A bare SELECT prints.
SELECT window_start, window_end, page, COUNT(*) AS sales, SUM(amount) AS total, MAX(amount) AS dearest
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE action = 'buy'
GROUP BY window_start, window_end, page
HAVING SUM(amount) > 400000;
